"""JPEG and WebP of a stored PNG, with the settings where other tools look for them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from zimage_cache.metadata import png
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.description import describe
from zimage_cache.metadata.encodings import SUFFIXES, encoded

TEXT = "红色 fox 🦊, “quoted”\nNegative prompt: é\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 7"
PIXELS = np.mgrid[0:96, 0:128, 0:3].sum(0).astype(np.uint8)
LOSSY = [MediaType.JPEG, MediaType.WEBP]


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def test_a_png_is_the_stored_one():
    """Nothing is encoded again: the bytes are those that have the key."""
    stored = png.encode(PIXELS, {"parameters": TEXT})
    assert encoded(stored, MediaType.PNG) is stored


@pytest.mark.parametrize("encoding", LOSSY)
@pytest.mark.parametrize("text", [TEXT, "a", "🦊" * 8000 + "\nNegative prompt: " + "🦊" * 8000 + "\nSteps: 8"])
def test_the_settings_go_along(encoding, text):
    """The format, the size, nearly the pixels, and every character of the settings, the longest there are too."""
    picture = opened(encoded(png.encode(PIXELS, {"parameters": text}), encoding))

    assert (picture.format, picture.mode, picture.size) == (encoding.name, "RGB", (128, 96))
    assert np.abs(np.asarray(picture).astype(int) - PIXELS).mean() < 4
    comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == text


@pytest.mark.parametrize("encoding", LOSSY)
def test_the_comment_has_the_type_other_tools_ask_for(encoding):
    """A UserComment is UNDEFINED, type 7; tools that read other types as numbers would show none."""
    exif = opened(encoded(png.encode(PIXELS, {"parameters": TEXT}), encoding)).info["exif"].removeprefix(b"Exif\0\0")

    assert exif[:4] == b"MM\0*"
    (first,) = struct.unpack(">I", exif[4:8])
    entries, tag, kind, count, place = struct.unpack(">HHHII", exif[first : first + 14])
    assert (entries, tag, kind, count) == (1, 0x8769, 4, 1)
    entries, tag, kind, count, start = struct.unpack(">HHHII", exif[place : place + 14])
    assert (entries, tag, kind) == (1, 0x9286, 7)
    assert exif[start : start + count] == b"UNICODE\0" + TEXT.encode("utf-16-be")


def test_a_text_that_no_jpeg_has_room_for():
    """The picture is there without it; WebP has room."""
    stored = png.encode(PIXELS, {"parameters": "红" * 40_000})
    assert "exif" not in opened(encoded(stored, MediaType.JPEG)).info
    assert len(opened(encoded(stored, MediaType.WEBP)).info["exif"]) > 80_000
    longest = png.encode(PIXELS, {"parameters": "红" * 32_700})
    assert "exif" in opened(encoded(longest, MediaType.JPEG)).info


@pytest.mark.parametrize("encoding", LOSSY)
def test_a_picture_without_settings(encoding):
    """There is no EXIF then."""
    assert "exif" not in opened(encoded(png.encode(PIXELS, {}), encoding)).info


def test_each_format_has_its_endings():
    """The four endings, and what they are."""
    assert {suffix: encoding.name for suffix, encoding in SUFFIXES.items()} == {
        ".png": "PNG",
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".webp": "WEBP",
    }


@pytest.mark.parametrize("encoding", LOSSY)
@pytest.mark.parametrize(
    "prompt",
    ["prompt: {red|blue} fox", "Style:{a|b}", "Scene: {2$$a|b}", "workflow: {}", "title: { red | blue }", "text: [a]"],
)
def test_a_prompt_like_a_label_is_kept(encoding, prompt):
    """Only before a JSON object is a word with a colon the name of a text."""
    text = f"{prompt}\nSteps: 8, Sampler: Euler, Seed: 7"
    assert describe(encoded(png.encode(PIXELS, {"parameters": text}), encoding)).parameters["prompt"] == prompt
