"""How a router joins the application whose mount on `/` answers everything that is left over."""

from collections.abc import Iterable
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zimage_cache.web.errors import ANY_ROUTE, answers


class EventStream(StreamingResponse):
    """Server-sent events; `fastapi.sse` encodes them.

    Not its own `EventSourceResponse`: that always answers `Cache-Control: no-cache`, and pings every 15 seconds, which
    is longer than some proxies wait.
    """

    # Not `media_type`: FastAPI would describe errors of such a route by it too.
    TYPE: Final = "text/event-stream"


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add *router*'s routes, HEAD wherever there is GET, and 405 for every other method on their paths.

    HEAD, because monitors and proxies send it (the server leaves the body out), but not for streams, which would run
    without a reader; 405, because the page's mount behind us would say 404.
    """
    allowed: dict[str, set[str]] = {}
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        methods = set(route.methods or ())
        if "GET" in methods and "HEAD" not in methods and route.response_class is not EventStream:
            # A route of its own: a second method on one would give the schema two operations of one name.
            router.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)
            methods.add("HEAD")
        allowed.setdefault(route.path, set()).update(methods)
    app.include_router(router, responses=answers(*ANY_ROUTE))
    for path, methods in allowed.items():
        # An ASGI application, which Starlette takes, but does not say so.
        app.add_route(path, cast("Any", Refuse(methods)), include_in_schema=False)


class Refuse:
    """Answers 405. No function: those Starlette asks for `GET` alone, this also for methods no standard knows."""

    def __init__(self, methods: Iterable[str]) -> None:
        self._allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        message = f"{scope['method'][:20]} is not possible here; use {self._allow}"
        raise HTTPException(405, message, {"Allow": self._allow})
