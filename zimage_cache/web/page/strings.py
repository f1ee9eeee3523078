"""The page's texts in both languages, read from `assets/strings.toml` and `assets/messages.toml`."""

import tomllib
from functools import cache
from typing import Final, cast

import gradio as gr

from zimage_cache.web.page.bundle import source

LANGUAGES: Final = ("en", "zh")


@cache
def strings() -> dict[str, dict[str, str]]:
    """Return the texts of each language by key."""
    words: dict[str, dict[str, str]] = tomllib.loads(source("assets/strings.toml"))
    return {language: {key: word[language] for key, word in words.items()} for language in LANGUAGES}


@cache
def messages() -> list[tuple[str, str]]:
    """Return the server's messages as patterns with placeholders: (English, Chinese), to be tried in this order."""
    written: list[dict[str, str]] = tomllib.loads(source("assets/messages.toml"))["messages"]
    return [(message["en"], message["zh"]) for message in written]


class Labels:
    """The texts of Gradio's widgets. Gradio shows each in the language of the browser."""

    def __init__(self) -> None:
        self._all = gr.I18n(**strings())
        self._used: set[str] = set()

    def __call__(self, key: str) -> str:
        self._used.add(key)
        return cast("str", self._all(key))  # Gradio's widgets accept its own type for every text

    def translations(self) -> gr.I18n:
        """Return Gradio's translations of the labels so far: the document carries them."""
        return gr.I18n(**{language: {key: words[key] for key in self._used} for language, words in strings().items()})
