"""The named texts of one picture, and how tools encode them: as UTF-8, Latin-1 or UTF-16, in EXIF and in XMP.

Everything here comes from outside and may be hostile: the bytes of all texts together are bounded, and nothing is read
twice. Pillow reads EXIF, too, but copies the data of every entry, of which 65,535 may point at the same 20 MiB.
"""

import codecs
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from types import MappingProxyType
from typing import Final
from xml.parsers import expat

# Of all texts of a file together. ComfyUI's graphs of 800 nodes have 300,000 characters; some hold pictures.
MAX_TEXT_BYTES: Final = 2**23
MAX_TEXTS: Final = 500
_MAX_ENTRIES: Final = 500  # of one EXIF directory
_EXIF_BEGIN: Final = b"Exif\0\0"
_ORDERS: Final = MappingProxyType({b"II": "<", b"MM": ">"})
_ENTRY: Final = 12  # bytes
_EXIF_DIRECTORY: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_BYTES_LIKE: Final = frozenset({1, 2, 7})  # types of EXIF: bytes, ASCII, undefined
_TAGS: Final = MappingProxyType(
    {0x010E: "imagedescription", 0x0131: "software", 0x9C9C: "xpcomment", _USER_COMMENT: "usercomment"}
)
_NO_PROPERTY: Final = ("xml", "rdf:")  # beginnings of names of attributes
_LABEL: Final = re.compile(r"([a-zA-Z]{1,20}): ?(?=\{\s*+\")")
_COMMENT_CODE: Final = 8  # bytes at the beginning of a UserComment that name its encoding


class Texts:
    """Collects texts by their names, in lower case; of two with one name the later counts.

    Attributes:
        named: The texts.
        too_long: Names of those that exceeded the bound, and were not kept.
    """

    def __init__(self) -> None:
        self.named: dict[str, str] = {}
        self.too_long: list[str] = []
        self._left = MAX_TEXT_BYTES

    @property
    def room(self) -> int:
        """How many bytes a further text may have."""
        return self._left if len(self.named) < MAX_TEXTS else 0

    def add(self, name: str, text: str) -> None:
        """Keep a text, if there is room for it."""
        if len(text) > self.room:
            self.refuse(name)
            return
        self._left -= len(text)
        self.named[name.lower()] = text

    def refuse(self, name: str) -> None:
        """Note that a text was too long to be read; many of them must not cost as much work as they ask for."""
        self.too_long.append(name)
        self._left //= 2

    def add_exif(self, block: bytes) -> None:
        """Keep the texts of an EXIF block; a damaged one has as many as can be read."""
        for name, text in _exif_texts(block.removeprefix(_EXIF_BEGIN), self.room):
            self.add(name, text)

    def add_xmp(self, packet: bytes) -> None:
        """Keep the texts of an XMP packet by the names of their elements; a damaged one has as many as can be read."""
        if len(packet) > self.room:
            self.refuse("xmp")
            return
        for name, text in _xmp_texts(packet):
            self.add(name, text)


def decoded(text: bytes) -> str:
    """Decode a text whose encoding is not named: most tools write UTF-8 also where a format says Latin-1."""
    try:
        return text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _exif_texts(tiff: bytes, most: int) -> Iterator[tuple[str, str]]:
    """Yield the texts of the first directory, and of the one for photographs; *most* bounds the bytes of each.

    Tools of ComfyUI write `prompt:{…}` and `workflow:{…}` into any of the former; the text itself tells its name.
    """
    order = _ORDERS.get(tiff[:2])
    if order is None or len(tiff) < 8:  # noqa: PLR2004 - the head of a TIFF file
        return
    photograph = len(tiff)
    for tag, kind, data in _entries(tiff, struct.unpack_from(f"{order}L", tiff, 4)[0], order, most):
        if tag == _EXIF_DIRECTORY:
            (photograph,) = struct.unpack(f"{order}L", data.ljust(4, b"\0")[:4])
        elif kind in _BYTES_LIKE:
            yield _tag_text(tag, data, order)
    for tag, kind, data in _entries(tiff, photograph, order, most):
        if tag in _TAGS and kind in _BYTES_LIKE:
            yield _tag_text(tag, data, order)


def _entries(tiff: bytes, at: int, order: str, most: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield tag, type and data of a directory's entries; of entries that are no bytes, their four bytes."""
    left = most
    count = int.from_bytes(tiff[at : at + 2], "little" if order == "<" else "big")
    for start in range(at + 2, at + 2 + _ENTRY * min(count, _MAX_ENTRIES), _ENTRY):
        if start + _ENTRY > len(tiff):
            return
        tag, kind, size, value = struct.unpack_from(f"{order}HHL4s", tiff, start)
        if kind in _BYTES_LIKE and size > len(value):
            (offset,) = struct.unpack(f"{order}L", value)
            value = tiff[offset : offset + min(size, left)]
            left -= len(value)
        yield tag, kind, value[:size] if kind in _BYTES_LIKE else value


def _tag_text(tag: int, data: bytes, order: str) -> tuple[str, str]:
    name = _TAGS.get(tag, f"exif {tag:#06x}")
    if name == "xpcomment":
        return name, data.decode("utf-16-le", "replace").rstrip("\0")
    text = _user_comment(data, order) if tag == _USER_COMMENT else decoded(data.strip(b"\0"))
    label = _LABEL.match(text)
    return (label[1], text[label.end() :]) if label else (name, text)


def _user_comment(data: bytes, order: str) -> str:
    """Decode a text that begins with the name of its encoding; some tools leave that out."""
    code, text = data[:_COMMENT_CODE], data[_COMMENT_CODE:]
    if code.startswith(b"UNICODE"):
        return _utf16(text, order)
    return decoded((text if code.startswith((b"ASCII", b"\0\0\0\0")) else data).strip(b"\0"))


def _utf16(text: bytes, order: str) -> str:
    """Decode UTF-16 in the byte order that gives most ASCII: tools write either, whatever the block's own order is."""
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return text.decode("utf-16", "replace").rstrip("\0")
    if b"\0" not in text:
        return decoded(text)  # Some write UTF-8 under this name.
    high, low = text[::2].count(0), text[1::2].count(0)
    big = high > low if high != low else order == ">"
    return text.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")


def _xmp_texts(packet: bytes) -> list[tuple[str, str]]:
    """List the texts of elements and attributes by the innermost name that is not one of RDF's.

    Entities could make a text of gigabytes, and are declared in a document type, which XMP has not.
    """
    found: list[tuple[str, str]] = []
    names: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        if len(names) + len(found) > MAX_TEXTS:
            raise ValueError("too many elements")
        names.append(names[-1] if name.startswith("rdf:") and names else name)
        if name == "rdf:Description":
            found.extend((_local(each), text) for each, text in attributes.items() if not each.startswith(_NO_PROPERTY))

    def text(data: str) -> None:
        if data.strip():
            found.append((_local(names[-1]), data))

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = len(packet) + 1  # so that a text comes in one piece
    parser.StartElementHandler, parser.CharacterDataHandler = begin, text
    parser.EndElementHandler = lambda _: names.pop()
    parser.StartDoctypeDeclHandler = refuse
    with suppress(expat.ExpatError, ValueError):
        parser.Parse(packet.strip(b"\0"), True)  # noqa: FBT003 - has no keywords
    return found


def _local(name: str) -> str:
    return name.rpartition(":")[2]
