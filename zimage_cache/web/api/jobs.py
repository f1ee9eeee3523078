"""The routes of jobs: create one without waiting, read its state once or as a stream, and cancel it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel

from zimage_cache.accounts.limits import Rate
from zimage_cache.request_id import current_request_id
from zimage_cache.service.service import ImageService
from zimage_cache.service.tickets import State, Ticket, Tickets, news
from zimage_cache.web.api.accounts import Priority, XPriority, account_of, lane_of, sender_of, within
from zimage_cache.web.api.generate import MAX_IDEMPOTENCY_KEY, Image, server_timing, unless_disconnected
from zimage_cache.web.api.routes import EVENTS, STREAMED, EventStream, add_routes
from zimage_cache.web.body import GenerateBody, body_schema, generate_body
from zimage_cache.web.errors import WITH_BODY, ErrorDetail, Refused, answers, error_body
from zimage_cache.web.language import localized, set_language
from zimage_cache.web.root_path import address

# Seconds between checks for changes: shorter than a step on any device. Only changes are sent.
_LOOK_SECONDS: Final = 0.3
# Proxies close connections without traffic, the strictest ones after ten seconds.
_HEARTBEAT_SECONDS: Final = 8.0
_RECONNECT_MS: Final = 1000
# Characters of a list of job ids: a hundred of them.
_MOST_IDS: Final = 100 * 33 - 1
_UNKEPT: Final = {"Cache-Control": "no-store"}


class JobError(ErrorDetail):
    """Why a job failed or was cancelled, in the language of the reader; `request_id` is that of the job's creation."""


class JobState(BaseModel):
    """The state of a job.

    `state` is `running` once the generator draws one of its pictures. `position` counts the pictures ahead; `step`
    of `steps` is of the picture being drawn, as is `preview`, a data URL; `done` of `n` pictures are in `images`, in
    order. `duration` is null before the end, `error` unless it `failed` or was `cancelled`.
    """

    id: str
    state: State
    phase: Literal["queued", "loading", "encoding", "drawing", "decoding", "finishing"]
    detail: str
    position: int
    step: int
    steps: int
    done: int
    n: int
    eta_seconds: float | None
    preview: str | None
    images: list[Image | None]
    warnings: list[str]
    duration: float | None
    error: JobError | None


def add_jobs_api(app: FastAPI, service: ImageService, tickets: Tickets[Image], rate: Rate | None = None) -> None:
    """Add the routes to *app*, and a 405 for every other method on them; mount the page afterwards.

    The id of a job is enough to read and to cancel it; only the client that created the job receives it.
    """
    # First: `/jobs/{job_id}` would match its address too.
    several = APIRouter(prefix="/jobs")
    _add_events_of_several(several, tickets)
    add_routes(app, several)
    router = APIRouter(prefix="/jobs")
    _add_open(router, service, tickets, rate)
    _add_state(router, tickets)
    _add_events(router, tickets)
    add_routes(app, router)


def _add_open(router: APIRouter, service: ImageService, tickets: Tickets[Image], rate: Rate | None) -> None:
    @router.post(
        "",
        dependencies=within(rate),
        status_code=202,
        response_model_exclude_unset=True,
        responses=answers(*WITH_BODY, 404, 429),
        openapi_extra=body_schema(service),
    )
    async def ask(
        request: Request,
        response: Response,
        body: Annotated[GenerateBody, Depends(generate_body)],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_IDEMPOTENCY_KEY)] = None,
        x_priority: XPriority = Priority.INTERACTIVE,
    ) -> JobState:
        """Request pictures as with `/generate`, without waiting; those stored already are in the answer.

        A job whose events were never requested runs to its end. A job whose last event stream has closed is cancelled
        after 15 seconds without a request about it.
        """
        opening = tickets.open(
            body.picture(),
            n=body.n,
            cache=body.cache,
            model=body.model,
            **sender_of(request, x_priority),
            idempotency_key=idempotency_key,
            reference=current_request_id(),
        )
        # When the client has disconnected by now, no client would ever know the job's id.
        ticket = await unless_disconnected(request, opening)
        response.headers.update(_headers(ticket) | {"Location": address(f"/jobs/{ticket.id}")})
        return job_state(ticket)


def _add_state(router: APIRouter, tickets: Tickets[Image]) -> None:
    @router.get("/{job_id}", response_model_exclude_unset=True, responses=answers(404, 405, 422))
    async def state(request: Request, job_id: str, response: Response) -> JobState:
        """Return the state of a job; an ended one is kept for ten minutes."""
        ticket = _found(tickets, request, job_id)
        response.headers.update(_headers(ticket))
        return job_state(ticket)

    @router.delete("/{job_id}", status_code=204, responses=answers(404, 405, 422))
    async def leave(request: Request, job_id: str) -> None:
        """Cancel a job, or delete one that ended. Runs that it shares with other jobs continue for those."""
        if not tickets.drop(job_id, account_of(request).name):
            raise _unknown()


def _add_events(router: APIRouter, tickets: Tickets[Image]) -> None:
    async def listened(request: Request, job_id: str) -> AsyncIterator[Ticket[Image]]:
        ticket = _found(tickets, request, job_id)
        # In the dependency, not in the stream: a dependency ends with the answer, an interrupted generator only when it
        # is collected.
        with tickets.listening([ticket], lane_of(request)):
            yield ticket

    @router.get(
        "/{job_id}/events",
        response_class=EventStream,
        responses=EVENTS | answers(404, 405, 422),
        response_description="`event: state` with a JobState as its `data:`, again and again until the job ends",
    )
    async def events(ticket: Annotated[Ticket[Image], Depends(listened)]) -> EventStream:
        """Send every change until the job ends, for a browser's `EventSource`.

        One address may have 167 such streams, all addresses together 256; further ones are refused with `queue_full`.
        `preview` is left out of a message where it is the same as in the previous message.
        """
        return EventStream(_messages(_Followed([ticket])), headers=STREAMED, media_type=EventStream.TYPE)


@dataclass(frozen=True)
class _Followed:
    """What a stream tells of: *jobs*, of the *quiet* ones less, and ids that are no job's."""

    jobs: Collection[Ticket[Image]]
    quiet: Collection[Ticket[Image]] = ()
    gone: Collection[str] = ()


def _add_events_of_several(router: APIRouter, tickets: Tickets[Image]) -> None:
    async def listened(
        request: Request,
        ids: Annotated[
            str, Query(min_length=1, max_length=_MOST_IDS, description="Jobs, at most 100, with commas between.")
        ],
        quiet: Annotated[
            str, Query(max_length=_MOST_IDS, description="Those of them of which only the end is awaited.")
        ] = "",
        language: Annotated[
            Literal["en", "zh"] | None, Query(description="Of texts, where the header cannot be set.")
        ] = None,
    ) -> AsyncIterator[_Followed]:
        if language is not None:
            set_language(language)
        found = tickets.find_all(filter(None, ids.split(",")), account_of(request).name)
        jobs = [ticket for ticket in found.values() if ticket is not None]
        still = {ticket for ticket in map(found.get, quiet.split(",")) if ticket is not None}
        with tickets.listening(jobs, lane_of(request), quiet=still):
            yield _Followed(jobs, still, [name for name, ticket in found.items() if ticket is None])

    @router.get(
        "/events",
        response_class=EventStream,
        responses=EVENTS | answers(405, 422),
        response_description="`event: state` with the JobState of one of the jobs as its `data:`, again and again until"
        " the last job ends; `event: gone` with `id` for each id that is no job's",
    )
    async def events_of_several(followed: Annotated[_Followed, Depends(listened)]) -> EventStream:
        """Send every change of several jobs until all have ended, for a browser with several pages.

        Each job counts as a stream of its own. Of the `quiet` ones, which are out of sight, the state is sent at
        the beginning and at their end, and no previews are made.
        """
        return EventStream(_messages(followed), headers=STREAMED, media_type=EventStream.TYPE)


def job_state(ticket: Ticket[Image]) -> JobState:
    """Return the state of a job."""
    standing = ticket.standing()
    progress = standing.progress
    return JobState.model_validate(
        {
            "id": ticket.id,
            "state": standing.state,
            "phase": progress.phase,
            "detail": localized(progress.detail),
            "position": progress.ahead,
            "step": progress.step,
            "steps": progress.steps,
            "done": progress.done,
            "n": progress.n,
            "eta_seconds": progress.eta_seconds,
            "preview": _data_url(progress.preview),
            "images": list(standing.pictures),
            "warnings": list(map(localized, standing.warnings)),
            "duration": standing.duration,
            "error": standing.error and error_body(standing.error, ticket.reference),
        }
    )


def _headers(ticket: Ticket[Image]) -> dict[str, str]:
    return _UNKEPT | server_timing(ticket.standing().stages)


async def _messages(followed: _Followed) -> AsyncIterator[bytes]:
    now = asyncio.get_running_loop().time
    feed, sent_at = _Feed(followed), now()
    message = b"".join(map(_gone, followed.gone))
    while True:
        message += b"".join(feed.changes())
        if not message and now() - sent_at >= _HEARTBEAT_SECONDS:
            message = format_sse_event(comment="still here")
        if message:
            yield message
            message, sent_at = b"", now()
        if not feed.open:
            return
        await feed.news()


class _Feed:
    """What one stream has sent of each job that has not ended."""

    def __init__(self, followed: _Followed) -> None:
        self._sent: dict[Ticket[Image], JobState | None] = dict.fromkeys(followed.jobs)
        self._quiet = set(followed.quiet)

    @property
    def open(self) -> bool:
        """Whether one of the jobs has not been seen to end."""
        return bool(self._sent)

    def changes(self) -> Iterator[bytes]:
        """Give a message for each job that has changed; the last one of a job is its end."""
        for ticket, sent in list(self._sent.items()):
            if sent is not None and ticket in self._quiet and not ticket.ended:
                continue
            state = job_state(ticket)
            if state != sent:
                yield _message(state, sent)
            self._sent[ticket] = state
            # Not `ticket.ended`: the job may have ended after `state` was read.
            if state.duration is not None:
                del self._sent[ticket]

    async def news(self) -> None:
        """Wait until a job ends, or until it is time to look for changes."""
        await news(self._sent, _HEARTBEAT_SECONDS if self._sent.keys() <= self._quiet else _LOOK_SECONDS)


def _gone(name: str) -> bytes:
    return format_sse_event(event="gone", data_str=json.dumps({"id": name}), retry=_RECONNECT_MS)


def _message(state: JobState, sent: JobState | None) -> bytes:
    same = {"preview"} if sent is not None and sent.preview == state.preview else None
    retry = _RECONNECT_MS if sent is None else None
    return format_sse_event(
        event="state", data_str=state.model_dump_json(exclude=same, exclude_unset=True), retry=retry
    )


def _found(tickets: Tickets[Image], request: Request, job_id: str) -> Ticket[Image]:
    ticket = tickets.find(job_id, account_of(request).name)
    if ticket is None:
        raise _unknown()
    return ticket


def _unknown() -> Refused:
    return Refused("not_found", "no_such_job")


def _data_url(jpeg: bytes | None) -> str | None:
    return None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
