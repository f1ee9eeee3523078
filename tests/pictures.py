"""Files of pictures as other tools write them: chunks, segments, EXIF and XMP blocks, byte for byte."""

import io
import struct
import zlib
from collections.abc import Iterable, Mapping

from PIL import Image, PngImagePlugin

A_FOX = "a fox\nNegative prompt: bad\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 42, Size: 128x128, Model: x"


def chunk(kind: bytes, body: bytes, *, crc_off_by: int = 0) -> bytes:
    """Make a chunk of a PNG."""
    crc = (zlib.crc32(kind + body) + crc_off_by) & 0xFFFFFFFF
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def text_chunk(name: str, text: str | bytes, kind: str = "tEXt") -> bytes:
    """Make a chunk with a text; as UTF-8, unless it is bytes."""
    head, body = name.encode() + b"\0", text.encode() if isinstance(text, str) else text
    bodies = {
        "tEXt": body,
        "zTXt": b"\0" + zlib.compress(body),
        "iTXt": b"\0\0\0\0" + body,
        "compressed iTXt": b"\1\0en\0translated\0" + zlib.compress(body),
    }
    return chunk(kind[-4:].encode(), head + bodies[kind])


def png_of(before: Iterable[bytes] = (), behind: Iterable[bytes] = (), size: tuple[int, int] = (8, 8)) -> bytes:
    """Make a PNG with chunks before and behind its pixels."""
    width, height = size
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(3 * 8)) * 8))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + pixels + b"".join(behind) + chunk(b"IEND", b"")


def png_with(texts: Mapping[str, str]) -> bytes:
    """Make a PNG as Pillow writes it."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def jpeg_of(*segments: tuple[int, bytes]) -> bytes:
    """Make a JPEG with segments, by their markers, behind its beginning."""
    file = io.BytesIO()
    Image.new("RGB", (24, 16)).save(file, "JPEG")
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return file.getvalue()[:2] + made + file.getvalue()[2:]


def jpeg_with(exif: bytes) -> bytes:
    """Make a JPEG with an EXIF block."""
    return jpeg_of((0xE1, b"Exif\0\0" + exif))


def webp_with(exif: bytes = b"", xmp: bytes = b"", lossless: bool = False) -> bytes:
    """Make a WebP with blocks behind its pixels."""
    file = io.BytesIO()
    Image.new("RGB", (24, 16)).save(file, "WEBP", exif=exif, xmp=xmp, lossless=lossless)
    return file.getvalue()


def exif_with(tags: Mapping[int, bytes], order: str = "<") -> bytes:
    """Make an EXIF block: UserComment in the directory for photographs, other tags in the first one, as ASCII."""
    own = {tag: data for tag, data in tags.items() if tag != 0x9286}
    comments = {tag: data for tag, data in tags.items() if tag == 0x9286}
    start = 8
    first = 2 + 12 * (len(own) + 1) + 4
    second = start + first
    heap_at = second + 2 + 12 * len(comments) + 4
    heap = b""

    def entry(tag: int, kind: int, data: bytes) -> bytes:
        nonlocal heap
        if len(data) <= 4:
            return struct.pack(f"{order}HHL4s", tag, kind, len(data), data)
        heap += data
        return struct.pack(f"{order}HHLL", tag, kind, len(data), heap_at + len(heap) - len(data))

    entries = b"".join(entry(tag, 2, data) for tag, data in sorted(own.items()))
    pointer = struct.pack(f"{order}HHLL", 0x8769, 4, 1, second)
    photograph = b"".join(entry(tag, 7, data) for tag, data in comments.items())
    count, inner = struct.pack(f"{order}H", len(own) + 1), struct.pack(f"{order}H", len(comments))
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    return magic + count + entries + pointer + bytes(4) + inner + photograph + bytes(4) + heap


def user_comment(text: str, encoding: str = "utf-16-be") -> bytes:
    """Make the data of a UserComment, as A1111 does by default."""
    code = b"UNICODE\0" if encoding.startswith("utf-16") else b"ASCII\0\0\0"
    return code + text.encode(encoding)


def xmp_with(properties: Mapping[str, str]) -> bytes:
    """Make an XMP packet with properties as lists of alternatives, as Apple's libraries write it."""

    def escaped(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;")

    made = "".join(
        f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{escaped(text)}</rdf:li></rdf:Alt></{name}>'
        for name, text in properties.items()
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0.0">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:exif="e" xmlns:dc="d" xmlns:xmp="x">'
        f"{made}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
