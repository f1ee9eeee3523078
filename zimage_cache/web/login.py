"""The page to sign in on, in front of everything else where there are users; and the routes that sign in and out."""

import base64
import hashlib
from html import escape
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from zimage_cache.i18n.messages import page_words
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.authentication import Authentication
from zimage_cache.web.errors import STATUS, Refused
from zimage_cache.web.language import current_language, localized
from zimage_cache.web.root_path import address, inner_path, quoted

SIGN_IN: Final = "/login"
SIGN_OUT: Final = "/logout"
_TEMPLATE: Final = Template(files("zimage_cache.web").joinpath("login.html").read_text("utf-8"))
_MOST_FIELDS: Final = 8
_LONGEST_NEXT: Final = 16_384  # characters, of the address to go to, which may have a prompt in it
# Addresses behind `#`, such as links to pictures, are known to the browser alone. What the tab keeps of another user is
# left out by the page, see session.js.
_SCRIPT: Final = (
    "const form = document.forms[0], { name, next } = form.elements; next.value += location.hash; "
    "form.addEventListener('submit', () => { try { sessionStorage.setItem('zimage.next', name.value) } catch {} });"
)
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; frame-ancestors 'self'; "
    f"base-uri 'none'; script-src 'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)


def wants_page(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser opens an address, so that the answer is seen by a person."""
    mode = headers.get("sec-fetch-mode")
    if scope["method"] not in {"GET", "HEAD"} or (mode is not None and mode != "navigate"):
        return False
    return "text/html" in headers.get("accept", "")


def login_page(scope: Scope, refusal: Refused | None = None, *, next_: str | None = None, name: str = "") -> Response:
    """Return the page to sign in on.

    Args:
        scope: Of the request; it leads there again after the sign-in, unless *next_* is another address.
        refusal: Why the request was refused, which the status and the headers say.
        next_: Where the sign-in leads; given after an attempt, whose refusal is shown.
        name: The user's name, as typed.
    """
    words = page_words()[current_language()]
    filled = {key: escape(text) for key, text in words.items()} | {
        "language": current_language(),
        "action": escape(address(SIGN_IN)),
        "icon": escape(address("/favicon.ico")),
        "name": escape(name),
        "name_focus": "" if name else "autofocus",
        "password_focus": "autofocus" if name else "",
        "next": escape(_own(next_ if next_ is not None else _asked(scope))),
        "error": escape(localized(refusal.message)) if refusal and next_ is not None else "",
        "script": _SCRIPT,
    }
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Vary": "Accept-Language"}
    status = STATUS[refusal.code] if refusal else 200
    return HTMLResponse(_TEMPLATE.substitute(filled), status, headers | (refusal.headers if refusal else {}))


def _asked(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path = inner_path(scope)
    return address("/" if path == SIGN_IN else quoted(path)) + (f"?{query}" if query else "")


def _own(target: str) -> str:
    """Return *target* if it is a path of this server, else the page: a link may not lead to another site."""
    is_path = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if is_path and len(target) <= _LONGEST_NEXT else address("/")


def add_login(app: FastAPI, authentication: Authentication | None) -> None:
    """Add the routes to *app*; without *authentication* they say that there is nothing to sign in to."""
    router = APIRouter()

    @router.get(SIGN_IN, include_in_schema=False)
    async def page(request: Request) -> Response:
        if authentication is None or "account" in request.scope:
            return RedirectResponse(address("/"), 303)
        return login_page(request.scope)

    @router.post(SIGN_IN, include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        if authentication is None:
            return RedirectResponse(address("/"), 303)
        form = _fields(await request.body())
        of_gradio = "username" in form  # what Gradio's clients send; ours is `name`
        name, next_ = form.get("username" if of_gradio else "name", ""), _own(form.get("next", "/"))
        try:
            cookie = await authentication.sign_in(request.scope, request.headers, name, form.get("password", ""))
        except Refused as refusal:
            return login_page(request.scope, refusal, next_=next_, name=name)
        if cookie is None:
            return login_page(request.scope, Refused("unauthorized", "wrong_password"), next_=next_, name=name)
        headers = {"Set-Cookie": cookie, "Cache-Control": "no-store"}
        return JSONResponse({"success": True}, headers=headers) if of_gradio else RedirectResponse(next_, 303, headers)

    @router.post(SIGN_OUT, include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        answer = RedirectResponse(address("/"), 303, {"Cache-Control": "no-store"})
        if authentication is not None:
            answer.headers["Set-Cookie"] = await authentication.sign_out(request.scope, request.headers)
        return answer

    add_routes(app, router)


def _fields(body: bytes) -> dict[str, str]:
    """Return the fields of a form; those of another encoding, or too many, are none."""
    try:
        pairs = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in pairs.items()}
