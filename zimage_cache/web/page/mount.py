"""Puts the Gradio page on `/`."""

from typing import Any, Final

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from zimage_cache.accounts.limits import Rate
from zimage_cache.i18n.messages import page_words
from zimage_cache.service.service import ImageService
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.errors import add_page_error_responses
from zimage_cache.web.page.assets import Assets
from zimage_cache.web.page.calls import Calls
from zimage_cache.web.page.create import add_create
from zimage_cache.web.page.document import ApiPage, Document
from zimage_cache.web.page.endpoints import build_endpoints
from zimage_cache.web.page.form import ASPECTS, defaults, limits, numbers, offer, style_choices
from zimage_cache.web.page.gradio_files import GradioFiles, needed_files, style_sheet
from zimage_cache.web.page.labels import Labels
from zimage_cache.web.page.open_routes import OpenRoutes
from zimage_cache.web.page.part import add_part
from zimage_cache.web.page.theme import theme
from zimage_cache.web.root_path import quoted

_A_DAY: Final = 86400.0  # seconds


def mount_page(app: FastAPI, service: ImageService, root_path: str = "", rate: Rate | None = None) -> FastAPI:
    """Mount the page after *app*'s own routes; routes added later would not be reached.

    Args:
        app: The application.
        service: Answers the page's requests, and Gradio's named endpoints.
        root_path: The path below which a proxy offers this server; "" = none.
        rate: How often each user may ask for pictures.
    """
    words = Labels()
    page = build_page(service, words)
    needed = needed_files({block.get_block_name() for block in page.blocks.values()})
    assets = Assets({**_facts(service), "root_path": quoted(root_path)}, style_sheet(needed))
    assets.serve(app)
    gradio = _mounted(app, page, theme=theme(), i18n=words.translations(), footer_links=[])
    # After the page, whose document has the numbers that Gradio gives to all widgets in turn.
    endpoints = _mounted(app, build_endpoints(service, rate), footer_links=["api"])
    document, files = Document(gradio, assets, needed), GradioFiles(gradio)
    app.mount("/", OpenRoutes(gradio, document, files, calls=Calls(endpoints), api_page=ApiPage(endpoints)))
    return app


def _mounted(app: FastAPI, blocks: gr.Blocks, **options: Any) -> gr.routes.App:  # noqa: ANN401 - of Gradio's function
    """Return Gradio's application of *blocks*, which starts and stops with *app*, and is not routed yet."""
    gr.mount_gradio_app(app, blocks, path="/", ssr_mode=False, allowed_paths=[], run_history=False, **options)
    route = app.routes.pop()
    assert isinstance(route, Mount) and isinstance(route.app, gr.routes.App)  # noqa: S101, PT018 - it was just added
    add_page_error_responses(route.app)
    return route.app


def build_page(service: ImageService, words: Labels) -> gr.Blocks:
    """Build the page."""
    page = gr.Blocks(title="Z-Image", analytics_enabled=False, fill_width=True)
    with page:
        add_part("header")
        with gr.Tabs(overflow_behavior="wrap", elem_id="zi-tabs"):
            with gr.Tab(words("tab_create"), elem_id="zi-tab-create"):
                add_create(page, service, words)
            with gr.Tab(words("tab_history"), elem_id="zi-tab-history"):
                add_part("history")
            with gr.Tab(words("tab_cache"), elem_id="zi-tab-cache"):
                add_part("cache")
        add_part("drop")
    # No event of the page runs in Python: its scripts use the HTTP API.
    page.queue(api_open=False)
    # Gradio would look a thousand times a second whether there is an event in its queue.
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = _A_DAY  # noqa: SLF001
    return page


def _facts(service: ImageService) -> dict[str, Any]:
    """Return what the page's scripts are told of the server; `lib/types.d.ts` describes it."""
    profile = service.profile()
    return {
        "strings": page_words(),
        "fields": list(GenerateBody.model_fields),
        "numbers": numbers(),
        "styles": style_choices(),
        "aspects": ASPECTS,
        "models": {name: offer(service.profile(name)) for name in service.models},
        "defaults": {name: defaults(service.profile(name)) for name in service.models},
        "default_model": service.default_model,
        "model": {"name": profile.name, "title": str(profile.title), "note": profile.note},
        "limits": limits(),
    }
