"""Gradio's named endpoints for programs: `/generate`, `/lookup` and `/cache_stats`, with the service's own bounds.

They are in a `gr.Blocks` of their own, so that browsers that open the page do not load their description. Gradio calls
them in its queue, in which they wait for nothing: what is bounded, is bounded by the service.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, Literal, TypeVar

import gradio as gr
from fastapi import Request
from gradio.context import LocalContext
from gradio.data_classes import FileData
from gradio.events import api
from pydantic import BaseModel, Field, ValidationError

from zimage_cache.accounts.limits import Rate
from zimage_cache.errors import Cancelled, QueueFull, ZImageError
from zimage_cache.prompts.styles import styles
from zimage_cache.request import parameters
from zimage_cache.request_id import current_request_id
from zimage_cache.service.job import Outcome
from zimage_cache.service.queue import Shares
from zimage_cache.service.service import ImageService
from zimage_cache.service.statistics import overview
from zimage_cache.validation import invalid_request
from zimage_cache.web.api.accounts import (
    Priority,
    account_of,
    lane_of,
    require_administrator,
    require_rate,
    sender_of,
)
from zimage_cache.web.api.cache import Stats
from zimage_cache.web.api.generate import MAX_IDEMPOTENCY_KEY, generated, looked_up
from zimage_cache.web.api.pictures import image_url
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.errors import Refused, error_body
from zimage_cache.web.page.calls import MOST_SESSIONS, context_of

T = TypeVar("T")
Endpoint = Callable[..., Awaitable[Any]]

_log = logging.getLogger(__name__)
MOST_CALLS: Final = 256  # under way, of all users together; each is looked at several times a second
_LOOK_SECONDS: Final = 0.3
_POLL_SECONDS: Final = 0.01


class _Headers(BaseModel):
    """What the headers of a call say."""

    priority: Annotated[Priority, Field(alias="x-priority")] = Priority.INTERACTIVE
    idempotency_key: Annotated[
        str | None, Field(alias="idempotency-key", min_length=1, max_length=MAX_IDEMPOTENCY_KEY)
    ] = None

    @classmethod
    def of(cls, request: Request) -> "_Headers":
        """Read them.

        Raises:
            InvalidRequest: Names the header and the rule.
        """
        try:
            return cls.model_validate(dict(request.headers))
        except ValidationError as error:
            raise invalid_request(error) from None


def build_endpoints(service: ImageService, rate: Rate | None) -> gr.Blocks:
    """Build the application of Gradio's that has the endpoints, and nothing to see."""
    calls = Shares(MOST_CALLS)
    blocks = gr.Blocks(title="Z-Image", analytics_enabled=False)
    with blocks:
        for endpoint in (_generate(service, rate), _lookup(service), _cache_stats(service)):
            api(_called(endpoint, calls), api_name=endpoint.__name__, api_description=_described(endpoint))
    # More at once than there are calls: one too many is to be refused, not to wait.
    blocks.max_threads = MOST_CALLS + 16
    blocks.state_session_capacity = MOST_SESSIONS
    blocks.queue(api_open=False, max_size=MOST_CALLS, default_concurrency_limit=None)
    queue = blocks._queue  # noqa: SLF001 - Gradio has no setting for any of these
    # Not once a millisecond, which costs an idle server a share of a processor; not every session ever named; and
    # neither a list nor a table of all calls, for a page that is closed.
    queue.sleep_when_free = queue.progress_update_sleep_when_free = _POLL_SECONDS
    queue.ANALYTICS_MAX_EVENTS = 1
    queue.compute_analytics_summary = lambda _records: {}  # type: ignore[method-assign]
    return blocks


def _generate(service: ImageService, rate: Rate | None) -> Endpoint:
    async def generate(request: Request, *values: Any) -> tuple[list[FileData], dict[str, Any]]:  # noqa: ANN401
        """Draw pictures, or answer with the stored ones: the files, and what `POST /generate` answers."""
        require_rate(rate, request)
        headers, started = _Headers.of(request), time.monotonic()
        body = _body(values)
        job = await service.ask(
            body.picture(),
            n=body.n,
            cache=body.cache,
            model=body.model,
            idempotency_key=headers.idempotency_key,
            **sender_of(request, headers.priority),
        )
        outcomes = await service.wait(job)
        answer = generated(outcomes, time.monotonic() - started)
        return [_file(outcome) for outcome in outcomes], answer.model_dump(mode="json")

    return _with_fields(generate, service)


def _lookup(service: ImageService) -> Endpoint:
    async def lookup(request: Request, *values: Any) -> dict[str, Any]:  # noqa: ANN401
        """Tell what is stored and what the rest would cost, as `POST /lookup` answers. Draws and counts nothing."""
        body = _body(values)
        found = await service.lookup(body.picture(), n=body.n, model=body.model, account=account_of(request).name)
        return looked_up(found).model_dump(mode="json")

    return _with_fields(lookup, service)


def _cache_stats(service: ImageService) -> Endpoint:
    async def cache_stats(request: Request) -> dict[str, Any]:
        """Return the statistics of the cache, as `GET /cache/stats` answers; for administrators only."""
        await require_administrator(request)
        described = await asyncio.to_thread(lambda: overview(service.cache.held(), service.statistics))
        return Stats.model_validate(described).model_dump(mode="json")

    return cache_stats


def _body(values: tuple[Any, ...]) -> GenerateBody:
    return GenerateBody.parse(dict(zip(GenerateBody.model_fields, values, strict=True)))


def _file(outcome: Outcome) -> Any:  # noqa: ANN401 - like `FileData`, without the mark by which Gradio copies files
    return {
        "path": f"{outcome.name}.png",
        "url": image_url(outcome.name, outcome.entry),
        "size": len(outcome.entry.png),
        "orig_name": f"{outcome.name}.png",
        "mime_type": "image/png",
    }


def _with_fields(endpoint: Endpoint, service: ImageService) -> Endpoint:
    """Give *endpoint* the fields of a request as parameters, in place of its `values`."""
    offered = {"model": tuple(service.models), "style": tuple(styles())}
    fields = [
        Parameter(
            name,
            Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if name == "prompt" else row.default,
            annotation=_hint(row.kind, offered.get(name) or tuple(value for value, _ in row.choices), row.default),
        )
        for name, row in parameters(GenerateBody).items()
    ]
    returns = endpoint.__annotations__["return"]
    request = Parameter("request", Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    endpoint.__signature__ = Signature([request, *fields], return_annotation=returns)  # type: ignore[attr-defined]
    return endpoint


def _hint(kind: type, choices: tuple[str, ...], default: object) -> Any:  # noqa: ANN401 - a type
    hint: Any = Literal[choices] if choices else kind
    return hint | None if default is None else hint


def _described(endpoint: Endpoint) -> str:
    """Return the text of an endpoint: its docstring, and the descriptions of the fields among its parameters."""
    names = Signature.from_callable(endpoint).parameters
    fields = {name: field for name, field in GenerateBody.model_fields.items() if name in names}
    texts = [f"{name}: {field.description}" for name, field in fields.items() if field.description]
    return " ".join([endpoint.__doc__ or "", *texts])


def _called(endpoint: Endpoint, calls: Shares) -> Endpoint:
    """Return *endpoint* as Gradio calls it: with Gradio's request, and with errors in Gradio's form."""

    @wraps(endpoint)
    async def called(request: gr.Request, *values: Any) -> Any:  # noqa: ANN401
        sent: Request = request.request  # type: ignore[assignment]  # Gradio has no type for it
        # In the context of the request: it has the language, the request id, and the path of this server.
        running = asyncio.create_task(_answer(endpoint, calls, sent, values), context=context_of(sent.scope))
        return await _unless_left(running)

    signature = Signature.from_callable(endpoint)
    request, *fields = signature.parameters.values()
    signature = signature.replace(parameters=[request.replace(annotation=gr.Request), *fields])
    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    return called


async def _answer(endpoint: Endpoint, calls: Shares, request: Request, values: tuple[Any, ...]) -> Any:  # noqa: ANN401
    try:
        with _place(calls, lane_of(request)):
            return await endpoint(request, *values)
    except ZImageError as error:
        raise _gradio_error(error) from None
    except Exception:  # noqa: BLE001 - the outermost edge: Gradio would print the traceback
        _log.exception("endpoint_failed name=%s", endpoint.__name__)
        raise _gradio_error(Refused("internal_error", "unforeseen")) from None


@contextmanager
def _place(calls: Shares, user: str) -> Iterator[None]:
    if not calls.room(user):
        raise QueueFull("too_many_jobs", taken=calls.taken, most=MOST_CALLS)
    calls.take(user)
    try:
        yield
    finally:
        calls.give_back(user)


def _gradio_error(error: ZImageError) -> gr.Error:
    """Return an error in Gradio's form: its message, and its code as the title."""
    body = error_body(error, current_request_id())
    return gr.Error(body["message"], title=body["code"], print_exception=False)


async def _unless_left(running: asyncio.Task[T]) -> T:
    """Await *running*; it is cancelled with the call, and when the client that follows it has disconnected."""
    blocks, event_id = LocalContext.blocks.get(), LocalContext.event_id.get()
    assert blocks is not None and event_id is not None  # noqa: S101, PT018 - the queue calls
    event = blocks._queue.event_ids_to_events[event_id]  # noqa: SLF001
    try:
        while not running.done():
            await asyncio.wait([running], timeout=_LOOK_SECONDS)
            if not event.alive:
                raise _gradio_error(Cancelled("hung_up"))
    finally:
        running.cancel()
    return await running
