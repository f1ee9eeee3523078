"""Gradio's scripts and style sheets: compressed well and once, and known before Gradio asks for them.

Gradio compresses each answer anew, and its page finds out in four steps which files it needs, each after the last has
arrived; two dozen of them are small style sheets. The names of its files contain a digest of their content, so that
browsers may keep them permanently.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

import gradio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_cache.web.page import compression
from zimage_cache.web.root_path import inner_path

_FRONTEND: Final = Path(gradio.__file__).parent / "templates" / "frontend"
_ENTRY: Final = re.compile(r'src="\./assets/([\w.-]+)"')
_SHEET: Final = re.compile(r'<link rel="stylesheet"[^>]{0,80} href="\./assets/([\w.-]+)"')
# How Gradio's bundler writes its lists: all files of a script, its imports with indices into them, and an object with
# the imports of each kind of widget.
_FILES: Final = re.compile(r"\bm\.f=\[(.*?)\]")
_IMPORT: Final = re.compile(r"import\(`\./([\w.-]++)`\)[^_]{0,60}?,__vite__mapDeps\(\[([\d,]*+)\]\)")
_WIDGET: Final = re.compile(r"\b(\w++):\{(?:\w++:[^{}]{0,500},)?(component:[^{}]*+)\}")
_NAME: Final = re.compile(r"/assets/[\w.-]+\.(?:js|css)")
_FOREVER: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
# Headers of a request for less than the whole answer, or for another form of it.
_PARTIAL: Final = frozenset({b"accept-encoding", b"range", b"if-range", b"if-none-match", b"if-modified-since"})
_MOST_KEPT: Final = 1000  # files; Gradio has fewer


class GradioFiles:
    """ASGI application: the files of *gradio*, each compressed once."""

    def __init__(self, gradio: ASGIApp) -> None:
        self._gradio = gradio
        self._kept: dict[tuple[str, str], tuple[Message, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = inner_path(scope)
        if scope["method"] != "GET" or not _NAME.fullmatch(path):
            await self._gradio(scope, receive, send)
            return
        encoding = compression.preferred(Headers(scope=scope).get("accept-encoding", ""))
        start, body = self._kept.get((path, encoding)) or await self._made(scope, encoding)
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _made(self, scope: Scope, encoding: str) -> tuple[Message, bytes]:
        start, body = await whole(self._gradio, scope)
        if start["status"] != HTTPStatus.OK:
            return start, body
        body = await asyncio.to_thread(compression.SMALL[encoding], body)
        # Not the headers that Gradio adds to ask for changes: there are none, and with 30 files they would be 5 kB.
        media_type = Headers(raw=start["headers"])["content-type"]
        response = Response(body, headers=_FOREVER | compression.headers(encoding), media_type=media_type)
        start = {**start, "headers": response.raw_headers}
        if len(self._kept) < _MOST_KEPT:
            self._kept[inner_path(scope), encoding] = start, body
        return start, body


async def whole(application: ASGIApp, scope: Scope) -> tuple[Message, bytes]:
    """Return the start and the body of the complete, uncompressed answer of *application* to a request without a body.

    Also when the client disconnects meanwhile: *application* would end its answer early, without an error.
    """
    start: Message = {}
    parts: list[bytes] = []

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    headers = [header for header in scope["headers"] if header[0] not in _PARTIAL]
    await application({**scope, "headers": headers}, _request(), collect)
    return start, b"".join(parts)


def _request() -> Receive:
    """Return the `receive` of a request without a body, whose client never disconnects."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Future()

    return receive


def with_headers(start: Message, headers: Mapping[str, str]) -> Message:
    """Return the start of an answer with some headers set."""
    changed = MutableHeaders(raw=list(start["headers"]))
    changed.update(headers)
    return {**start, "headers": changed.raw}


def needed_files(widgets: Iterable[str]) -> list[str]:
    """List the files of a page with these kinds of widgets; empty for a version of Gradio with other lists."""
    entry = _ENTRY.search((_FRONTEND / "index.html").read_text("utf-8"))
    start = _imports(_text(entry[1])) if entry else {}
    names = [name for files in start.values() for name in files]
    for script in start:
        text = _text(script)
        groups = dict(_WIDGET.findall(text))
        # The script without widgets has the layout of a page as its first import.
        wanted = [groups.get(widget, "") for widget in sorted(widgets)] if groups else [text]
        for part in wanted:
            names += next(iter(_imports(text, part).values()), [])
    return list(dict.fromkeys(names))


def style_sheet(files: Iterable[str]) -> str:
    """Return one style sheet with Gradio's first one and those among *files*."""
    first = _SHEET.findall((_FRONTEND / "index.html").read_text("utf-8"))
    return "\n".join(map(_text, [*first, *(name for name in files if name.endswith(".css"))]))


def _imports(text: str, part: str | None = None) -> dict[str, list[str]]:
    """Return what a script, or a *part* of its *text*, imports later: names, each with all files that it needs."""
    listed = _FILES.search(text)
    files = re.findall(r'"\./([^"]+)"', listed[1]) if listed else []
    found = _IMPORT.findall(text if part is None else part)
    return {name: [name, *(files[int(index)] for index in indices.split(",") if index)] for name, indices in found}


@cache
def _text(script: str) -> str:
    return (_FRONTEND / "assets" / script).read_text("utf-8")
