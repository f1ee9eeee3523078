"""Encodings of a stored PNG: JPEG and WebP, smaller and not exactly the same pixels, with the parameters in EXIF.

The PNG alone is stored and has a key. In EXIF the parameters stand where A1111 and other tools look for them: as UTF-16
in the tag UserComment.
"""

import io
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from PIL import Image

from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.png import A1111

SUFFIXES: Final[Mapping[str, MediaType]] = MappingProxyType(
    {".png": MediaType.PNG, ".jpg": MediaType.JPEG, ".jpeg": MediaType.JPEG, ".webp": MediaType.WEBP}
)
_OPTIONS: Final[Mapping[MediaType, Mapping[str, Any]]] = MappingProxyType(
    {MediaType.JPEG: {"subsampling": 0}, MediaType.WEBP: {}}
)
QUALITY: Final = 95
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_LONGEST_SEGMENT: Final = 2**16 - 3


def encoded(png: bytes, media_type: MediaType, quality: int = QUALITY) -> bytes:
    """Return a PNG in another format, with its `parameters` in EXIF; as PNG it is returned unchanged.

    Args:
        png: The stored picture.
        media_type: The format.
        quality: Of JPEG and WebP, 1..100.
    """
    if media_type is MediaType.PNG:
        return png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        parameters = str(picture.info.get(A1111, ""))
        exif = {"exif": found} if parameters and _fits(found := _exif(parameters), media_type) else {}
        picture.convert("RGB").save(buffer, media_type.name, quality=quality, **_OPTIONS[media_type], **exif)
    return buffer.getvalue()


def _fits(exif: bytes, media_type: MediaType) -> bool:
    """Return whether EXIF is short enough for a format: a segment of a JPEG has at most 64 KiB, its length included."""
    return media_type is not MediaType.JPEG or len(exif) <= _LONGEST_SEGMENT


def _exif(comment: str) -> bytes:
    """Return EXIF with nothing but a UserComment.

    Pillow would write the comment with the type BYTE, which other tools do not read as a text.
    """
    value = b"UNICODE\0" + comment.encode("utf-16-be", "replace")
    head = struct.pack(">2sHI", b"MM", 42, 8)
    exif_ifd = len(head) + _ENTRY.size
    first = _ENTRY.pack(1, _EXIF_IFD, _LONG, 1, exif_ifd, 0)
    second = _ENTRY.pack(1, _USER_COMMENT, _UNDEFINED, len(value), exif_ifd + _ENTRY.size, 0)
    return b"Exif\0\0" + head + first + second + value


# A directory of one entry: their number, tag, type, count, value or its place, place of the next directory.
_ENTRY: Final = struct.Struct(">HHHIII")
