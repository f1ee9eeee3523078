"""The small drawings that stand for the styles: `assets/swatches/<style>.svg`, one for each."""

from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote

# What may stand in a quoted CSS address as it is; the rest costs three characters instead of one.
_PLAIN: Final = " =:/,;()+*!@?&'"


@cache
def swatches() -> dict[str, str]:
    """Return all drawings by style: SVG of at most 2 kB each."""
    folder = files("zimage_cache.web.page.assets") / "swatches"
    drawings = sorted(folder.iterdir(), key=lambda drawing: drawing.name)
    return {drawing.name.removesuffix(".svg"): drawing.read_text("utf-8") for drawing in drawings}


def swatch_rules() -> str:
    """Return the style sheet that puts each drawing beside its style's name."""
    return "\n".join(_rule(style, drawing) for style, drawing in swatches().items())


def _rule(style: str, drawing: str) -> str:
    address = quote(drawing.replace("\n", "").replace('"', "'"), safe=_PLAIN)
    return f'#zi-style input[value="{style}"] + span {{ --zi-swatch: url("data:image/svg+xml,{address}"); }}'
