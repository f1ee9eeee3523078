"""Where corrupt entries go: one folder an incident, with a reason, bounded in number and bytes, never served again."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from zimage_cache.cache import files
from zimage_cache.errors import CacheError, CacheWriteFailed

MAX_INCIDENTS = 32
MAX_BYTES = 64 * 2**20
_REASON = "reason.txt"


class Quarantine:
    """Keeps the most recent incidents for a person to look at.

    Args:
        folder: Where it keeps them; made when missing. Its bytes are beside the bound of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, paths: Iterable[Path], reason: str) -> None:
        """Move *paths*, whatever they are, out of the way, in this order; the caller holds their key's lock.

        Raises:
            CacheWriteFailed: They are still there.
        """
        incident = self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
        try:
            files.make_folders((incident,))
        except CacheWriteFailed:
            # A full disk has no room for evidence: what must not be served is worth less than what may.
            self._discard(paths)
            return
        for path in paths:
            if files.status(path) is not None:
                files.replace(path, incident / path.name)
        self._explain(incident, reason)
        self._trim()

    def _discard(self, paths: Iterable[Path]) -> None:
        for path in paths:
            files.remove(path)

    def _explain(self, incident: Path, reason: str) -> None:
        with suppress(CacheWriteFailed):  # the files are safely away; a full disk costs the explanation only
            files.write(incident / _REASON, f"{reason}\n".encode())

    def _trim(self) -> None:
        """Let the oldest incidents go; other processes may be doing the same."""
        left = MAX_BYTES
        with suppress(CacheError):  # the next incident trims again
            incidents = sorted((Path(entry.path) for entry in files.listing(self._folder)), reverse=True)
            for number, incident in enumerate(incidents):
                left -= _weight(incident)
                if number >= MAX_INCIDENTS or left < 0:
                    files.remove_all(incident)


def _weight(incident: Path) -> int:
    """Sum up the bytes below *incident*; what vanishes meanwhile weighs nothing."""
    paths = (Path(folder, name) for folder, _, names in os.walk(incident) for name in names)
    return sum(status.st_size for status in map(files.status, paths) if status is not None)
