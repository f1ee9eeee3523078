"""Writes PNG files with the parameters that a picture was made from."""

import io
import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

# Keywords of the text chunks: in the format of A1111, which many tools read, and in that of this program.
A1111: Final = "parameters"
ZIMAGE: Final = "zimage"


def encode(pixels: NDArray[np.uint8], text: Mapping[str, str]) -> bytes:
    """Encode a picture, without loss.

    Compression level 1 with run-length encoding takes a fifth of the time of Pillow's default and gives files of about
    the same size.

    Args:
        pixels: RGB, shape (height, width, 3).
        text: Text chunks by keyword; ASCII goes into tEXt, everything else into iTXt. Latin-1 in tEXt is allowed, but
            readers take it for UTF-8, which other programs write there.
    """
    info = PngImagePlugin.PngInfo()
    for keyword, value in text.items():
        if value.isascii():
            info.add_text(keyword, value)
        else:
            info.add_itxt(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info, compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()
