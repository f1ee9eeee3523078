"""What may be asked, in which words a wrong ask is refused, and what a recipe makes of it."""

import json
import math
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.factories import recipe
from zimage_cache.errors import InvalidRequest
from zimage_cache.prompts.styles import styles
from zimage_cache.request import (
    MAX_PICTURES,
    MAX_SEED,
    MAX_TEXT,
    PARAMETERS,
    CacheMode,
    ImageRequest,
    Parameter,
    Recipe,
    Sampler,
)

ACCEPTED = [
    ("prompt", "a", "a"),
    ("prompt", "é" * MAX_TEXT, "é" * MAX_TEXT),
    ("prompt", " a\n\t", " a\n\t"),
    (
        "prompt",
        "${alert(1)} `x` \\ <img onerror=1> {red|blue} \0 🦊",
        "${alert(1)} `x` \\ <img onerror=1> {red|blue} \0 🦊",
    ),
    ("negative_prompt", "", ""),
    ("negative_prompt", "   ", "   "),
    ("negative_prompt", "b" * MAX_TEXT, "b" * MAX_TEXT),
    ("width", 64, 64),
    ("width", 2048, 2048),
    ("height", 64.0, 64),
    ("height", 2048, 2048),
    ("steps", 1, 1),
    ("steps", 50, 50),
    ("steps", 8.0, 8),
    ("guidance_scale", 0, 0.0),
    ("guidance_scale", 20, 20.0),
    ("guidance_scale", 7.5, 7.5),
    ("guidance_scale", -0.0, 0.0),
    ("seed", -1, -1),
    ("seed", 0, 0),
    ("seed", 4294967295, 4294967295),
    ("seed", -1.0, -1),
    *[("sampler", sampler, sampler) for sampler in ("euler", "unipc", "dpmpp_2m", "heun")],
    ("shift", 0.1, 0.1),
    ("shift", 20, 20.0),
    ("style", "ink", "ink"),
    ("max_sequence_length", 64, 64),
    ("max_sequence_length", 1024.0, 1024),
]
DEFAULTS = {
    "negative_prompt": "",
    "width": None,
    "height": None,
    "steps": None,
    "guidance_scale": None,
    "seed": -1,
    "sampler": "euler",
    "shift": 3.0,
    "style": None,
    "max_sequence_length": 512,
}
SAMPLERS = "should be 'euler', 'unipc', 'dpmpp_2m' or 'heun'"
LONG = '"' + 79 * "x" + "..."
REFUSED = [
    ({}, "prompt: required"),
    ({"prompt": None}, "prompt: should be a string, got null"),
    ({"prompt": 5}, "prompt: should be a string, got 5"),
    ({"prompt": True}, "prompt: should be a string, got true"),
    ({"prompt": ["a"]}, "prompt: should be a string, got a list"),
    ({"prompt": {"a": 1}}, "prompt: should be a string, got an object"),
    ({"prompt": ""}, 'prompt: should have at least 1 character, got ""'),
    ({"prompt": " \n\t\u3000"}, "prompt: must not be blank; describe the picture"),
    ({"prompt": "a" * 8001}, "prompt: should have at most 8000 characters, got 8001 characters"),
    ({"prompt": "a\ud800"}, 'prompt: should be a string without lone surrogates, got "a\\ud800"'),
    ({"negative_prompt": 5}, "negative_prompt: should be a string, got 5"),
    ({"negative_prompt": "a" * 8001}, "negative_prompt: should have at most 8000 characters, got 8001 characters"),
    ({"negative_prompt": "\udfff"}, 'negative_prompt: should be a string without lone surrogates, got "\\udfff"'),
    ({"width": 48}, "width: should be at least 64, got 48"),
    ({"width": 2064}, "width: should be at most 2048, got 2064"),
    ({"width": 100}, "width: should be a multiple of 16, got 100"),
    ({"width": "128"}, 'width: should be an integer, got "128"'),
    ({"width": True}, "width: should be an integer, got true"),
    ({"width": 128.5}, "width: should be an integer, got 128.5"),
    ({"width": math.nan}, "width: should be an integer, got NaN"),
    ({"width": 10**400}, "width: should be at most 2048, got a huge number"),
    ({"width": 1e308}, "width: should be at most 2048, got a huge number"),
    ({"height": 48}, "height: should be at least 64, got 48"),
    ({"height": -(10**5000)}, "height: should be at least 64, got a huge number"),
    ({"height": 2064}, "height: should be at most 2048, got 2064"),
    ({"height": math.inf}, "height: should be an integer, got Infinity"),
    ({"steps": 0}, "steps: should be at least 1, got 0"),
    ({"steps": 51}, "steps: should be at most 50, got 51"),
    ({"steps": "8"}, 'steps: should be an integer, got "8"'),
    ({"steps": False}, "steps: should be an integer, got false"),
    ({"num_inference_steps": 0}, "steps: should be at least 1, got 0"),
    ({"guidance_scale": -0.1}, "guidance_scale: should be at least 0, got -0.1"),
    ({"guidance_scale": 20.1}, "guidance_scale: should be at most 20, got 20.1"),
    ({"guidance_scale": math.nan}, "guidance_scale: should be a finite number, got NaN"),
    ({"guidance_scale": -math.inf}, "guidance_scale: should be a finite number, got -Infinity"),
    ({"guidance_scale": 10**400}, "guidance_scale: should be a finite number, got Infinity"),
    ({"guidance_scale": "7"}, 'guidance_scale: should be a number, got "7"'),
    ({"guidance_scale": True}, "guidance_scale: should be a number, got true"),
    ({"cfg_scale": 21}, "guidance_scale: should be at most 20, got 21"),
    ({"seed": -2}, "seed: should be at least -1, got -2"),
    ({"seed": 2**32}, "seed: should be at most 4294967295, got 4294967296"),
    ({"seed": 1.5}, "seed: should be an integer, got 1.5"),
    ({"seed": "1"}, 'seed: should be an integer, got "1"'),
    ({"sampler": "lcm"}, f'sampler: {SAMPLERS}, got "lcm"'),
    ({"sampler": "EULER"}, f'sampler: {SAMPLERS}, got "EULER"'),
    ({"sampler": 5}, f"sampler: {SAMPLERS}, got 5"),
    ({"sampler": ["euler"]}, f"sampler: {SAMPLERS}, got a list"),
    ({"shift": 0}, "shift: should be at least 0.1, got 0"),
    ({"shift": 20.5}, "shift: should be at most 20, got 20.5"),
    ({"shift": math.inf}, "shift: should be a finite number, got Infinity"),
    ({"shift": "3"}, 'shift: should be a number, got "3"'),
    ({"style": 5}, "style: should be a string, got 5"),
    ({"style": "x" * 101}, f"style: should have at most 100 characters, got {LONG}"),
    ({"style": "\udc00"}, 'style: should be a string without lone surrogates, got "\\udc00"'),
    ({"max_sequence_length": 63}, "max_sequence_length: should be at least 64, got 63"),
    ({"max_sequence_length": 1025}, "max_sequence_length: should be at most 1024, got 1025"),
    ({"max_sequence_length": "512"}, 'max_sequence_length: should be an integer, got "512"'),
    (
        {"steps": 8, "num_inference_steps": 8},
        "steps: given twice, the other time as num_inference_steps; send one of them",
    ),
    (
        {"cfg_scale": None, "guidance_scale": 1},
        "guidance_scale: given twice, the other time as cfg_scale; send one of them",
    ),
    ({"hires": 1}, "hires: unknown field; see /docs for the list, got 1"),
    ({"Prompt": "x" * 999}, f"Prompt: unknown field; see /docs for the list, got {LONG}"),
    ({"y" * 999: 1}, f"{80 * 'y'}...: unknown field; see /docs for the list, got 1"),
    ({"a\n\u202eb": 1}, "a\\n\\u202eb: unknown field; see /docs for the list, got 1"),
    ({"n": 1}, "n: unknown field; see /docs for the list, got 1"),
]
BODIES = [(None, "null"), ("a prompt", '"a prompt"'), (5, "5"), (["prompt"], "a list"), (True, "true")]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\ud800"),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*ImageRequest.model_fields, *ImageRequest.ALIASES]) | st.text(max_size=200) | st.just("\ud800")


def make_recipe(**changes) -> Recipe:
    return recipe(**{"prompt": "a", "negative_prompt": "b", "guidance_scale": 1, "shift": 3} | changes)


@pytest.mark.parametrize(("field", "value", "read"), ACCEPTED)
def test_both_ends_of_every_range_are_accepted(field, value, read):
    """What the contract allows is taken as it is; a whole number may be written 8.0."""
    got = getattr(ImageRequest.parse({"prompt": "a", field: value}), field)

    assert got == read
    assert type(got) is type(read) or isinstance(got, Sampler)


@pytest.mark.parametrize(("broken", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_a_broken_rule_is_named(broken, message):
    """The message names the field, the rule and the value got, in one short ASCII line; nothing is clamped."""
    sent = broken if not broken or "prompt" in broken else {"prompt": "a"} | broken
    with pytest.raises(InvalidRequest) as raised:
        ImageRequest.parse(sent)

    assert str(raised.value) == message
    assert raised.value.field == message.partition(":")[0]
    assert message.isascii()
    assert len(message) < 200


@pytest.mark.parametrize(("body", "shown"), BODIES)
def test_a_request_is_an_object(body, shown):
    """Whatever else JSON can hold is refused as a whole."""
    with pytest.raises(InvalidRequest) as raised:
        ImageRequest.parse(body)

    assert str(raised.value) == f"body: should be a JSON object, got {shown}"
    assert raised.value.field is None


@given(st.dictionaries(names, json_values, max_size=4))
def test_anything_is_answered_in_words(sent):
    """No JSON object crashes the validation, and every refusal can be sent as UTF-8 and read by a person."""
    try:
        request = ImageRequest.parse({"prompt": "a"} | sent)
    except InvalidRequest as refused:
        words, field = str(refused), refused.field or "body"
        assert words.startswith(f"{field}: ")
        assert words.isascii()
        assert words.isprintable()
        assert len(words) < 300
    else:
        json.dumps(request.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(("alias", "field"), ImageRequest.ALIASES.items())
def test_aliases_mean_their_field(alias, field):
    """Bodies written for other programs work, and become the same request."""
    assert ImageRequest.parse({"prompt": "a", alias: 5}) == ImageRequest.parse({"prompt": "a", field: 5})


def test_defaults():
    """What is left out is the contract's default, or the model's choice."""
    request = ImageRequest.parse({"prompt": "a"})

    assert request.model_dump(mode="json").items() >= DEFAULTS.items()


@pytest.mark.parametrize("field", [*DEFAULTS, *ImageRequest.ALIASES])
def test_null_is_the_default(field):
    """A client that sends every field as null asks for the defaults."""
    assert ImageRequest.parse({"prompt": "a", field: None}) == ImageRequest.parse({"prompt": "a"})


def test_a_request_is_frozen():
    """A request is immutable after validation."""
    with pytest.raises(ValidationError, match="frozen"):
        ImageRequest(prompt="a").seed = 5


def test_the_limits_are_the_contracts():
    """The numbers other modules build on."""
    assert (MAX_TEXT, MAX_SEED, MAX_PICTURES) == (8000, 2**32 - 1, 8)
    assert [str(mode) for mode in CacheMode] == ["use", "refresh", "bypass", "only"]
    assert all(len(name) <= 100 for name in styles())


def test_every_field_is_explained():
    """Help texts and the API's description come from here."""
    assert [name for name, field in ImageRequest.model_fields.items() if not field.description] == []


def test_the_table_of_parameters_says_what_the_fields_say():
    """Type, range, choices and default of each parameter that changes pixels, in the order of their declaration."""
    assert list(PARAMETERS) == [field.name for field in fields(Recipe)]
    assert PARAMETERS["width"] == Parameter(kind=int, default=None, minimum=64, maximum=2048)
    assert PARAMETERS["shift"] == Parameter(kind=float, default=3.0, minimum=0.1, maximum=20, step=0.1)
    assert PARAMETERS["negative_prompt"] == Parameter(kind=str, default="")
    sampler = PARAMETERS["sampler"]
    assert (sampler.default, sampler.a1111) == ("euler", "Sampler")
    assert sampler.choices[0] == ("euler", "Euler")
    assert [choice for choice, _ in sampler.choices] == list(Sampler)


def test_a_recipe_is_canonical_from_birth():
    """Equal requests make equal recipes, so that later code need not normalise again."""
    composed, decomposed = (make_recipe(prompt=text, negative_prompt=text) for text in ("é", "e\u0301"))

    assert composed == decomposed
    assert composed.prompt == composed.negative_prompt == "é"
    assert type(composed.guidance_scale) is type(composed.shift) is float
    assert type(composed.sampler) is str
    assert math.copysign(1, make_recipe(guidance_scale=-0.0).guidance_scale) == 1


@pytest.mark.parametrize(("guidance", "kept"), [(0, ""), (0.0, ""), (-0.0, ""), (0.01, "b"), (7, "b")])
def test_a_negative_prompt_needs_guidance(guidance, kept):
    """Without guidance it has no effect, so a recipe does not carry it."""
    assert make_recipe(guidance_scale=guidance).negative_prompt == kept


def test_a_recipe_is_frozen():
    """A key stays the key of its recipe."""
    recipe = make_recipe()
    for field in fields(Recipe):
        with pytest.raises(FrozenInstanceError):
            setattr(recipe, field.name, getattr(recipe, field.name))


@pytest.mark.parametrize(
    ("sampler", "steps", "evaluations"),
    [("euler", 8, 8), ("unipc", 8, 8), ("dpmpp_2m", 1, 1), ("heun", 8, 15), ("heun", 1, 1)],
)
def test_evaluations(sampler, steps, evaluations):
    """Progress counts what costs time: Heun looks twice at every step but the last."""
    assert make_recipe(sampler=sampler, steps=steps).evaluations == evaluations
