"""Puts the Gradio page on `/`."""

import json
from typing import Final

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from zimage_cache.i18n.messages import page_words
from zimage_cache.service.service import ImageService
from zimage_cache.web.errors import add_page_error_responses
from zimage_cache.web.page.assets import asset
from zimage_cache.web.page.create import add_create
from zimage_cache.web.page.form import ASPECTS, defaults, numbers, offer, style_choices
from zimage_cache.web.page.open_routes import OpenRoutes
from zimage_cache.web.page.part import add_part
from zimage_cache.web.page.swatches import swatch_rules
from zimage_cache.web.page.theme import theme

# In this order: each script uses what earlier ones define on `window.zimage`.
_SCRIPTS: Final = (
    *("words.js", "server.js", "tell.js", "tab.js", "link.js", "form.js", "access.js", "status.js"),
    *("jobs.js", "actions.js", "tiles.js", "card.js", "asks.js", "prompt.js"),
    *("styles.js", "sizes.js", "advanced.js", "viewer.js"),
    *("tablist.js", "gallery.js", "history.js", "drop.js", "similar.js"),
)
_STYLES: Final = (
    *("style.css", "card.css", "prompt.css"),
    *("swatches.css", "sizes.css", "viewer.css", "tabs.css", "history.css", "drop.css", "similar.css"),
    "layout.css",  # last: rules that depend on the size of the window
)


def mount_page(app: FastAPI, service: ImageService) -> FastAPI:
    """Mount the page after *app*'s own routes; routes added later would not be reached."""
    words = gr.I18n(**page_words())  # shows each label in the language of the browser
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(service, words),
        path="/",
        theme=theme(),
        head=_head(service),
        i18n=words,
        footer_links=[],
        ssr_mode=False,
        allowed_paths=[],
        run_history=False,
    )
    for route in mounted.routes:
        if isinstance(route, Mount) and isinstance(route.app, gr.routes.App):
            add_page_error_responses(route.app)
            route.app = OpenRoutes(route.app)
    return mounted


def build_page(service: ImageService, words: gr.I18n) -> gr.Blocks:
    """Build the page."""
    page = gr.Blocks(title="Z-Image", analytics_enabled=False, fill_width=True)
    with page:
        add_part("header")
        with gr.Tabs(overflow_behavior="wrap", elem_id="zi-tabs"):
            with gr.Tab(words("tab_create"), elem_id="zi-tab-create"):
                add_create(page, service, words)
            with gr.Tab(words("tab_history"), elem_id="zi-tab-history"):
                add_part("history")
        add_part("drop")
    # No event of the page runs in Python: its scripts use the HTTP API.
    page.queue(api_open=False)
    return page


def _head(service: ImageService) -> str:
    profile = service.profile()
    about = {
        "strings": page_words(),
        "numbers": numbers(),
        "styles": style_choices(),
        "aspects": ASPECTS,
        "examples": profile.examples,
        "models": {name: offer(service.profile(name)) for name in service.models},
        "defaults": {name: defaults(service.profile(name)) for name in service.models},
        "default_model": service.default_model,
        "model": {"name": profile.name, "title": profile.title, "note": profile.note},
    }
    scripts = "".join(f"<script>{asset(name)}</script>" for name in _SCRIPTS)
    # Not as the mount's `css`: Gradio rewrites every selector of that, and those in media queries incorrectly.
    style = "".join(f"<style>{sheet}</style>" for sheet in (*map(asset, _STYLES), swatch_rules()))
    return f'{style}<script type="application/json" id="zimage-page">{_inline(about)}</script>{scripts}'


def _inline(about: object) -> str:
    """Return JSON that is safe inside a script element: it contains no `<`."""
    return json.dumps(about, ensure_ascii=False).replace("<", "\\u003c")
