"""Where everything lies below the cache folder: pure path arithmetic, no disk access.

    keys/<key>.json      the records: the truth, and what commits an entry
    images/<key>.png     their pictures
    thumbs/<key>.webp    derived, remade at will
    pins/<key>           empty: the entry stays until it is deleted by key
    index.sqlite3        disposable
    tmp/ locks/ quarantine/

Only 64 lower-case hex digits ever become part of a path.
"""

import re
from pathlib import Path

from zimage_cache.errors import CacheError

_KEY = re.compile(r"[0-9a-f]{64}")
_SHOWN = 80


def is_key(text: object) -> bool:
    """Tell whether *text* is exactly 64 lower-case hex digits."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


class Layout:
    """The folders of one cache, and the file of each key in them.

    Raises:
        CacheError: From every method that takes a key, when it is none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = root / "keys"
        self.images = root / "images"
        self.thumbs = root / "thumbs"
        self.tmp = root / "tmp"
        self.locks = root / "locks"
        self.quarantine = root / "quarantine"
        self.pins = root / "pins"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that writing needs."""
        return self.keys, self.images, self.thumbs, self.tmp, self.locks, self.quarantine, self.pins

    @property
    def places(self) -> tuple[tuple[Path, str], ...]:
        """The folders of an entry's files with the endings of those, in the order of `files`, the pin last."""
        return (self.keys, ".json"), (self.images, ".png"), (self.thumbs, ".webp"), (self.pins, "")

    def record(self, key: str) -> Path:
        """Return the path of the record."""
        return self.keys / f"{_checked(key)}.json"

    def image(self, key: str) -> Path:
        """Return the path of the picture."""
        return self.images / f"{_checked(key)}.png"

    def thumb(self, key: str) -> Path:
        """Return the path of the thumbnail."""
        return self.thumbs / f"{_checked(key)}.webp"

    def pin(self, key: str) -> Path:
        """Return the path of the marker that pins an entry."""
        return self.pins / _checked(key)

    def files(self, key: str) -> tuple[Path, Path, Path]:
        """Return all files of an entry, in the order in which they may be removed: the record goes first."""
        return self.record(key), self.image(key), self.thumb(key)

    def temporary(self, key: str, token: str) -> Path:
        """Return a place to write in; *token* makes it unique, the key tells whose lock its writer holds."""
        return self.tmp / f"{_checked(key)}.{token}"


def key_in(name: str, suffix: str) -> str | None:
    """Return the key in a file's name, or `None` when the file is not one of ours."""
    key = name.removesuffix(suffix)
    return key if name == key + suffix and is_key(key) else None


def writer_of(name: str) -> str | None:
    """Return the key whose lock protects a file of `tmp/`, or `None` when the file is not one of ours."""
    key, _, token = name.partition(".")
    return key if token and is_key(key) else None


def _checked(key: str) -> str:
    if not is_key(key):
        raise CacheError(f"key: must be 64 lower-case hex digits, got {ascii(key)[:_SHOWN]}")
    return key
