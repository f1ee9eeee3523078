"""`/prompt-info`: what becomes of a prompt, over HTTP; and `/generate`, which leaves prompts alone."""

import json

import pytest


@pytest.fixture(scope="module")
def asked(open_house, tmp_path_factory):
    """Return a function that posts to `/prompt-info` of a server with two wildcards."""
    folder = tmp_path_factory.mktemp("wildcards")
    (folder / "scene").mkdir(parents=True)
    (folder / "color.txt").write_text("red\nblue\n", "utf-8")
    (folder / "scene" / "天气.txt").write_text("雨\n", "utf-8")
    (folder / "me.txt").write_text("__me__\n", "utf-8")
    with open_house(wildcards=folder) as house:
        yield lambda **fields: house.client.post("/prompt-info", json=fields)


def test_a_prompt_is_expanded_and_counted(asked):
    """Both prompts with their picks, the tokens, the limit, and the wildcards there are."""
    answer = asked(prompt="a {big|big} __scene/天气__ cat", negative_prompt="__color__", seed=3, max_sequence_length=64)
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("negative_prompt") in {"red", "blue"}
    assert found == {
        "prompt": "a big 雨 cat",
        "expanded": True,
        "tokens": 4,
        "limit": 64,
        "wildcards": ["color", "me", "scene/天气"],
        "notices": [],
    }


def test_full_width_syntax_stays_text_and_is_pointed_out(asked):
    """A prompt keeps every character, since each is part of its key; the answer says what may have been meant."""
    found = asked(prompt="｛红｜蓝｝的猫", negative_prompt="＿＿color＿＿").json()
    assert (found["prompt"], found["negative_prompt"], found["expanded"]) == ("｛红｜蓝｝的猫", "＿＿color＿＿", False)
    assert [notice.partition(" look")[0] for notice in found["notices"]] == ["｛ ｜ ｝", "＿"]
    assert asked(prompt="a｜b：（c），“d”").json()["notices"] == []


def test_a_plain_prompt_comes_back_as_it_is(asked):
    """A prompt without picks is unchanged; unmatched braces and JSON are literal text."""
    for prompt in ("a red cat", "a { cat", '{"subject": "cat"}', "  x  "):
        found = asked(prompt=prompt).json()
        assert (found["prompt"], found["negative_prompt"], found["expanded"]) == (prompt, "", False)
        assert found["limit"] == 512


def test_a_seed_is_a_prompt(asked):
    """The same seed gives the same text each time; other seeds give others; 0 is what no seed means."""
    prompts = [asked(prompt="{a|b|c|d} {e|f|g|h}", seed=seed).json()["prompt"] for seed in (0, 1, 2, 3, 4, 5, 0)]
    assert prompts[0] == prompts[-1] == asked(prompt="{a|b|c|d} {e|f|g|h}").json()["prompt"]
    assert len(set(prompts)) > 1


def test_a_blank_prompt_is_allowed_here(asked):
    """An empty box has 0 tokens; null fields are their defaults."""
    answer = asked(prompt="", negative_prompt=None, style=None, seed=None, model=None, max_sequence_length=None)
    assert (answer.status_code, answer.json()["tokens"], answer.json()["expanded"]) == (200, 0, False)


def test_the_style_is_counted_and_not_written(asked):
    """`prompt` goes to `/generate` together with the style, so it must not hold it already."""
    found = asked(prompt="cat", style="anime").json()
    assert found["prompt"] == "cat"
    assert found["tokens"] > 1


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"prompt": "__colour__"}, "prompt", "unknown wildcard __colour__: there are color, "),
        ({"prompt": "x", "negative_prompt": "__x__"}, "negative_prompt", "unknown wildcard __x__"),
        ({"prompt": "__me__"}, "prompt", "stands in its own options: me -> me"),
        ({"prompt": "{a|a}" * 1001}, "prompt", "at most 1000 picks"),
        ({"prompt": "__../../secret__"}, "prompt", "unknown wildcard"),
        ({"prompt": "x" * 8001}, "prompt", "at most 8000 characters"),
        ({"prompt": "x" * 8000, "style": "anime"}, "prompt", "the style's words included"),
        ({"prompt": None}, "prompt", "a string"),
        ({}, "prompt", "required"),
        ({"prompt": "x", "seed": -1}, "seed", "at least 0, got -1"),
        ({"prompt": "x", "seed": 2**32}, "seed", "at most 4294967295"),
        ({"prompt": "x", "seed": True}, "seed", "an integer"),
        ({"prompt": "x", "style": "nope"}, "style", "unknown"),
        ({"prompt": "x", "model": "nope"}, "model", "not offered here"),
        ({"prompt": "x", "max_sequence_length": 63}, "max_sequence_length", "at least 64"),
        ({"prompt": "x", "width": 64}, "width", "unknown field"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_mistakes_are_ordinary_errors(asked, expect_error, fields, field, told):
    """422, the field, the rule."""
    assert told in expect_error(asked(**fields), 422, "invalid_request", field)


def test_other_bodies_and_methods_are_refused(house, expect_error):
    """No JSON is 415, no object 422, GET 405, a lone surrogate no crash."""
    expect_error(house.raw("POST", "/prompt-info", b"x", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    json_type = {"Content-Type": "application/json"}
    expect_error(house.raw("POST", "/prompt-info", b"[]", json_type), 422, "invalid_request")
    surrogate = json.dumps({"prompt": "\ud800"}).encode()
    expect_error(house.raw("POST", "/prompt-info", surrogate, json_type), 422, "invalid_request", "prompt")
    expect_error(house.client.get("/prompt-info"), 405, "method_not_allowed")


def test_the_route_is_documented(house):
    """`/openapi.json` shows the body's fields and their ranges."""
    route = house.client.get("/openapi.json").json()["paths"]["/prompt-info"]["post"]
    body = route["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["prompt"]
    assert body["properties"]["seed"]["maximum"] == 2**32 - 1


def test_nothing_is_drawn_or_counted(serve):
    """Asking what becomes of a prompt leaves no trace: no picture, no request in the statistics."""
    house = serve()
    before = house.client.get("/cache/stats").json()
    assert house.client.post("/prompt-info", json={"prompt": "{a|b}"}).status_code == 200
    assert house.studio.generator.recipes == []
    assert house.client.get("/cache/stats").json() == before


def test_generate_takes_prompts_byte_for_byte(serve, tmp_path):
    """Braces and double underscores in a request are drawn as they are: expanding is a step of its own."""
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "color.txt").write_text("red")
    house = serve(wildcards=tmp_path / "wildcards")
    house.image(prompt="{red|blue} __color__ cat", negative_prompt="__nope__", guidance_scale=1.0)
    (recipe,) = house.studio.generator.recipes
    assert (recipe.prompt, recipe.negative_prompt) == ("{red|blue} __color__ cat", "__nope__")
