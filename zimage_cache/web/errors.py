"""Converts this program's errors to HTTP answers."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from zimage_cache.errors import InvalidRequest, ZImageError
from zimage_cache.request_id import HEADER, current_request_id
from zimage_cache.validation import broken_rule
from zimage_cache.web.language import current_language, localized
from zimage_cache.web.root_path import inner_path

_log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS: Final = 5
_NO_THREAD: Final = "can't start new thread"
_LONGEST: Final = 1000
# Headers of every answer: no sniffing of types, no referrer to other sites, no embedding by other sites.
COMMON_HEADERS: Final = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
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
    "rate_limited": 429,
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
# Rules for the default texts of Starlette's errors, by these texts.
_PHRASES: Final = {
    HTTPStatus.NOT_FOUND.phrase: "nothing_here",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "method_not_allowed",
}
# Codes of the errors that Starlette raises, by their statuses.
_HTTP_CODES: Final = {
    _DOCUMENTED[code]: code
    for code in ("bad_request", "not_found", "method_not_allowed", "too_large", "unsupported_media_type")
}


class Refused(ZImageError):
    """The web refuses a request by itself, for instance one for an address where there is nothing.

    Args:
        code: As in `STATUS`.
        rule: Names the template of the message.
        headers: Further headers of the answer.
        params: Values for the template.
    """

    def __init__(self, code: str, rule: str, /, *, headers: Mapping[str, str] | None = None, **params: object) -> None:
        super().__init__(rule, **params)
        self.code = code
        self.headers = dict(headers or {})


class ErrorDetail(BaseModel):
    """An error: code for programs, message for people, and the field or parameter at fault.

    `message` is in the language that `Accept-Language` prefers, English or Chinese. `rule` and `params` say the same
    for programs: which rule is broken, and the values in its message. `reason` is the message without the field's name.
    """

    code: str
    message: str
    rule: Annotated[str, Field(description="Which text `message` is; there are several of one code.")]
    params: Annotated[
        dict[str, Any],
        Field(
            description="The values in the message: numbers, texts, lists, and texts of their own as rule and params.",
            examples=[{"step": 16, "got": 100}],
        ),
    ]
    request_id: str
    field: str | None = None
    reason: str | None = None


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


def error_response(error: ZImageError, scope: Scope) -> JSONResponse:
    """Make the answer of an error, in the form that all errors share and in the language of the request.

    Below /v1 it has OpenAI's fields and status too, below /sdapi those that A1111's clients read.
    """
    path, status = inner_path(scope), _DOCUMENTED.get(error.code, 500)
    body = error_body(error, current_request_id())
    if path.startswith("/v1/"):
        status, body = status if status != STATUS["invalid_request"] else 400, openai_error(error)
    headers = {"Content-Language": current_language(), "Vary": "Accept-Language"}
    if error.code in _WAITING_HELPS:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, Refused):
        headers |= error.headers
    content: dict[str, Any] = {"error": body}
    if path.startswith("/sdapi/"):
        content |= dict.fromkeys(("detail", "errors"), body["message"])
    return JSONResponse(content, status, headers=headers)


def openai_error(error: ZImageError) -> dict[str, Any]:
    """Return the value of `error` with the fields that OpenAI's clients read."""
    status = _DOCUMENTED.get(error.code, 500)
    kind = "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    return error_body(error, current_request_id()) | {"type": kind, "param": error.field}


def error_body(error: ZImageError, request_id: str) -> dict[str, Any]:
    """Return the value of `error`, for answers and for failed jobs."""
    body = {
        "code": error.code,
        "message": localized(error.message),
        **error.reason.document(),
        "request_id": request_id,
    }
    if error.field is not None:
        body |= {"field": error.field, "reason": localized(error.reason)}
    legible: dict[str, Any] = _legible(body)
    return legible


def _legible(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Shorten and escape texts that may quote a client: they may be megabytes long, or hold lone surrogates."""
    match value:
        case str():
            return value[:_LONGEST].encode("utf-8", "backslashreplace").decode()
        case list():
            return list(map(_legible, value))
        case dict():
            return {name: _legible(each) for name, each in value.items()}
    return value


def add_error_responses(app: FastAPI) -> None:
    """Convert every exception that a route raises to an error answer, without a traceback."""
    app.add_exception_handler(ZImageError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(RuntimeError, _without_thread)
    app.add_exception_handler(Exception, _foreign)


def add_page_error_responses(page: FastAPI) -> None:
    """Convert unknown paths and exceptions of the mounted *page* to error answers."""
    page.add_exception_handler(HTTPException, _http)
    page.add_exception_handler(Exception, _foreign)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ZImageError)  # noqa: S101 - registered for nothing else
    return error_response(error, request.scope)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    rule = _PHRASES.get(error.detail)
    if rule is None:
        return error_response(Refused(code, "as_said", text=error.detail, headers=error.headers), request.scope)
    return error_response(Refused(code, rule, headers=error.headers), request.scope)


async def _unfit(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = error.errors()[0]
    return error_response(InvalidRequest.of(broken_rule(first), field=str(first["loc"][-1])), request.scope)


async def _without_thread(request: Request, error: Exception) -> JSONResponse:
    """Answer that no more threads can be started; any other RuntimeError is an internal error."""
    if _NO_THREAD not in str(error):
        raise error
    _log.warning("no_new_thread: a request that needs one was refused")
    return error_response(Refused("overloaded", "no_threads"), request.scope)


async def _foreign(request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback with the same request id. This answer does not pass the guard, which adds headers.
    stamps = {HEADER: current_request_id(), **COMMON_HEADERS}
    return error_response(Refused("internal_error", "unforeseen", headers=stamps), request.scope)
