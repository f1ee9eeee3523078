"""Answers in OpenAI's form: pictures as Base64 or by address, and the events of a stream."""

import asyncio
import base64
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict

from fastapi.sse import format_sse_event
from PIL import Image
from pydantic import BaseModel, Field

from zimage_cache.errors import ZImageError
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata.encodings import SUFFIXES
from zimage_cache.service.job import Job, Outcome
from zimage_cache.service.service import ImageService
from zimage_cache.web.api.generate import warnings_of
from zimage_cache.web.api.openai.body import ImagesBody
from zimage_cache.web.api.pictures import image_url
from zimage_cache.web.errors import Refused, openai_error
from zimage_cache.web.language import localized

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.1
_FILE: Final = "<file>"
_USAGE: Final[dict[str, Any]] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


@dataclass(frozen=True)
class Asked:
    """A request, its job, and the names of fields that were ignored."""

    body: ImagesBody
    job: Job
    ignored: list[str]


class About(TypedDict):
    """What is said of pictures, in OpenAI's words."""

    size: str
    quality: str
    background: str
    output_format: str


class Datum(BaseModel):
    """One picture of an answer: the file as Base64, or its address."""

    seed: int
    b64_json: str | None = None
    url: str | None = None


class Images(BaseModel):
    """The answer of `/v1/images/generations`; `seed` of a picture and `warnings` are additions to OpenAI's fields."""

    created: Annotated[int, Field(description="Seconds since 1970.")]
    data: list[Datum]
    size: str
    quality: str
    background: str
    output_format: str
    usage: Annotated[dict[str, Any], Field(description="Zeros: nothing is billed.")] = _USAGE
    warnings: list[str]


async def images(service: ImageService, asked: Asked, outcomes: Sequence[Outcome], origin: str) -> bytes:
    """Return the whole answer as JSON; *origin* stands before the paths of addresses."""
    answer = Images(
        created=int(time.time()),
        data=[_datum(asked.body, outcome, origin) for outcome in outcomes],
        **_about(asked.body, _size(outcomes[0])),
        warnings=_warnings(asked, outcomes),
    )
    document = answer.model_dump_json(exclude_none=True).encode()
    if asked.body.response_format == "url":
        return document
    return _with_files(document, [await _base64(service, asked.body, outcome) for outcome in outcomes])


def _with_files(document: bytes, files: Sequence[bytes]) -> bytes:
    """Put files in the place of the marks, in their order.

    As fields they would be checked and escaped, which takes longer than all the rest.
    """
    first, *rest = document.split(f'"{_FILE}"'.encode())
    return b"".join([first, *(b'"%b"%b' % pair for pair in zip(files, rest, strict=True))])


def _about(body: ImagesBody, size: str) -> About:
    return {"size": size, "quality": "auto", "background": "opaque", "output_format": body.output_format}


def _size(outcome: Outcome) -> str:
    return f"{outcome.entry.record.width}x{outcome.entry.record.height}"


def _datum(body: ImagesBody, outcome: Outcome, origin: str) -> Datum:
    """Return one picture of an answer, with a mark in place of the file."""
    seed = outcome.entry.record.request["seed"]
    if body.response_format == "url":
        return Datum(seed=seed, url=origin + image_url(outcome.name, outcome.entry, body.suffix, body.encoding_quality))
    return Datum(seed=seed, b64_json=_FILE)


async def _base64(service: ImageService, body: ImagesBody, outcome: Outcome) -> bytes:
    return await service.encodings.base64_of(outcome.entry, SUFFIXES[body.suffix], body.encoding_quality)


def _warnings(asked: Asked, outcomes: Sequence[Outcome]) -> list[str]:
    ignored = [localized(Message("fields_ignored", names=tuple(asked.ignored)))] if asked.ignored else []
    return ignored + warnings_of(outcomes)


# ---------------------------------------------------------------- events


async def events(service: ImageService, asked: Asked) -> AsyncIterator[bytes]:
    """Send previews of the pictures that are drawn, then each picture, or the error that ended the job."""
    waiting = asyncio.ensure_future(service.wait(asked.job))
    try:
        async for preview in _previews(asked, waiting):
            yield preview
        for outcome in await waiting:
            picture = {"b64_json": (await _base64(service, asked.body, outcome)).decode(), "usage": _USAGE}
            yield _event("completed", _about(asked.body, _size(outcome)), picture)
    except ZImageError as error:
        yield _failure(error)
    except Exception:  # noqa: BLE001 - the outermost edge: the client is to see that the stream has failed
        _log.exception("stream_failed")
        yield _failure(Refused("internal_error", "unforeseen"))
    finally:
        waiting.cancel()


async def _previews(asked: Asked, waiting: "asyncio.Future[list[Outcome]]") -> AsyncIterator[bytes]:
    """Send as many previews as were asked for, spread evenly over the steps, until the job ends."""
    sent, most, job = 0, asked.body.partial_images, asked.job
    if not most:
        return
    job.watch()
    while not waiting.done():
        await asyncio.wait([waiting], timeout=_LOOK_SECONDS)
        now = job.progress()
        if sent < most and now.preview and now.step * (most + 1) >= now.steps * (sent + 1):
            preview = base64.b64encode(_converted(now.preview, asked.body)).decode()
            picture = {"b64_json": preview, "partial_image_index": sent}
            yield _event("partial_image", _about(asked.body, asked.body.size), picture)
            sent += 1


def _failure(error: ZImageError) -> bytes:
    return format_sse_event(event="error", data_str=json.dumps({"error": openai_error(error)}))


def _event(kind: str, about: About, fields: dict[str, Any]) -> bytes:
    name = f"image_generation.{kind}"
    data = {"type": name, "created_at": int(time.time()), **about, **fields}
    return format_sse_event(event=name, data_str=json.dumps(data))


def _converted(preview: bytes, body: ImagesBody) -> bytes:
    """Return a preview, a small JPEG, in the wanted format."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(preview), formats=["JPEG"]) as picture:
        picture.save(buffer, body.output_format)
    return buffer.getvalue()
