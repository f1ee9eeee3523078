"""Adds routers to the application, whose mount on `/` answers all other paths."""

from collections.abc import Iterable
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zimage_cache.web.errors import ANY_ROUTE, Refused, answers


class EventStream(StreamingResponse):
    """Server-sent events; `fastapi.sse` encodes them.

    Not FastAPI's `EventSourceResponse`: that always answers `Cache-Control: no-cache`, and pings every 15 seconds,
    which is longer than the time limit of some proxies.
    """

    # Not `media_type`: FastAPI would use it for the error answers of such a route too.
    TYPE: Final = "text/event-stream"


# Headers of streams: proxies are not to collect what they send.
STREAMED: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# The OpenAPI description of routes that send events.
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            EventStream.TYPE: {
                "itemSchema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "event": {"type": "string"},
                        "data": {"type": "string"},
                        "retry": {"type": "integer"},
                    },
                }
            }
        }
    }
}


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add *router*'s routes, HEAD for every GET, and 405 for every other method on their paths.

    HEAD, because monitors and proxies send it (the server omits the body), but not for streams, which would run without
    a reader; 405, because the page's mount would answer 404.
    """
    allowed: dict[str, set[str]] = {}
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        methods = set(route.methods or ())
        if "GET" in methods and "HEAD" not in methods and route.response_class is not EventStream:
            # A separate route: two methods on one route would give the schema two operations of the same name.
            path = route.path.removeprefix(router.prefix)  # which would be added again
            router.add_api_route(path, route.endpoint, methods=["HEAD"], include_in_schema=False)
            methods.add("HEAD")
        allowed.setdefault(route.path, set()).update(methods)
    app.include_router(router, responses=answers(*ANY_ROUTE))
    for path, methods in allowed.items():
        # An ASGI application, which Starlette accepts, but its annotations do not state that.
        app.add_route(path, cast("Any", Refuse(methods)), include_in_schema=False)


class Refuse:
    """Answers 405. Not a function: Starlette calls those for `GET` only, an object for non-standard methods too."""

    def __init__(self, methods: Iterable[str]) -> None:
        self._allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        allow = {"Allow": self._allow}
        raise Refused(
            "method_not_allowed", "use_other_method", method=scope["method"][:20], allowed=self._allow, headers=allow
        )
