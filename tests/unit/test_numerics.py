"""The switches of torch are the same for every picture, whatever other code in the process does with them."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.backends import cuda, cudnn

from tests.factories import recipe
from tests.identities import meddle, other
from zimage_cache.errors import Cancelled, GenerationFailed
from zimage_cache.generator import numerics
from zimage_cache.generator import pipeline as pipeline_module
from zimage_cache.generator.device import CPU
from zimage_cache.generator.numerics import Pins, Switch, sdp_order, switches, thread_number
from zimage_cache.generator.pipeline import DEFAULT_ENGINE, Engine, LoadedPipeline
from zimage_cache.generator.plan import DevicePlan
from zimage_cache.generator.protocol import Step
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Sampler

DEVICE = torch.device("cpu")
THREADS = torch.get_num_threads()
SWITCHES = [*switches(DEVICE), thread_number(THREADS), sdp_order(DEVICE)]
RECIPE = recipe(prompt="a large red circle on a blue background", width=64, height=64, steps=3)


@pytest.fixture(autouse=True)
def as_before():
    """Undo what a test sets, for the tests after it."""
    values = [(switch.write, switch.read()) for switch in SWITCHES]
    yield
    for write, value in values:
        write(value[0] if isinstance(value, tuple) else value)


def load(dtype: str = "float32", engine: Engine = DEFAULT_ENGINE) -> LoadedPipeline:
    return LoadedPipeline(demo_folder(), CPU, DevicePlan(dtype), engine)


def draw(pipeline: LoadedPipeline):
    return pipeline.draw(RECIPE, lambda _step: None, lambda: False).pixels


@pytest.fixture(scope="module")
def pipelines():
    """Return a loaded pipeline for each number format whose kernels differ, with its picture."""
    return [(pipeline, draw(pipeline)) for pipeline in map(load, ("float32", "bfloat16"))]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_that_other_code_changed_is_set_back_and_named(switch, caplog):
    """Each of them, at the next comparison, with one line; without a change there is none."""
    pins = Pins(DEVICE, THREADS)
    pinned = switch.read()
    try:
        switch.write(other(switch.value))
    except RuntimeError as error:
        pytest.skip(f"this processor has no other value for it: {error}")
    assert switch.read() != pinned
    pins.hold()
    assert switch.read() == pinned
    assert switch.name in caplog.text
    caplog.clear()
    pins.hold()
    assert caplog.text == ""


def test_precisions_set_in_two_ways_are_set_back(caplog):
    """Reading them is an error of torch's then: the old function and the new attributes contradict each other."""
    pins = Pins(DEVICE, THREADS)
    cuda.matmul.fp32_precision = "tf32"
    with pytest.raises(RuntimeError, match="precision"):
        torch.get_float32_matmul_precision()
    pins.hold()
    assert torch.get_float32_matmul_precision() == "highest"
    assert "fp32_precision cuda matmul" in caplog.text


def test_other_code_changes_no_pixel_of_a_loaded_pipeline(pipelines, caplog):
    """Between two pictures; the log says what was changed."""
    for pipeline, expected in pipelines:
        meddle()
        assert np.array_equal(draw(pipeline), expected)
    assert "fp32_precision generic all" in caplog.text


def test_other_code_changes_no_pixel_of_a_pipeline_that_is_loaded_later(pipelines):
    """What was set before the load, as by a variable that torch read on its import."""
    meddle()
    for dtype, (_, expected) in zip(("float32", "bfloat16"), pipelines, strict=True):
        meddle()
        assert np.array_equal(draw(load(dtype)), expected)


def test_what_is_meddled_with_would_change_pixels(pipelines, monkeypatch):
    """Otherwise the two tests above would show nothing."""
    monkeypatch.setattr(Pins, "hold", lambda _pins: None)
    meddle()
    assert not any(np.array_equal(draw(pipeline), expected) for pipeline, expected in pipelines)


def test_a_backend_that_switches_kernels_leaves_them_as_pinned(caplog):
    """It changes some switches while it draws: the next picture finds nothing to set back."""
    pipeline = load(engine=Engine("_native_math"))
    draw(pipeline)
    draw(pipeline)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_engines_that_switch_kernels_draw_one_after_the_other(monkeypatch):
    """Their switches are the whole process's: other pictures, and loads that pin switches, wait for the end of one."""
    first, second = (load(engine=Engine("_native_math")) for _ in range(2))
    draws, waiting, over = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []
    asked: list[bool] = []

    def hold_on(step: Step) -> None:
        draws.set()
        assert waiting.wait(60)
        if step.evaluation == RECIPE.evaluations:
            over.set()

    def pins(*arguments) -> Pins:
        seen.append(over.is_set())
        return Pins(*arguments)

    def cancelled() -> bool:
        asked.append(over.is_set())
        if len(asked) > 1:  # it waits, and is asked whether it is still wanted
            waiting.set()
        return False

    monkeypatch.setattr(pipeline_module, "Pins", pins)
    with ThreadPoolExecutor(3) as pool:
        drawing = pool.submit(first.draw, RECIPE, hold_on, lambda: False)
        assert draws.wait(60)
        others: list[Future[Any]] = [
            pool.submit(load),
            pool.submit(second.draw, RECIPE, lambda _step: seen.append(over.is_set()), cancelled),
        ]
        for each in [drawing, *others]:
            each.result(60)
    assert set(seen) == {True}


def test_who_waits_for_another_engine_can_be_cancelled():
    """Before its turn has come."""
    pipeline, draws, release = load(engine=Engine("_native_math")), threading.Event(), threading.Event()

    def hold_on(_step: Step) -> None:
        draws.set()
        assert release.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pipeline.draw, RECIPE, hold_on, lambda: False)
        assert draws.wait(60)
        with pytest.raises(Cancelled):
            pipeline.draw(RECIPE, lambda _step: pytest.fail("it draws"), iter([False, False, True]).__next__)
        release.set()
        first.result(60)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_many_threads_share_the_work_as_the_key_says(threads):
    """That is how many there are while it draws, whatever there were before."""
    seen = []
    pipeline = load(engine=Engine(threads=threads))
    torch.set_num_threads(threads + 1)
    pipeline.draw(RECIPE, lambda _step: seen.append(torch.get_num_threads()), lambda: False)
    assert set(seen) == {threads}


def test_a_switch_that_cannot_be_set_back_ends_the_picture(monkeypatch):
    """Better no picture than other pixels under the same key."""
    values = ["as pinned"]
    monkeypatch.setattr(numerics, "thread_number", lambda _: Switch("stuck", values.copy, lambda _value: None, 0))
    pipeline = load()
    values.append("changed")
    with pytest.raises(GenerationFailed, match="holds stuck of torch"):
        draw(pipeline)


@pytest.mark.parametrize("sampler", Sampler)
def test_the_default_number_format_changes_no_pixel(pipelines, sampler):
    """A library sets it for the whole process while it loads a model, also beside a picture that is being drawn."""
    pipeline, _ = pipelines[1]
    recipe = replace(RECIPE, sampler=sampler, steps=9)  # their noise levels have no exact value in 16 bits
    expected = pipeline.draw(recipe, lambda _step: None, lambda: False).pixels
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = pipeline.draw(recipe, lambda _step: None, lambda: False).pixels
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found, expected)


def test_torch_reads_all_of_its_switches_after_pinning():
    """Its old names and its new ones agree, also where other code had set some of them."""
    cudnn.allow_tf32 = False
    Pins(DEVICE, THREADS)
    assert cudnn.allow_tf32 is True
    assert cuda.matmul.allow_tf32 is False
    with cudnn.flags(enabled=True):
        pass


def test_the_order_of_attention_kernels_is_torch_s_own():
    """One that others set before the load is not taken for the device's, also where they switched all kernels off."""
    order = next(switch for switch in SWITCHES if switch.name == "sdp_priority_order")
    order.write([2, 1, 0, 3])
    assert order.read() == [2, 1, 0, 3, 4]
    for off in (cuda.enable_flash_sdp, cuda.enable_math_sdp, cuda.enable_mem_efficient_sdp):
        off(enabled=False)
    Pins(DEVICE, THREADS)
    assert order.read() == [1, 2, 0, 3, 4]
