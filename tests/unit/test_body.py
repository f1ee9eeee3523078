"""`generate_body`: a request's body, read without surprises. Each rule over HTTP: `tests/e2e/test_bad_input.py`."""

import json
import threading

import pytest
from starlette.requests import Request

from zimage_cache.errors import Cancelled, InvalidRequest
from zimage_cache.request import CacheMode, ImageRequest
from zimage_cache.web.body import GenerateBody, body_schema, generate_body, read_body
from zimage_cache.web.errors import STATUS, Refused

pytestmark = pytest.mark.anyio


def request(*pieces: bytes, media_type: str | None = "application/json", hangs_up: bool = False) -> Request:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if hangs_up else {"type": "http.request", "body": b""})
    arriving = iter(messages)

    async def receive():
        return next(arriving)

    headers = [] if media_type is None else [(b"content-type", media_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_body_in_pieces():
    """A body may arrive in any pieces, even within a character."""
    body = json.dumps({"prompt": "红 circle", "n": 2, "cache": "only", "model": "demo"}, ensure_ascii=False).encode()
    parsed = await generate_body(request(*(body[i : i + 1] for i in range(len(body)))))
    assert (parsed.prompt, parsed.n, parsed.cache, parsed.model) == ("红 circle", 2, CacheMode.ONLY, "demo")


async def test_the_picture_in_it_is_the_request_alone():
    """What describes the picture is an `ImageRequest` equal to one that never knew of n, model and cache."""
    fields = {"prompt": "x", "seed": 3, "style": "ink", "sampler": "heun", "width": 64}
    parsed = await generate_body(request(json.dumps(fields | {"n": 3, "cache": "refresh"}).encode()))
    assert parsed.picture() == ImageRequest.parse(fields)
    assert type(parsed.picture()) is ImageRequest


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/json-patch+json", "application/jsonl"])
async def test_other_media_types(media_type):
    """415, before anything is read."""
    with pytest.raises(Refused) as caught:
        await generate_body(request(b"{}", media_type=media_type))
    assert STATUS[caught.value.code] == 415


async def test_a_client_that_hangs_up():
    """A client that disconnects within its body causes no error."""
    with pytest.raises(Cancelled):
        await generate_body(request(b'{"prompt": ', hangs_up=True))


@pytest.mark.parametrize(
    ("options", "size", "on_the_loop"), [({"at_once": 4}, 4, True), ({"at_once": 4}, 5, False), ({}, 1, False)]
)
async def test_only_small_json_is_parsed_on_the_event_loop(options, size, on_the_loop):
    """The rest has a thread, and so has every PNG: 15 KB of one may unpack to 14 MB of text."""
    body = request(b"x" * size, media_type="image/png")
    thread = await read_body(body, ("image/png",), lambda _body: threading.current_thread(), **options)
    assert (thread is threading.current_thread()) == on_the_loop


@pytest.mark.parametrize("body", ['{"seed": 1, "seed": 2}', '{"a": [{"b": 1, "b": 1}]}'])
async def test_repeated_names(body):
    """JSON lets a name appear twice and parsers disagree on who wins: refused, at any depth."""
    with pytest.raises(InvalidRequest, match="given twice"):
        await generate_body(request(body.encode()))


async def test_encodings():
    """JSON in UTF-16 or with a byte order mark is still JSON."""
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert (await generate_body(request('{"prompt": "é"}'.encode(encoding)))).prompt == "é"


def test_the_schema_tells_every_field(studio):
    """OpenAPI shows the fields that are taken, what may be null, and what this server offers."""
    schema = body_schema(studio().service)["requestBody"]["content"]["application/json"]["schema"]
    fields = schema["properties"]
    assert set(fields) == set(GenerateBody.model_fields)
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False
    assert {name for name, field in fields.items() if '"null"' not in json.dumps(field)} == {"prompt"}
    assert fields["model"]["enum"] == ["fake", None]
    assert {"ink", None} <= set(fields["style"]["enum"])
    assert (fields["width"]["minimum"], fields["width"]["maximum"]) == (64, 2048)
    assert fields["sampler"]["enum"][-1] is None
