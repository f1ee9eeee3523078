"""What of Gradio answers: only what the page needs. Gradio itself has eighty routes, and gains more with each version.

Some of the others fetch any address of the internet, keep a session for each name they are given, or take files.
"""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_cache.web.api.routes import Refuse

# As a browser asks for them while the page is used: the page itself, and its scripts, fonts and pictures.
OPEN: Final = frozenset({"/", "/theme.css", "/favicon.ico", "/robots.txt"})
OPEN_BELOW: Final = ("/static/", "/assets/")
_LONGEST: Final = 200  # characters: no file of the page has such a name, and some that are longer no file system takes
_READING: Final = frozenset({"GET", "HEAD"})
_refuse = Refuse(_READING)


class OpenRoutes:
    """Stands in front of *gradio*; what is not open is not there."""

    def __init__(self, gradio: ASGIApp) -> None:
        self._gradio = gradio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._gradio(scope, receive, send)
        elif not is_open(scope["path"]):
            raise HTTPException(404)
        elif scope["method"] not in _READING:
            await _refuse(scope, receive, send)
        else:
            # Without its query, by which Gradio reads files of its own; the page's scripts read it in the browser. And
            # without a header in which Gradio looks for its own address.
            headers = [header for header in scope["headers"] if header[0] != b"x-gradio-server"]
            await self._gradio({**scope, "query_string": b"", "headers": headers}, receive, send)


def is_open(path: str) -> bool:
    """Tell whether the page needs what Gradio has at *path*."""
    return path in OPEN or (path.startswith(OPEN_BELOW) and len(path) <= _LONGEST and path.isascii())
