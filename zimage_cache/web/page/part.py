"""Components of the page outside Gradio: a folder each, with a static template and its script and style sheet."""

from collections.abc import Iterator
from importlib.resources import files

import gradio as gr

from zimage_cache.web.page.bundle import source


def add_part(name: str, elem_id: str | None = None) -> None:
    """Add the component *name* at the current place in the layout.

    Gradio gets an empty column. When it is on the page, `main.js` fills it with the template `<name>/<name>.html` and
    passes it to the function of that name, which sets text as text nodes. Not `gr.HTML`: that evaluates its template,
    and is a third of a slow line's wait for Gradio's widgets.
    """
    gr.Column(elem_id=elem_id, elem_classes=["zi-part", f"zi-part-{name}"])


def templates() -> str:
    """Return the templates of all components as HTML elements that show nothing."""
    return "".join(f'<template id="zi-template-{name}">{source(f"{name}/{name}.html")}</template>' for name in names())


def names() -> Iterator[str]:
    """List the components that have a template."""
    for folder in sorted(files("zimage_cache.web.page").iterdir(), key=lambda folder: folder.name):
        if folder.joinpath(f"{folder.name}.html").is_file():
            yield folder.name
