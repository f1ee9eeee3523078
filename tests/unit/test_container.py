"""`container` and `texts`: texts are found wherever a file may hold them, and hostile files cost little."""

import itertools
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import (
    A_FOX,
    chunk,
    exif_with,
    jpeg_of,
    jpeg_with,
    png_of,
    png_with,
    text_chunk,
    user_comment,
    webp_with,
    xmp_with,
)
from zimage_cache.errors import InvalidRequest
from zimage_cache.metadata import container
from zimage_cache.metadata.container import MediaType, read_container
from zimage_cache.metadata.texts import MAX_TEXT_BYTES, MAX_TEXTS

COMMENT = exif_with({0x9286: user_comment("a 红 fox")})
MARKER_EXIF, MARKER_COMMENT = 0xE1, 0xFE


def texts(content: bytes) -> dict[str, str]:
    return read_container(content).texts


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_chunks_before_and_behind_the_pixels(kind, place):
    """Each kind of text chunk is read on either side: A1111 writes before the pixels, ImageMagick behind them."""
    found = read_container(png_of(**{place: [text_chunk("Parameters", "a 红 fox", kind)]}, size=(640, 480)))
    assert found.texts == {"parameters": "a 红 fox"}
    assert (found.media_type, found.width, found.height, found.too_long) == (MediaType.PNG, 640, 480, ())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("café".encode("latin-1"), "café"),
        ("café 红🦊".encode(), "café 红🦊"),
        (b"plain", "plain"),
        ("\ufeffmarked".encode(), "marked"),
    ],
    ids=["Latin-1", "UTF-8", "ASCII", "with a byte order mark"],
)
def test_encodings_of_text_chunks(written, expected):
    """A text chunk is Latin-1 in the standard, and UTF-8 by many programs, such as stable-diffusion.cpp."""
    assert texts(png_of([text_chunk("parameters", written)])) == {"parameters": expected}


def test_this_programs_own_chunk_is_latin_1():
    """Its older versions wrote Latin-1: what looks like UTF-8 is not."""
    assert texts(png_with({"zimage": "Ã©"})) == {"zimage": "Ã©"}


@pytest.mark.parametrize("pixels", [1, 400, 3000])
def test_pixels_in_many_chunks(pixels):
    """Libraries write pixels in chunks of 8 KiB: a large picture has thousands, and is no attack."""
    parts = [chunk(b"IDAT", bytes(64))] * pixels
    assert texts(png_of(behind=[*parts, text_chunk("a", "b")])) == {"a": "b"}


@pytest.mark.parametrize("colours", [0, 5 * 2**20])
def test_large_chunks_of_other_kinds_are_passed_over(colours):
    """A colour profile or a thumbnail of megabytes before the pixels is nothing unusual."""
    assert texts(png_of([chunk(b"iCCP", bytes(colours)), text_chunk("a", "b")])) == {"a": "b"}


EXIF = {
    "A1111": (user_comment("a 红 fox", "utf-16-be"), ">"),
    "SwarmUI": (user_comment("a 红 fox", "utf-16-le"), "<"),
    "big-endian in a little-endian block": (user_comment("a 红 fox", "utf-16-be"), "<"),
    "with a byte order mark": (b"UNICODE\0" + "a 红 fox".encode("utf-16"), ">"),
    "UTF-8 called UNICODE": (b"UNICODE\0" + "a 红 fox".encode(), ">"),
    "mflux, UTF-8 called ASCII": (user_comment("a 红 fox", "utf-8"), ">"),
    "without a name of the encoding": ("a 红 fox".encode(), ">"),
    "an undefined encoding": (bytes(8) + "a 红 fox".encode(), ">"),
    "padded": (user_comment("a 红 fox\0\0"), ">"),
}


@pytest.mark.parametrize(("data", "order"), EXIF.values(), ids=EXIF)
@pytest.mark.parametrize("make", [jpeg_with, webp_with, lambda exif: png_of(behind=[chunk(b"eXIf", exif)])])
def test_user_comments(make, data, order):
    """JPEG, WebP and PNG have the same EXIF block; its comment is found in each encoding that tools use."""
    assert texts(make(exif_with({0x9286: data}, order))) == {"usercomment": "a 红 fox"}


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_tags_of_exif(order):
    """ComfyUI's own WebP and its extensions name their texts in tags for cameras; other texts have the tag's name."""
    tags = {0x010F: b'workflow:{"a": 1}\0', 0x0110: b'Prompt: {"b": 2}\0', 0x010E: b"a fox\0", 0x0131: b"x 1\0"}
    expected = {"workflow": '{"a": 1}', "prompt": '{"b": 2}', "imagedescription": "a fox", "software": "x 1"}
    assert texts(webp_with(exif_with(tags, order))) == expected
    assert texts(jpeg_with(exif_with({0x0110: b"http://x/{y}\0"}, order))) == {"exif 0x0110": "http://x/{y}"}


@pytest.mark.parametrize("header", [b"", b"Exif\0\0"])
def test_exif_as_a_profile_of_imagemagick(header):
    """Older versions of ImageMagick and exiftool keep EXIF and XMP in hexadecimal, in lines."""
    block = header + COMMENT
    lines = "\n".join(block.hex()[at : at + 72] for at in range(0, 2 * len(block), 72))
    profile = text_chunk("Raw profile type exif", f"\nexif\n{len(block):8}\n{lines}\n", "zTXt")
    assert texts(png_of([profile])) == {"usercomment": "a 红 fox"}
    xmp = xmp_with({"exif:UserComment": "x"}).hex()
    assert texts(png_of([text_chunk("Raw profile type xmp", f"\nxmp\n 1\n{xmp}\n")])) == {"usercomment": "x"}
    assert texts(png_of([text_chunk("Raw profile type exif", "\nexif\n 1\nnot hexadecimal")])) == {}


XMP = xmp_with({"exif:UserComment": '{"c": "a <fox> & 红"}', "dc:description": "words"})
XMP_ATTRIBUTES = (
    b'<?xpacket begin="" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description '
    b'xmlns:exif="e" exif:UserComment="a &#34;fox&#34;"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@pytest.mark.parametrize(
    "make",
    [
        lambda xmp: png_of(behind=[text_chunk("XML:com.adobe.xmp", xmp, "iTXt")]),
        lambda xmp: png_of([text_chunk("XML:com.adobe.xmp", xmp, "compressed iTXt")]),
        lambda xmp: jpeg_of((MARKER_EXIF, b"http://ns.adobe.com/xap/1.0/\0" + xmp)),
        lambda xmp: webp_with(xmp=xmp),
    ],
    ids=["PNG", "compressed", "JPEG", "WebP"],
)
def test_xmp(make):
    """Properties are found as lists of alternatives (Draw Things) and as attributes (exiftool)."""
    assert texts(make(XMP)) == {"usercomment": '{"c": "a <fox> & 红"}', "description": "words"}
    assert texts(make(XMP_ATTRIBUTES)) == {"usercomment": 'a "fox"'}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<a",
        b"<a>" * 20_000,
        b"<a><b>x</b>" + b"<c>x</c>" * 20_000,
        b'<!DOCTYPE a [<!ENTITY b "bomb"><!ENTITY c "&b;&b;&b;">]><a>&c;&c;</a>',
        b"\xff\xfe\0\0",
    ],
)
def test_damaged_and_hostile_xmp(packet):
    """What is no XMP has few texts or none: entities, depth and number are bounded."""
    found = texts(webp_with(xmp=packet))
    assert len(found) <= MAX_TEXTS
    assert "bomb" not in str(found)


def test_comments_of_jpeg():
    """stable-diffusion.cpp names its comment; every other program's is just one."""
    named = jpeg_of((MARKER_COMMENT, b"parameters\0a fox\0"))
    assert texts(named) == {"parameters": "a fox"}
    assert texts(jpeg_of((MARKER_COMMENT, "GIMP 红".encode()))) == {"comment": "GIMP 红"}


def test_a_long_exif_block_of_jpeg():
    """A segment has at most 64 KiB: a longer block continues in the next one."""
    block = exif_with({0x9286: user_comment("fox" * 20_000)})
    parts = [(MARKER_EXIF, b"Exif\0\0" + block[at : at + 60_000]) for at in range(0, len(block), 60_000)]
    found = read_container(jpeg_of(*parts))
    assert found.texts == {"usercomment": "fox" * 20_000}
    assert (found.media_type, found.width, found.height) == (MediaType.JPEG, 24, 16)


def test_sizes_of_webp():
    """Each of the three forms has its size in another place."""
    for content in (webp_with(), webp_with(lossless=True), webp_with(exif=COMMENT)):
        found = read_container(content)
        assert (found.media_type, found.width, found.height) == (MediaType.WEBP, 24, 16)


def test_a_picture_without_texts():
    """Every kind may have none."""
    assert [texts(make) for make in (png_of(), jpeg_of(), webp_with())] == [{}, {}, {}]


def test_huge_pictures_are_read_without_decoding():
    """A header that claims 60,000 x 60,000 pixels costs nothing."""
    tracemalloc.start()
    found = read_container(png_of([text_chunk("a", "b")], size=(60_000, 60_000)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.width, found.texts) == (60_000, {"a": "b"})
    assert most < 2**20


WHOLE = png_of([text_chunk("parameters", A_FOX * 20)])
BAD = {
    "empty": b"",
    "text": b"hello, this is no picture",
    "GIF": b"GIF89a" + bytes(100),
    "signature only": b"\x89PNG\r\n\x1a\n",
    "truncated in the header": WHOLE[:20],
    "truncated in the text": WHOLE[:200],
    "wrong checksum": png_of([chunk(b"tEXt", b"k\0v", crc_off_by=1)]),
    "no compression": png_of([chunk(b"zTXt", b"k\0\0not compressed")]),
    "chunk of 2 GiB": WHOLE[:33] + b"\x7f\xff\xff\xfftEXtk\0v",
    "only the beginning of a JPEG": b"\xff\xd8\xff\xe0" + bytes(100),
    "JPEG without a frame": b"\xff\xd8\xff\xd9" + bytes(10),
    "JPEG with a short frame": b"\xff\xd8\xff\xc0\0\x04\0\0",
    "only the beginning of a WebP": b"RIFF\x10\0\0\0WEBP",
    "WebP cut in its frame": webp_with()[:24],
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_files_are_invalid_requests(content):
    """Every file that is no whole picture raises one error that names the field."""
    with pytest.raises(InvalidRequest, match=r"^file: must be a ") as caught:
        read_container(content)
    assert caught.value.field == "file"


def test_a_file_cut_behind_its_text():
    """A picture that did not arrive whole has its texts all the same."""
    whole = png_of([text_chunk("a", "b")], [text_chunk("c", "d" * 50)])
    assert texts(whole[: whole.index(b"IDAT") + 10]) == {"a": "b"}


@pytest.mark.parametrize("make", [lambda: WHOLE, lambda: jpeg_with(COMMENT), lambda: webp_with(COMMENT)])
@given(garbage=st.binary(max_size=300), at=st.integers(0, 700))
@settings(max_examples=150)
def test_garbage_never_crashes(make, garbage, at):
    """A file overwritten at any place is either still readable or an `InvalidRequest`."""
    whole = make()
    try:
        found = read_container(whole[:at] + garbage + whole[at + len(garbage) :])
    except InvalidRequest:
        return
    assert isinstance(found.texts, dict)


BOMB = zlib.compress(bytes(50 * 2**20))
MANY_ENTRIES = b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + struct.pack("<HHLL", 0x10E, 2, 2**22, 8) * 65_535
HOSTILE = {
    "bomb in zTXt": png_of([chunk(b"zTXt", b"k\0\0" + BOMB), text_chunk("a", "b")]),
    "bomb in iTXt": png_of([chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB), text_chunk("a", "b")]),
    "many bombs": png_of([*[chunk(b"zTXt", b"k\0\0" + BOMB)] * 300, text_chunk("a", "b")]),
    "a huge text": png_of([text_chunk("k", bytes(2 * MAX_TEXT_BYTES)), text_chunk("a", "b")]),
    "an EXIF block that points at itself": png_of([chunk(b"eXIf", MANY_ENTRIES), text_chunk("a", "b")]),
    "EXIF in many segments": jpeg_of(*[(MARKER_EXIF, b"Exif\0\0" + b"x" * 1000)] * 3000),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_cost_little_memory(content):
    """Bombs, huge texts and texts that are the same bytes again and again: what fits is kept, the rest is named."""
    tracemalloc.start()
    found = read_container(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * MAX_TEXT_BYTES
    assert sum(map(len, found.texts.values())) <= MAX_TEXT_BYTES
    assert found.texts.get("a") == "b" or found.too_long or found.media_type is MediaType.JPEG


def test_too_many_parts():
    """More chunks or segments than any picture has are refused before all of them are read."""
    for content in (
        png_of([chunk(b"abCd", b"")] * (container.MAX_PARTS + 1)),
        jpeg_of(*[(0xE5, b"")] * (container.MAX_PARTS + 1)),
        webp_with() + b"abcd\0\0\0\0" * (container.MAX_PARTS + 1),
    ):
        with pytest.raises(InvalidRequest, match="at most 50000 chunks"):
            read_container(content)


def test_many_texts():
    """Beyond a number of texts nothing more is kept."""
    content = png_of(itertools.chain.from_iterable([[text_chunk(f"n{each}", "x")] for each in range(2 * MAX_TEXTS)]))
    assert len(texts(content)) == MAX_TEXTS
