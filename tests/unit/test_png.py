"""`png`: pictures are encoded without loss, with their texts."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from zimage_cache.metadata import png

PIXELS = np.random.default_rng(7).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(16, 16, 3), (64, 64, 3), (16, 2048, 3), (208, 96, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat", "gradient"])
def test_pixels_are_bit_exact(shape, kind):
    """What is decoded is what was encoded, every bit of it."""
    rng = np.random.default_rng(1)
    pixels = {
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "flat": np.full(shape, 255, np.uint8),
        "gradient": np.broadcast_to(np.arange(shape[1], dtype=np.uint8)[None, :, None], shape),
    }[kind]

    with Image.open(io.BytesIO(png.encode(pixels, {"k": "v"}))) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), pixels)


def test_encoding_is_deterministic():
    """The same pixels and text give the same bytes: digests can be compared."""
    assert png.encode(PIXELS, {"k": "红"}) == png.encode(PIXELS.copy(), {"k": "红"})


def test_run_lengths_are_used():
    """A photograph-like picture is no larger than with Pillow's default, which takes many times as long."""
    x, y = np.meshgrid(np.linspace(0, 9, 256), np.linspace(0, 7, 256))
    smooth = 127 + 100 * np.sin(x)[..., None] * np.cos(y)[..., None] * np.ones(3)
    pixels = np.clip(smooth + np.random.default_rng(3).normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    default = io.BytesIO()
    Image.fromarray(pixels).save(default, "PNG")
    fast = io.BytesIO()
    Image.fromarray(pixels).save(fast, "PNG", compress_level=1)

    size = len(png.encode(pixels, {}))

    assert size < 1.02 * default.tell()
    assert size < 0.97 * fast.tell()


@pytest.mark.parametrize("value", ["plain", "café", "红色的圆", "a\nb", "🦊", "", " ", "x" * 70_000, "a\0b"])
def test_text_comes_back(value):
    """ASCII, Latin-1, Chinese, emoji, line breaks, nothing, very long: every text chunk comes back as it was."""
    with Image.open(io.BytesIO(png.encode(PIXELS, {"parameters": value, "zimage": "{}"}))) as picture:
        assert picture.info == {"parameters": value, "zimage": "{}"}


def test_other_tools_read_it_without_us():
    """Pillow alone finds the text under its keyword, Chinese in an iTXt chunk, ASCII in a tEXt chunk."""
    content = png.encode(PIXELS, {"parameters": "红", "plain": "red"})

    with Image.open(io.BytesIO(content)) as picture:
        assert isinstance(picture, PngImageFile)
        assert picture.text == {"parameters": "红", "plain": "red"}
    assert (content.count(b"iTXt"), content.count(b"tEXt")) == (1, 1)


def test_what_is_not_ascii_is_written_as_utf8():
    """Other programs write UTF-8 where the format says Latin-1, so a reader of tEXt cannot tell which of them it is."""
    content = png.encode(PIXELS, {"parameters": "caf\u00e9 \u00c3\u00a9"})
    assert (content.count(b"iTXt"), content.count(b"tEXt")) == (1, 0)
