"""The path below which a proxy offers this server, such as /zimage: taken off requests, put before addresses."""

from contextvars import ContextVar
from typing import Final
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import Scope

_current: ContextVar[str] = ContextVar("root_path", default="")
_UNQUOTED: Final = "/@:+~!$&'()*,;="


def set_root_path(path: str) -> None:
    """Set the root path, decoded, for this task and its children."""
    _current.set(quoted(path))


def quoted(path: str) -> str:
    """Return a decoded path as it stands in addresses."""
    return quote(path, safe=_UNQUOTED)


def address(path: str) -> str:
    """Return the address of *path* for clients, below the root path of the present request."""
    return _current.get() + path


def inner(scope: Scope, root: str) -> Scope:
    """Return *scope* with its path below *root*; proxies may have taken that off already."""
    path: str = scope["path"]
    return {**scope, "path": path[len(root) :]} if root and path.startswith(f"{root}/") else scope


def outer(scope: Scope, root: str) -> Scope:
    """Return *scope* as ASGI defines it for applications below *root*: its path is the whole one."""
    return {**scope, "path": root + scope["path"], "root_path": root} if root else scope


def inner_path(scope: Scope) -> str:
    """Return the path of an application's *scope* below its root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def to_slash(scope: Scope, root: str) -> RedirectResponse | None:
    """Return where the root path without its last slash leads: the page's own addresses are relative to it."""
    if not root or scope["path"] != root:
        return None
    query = scope.get("query_string", b"").decode("latin-1")
    return RedirectResponse(address("/") + (f"?{query}" if query else ""))
