"""The switches of torch are the same for every picture, whatever other code in the process does with them."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.backends import cuda, cudnn, mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.factories import recipe
from zimage_cache.generator.device import CPU
from zimage_cache.generator.numerics import Pins, switches
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.plan import DevicePlan
from zimage_cache.models.store import demo_folder

DEVICE = torch.device("cpu")
THREADS = torch.get_num_threads()
SWITCHES = list(switches(DEVICE))
RECIPE = recipe(prompt="a large red circle on a blue background", width=64, height=64, steps=3)
# Values that none of the switches is pinned to, by the value that it is pinned to.
OTHERS = {
    "highest": "medium",
    "none": "tf32",
    "ieee": "tf32",
    "tf32": "ieee",
    "auto": "native",
    None: 2,
    (1, 2, 0, 3): [2, 1, 0, 3],
}


@pytest.fixture(autouse=True)
def as_before():
    """Undo what a test sets, for the tests after it."""
    values = [(switch.write, switch.read()) for switch in SWITCHES]
    yield
    for write, value in values:
        write(value[0] if isinstance(value, tuple) else value)


def load(dtype: str = "float32") -> LoadedPipeline:
    return LoadedPipeline(demo_folder(), CPU, DevicePlan(dtype))


def draw(pipeline: LoadedPipeline):
    return pipeline.draw(RECIPE, lambda _step: None, lambda: False).pixels


def other(value: Any) -> object:
    return not value if isinstance(value, bool) else OTHERS[value]


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
    assert "cuda.matmul.fp32_precision" in caplog.text


def meddle() -> None:
    """Change all that changes pixels on a CPU, and what would on a GPU."""
    torch.set_float32_matmul_precision("medium")
    for module, name, value in (
        (torch.backends, "fp32_precision", "bf16"),
        (mkldnn, "enabled", False),
        (cudnn, "benchmark", True),
        (cuda.matmul, "allow_tf32", True),
    ):
        setattr(module, name, value)
    cuda.enable_flash_sdp(enabled=False)
    cuda.allow_fp16_bf16_reduction_math_sdp(enabled=True)
    torch.set_autocast_enabled("cpu", True)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)


def test_other_code_changes_no_pixel_of_a_loaded_pipeline(pipelines, caplog):
    """Between two pictures; the log says what was changed."""
    for pipeline, expected in pipelines:
        meddle()
        assert np.array_equal(draw(pipeline), expected)
    assert "backends.fp32_precision" in caplog.text


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


def test_a_pipeline_leaves_the_switches_as_pinned(pipelines, caplog):
    """Its own attention backends change some of them while it draws: the next picture finds nothing to set back."""
    with sdpa_kernel(SDPBackend.MATH):
        pass
    for pipeline, _ in pipelines:
        draw(pipeline)
        draw(pipeline)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_order_of_attention_kernels_is_torch_s_own():
    """One that others set before the load is not taken for the device's."""
    order = next(switch for switch in SWITCHES if switch.name == "sdp_priority_order")
    order.write([2, 1, 0, 3])
    assert order.read() == [2, 1, 0, 3, 4]
    Pins(DEVICE, THREADS)
    assert order.read() == [1, 2, 0, 3, 4]
