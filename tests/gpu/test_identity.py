"""One key, one computation, on a GPU: across processes, variables, attention backends and meddling code."""

import numpy as np
import pytest
import torch

from tests.factories import recipe
from tests.identities import HOSTILE, audited, meddle, other, workspace_with_a_picture
from zimage_cache.errors import GeneratorError
from zimage_cache.generator.device import find_device
from zimage_cache.generator.numerics import Pins, switches
from zimage_cache.generator.pipeline import Engine, LoadedPipeline
from zimage_cache.generator.plan import make_plan
from zimage_cache.models.store import demo_folder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

RECIPE = recipe(prompt="a large red circle on a blue background", width=128, height=128, steps=4, guidance_scale=1.0)
BACKENDS = ("_native_math", "_native_flash", "_native_cudnn", "_native_efficient", "flash", "sage", "xformers")


def load(attention: str = "auto") -> LoadedPipeline:
    device = find_device("cuda")
    return LoadedPipeline(demo_folder(), device, make_plan(device, weights_bytes=0), Engine(attention))


def draw(pipeline: LoadedPipeline):
    return pipeline.draw(RECIPE, lambda _step: None, lambda: False).pixels


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return workspace_with_a_picture(tmp_path_factory.mktemp("workspace"), "cuda")


def test_another_process_draws_the_same_bits(workspace):
    """A restart changes nothing: found under the same key, and drawn again alike."""
    assert audited(workspace, "cuda", {})[0]["identical"] == 1


def test_hostile_variables_change_neither_key_nor_pixels(workspace, rounds):
    """All together; then one of them alone, or each with `--full`."""
    assert audited(workspace, "cuda", HOSTILE)[0]["identical"] == 1
    for name in sorted(HOSTILE)[: rounds(len(HOSTILE))]:
        assert audited(workspace, "cuda", {name: HOSTILE[name]})[0]["identical"] == 1, name


def test_a_backend_that_was_tried_changes_no_other_pipeline():
    """Nor one that cannot be used here: the default is the same before and after, loaded before and loaded after."""
    first = load()
    expected = draw(first)
    for attention in BACKENDS:
        try:
            draw(load(attention))
        except GeneratorError:  # not installed, or not for this GPU
            continue
        finally:
            assert np.array_equal(draw(first), expected), attention
            assert np.array_equal(draw(load()), expected), attention


def test_meddling_code_changes_no_pixel():
    """Before a load, and between two pictures."""
    first = load()
    expected = draw(first)
    meddle()
    assert np.array_equal(draw(first), expected)
    meddle()
    assert np.array_equal(draw(load()), expected)


def test_every_switch_is_set_back():
    """With those that only CUDA has."""
    device = torch.device("cuda")
    pins = Pins(device, torch.get_num_threads())
    for switch in switches(device):
        pinned = switch.read()
        try:
            switch.write(other(switch.value))
        except (KeyError, RuntimeError):  # a size in bytes, or a value that this build does not have
            continue
        pins.hold()
        assert switch.read() == pinned, switch.name
