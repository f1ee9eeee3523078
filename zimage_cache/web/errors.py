"""Converts this program's errors to HTTP answers."""

import logging
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from zimage_cache import errors
from zimage_cache.request import broken_rule
from zimage_cache.web.request_id import HEADER, current_request_id

_log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS: Final = 5
_NO_THREAD: Final = "can't start new thread"
_LONGEST: Final = 1000
# Headers of every answer: no sniffing of types, no referrer to other sites, no embedding by other sites.
STAMPS: Final = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
_NOWHERE: Final = "there is nothing at this address; /docs lists what there is"
STATUS: Final[dict[str, int]] = {
    "invalid_request": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "forbidden_origin": 403,
    "not_found": 404,
    "not_cached": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "queue_full": 503,
    "busy": 503,
    "loading": 503,
    "model_missing": 503,
    "model_corrupt": 503,
    "history_unavailable": 503,
    "cache_unavailable": 503,
    "overloaded": 503,
    "timed_out": 504,
    "cancelled": 503,
    "out_of_memory": 507,
    "generation_failed": 500,
}
_DOCUMENTED: Final = {"bad_request": 400, "internal_error": 500, **STATUS}
# Error statuses of every route, and of routes that read a body.
ANY_ROUTE: Final = (400, 401, 403, 500, 503)
WITH_BODY: Final = (413, 415, 422)
_WAITING_HELPS: Final = frozenset({"queue_full", "loading", "busy", "overloaded"})
_HTTP_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class ErrorDetail(BaseModel):
    """An error: code for programs, message for people, and the field or parameter at fault."""

    code: str
    message: str
    request_id: str
    field: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every error answer."""

    error: ErrorDetail


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of these error answers."""
    return {
        status: {
            "model": ErrorAnswer,
            "description": ", ".join(f"`{code}`" for code, its in _DOCUMENTED.items() if its == status),
        }
        for status in statuses
    }


def error_response(
    code: str, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Make the answer of an error, in the form that all errors share."""
    body = error_body(code, message, field=field, request_id=current_request_id())
    extra = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code in _WAITING_HELPS else {}
    return JSONResponse({"error": body}, _DOCUMENTED.get(code, 500), headers=extra | (headers or {}))


def error_body(code: str, message: str, *, field: str | None, request_id: str) -> dict[str, str]:
    """Return the value of `error`, for answers and for failed jobs."""
    body = {"code": code, "message": _legible(message), "request_id": request_id}
    return body if field is None else body | {"field": _legible(field)}


def _legible(text: str) -> str:
    """Shorten and escape text that may quote a client: it may be megabytes long, or hold lone surrogates."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def add_error_responses(app: FastAPI) -> None:
    """Convert every exception that a route raises to an error answer, without a traceback."""
    app.add_exception_handler(errors.ZImageError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(RuntimeError, _without_thread)
    app.add_exception_handler(Exception, _foreign)


def add_page_error_responses(page: FastAPI) -> None:
    """Convert unknown paths and exceptions of the mounted *page* to error answers."""
    page.add_exception_handler(HTTPException, _http)
    page.add_exception_handler(Exception, _foreign)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ZImageError)  # noqa: S101 - registered for nothing else
    return error_response(error.code, str(error), field=getattr(error, "field", None))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    nowhere = error.detail == HTTPStatus.NOT_FOUND.phrase  # the framework's default message
    return error_response(code, _NOWHERE if nowhere else error.detail, headers=dict(error.headers or {}))


async def _unfit(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return error_response("invalid_request", f"{field}: {broken_rule(cast('ErrorDetails', first))}", field=field)


async def _without_thread(_request: Request, error: Exception) -> JSONResponse:
    """Answer that no more threads can be started; any other RuntimeError is an internal error."""
    if _NO_THREAD not in str(error):
        raise error
    _log.warning("no_new_thread: a request that needs one was refused")
    return error_response("overloaded", "this machine gives the server no more threads now; try again later")


async def _foreign(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback with the same request id. This answer does not pass the guard, which adds headers.
    stamps = {HEADER: current_request_id(), **STAMPS}
    return error_response(
        "internal_error", "something unforeseen went wrong; the server's log says what", headers=stamps
    )
