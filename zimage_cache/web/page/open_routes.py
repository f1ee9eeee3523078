"""Limits Gradio's routes to those that the page and Gradio's clients need.

Gradio has eighty routes, and more with each version. Some of the others fetch arbitrary addresses of the internet, keep
a session for each given name, or accept files.
"""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_cache.web.api.routes import Refuse
from zimage_cache.web.page.calls import is_call
from zimage_cache.web.root_path import inner_path

# The routes that a browser requests while the page is used: the page itself, and its scripts, fonts and pictures.
OPEN: Final = frozenset({"/", "/theme.css", "/favicon.ico", "/robots.txt"})
OPEN_BELOW: Final = ("/static/", "/assets/")
# A query that Gradio's links to its page "Use via API" have.
_API_PAGE: Final = b"view=api"
_LONGEST: Final = 200  # characters: longer than every file name of the page; longer names may fail in the file system
_READING: Final = frozenset({"GET", "HEAD"})
_refuse = Refuse(_READING)


class OpenRoutes:
    """ASGI application in front of *gradio* and its *document* and *files*; answers 404 for routes that are not open.

    *calls* has the routes of the named endpoints, *api_page* is the page that describes them.
    """

    def __init__(
        self, gradio: ASGIApp, document: ASGIApp, files: ASGIApp, *, calls: ASGIApp, api_page: ASGIApp
    ) -> None:
        self._gradio = gradio
        self._calls = calls
        self._api_page = api_page
        self._special = {"": document, "assets": files}  # by the first name in the path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._gradio(scope, receive, send)
            return
        # Without the header from which Gradio takes its own address.
        headers = [header for header in scope["headers"] if header[0] != b"x-gradio-server"]
        scope = {**scope, "headers": headers}
        if is_call(inner_path(scope)):
            await self._calls(scope, receive, send)
        elif not is_open(inner_path(scope)):
            raise HTTPException(404)
        elif scope["method"] not in _READING:
            await _refuse(scope, receive, send)
        else:
            # The query is removed, because Gradio reads files by it; the page's scripts read it in the browser.
            application = self._special.get(inner_path(scope).split("/")[1], self._gradio)
            if inner_path(scope) == "/" and _API_PAGE in scope["query_string"].split(b"&"):
                application = self._api_page
            await application({**scope, "query_string": b""}, receive, send)


def is_open(path: str) -> bool:
    """Return whether the page needs Gradio's route *path*."""
    return path in OPEN or (path.startswith(OPEN_BELOW) and len(path) <= _LONGEST and path.isascii())
