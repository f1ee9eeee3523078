"""Builds the web application: the API's routes, then the Gradio page on `/`, with the guard in front of both."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from functools import cache
from typing import Final

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route

import zimage_cache
from zimage_cache.accounts.limits import Rate
from zimage_cache.pool import Pool
from zimage_cache.service.service import ImageService
from zimage_cache.service.tickets import Tickets
from zimage_cache.web.api.accounts import add_accounts_api
from zimage_cache.web.api.cache import add_cache_api
from zimage_cache.web.api.generate import add_api, image_of
from zimage_cache.web.api.history import add_history_api
from zimage_cache.web.api.jobs import add_jobs_api
from zimage_cache.web.api.metrics import add_metrics
from zimage_cache.web.api.models import add_models_api
from zimage_cache.web.api.openai.routes import add_openai_api
from zimage_cache.web.api.prompts import add_prompt_api
from zimage_cache.web.api.sdapi import add_sdapi
from zimage_cache.web.authentication import Authentication
from zimage_cache.web.errors import add_error_responses
from zimage_cache.web.login import add_login
from zimage_cache.web.middleware import Guard, checks
from zimage_cache.web.page.mount import mount_page

_THREADS: Final = 8


def create_app(
    service: ImageService,
    running: Callable[[], AbstractContextManager[None]],
    *,
    allowed_hosts: Iterable[str] = (),
    trusted_proxies: Iterable[str] = (),
    root_path: str = "",
    authentication: Authentication | None = None,
    rate: Rate | None = None,
    model_aliases: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Build the web application.

    Args:
        service: Answers all requests.
        running: A context that is open while the application runs: starts and stops the service's components.
        allowed_hosts: Further names of this server, accepted in `Host`.
        trusted_proxies: Networks of proxies whose `X-Forwarded` headers count.
        root_path: The path below which a proxy offers this server; "" = none.
        authentication: Identifies the senders of requests; None = they are all the same.
        rate: How often each may ask for pictures; None = without limit.
        model_aliases: Models by patterns of further names, for OpenAI's API.
        clock: Monotonic seconds, for the time limits of jobs.
    """
    tickets = Tickets(service, image_of, clock=clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # The thread pool of `asyncio.to_thread`; the event loop ends it when the server stops.
        asyncio.get_running_loop().set_default_executor(Pool(_THREADS, "disk"))
        with running():
            try:
                yield
            finally:
                await tickets.close()

    # FastAPI's own /docs loads its scripts from a content delivery network; this variant serves them locally.
    app = FastAPIOffline(redoc_url=None, title="Z-Image", version=zimage_cache.__version__, lifespan=lifespan)
    add_error_responses(app)
    # Routes are looked for in this order: those of stored pictures come first.
    add_api(app, service, rate, private=authentication is not None)
    add_jobs_api(app, service, tickets, rate)
    add_openai_api(app, service, rate, model_aliases)
    add_login(app, authentication)
    add_accounts_api(app)
    # Called by `Server` on shutdown, before it waits for the streams of jobs.
    app.state.end_jobs = tickets.close
    add_prompt_api(app, service)
    add_models_api(app, service)
    add_cache_api(app, service)
    add_metrics(app, service)
    add_history_api(app, service)
    add_sdapi(app, service, rate)
    # Gradio allows cross-origin access from every site unless its parent application has a CORS rule: this denies it.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    _write_schema_once(app)
    app.add_middleware(
        Guard,
        checks=checks(allowed_hosts),
        authentication=authentication,
        proxies=trusted_proxies,
        root_path=root_path,
    )
    return mount_page(app, service, root_path, rate)


def _write_schema_once(app: FastAPI) -> None:
    """Cache the bytes of `/openapi.json`: FastAPI would serialise the whole schema for each request."""

    @cache
    def written() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    async def schema(_request: Request) -> Response:
        return Response(written(), media_type="application/json")

    # Before FastAPI's own route, which exists since the application was constructed.
    app.router.routes.insert(0, Route("/openapi.json", schema, include_in_schema=False))
