"""What of Gradio answers, against all routes that this version of Gradio has."""

import asyncio

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from zimage_cache.web.page.calls import is_call
from zimage_cache.web.page.open_routes import is_open

OPENED = {
    *("GET /", "HEAD /", "GET /theme.css", "GET /favicon.ico", "GET /robots.txt"),
    *("GET /static/{path:path}", "GET /assets/{path:path}"),
}
# None of these is used by the page: they fetch, store, hold a session, or repeat what the page contains.
CLOSED = {
    line.strip()
    for line in """
    GET /config
    GET /gradio_api/app_id
    GET /gradio_api/call/v2/{api_name}/{event_id}
    GET /gradio_api/call/{api_name}/{event_id}
    GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name}
    GET /gradio_api/deep_link
    GET /gradio_api/dev/reload
    GET /gradio_api/file/{path:path}
    GET /gradio_api/file={path_or_url:path}
    GET /gradio_api/heartbeat/{session_hash}
    GET /gradio_api/info
    GET /gradio_api/login_check
    GET /gradio_api/openapi.json
    GET /gradio_api/proxy={url_path:path}
    GET /gradio_api/queue/data
    GET /gradio_api/queue/status
    GET /gradio_api/run-history/buckets
    GET /gradio_api/run-history/records
    GET /gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}
    GET /gradio_api/runs
    GET /gradio_api/startup-events
    GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file
    GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8
    GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}
    GET /gradio_api/theme.css
    GET /gradio_api/token
    GET /gradio_api/upload_progress
    GET /gradio_api/user
    GET /gradio_api/vibe-code
    GET /logout
    GET /manifest.json
    GET /monitoring
    GET /monitoring/summary
    GET /monitoring/{key}
    GET /openapi.json
    GET /pwa_icon
    GET /pwa_icon/{size}
    GET /svelte/{path:path}
    HEAD /gradio_api/file={path_or_url:path}
    HEAD /gradio_api/proxy={url_path:path}
    HEAD /openapi.json
    POST /gradio_api/api/{api_name}
    POST /gradio_api/call/v2/{api_name}
    POST /gradio_api/call/{api_name}
    POST /gradio_api/cancel
    POST /gradio_api/component_server
    POST /gradio_api/process_recording
    POST /gradio_api/queue/join
    POST /gradio_api/reset
    POST /gradio_api/run-history/connect
    POST /gradio_api/run/{api_name}
    POST /gradio_api/stream/{event_id}
    POST /gradio_api/stream/{event_id}/close
    POST /gradio_api/undo-vibe-edit
    POST /gradio_api/upload
    POST /gradio_api/vibe-code
    POST /gradio_api/vibe-edit
    POST /gradio_api/vibe-starter-queries
    POST /login
    """.strip().splitlines()
}


def gradio_routes() -> set[str]:
    """List the routes of a mounted Gradio application, those of its own routers too, without a slash at the end."""

    async def mounted() -> FastAPI:
        # In a running loop: outside of one, Gradio makes a dozen loops and closes none.
        with gr.Blocks() as page:
            gr.Textbox()
        return gr.mount_gradio_app(FastAPI(), page, path="/", ssr_mode=False)

    routes = asyncio.run(mounted()).routes
    (mount,) = [route for route in routes if isinstance(route, Mount)]
    assert isinstance(mount.app, FastAPI)
    return {f"{method} {path.rstrip('/') or path}" for method, path in listed(mount.app.routes)}


def listed(routes):
    for route in routes:
        if hasattr(route, "path"):
            yield from ((method, route.path) for method in route.methods or {"ANY"})
        else:  # a router that FastAPI joins when it is asked
            yield from listed(route.original_router.routes)


def test_no_route_of_gradio_is_left_unjudged():
    """A version of Gradio that adds a route, or takes one away that the page needs, fails here."""
    assert gradio_routes() == OPENED | CLOSED


def test_open_is_what_the_page_needs_and_nothing_else():
    """The list in the program is the list here."""
    opened = {route for route in OPENED | CLOSED if is_open(route.split(" ")[1])}
    assert opened == OPENED


def test_calls_are_what_clients_of_gradio_need_and_nothing_else():
    """The description of the endpoints, their calls and the answers; neither files nor functions of the page."""
    paths = {route: route.split(" ")[1] for route in OPENED | CLOSED}
    names = {"{api_name}": "generate", "{event_id}": "0" * 32}
    for placeholder, name in names.items():
        paths = {route: path.replace(placeholder, name) for route, path in paths.items()}
    called = {route for route, path in paths.items() if is_call(path)}
    assert called == {
        "GET /config",
        "GET /gradio_api/info",
        "GET /gradio_api/call/{api_name}/{event_id}",
        "GET /gradio_api/queue/data",
        "POST /gradio_api/call/{api_name}",
        "POST /gradio_api/cancel",
        "POST /gradio_api/queue/join",
        "POST /gradio_api/reset",
    }


@pytest.mark.parametrize(
    "path",
    [
        *("", "/static", "/x/static/a", "/theme.css/", "//", "/assets", "/config", "/gradio_api/file=http://a/b"),
        *("/static/" + "a" * 300, "/assets/" + "a/" * 4000, "/assets/" + "红" * 100),
    ],
)
def test_what_only_looks_like_it(path):
    """A path is open as a whole, or below a folder that is."""
    assert not is_open(path)
