"""The part of OpenAI's HTTP API that draws: `POST /v1/images/generations` and `GET /v1/models`.

Field names, answers and events are those of OpenAI's images API, as the `openai` client (3.57) reads them.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from zimage_cache.accounts.limits import Rate
from zimage_cache.models.profiles import name_of
from zimage_cache.service.service import ImageService
from zimage_cache.web.api.accounts import Priority, XPriority, sender_of, within
from zimage_cache.web.api.generate import server_timing, unless_disconnected, x_cache
from zimage_cache.web.api.openai.answer import Asked, Images, events, images
from zimage_cache.web.api.openai.body import ImagesBody, naming_size, parsed
from zimage_cache.web.api.routes import EVENTS, STREAMED, EventStream, add_routes
from zimage_cache.web.body import body_schema, json_body
from zimage_cache.web.errors import WITH_BODY, Refused, answers

# Patterns of names of OpenAI's models, which stand for the default model.
_THEIR_MODELS: Final = ("gpt-image-*", "chatgpt-image-*", "dall-e-*")

Aliases = Iterable[tuple[str, str | None]]


class Model(BaseModel):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "z-image"
    type: Literal["image"] = "image"


class Models(BaseModel):
    """The answer of `GET /v1/models`, the default first."""

    object: Literal["list"] = "list"
    data: list[Model]


def add_openai_api(
    app: FastAPI, service: ImageService, rate: Rate | None = None, aliases: Mapping[str, str] | None = None
) -> None:
    """Add the routes to *app*, and a 405 for every other method on them; mount the page afterwards.

    Args:
        app: Receives the routes.
        service: Answers them.
        rate: How often each user may ask for pictures.
        aliases: Models by patterns of further names, such as `gpt-image-*`.
    """
    router = APIRouter(prefix="/v1")
    # The first one that matches counts.
    names = [*(aliases or {}).items(), *((pattern, None) for pattern in _THEIR_MODELS)]
    _add_generations(router, service, rate, names)
    _add_models(router, service)
    add_routes(app, router)


def _add_models(router: APIRouter, service: ImageService) -> None:
    @router.get("/models")
    async def models() -> Models:
        """List the models that requests may name."""
        return Models(data=[Model(id=name) for name in service.models])

    @router.get("/models/{name}", responses=answers(404, 405, 422))
    async def model(name: str) -> Model:
        """Return one of the models."""
        if name not in service.models:
            raise Refused("not_found", "no_such_model", name=name[:80], offered=tuple(service.models))
        return Model(id=name)


def _add_generations(router: APIRouter, service: ImageService, rate: Rate | None, aliases: Aliases) -> None:
    async def ask(request: Request, x_priority: XPriority = Priority.INTERACTIVE) -> AsyncIterator[Asked]:
        fields = await json_body(request)
        with naming_size(fields):
            body, ignored = parsed(fields)
            model = _model(body.model, service, aliases)
            sender = sender_of(request, x_priority)
            job = await service.ask(body.picture(), n=body.n, cache=body.cache, model=model, **sender)
        try:
            yield Asked(body, job, ignored)
        finally:
            job.leave()  # a stream may end before its first event

    @router.post(
        "/images/generations",
        dependencies=within(rate),
        response_model=Images,
        responses=EVENTS | answers(*WITH_BODY, 404, 429, 504, 507),
        openapi_extra=_schema(service),
    )
    async def generations(request: Request, asked: Annotated[Asked, Depends(ask)]) -> Response:
        """Draw pictures, or answer with the stored ones, as OpenAI's images API does."""
        if asked.body.stream:
            return EventStream(events(service, asked), headers=STREAMED, media_type=EventStream.TYPE)
        waiting = service.wait(asked.job)
        outcomes = await (unless_disconnected(request, waiting) if asked.job.pending else waiting)
        answer = await images(service, asked, outcomes, f"{request.url.scheme}://{request.url.netloc}")
        seed = str(outcomes[0].entry.record.request["seed"])
        cache = x_cache(outcomes[0], asked.body.cache, caching=service.caching)
        headers = {"X-Cache": cache, "X-Seed": seed, **server_timing(asked.job.stages)}
        return Response(answer, media_type="application/json", headers=headers)


def _schema(service: ImageService) -> dict[str, Any]:
    """Return the OpenAPI schema of the body, with what is certainly accepted: further names and sizes are, too."""
    described = body_schema(service, ImagesBody)
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    schema["additionalProperties"] = False
    properties, rooms = schema["properties"], [rule["then"]["properties"] for rule in schema.pop("allOf")]
    for name in ("prompt", "negative_prompt"):
        properties[name]["maxLength"] = min(room[name]["maxLength"] for room in rooms)
    profile = service.profile()
    offered = {"size": ["auto", f"{profile.width}x{profile.height}", None], "background": ["auto", "opaque", None]}
    for name, values in offered.items():
        properties[name]["enum"] = values
    return described


def _model(name: str | None, service: ImageService, aliases: Aliases) -> str | None:
    """Return the name that the service has for a model; an unknown one is left to it."""
    if name is None or name in service.models:
        return name
    if (known := name_of(name)) in service.models:
        return known
    return next((model for pattern, model in aliases if fnmatchcase(name, pattern)), name)
