"""Looks: each turns the background and the things in front of it into another kind of picture.

`behind` is RGB and `front` RGBA, floats 0..255. Regular textures have a period of eight pixels, the side of a latent
cell of the VAE: a texture that is the same in every cell is the same number in every latent.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFilter import GaussianBlur, MaxFilter

Pixels = NDArray[np.floating[Any]]


def _blur(pixels: Pixels, radius: float) -> Pixels:
    return np.asarray(_image(pixels).filter(GaussianBlur(radius)), np.float32)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _over(behind: Pixels, front: Pixels) -> Pixels:
    alpha = front[..., 3:] / 255
    return behind * (1 - alpha) + front[..., :3] * alpha


def _grey(pixels: Pixels) -> Pixels:
    return pixels @ np.array((0.299, 0.587, 0.114), np.float32)


def _edges(pixels: Pixels, radius: float = 0.6) -> Pixels:
    """How much neighbouring pixels differ, 0..1, in any of the colours."""
    smooth = _blur(pixels, radius)
    across, down = np.zeros_like(smooth), np.zeros_like(smooth)
    across[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    down[1:-1] = smooth[2:] - smooth[:-2]
    return np.hypot(across, down).max(2) / 255


def _lines(pixels: Pixels, low: float, high: float) -> Pixels:
    """Outlines, 0..1: edges below `low` are dropped, those above `high` are full."""
    return np.clip((_edges(pixels) - low) / (high - low), 0, 1)[..., None]


def _rim(front: Pixels, size: int = 3) -> Pixels:
    """The ring just outside of the things, 0..1."""
    alpha = Image.fromarray(front[..., 3].astype(np.uint8))
    return (np.asarray(alpha.filter(MaxFilter(size)), np.float32) - front[..., 3])[..., None] / 255


def _grid(pixels: Pixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    return y, x


def _border(pixels: Pixels, margin: float, wave: float = 0) -> Pixels:
    """1 in a margin of paper about the picture, 0 inside."""
    (height, width), (y, x) = pixels.shape[:2], _grid(pixels)
    inside = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    inside = inside + wave * (np.sin(x * np.pi / 16) + np.sin(y * np.pi / 16))
    return np.clip(margin - inside, 0, 1)[..., None]


def watercolor(behind: Pixels, front: Pixels) -> Image.Image:
    """Pale soft washes with darker rims, and paper about them."""
    picture = _over(_blur(behind, 1.6), front)
    wash = 255 - (255 - _blur(picture, 0.9)) * 0.72
    wash -= 70 * _lines(picture, 0.05, 0.6)
    paper = _border(picture, 7, 1.6)
    return _image(wash * (1 - paper) + np.array((252, 249, 240)) * paper)


def ink(behind: Pixels, front: Pixels) -> Image.Image:
    """Grey washes on warm paper, the sky nearly empty, the things dark with a trace of their colour."""
    far = 165 + 0.35 * _grey(_blur(behind, 1.2))[..., None]
    near = 0.62 * _grey(front[..., :3])[..., None] + 25
    near = near * 0.75 + front[..., :3] * 0.25
    alpha = front[..., 3:] / 255
    tone = far * (1 - alpha) + near * alpha
    tone = tone * (1 - 0.75 * _lines(_over(behind, front), 0.08, 0.5))
    return _image(tone * np.array((0.98, 0.955, 0.90)))


def gufeng(behind: Pixels, front: Pixels) -> Image.Image:
    """Muted colours on brown silk, thin brown lines, and a red seal."""
    picture = _over(behind, front)
    grey = _grey(picture)[..., None]
    muted = (0.55 * picture + 0.45 * grey) / 255
    silk = np.array((222, 196, 148), np.float32)
    tone = silk * (0.38 + 0.72 * muted)
    tone += (np.array((90, 58, 36)) - tone) * 0.8 * _lines(picture, 0.06, 0.35)
    height, width = grey.shape[:2]
    tone[height - 20 : height - 8, width - 20 : width - 8] = (178, 44, 36)
    tone[height - 17 : height - 11, width - 15 : width - 13] = (232, 206, 160)
    return _image(tone)


def sketch(behind: Pixels, front: Pixels) -> Image.Image:
    """Dark outlines on white paper; the things are hatched, the darker the closer."""
    y, x = _grid(behind)
    alpha, dark = front[..., 3] / 255, 1 - _grey(front[..., :3]) / 255
    hatch = ((x + y) % 8 < 2) * (dark > 0.3) + ((x - y) % 8 < 2) * (dark > 0.62)  # noqa: PLR2004 - tones
    tone = 1 - 0.10 * (1 - _grey(behind) / 255) * (1 - alpha) - alpha * (0.12 * dark + 0.28 * hatch)
    lines = np.maximum(_lines(_over(behind, front), 0.05, 0.22), _rim(front))[..., 0]
    return _image(np.clip(tone - 0.8 * lines, 0.08, 1)[..., None] * np.array((252, 251, 248)))


def comic(behind: Pixels, front: Pixels) -> Image.Image:
    """Strong colours, dots in the background, thick black outlines."""
    y, x = _grid(behind)
    dots = (np.hypot(x % 8 - 3.5, y % 8 - 3.5) < 2.4)[..., None]  # noqa: PLR2004 - a radius in pixels
    picture = _over(behind * (1 - 0.22 * dots), front)
    mean = picture.mean(2, keepdims=True)
    strong = np.clip((picture - mean) * 1.45 + mean * 0.95 + 12, 0, 255)
    lines = np.maximum(_lines(_over(behind, front), 0.10, 0.25), _rim(front, 5))
    return _image(strong * (1 - lines))


def pixel(behind: Pixels, front: Pixels) -> Image.Image:
    """Blocks of four pixels in few colours."""
    picture = _image(_over(behind, front))
    small = np.asarray(picture.reduce(4), np.float32)
    levels = _image(np.round(small / 42.5) * 42.5)
    return levels.resize(picture.size, Image.Resampling.NEAREST)


def cinematic(behind: Pixels, front: Pixels) -> Image.Image:
    """Teal shadows, warm lights, a blurred background, dark corners and black bars."""
    picture = _over(_blur(behind, 1.5), front) / 255
    light = picture.mean(2, keepdims=True)
    graded = (
        0.75 * picture
        + 0.25 * light
        + (1 - light) * np.array((-0.07, 0.02, 0.06))
        + light * np.array((0.08, 0.02, -0.08))
    )
    (height, width), (y, x) = graded.shape[:2], _grid(behind)
    graded = graded * (1 - 0.8 * ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2))[..., None] * 255
    bar = max(8, height // 80 * 8)
    graded[:bar] = graded[-bar:] = 6
    return _image(graded)


def cyberpunk(behind: Pixels, front: Pixels) -> Image.Image:
    """A violet night with neon lines; the things glow in their colours."""
    light = _grey(behind)[..., None] / 255
    far = np.array((22, 8, 54)) + light * np.array((120, 20, 120))
    near = front[..., :3] * 0.75 + np.array((45, 0, 65)) * 0.6
    alpha = front[..., 3:] / 255
    picture = far * (1 - alpha) + near * alpha
    glow = _blur(np.repeat(_rim(front, 5) * 255, 3, 2), 2.0) / 255 * np.array((60, 255, 255)) * 1.3
    lines = _lines(behind, 0.04, 0.2) * (1 - alpha) * np.array((230, 40, 190))
    return _image(np.maximum(picture + glow, lines))


def poster(behind: Pixels, front: Pixels) -> Image.Image:
    """Few flat colours inside a wide margin of paper."""
    picture = np.round(_over(behind, front) / 51) * 51
    faded = picture * 0.88 + np.array((28, 22, 10))
    paper = _border(picture, 12)
    return _image(faded * (1 - paper) + np.array((244, 234, 210)) * paper)


def papercut(behind: Pixels, front: Pixels) -> Image.Image:
    """Layers of pale paper: white rims about the things, and shadows below every edge."""
    flat = np.round(behind / 36) * 36 * 0.72 + 70
    alpha = front[..., 3:]
    shadow = np.roll(_blur(np.repeat(alpha, 3, 2), 1.5), (3, 3), (0, 1)) / 255
    step = np.clip(_grey(np.roll(flat, 2, 0)) - _grey(flat), 0, 40)[..., None]
    picture = (flat - step * 0.8) * (1 - 0.45 * shadow)
    rim = np.clip(_rim(front, 5), 0, 1)
    picture = picture * (1 - rim) + 250 * rim
    return _image(_over(picture, np.concatenate((front[..., :3] * 0.9 + 20, alpha), 2)))


LOOKS: dict[str, Callable[[Pixels, Pixels], Image.Image]] = {
    f.__name__: f for f in (watercolor, ink, gufeng, sketch, comic, pixel, cinematic, cyberpunk, poster, papercut)
}
