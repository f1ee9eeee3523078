"""Our errors as HTTP answers. The one place that knows both."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from zimage_cache import errors
from zimage_cache.web.request_id import HEADER, current_request_id

RETRY_AFTER_SECONDS: Final = 5
_LONGEST: Final = 1000
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
    "loading": 503,
    "model_missing": 503,
    "model_corrupt": 503,
    "history_unavailable": 503,
    "timed_out": 504,
    "cancelled": 503,
    "out_of_memory": 507,
    "generation_failed": 500,
}
_WAITING_HELPS: Final = frozenset({"queue_full", "loading"})
_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


def error_response(
    code: str, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Write the one shape of all errors."""
    body = {"code": code, "message": _legible(message), "request_id": current_request_id()}
    if field is not None:
        body["field"] = _legible(field)
    extra = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code in _WAITING_HELPS else {}
    return JSONResponse({"error": body}, STATUS.get(code, 500), headers=extra | (headers or {}))


def _legible(text: str) -> str:
    """Shorten and escape what may quote a client: megabytes of a name, or lone surrogates no encoding takes."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def add_error_responses(app: FastAPI) -> None:
    """Answer every exception a route lets out, ours and foreign ones, without a traceback."""
    app.add_exception_handler(errors.ZImageError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _foreign)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ZImageError)  # noqa: S101 - registered for nothing else
    return error_response(error.code, str(error), field=getattr(error, "field", None))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    return error_response(code, error.detail, headers=dict(error.headers or {}))


async def _unfit(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return error_response("invalid_request", f"{field}: {first['msg']}", field=field)


async def _foreign(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback under the same request id. This answer passes the guard by: it stamps itself.
    stamps = {HEADER: current_request_id(), "X-Content-Type-Options": "nosniff"}
    return error_response(
        "internal_error", "something unforeseen went wrong; the server's log says what", headers=stamps
    )
