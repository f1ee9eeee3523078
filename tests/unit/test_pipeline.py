"""What happens between a recipe and its pixels, with the embedded demo model."""

import gc
import io
import json
import shutil
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import ModelMixin, ZImagePipeline
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from PIL import Image
from transformers import PreTrainedModel

from tests.factories import present, recipe
from zimage_cache.errors import Cancelled, DeviceFailed, GenerationFailed, GeneratorError, ModelCorrupt, OutOfMemory
from zimage_cache.generator.device import CPU
from zimage_cache.generator.embeddings import Embeddings
from zimage_cache.generator.pipeline import Engine, LoadedPipeline
from zimage_cache.generator.plan import DevicePlan, Offload, make_plan
from zimage_cache.generator.protocol import Step
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Sampler

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 90, 220),
    "yellow": (245, 210, 50),
    "purple": (140, 60, 180),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
RECIPE = recipe(prompt="a large red circle on a blue background", width=128, height=128, steps=8, guidance_scale=1.0)
QUICK = replace(RECIPE, width=64, height=64, steps=3)


def load(plan=None):
    return LoadedPipeline(demo_folder(), CPU, plan or make_plan(CPU))


@pytest.fixture(scope="module")
def pipeline():
    return load()


def models(loaded):
    """Give the models a pipeline is made of; what moves, breaks or is freed in them shows in no picture."""
    parts = loaded._pipeline.components | {"text_encoder": loaded._reader.text_encoder}  # noqa: SLF001 - see above
    return SimpleNamespace(**parts)


def draw(pipeline, recipe, on_step=lambda _step: None):
    return pipeline.draw(recipe, on_step, lambda: False)[0]


def nearest(pixel):
    return min(COLOURS, key=lambda name: sum((int(a) - b) ** 2 for a, b in zip(pixel, COLOURS[name], strict=True)))


@pytest.mark.parametrize(
    ("prompt", "shape", "background"),
    [
        ("a large red circle on a blue background", "red", "blue"),
        ("large yellow square, black background", "yellow", "black"),
        ("a white background with a large green circle", "green", "white"),
        ("蓝色背景上的大红色圆形", "red", "blue"),
        ("紫色背景上的大橙色正方形", "orange", "purple"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_demo_draws_what_it_is_asked_for(pipeline, prompt, shape, background, seed):
    """A large shape covers the centre in its colour, and all four corners show the background's."""
    pixels = draw(pipeline, replace(RECIPE, prompt=prompt, seed=seed))
    assert nearest(pixels[64, 64]) == shape
    assert {nearest(pixels[y, x]) for y in (2, -3) for x in (2, -3)} == {background}


def test_the_picture_is_the_one_plain_diffusers_draws(pipeline):
    """Our adapters and conversions change nothing: in float32 the bytes are those of a bare `pipe(...)`."""
    bare = ZImagePipeline.from_pretrained(demo_folder(), local_files_only=True, dtype=torch.float32)
    bare.set_progress_bar_config(disable=True)
    expected = bare(
        RECIPE.prompt,
        height=128,
        width=128,
        num_inference_steps=8,
        guidance_scale=1.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]
    assert np.array_equal(draw(pipeline, RECIPE), np.asarray(expected))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_draws_the_same_picture_nearly(pipeline, precision):
    """The formats of GPUs load and draw too; the bits differ, which is why they are in the identity."""
    half = draw(load(DevicePlan(precision)), QUICK).astype(int)
    full = draw(pipeline, QUICK).astype(int)
    assert np.abs(half - full).mean() < 4
    assert not np.array_equal(half, full)


@pytest.mark.parametrize("offload", [Offload.MODEL, Offload.GROUP])
def test_offload_changes_no_pixel(pipeline, offload):
    """Components that come and go draw the same bits, also after a cancel, so offload is no part of the identity."""
    offloaded = load(DevicePlan("float32", offload))
    expected = draw(pipeline, QUICK)
    assert np.array_equal(draw(offloaded, QUICK), expected)
    heard: list[Step] = []
    with pytest.raises(Cancelled):
        offloaded.draw(QUICK, heard.append, lambda: len(heard) > 1)
    assert np.array_equal(draw(offloaded, QUICK), expected)


def test_a_loaded_pipeline_changes_its_plan(pipeline):
    """From plan to plan and back without reading the disk, each drawing the bits of its precision."""
    changing = load()
    expected = draw(pipeline, QUICK)
    for offload in (Offload.GROUP, Offload.MODEL, Offload.NONE, Offload.GROUP, Offload.NONE):
        picture = changing.draw(QUICK, lambda _step: None, lambda: False, DevicePlan("float32", offload))
        assert np.array_equal(picture.pixels, expected)
        assert picture.plan == changing.plan == DevicePlan("float32", offload)


class Moves:
    """Counts how often a model is sent somewhere."""

    def __init__(self, model, monkeypatch):
        self.to: list[str] = []
        real = model.to

        def to(place, *rest):
            self.to.append(str(place))
            return real(place, *rest)

        monkeypatch.setattr(model, "to", to)


def test_a_known_prompt_moves_nothing_large(monkeypatch):
    """Taking turns: a new prompt brings the text encoder and sends the transformer away; a known one leaves both."""
    turns = load(DevicePlan("float32", Offload.MODEL))
    text = Moves(models(turns).text_encoder, monkeypatch)
    transformer = Moves(models(turns).transformer, monkeypatch)
    turns._device = torch.device("cpu:0")  # noqa: SLF001 - as good as a device for counting moves
    alone = replace(QUICK, guidance_scale=0.0)
    draw(turns, alone)
    assert (text.to, transformer.to) == (["cpu:0", "cpu"], ["cpu", "cpu:0"])
    draw(turns, replace(alone, seed=2))
    assert text.to[2:] == ["cpu"]  # "stay away", not "come"


def test_the_text_encoder_reads_a_prompt_once(pipeline):
    """Also through an unload: the embeddings outlive the pipeline, and pictures from them have the same bits."""
    known = Embeddings()
    guided = replace(QUICK, negative_prompt="green", guidance_scale=2.0)
    calls = []
    for _ in range(2):
        loaded = LoadedPipeline(demo_folder(), CPU, make_plan(CPU), embeddings=known)
        models(loaded).text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
        assert np.array_equal(draw(loaded, guided), draw(pipeline, guided))
        assert np.array_equal(draw(loaded, replace(guided, seed=2)), draw(pipeline, replace(guided, seed=2)))
        loaded.unload()
    assert len(calls) == 2
    assert len(known) == 2


def test_tiles_change_pixels_where_there_are_several():
    """Decoding in tiles is another precision for a reason: beyond one tile the bits differ, though not to the eye."""
    large = replace(QUICK, width=640, height=64)
    plan = DevicePlan("float32", vae_tiling=True)
    tiled, whole = draw(load(plan), large).astype(int), draw(load(), large).astype(int)
    assert not np.array_equal(tiled, whole)
    assert np.abs(tiled - whole).mean() < 2
    assert np.array_equal(draw(load(plan), QUICK), draw(load(), QUICK))


def test_a_preview_shows_the_picture_growing(pipeline):
    """Each finished evaluation offers one, of an eighth of the size; the last is the finished picture in small."""
    shown = []

    def on_step(step):
        if step.preview:
            shown.append(np.asarray(Image.open(io.BytesIO(step.preview()))).astype(int))

    pixels = draw(pipeline, RECIPE, on_step)
    assert [picture.shape for picture in shown] == [(16, 16, 3)] * RECIPE.evaluations
    small = pixels.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3))
    errors = [np.abs(picture - small).mean() for picture in shown]
    assert errors[-1] < 40
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("sampler", Sampler)
def test_looking_changes_no_bit(pipeline, sampler):
    """Previews only look: with and without them the picture is the same, with every sampler."""
    recipe = replace(QUICK, sampler=sampler)
    watched = draw(pipeline, recipe, lambda step: step.preview and step.preview())
    assert np.array_equal(watched, draw(pipeline, recipe))


def test_weights_in_8_bits_draw_the_same_picture_nearly(pipeline):
    """With the extra installed: smaller weights in both large models, another precision, nearly the same picture."""
    pytest.importorskip("torchao")
    quantised = load(DevicePlan("float32", int8=True))
    linear = [module for module in models(quantised).transformer.modules() if isinstance(module, torch.nn.Linear)]
    assert all(type(module.weight.data) is not torch.Tensor for module in linear)
    difference = np.abs(draw(quantised, QUICK).astype(int) - draw(pipeline, QUICK)).mean()
    assert 0 < difference < 8


def test_an_unknown_attention_is_reported_with_the_way_out():
    """A backend that cannot be used here names itself and the remedy, and is no damaged model."""
    with pytest.raises(GeneratorError, match=r"^attention: 'no_such' cannot be used here .*--attention auto"):
        LoadedPipeline(demo_folder(), CPU, make_plan(CPU), Engine(attention="no_such"))


def test_another_attention_draws_the_same_picture_nearly(pipeline):
    """A backend every torch has: it draws, and to the eye the same."""
    other = LoadedPipeline(demo_folder(), CPU, make_plan(CPU), Engine(attention="_native_math"))
    assert np.abs(draw(other, QUICK).astype(int) - draw(pipeline, QUICK)).mean() < 1


def test_the_default_attention_is_its_own(pipeline, monkeypatch):
    """What a variable or another pipeline set for the whole process changes no picture."""
    expected = draw(pipeline, QUICK)
    monkeypatch.setattr(_AttentionBackendRegistry, "_active_backend", AttentionBackendName.FLASH)  # not installed here
    assert np.array_equal(draw(pipeline, QUICK), expected)
    assert np.array_equal(draw(load(), QUICK), expected)


def test_the_repeated_blocks_are_compiled(monkeypatch):
    """`compiled` asks torch to compile each block, and nothing else of the model."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    LoadedPipeline(demo_folder(), CPU, make_plan(CPU), Engine(compiled=True))
    assert set(compiled) == {"ZImageTransformerBlock"}
    assert len(compiled) > 1


def test_the_negative_prompt_counts_with_guidance(pipeline):
    """With guidance it changes the picture, and an empty one is the same as none."""
    guided = replace(QUICK, guidance_scale=2.0)
    assert not np.array_equal(draw(pipeline, replace(guided, negative_prompt="red")), draw(pipeline, guided))


@pytest.mark.parametrize("prompt", ["", " ", "\x00", "🦊" * 20, "<|im_end|>", "${alert(1)}", "a" * 8000])
def test_any_text_is_drawn(pipeline, prompt):
    """No text crashes the tokenizer: control tokens, emoji, NUL and the longest prompt allowed."""
    assert draw(pipeline, replace(QUICK, prompt=prompt)).shape == (64, 64, 3)


def test_tokens_are_counted_with_the_template(pipeline):
    """The count is what the pipeline itself makes of the text, template included, so that it meets the limit."""
    empty = pipeline.count_tokens("")
    assert empty > 0
    assert pipeline.count_tokens("red circle") > empty


def test_a_truncated_prompt_has_a_warning(pipeline):
    """More tokens than are read is a warning naming both numbers; a token less is none."""
    text = "red " * 200
    tokens = pipeline.count_tokens(text)
    fitting = replace(RECIPE, prompt=text, max_sequence_length=tokens)
    assert pipeline.warnings(fitting) == ()
    [warning] = pipeline.warnings(replace(fitting, max_sequence_length=tokens - 1))
    assert str(warning).startswith(f"prompt: {tokens} tokens, but only the first {tokens - 1} were read")


def test_a_truncated_negative_prompt_has_a_warning(pipeline):
    """The negative prompt has the same limit, and no effect, hence no warning, without guidance."""
    recipe = replace(RECIPE, negative_prompt="red " * 200, max_sequence_length=64)
    [warning] = pipeline.warnings(recipe)
    assert str(warning).startswith("negative_prompt: ")
    assert pipeline.warnings(replace(recipe, guidance_scale=0.0)) == ()


def test_what_is_cut_does_not_count(pipeline):
    """The warning is true: prompts that differ only beyond the limit draw the same picture."""
    longs = [replace(QUICK, prompt="red " * 200 + end, max_sequence_length=64) for end in ("circle", "star")]
    assert np.array_equal(*(draw(pipeline, recipe) for recipe in longs))


def test_numbers_that_are_not_finite_are_no_picture():
    """A model that computes NaN gives an error, never a grey picture in the cache."""
    broken = load()
    next(models(broken).transformer.parameters()).data.fill_(float("nan"))
    with pytest.raises(GenerationFailed, match="the model computed numbers that are not finite"):
        draw(broken, QUICK)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_no_picture(value):
    """A decoder that overflows, as some do in half precision, gives an error too."""
    broken = load()
    models(broken).vae.decoder.conv_out.bias.data.fill_(value)
    with pytest.raises(GenerationFailed, match="the decoder drew pixels that are not finite"):
        draw(broken, QUICK)


def test_a_decoder_that_overflows_decodes_once_more(pipeline, caplog):
    """Pixels that are not finite in half precision are decoded in float32, and the plan says so; the VAE goes back."""
    half = load(DevicePlan("bfloat16"))
    vae = models(half).vae
    vae.decoder.register_forward_hook(
        lambda _model, _given, out: out if out.dtype is torch.float32 else out * float("inf")
    )
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    picture = half.draw(QUICK, lambda _step: None, lambda: False)
    assert picture.plan.precision == "bfloat16+vae-float32"
    assert np.abs(picture.pixels.astype(int) - draw(pipeline, QUICK)).mean() < 4
    assert "decoding once more in float32" in caplog.text
    after = vae.state_dict()
    assert all(value.dtype is torch.bfloat16 and torch.equal(value, before[name]) for name, value in after.items())


def fail_with(error, at):
    def on_step(step):
        if step.evaluation == at:
            raise error

    return on_step


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_running_out_of_memory_ends_one_picture(pipeline, error, at):
    """Every way torch runs out of memory is our error with a remedy, and the next picture is the undisturbed one."""
    undisturbed = draw(pipeline, QUICK)
    with pytest.raises(OutOfMemory, match="smaller size"):
        draw(pipeline, QUICK, fail_with(error, at))
    assert np.array_equal(draw(pipeline, QUICK), undisturbed)


class FullDevice:
    """Makes the device of a pipeline one that can break: then nothing can be computed on it."""

    def __init__(self, monkeypatch):
        self.broken = False
        real = torch.ones

        def ones(*shape, **options):
            if self.broken:
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
            return real(*shape, **options)

        monkeypatch.setattr(torch, "ones", ones)


@pytest.fixture
def device(monkeypatch):
    return FullDevice(monkeypatch)


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error: unspecified launch failure"), KeyError("x")])
def test_an_error_that_leaves_the_device_able_is_the_pictures(pipeline, error):
    """Whatever it says: a device that still computes is not to blame, and the next picture is drawn."""
    with pytest.raises(GenerationFailed, match="the pipeline failed") as caught:
        draw(pipeline, QUICK, fail_with(error, 1))
    assert not isinstance(caught.value, DeviceFailed)
    draw(pipeline, QUICK)


def test_a_device_that_cannot_compute_any_more_is_to_blame(pipeline, device):
    """The error says so by its type, quotes the driver, and keeps none of the picture's tensors."""

    def fall(_step):
        device.broken = True
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceFailed, match=r"the device failed \(AcceleratorError: CUDA error: an illegal") as caught:
        draw(pipeline, QUICK, fall)
    assert present(caught.value.__cause__).__traceback__ is None


def test_a_model_a_broken_device_does_not_take_is_not_corrupt(monkeypatch, device):
    """A failed device is not reported as a damaged model, which would be downloaded again (33 GB)."""
    device.broken = True

    def refuse(*_args):
        raise torch.AcceleratorError("CUDA error: no CUDA-capable device is detected")

    monkeypatch.setattr(ModelMixin, "to", refuse)
    with pytest.raises(DeviceFailed, match="the device failed"):
        load()


def test_running_out_of_memory_lets_go_of_the_picture(pipeline):
    """The error, which may live on in logs and answers, refers to no frame and so to no tensor."""
    with pytest.raises(OutOfMemory) as caught:
        draw(pipeline, QUICK, fail_with(torch.OutOfMemoryError("no more"), 1))
    assert present(caught.value.__cause__).__traceback__ is None


class Full:
    """A device with room for so many of the large models."""

    def __init__(self, room, monkeypatch):
        self.room = room
        real = torch.nn.Module.to

        def to(model, place, *rest):
            large = type(model).__name__ in {"Qwen3Model", "ZImageTransformer2DModel"}
            if large and str(place) == "cpu:0":
                self.room -= 1
                if self.room < 0:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.31 GiB")
            return real(model, place, *rest)

        monkeypatch.setattr(ModelMixin, "to", to)
        monkeypatch.setattr(PreTrainedModel, "to", to)


@pytest.mark.parametrize(("room", "offload"), [(2, Offload.NONE), (1, Offload.MODEL), (0, Offload.MODEL)])
def test_weights_that_do_not_fit_are_laid_out_otherwise(monkeypatch, caplog, room, offload):
    """When the weights do not fit on the device, the next smaller plan is used: same pixels, with a log line."""
    Full(room, monkeypatch)
    loaded = LoadedPipeline(demo_folder(), replace(CPU, torch_name="cpu:0"), DevicePlan("float32"))
    assert loaded.plan == DevicePlan("float32", offload)
    assert ("offload model instead of none" in caplog.text) == (offload is not Offload.NONE)


def test_a_load_that_fails_leaves_nothing(monkeypatch):
    """When main memory is full during a load, the error that is kept holds no weights."""
    models = []
    real = ModelMixin.to

    def to(model, *place):
        models.append(weakref.ref(model))
        if len(models) > 1:
            raise MemoryError
        return real(model, *place)

    monkeypatch.setattr(ModelMixin, "to", to)
    with pytest.raises(OutOfMemory, match="too little memory for this model") as caught:
        load()
    assert [model() for model in models] == [None] * len(models)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_what_ran_out_of_memory_can_be_unloaded():
    """After a picture that did not fit, while its error is still referenced, unloading frees every weight."""
    loaded = load()
    with pytest.raises(OutOfMemory) as caught:
        draw(loaded, QUICK, fail_with(torch.OutOfMemoryError("no more"), 1))
    weights = [weakref.ref(models(loaded).transformer), weakref.ref(models(loaded).text_encoder)]
    loaded.unload()
    assert [each() for each in weights] == [None, None]
    assert caught.value.code == "out_of_memory"


def test_a_library_s_error_is_translated(pipeline):
    """Whatever else goes wrong is `GenerationFailed` in one line, with the original as its cause."""
    original = RuntimeError("shape mismatch\nand a page of it")
    with pytest.raises(GenerationFailed, match=r"^the pipeline failed: RuntimeError: shape mismatch$") as caught:
        draw(pipeline, QUICK, fail_with(original, 2))
    assert caught.value.__cause__ is original


def test_unloading_lets_go_of_the_weights():
    """After `unload` nothing refers to the transformer any more: its memory is free."""
    loaded = load()
    draw(loaded, QUICK)
    transformer = weakref.ref(models(loaded).transformer)
    loaded.unload()
    gc.collect()
    assert transformer() is None


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return folder


def test_weights_of_another_shape_do_not_load(copy):
    """Configurations that do not fit the weights raise `ModelCorrupt`, with the folder, in one line."""
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"n_heads": 5, "dim": 200}))
    with pytest.raises(ModelCorrupt, match="does not load") as caught:
        LoadedPipeline(copy, CPU, make_plan(CPU))
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_pickle_is_opened(copy):
    """Even past the check of the folder, the loader refuses weights that are no safetensors."""
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelCorrupt, match="does not load"):
        LoadedPipeline(copy, CPU, make_plan(CPU))
