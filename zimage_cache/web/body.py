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
from zimage_cache.prompts.styles import Style, styles
from zimage_cache.request import MAX_PICTURES, MAX_TEXT, CacheMode, ImageRequest, as_integer
from zimage_cache.service.service import ImageService
from zimage_cache.web.bodies import release_body

_T = TypeVar("_T")

MAX_NAMES: Final = 100  # of one object
# Up to this, parsing JSON takes less than a millisecond.
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


def body_schema(service: ImageService, body: type[BaseModel] = GenerateBody) -> dict[str, Any]:
    """Describe to OpenAPI the body that a route reads itself, down to the names and sizes that *service* offers."""
    schema = body.model_json_schema()
    shared = schema.pop("$defs", {})
    fields: dict[str, Any] = schema["properties"]
    for name, field in fields.items():
        # Written out: FastAPI would not know of definitions a schema of our own refers to.
        if reference := field.pop("$ref", None):
            field.update(shared[reference.rpartition("/")[2]] | field)
        if offered := _offered(service).get(name):
            field.pop("anyOf", None)
            field.update(offered)
        if name not in schema.get("required", ()):
            fields[name] = _nullable(field)
    # Other words for two fields are told in words: where both may not be given, no tool would know what to send.
    for alias, name in ImageRequest.ALIASES.items():
        if name in fields:
            fields[name]["description"] += f" Also called {alias}."
    schema["allOf"] = [*map(_room_for, styles().values())]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _offered(service: ImageService) -> dict[str, dict[str, Any]]:
    profiles = [service.profile(name) for name in service.models]
    side = {
        "type": "integer",
        "minimum": min(profile.min_side for profile in profiles),
        "maximum": max(profile.max_side for profile in profiles),
        "multipleOf": 16,
    }
    names = {"model": [*service.models], "style": [*styles()]}
    return {"width": side, "height": side} | {
        field: {"type": "string", "enum": offered} for field, offered in names.items()
    }


def _room_for(style: Style) -> dict[str, Any]:
    """Say that a prompt's bound counts the words of a style too."""
    asked = {"required": ["style"], "properties": {"style": {"const": style.name}}}
    words = dict(zip(("prompt", "negative_prompt"), style.apply("x", "x"), strict=True))
    rest = {name: {"maxLength": MAX_TEXT + len("x") - len(text)} for name, text in words.items()}
    return {"if": asked, "then": {"properties": rest}}


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    """Let a field be null, which means its default, and say so."""
    if "anyOf" in field:  # pydantic's own word for what may be null
        return field
    offered = {"enum": [*field["enum"], None]} if "enum" in field else {}
    return field | {"type": [field["type"], "null"]} | offered


async def json_body(request: Request) -> object:
    """Read a request's body as JSON.

    Raises:
        HTTPException: 415, it does not say that it is JSON.
        Cancelled: The client hung up before all of it had arrived.
        InvalidRequest: It is not valid JSON, names a field twice, or is larger or deeper than any body needs to be.
    """
    return await read_body(request, "application/json", parse_json, at_once=_SMALL)


async def read_body(request: Request, media_type: str, parse: Callable[[bytes], _T], *, at_once: int = 0) -> _T:
    """Read a request's body, and parse it in a thread.

    Args:
        request: Its body is not kept.
        media_type: What it must say it is.
        parse: Makes something of the bytes.
        at_once: So many bytes at most are parsed without a thread, on the event loop.

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
        if len(body) <= at_once:
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
