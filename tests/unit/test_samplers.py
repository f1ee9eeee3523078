"""All four solvers walk one grid, and get closer to the exact picture with order and steps."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories import recipe
from zimage_cache.generator.device import CPU
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.plan import make_plan
from zimage_cache.generator.samplers import scheduler_for, sigmas_of
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Sampler

RECIPE = recipe(
    prompt="a large red circle on a blue background", width=128, height=128, steps=8, guidance_scale=1.0, seed=3
)


@pytest.fixture(scope="module")
def pipeline():
    return LoadedPipeline(demo_folder(), CPU, make_plan(CPU))


def draw(pipeline, **changes):
    pixels = pipeline.draw(replace(RECIPE, **changes), lambda _step: None, lambda: False).pixels
    return pixels.astype(np.float64)


def times(sampler, steps, shift=3.0):
    scheduler = scheduler_for(sampler, shift)
    scheduler.set_timesteps(sigmas=sigmas_of(steps), device="cpu", mu=0.5)
    return scheduler.timesteps.tolist()


def test_the_sigmas_are_those_of_diffusers_039_and_later():
    """Eight steps look at eight levels and none of them is the clean end."""
    assert sigmas_of(8) == pytest.approx([1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert sigmas_of(1) == [1.0]


@pytest.mark.parametrize("sampler", Sampler)
def test_every_sampler_looks_at_the_same_levels(sampler):
    """The model receives the times of Z-Image-Turbo's own schedule; with Heun all but the first twice."""
    expected = [1000, 954.55, 900, 833.33, 750, 642.86, 500, 300]
    if sampler == "heun":
        expected = expected[:1] + [time for time in expected[1:] for _ in range(2)]
    assert times(sampler, 8) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("shift", [0.1, 1.0, 20.0])
def test_the_shift_moves_every_sampler_alike(sampler, shift):
    """The level becomes shift * sigma / (1 + (shift - 1) * sigma), over the contract's whole range."""
    levels = torch.tensor(sigmas_of(4))
    expected = (1000 * shift * levels / (1 + (shift - 1) * levels)).tolist()
    assert sorted(set(times(sampler, 4, shift)), reverse=True) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_evaluations_are_as_many_as_the_recipe_says(sampler, steps):
    """Progress bars count what really runs, from the contract's fewest steps to its most."""
    assert len(times(sampler, steps)) == replace(RECIPE, sampler=sampler, steps=steps).evaluations


@pytest.mark.parametrize("sampler", Sampler)
def test_a_scheduler_is_fresh_each_time(sampler):
    """Two pictures never share solver state."""
    assert scheduler_for(sampler, 3.0) is not scheduler_for(sampler, 3.0)


@pytest.mark.parametrize("sampler", Sampler)
def test_the_adapter_is_called_as_the_pipeline_calls(sampler):
    """The pipeline refuses schedulers whose `set_timesteps` does not take `sigmas`."""
    assert {"sigmas", "mu", "device"} <= set(inspect.signature(scheduler_for(sampler, 3.0).set_timesteps).parameters)


def test_an_unknown_sampler_is_a_bug():
    """Requests are validated long before; here it cannot be anything but a bug."""
    with pytest.raises(ValueError, match="lcm"):
        scheduler_for("lcm", 3.0)


@pytest.mark.parametrize("sampler", Sampler)
def test_one_step_is_an_euler_step(pipeline, sampler):
    """With a single evaluation there is nothing to be clever about: all draw the same picture, within rounding."""
    assert np.abs(draw(pipeline, sampler=sampler, steps=1) - draw(pipeline, steps=1)).max() <= 1


def test_higher_order_solvers_get_closer_to_the_exact_picture(pipeline):
    """At 8 steps UniPC, DPM++ 2M and Heun lie nearer to a 100-step picture than Euler; all draw the same thing."""
    exact = draw(pipeline, steps=100)
    error = {sampler.value: np.sqrt(((draw(pipeline, sampler=sampler) - exact) ** 2).mean()) for sampler in Sampler}
    assert error["euler"] < 10
    assert max(error["unipc"], error["dpmpp_2m"], error["heun"]) < error["euler"]
