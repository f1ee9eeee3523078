"""`resolve`: from one ask to recipes, with nothing left to choose and nothing clamped."""

from collections import Counter

import pytest

from tests.factories import another, recipe
from zimage_cache.errors import InvalidRequest
from zimage_cache.prompts.styles import styles
from zimage_cache.request import MAX_SEED, MAX_TEXT, PARAMETERS, ImageRequest, ModelProfile
from zimage_cache.service.resolve import make_random_seed, resolve

PROFILE = ModelProfile(
    name="tiny",
    title="Tiny",
    width=96,
    height=112,
    steps=5,
    guidance_scale=1.5,
    min_side=80,
    max_side=512,
)


def asked(**fields) -> ImageRequest:
    return ImageRequest.parse({"prompt": "a red circle", "seed": 1, **fields})


def test_the_profile_fills_what_was_left_open():
    """Width, height, steps and guidance come from the model; the ask written out says so too."""
    (one,) = resolve(asked(), PROFILE)
    chosen = {"width": 96, "height": 112, "steps": 5, "guidance_scale": 1.5}
    assert {name: getattr(one.recipe, name) for name in chosen} == chosen
    assert {name: one.request[name] for name in chosen} == chosen


def test_what_was_asked_for_stays():
    """Every field asked for reaches the recipe unchanged."""
    usual = recipe(guidance_scale=1.0)
    fields = {name: another(name, getattr(usual, name)) for name in PARAMETERS} | {"width": 80, "height": 512}
    (one,) = resolve(asked(**fields), PROFILE)
    assert {name: getattr(one.recipe, name) for name in fields} == fields


@pytest.mark.parametrize("field", ["width", "height"])
@pytest.mark.parametrize("side", [64, 528, 2048])
def test_the_profile_narrows_the_sizes(field, side):
    """A size this model cannot do is refused, naming field, rule and value; it is never moved to one it can."""
    with pytest.raises(InvalidRequest, match=rf"^{field}: Tiny draws 80\.\.512 pixels a side, got {side}$") as caught:
        resolve(asked(**{field: side}), PROFILE)
    assert caught.value.field == field


@pytest.mark.parametrize("side", [80, 512])
def test_the_profiles_own_limits_are_allowed(side):
    """Both ends of the range belong to it."""
    (one,) = resolve(asked(width=side, height=side), PROFILE)
    assert (one.recipe.width, one.recipe.height) == (side, side)


@pytest.mark.parametrize("n", [0, 9, -1])
def test_one_to_eight_pictures(n):
    """Also who does not come through HTTP asks for 1 to 8 pictures."""
    with pytest.raises(InvalidRequest, match=f"^n: .*got {n}$") as caught:
        resolve(asked(), PROFILE, n=n)
    assert caught.value.field == "n"


@pytest.mark.parametrize(
    ("seed", "n", "seeds"),
    [
        (5, 1, [5]),
        (5, 3, [5, 6, 7]),
        (MAX_SEED, 3, [MAX_SEED, 0, 1]),
        (MAX_SEED - 6, 8, [*range(MAX_SEED - 6, MAX_SEED + 1), 0]),
        (-1, 3, [MAX_SEED - 1, MAX_SEED, 0]),
        (None, 2, [MAX_SEED - 1, MAX_SEED]),
    ],
)
def test_seeds_count_up_modulo_two_to_the_32(seed, n, seeds):
    """The n pictures have the seeds seed, seed+1, …; where one is to be drawn, the drawn one is the first."""
    pictures = resolve(asked(seed=seed), PROFILE, n=n, random_seed=MAX_SEED - 1)
    assert [picture.recipe.seed for picture in pictures] == seeds
    assert [picture.request["seed"] for picture in pictures] == seeds


def test_a_batch_is_single_asks_with_the_next_seeds():
    """Picture i of n equals a single ask for seed+i, recipe and ask alike."""
    batch = resolve(asked(seed=MAX_SEED), PROFILE, n=3)
    assert batch == [resolve(asked(seed=seed), PROFILE)[0] for seed in (MAX_SEED, 0, 1)]


def test_the_style_goes_into_the_recipe_and_stays_a_name_in_the_ask():
    """The recipe has the style's words, the ask has its name and the words as typed: it can be asked again."""
    name, style = next((name, style) for name, style in styles().items() if style.negative_prompt)
    (one,) = resolve(asked(style=name, prompt="a {cat}", negative_prompt="fog"), PROFILE)
    assert (one.recipe.prompt, one.recipe.negative_prompt) == style.apply("a {cat}", "fog")
    assert (one.request["prompt"], one.request["negative_prompt"], one.request["style"]) == ("a {cat}", "fog", name)


def test_an_unknown_style_is_refused_by_name():
    """The message lists what there is."""
    with pytest.raises(InvalidRequest, match=f"^style: unknown, got 'nope'; one of .*{next(iter(styles()))}") as caught:
        resolve(asked(style="nope"), PROFILE)
    assert caught.value.field == "style"


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_text_is_counted_after_the_style_too(field):
    """What fits alone may not fit with the style's words; it is refused, not cut. Exactly the limit is fine."""
    name, style = next((name, style) for name, style in styles().items() if style.negative_prompt)
    words = {"prompt": style.prompt.replace("{prompt}", ""), "negative_prompt": f", {style.negative_prompt}"}[field]
    room = MAX_TEXT - len(words)
    (fits,) = resolve(asked(style=name, **{field: "x" * room}), PROFILE)
    assert len(getattr(fits.recipe, field)) == MAX_TEXT
    with pytest.raises(InvalidRequest, match=f"^{field}: at most 8000 .*got 8001") as caught:
        resolve(asked(style=name, **{field: "x" * (room + 1)}), PROFILE)
    assert caught.value.field == field


def test_drawn_seeds_are_seeds_and_differ():
    """Drawn seeds lie in the range of seeds and do not repeat themselves."""
    drawn = Counter(make_random_seed() for _ in range(1000))
    assert all(0 <= seed <= MAX_SEED for seed in drawn)
    assert len(drawn) > 990
