"""Request bodies: read as JSON without surprises, validated, described for `/openapi.json`.

Reading costs time in proportion to a body's length, and no more: lengths, names, digits and nested values are bounded.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from zimage_cache import foreign_json
from zimage_cache.errors import Cancelled, InvalidRequest
from zimage_cache.request import MAX_PICTURES, CacheMode, ImageRequest, as_integer
from zimage_cache.web.bodies import release_body

_T = TypeVar("_T")

MAX_NAMES: Final = 100  # of one object
# Below this, reading a body takes less than a millisecond.
_SMALL: Final = 2**14
# Two threads of their own: no number of large bodies occupies those that look for stored pictures.
_readers: Final = CapacityLimiter(2)


class GenerateBody(ImageRequest):
    """A picture request as programs send it: the picture, how many, from which model, and how to use the cache."""

    n: Annotated[int, Field(strict=True, ge=1, le=MAX_PICTURES), as_integer] = 1
    model: Annotated[str, Field(strict=True, max_length=300)] | None = None
    cache: CacheMode = CacheMode.USE

    def picture(self) -> ImageRequest:
        """Return the part of it that describes the picture."""
        # Constructed, not validated: these very values just were.
        return ImageRequest.model_construct(**{name: getattr(self, name) for name in ImageRequest.model_fields})


async def generate_body(request: Request) -> GenerateBody:
    """Read and validate a request's body.

    Raises:
        HTTPException: 415, it does not say that it is JSON.
        Cancelled: The client hung up before all of it had arrived.
        InvalidRequest: It is not valid JSON, or breaks a rule; names the field.
    """
    return GenerateBody.parse(await json_body(request))


def body_schema(body: type[BaseModel] = GenerateBody) -> dict[str, Any]:
    """Describe a body for OpenAPI; FastAPI cannot see it, since the route has it read itself."""
    schema = body.model_json_schema()
    shared = schema.pop("$defs", {})
    # Written out: FastAPI would not know of definitions a schema of our own refers to.
    for field in schema["properties"].values():
        if reference := field.pop("$ref", None):
            field.update(shared[reference.rpartition("/")[2]] | field)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def json_body(request: Request) -> object:
    """Read a request's body as JSON.

    Raises:
        HTTPException: 415, it does not say that it is JSON.
        Cancelled: The client hung up before all of it had arrived.
        InvalidRequest: It is not valid JSON, names a field twice, or is larger or deeper than any body needs to be.
    """
    return await read_body(request, "application/json", parse_json)


async def read_body(request: Request, media_type: str, parse: Callable[[bytes], _T]) -> _T:
    """Read a request's body, and parse it, a large one in a thread.

    Args:
        request: Its body is not kept.
        media_type: What it must say it is.
        parse: Makes something of the bytes.

    Raises:
        HTTPException: 415, it does not say that it is *media_type*.
        Cancelled: The client hung up before all of it had arrived.
    """
    got = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got != media_type:
        raise HTTPException(415, f"send the body with Content-Type: {media_type}, got {got or 'none'!a}")
    try:
        body = b"".join([piece async for piece in request.stream()])
    except ClientDisconnect:
        raise Cancelled("the client hung up in the middle of its request") from None
    try:
        if len(body) <= _SMALL:
            return parse(body)
        return await anyio.to_thread.run_sync(parse, body, limiter=_readers)
    finally:
        release_body(request.scope)


def parse_json(body: bytes) -> object:
    """Parse bytes that may say anything.

    Raises:
        InvalidRequest: They are not valid JSON, name a field twice, or are larger or deeper than any body needs to be.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"body: is not valid JSON: {error}") from None
    return foreign_json.parse(text, _without_repeats)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_NAMES:
        raise InvalidRequest(f"body: an object has {len(pairs)} names; at most {MAX_NAMES}")
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise InvalidRequest(f"body: {name[:80]!a} is given twice; send it once", name)
        fields[name] = value
    return fields
