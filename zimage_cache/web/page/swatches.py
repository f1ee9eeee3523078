"""The small drawings that represent the styles: `styles/swatches/<style>.svg`."""

from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote

# Characters that need no escape in a quoted CSS URL; the others take three characters.
_PLAIN: Final = " =:/,;()+*!@?&'"


@cache
def swatches() -> dict[str, str]:
    """Return all drawings by style: SVG of at most 2 kB each."""
    folder = files("zimage_cache.web.page") / "styles" / "swatches"
    drawings = sorted(folder.iterdir(), key=lambda drawing: drawing.name)
    return {drawing.name.removesuffix(".svg"): drawing.read_text("utf-8") for drawing in drawings}


def swatch_rules() -> str:
    """Return the style sheet that shows each drawing beside its style's name."""
    return "\n".join(_rule(style, drawing) for style, drawing in swatches().items())


def _rule(style: str, drawing: str) -> str:
    address = quote(drawing.replace("\n", "").replace('"', "'"), safe=_PLAIN)
    return f'#zi-style input[value="{style}"] + span {{ --zi-swatch: url("data:image/svg+xml,{address}"); }}'
