"""Request bodies: read as strict JSON, validated, described for `/openapi.json`.

Reading takes time in proportion to a body's length: lengths, names, digits and nested values are bounded.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from zimage_cache import foreign_json
from zimage_cache.errors import Cancelled, InvalidRequest
from zimage_cache.prompts.styles import Style, styles
from zimage_cache.request import MAX_PICTURES, MAX_TEXT, SIDE_STEP, CacheMode, ImageRequest, as_integer
from zimage_cache.service.service import ImageService
from zimage_cache.web.bodies import release_body
from zimage_cache.web.errors import Refused

_T = TypeVar("_T")

MAX_NAMES: Final = 100  # of one object
# Up to this, parsing JSON takes less than a millisecond.
_SMALL: Final = 2**14
# Two separate threads, so that large bodies do not occupy the threads that look up stored pictures.
_readers: Final = CapacityLimiter(2)


class GenerateBody(ImageRequest):
    """A request of the HTTP API: the picture, how many, from which model, and how to use the cache."""

    n: Annotated[int, Field(strict=True, ge=1, le=MAX_PICTURES), as_integer] = 1
    model: Annotated[str, Field(strict=True, max_length=300)] | None = None
    cache: CacheMode = CacheMode.USE

    def picture(self) -> ImageRequest:
        """Return the fields that describe the picture."""
        return ImageRequest.model_construct(**{name: getattr(self, name) for name in ImageRequest.model_fields})


async def generate_body(request: Request) -> GenerateBody:
    """Read and validate a request's body.

    Raises:
        Refused: Its `Content-Type` is not JSON.
        Cancelled: The client hung up before all of it had arrived.
        InvalidRequest: It is not valid JSON, or breaks a rule; names the field.
    """
    return GenerateBody.parse(await json_body(request))


def body_schema(service: ImageService, body: type[BaseModel] = GenerateBody) -> dict[str, Any]:
    """Return the OpenAPI schema of a body that a route reads itself, with the names and sizes *service* offers."""
    schema = body.model_json_schema()
    shared = schema.pop("$defs", {})
    fields: dict[str, Any] = schema["properties"]
    for name, field in fields.items():
        # Inlined: FastAPI does not include definitions that a custom schema refers to.
        if reference := field.pop("$ref", None):
            field.update(shared[reference.rpartition("/")[2]] | field)
        if offered := _offered(service).get(name):
            field.pop("anyOf", None)
            field.update(offered)
        if name not in schema.get("required", ()):
            fields[name] = _nullable(field)
    # The aliases are in the description only: a schema cannot express clearly that a field excludes its alias.
    aliases: dict[str, str] = getattr(body, "ALIASES", {})
    for alias, name in aliases.items():
        fields[name]["description"] += f" Also called {alias}."
    if "style" in fields:
        schema["allOf"] = [*map(_room_for, styles().values())]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _offered(service: ImageService) -> dict[str, dict[str, Any]]:
    profiles = [service.profile(name) for name in service.models]
    side = {
        "type": "integer",
        "minimum": min(profile.min_side for profile in profiles),
        "maximum": max(profile.max_side for profile in profiles),
        "multipleOf": SIDE_STEP,
    }
    # In A1111's terms, an empty name means the default.
    names = {"model": [*service.models], "sd_model_checkpoint": ["", *service.models], "style": [*styles()]}
    return {"width": side, "height": side} | {
        field: {"type": "string", "enum": offered} for field, offered in names.items()
    }


def _room_for(style: Style) -> dict[str, Any]:
    """Return the description that the limit of a prompt includes the text of the style."""
    asked = {"required": ["style"], "properties": {"style": {"const": style.name}}}
    words = dict(zip(("prompt", "negative_prompt"), style.apply("x", "x"), strict=True))
    rest = {name: {"maxLength": MAX_TEXT + len("x") - len(text)} for name, text in words.items()}
    return {"if": asked, "then": {"properties": rest}}


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    """Let a field be null, which means its default, and describe that."""
    if "anyOf" in field:  # pydantic's schema of a field that may be null
        return field
    offered = {"enum": [*field["enum"], None]} if "enum" in field else {}
    return field | {"type": [field["type"], "null"]} | offered


async def json_body(request: Request) -> object:
    """Read a request's body as JSON.

    Raises:
        Refused: Its `Content-Type` is not JSON.
        Cancelled: The client hung up before all of it had arrived.
        InvalidRequest: It is not valid JSON, names a field twice, or exceeds the limits on size and depth.
    """
    return await read_body(request, ("application/json",), parse_json, at_once=_SMALL)


async def read_body(
    request: Request, media_types: tuple[str, ...], parse: Callable[[bytes], _T], *, at_once: int = 0
) -> _T:
    """Read a request's body, and parse it in a thread.

    Args:
        request: Its body is not kept.
        media_types: The `Content-Type` is one of these.
        parse: Converts the bytes.
        at_once: Bodies of at most so many bytes are parsed on the event loop, without a thread.

    Raises:
        Refused: Its `Content-Type` is none of *media_types*.
        Cancelled: The client disconnected before the whole body had arrived.
    """
    got = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got not in media_types:
        raise Refused("unsupported_media_type", "wrong_content_type", wanted=media_types, got=got or "none")
    try:
        body = b"".join([piece async for piece in request.stream()])
    except ClientDisconnect:
        raise Cancelled("hung_up_early") from None
    try:
        if len(body) <= at_once:
            return parse(body)
        return await anyio.to_thread.run_sync(parse, body, limiter=_readers)
    finally:
        release_body(request.scope)


def parse_json(body: bytes) -> object:
    """Parse untrusted bytes.

    Raises:
        InvalidRequest: They are not valid JSON, name a field twice, or exceed the limits on size and depth.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError as error:
        raise InvalidRequest("not_json", place="body", error=error) from None
    return foreign_json.parse(text, _without_repeats)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_NAMES:
        raise InvalidRequest("too_many_names", place="body", got=len(pairs), most=MAX_NAMES)
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise InvalidRequest("repeated", field=name, place="body", name=name[:80])
        fields[name] = value
    return fields
