"""The HTML document: Gradio's, with our script, style sheet and templates, and something to see at once.

Gradio puts what its parameter `head` has into the page by a script, after it has loaded most of itself. Here it is in
the document: the browser loads our files beside Gradio's, and executes our script first.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_cache.web.page import compression
from zimage_cache.web.page.assets import Assets
from zimage_cache.web.page.bundle import script, source
from zimage_cache.web.page.gradio_files import whole, with_headers
from zimage_cache.web.page.part import templates

# Gradio's style sheet would keep the page white until it has arrived. Its place decides which of its rules count, so it
# stays there, but is loaded as a preload first. Instead of it come all that the page needs.
_SHEET: Final = re.compile(r'<link rel="stylesheet"[^>]*>')
_EARLY: Final = """<link rel="preload" as="style" onload="this.rel='stylesheet'" href="{}">"""
# The page's script enables it when the form can be used.
_LATE: Final = '<link rel="stylesheet" id="zi-late" disabled href="{}">'
# Gradio waits for this one before it shows anything.
_THEME: Final = re.compile(r'"theme_hash": ?"(\w+)"')
_THEME_PRELOAD: Final = '<link rel="preload" as="style" href="theme.css?v={}">'
# What the page does not need: a manifest that this server does not have, and the script for pages inside other pages.
# No possessive repetition of a group here or in bundle.py: Python below 3.11.5 matches it incorrectly.
_MANIFEST: Final = re.compile(r'<link rel="manifest"[^>]*+>')
_SCRIPT: Final = re.compile(r"<script>(?:(?!</script>).)*</script>", re.DOTALL)
_FRAMES: Final = "iframeResizer.contentWindow"
_BODY: Final = re.compile(r"<body\b[^>]*>")


# Otherwise browsers ask for the icon at the root of the server's name, which may be another server's.
_ICON: Final = '<link rel="icon" href="favicon.ico">'
# A page whose address has a password in it cannot send requests: it is opened once more without, and the browser has
# the password by then. And where a proxy changed the name or the path that Gradio takes for the page's own.
_CLEAN: Final = """<script>
try { new Request("."); } catch {
  location.replace(location.origin + location.pathname + location.search + location.hash);
}
</script>"""
_ROOT: Final = '<script>gradio_config.root = new URL(".", location.href).href.replace(/\\/$/u, "");</script>'

# Gradio 6.31 does not load its description of endpoints for an address that names it, only when its button is pressed.
_OPEN_API: Final = """<script>
history.replaceState(null, "", location.pathname);
new MutationObserver((_changes, observer) => {
  const button = document.querySelector("button.show-api");
  if (button) { observer.disconnect(); button.click(); }
}).observe(document, { childList: true, subtree: true });
</script>"""


class Document:
    """ASGI application: the document of *gradio* in our form; *needed* are files of Gradio's that it announces."""

    def __init__(self, gradio: ASGIApp, assets: Assets, needed: Iterable[str]) -> None:
        self._gradio = gradio
        page = f'<script type="module" src="{assets.address("page.js")}"></script>'
        # Before anything is painted, with names that nothing else sees.
        theme = f"<script>{{{script('lib/theme.js')}}}</script>"
        style = f"<style>{source('skeleton.css')}</style>"
        self._first = f"<head><title>Z-Image</title>{_ICON}{theme}{style}{_CLEAN}{page}"
        self._sheet = _EARLY.format(assets.address("gradio.css"))
        self._last = _ROOT + "".join(map(_announced, needed)) + "</head>"
        sheet = f'<link rel="stylesheet" href="{assets.address("page.css")}">'
        self._body = source("skeleton.html") + sheet + templates() + _LATE.format(assets.address("swatches.css"))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        encoding = compression.preferred(Headers(scope=scope).get("accept-encoding", ""))
        start, body = await whole(self._gradio, scope)
        if start["status"] == HTTPStatus.OK:
            body = compression.FAST[encoding](self.written(body.decode()).encode())
            start = with_headers(start, compression.headers(encoding) | {"content-length": str(len(body))})
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def written(self, html: str) -> str:
        """Return Gradio's document *html* in our form."""
        html = _SCRIPT.sub(lambda found: "" if _FRAMES in found[0] else found[0], _MANIFEST.sub("", html))
        html = _SHEET.sub(self._sheet, html)
        theme = "".join(map(_THEME_PRELOAD.format, _THEME.findall(html)[:1]))
        html = html.replace("<head>", self._first + theme, 1).replace("</head>", self._last, 1)
        return _BODY.sub(lambda found: found[0] + self._body, html, count=1)


class ApiPage:
    """ASGI application: the page "Use via API" of *gradio*, which has the named endpoints."""

    def __init__(self, gradio: ASGIApp) -> None:
        self._gradio = gradio

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        start, body = await whole(self._gradio, scope)
        body = body.replace(b"<head>", b"<head>" + _OPEN_API.encode(), 1)
        await send(with_headers(start, {"content-length": str(len(body))}))
        await send({"type": "http.response.body", "body": body})


def _announced(name: str) -> str:
    """Return the element that makes browsers load a script of Gradio's before Gradio asks for it.

    A style sheet is in the one for all already; an element that is disabled keeps Gradio from loading it again.
    """
    if name.endswith(".css"):
        return f'<link rel="stylesheet" disabled href="./assets/{name}">'
    return f'<link rel="modulepreload" crossorigin href="./assets/{name}">'
