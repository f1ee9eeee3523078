"""The texts of Gradio's widgets, in the languages of `i18n`."""

from typing import cast

import gradio as gr

from zimage_cache.i18n.messages import page_words


class Labels:
    """Gives the text of a widget by its key. Gradio shows each in the language of the browser."""

    def __init__(self) -> None:
        self._all = gr.I18n(**page_words())
        self._used: set[str] = set()

    def __call__(self, key: str) -> str:
        self._used.add(key)
        return cast("str", self._all(key))  # Gradio's widgets accept its own type for every text

    def translations(self) -> gr.I18n:
        """Return Gradio's translations of the labels so far: the document carries them."""
        return gr.I18n(
            **{language: {key: words[key] for key in self._used} for language, words in page_words().items()}
        )
