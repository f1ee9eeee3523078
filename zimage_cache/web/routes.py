"""How a router joins the application whose mount on `/` answers everything that is left over."""

from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class EventStream(StreamingResponse):
    """Server-sent events; `fastapi.sse` encodes them.

    Not its own `EventSourceResponse`: that always answers `Cache-Control: no-cache`, and pings every 15 seconds, which
    is longer than some proxies wait.
    """

    media_type = "text/event-stream"


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
    app.include_router(router)
    for path, methods in allowed.items():
        _refuse_others(app, path, methods)


def _refuse_others(app: FastAPI, path: str, methods: set[str]) -> None:
    async def refuse(request: Request) -> Response:
        allow = ", ".join(sorted(methods))
        raise HTTPException(405, f"{request.method} is not possible here; use {allow}", {"Allow": allow})

    app.add_api_route(path, refuse, methods=sorted(_METHODS - methods), include_in_schema=False)
