"""The key names a picture before it exists: the same for the same pixels, another for any others."""

import hashlib
import json
import math
import unicodedata
from dataclasses import MISSING, asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.factories import another, recipe
from zimage_cache import fingerprint as fingerprint_module
from zimage_cache.fingerprint import (
    LATER_PARAMS,
    PARAMS,
    GeneratorIdentity,
    canonical_text,
    fingerprint,
    key_of,
)
from zimage_cache.generator.fake import FAKE_PROFILE
from zimage_cache.prompts.styles import styles
from zimage_cache.request import PARAMETERS, CacheMode, ImageRequest, Parameter, Recipe
from zimage_cache.service.resolve import resolve
from zimage_cache.web.body import GenerateBody

GOLDEN = json.loads((Path(__file__).parents[1] / "golden_keys.json").read_text("utf-8"))
IDENTITY = GeneratorIdentity("model", "revision", "bfloat16", "diffusers")
RECIPE = recipe(prompt="a red fox", negative_prompt="blurry", height=128, steps=8, guidance_scale=4.0, seed=42)
# What a request says that is in the recipe under the same name, and what cannot change a pixel by itself: `style`
# is in the prompts by then, `model` in the identity.
IN_RECIPE = set(PARAMS) | LATER_PARAMS.keys()
NOT_PIXELS = {"style", "n", "model", "cache"}


def values(row: Parameter) -> st.SearchStrategy[Any]:
    """Make values of a parameter."""
    if row.choices:
        return st.sampled_from([choice for choice, _ in row.choices])
    if row.kind is str:
        return st.text(max_size=20)
    whole = st.integers(math.ceil(row.minimum), int(row.maximum))
    return whole if row.kind is int else whole | st.floats(row.minimum, row.maximum)


recipes = st.builds(Recipe, **{name: values(row) for name, row in PARAMETERS.items()})


def key(recipe: Recipe) -> str:
    return fingerprint(recipe, IDENTITY)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_known_answers(case):
    """The published text and key, so that other programs can compute them too."""
    recipe, identity = Recipe(**case["params"]), GeneratorIdentity(**case["generator"])

    assert canonical_text(recipe, identity) == case["canonical"]
    assert fingerprint(recipe, identity) == case["key"]


@given(recipes)
def test_the_key_is_what_the_contract_says(recipe):
    """The key can be computed with the standard library alone."""
    params = {name: value for name, value in asdict(recipe).items() if value != LATER_PARAMS.get(name, MISSING)}
    document = {"v": 1, "generator": asdict(IDENTITY), "params": params}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    assert canonical_text(recipe, IDENTITY) == text
    assert key(recipe) == key_of(text) == hashlib.sha256(text.encode("utf-8")).hexdigest()


@given(st.text(min_size=1) | st.text("éÅñ한がệﬁ2⁵", min_size=1))
def test_composed_and_decomposed_text_are_one(text):
    """However a keyboard spells é, it is the same prompt."""
    spelled = {
        key(replace(RECIPE, prompt=variant, negative_prompt=variant))
        for variant in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    }

    assert len(spelled) == 1


@pytest.mark.parametrize(("one", "other"), [("ﬁ", "fi"), ("a", "A"), ("a ", "a"), ("a\n", "a"), ("²", "2")])
def test_nothing_else_of_a_text_is_touched(one, other):
    """Case, spaces and compatibility letters may change pixels, so they change the key."""
    assert key(replace(RECIPE, prompt=one)) != key(replace(RECIPE, prompt=other))


def test_a_salt_changes_the_key_alone():
    """Without one the key is the published one; with one, the text still holds all that determines pixels."""
    assert fingerprint(RECIPE, IDENTITY, "") == fingerprint(RECIPE, IDENTITY)
    assert len({fingerprint(RECIPE, IDENTITY, salt) for salt in ("", "a", "b")}) == 3
    text = json.loads(canonical_text(RECIPE, IDENTITY, "a"))
    assert text.pop("salt") == "a"
    assert text == json.loads(canonical_text(RECIPE, IDENTITY))


@given(recipes, st.integers(0, 20), st.integers(1, 20))
def test_whole_numbers_are_floats(recipe, guidance, shift):
    """7 and 7.0 are one guidance scale."""
    whole = replace(recipe, guidance_scale=guidance, shift=shift)
    broken = replace(recipe, guidance_scale=float(guidance), shift=float(shift))

    assert canonical_text(whole, IDENTITY) == canonical_text(broken, IDENTITY)


@given(recipes)
def test_negative_zero_is_zero(recipe):
    """-0.0 draws what 0.0 draws."""
    below, above = replace(recipe, guidance_scale=-0.0), replace(recipe, guidance_scale=0.0)

    assert canonical_text(below, IDENTITY) == canonical_text(above, IDENTITY)
    assert "-0.0" not in canonical_text(replace(below, prompt="a"), IDENTITY)


@given(recipes, st.permutations([field.name for field in fields(Recipe)]))
def test_order_is_irrelevant(recipe, order):
    """However a request is written down, it is the same picture."""
    values = asdict(recipe)

    assert key(Recipe(**{name: values[name] for name in order})) == key(recipe)


@given(recipes, st.text(), st.text())
def test_a_negative_prompt_counts_only_with_guidance(recipe, one, other):
    """Without guidance it changes no pixel, so it changes no key; with guidance it does both."""
    assume(unicodedata.normalize("NFC", one) != unicodedata.normalize("NFC", other))

    def keys(guidance):
        made = replace(recipe, guidance_scale=guidance)
        return {key(replace(made, negative_prompt=text)) for text in (one, other)}

    assert len(keys(0.0)) == 1
    assert len(keys(0.1)) == 2


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_field_of_a_recipe_changes_the_key(name):
    """Whatever changes pixels changes the key: an old picture is never served for a new wish."""
    change: dict[str, Any] = {name: another(name, getattr(RECIPE, name))}
    assert key(replace(RECIPE, **change)) != key(RECIPE)


@pytest.mark.parametrize("name", [field.name for field in fields(GeneratorIdentity)])
def test_every_field_of_the_identity_changes_the_key(name):
    """Another model, revision, precision or runtime draws other pixels."""
    assert fingerprint(RECIPE, replace(IDENTITY, **{name: "another"})) != key(RECIPE)


@given(recipes, recipes)
def test_keys_are_equal_exactly_when_recipes_are(one, other):
    """Two recipes share a key if and only if they are the same recipe."""
    assert (key(one) == key(other)) == (one == other)


def without_default(recipe_class: type) -> set[str]:
    """Name the later fields without a default, or with another one than their field of a request has."""
    later = {field.name: field.default for field in fields(recipe_class) if field.name not in PARAMS}
    asked = {name: field.default for name, field in ImageRequest.model_fields.items() if field.default is not None}
    unset = {name for name, default in later.items() if default in {None, MISSING}}
    return unset | {name for name, default in later.items() if asked.get(name, default) != default}


def test_every_later_field_of_a_recipe_has_a_default():
    """Otherwise it would be in every text, and no picture stored before would be found."""
    assert without_default(Recipe) == set()
    assert set(PARAMS) | LATER_PARAMS.keys() == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(("name", "default"), [("eta", MISSING), ("eta", None), ("style", ""), ("shift", 2.0)])
def test_a_forgotten_default_would_be_noticed(monkeypatch, name, default):
    """The test above can fail."""
    monkeypatch.setattr("tests.unit.test_fingerprint.PARAMS", ())
    wider = make_dataclass("Wider", [(name, float, field(default=default))], kw_only=True, frozen=True)

    assert without_default(wider) == ({name} if name != "style" else set())


@pytest.mark.parametrize("asked", [ImageRequest, GenerateBody])
def test_every_field_of_a_request_is_classified(asked):
    """A new field of a request either reaches the recipe, or is declared here to change no pixel."""
    assert set(asked.model_fields) - IN_RECIPE - NOT_PIXELS == set()
    assert asked.model_fields.keys() >= IN_RECIPE
    assert not IN_RECIPE & NOT_PIXELS


def test_what_changes_no_pixel_changes_no_key():
    """How many, from the cache or not, by which name of the server: the same picture."""
    plain = {"prompt": "a fox", "seed": 5}
    bodies = [GenerateBody.parse(plain | {"n": 3, "model": "x", "cache": mode}) for mode in CacheMode]
    asked = {body.picture() for body in bodies}

    assert asked == {ImageRequest.parse(plain)}
    first, *_ = resolve(bodies[0].picture(), FAKE_PROFILE, n=3)
    assert [first] == resolve(ImageRequest.parse(plain), FAKE_PROFILE)


@pytest.mark.parametrize("name", styles())
def test_a_style_is_only_its_words(name):
    """Who types a preset's words gets the picture of who chose the preset."""
    prompt, negative = styles()[name].apply("a fox", "rain")
    shared: dict[str, Any] = {"seed": 1, "guidance_scale": 3}
    chosen = ImageRequest(prompt="a fox", negative_prompt="rain", style=name, **shared)
    typed = ImageRequest(prompt=prompt, negative_prompt=negative, **shared)

    keys = {key(resolve(request, FAKE_PROFILE)[0].recipe) for request in (chosen, typed)}
    assert len(keys) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterRecipe(Recipe):
    """A recipe of a later version, with one parameter more."""

    eta: float = 0.0


def test_a_later_parameter_keeps_old_keys(monkeypatch):
    """A new version finds the pictures of the old one: a later parameter is written only where it is not default."""
    before = key(RECIPE)
    monkeypatch.setattr(fingerprint_module, "LATER_PARAMS", {"eta": 0.0})
    default, changed = (LaterRecipe(**asdict(RECIPE), eta=eta) for eta in (0.0, 0.5))

    assert key(default) == before
    assert key(changed) != before
    assert json.loads(canonical_text(changed, IDENTITY))["params"]["eta"] == 0.5
