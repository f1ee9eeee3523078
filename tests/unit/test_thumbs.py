"""Tests of cache.thumbs."""

import io

import numpy as np
import pytest
from PIL import Image

from zimage_cache.cache import thumbs
from zimage_cache.errors import CorruptEntry
from zimage_cache.metadata import png

DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 320), (320, 160)), ((300, 900), (107, 320)), ((64, 64), (64, 64))]
)
def test_longest_side(size, expected):
    """At most 320 pixels on the longest side, proportions kept, never enlarged; a WebP."""
    width, height = size
    webp = thumbs.draw(png.encode(np.zeros((height, width, 3), np.uint8), {}))

    with Image.open(io.BytesIO(webp)) as picture:
        assert (picture.format, picture.size) == ("WEBP", expected)


def test_every_damage_breaks_the_seal():
    """A flipped bit anywhere, any truncation, and another picture's thumbnail are all refused."""
    webp = thumbs.draw(png.encode(np.zeros((16, 16, 3), np.uint8), {}))
    sealed = thumbs.seal(webp, DIGEST)
    flipped = [sealed[:i] + bytes([sealed[i] ^ 4]) + sealed[i + 1 :] for i in range(len(sealed))]

    assert thumbs.unseal(sealed, DIGEST) == webp
    assert thumbs.unseal(sealed, OTHER) is None
    assert not any(thumbs.unseal(bad, DIGEST) for bad in flipped)
    assert not any(thumbs.unseal(sealed[:length], DIGEST) for length in range(len(sealed)))


def test_sealed_file_is_still_a_webp():
    """A person can open the file in `thumbs/`: the seal lies behind the picture."""
    webp = thumbs.draw(png.encode(np.full((16, 16, 3), 200, np.uint8), {}))

    with Image.open(io.BytesIO(thumbs.seal(webp, DIGEST))) as picture:
        assert picture.convert("RGB").getpixel((8, 8)) == pytest.approx((200, 200, 200), abs=2)


def test_no_picture_is_our_error():
    """Bytes that are no PNG raise ours, not Pillow's."""
    with pytest.raises(CorruptEntry, match="no PNG"):
        thumbs.draw(b"not a picture")
