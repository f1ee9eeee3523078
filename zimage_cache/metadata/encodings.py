"""Encodings of a stored PNG: JPEG and WebP, smaller and not exactly the same pixels, with the parameters in EXIF.

The PNG alone is stored and has a key. In EXIF the parameters stand where A1111 and other tools look for them: as UTF-16
in the tag UserComment.
"""

import io
import struct
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from PIL import Image


class Encoding(StrEnum):
    """A format of pictures, by Pillow's name."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"


SUFFIXES: Final[Mapping[str, Encoding]] = MappingProxyType(
    {".png": Encoding.PNG, ".jpg": Encoding.JPEG, ".jpeg": Encoding.JPEG, ".webp": Encoding.WEBP}
)
_OPTIONS: Final[Mapping[Encoding, Mapping[str, Any]]] = MappingProxyType(
    {Encoding.JPEG: {"quality": 95, "subsampling": 0}, Encoding.WEBP: {"quality": 95}}
)
_PARAMETERS: Final = "parameters"
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7


def encoded(png: bytes, encoding: Encoding) -> bytes:
    """Return a PNG in another format, with its `parameters` in EXIF; as PNG it is returned unchanged."""
    if encoding is Encoding.PNG:
        return png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        parameters = str(picture.info.get(_PARAMETERS, ""))
        exif = {"exif": _exif(parameters)} if parameters else {}
        picture.convert("RGB").save(buffer, encoding, **_OPTIONS[encoding], **exif)
    return buffer.getvalue()


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
