"""Finds the texts of a PNG, JPEG or WebP file, wherever they stand in it, without decoding pixels.

The kind of a file is told by its first bytes: its name and type may be wrong. Pixels are passed over, so the size of a
file matters little; the number of its parts is bounded. Pillow would decode pixels to find texts behind them, allocate
the canvas of a WebP, and join the segments of a JPEG in a time that is a square of their number.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.metadata.png import ZIMAGE
from zimage_cache.metadata.texts import Texts, decoded

# Parts of a file: chunks or segments. A PNG of 20 MiB with pixels in chunks of 8 KiB has 2,600.
MAX_PARTS: Final = 50_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_HEADER: Final = 13  # bytes of IHDR
_TEXTS_OF_PNG: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
_LONGEST_KEYWORD: Final = 79
_XMP_OF_PNG: Final = "XML:com.adobe.xmp"
_PROFILE: Final = "Raw profile type "  # older versions of ImageMagick and exiftool keep EXIF and XMP in hexadecimal
_EXIF_OF_JPEG: Final = b"Exif\0\0"
_XMP_OF_JPEG: Final = b"http://ns.adobe.com/xap/1.0/\0"
_COMMENT, _APP1 = 0xFE, 0xE1  # markers of JPEG
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a body
_END: Final = frozenset({0xD9, 0xDA})  # the end, or pixels
_SIDE_BITS: Final = 0x3FFF  # of a side in WebP


class MediaType(StrEnum):
    """The media types of the files that are read."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"


@dataclass(frozen=True, slots=True)
class Container:
    """What a file holds: its texts by their names in lower case, names of texts too long to be read, its size."""

    media_type: MediaType
    texts: dict[str, str]
    too_long: tuple[str, ...]
    width: int
    height: int


def read_container(file: bytes | IO[bytes]) -> Container:
    """Read the texts of a file, which is open at its beginning.

    Raises:
        InvalidRequest: The file is of none of these kinds, is damaged before its pixels, or has too many parts.
        OSError: An open file cannot be read.
    """
    opened = io.BytesIO(file) if isinstance(file, bytes) else file
    head, texts = opened.read(12), Texts()
    try:
        if head.startswith(_PNG):
            media_type, size = MediaType.PNG, _png(opened, texts)
        elif head.startswith(_JPEG):
            media_type, size = MediaType.JPEG, _jpeg(opened, texts)
        elif head[:4] + head[8:] == b"RIFFWEBP":
            media_type, size = MediaType.WEBP, _webp(opened, texts)
        else:
            raise InvalidRequest("no_picture", field="file")
    except (struct.error, zlib.error) as error:
        raise InvalidRequest("picture_damaged", field="file", error=error) from None
    if size is None:
        raise InvalidRequest("picture_damaged", field="file", error="it ends before its pixels")
    return Container(media_type, texts.named, tuple(texts.too_long), *size)


def _chunks(opened: IO[bytes], at: int, *, riff: bool = False) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of each chunk of a PNG or RIFF file, open at the chunk's body.

    Raises:
        InvalidRequest: There are too many.
    """
    for _ in range(MAX_PARTS):
        opened.seek(at)
        head = opened.read(8)
        if len(head) < 8:  # noqa: PLR2004 - a name and a length, four bytes each
            return
        name, length = struct.unpack("<4sL", head) if riff else struct.unpack(">L4s", head)[::-1]
        yield name, length
        at += 8 + length + (length % 2 if riff else 4)  # RIFF pads to an even length, PNG adds a checksum
    raise InvalidRequest("too_many_parts", field="file", most=MAX_PARTS)


def _png(opened: IO[bytes], texts: Texts) -> tuple[int, int] | None:
    """Read the texts before the pixels and behind them, as ImageMagick and exiftool write them."""
    size, pixels = None, False
    for name, length in _chunks(opened, len(_PNG)):
        if name == b"IHDR" and length == _HEADER and size is None:
            width, height = struct.unpack_from(">LL", _checked(opened, name, length))
            size = width, height
        elif name in _TEXTS_OF_PNG and length > texts.room:
            keyword = opened.read(_LONGEST_KEYWORD).partition(b"\0")[0]
            texts.refuse((name if name == b"eXIf" else keyword).decode("latin-1"))
        elif name in _TEXTS_OF_PNG:
            _add_chunk(texts, name, _checked(opened, name, length))
        pixels = pixels or name in {b"IDAT", b"IEND"}
        if name == b"IEND":
            break
    return size if pixels else None


def _checked(opened: IO[bytes], name: bytes, length: int) -> bytes:
    body = opened.read(length)
    if opened.read(4) != struct.pack(">L", zlib.crc32(name + body)):
        raise zlib.error(f"the checksum of {name.decode()} is wrong")
    return body


def _add_chunk(texts: Texts, name: bytes, body: bytes) -> None:
    if name == b"eXIf":
        texts.add_exif(body)
        return
    keyword, _, text = body.partition(b"\0")
    compressed = name == b"zTXt"
    if compressed:
        text = text[1:]  # behind the method of compression, of which there is one
    elif name == b"iTXt":
        compressed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]  # behind a language, and a translation of the keyword
    if compressed:
        text = zlib.decompressobj().decompress(text, texts.room + 1)
    _add_text(texts, keyword.decode("latin-1"), text, latin=name != b"iTXt")


def _add_text(texts: Texts, keyword: str, text: bytes, *, latin: bool) -> None:
    if len(text) > texts.room:
        texts.refuse(keyword)
    elif keyword == _XMP_OF_PNG:
        texts.add_xmp(text)
    elif keyword.startswith(_PROFILE):
        _add_profile(texts, keyword.removeprefix(_PROFILE), text)
    elif keyword == ZIMAGE and latin:
        texts.add(keyword, text.decode("latin-1"))  # this program never wrote UTF-8 where the format says Latin-1
    else:
        texts.add(keyword, decoded(text))


def _add_profile(texts: Texts, name: str, text: bytes) -> None:
    """Read a profile in hexadecimal behind its name and length."""
    try:
        profile = bytes.fromhex(text.split(None, 2)[2].decode("ascii"))
    except (ValueError, IndexError):
        return
    if name.lower() == "xmp" or profile.startswith(_XMP_OF_JPEG):
        texts.add_xmp(profile.removeprefix(_XMP_OF_JPEG))
    elif name.lower() in {"exif", "app1"}:
        texts.add_exif(profile)


def _segments(opened: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment of a JPEG file before its pixels.

    Raises:
        InvalidRequest: There are too many.
    """
    at = 2
    for _ in range(MAX_PARTS):
        opened.seek(at)
        head = opened.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in _END:  # noqa: PLR2004 - a marker and a length
            return
        if head[1] == 0xFF or head[1] in _BARE:  # noqa: PLR2004 - filling
            at += 1 if head[1] == 0xFF else 2  # noqa: PLR2004
            continue
        length = int.from_bytes(head[2:], "big")
        yield head[1], opened.read(max(length - 2, 0))
        at += 2 + length
    raise InvalidRequest("too_many_parts", field="file", most=MAX_PARTS)


def _jpeg(opened: IO[bytes], texts: Texts) -> tuple[int, int] | None:
    size, exif = None, bytearray()
    for marker, body in _segments(opened):
        if marker in _FRAMES and size is None:
            height, width = struct.unpack_from(">HH", body, 1)
            size = width, height
        elif marker == _APP1 and body.startswith(_EXIF_OF_JPEG) and len(exif) < texts.room:
            exif += body.removeprefix(_EXIF_OF_JPEG)  # a long block continues in the next segment
        elif marker == _APP1 and body.startswith(_XMP_OF_JPEG):
            texts.add_xmp(body.removeprefix(_XMP_OF_JPEG))
        elif marker == _COMMENT:
            name, zero, text = body.partition(b"\0")
            named = zero and text and name.isalpha()  # stable-diffusion.cpp puts a name before it
            texts.add(*((name.decode(), decoded(text.strip(b"\0"))) if named else ("comment", decoded(body))))
    texts.add_exif(bytes(exif))
    return size


def _webp(opened: IO[bytes], texts: Texts) -> tuple[int, int] | None:
    size = None
    for name, length in _chunks(opened, 12, riff=True):
        if name in {b"EXIF", b"XMP "} and length > texts.room:
            texts.refuse(name.decode())
        elif name == b"EXIF":
            texts.add_exif(opened.read(length))
        elif name == b"XMP ":
            texts.add_xmp(opened.read(length))
        elif name in {b"VP8X", b"VP8 ", b"VP8L"} and size is None:
            size = _webp_size(name, opened.read(10))
    return size


def _webp_size(name: bytes, head: bytes) -> tuple[int, int]:
    if name == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & _SIDE_BITS, height & _SIDE_BITS
    bits = int.from_bytes(head[1:5], "little")
    return (bits & _SIDE_BITS) + 1, (bits >> 14 & _SIDE_BITS) + 1
