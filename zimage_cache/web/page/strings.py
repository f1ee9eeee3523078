"""The page's texts in both languages, read from `assets/strings.toml` and `assets/messages.toml`."""

import tomllib
from functools import cache
from typing import Final

import gradio as gr

from zimage_cache.web.page.assets import asset

LANGUAGES: Final = ("en", "zh")


@cache
def strings() -> dict[str, dict[str, str]]:
    """Return the texts of each language by key."""
    words: dict[str, dict[str, str]] = tomllib.loads(asset("strings.toml"))
    return {language: {key: word[language] for key, word in words.items()} for language in LANGUAGES}


@cache
def messages() -> list[tuple[str, str]]:
    """Return the server's messages as patterns with placeholders: (English, Chinese), to be tried in this order."""
    written: list[dict[str, str]] = tomllib.loads(asset("messages.toml"))["messages"]
    return [(message["en"], message["zh"]) for message in written]


def translations() -> gr.I18n:
    """Return Gradio's translation object, which shows each label in the language of the browser."""
    return gr.I18n(**strings())
