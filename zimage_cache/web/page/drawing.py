"""One press of Generate as the page hears of it: news while the picture is made, then the answer or what went wrong."""

import asyncio
import base64
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

import gradio as gr

from zimage_cache.errors import ZImageError
from zimage_cache.service.job import Job, Outcome, Progress
from zimage_cache.service.service import ImageService
from zimage_cache.web.api import Generated, asker, generated
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.request_id import begin

News = dict[str, Any]
Press = tuple[str | None, int]

_log = logging.getLogger(__name__)
# Short against a step of any card; an unchanged page costs a message of 200 bytes.
_SECONDS: Final = 0.3
_REMEMBERED: Final = 1000


class Presses:
    """The page's presses of Generate. Each ends by its picture, by Stop, or by its page being closed.

    Gradio can only cancel what it has begun, and drops a Stop that overtakes its press on the way here: hence a list
    of our own of presses given up, by page and number.

    Threads: the event loop's only.
    """

    def __init__(self, service: ImageService) -> None:
        self._service = service
        self._given_up: deque[Press] = deque(maxlen=_REMEMBERED)

    async def stop(self, event: gr.EventData, request: gr.Request) -> None:
        """Give a press up, whether it has begun or is still on its way."""
        self._given_up.append((request.session_hash, event.number))

    async def draw(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[News]:
        """Tell how a press goes; it is also given up by being closed or cancelled between two news."""
        number = event.number
        request_id = begin(None)
        try:
            # Closed explicitly: a generator that is merely dropped gives its seats back whenever that is noticed.
            async with aclosing(follow(self._service, GenerateBody.parse(event.ask), _user(request))) as story:
                async for news in story:
                    if (request.session_hash, number) in self._given_up:
                        return
                    yield {"number": number, **news}
        except ZImageError as error:
            field = getattr(error, "field", None)
            yield {"number": number, "error": _error(error.code, str(error), request_id) | {"field": field}}
        except Exception:  # noqa: BLE001 - the outermost edge of the page's event
            _log.exception("page_event_failed request_id=%s", request_id)
            message = "something unforeseen went wrong; the server's log says what"
            yield {"number": number, "error": _error(ZImageError.code, message, request_id)}


async def follow(service: ImageService, body: GenerateBody, user: str) -> AsyncGenerator[News, None]:
    """Ask the service and tell how it goes, at least every second; the seats are given back however it ends.

    Raises:
        ZImageError: It could not be made.
    """
    # `ask` may wait too, while a model's files are fetched and hashed: a task, so that there is news meanwhile.
    asking = asyncio.ensure_future(
        service.ask(body.picture(), n=body.n, cache=body.cache, model=body.model, user=user, patient=True)
    )
    waiting: asyncio.Future[list[Outcome]] | None = None
    try:
        while not await _done(asking):
            yield {"progress": _told(Progress("loading", detail=service.state(body.model).phase, n=body.n), None)}
        job = asking.result()
        job.watch()
        waiting = asyncio.ensure_future(job.outcomes())
        shown: bytes | None = None
        while not await _done(waiting):
            progress = job.progress()
            yield {"progress": _told(progress, shown)}
            shown = progress.preview
        yield {"answer": _answer(waiting.result()).model_dump(mode="json")}
    finally:
        _give_up(asking, waiting)


def _told(progress: Progress, shown: bytes | None) -> News:
    """Write *progress* as JSON; `preview` only if it is another than the page shows, null where there is none."""
    news = asdict(progress)
    preview = news.pop("preview")
    if preview is None:
        return {**news, "preview": None}
    if preview is shown:
        return news
    return {**news, "preview": f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}"}


def _answer(outcomes: list[Outcome]) -> Generated:
    return generated(outcomes, max(outcome.seconds for outcome in outcomes))


def _error(code: str, message: str, request_id: str) -> dict[str, str | None]:
    return {"code": code, "message": message, "request_id": request_id}


def _user(request: gr.Request) -> str:
    return asker(request.request) if request.request else ""


async def _done(task: asyncio.Future[Any]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=_SECONDS)
    return bool(done)


def _give_up(asking: asyncio.Future[Job], waiting: asyncio.Future[list[Outcome]] | None) -> None:
    # No await in here: it also runs while the generator is being closed.
    asking.cancel()
    if waiting is not None:
        waiting.cancel()
        waiting.add_done_callback(_forget)
    # Cancelling a task that has not begun runs nothing of it, hence the second way out of the seats.
    if asking.done() and not asking.cancelled() and asking.exception() is None:
        asking.result().leave()


def _forget(task: asyncio.Future[Any]) -> None:
    """Look at an error nobody is left to be told of, so that asyncio does not report it as overlooked."""
    if not task.cancelled():
        task.exception()
