"""Request bodies: read as JSON without surprises, validated, described for `/openapi.json`."""

import json
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from zimage_cache.errors import Cancelled, InvalidRequest
from zimage_cache.request import MAX_PICTURES, CacheMode, ImageRequest, as_integer


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
        InvalidRequest: It is not valid JSON, or names a field twice.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"send JSON with Content-Type: application/json, got {media_type or 'none'!a}")
    try:
        return json.loads(await request.body(), object_pairs_hook=_without_repeats)
    except ClientDisconnect:
        raise Cancelled("the client hung up in the middle of its request") from None
    except InvalidRequest:
        raise
    except RecursionError:
        raise InvalidRequest("body: is nested too deeply") from None
    except ValueError as error:  # malformed, not UTF-8, or a number of thousands of digits
        raise InvalidRequest(f"body: is not valid JSON: {error}") from None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"body: {twice[:80]!a} is given twice; send it once", twice)
    return fields
