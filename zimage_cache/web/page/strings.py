"""The page's words in both languages. The words themselves are `assets/strings.toml` and `assets/messages.toml`."""

import tomllib
from functools import cache
from typing import Final

import gradio as gr

from zimage_cache.web.page.assets import asset

LANGUAGES: Final = ("en", "zh")


@cache
def strings() -> dict[str, dict[str, str]]:
    """Return the table of each language: word by key."""
    words: dict[str, dict[str, str]] = tomllib.loads(asset("strings.toml"))
    return {language: {key: word[language] for key, word in words.items()} for language in LANGUAGES}


@cache
def messages() -> list[tuple[str, str]]:
    """Return what the server says, as patterns with holes: (English, Chinese), to be tried in this order."""
    written: list[dict[str, str]] = tomllib.loads(asset("messages.toml"))["messages"]
    return [(message["en"], message["zh"]) for message in written]


def translations() -> gr.I18n:
    """Return what turns a key into a label that each browser reads in its own language."""
    return gr.I18n(**strings())
