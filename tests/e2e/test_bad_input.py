"""Every rule of the request, broken over HTTP: 422 that names field, rule and value. Nothing is clamped."""

import json
from dataclasses import replace

import pytest

from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator

from .conftest import picture

BASE = '"prompt": "a red circle", "seed": 7, "width": 64, "height": 64, "steps": 2'
HUGE = "1" + "0" * 400


def only(**fields: object) -> str:
    return json.dumps(fields)


def one(name: str, text: str) -> str:
    """Write a body with one field given as JSON text, the others good."""
    base = json.loads("{" + BASE + "}")
    base.pop(name, None)
    return json.dumps(base)[:-1] + f', "{name}": {text}}}'


# What breaks a rule of one field: the field, what is sent (JSON text), what the message must say.
FIELDS = [
    ("prompt", "null", "a string"),
    ("prompt", "7", "a string, got 7"),
    ("prompt", '["x"]', "a string"),
    ("prompt", '""', "at least 1 character"),
    ("prompt", '"  \\n\\u3000"', "not be blank"),
    ("prompt", json.dumps("x" * 8001), "at most 8000 characters"),
    ("prompt", '"\\ud800"', "without lone surrogates, got"),
    ("negative_prompt", "false", "a string, got false"),
    ("negative_prompt", json.dumps("x" * 8001), "at most 8000 characters"),
    ("negative_prompt", '"\\udfff x"', "without lone surrogates, got"),
    *((side, "48", "at least 64, got 48") for side in ("width", "height")),
    *((side, "48", "at least 64, got 48") for side in ("width", "height")),
    *((side, "2064", "at most 2048, got 2064") for side in ("width", "height")),
    *((side, "100", "multiple of 16, got 100") for side in ("width", "height")),
    *((side, '"128"', "an integer, got") for side in ("width", "height")),
    *((side, "true", "an integer, got true") for side in ("width", "height")),
    *((side, "128.5", "an integer, got 128.5") for side in ("width", "height")),
    ("width", "NaN", "an integer, got NaN"),
    ("width", "1e400", "an integer, got Infinity"),
    ("width", "-64", "at least 64, got -64"),
    ("width", HUGE, "a huge number"),
    ("width", "{}", "an integer"),
    ("steps", "0", "at least 1, got 0"),
    ("steps", "51", "at most 50, got 51"),
    ("steps", "8.5", "an integer, got 8.5"),
    ("steps", "true", "an integer, got true"),
    ("steps", '"8"', "an integer, got"),
    ("guidance_scale", "-0.1", "at least 0, got -0.1"),
    ("guidance_scale", "20.01", "at most 20, got 20.01"),
    ("guidance_scale", "NaN", "finite number, got NaN"),
    ("guidance_scale", "Infinity", "finite number, got"),
    ("guidance_scale", "-Infinity", "finite number, got -Infinity"),
    ("guidance_scale", "1e400", "finite number, got"),
    ("guidance_scale", HUGE, "finite number, got"),
    ("guidance_scale", "true", "a number, got true"),
    ("guidance_scale", '"1"', "a number, got"),
    ("seed", "-2", "at least -1, got -2"),
    ("seed", str(2**32), "at most 4294967295, got 4294967296"),
    ("seed", HUGE, "a huge number"),
    ("seed", "1.5", "an integer, got 1.5"),
    ("seed", "false", "an integer, got false"),
    ("seed", '"7"', "an integer, got"),
    ("sampler", '"ddim"', "'euler', 'unipc', 'dpmpp_2m' or 'heun', got"),
    ("sampler", '"EULER"', "'heun', got"),
    ("sampler", "0", "got 0"),
    ("sampler", '"\\ud800"', "without lone surrogates, got"),
    ("shift", "0.09", "at least 0.1, got 0.09"),
    ("shift", "20.5", "at most 20, got 20.5"),
    ("shift", "NaN", "finite number, got NaN"),
    ("shift", "true", "a number"),
    ("style", '"no such style"', "unknown, got 'no such style'; one of"),
    ("style", '""', "unknown, got"),
    ("style", "1", "a string"),
    ("style", '"\\ud800"', "without lone surrogates, got"),
    ("style", json.dumps("x" * 101), "at most 100"),
    ("max_sequence_length", "63", "at least 64, got 63"),
    ("max_sequence_length", "1025", "at most 1024, got 1025"),
    ("max_sequence_length", "512.1", "an integer"),
    ("n", "0", "at least 1, got 0"),
    ("n", "9", "at most 8, got 9"),
    ("n", "true", "an integer, got true"),
    ("n", '"2"', "an integer, got"),
    ("n", "1.5", "an integer"),
    ("model", '"no such model"', "not offered here, got 'no such model'; one of fake"),
    ("model", '""', "not offered here"),
    ("model", "3", "a string"),
    ("model", '"\\ud800"', "without lone surrogates, got"),
    ("model", '"../../etc/passwd"', "not offered here"),
    ("cache", '"off"', "'use', 'refresh', 'bypass' or 'only', got"),
    ("cache", "true", "got true"),
    ("cache", '"\\ud800"', "without lone surrogates, got"),
]

# What breaks a rule of the body as a whole: what is sent, the field named if any, what the message must say.
BODIES = [
    (b"", None, "not valid JSON"),
    (b"   ", None, "not valid JSON"),
    (b"{", None, "not valid JSON"),
    (b'{"prompt": "x",}', None, "not valid JSON"),
    (b"{'prompt': 'x'}", None, "not valid JSON"),
    (b'{"prompt": "x"} {}', None, "not valid JSON"),
    (b'{"prompt": "\xff\xfe"}', None, "not valid JSON"),
    (b"null", None, "JSON object"),
    (b'"prompt"', None, "JSON object"),
    (b'["prompt"]', None, "JSON object"),
    (b"7", None, "JSON object"),
    (b"[" * 10_000, None, "nested too deeply"),
    (b'{"a":' * 10_000, None, "nested too deeply"),
    (b"[" * 100_000, None, "more than 20000 of the signs"),
    (b'{"a":' * 100_000, None, "more than 20000 of the signs"),
    (b"{" + b",".join(b'"%d": 1' % name for name in range(101)) + b"}", None, "has 101 names"),
    (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", None, "has 5000 digits"),
    (b"{}", "prompt", "required"),
    (b'{"prompt": "x", "promt": "y"}', "promt", "unknown field"),
    (b'{"prompt": "x", "steps_": 8}', "steps_", "unknown field"),
    (b'{"prompt": "x", "": 8}', "", "unknown field"),
    (b'{"prompt": "x", "\\ud800": 8}', None, "without lone surrogates"),
    (b'{"prompt": "x", "ALIASES": {}}', "ALIASES", "unknown field"),
    (b'{"prompt": "x", "model_config": {}}', "model_config", "unknown field"),
    (b'{"prompt": "x", "steps": 8, "num_inference_steps": 8}', "steps", "given twice"),
    (b'{"prompt": "x", "cfg_scale": 1, "guidance_scale": 1}', "guidance_scale", "given twice"),
    (b'{"prompt": "x", "cfg_scale": null, "guidance_scale": 1}', "guidance_scale", "given twice"),
    (b'{"prompt": "x", "num_inference_steps": 51}', "steps", "at most 50, got 51"),
    (b'{"prompt": "x", "cfg_scale": "1"}', "guidance_scale", "a number, got"),
    (b'{"prompt": "x", "seed": 1, "seed": 1}', "seed", "given twice"),
    (b'{"prompt": "x", "\\ud800": 1, "\\ud800": 2}', "\\ud800", "given twice"),
    (b'{"prompt": "x", "style": {"a": 1, "a": 2}}', "a", "given twice"),
]


def send(house, body: bytes, path: str = "/generate", media_type: str = "application/json"):
    return house.client.post(path, content=body, headers={"Content-Type": media_type})


@pytest.mark.parametrize(("field", "value", "rule"), FIELDS, ids=lambda value: str(value)[:30])
def test_each_rule_of_each_field(house, expect_error, field, value, rule):
    """Broken, it is refused with field, rule and value, and nothing is drawn."""
    drawn = len(house.studio.generator.recipes)
    message = expect_error(send(house, one(field, value).encode()), 422, "invalid_request", field)
    assert message.startswith(f"{field}: ")
    assert rule in message
    assert len(house.studio.generator.recipes) == drawn


@pytest.mark.parametrize("broken", BODIES, ids=lambda broken: repr(broken[0])[:40])
@pytest.mark.parametrize("path", ["/generate", "/lookup"])
def test_each_rule_of_the_body(house, expect_error, path, broken):
    """What is no JSON object of known fields, each once, is refused by both routes that take one."""
    body, field, rule = broken
    assert rule in expect_error(send(house, body, path), 422, "invalid_request", field)


@pytest.mark.parametrize("side", ["width", "height"])
def test_the_models_own_limits(serve, expect_error, side):
    """A size within the contract but outside the model's profile is refused by the profile's rule."""
    house = serve(generator=FakeGenerator(profile=replace(FAKE_PROFILE, min_side=96, max_side=512)))
    for value in (80, 528):
        answer = house.generate(**{"width": 128, "height": 128, side: value})
        message = expect_error(answer, 422, "invalid_request", side)
        assert message == f"{side}: Fake draws 96..512 pixels a side, got {value}"
    for value in (96, 512):
        assert house.generate(**{"width": 128, "height": 128, side: value}).status_code == 200


def test_text_is_counted_after_the_style_too(house, expect_error):
    """A prompt that fits alone but not with the style's words is refused, not cut."""
    fitting = {"prompt": "x" * 8000, "seed": 1, "cache": "only"}
    assert house.generate(**fitting).json()["error"]["code"] == "not_cached"
    message = expect_error(house.generate(**fitting, style="ink"), 422, "invalid_request", "prompt")
    assert "the style's words included" in message


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"],
)
@pytest.mark.parametrize("path", ["/generate", "/lookup"])
def test_only_json_is_taken(house, expect_error, path, media_type):
    """A body that does not say that it is JSON: 415; a foreign page's form cannot say so without asking."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = house.raw("POST", path, ("{" + BASE + "}").encode(), headers)
    assert "application/json" in expect_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"])
def test_json_may_be_spelled_differently(house, media_type):
    """Case and parameters of the media type do not matter."""
    assert send(house, ("{" + BASE + "}").encode(), media_type=media_type).status_code == 200


@pytest.mark.parametrize("path", ["/generate", "/lookup"])
def test_a_body_of_more_than_a_mebibyte(house, expect_error, path):
    """413, whether the length is announced or turns out; exactly one MiB is read, and judged as JSON."""
    body = b'{"prompt": "' + b"x" * 2**20 + b'"}'
    headers = {"Content-Type": "application/json"}
    expect_error(house.client.post(path, content=body, headers=headers), 413, "too_large")
    pieces = (body[i : i + 65536] for i in range(0, len(body), 65536))
    expect_error(house.client.post(path, content=pieces, headers=headers), 413, "too_large")
    expect_error(house.client.post(path, content=b" " * 2**20, headers=headers), 422, "invalid_request")


def test_null_means_the_default(house):
    """Every field but the prompt may be null: the very picture of a body that leaves it out."""
    fields = ["negative_prompt", "width", "height", "steps", "guidance_scale", "sampler", "shift", "style"]
    fields += ["max_sequence_length", "n", "model", "cache", "num_inference_steps", "cfg_scale"]
    bare = house.client.post("/generate", json={"prompt": "plain", "seed": 3}).json()["images"][0]["key"]
    for field in fields:
        (image,) = house.client.post("/generate", json={"prompt": "plain", "seed": 3, field: None}).json()["images"]
        assert image["key"] == bare
    drawn = house.client.post("/generate", json={"prompt": "plain", "seed": None}).json()["images"]
    assert drawn[0]["source"] == "generated"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x"},
        {"prompt": "\u0000 ${alert(1)} `x` \\ <img onerror=alert(1)> \U0001f600"},
        {"prompt": "红色的圆 {red|blue}"},
        {"width": 64, "height": 2048, "steps": 1},
        {"width": 128.0, "height": 64, "seed": 4294967295.0},
        {"steps": 50},
        {"steps": 8.0},
        {"guidance_scale": 0, "negative_prompt": "x" * 8000},
        {"guidance_scale": 20},
        {"guidance_scale": -0.0},
        {"seed": 0},
        {"seed": 2**32 - 1, "n": 2},
        {"sampler": "heun"},
        {"sampler": "dpmpp_2m", "shift": 0.1},
        {"sampler": "unipc", "shift": 20},
        {"max_sequence_length": 64},
        {"max_sequence_length": 1024},
        {"n": 8, "steps": 1},
        {"model": "fake"},
        {"cache": "refresh"},
        {"cache": "bypass"},
    ],
    ids=repr,
)
def test_what_is_allowed_is_done(house, fields):
    """Both ends of every range, whole floats as integers, and any text at all are accepted as they are."""
    answer = house.generate(**fields)
    assert answer.status_code == 200, answer.text
    first = answer.json()["images"][0]
    recipe = next(r for r in reversed(house.studio.generator.recipes) if r.seed == first["seed"])
    assert all(getattr(recipe, name) == value for name, value in fields.items() if name in {"prompt", "steps", "width"})


@pytest.mark.parametrize(("alias", "name"), [("num_inference_steps", "steps"), ("cfg_scale", "guidance_scale")])
def test_aliases_are_the_same_field(house, alias, name):
    """Other tools' names give the same picture, from the cache."""
    fields = {"prompt": "by alias", "seed": 3}
    first = house.client.post("/generate", json=fields | {name: 3}).json()["images"][0]
    again = house.client.post("/generate", json=fields | {alias: 3}).json()["images"][0]
    assert (again["key"], again["cached"]) == (first["key"], True)


@pytest.mark.parametrize("level", ["", "high", "interactive, batch", "1"])
def test_a_priority_is_one_of_two(house, expect_error, level):
    """Others are an error, and not taken for the default."""
    for path in ("/generate", "/jobs"):
        answer = house.client.post(path, json=picture(), headers={"X-Priority": level})
        expect_error(answer, 422, "invalid_request", "x-priority")
    for known in ("interactive", "batch"):
        assert house.generate({"X-Priority": known}).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_has_1_to_255_characters(house, expect_error, key):
    """An empty `Idempotency-Key` would pin the same picture for all clients: it is refused with an ordinary error."""
    expect_error(house.generate({"Idempotency-Key": key}), 422, "invalid_request", "idempotency-key")
    assert house.generate({"Idempotency-Key": "x" * 255}).status_code == 200
