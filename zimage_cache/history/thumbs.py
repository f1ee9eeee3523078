"""Thumbnails of the history, in a separate folder; each belongs to one version of one file."""

import hashlib
import io
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from PIL import Image, PngImagePlugin

from zimage_cache.atomic import write_atomically
from zimage_cache.history import files
from zimage_cache.history.files import Stamp

_LONGEST_SIDE: Final = 320
_QUALITY: Final = 80
_MOST_PIXELS: Final = 2**26  # 8192 squared; read from the header before decoding
_log = logging.getLogger(__name__)


class Thumbnails:
    """WebP files named by a hash of file and stamp: an edited picture gets a new one, a rebuilt index keeps all.

    Args:
        folder: Made when it is missing. It can be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, file: Path, stamp: Stamp) -> bytes | None:
        """Return a WebP, its longest side at most 320 pixels; None when *file* is no picture. Blocks: disk and CPU."""
        small = self._path(file, stamp)
        try:
            return small.read_bytes()
        except OSError:
            drawn = _draw(file)
        if drawn is not None:
            self._keep(small, drawn)
        return drawn

    def delete(self, file: Path, stamp: Stamp) -> None:
        """Delete the thumbnail of this version of *file*."""
        try:
            self._path(file, stamp).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("history_thumbnail_not_deleted folder=%s error=%s", self._folder, error)

    def sweep(self, wanted: Iterable[tuple[Path, Stamp]]) -> None:
        """Delete all but those of the *wanted* files; one made meanwhile may be deleted too, and is made again."""
        try:
            # Unfinished files are left out: they are being written.
            there = {path.name for path in self._folder.glob("*.webp")}
            for name in there - {self._path(file, stamp).name for file, stamp in wanted}:
                (self._folder / name).unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("history_thumbnails_not_swept folder=%s error=%s", self._folder, error)

    def _path(self, file: Path, stamp: Stamp) -> Path:
        state = f"{file}\0{stamp.size}\0{stamp.changed}".encode("utf-8", "surrogateescape")
        return self._folder / f"{hashlib.sha256(state).hexdigest()[:40]}.webp"

    def _keep(self, small: Path, webp: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(small, webp)
        except OSError as error:
            _log.warning("history_thumbnail_not_kept folder=%s error=%s", self._folder, error)


def _draw(file: Path) -> bytes | None:
    try:
        # Links are not followed: one may have been put there since the listing.
        with files.open_plain(file) as opened, PngImagePlugin.PngImageFile(opened) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            small = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error):
        return None
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()
