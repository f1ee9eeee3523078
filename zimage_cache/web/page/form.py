"""What the form offers: sizes that fit the model, samplers, styles in both languages."""

from math import gcd
from typing import Final

from zimage_cache.generator.protocol import ModelProfile
from zimage_cache.request import ImageRequest, Sampler
from zimage_cache.styles import styles

CUSTOM: Final = "custom"
SAMPLERS: Final = (
    ("Euler", Sampler.EULER),
    ("UniPC", Sampler.UNIPC),
    ("DPM++ 2M", Sampler.DPMPP_2M),
    ("Heun (2×)", Sampler.HEUN),
)
# The sizes Z-Image was published with, by megapixel class; each stands for its transpose too.
_OFFICIAL: Final = (
    *((1024, 1024), (1152, 896), (1152, 864), (1248, 832), (1280, 720), (1344, 576)),
    *((1280, 1280), (1440, 1120), (1472, 1104), (1536, 1024), (1536, 864), (1680, 720)),
    *((1536, 1536), (1728, 1344), (1728, 1296), (1872, 1248), (2048, 1152), (2016, 864)),
)
_SMALL: Final = ((128, 128), (192, 128), (64, 64), (256, 256), (384, 256), (512, 512))


def size_choices(profile: ModelProfile) -> list[tuple[str, str]]:
    """List the sizes to offer for a model, as (label, value), its own default first among equals."""
    landscapes = _OFFICIAL if (profile.width, profile.height) in _OFFICIAL else _SMALL
    sizes = dict.fromkeys(size for w, h in landscapes for size in ((w, h), (h, w)))
    sizes |= {(profile.width, profile.height): None}
    fitting = [size for size in sizes if all(profile.min_side <= side <= profile.max_side for side in size)]
    return [(_label(*size), size_value(*size)) for size in fitting]


def size_value(width: int, height: int) -> str:
    """Write a size as the form's value."""
    return f"{width}x{height}"


def _label(width: int, height: int) -> str:
    common = gcd(width, height)
    return f"{width} × {height}  ({width // common}:{height // common})"


def defaults(profile: ModelProfile) -> dict[str, str | float | None]:
    """Return what a request to a model that leaves everything out asks for, by field name; the seed is drawn."""
    fields = {
        name: field.default for name, field in ImageRequest.model_fields.items() if name not in {"prompt", "seed"}
    }
    own = {name: getattr(profile, name) for name in ("width", "height", "steps", "guidance_scale")}
    return {"prompt": "", **fields, **own}


def style_choices() -> dict[str, list[tuple[str, str]]]:
    """List the styles as (label, value) in each language."""
    return {
        "en": [(style.en, name) for name, style in styles().items()],
        "zh": [(style.zh, name) for name, style in styles().items()],
    }
