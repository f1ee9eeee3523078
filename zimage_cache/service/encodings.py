"""JPEG and WebP of pictures, and Base64: made on demand, kept in memory while they are asked for, stored nowhere."""

import asyncio
import base64
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from zimage_cache.entry import Entry
from zimage_cache.errors import QueueFull
from zimage_cache.lru import ByteLRU
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.encodings import QUALITY, encoded
from zimage_cache.pool import Pool

_MAX_BYTES: Final = 64 * 2**20
_THREADS: Final = 2
MOST_AT_ONCE: Final = 64

_Name = tuple[str, MediaType, int, bool]  # digest, format, quality, whether as Base64


class Encodings:
    """Encodes entries in threads of its own; requests that come together wait for one encoding.

    Threads: coroutines run on one event loop.
    """

    def __init__(self) -> None:
        self._kept: ByteLRU[_Name, bytes] = ByteLRU(_MAX_BYTES, len)
        self._under_way: dict[_Name, asyncio.Future[bytes]] = {}
        self._waiting: Counter[_Name] = Counter()
        self._threads = Pool(_THREADS, "encodings")

    def close(self) -> None:
        """Wait for the encodings under way."""
        self._threads.shutdown()

    async def of(self, entry: Entry, media_type: MediaType, quality: int = QUALITY) -> bytes:
        """Return the picture of *entry* in a format, the PNG itself unchanged; *quality* is 1..100.

        Raises:
            QueueFull: Too many pictures are being encoded.
        """
        if media_type is MediaType.PNG:
            return entry.png
        name = (entry.record.digest, media_type, quality, False)
        return await self._made(name, partial(encoded, entry.png, media_type, quality))

    async def base64_of(self, entry: Entry, media_type: MediaType, quality: int = QUALITY) -> bytes:
        """Return the picture of *entry* in a format, as Base64; see `of`."""
        name = (entry.record.digest, media_type, quality, True)
        if media_type is MediaType.PNG:
            # Not in the threads, where it would wait for encodings that take a hundred times as long.
            return self._kept.get(name) or self._put(name, await asyncio.to_thread(base64.b64encode, entry.png))
        return await self._made(name, lambda: base64.b64encode(encoded(entry.png, media_type, quality)))

    async def _made(self, name: _Name, make: Callable[[], bytes]) -> bytes:
        if (kept := self._kept.get(name)) is not None:
            return kept
        if name not in self._under_way:
            self._begin(name, make)
        future = self._under_way[name]
        self._waiting[name] += 1
        try:
            # Shielded: the request that began it may be given up, and others may wait for it.
            return await asyncio.shield(future)
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
                future.cancel()  # nothing happens if it is done

    def _begin(self, name: _Name, make: Callable[[], bytes]) -> None:
        if len(self._under_way) >= MOST_AT_ONCE:
            raise QueueFull("too_many_encodings", most=MOST_AT_ONCE)
        self._under_way[name] = asyncio.get_running_loop().run_in_executor(self._threads, make)
        self._under_way[name].add_done_callback(partial(self._keep, name))

    def _keep(self, name: _Name, future: asyncio.Future[bytes]) -> None:
        if self._under_way.get(name) is future:
            del self._under_way[name]
        if not future.cancelled() and future.exception() is None:
            self._put(name, future.result())

    def _put(self, name: _Name, file: bytes) -> bytes:
        self._kept.put(name, file)
        return file
