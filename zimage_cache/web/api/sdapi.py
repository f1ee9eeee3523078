"""The part of AUTOMATIC1111's API, under `/sdapi/v1`, that clients with support for it call."""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from zimage_cache.accounts.limits import Rate
from zimage_cache.errors import Cancelled, InvalidRequest
from zimage_cache.lru import ByteLRU
from zimage_cache.metadata import a1111, png
from zimage_cache.metadata.container import read_container
from zimage_cache.request import MAX_PICTURES, PARAMETERS, CacheMode, Sampler
from zimage_cache.service.job import Job
from zimage_cache.service.service import ImageService
from zimage_cache.web.api.accounts import Priority, XPriority, lane_of, sender_of, within
from zimage_cache.web.api.generate import server_timing, unless, unless_disconnected, warnings_of, x_cache
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.api.txt2img import SHORT_HASH, LenientBody, Name, Txt2Img, Txt2ImgAnswer, in_base64, told
from zimage_cache.web.body import body_schema, parse_json, read_body
from zimage_cache.web.errors import WITH_BODY, answers
from zimage_cache.web.language import localized

_MOST_CHOICES: Final = 10_000


class Checkpoint(BaseModel):
    """A model; `hash` and `sha256` are null until its files have been hashed."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: None = None


class SamplerEntry(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, str] = {}


class Scheduler(BaseModel):
    """A schedule of noise levels."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class Upscaler(BaseModel):
    """A method to enlarge pictures."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 1.0


class Options(BaseModel):
    """The settings; all but the model are fixed."""

    sd_model_checkpoint: str
    sd_checkpoint_hash: str | None
    sd_vae: str = "Automatic"
    samples_format: str = "png"
    CLIP_stop_at_last_layers: int = 1


class Choice(LenientBody):
    """The setting that can be changed; clients send all others with it."""

    sd_model_checkpoint: Annotated[Name | None, Field(description="A name of the list; empty: the default.")] = None


class ProgressState(BaseModel):
    """`job_no` of `job_count` pictures are finished; `job` says what happens to the next one."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class SdProgress(BaseModel):
    """How the sender's pictures stand: `progress` is 0..1 of all, `eta_relative` in seconds, 0 while unknown."""

    progress: float = 0.0
    eta_relative: float = 0.0
    state: ProgressState = ProgressState()
    current_image: str | None = None
    textinfo: str | None = None


class SdPngBody(LenientBody):
    """A picture in base64, or as a `data:` URL."""

    image: Annotated[str, Field(strict=True)]


class SdPngInfo(BaseModel):
    """The parameters in a picture: as text, all texts of the file, and by A1111's names."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


class UnderWay:
    """The jobs that senders wait for now. For the event loop's thread only."""

    def __init__(self) -> None:
        self._jobs: dict[asyncio.Future[None], tuple[str, Job]] = {}

    @contextmanager
    def listed(self, lane: str, job: Job) -> Iterator[asyncio.Future[None]]:
        """List *job* while the context is open; it gives what is done when the sender interrupts the job."""
        interrupted = asyncio.get_running_loop().create_future()
        self._jobs[interrupted] = lane, job
        try:
            yield interrupted
        finally:
            del self._jobs[interrupted]
            job.leave()

    def jobs(self, lane: str) -> list[Job]:
        """Return the jobs of a sender, the oldest first."""
        return [job for whose, job in self._jobs.values() if whose == lane]

    def interrupt(self, lane: str) -> None:
        """End the jobs of a sender."""
        for interrupted, (whose, _) in self._jobs.items():
            if whose == lane and not interrupted.done():
                interrupted.set_result(None)


class Checkpoints:
    """The models by the names that A1111's clients use for them, and which of them each sender has chosen.

    A choice holds for its sender's requests alone, and until the server stops: the model is loaded by the first
    picture that needs it. For the event loop's thread only.
    """

    def __init__(self, service: ImageService) -> None:
        self._service = service
        self._chosen: ByteLRU[str, str] = ByteLRU(0, lambda _: 1, _MOST_CHOICES)

    def all(self) -> list[Checkpoint]:
        """Describe the models, the default first."""
        return list(map(self._described, self._service.models))

    def of(self, lane: str) -> Checkpoint:
        """Describe the model of a sender's requests that name none."""
        return self._described(self._chosen.get(lane) or self._service.default_model)

    def choose(self, lane: str, name: str) -> None:
        """Let a sender's further requests be for the model called *name*; "" means the default.

        Raises:
            InvalidRequest: No model has this name.
        """
        self._chosen.put(lane, self.named(name) if name else self._service.default_model)

    def named(self, name: str) -> str:
        """Return the name by which the service has a model.

        Raises:
            InvalidRequest: No model has this name.
        """
        if name in self._service.models:
            return name
        for each in self.all():
            aliases = each.title, str(self._service.profile(each.title).title), each.hash, each.sha256
            if name.casefold() in {alias.casefold() for alias in aliases if alias}:
                return each.title
        offered = tuple(self._service.models)
        raise InvalidRequest("unknown_model", field="sd_model_checkpoint", got=name, offered=offered)

    def _described(self, name: str) -> Checkpoint:
        identity = self._service.identity(name)
        revision = identity.revision if identity else None
        short = revision[:SHORT_HASH] if revision else None
        return Checkpoint(title=name, model_name=name, hash=short, sha256=revision, filename=name)


def add_sdapi(app: FastAPI, service: ImageService, rate: Rate | None = None) -> None:
    """Add the routes to *app*, and a 405 for every other method on them; mount the page afterwards."""
    router = APIRouter(prefix="/sdapi/v1")
    checkpoints, under_way = Checkpoints(service), UnderWay()
    _add_txt2img(router, service, rate, checkpoints, under_way)
    _add_progress(router, under_way)
    _add_options(router, service, checkpoints)
    _add_lists(router)
    _add_png_info(router, service)
    add_routes(app, router)


def _add_txt2img(
    router: APIRouter, service: ImageService, rate: Rate | None, checkpoints: Checkpoints, under_way: UnderWay
) -> None:
    @router.post(
        "/txt2img",
        dependencies=within(rate),
        response_model=Txt2ImgAnswer,
        responses=answers(*WITH_BODY, 404, 429, 504, 507),
        openapi_extra=_txt2img_schema(service),
    )
    async def txt2img(
        request: Request,
        body: Annotated[Txt2Img, Depends(Txt2Img.of)],
        x_priority: XPriority = Priority.INTERACTIVE,
    ) -> Response:
        """Draw pictures, or answer with the stored ones.

        Steps and guidance are the model's own, unless `override_settings.zimage_exact` is true. `info` names what is
        drawn otherwise than asked for.
        """
        lane, asked = lane_of(request), body.override_settings.sd_model_checkpoint
        model = checkpoints.named(asked) if asked else checkpoints.of(lane).title
        job = await service.ask(body.picture(), n=body.n, model=model, **sender_of(request, x_priority))
        with under_way.listed(lane, job) as interrupted:
            waiting = unless(interrupted, service.wait(job), Cancelled("asker_stopped"))
            outcomes = await unless_disconnected(request, waiting)
        notes = [*map(localized, body.notes(service.profile(model))), *warnings_of(outcomes)]

        def written() -> str:
            return Txt2ImgAnswer(
                images=[in_base64(outcome.entry.png) for outcome in outcomes],
                parameters=body.model_dump(mode="json", include=set(Txt2Img.model_fields) - {"override_settings"}),
                info=json.dumps(told(body, outcomes, model, notes), ensure_ascii=False),
            ).model_dump_json()

        headers = {
            "X-Cache": x_cache(outcomes[0], CacheMode.USE, caching=service.caching),
            "X-Seed": str(outcomes[0].entry.record.request["seed"]),
            **server_timing(job.stages),
        }
        # In a thread: eight large pictures are many megabytes.
        return Response(await asyncio.to_thread(written), media_type="application/json", headers=headers)


def _txt2img_schema(service: ImageService) -> dict[str, Any]:
    """Describe the body, with the rules that span fields."""
    described = body_schema(service, Txt2Img)
    schema = _schema(described)
    settings = schema["properties"]["override_settings"]["properties"]
    settings |= _schema(body_schema(service, Choice))["properties"]
    counts = [
        {"batch_size": {"maximum": n}, "n_iter": {"maximum": MAX_PICTURES // n}} for n in range(1, MAX_PICTURES + 1)
    ]
    exact = {"required": ["zimage_exact"], "properties": {"zimage_exact": {"const": True}}}
    steps, guidance = PARAMETERS["steps"], PARAMETERS["guidance_scale"]
    bounds = {
        "steps": {"minimum": steps.minimum, "maximum": steps.maximum},
        "cfg_scale": {"maximum": guidance.maximum + 1},
    }
    schema["allOf"] = [
        {"anyOf": [{"properties": each} for each in counts]},
        {
            "if": {"required": ["override_settings"], "properties": {"override_settings": exact}},
            "then": {"properties": bounds},
        },
    ]
    return described


def _schema(described: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = described["requestBody"]["content"]["application/json"]["schema"]
    return schema


def _add_progress(router: APIRouter, under_way: UnderWay) -> None:
    @router.get("/progress", responses=answers(422))
    async def progress(request: Request, *, skip_current_image: bool = False) -> SdProgress:
        """Tell how the sender's pictures of `txt2img` stand; with a preview, unless it is skipped.

        Previews are made from the first request for one on.
        """
        jobs = under_way.jobs(lane_of(request))
        if not skip_current_image:
            for job in jobs:
                job.watch()
        return _progress(jobs) if jobs else SdProgress()

    @router.post("/interrupt")
    async def interrupt(request: Request) -> dict[str, str]:
        """Cancel the sender's pictures of `txt2img` that are not finished; their requests are answered `cancelled`."""
        under_way.interrupt(lane_of(request))
        return {}


def _progress(jobs: Sequence[Job]) -> SdProgress:
    standings = [job.progress() for job in jobs]
    shown = next((each for each in standings if each.step), standings[0])
    pictures, done = sum(each.n for each in standings), sum(each.done for each in standings)
    begun = sum(each.step / each.steps for each in standings if each.steps)
    preview = next(filter(None, (each.preview for each in standings)), None)
    return SdProgress(
        progress=(done + begun) / pictures,
        eta_relative=max(each.eta_seconds or 0.0 for each in standings),
        state=ProgressState(
            job=shown.phase, job_count=pictures, job_no=done, sampling_step=shown.step, sampling_steps=shown.steps
        ),
        current_image=in_base64(preview) if preview else None,
        textinfo=localized(shown.detail) or None,
    )


def _add_options(router: APIRouter, service: ImageService, checkpoints: Checkpoints) -> None:
    @router.get("/options")
    async def options(request: Request) -> Options:
        """Return the settings: the model is the one that the sender has chosen."""
        chosen = checkpoints.of(lane_of(request))
        return Options(sd_model_checkpoint=chosen.title, sd_checkpoint_hash=chosen.hash)

    @router.post("/options", responses=answers(*WITH_BODY), openapi_extra=body_schema(service, Choice))
    async def set_options(request: Request, body: Annotated[Choice, Depends(Choice.of)]) -> None:
        """Choose the model of the sender's further requests; those of others, and other settings, stay as they are."""
        if body.sd_model_checkpoint is not None:
            checkpoints.choose(lane_of(request), body.sd_model_checkpoint)

    @router.get("/sd-models")
    async def sd_models() -> list[Checkpoint]:
        """List the models, the default first."""
        return checkpoints.all()

    @router.get("/cmd-flags")
    async def cmd_flags() -> dict[str, bool]:
        """Tell that there is an API."""
        return {"api": True}


def _add_lists(router: APIRouter) -> None:
    @router.get("/samplers")
    async def samplers() -> list[SamplerEntry]:
        """List the samplers; another one in a request means the first."""
        return [SamplerEntry(name=each.label, aliases=[each.value]) for each in Sampler]

    @router.get("/schedulers")
    async def schedulers() -> list[Scheduler]:
        """List the only schedule."""
        return [Scheduler(name="automatic", label="Automatic")]

    @router.get("/upscalers")
    async def upscalers() -> list[Upscaler]:
        """List no method but the one that does nothing, which clients expect to come first."""
        return [Upscaler(name="None")]

    async def none() -> list[dict[str, str]]:
        """List nothing: there are none here."""
        return []

    for name in ("latent-upscale-modes", "sd-vae", "sd-modules", "loras"):
        router.add_api_route(f"/{name}", none, methods=["GET"])


def _add_png_info(router: APIRouter, service: ImageService) -> None:
    @router.post("/png-info", responses=answers(*WITH_BODY), openapi_extra=body_schema(service, SdPngBody))
    async def png_info(request: Request) -> SdPngInfo:
        """Read the parameters of a PNG, JPEG or WebP. At most 20 MiB, not stored."""
        return await read_body(request, ("application/json",), _png_info)


def _png_info(body: bytes) -> SdPngInfo:
    image = SdPngBody.parse(parse_json(body)).image
    try:
        texts = read_container(base64.b64decode(image.partition(",")[2] if image.startswith("data:") else image)).texts
    except InvalidRequest as error:
        raise InvalidRequest.of(error.reason, field="image") from None
    except ValueError:
        raise InvalidRequest("not_base64", field="image") from None
    info = texts.get(png.A1111) or texts.get("usercomment", "")
    return SdPngInfo(info=info, items=dict(texts), parameters=a1111.by_their_names(info) if info else {})
