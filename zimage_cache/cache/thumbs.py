"""Thumbnails: derived from a picture, sealed against damage and against belonging to another picture. No disk here."""

import hashlib
import io

from PIL import Image

from zimage_cache.errors import CorruptEntry

LONGEST_SIDE = 320
MAX_BYTES = 2**20
_QUALITY = 80
_SEAL_BYTES = 64


def draw(png: bytes) -> bytes:
    """Return a WebP of the picture, its longest side at most 320 pixels, proportions kept.

    Raises:
        CorruptEntry: *png* is no picture.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            small = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptEntry(f"image: no PNG: {error}") from None
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()


def seal(webp: bytes, digest: str) -> bytes:
    """Append 64 bytes: the digest of the picture it was made from, and the SHA-256 of everything before.

    They lie behind the end that the WebP itself declares, where every viewer ignores them.
    """
    signed = webp + bytes.fromhex(digest)
    return signed + hashlib.sha256(signed).digest()


def unseal(sealed: bytes, digest: str) -> bytes | None:
    """Return the WebP without its seal; `None` when it is damaged or was made from another picture."""
    webp = sealed[:-_SEAL_BYTES]
    return webp if webp and sealed == seal(webp, digest) else None
