"""The main HTTP routes: generate, look up, fetch pictures, `/health` and `/ready`."""

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from zimage_cache.accounts.limits import Rate
from zimage_cache.cache.layout import is_key
from zimage_cache.entry import Entry, Record, Source
from zimage_cache.errors import Cancelled
from zimage_cache.faults import Fault
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.metadata.encodings import QUALITY, SUFFIXES
from zimage_cache.request import CacheMode
from zimage_cache.service.job import Outcome
from zimage_cache.service.lookup import Known
from zimage_cache.service.service import ImageService, Lookup
from zimage_cache.service.statistics import Stage
from zimage_cache.web.api.accounts import Priority, XPriority, account_of, lane_of, sender_of, within
from zimage_cache.web.api.pictures import (
    FILES,
    PNG,
    WEBP,
    file_response,
    image_url,
    picture_headers,
    picture_response,
    unchanged,
)
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.body import GenerateBody, body_schema, generate_body
from zimage_cache.web.errors import WITH_BODY, Refused, answers
from zimage_cache.web.language import localized

T = TypeVar("T")

MAX_IDEMPOTENCY_KEY: Final = 255
_PICTURE_NAME = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}")
_PNG_TOO: Final[dict[int | str, dict[str, Any]]] = {200: PNG[200]}


class Image(BaseModel):
    """One picture of an answer.

    `seconds` is the wait of this request, `seconds_saved` the GPU-seconds that were not needed again, `age_seconds` how
    long ago the picture was drawn: 0 for one that was drawn for this request.
    """

    key: str
    seed: int
    source: Source
    cached: bool
    seconds: float
    seconds_saved: float
    age_seconds: float
    image_url: str
    width: int
    height: int


class Generated(BaseModel):
    """The answer of `/generate`."""

    images: list[Image]
    duration: float
    warnings: list[str]


class KnownImage(BaseModel):
    """One picture of a look-up; `key` is null when the seed is random."""

    key: str | None
    cached: bool = False
    age_seconds: float | None = None
    image_url: str | None = None


class LookedUp(BaseModel):
    """The answer of `/lookup`; `eta_seconds` are the GPU-seconds of the missing pictures, null while unknown."""

    images: list[KnownImage]
    eta_seconds: float | None


class DeviceState(BaseModel):
    """One device of the model: `phase` while it loads, `detail` where it has an error."""

    device: str | None
    status: Status
    phase: str
    detail: str

    @classmethod
    def of(cls, state: GeneratorState) -> "DeviceState":
        """Convert a state."""
        return cls(
            device=state.device,
            status=state.status,
            phase=localized(state.phase),
            detail=localized(state.detail),
        )


class Trouble(BaseModel):
    """A persistent fault: `code` for programs, `detail` for people."""

    code: str
    since: datetime
    detail: str

    @classmethod
    def of(cls, fault: Fault) -> "Trouble":
        """Convert a fault."""
        return cls(code=fault.code, since=fault.since, detail=localized(fault.detail))


class Health(BaseModel):
    """The answer of `/health` and `/ready`; without credentials, where they are required, status and time only.

    The model's state is the best one of its `devices`. `room` is how many pictures this client may add to the queue
    now, null where the queue has no bound. `troubles` are present faults other than of drawing, such as a full disk.
    """

    status: Status
    timestamp: datetime
    model: str | None = None
    device: str | None = None
    phase: str | None = None
    share: float | None = None
    detail: str | None = None
    devices: list[DeviceState] | None = None
    room: int | None = None
    troubles: list[Trouble] | None = None


def add_api(app: FastAPI, service: ImageService, rate: Rate | None = None, *, private: bool) -> None:
    """Add the routes to *app*, and a 405 for every other method on them.

    Args:
        app: Receives the routes; mount the page afterwards.
        service: Answers them.
        rate: How often each user may ask for pictures.
        private: Pictures may be cached by the client's own browser only, because there is authentication.
    """
    router = APIRouter()
    _add_generate(router, service, rate)
    _add_lookup(router, service)
    _add_pictures(router, service, private=private)
    _add_health(router, service)
    add_routes(app, router)


def _add_generate(router: APIRouter, service: ImageService, rate: Rate | None) -> None:
    @router.post(
        "/generate",
        dependencies=within(rate),
        response_model=Generated,
        responses=_PNG_TOO | answers(*WITH_BODY, 404, 429, 504, 507),
        openapi_extra=body_schema(service),
    )
    async def generate(
        request: Request,
        body: Annotated[GenerateBody, Depends(generate_body)],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_IDEMPOTENCY_KEY)] = None,
        x_priority: XPriority = Priority.INTERACTIVE,
    ) -> Response:
        """Draw pictures, or answer with the stored ones."""
        started = time.monotonic()
        job = await service.ask(
            body.picture(),
            n=body.n,
            cache=body.cache,
            model=body.model,
            idempotency_key=idempotency_key,
            **sender_of(request, x_priority),
        )
        waiting = service.wait(job)
        outcomes = await (unless_disconnected(request, waiting) if job.pending else waiting)
        headers = {"X-Cache": x_cache(outcomes[0], body.cache, caching=service.caching)}
        headers |= server_timing(job.stages)
        if _wants_png(request) and len(outcomes) == 1:
            entry = outcomes[0].entry
            headers |= {"X-Seed": str(entry.record.request["seed"]), "X-Key": entry.record.key}
            return Response(entry.png, media_type="image/png", headers=headers)
        answer = generated(outcomes, time.monotonic() - started)
        return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


def _add_lookup(router: APIRouter, service: ImageService) -> None:
    @router.post("/lookup", responses=answers(*WITH_BODY), openapi_extra=body_schema(service))
    async def lookup(request: Request, body: Annotated[GenerateBody, Depends(generate_body)]) -> LookedUp:
        """Return what is stored and what the rest would cost. Never generates, counts, touches or promotes."""
        account = account_of(request).name
        found = await service.lookup(body.picture(), n=body.n, model=body.model, account=account)
        return looked_up(found)


def _add_encoding(router: APIRouter, service: ImageService, suffix: str, *, private: bool) -> None:
    kind = SUFFIXES[suffix]

    @router.get(f"/images/{{name}}{suffix}", response_class=Response, responses=FILES[kind] | answers(404, 405, 422))
    async def encoding(
        request: Request,
        name: str,
        v: str | None = None,
        q: Annotated[int, Query(ge=1, le=100, description="Quality.")] = QUALITY,
    ) -> Response:
        """Send a picture in another format, with its parameters; the PNG alone is stored."""
        entry = await _picture(service, request, name)
        headers = picture_headers(name, entry, v, private=private, suffix=suffix, quality=q)
        if (current := unchanged(request.headers, headers)) is not None:
            return current
        return file_response(await service.encodings.of(entry, kind, q), request.headers, headers, kind)


async def _picture(service: ImageService, request: Request, name: str) -> Entry:
    """Return the entry of a picture's name in an address.

    Raises:
        Refused: There is none.
    """
    entry = await service.picture(name, account_of(request).name) if _PICTURE_NAME.fullmatch(name) else None
    if entry is None:
        raise Refused("not_found", "no_such_image")
    return entry


def _add_pictures(router: APIRouter, service: ImageService, *, private: bool) -> None:
    # From here `gradio_client` downloads the `path` that the endpoint `/generate` returns.
    @router.get("/gradio_api/file={name}.png", include_in_schema=False)
    @router.get("/images/{name}.png", response_class=Response, responses=PNG | answers(404, 405, 422))
    async def picture(request: Request, name: str, v: str | None = None) -> Response:
        """Send the stored bytes of a picture, by its key or the token of an unstored one."""
        entry = await _picture(service, request, name)
        return picture_response(name, entry, request.headers, v, private=private)

    for suffix in (".jpg", ".webp"):
        _add_encoding(router, service, suffix, private=private)

    @router.get("/images/{key}/thumbnail.webp", response_class=Response, responses=WEBP | answers(404, 405, 422))
    async def thumbnail(request: Request, key: str) -> Response:
        """Send a small WebP of a picture, by its key or the token of an unstored one."""
        small = await service.thumbnail(key, account_of(request).name) if _PICTURE_NAME.fullmatch(key) else None
        if small is None:
            raise Refused("not_found", "no_such_thumbnail")
        kept = "private, max-age=3600" if is_key(key) else "no-store"
        return Response(small, media_type="image/webp", headers={"Cache-Control": kept})

    @router.get("/images/{rest:path}", include_in_schema=False)
    async def nothing(rest: str) -> Response:
        raise Refused("not_found", "no_such_name", name=rest[:80])


def _add_health(router: APIRouter, service: ImageService) -> None:
    def health(request: Request) -> dict[str, Any]:
        state = service.state()
        known = {"status": state.status, "timestamp": datetime.now(UTC)}
        if "account" in request.scope:
            known |= {
                "model": service.default_model,
                "device": state.device,
                "phase": localized(state.phase),
                "share": state.share,
                "detail": localized(state.detail),
                "devices": [DeviceState.of(each) for each in service.devices()],
                "room": service.room(lane_of(request)),
                "troubles": [Trouble.of(fault) for fault in service.faults.standing],
            }
        return Health.model_validate(known).model_dump(mode="json", exclude_unset=True)

    @router.get("/health", response_model=Health)
    async def alive(request: Request) -> Response:
        """Answer 200 while the process runs, with the state of the model."""
        return JSONResponse(health(request))

    @router.get("/ready", response_model=Health, responses={503: {"model": Health}})
    async def ready(request: Request) -> Response:
        """Answer 200 when a picture of this client that is not stored would be drawn (also when the model sleeps)."""
        return JSONResponse(health(request), 200 if service.ready(user=lane_of(request)) else 503)


async def unless_disconnected(request: Request, waiting: Awaitable[T]) -> T:
    """Await *waiting*; it is cancelled when the client disconnects.

    Raises:
        Cancelled: The client has disconnected.
    """
    return await unless(_disconnect(request), waiting, Cancelled("hung_up"))


async def unless(event: Awaitable[None], waiting: Awaitable[T], reason: Cancelled) -> T:
    """Await *waiting*; it is cancelled when *event* comes first.

    Raises:
        Cancelled: *reason*: the event came.
    """
    asking, gone = asyncio.ensure_future(waiting), asyncio.ensure_future(event)
    gone.add_done_callback(lambda _: asking.cancel())
    try:
        return await asking
    except asyncio.CancelledError:
        if gone.done():
            raise reason from None
        raise
    finally:
        gone.cancel()


async def _disconnect(request: Request) -> None:
    # The body has been read, so the next message can only be a disconnect.
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _wants_png(request: Request) -> bool:
    first = request.headers.get("accept", "").partition(",")[0].partition(";")[0]
    return first.strip().lower() == "image/png"


def server_timing(stages: Mapping[Stage, float]) -> dict[str, str]:
    """Return the header with the milliseconds of each stage; none where there are no stages."""
    times = ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items())
    return {"Server-Timing": times} if times else {}


def x_cache(outcome: Outcome, mode: CacheMode, *, caching: bool) -> str:
    """Return the value of the header `X-Cache`: how the first picture of an answer was found."""
    if mode is CacheMode.BYPASS or not caching:
        return "bypass"
    if outcome.cached:
        return f"hit-{outcome.source}"
    return "shared" if outcome.source is Source.SHARED else "miss"


def generated(outcomes: Sequence[Outcome], duration: float) -> Generated:
    """Return the answer for *outcomes* that took *duration* seconds."""
    return Generated(images=list(map(image_of, outcomes)), duration=duration, warnings=warnings_of(outcomes))


def warnings_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the warnings of pictures; equal ones are listed once."""
    found = (localized(each) for outcome in outcomes for each in outcome.entry.record.warning_messages)
    return list(dict.fromkeys(found))


def looked_up(found: Lookup) -> LookedUp:
    """Return the answer for a look-up."""
    now = datetime.now(UTC)
    return LookedUp(images=[_known(known, now) for known in found.pictures], eta_seconds=found.eta_seconds)


def image_of(outcome: Outcome) -> Image:
    """Return one picture of an answer, with its present age."""
    record = outcome.entry.record
    return Image(
        key=record.key,
        seed=record.request["seed"],
        source=outcome.source,
        cached=outcome.cached,
        seconds=outcome.seconds,
        seconds_saved=outcome.seconds_saved,
        age_seconds=0.0 if outcome.source is Source.GENERATED else _age(record, datetime.now(UTC)),
        image_url=image_url(outcome.name, outcome.entry),
        width=record.width,
        height=record.height,
    )


def _known(known: Known, now: datetime) -> KnownImage:
    if known.entry is None:
        return KnownImage(key=known.key)
    record = known.entry.record
    url = image_url(record.key, known.entry)
    return KnownImage(key=record.key, cached=True, age_seconds=_age(record, now), image_url=url)


def _age(record: Record, now: datetime) -> float:
    # The age must not be negative after the clock was set back.
    return max(0.0, (now - record.created).total_seconds())
