"""What the page is told: sizes and defaults of each model, styles, names of fields, and the limits of the server."""

from typing import Any, Final

from zimage_cache.history.search import MAX_QUERY
from zimage_cache.prompts.styles import styles
from zimage_cache.request import (
    BY_MODEL,
    MAX_PICTURES,
    MAX_SEED,
    PARAMETERS,
    SIDE_STEP,
    CacheMode,
    ImageRequest,
    ModelProfile,
    parameters,
)
from zimage_cache.service.resolve import RANDOM_SEED
from zimage_cache.service.tickets import GRACE_SECONDS
from zimage_cache.web.api.history import MOST_LISTED
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.middleware import max_body_bytes

PixelSize = tuple[int, int]

# Aspect ratios of the columns of the tables below; each includes its transpose.
ASPECTS: Final = ((1, 1), (9, 7), (4, 3), (3, 2), (16, 9), (21, 9))
# The sizes Z-Image was published with, in three classes, named by the side of the square.
_OFFICIAL: Final[dict[int, tuple[PixelSize | None, ...]]] = {
    1024: ((1024, 1024), (1152, 896), (1152, 864), (1248, 832), (1280, 720), (1344, 576)),
    1280: ((1280, 1280), (1440, 1120), (1472, 1104), (1536, 1024), (1536, 864), (1680, 720)),
    1536: ((1536, 1536), (1728, 1344), (1728, 1296), (1872, 1248), (2048, 1152), (2016, 864)),
}
# Those up to 256 pixels with the same shapes, for the demo model; few of them consist of multiples of 16.
_SMALL: Final[dict[int, tuple[PixelSize | None, ...]]] = {
    128: ((128, 128), (144, 112), (128, 96), (144, 96), None, (224, 96)),
    192: ((192, 192), None, (192, 144), (192, 128), None, None),
    256: ((256, 256), None, (256, 192), (240, 160), (256, 144), None),
}


def defaults(profile: ModelProfile) -> dict[str, str | float | None]:
    """Return a model's default of every field of a request but the seed, by field name; the prompt is empty."""
    rows = {name: row for name, row in parameters(ImageRequest).items() if name not in {"prompt", "seed"}}
    own = {name: getattr(profile, name) for name in BY_MODEL}
    return {"prompt": ""} | {name: row.default for name, row in rows.items()} | own


def numbers() -> list[str]:
    """Return the names of the fields of a request that are numbers."""
    return [name for name, row in parameters(GenerateBody).items() if row.kind is not str]


def offer(profile: ModelProfile) -> dict[str, Any]:
    """Return what a model offers on the page: bounds of a side in pixels, sizes, styles, and examples of prompts."""
    return {
        "min_side": profile.min_side,
        "max_side": profile.max_side,
        "sizes": size_classes(profile),
        "styles": list(styles()) if profile.styles is None else profile.styles,
        "examples": dict(profile.examples),
    }


def limits() -> dict[str, Any]:
    """Return the server's limits and values with a meaning that the page needs."""
    return {
        "grid": SIDE_STEP,
        "random_seed": RANDOM_SEED,
        "max_seed": MAX_SEED,
        "max_pictures": MAX_PICTURES,
        "max_sequence_length": PARAMETERS["max_sequence_length"].maximum,
        "max_query": MAX_QUERY,
        "max_listed": MOST_LISTED,
        "png_bytes": max_body_bytes({"path": "/png-info"}),
        "grace_ms": round(1000 * GRACE_SECONDS),
        "cache_modes": [mode for mode in CacheMode if mode is not CacheMode.ONLY],
    }


def size_classes(profile: ModelProfile) -> dict[int, list[PixelSize | None]]:
    """List the sizes to offer for a model by class: one place for each of `ASPECTS`, None where there is none."""
    default = (profile.width, profile.height)
    classes = _OFFICIAL if any(default in sizes for sizes in _OFFICIAL.values()) else _SMALL
    fitting = {side: [_fitting(size, profile) for size in sizes] for side, sizes in classes.items()}
    return {side: sizes for side, sizes in fitting.items() if any(sizes)}


def _fitting(size: PixelSize | None, profile: ModelProfile) -> PixelSize | None:
    fits = size and all(profile.min_side <= side <= profile.max_side for side in size)
    return size if fits else None


def style_choices() -> dict[str, list[tuple[str, str]]]:
    """List the styles as (label, value) in each language."""
    return {
        "en": [(style.en, name) for name, style in styles().items()],
        "zh": [(style.zh, name) for name, style in styles().items()],
    }
