"""`Encodings`: each file is made once while it is asked for, also where some requests give up waiting."""

import asyncio
import base64
import threading

import pytest

from tests.factories import picture_entry
from zimage_cache.errors import QueueFull
from zimage_cache.metadata.container import MediaType
from zimage_cache.service import encodings as module
from zimage_cache.service.encodings import Encodings

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(monkeypatch):
    """Count what is encoded; it waits until it is let."""
    calls, let = [], threading.Event()
    let.set()

    def encode(_png, media_type, quality):
        calls.append((media_type, quality))
        assert let.wait(60)
        if quality == 13:
            raise MemoryError
        return b"x" * quality

    monkeypatch.setattr(module, "encoded", encode)
    encodings = Encodings()
    yield encodings, calls, let
    let.set()
    encodings.close()


async def test_a_file_is_made_once(made):
    """For requests that come together, and for later ones; each format and quality is another file."""
    encodings, calls, let = made
    entry = picture_entry()
    let.clear()
    together = [asyncio.ensure_future(encodings.of(entry, MediaType.WEBP, 50)) for _ in range(5)]
    await asyncio.sleep(0)
    let.set()
    assert {await each for each in together} == {b"x" * 50}
    for media_type, quality in ((MediaType.WEBP, 50), (MediaType.WEBP, 51), (MediaType.JPEG, 50)):
        await encodings.of(entry, media_type, quality)
    assert calls == [(MediaType.WEBP, 50), (MediaType.WEBP, 51), (MediaType.JPEG, 50)]


async def test_a_png_is_never_encoded(made):
    """It is the stored file."""
    encodings, calls, _ = made
    entry = picture_entry()
    assert await encodings.of(entry, MediaType.PNG, 50) is entry.png
    assert calls == []


async def test_one_that_gives_up_stops_no_other(made):
    """Also where it was the first."""
    encodings, calls, let = made
    entry = picture_entry()
    let.clear()
    first, second = (asyncio.ensure_future(encodings.of(entry, MediaType.JPEG, 80)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    let.set()
    assert await second == b"x" * 80
    assert len(calls) == 1


async def test_a_failure_is_not_kept(made):
    """The next request tries again."""
    encodings, calls, _ = made
    for _ in range(2):
        with pytest.raises(MemoryError):
            await encodings.of(picture_entry(), MediaType.JPEG, 13)
    assert len(calls) == 2


async def test_what_no_one_waits_for_is_not_made(made):
    """Encodings that have not begun are dropped with their last request; the threads are free for others."""
    encodings, calls, let = made
    entry = picture_entry()
    let.clear()
    left = [asyncio.ensure_future(encodings.of(entry, MediaType.WEBP, quality)) for quality in range(20, 50)]
    await asyncio.sleep(0)
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    let.set()
    assert await encodings.of(entry, MediaType.WEBP, 99) == b"x" * 99
    assert len(calls) <= 4  # those that threads had begun, and the last one


async def test_there_is_a_bound(made):
    """One request too many is refused, and a Base64 of a PNG waits for none of them."""
    encodings, _, let = made
    entry = picture_entry()
    let.clear()
    qualities = range(1, module.MOST_AT_ONCE + 2)
    waiting = [asyncio.ensure_future(encodings.of(entry, MediaType.JPEG, 20 + quality)) for quality in qualities]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await waiting[-1]
    assert base64.b64decode(await encodings.base64_of(entry, MediaType.PNG)) == entry.png
    let.set()
    assert await waiting[0] == b"x" * 21
    await asyncio.gather(*waiting[:-1])
