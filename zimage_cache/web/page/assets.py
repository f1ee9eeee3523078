"""The files that the page loads beside those of Gradio: two scripts and three style sheets, cached permanently.

Their addresses have a digest of their content, so that another version of the program has other addresses. They hold
nothing secret: what they say of the server is the same for every user.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.page.bundle import script, style_sheet
from zimage_cache.web.page.compression import SMALL, headers, preferred
from zimage_cache.web.page.swatches import swatch_rules

_FOREVER: Final = {"Cache-Control": "private, max-age=31536000, immutable"}


class Asset:
    """One file, with each of its compressed forms made when it is first asked for."""

    def __init__(self, content: str, media_type: str) -> None:
        self._content = content.encode()
        self._media_type = media_type
        self._compressed: dict[str, bytes] = {}

    @cached_property
    def digest(self) -> str:
        """What tells versions apart in addresses."""
        return hashlib.sha256(self._content).hexdigest()[:16]

    def answer(self, accept_encoding: str) -> Response:
        """Answer a request with the best encoding that it accepts."""
        encoding = preferred(accept_encoding)
        if encoding not in self._compressed:
            self._compressed[encoding] = SMALL[encoding](self._content)
        return Response(self._compressed[encoding], headers=_FOREVER | headers(encoding), media_type=self._media_type)


class Assets:
    """Our scripts and style sheets, and those of Gradio as one; *facts* is what the server tells the page's script."""

    def __init__(self, facts: Mapping[str, object], gradio_sheet: str) -> None:
        self._files = {
            "worker.js": _script("lib/worker.js", {"root_path": facts["root_path"]}),
            "page.css": Asset(style_sheet("main.css"), "text/css"),
            "swatches.css": Asset(swatch_rules(), "text/css"),
            "gradio.css": Asset(gradio_sheet, "text/css"),
        }
        self._files["page.js"] = _script("main.js", {**facts, "worker": self.address("worker.js")})

    def address(self, name: str) -> str:
        """Return the address of a file, relative to the page."""
        return f"page/{self._files[name].digest}/{name}"

    def serve(self, app: FastAPI) -> None:
        """Add the route of the files to *app*."""
        router = APIRouter()

        # In a thread: the first answer in each encoding takes a tenth of a second.
        @router.get("/page/{digest}/{name}", include_in_schema=False)
        def asset(digest: str, name: str, request: Request) -> Response:
            file = self._files.get(name)
            if file is None or file.digest != digest:
                raise HTTPException(404)
            return file.answer(request.headers.get("accept-encoding", ""))

        add_routes(app, router)


def _script(entry: str, facts: Mapping[str, object]) -> Asset:
    told = json.dumps(facts, ensure_ascii=False)
    return Asset(f"globalThis.zimageFacts = {told};\n{script(entry)}", "text/javascript")
