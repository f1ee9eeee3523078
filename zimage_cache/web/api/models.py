"""The routes of the models: list them with their states; load one, unload one."""

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from zimage_cache.generator.protocol import Status
from zimage_cache.service.service import ImageService
from zimage_cache.web.api.accounts import require_administrator
from zimage_cache.web.api.generate import DeviceState
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.errors import Refused, answers
from zimage_cache.web.language import localized


class ModelStatus(BaseModel):
    """A model requests may name: `resident` = its weights are in memory, `share` is 0..1 of `phase` where known."""

    name: str
    title: str
    default: bool
    resident: bool
    status: Status
    phase: str
    share: float | None
    detail: str
    device: str | None
    devices: list[DeviceState]


class Models(BaseModel):
    """The answer of `GET /models`, the default first."""

    models: list[ModelStatus]


def add_models_api(app: FastAPI, service: ImageService) -> None:
    """Add the routes to *app*, and a 405 for every other method on them; mount the page afterwards."""
    router = APIRouter()
    administrators = [Depends(require_administrator)]

    def described(name: str) -> ModelStatus:
        if name not in service.models:
            raise Refused("not_found", "no_such_model", name=name[:80], offered=tuple(service.models))
        profile, state = service.profile(name), service.state(name)
        return ModelStatus(
            name=name,
            title=str(profile.title),
            default=name == service.default_model,
            resident=state.status is Status.HEALTHY,
            status=state.status,
            phase=localized(state.phase),
            share=state.share,
            detail=localized(state.detail),
            device=state.device,
            devices=[DeviceState.of(each) for each in service.devices(name)],
        )

    @router.get("/models")
    async def models() -> Models:
        """List the models that requests may name, and the state of each."""
        return Models(models=[described(name) for name in service.models])

    @router.post(
        "/models/{name}/load", dependencies=administrators, status_code=202, responses=answers(404, 405, 413, 422)
    )
    async def load(name: str) -> ModelStatus:
        """Start loading a model, with a download where it is missing; `GET /models` shows the progress."""
        described(name)
        service.load(name)
        return described(name)

    @router.post("/models/{name}/unload", dependencies=administrators, responses=answers(404, 405, 413, 422))
    async def unload(name: str) -> ModelStatus:
        """Free a model's memory after its present picture; a download that its load waits for is stopped."""
        described(name)
        await service.unload(name)
        return described(name)

    add_routes(app, router)
