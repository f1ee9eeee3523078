"""`FakeGenerator` counts, waits and fails as configured."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import identity, recipe
from zimage_cache.errors import GenerationFailed
from zimage_cache.generator.fake import FAKE_IDENTITY, FakeGenerator
from zimage_cache.generator.protocol import Status
from zimage_cache.i18n.messages import Message
from zimage_cache.request import Recipe

RECIPE = recipe(steps=3)


def draw(generator, recipe=RECIPE):
    return generator.generate(recipe, lambda _step: None, lambda: False)


def test_it_remembers_what_it_was_asked():
    """Tests count generations here: every recipe, in order."""
    generator = FakeGenerator()
    recipes = [replace(RECIPE, seed=seed) for seed in (3, 1, 3)]
    for each in recipes:
        draw(generator, each)
    assert generator.recipes == recipes
    assert generator.loads == 1


def test_trouble_can_be_rehearsed():
    """`before_step` may raise before any evaluation; failed recipes are remembered too, and the next one works."""

    def before_step(recipe, evaluation):
        if (recipe.seed, evaluation) == (2, 3):
            raise GenerationFailed("as_said", text="as told")

    generator = FakeGenerator(before_step=before_step)
    with pytest.raises(GenerationFailed, match="as told"):
        draw(generator, replace(RECIPE, seed=2))
    draw(generator)
    assert [recipe.seed for recipe in generator.recipes] == [2, 1]


def test_it_notices_being_used_by_two_threads():
    """`most_at_once` detects simultaneous calls of `generate`."""
    together = threading.Barrier(2, timeout=30)

    def meet(_recipe: Recipe, evaluation: int) -> None:
        if evaluation == 1:
            together.wait()

    generator = FakeGenerator(before_step=meet)
    threads = [threading.Thread(target=draw, args=(generator,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert generator.most_at_once == 2


def test_it_can_draw_under_another_identity():
    """A retry under another plan names who really drew; the pixels are still the recipe's."""
    other = identity(precision="uint8+smaller")
    drawing = draw(FakeGenerator(draws_as=other, warnings=(Message("as_said", text="slow"),)))
    assert (drawing.identity, drawing.warnings) == (other, (Message("as_said", text="slow"),))
    assert np.array_equal(drawing.pixels, draw(FakeGenerator()).pixels)


def test_another_identity_draws_another_picture():
    """Two models never share a picture."""
    other = replace(FAKE_IDENTITY, revision="2")
    assert not np.array_equal(draw(FakeGenerator(identity_=other)).pixels, draw(FakeGenerator()).pixels)


def test_time_is_simulated():
    """A picture takes at least the seconds asked for, and says so."""
    assert draw(FakeGenerator(seconds=0.03)).gpu_seconds >= 0.03


def test_it_starts_asleep():
    """As every generator does."""
    assert FakeGenerator().state.status is Status.SLEEPING
