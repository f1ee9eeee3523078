"""What only a CUDA machine can show, with the embedded demo model. Skipped elsewhere."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories import present, recipe
from zimage_cache.errors import Cancelled, OutOfMemory
from zimage_cache.generator.device import CPU, cuda_devices, find_device
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.plan import DevicePlan, Offload, make_plan
from zimage_cache.generator.protocol import Step
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.models.profiles import DEMO
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Sampler

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

RECIPE = recipe(prompt="a large red circle on a blue background", width=128, height=128, steps=8, guidance_scale=1.0)


def draw(pipeline, recipe=RECIPE):
    return pipeline.draw(recipe, lambda _step: None, lambda: False)[0]


def test_the_driver_and_torch_agree():
    """Every device, its name, capability and whole memory are what torch itself says."""
    theirs = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    ours = [(device.name, device.capability, device.total_bytes) for device in cuda_devices()]
    assert ours == [(device.name, (device.major, device.minor), device.total_memory) for device in theirs]


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("offload", Offload)
def test_the_same_bits_again_also_after_a_cancel(sampler, offload):
    """On the device as on the CPU: a recipe is a picture, bit by bit, with every sampler and offload."""
    device = find_device("cuda")
    pipeline = LoadedPipeline(demo_folder(), device, DevicePlan(make_plan(device, weights_bytes=0).dtype, offload))
    recipe = replace(RECIPE, sampler=sampler)
    first = draw(pipeline, recipe)
    heard: list[Step] = []
    with pytest.raises(Cancelled):
        pipeline.draw(recipe, heard.append, lambda: len(heard) == 4)
    assert np.array_equal(draw(pipeline, recipe), first)


def test_offload_changes_no_pixel():
    """So it is no part of the identity."""
    device = find_device("cuda")
    dtype = make_plan(device, weights_bytes=0).dtype
    first, *others = (draw(LoadedPipeline(demo_folder(), device, DevicePlan(dtype, offload))) for offload in Offload)
    assert all(np.array_equal(first, other) for other in others)


def test_a_loaded_pipeline_changes_its_plan():
    """What happens after running out of memory: from layout to layout and back, each drawing the same bits."""
    device = find_device("cuda")
    dtype = make_plan(device, weights_bytes=0).dtype
    pipeline = LoadedPipeline(demo_folder(), device, DevicePlan(dtype))
    first = draw(pipeline)
    for offload in (Offload.MODEL, Offload.GROUP, Offload.NONE, Offload.GROUP, Offload.MODEL):
        picture = pipeline.draw(RECIPE, lambda _step: None, lambda: False, DevicePlan(dtype, offload))
        assert np.array_equal(picture.pixels, first)


def test_steps_are_reported_when_they_are_done():
    """Progress waits for the device: at each report nothing is left to do on it but what comes next."""
    pipeline = LoadedPipeline(demo_folder(), find_device("cuda"), DevicePlan("float32"))
    idle: list[bool] = []

    def told(step: Step) -> None:
        if step.evaluation:
            idle.append(torch.cuda.current_stream().query())

    pipeline.draw(RECIPE, told, lambda: False)
    assert idle == [True] * RECIPE.evaluations


def test_a_card_too_full_for_a_picture_draws_it_by_a_smaller_plan(tmp_path):
    """Out of memory for real: either the smaller plan draws it and says so, or the error says what fits; it lives."""
    device = find_device("cuda")
    generator = ZImageGenerator(DEMO, demo_folder, model="zimage-demo", device=device, memo=tmp_path / "hashes.json")
    generator.generate(RECIPE, lambda _step: None, lambda: False)
    torch.cuda.empty_cache()
    large = replace(RECIPE, width=2048, height=2048)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / present(device.total_bytes))
    told = ""
    try:
        told = " ".join(map(str, generator.generate(large, lambda _step: None, lambda: False).warnings))
    except OutOfMemory as error:
        told = str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "drawn as" in told or "fitted here" in told
    assert generator.generate(RECIPE, lambda _step: None, lambda: False).warnings == ()


def test_the_card_draws_what_the_cpu_draws():
    """The same seed is the same noise on every device: in float32 the two pictures differ by rounding alone."""
    on_card = draw(LoadedPipeline(demo_folder(), find_device("cuda"), DevicePlan("float32"))).astype(int)
    on_cpu = draw(LoadedPipeline(demo_folder(), CPU, make_plan(CPU))).astype(int)
    assert np.abs(on_card - on_cpu).mean() < 1


def test_unloading_gives_the_memory_back(tmp_path):
    """After `unload` torch holds no more of the device than before loading."""
    memo = tmp_path / "hashes.json"
    generator = ZImageGenerator(DEMO, demo_folder, model="zimage-demo", device=find_device("cuda"), memo=memo)
    gc.collect()  # what earlier tests left in reference cycles
    before = torch.cuda.memory_allocated()
    generator.generate(RECIPE, lambda _step: None, lambda: False)
    assert torch.cuda.memory_allocated() > before
    generator.unload()
    assert torch.cuda.memory_allocated() == before
