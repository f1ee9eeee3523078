"""`Pace`: how long a picture will take, from those drawn."""

from dataclasses import replace

import pytest

from zimage_cache.request import Recipe
from zimage_cache.service.pace import Pace

SQUARE = Recipe(
    prompt="x",
    negative_prompt="",
    width=128,
    height=128,
    steps=8,
    guidance_scale=0.0,
    seed=1,
    sampler="euler",
    shift=3.0,
    max_sequence_length=512,
)


def test_knows_nothing_before_the_first_of_its_kind():
    """No guess is better than a wrong one: another model, size or guidance says nothing about this one."""
    pace = Pace()
    pace.learn("demo", SQUARE, 4.0)
    assert pace.guess("turbo", SQUARE) is None
    assert pace.guess("demo", replace(SQUARE, width=256)) is None
    assert pace.guess("demo", replace(SQUARE, height=256)) is None
    assert pace.guess("demo", replace(SQUARE, guidance_scale=1.0)) is None


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 4.0),
        ({"steps": 16}, 8.0),
        ({"sampler": "heun"}, 7.5),
        ({"sampler": "heun", "steps": 1}, 0.5),
        ({"prompt": "y", "seed": 9, "shift": 1.0}, 4.0),
    ],
)
def test_scales_with_the_evaluations(changes, seconds):
    """Twice the steps take twice as long, and Heun counts its second looks."""
    pace = Pace()
    pace.learn("demo", SQUARE, 4.0)
    assert pace.guess("demo", replace(SQUARE, **changes)) == seconds


def test_the_latest_picture_is_the_measure():
    """A card that got faster or slower is believed at once."""
    pace = Pace()
    pace.learn("demo", SQUARE, 4.0)
    pace.learn("demo", replace(SQUARE, steps=4), 1.0)
    assert pace.guess("demo", SQUARE) == 2.0
