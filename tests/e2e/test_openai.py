"""OpenAI's images API, used by its official client and by requests as other clients send them."""

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.factories import authentication
from tests.waiting import wait_until
from zimage_cache.accounts.users import key_digest
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.service.encodings import Encodings

SMALL = {"size": "64x64", "extra_body": {"steps": 4}}


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = jpeg()


def client_of(house: Any, **options: Any) -> Any:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{house.port}/v1", **{"api_key": "none", "max_retries": 0, **options}
    )


@pytest.fixture
def client(house: Any) -> Iterator[Any]:
    """The official client, as a program uses it."""
    with client_of(house) as made:
        yield made


def opened(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def pictures(answer: Any) -> list[bytes]:
    return [base64.b64decode(each.b64_json) for each in answer.data]


# ---------------------------------------------------------------- the official client


def test_a_picture_by_the_official_client(house, client):
    """Base64 of the stored PNG, with the fields that the client's types have; a seed makes the second one a hit."""
    ask = {"prompt": "a fox", "size": "96x64", "extra_body": {"seed": 5, "steps": 4}}
    first, second = (client.images.with_raw_response.generate(model="gpt-image-1", **ask) for _ in range(2))
    assert [each.headers["x-cache"] for each in (first, second)] == ["miss", "hit-memory"]
    assert [each.headers["x-seed"] for each in (first, second)] == ["5", "5"]
    assert "draw;dur=" in first.headers["server-timing"]
    assert second.headers["server-timing"].startswith("cache;dur=")
    answer = second.parse()
    assert pictures(answer) == pictures(first.parse())
    assert opened(pictures(answer)[0]).size == (96, 64)
    assert (answer.size, answer.output_format, answer.background) == ("96x64", "png", "opaque")
    assert answer.usage.total_tokens == answer.usage.input_tokens_details.image_tokens == 0
    assert answer.created > 0
    key = house.image(prompt="a fox", width=96, height=64, seed=5)["key"]
    assert house.client.get(f"/images/{key}.png").content == pictures(answer)[0]


def test_without_a_seed_each_picture_is_a_new_one(client):
    """To generate again is to want another picture; the seeds of one answer follow each other."""
    seeds = []
    for _ in range(2):
        answer = client.images.generate(prompt="again", n=2, **SMALL)
        first, second = (each.model_extra["seed"] for each in answer.data)
        assert second == (first + 1) % 2**32
        seeds += [first, second]
    assert len(set(seeds)) == 4


def test_our_fields_count(house, client):
    """Negative prompt, guidance, steps by either name, sampler and style make the picture that /generate makes."""
    fields = {"negative_prompt": "blurry", "guidance_scale": 2.5, "num_inference_steps": 3, "seed": 9, "style": "ink"}
    answer = client.images.generate(prompt="a hill", size="64x64", extra_body=fields)
    steps = fields.pop("num_inference_steps")
    image = house.image(prompt="a hill", **fields | {"steps": steps})
    assert image["cached"]
    assert house.client.get(image["image_url"]).content == pictures(answer)[0]


@pytest.mark.parametrize(("output", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats_are_encodings_of_one_picture(house, client, output, kind):
    """Nothing is drawn again for another format, whose files hold the settings too; quality makes the file smaller."""
    ask = {"prompt": "formats", "extra_body": {"seed": 1, "steps": 4}, "size": "128x128"}
    drawn = len(house.studio.generator.recipes)
    house.image(prompt="formats", width=128, height=128, seed=1)
    drawn_then = len(house.studio.generator.recipes)
    assert drawn_then - drawn <= 1
    fine, coarse = (
        pictures(client.images.generate(output_format=output, output_compression=quality, **ask))[0]
        for quality in (100, 0)
    )
    assert opened(fine).format == opened(coarse).format == kind
    assert len(coarse) < len(fine) or output == "png"
    described = house.client.post("/png-info", content=fine, headers={"Content-Type": f"image/{output}"}).json()
    assert described["parameters"]["prompt"] == "formats"
    assert len(house.studio.generator.recipes) == drawn_then


@pytest.mark.parametrize("output", ["png", "jpeg", "webp"])
def test_addresses_only_when_asked_for(house, client, output):
    """An absolute address, which answers with the same bytes as Base64 would have."""
    ask = {"prompt": "by address", "extra_body": {"seed": 2, "steps": 4}, "size": "64x64", "output_format": output}
    (datum,) = client.images.generate(response_format="url", output_compression=70, **ask).data
    assert datum.b64_json is None
    assert datum.url.startswith(f"http://127.0.0.1:{house.port}/images/")
    fetched = httpx.get(datum.url)
    assert fetched.headers["content-type"] == f"image/{output}"
    assert "immutable" in fetched.headers["cache-control"]
    assert [fetched.content] == pictures(client.images.generate(output_compression=70, **ask))
    again = httpx.get(datum.url, headers={"If-None-Match": fetched.headers["etag"]})
    assert again.status_code == 304


def test_a_stream_shows_previews_and_the_picture(serve, gate):
    """The official events in their order; a picture that is stored comes at once, without previews."""
    door = gate(3)
    made = serve(door, generator=FakeGenerator(preview=JPEG))
    with client_of(made) as client:
        ask = {"prompt": "stream", "size": "64x64", "extra_body": {"seed": 3, "steps": 4}, "stream": True}
        events = iter(client.images.generate(partial_images=2, output_format="webp", **ask))
        first = next(events)
        door.open()
        rest = list(events)
        stored = list(client.images.generate(partial_images=2, **ask))
    assert [each.type for each in (first, rest[-1])] == [
        f"image_generation.{x}" for x in ("partial_image", "completed")
    ]
    assert [each.partial_image_index for each in (first, *rest[:-1])] == list(range(len(rest)))
    assert len(rest) <= 2
    for event in (first, *rest):
        assert opened(base64.b64decode(event.b64_json)).format == "WEBP"
        assert event.output_format == "webp"
        assert event.created_at > 0
    assert rest[-1].usage.total_tokens == 0
    assert [each.type for each in stored] == ["image_generation.completed"]


def test_a_stream_that_fails_ends_with_an_error(serve):
    """The client raises the server's own words."""

    def fail(_recipe, _evaluation):
        raise MemoryError("of the test")

    made = serve(fail)
    with client_of(made) as client:
        stream = client.images.generate(prompt="fails", stream=True, **SMALL)
        with pytest.raises(openai.APIError, match="unexpectedly"):
            list(stream)


def test_a_stream_whose_encoding_fails_ends_with_an_error(serve, monkeypatch):
    """Also an error that is none of ours, which the log has in full."""

    async def fail(*_: object) -> bytes:
        raise ValueError("of the test")

    made = serve()
    monkeypatch.setattr(Encodings, "base64_of", fail)
    with client_of(made) as client, pytest.raises(openai.APIError, match="something unforeseen"):
        list(client.images.generate(prompt="fails late", stream=True, **SMALL))


def test_who_leaves_a_stream_gives_up_the_picture(serve, gate):
    """The run is cancelled when the last one who waits for it closes the connection."""
    door = gate(1)
    made = serve(door)
    with client_of(made) as client:
        stream = client.images.generate(prompt="left", stream=True, partial_images=1, **SMALL)
        (run,) = wait_until(lambda: made.studio.service.runs)
        stream.close()
        wait_until(run.cancelled.is_set)
    door.open()


def test_models(client):
    """As the client's types have them, and by name; an unknown one is an error of the client's own kind."""
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by, model.model_extra) == (
        "fake",
        "model",
        "z-image",
        {"type": "image"},
    )
    assert client.models.retrieve("fake").id == "fake"
    with pytest.raises(openai.NotFoundError, match="none"):
        client.models.retrieve("none")


@pytest.mark.parametrize(
    "name", ["gpt-image-1", "gpt-image-2", "gpt-image-1-mini", "dall-e-3", "chatgpt-image-latest", "fake"]
)
def test_names_of_openais_models_are_the_default_one(client, name):
    """Several clients offer fixed names only."""
    assert client.images.generate(prompt="names", model=name, **SMALL).data


def test_configured_names(studio_class, tmp_path, house):
    """A pattern of one's own leads to a model of one's own, before the patterns that are built in."""
    identity = GeneratorIdentity("second", "1", "uint8", "numpy")
    second = FakeGenerator(profile=replace(FAKE_PROFILE, name="second"), identity_=identity)
    studio = studio_class(tmp_path, FakeGenerator(), others=[second])
    studio.start()
    made = type(house)(studio, model_aliases={"mine-*": "second", "gpt-image-2": "second"})
    try:
        with client_of(made) as client:
            for name in ("mine-1", "gpt-image-2", "second"):
                assert client.images.generate(prompt=name, model=name, **SMALL).data
            assert len(second.recipes) == 3
            assert client.images.generate(prompt="default", model="gpt-image-1", **SMALL).data
            assert len(second.recipes) == 3
            with pytest.raises(openai.BadRequestError, match="yours-1"):
                client.images.generate(prompt="mine", model="yours-1", **SMALL)
    finally:
        made.close()


def test_the_snippet_of_the_documentation(house):
    """It runs as it stands, but for the address."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    snippets = [each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "openai" in each]
    assert snippets
    for snippet in snippets:
        names: dict[str, Any] = {}
        exec(snippet.replace("127.0.0.1:7860", f"127.0.0.1:{house.port}"), names)
        assert opened(names["picture"]).format == "PNG"
        names["client"].close()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "x" * 8001}, "prompt", "8000"),
        ({"background": "transparent"}, "background", "transparent"),
        ({"size": "wide"}, "size", "WIDTHxHEIGHT"),
        ({"size": "1024×1024"}, "size", "WIDTHxHEIGHT"),
        ({"size": "100x100"}, "size", "16"),
        ({"size": "64x9999"}, "size", "16"),
        ({"size": "64x4096"}, "size", "2048"),
        ({"size": "0x0"}, "size", "64"),
        ({"n": 9}, "n", "8"),
        ({"n": 0}, "n", "1"),
        ({"n": "2"}, "n", "integer"),
        ({"output_format": "gif"}, "output_format", "png"),
        ({"output_compression": 101}, "output_compression", "100"),
        ({"response_format": "file"}, "response_format", "b64_json"),
        ({"partial_images": 4, "stream": True}, "partial_images", "3"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"style": "impressionist"}, "style", "ink"),
        ({"style": ["vivid"]}, "style", "string"),
        ({"style": {}}, "style", "string"),
        ({"model": 7}, "model", "string"),
        ({"size": "64x64", "width": 128}, "width", "size"),
        ({"size": "64x64", "height": 64}, "height", "size"),
        ({"size": 1024}, "size", "string"),
        ({"size": ["64x64"]}, "size", "string"),
        ({"model": "sdxl"}, "model", "fake"),
        ({"seed": -5}, "seed", "-1"),
        ({"steps": 4, "num_inference_steps": 4}, "steps", "num_inference_steps"),
    ],
)
def test_bad_fields(client, fields, param, words):
    """Status 400 and OpenAI's fields: the rule in words, and the parameter at fault."""
    ask = {"prompt": "a fox", "size": "64x64", **fields}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/images/generations", body=ask, cast_to=object)
    error = raised.value
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, "invalid_request")
    assert words in error.message


@pytest.mark.parametrize("body", [b"{", b"[]", b'"a fox"', b"null", b"\xff\xfe", b'{"prompt": 7}', b"{}"])
def test_bodies_that_are_no_request(house, body):
    """400 in OpenAI's form, never a traceback."""
    answer = house.client.post("/v1/images/generations", content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/images/generations", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/none", 404),
        ("POST", "/v1/images/generations", 415),
    ],
)
def test_other_errors_have_the_same_form(house, method, path, status):
    """Also those that no route raises."""
    answer = house.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() >= {"message", "type", "param", "code"}


def test_a_full_queue_is_worth_a_retry(serve, gate):
    """503 with Retry-After: the official client waits and asks again by itself."""
    door = gate(1)
    made = serve(door, queue_size=1)
    held = made.ask_and_hold(prompt="first")
    door.wait()
    with client_of(made) as client, pytest.raises(openai.InternalServerError) as raised:
        client.images.generate(prompt="second", **SMALL)
    assert raised.value.type == "server_error"
    assert raised.value.code == "queue_full"
    assert raised.value.response.headers["retry-after"]
    door.open()
    held.close()


def test_users_and_keys(studio_class, tmp_path, house):
    """An API key is the client's; without one the error is the client's own kind, before anything is read."""
    studio = studio_class(tmp_path, FakeGenerator())
    studio.start()
    key = "k" * 32
    made = type(house)(studio, authentication=authentication(tmp_path, f"bot:sha256${key_digest(key)}"))
    try:
        with client_of(made, api_key=key) as client:
            assert client.images.generate(prompt="by a bot", **SMALL).data
        with client_of(made, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError) as raised:
                client.images.generate(prompt="by another", **SMALL)
            assert raised.value.type == "invalid_request_error"
    finally:
        made.close()


# ---------------------------------------------------------------- requests as other clients send them


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        pytest.param(
            {"model": "gpt-image-1", "prompt": "a fox", "n": 1, "size": "64x64", "response_format": "b64_json"},
            ["b64_json"],
            id="Open WebUI, Cherry Studio",
        ),
        pytest.param(
            {
                "model": "gpt-image-1",
                "prompt": "a fox",
                "n": 1,
                "quality": "auto",
                "size": "auto",
                "background": "auto",
                "output_format": "png",
                "output_compression": 100,
            },
            ["b64_json"],
            id="LibreChat",
        ),
        pytest.param({"model": "dall-e-3", "n": 1, "prompt": "a fox", "size": "64x64"}, ["b64_json"], id="LobeChat"),
        pytest.param(
            {"model": "dall-e-2", "prompt": "a fox", "response_format": "url", "size": "64x64", "quality": "standard"},
            ["url"],
            id="n8n, by address",
        ),
        pytest.param(
            {"model": "gpt-image-2", "prompt": "a fox", "size": "96x64", "quality": "high", "n": 2, "user": "someone"},
            ["b64_json"],
            id="Dify",
        ),
        pytest.param(
            {
                "model": "fake",
                "prompt": "a fox",
                "negative_prompt": "x",
                "num_inference_steps": 4,
                "guidance_scale": 1.5,
                "seed": 4,
                "size": "64x64",
                "enable_teacache": True,
            },
            ["b64_json"],
            id="clients of SGLang",
        ),
        pytest.param({"prompt": "a fox", "user": {"id": 1}, "quality": ["auto"]}, ["b64_json"], id="odd types"),
        pytest.param({"prompt": "a fox", "style": "vivid", "n": None, "seed": None}, ["b64_json"], id="nulls"),
    ],
)
def test_requests_of_other_clients(house, sent, read):
    """They are answered with what these clients read; what has no effect is named."""
    answer = house.client.post("/v1/images/generations", json=sent)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert len(body["data"]) == (sent.get("n") or 1)
    for datum in body["data"]:
        assert [name for name in ("b64_json", "url") if name in datum] == read
    without_effect = {"user", "style", "enable_teacache"} | ({"quality"} if sent.get("quality") != "auto" else set())
    for name in without_effect & sent.keys():
        assert name in json.dumps(body["warnings"])
    assert bool(without_effect & sent.keys()) == bool(body["warnings"])
