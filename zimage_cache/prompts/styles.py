"""Style presets: words added to a prompt before its key is computed. The presets are in `styles.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from zimage_cache.errors import InvalidRequest
from zimage_cache.text_files import decoded

_PROMPT = "{prompt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One preset.

    Args:
        name: Its name in requests.
        en: English label.
        zh: Chinese label.
        prompt: The text around the prompt; holds `{prompt}` once.
        negative_prompt: Text added to the negative prompt.
    """

    name: str
    en: str
    zh: str
    prompt: str
    negative_prompt: str = ""

    def apply(self, prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Return both prompts with this style's words added."""
        # str.replace, not str.format: braces in the prompt are literal.
        styled = self.prompt.replace(_PROMPT, prompt)
        return styled, ", ".join(filter(None, (negative_prompt, self.negative_prompt)))


@cache
def styles() -> dict[str, Style]:
    """Return all presets by name, in the order of the data file."""
    # Users edit this file, too.
    text = decoded(files("zimage_cache.prompts").joinpath("styles.toml").read_bytes())
    return {name: Style(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def style(name: str) -> Style:
    """Return a preset.

    Raises:
        InvalidRequest: No preset has that name; the message lists all names.
    """
    try:
        return styles()[name]
    except KeyError:
        raise InvalidRequest("unknown_style", field="style", got=name, offered=tuple(styles())) from None
