"""Gradio's document with what is ours, against the document of the installed version of Gradio."""

import re
from pathlib import Path

import gradio
import pytest

from zimage_cache.web.page.assets import Assets
from zimage_cache.web.page.document import Document

TEMPLATE = Path(gradio.__file__).parent / "templates" / "frontend" / "index.html"


ASSETS = Assets({"root_path": ""}, "a { }")


@pytest.fixture(scope="module")
def html() -> str:
    async def gradio(_scope, _receive, _send):
        """The document is given as text here."""

    return Document(gradio, ASSETS, ["a.js", "b.css"]).written(TEMPLATE.read_text("utf-8"))


def test_our_script_comes_before_that_of_gradio(html: str):
    """Browsers execute module scripts in the order of the document."""
    scripts = re.findall(r'<script[^>]* src="([^"]*)"', html)
    assert scripts[0] == ASSETS.address("page.js")
    assert all(script.startswith("./assets/") for script in scripts[1:])
    assert len(scripts) == 2


def test_something_is_seen_before_any_style_sheet_has_arrived(html: str):
    """Nothing in the head keeps the body from being drawn; the skeleton comes first in the body."""
    head, body = html.split("<body", 1)
    assert re.findall(r'<link rel="stylesheet" (?!disabled)[^>]*>', head) == []
    assert 'rel="preload" as="style"' in head
    assert body.index('id="zi-skeleton"') < body.index(ASSETS.address("page.css")) < body.index("<gradio-app")


def test_what_the_page_does_not_need_is_left_out(html: str):
    """No manifest, which this server does not have, and no script for pages inside other pages."""
    assert "manifest" not in html
    assert "iframeResizer.contentWindow" not in html
    assert "gradio_config" in html


def test_files_of_gradio_are_announced(html: str):
    """Scripts are loaded at once; style sheets are in the one for all, and not loaded by themselves."""
    head = html.split("<body", 1)[0]
    assert '<link rel="modulepreload" crossorigin href="./assets/a.js">' in head
    assert '<link rel="stylesheet" disabled href="./assets/b.css">' in head
    assert head.index(ASSETS.address("gradio.css")) < head.index("./assets/a.js")


def test_templates_are_in_the_body(html: str):
    """Each component with a template finds it by its name."""
    names = re.findall(r'<template id="zi-template-(\w+)">', html)
    assert {"card", "header", "history", "prompt"} <= set(names)
    assert len(names) == len(set(names))
