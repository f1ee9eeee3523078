"""The HTML document: Gradio's, with our script, style sheet and templates, and something to see at once.

Gradio puts what its parameter `head` has into the page by a script, after it has loaded most of itself. Here it is in
the document: the browser loads our files beside Gradio's, and executes our script first.
"""

import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_cache.web.page import compression
from zimage_cache.web.page.assets import Assets
from zimage_cache.web.page.bundle import source
from zimage_cache.web.page.part import templates

# Gradio's style sheet would keep the page white until it has arrived. Its place decides which of its rules count, so it
# stays there, but is loaded as a preload first.
_SHEET: Final = re.compile(r'<link rel="stylesheet"([^>]*)>')
_LATER: Final = r"""<link rel="preload" as="style" onload="this.rel='stylesheet'"\1>"""
# What the page does not need: a manifest that this server does not have, and the script for pages inside other pages.
_REST: Final = r"(?:(?!</script>).)*"
_NEEDLESS: Final = re.compile(
    rf'\s*<link rel="manifest"[^>]*>|\s*<script>{_REST}iframeResizer\.contentWindow{_REST}</script>', re.DOTALL
)
_BODY: Final = re.compile(r"<body\b[^>]*>")


class Document:
    """ASGI application: the document of *gradio* in our form."""

    def __init__(self, gradio: ASGIApp, assets: Assets) -> None:
        self._gradio = gradio
        script = f'<script type="module" src="{assets.address("page.js")}"></script>'
        self._head = f"<title>Z-Image</title><style>{source('skeleton.css')}</style>{script}"
        sheet = f'<link rel="stylesheet" href="{assets.address("page.css")}">'
        self._body = source("skeleton.html") + sheet + templates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send(scope, start, b"".join(parts), send)

        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        await self._gradio({**scope, "headers": plain}, receive, collect)

    async def _send(self, scope: Scope, start: Message, body: bytes, send: Send) -> None:
        encoding = compression.preferred(Headers(scope=scope).get("accept-encoding", ""))
        if start["status"] == HTTPStatus.OK and body:
            body = compression.FAST[encoding](self.written(body.decode()).encode())
            headers = MutableHeaders(scope=start)
            headers.update(compression.headers(encoding))
            headers["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def written(self, html: str) -> str:
        """Return Gradio's document *html* in our form."""
        html = _SHEET.sub(_LATER, _NEEDLESS.sub("", html)).replace("<head>", f"<head>{self._head}", 1)
        return _BODY.sub(lambda found: found[0] + self._body, html, count=1)
