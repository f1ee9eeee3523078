"""`ZImageGenerator`: identity before loading, states, and recovery from errors."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.factories import recipe
from zimage_cache.errors import (
    Cancelled,
    DeviceFailed,
    GenerationFailed,
    ModelCorrupt,
    ModelMissing,
    OutOfMemory,
    SettingsError,
)
from zimage_cache.generator import pipeline as pipeline_module
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.i18n.messages import Message
from zimage_cache.models.profiles import DEMO
from zimage_cache.models.progress import ByteProgress
from zimage_cache.models.store import demo_folder

H200 = Device("cuda:0", "NVIDIA H200", (9, 0), 150_000_000_000)
T4 = Device("cuda:0", "Tesla T4", (7, 5), 15_600_000_000)
QUICK = recipe(prompt="a large red circle on a blue background")


@pytest.fixture
def make(tmp_path):
    """Return a maker of generators over the demo model."""

    def made(locate=demo_folder, *, device=CPU, **options):
        memo = tmp_path / "hashes.json"
        return ZImageGenerator(DEMO, locate, model="zimage-demo", device=device, memo=memo, **options)

    return made


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return folder


def draw(generator, recipe=QUICK):
    return generator.generate(recipe, lambda _step: None, lambda: False)


def test_start_up_imports_no_torch(tmp_path):
    """Finding the device, reading `--model`, and the identity itself cost no import of torch: the server listens."""
    code = f"""
import sys
from pathlib import Path
from zimage_cache.generator.device import CPU, find_device
from zimage_cache.models.profiles import model_choice
from zimage_cache.generator.zimage import ZImageGenerator
find_device()
choice = model_choice("demo")
generator = ZImageGenerator(choice.profile, lambda: choice.locate([]), model=choice.identity, device=CPU,
                            memo=Path({str(tmp_path / "hashes.json")!r}))
assert len(generator.identity().revision) == 64
print([name for name in ("torch", "diffusers", "transformers", "modelscope") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_the_strict_identity_names_versions_and_device_class(make):
    """As the contract spells it: engine, versions without local suffix, device class, attention."""
    runtime = make(device=H200).identity().runtime
    torch_version = version("torch").partition("+")[0]
    assert runtime == f"diffusers-{version('diffusers')} torch-{torch_version} cuda-sm_90 sdpa"
    assert make().identity().runtime.endswith(" cpu sdpa")


def test_the_portable_identity_names_the_engine_alone(make):
    """Machines of one team share keys when asked to."""
    assert make(device=H200, identity_mode="portable").identity().runtime == "diffusers"


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [(CPU, "auto", "float32"), (H200, "auto", "bfloat16"), (T4, "auto", "float16"), (CPU, "bfloat16", "bfloat16")],
)
def test_the_precision_is_in_the_identity(make, device, precision, expected):
    """What the plan decides is known before any weights load, on any device."""
    assert make(device=device, precision=precision).identity().precision == expected


def test_the_embedded_model_has_a_name_and_a_content(make):
    """The demo is called zimage-demo, and its revision is the hash of its files."""
    identity = make().identity()
    assert identity.model == "zimage-demo"
    assert len(identity.revision) == 64


def test_the_hashes_are_remembered(make, tmp_path):
    """Asking for the identity writes the memo that makes the next start instant."""
    make().identity()
    assert str(demo_folder() / "model_index.json") in (tmp_path / "hashes.json").read_text()


def test_loading_tells_its_phases(make, monkeypatch):
    """The state during a load names its phase: files first, then imports, then weights."""
    seen: list[GeneratorState] = []

    class FakePipeline:
        def __init__(self, _folder, _device, plan, *_arguments, **_options):
            self.plan = plan
            seen.append(generator.state)

        def unload(self):
            pass

    def locate():
        seen.append(generator.state)
        return demo_folder()

    monkeypatch.setattr(pipeline_module, "LoadedPipeline", FakePipeline)
    generator = make(locate)
    assert generator.state == GeneratorState(Status.SLEEPING, device="cpu")
    generator.load()
    assert seen == [
        GeneratorState(Status.LOADING, Message("checking_files"), device="cpu"),
        GeneratorState(Status.LOADING, Message("loading_weights"), device="cpu"),
    ]
    assert generator.state == GeneratorState(Status.HEALTHY, device="cpu")
    generator.unload()
    assert generator.state == GeneratorState(Status.SLEEPING, device="cpu")


def test_a_failed_load_keeps_its_remedy_and_can_be_repeated(make):
    """The state says what is wrong and what to do; once that is done the same generator loads and draws."""
    answers = [ModelMissing("as_said", text="model: not here; fetch it"), demo_folder()]

    def locate():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    generator = make(locate)
    with pytest.raises(ModelMissing):
        generator.load()
    assert generator.state == GeneratorState(
        Status.ERROR, detail=Message("as_said", text="model: not here; fetch it"), device="cpu"
    )
    assert draw(generator).pixels.shape == (64, 64, 3)
    assert generator.state.status is Status.HEALTHY


def test_a_missing_model_has_no_identity_yet(make):
    """`identity` says the same as `load` would, and succeeds later; a failure is not remembered."""
    answers = [ModelCorrupt("as_said", text="model: half of it"), demo_folder()]

    def locate():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    generator = make(locate)
    with pytest.raises(ModelCorrupt):
        generator.identity()
    assert generator.identity() == make().identity()


@pytest.mark.parametrize(
    "state", [ModelMissing("as_said", text="model: not here"), ModelCorrupt("as_said", text="model: half of it")]
)
def test_loading_fetches_a_model_that_is_not_whole(make, state):
    """`load` downloads the model first, with that state, and `identity` does not block meanwhile."""
    seen: list[object] = []
    here: list[object] = []

    def locate():
        if not here:
            raise state
        return demo_folder()

    def fetch(*_told):
        seen.append(generator.state.phase)
        with pytest.raises(type(state)):
            generator.identity()
        here.append(True)

    generator = make(locate, fetch=fetch)
    generator.load()
    assert seen == [Message("fetching")]
    assert generator.state.status is Status.HEALTHY


def test_a_request_never_fetches(make):
    """A picture asked of a model that is not here is refused at once: only `load` may spend hours."""

    def locate():
        raise ModelMissing("as_said", text="model: not here")

    def fetch(*_told):
        pytest.fail("a request started a download")

    with pytest.raises(ModelMissing):
        draw(make(locate, fetch=fetch))


def test_a_model_that_cannot_be_fetched_is_reported(make):
    """The reason the hubs gave is the state's detail."""

    def missing(message="model: not here"):
        raise ModelMissing("as_said", text=message)

    generator = make(missing, fetch=lambda *_told: missing("model: no network"))
    with pytest.raises(ModelMissing):
        generator.load()
    assert generator.state == GeneratorState(
        Status.ERROR, detail=Message("as_said", text="model: no network"), device="cpu"
    )


def test_damaged_weights_are_an_error_with_a_remedy(make, copy):
    """Errors found by loading only are in the state too, and are raised as this program's errors."""
    config = copy / "vae" / "config.json"
    config.write_text(config.read_text().replace('"norm_num_groups": 8', '"norm_num_groups": 7'))
    generator = make(lambda: copy)
    with pytest.raises(ModelCorrupt, match="does not load"):
        generator.load()
    assert generator.state.status is Status.ERROR
    assert "fetch it again" in str(generator.state.detail)


def test_weights_swapped_while_asleep_are_not_drawn_with(make, copy):
    """Pictures of another VAE must never be stored under the first one's name: the operator restarts."""
    generator = make(lambda: copy)
    before = generator.identity()
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelCorrupt, match="changed since this server started; restart it"):
        draw(generator)
    assert generator.identity() == before
    assert make(lambda: copy).identity() != before


def test_a_failed_picture_leaves_a_healthy_generator(make):
    """An error while drawing is that picture's alone."""
    generator = make()

    def break_down(_step):
        raise LookupError("gone")

    with pytest.raises(GenerationFailed):
        generator.generate(QUICK, break_down, lambda: False)
    assert generator.state.status is Status.HEALTHY


class Unusable:
    """Stands for a module whose import fails because of the value of a variable."""

    def __getattr__(self, name: str) -> None:
        raise ValueError("invalid literal for int() with base 10: 'soon'")


def test_a_library_that_does_not_load_names_the_variable(make, monkeypatch):
    """The state has one line: the variable, what the library said of its value, what to do."""
    monkeypatch.setenv("DIFFUSERS_TIMEOUT_REMOTE_CODE", "soon")
    monkeypatch.setitem(sys.modules, "zimage_cache.generator.pipeline", Unusable())
    generator = make()
    with pytest.raises(GenerationFailed):
        generator.load()
    assert "(DIFFUSERS_TIMEOUT_REMOTE_CODE: a library that is needed cannot use" in str(generator.state.detail)


def test_a_long_prompt_is_drawn_with_a_warning(make):
    """The warning travels with the drawing, so that it is stored and shown with every hit."""
    drawing = draw(make(), replace(QUICK, prompt="red " * 300, max_sequence_length=64))
    assert len(drawing.warnings) == 1
    assert "only the first 64 were read" in str(drawing.warnings[0])


def test_the_state_tells_how_much_has_arrived(make):
    """The share of a download is that of the downloader's report: bytes arrived of all bytes."""
    states = []
    here: list[object] = []

    def locate():
        if not here:
            raise ModelMissing("as_said", text="model: not here")
        return demo_folder()

    def fetch(on_progress, _cancelled):
        on_progress(ByteProgress(Message("fetching"), 1, 4))
        states.append(generator.state)
        here.append(True)

    generator = make(locate, fetch=fetch)
    generator.load()
    assert [(s.status, s.phase, s.share) for s in states] == [(Status.LOADING, Message("fetching"), 0.25)]


def test_a_download_can_be_interrupted(make):
    """A stopped load ends in state sleeping, without an error; the next one resumes the download."""

    def locate():
        raise ModelMissing("as_said", text="model: not here")

    def fetch(_tell, cancelled):
        generator.interrupt()
        if cancelled():
            raise Cancelled("as_said", text="the download was stopped")

    generator = make(locate, fetch=fetch)
    with pytest.raises(Cancelled):
        generator.load()
    assert generator.state.status is Status.SLEEPING


def test_the_warm_up_leaves_no_trace(make):
    """The first picture after it is bit for bit what it is without: nothing of the warm-up stays."""
    warm, cold = make(warmup=True), make()
    warm.load()
    assert warm.state.status is Status.HEALTHY
    assert (draw(warm).pixels == draw(cold).pixels).all()


def test_a_folder_made_with_a_later_library_says_so(make, copy):
    """A model that is too new is an error with file, versions and remedy."""
    index = copy / "model_index.json"
    document = json.loads(index.read_text())
    document |= {"_diffusers_version": "9.1.0", "scheduler": ["diffusers", "SchedulerOfTomorrow"]}
    index.write_text(json.dumps(document))
    with pytest.raises(
        ModelCorrupt, match=r"model_index\.json was made with diffusers 9\.1\.0, too new for the .*update"
    ):
        make(lambda: copy).load()


@pytest.mark.parametrize(
    "stem", ["transformer/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"]
)
def test_weights_that_are_not_the_model_s_are_refused(make, copy, stem):
    """The libraries initialise missing weights at random and continue; such a model must not draw."""
    path = copy / f"{stem}.safetensors"
    tensors = load_file(path)
    del tensors[sorted(tensors)[5]]
    save_file(tensors, path, metadata={"format": "pt"})
    generator = make(lambda: copy)
    with pytest.raises(ModelCorrupt, match=rf"the weights in {copy / stem.partition('/')[0]} are not all .*verify"):
        generator.load()
    assert generator.state.status is Status.ERROR


def test_another_architecture_is_refused(make, copy):
    """A config that asks for more layers than there are weights is another model's."""
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"n_layers": 9}))
    with pytest.raises(ModelCorrupt, match="transformer are not all that its config"):
        make(lambda: copy).load()


def test_a_model_can_be_loaded_again(make, copy):
    """A repaired model loads in the same process, with the same identity."""
    generator = make(lambda: copy)
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    generator.identity()
    weights.write_bytes(whole[:-9])
    with pytest.raises(ModelCorrupt):
        generator.load()
    assert generator.state.status is Status.ERROR
    weights.write_bytes(whole)
    generator.load()
    assert generator.state.status is Status.HEALTHY


def fail_at(evaluation, times):
    """Run out of memory at one evaluation, the first so many times it is reached."""
    left = [times]

    def on_step(step):
        if step.evaluation == evaluation and left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    return on_step


@pytest.mark.parametrize("evaluation", [0, 1, 2])
def test_out_of_memory_is_drawn_by_a_smaller_plan_under_its_own_identity(make, evaluation):
    """At whatever step: the picture comes, warned, named after the plan that drew it, and is looked up there now."""
    generator = make()
    usual = draw(generator)
    drawing = generator.generate(QUICK, fail_at(evaluation, times=1), lambda: False)
    smaller = replace(generator.identity(), precision="float32+vae-tiling")
    assert drawing.identity == smaller
    assert str(drawing.warnings[0]).startswith("memory: drawn as float32+vae-tiling")
    assert np.array_equal(drawing.pixels, usual.pixels)  # one tile: as good as none
    assert generator.identities(QUICK) == (smaller, generator.identity())
    assert generator.identities(replace(QUICK, width=128)) == (generator.identity(),)
    assert draw(generator).identity == smaller
    assert draw(generator, replace(QUICK, width=128)).identity == generator.identity()
    assert generator.state.status is Status.HEALTHY


def test_out_of_memory_twice_is_an_error_and_no_end(make):
    """The second failure is an error with a size that fits; the generator still draws the usual bits afterwards."""
    generator = make()
    before = draw(generator, replace(QUICK, width=128))
    with pytest.raises(OutOfMemory, match=r"^cpu: too little memory for 128x64 as float32\+vae-tiling; try half of it"):
        generator.generate(replace(QUICK, width=128, seed=2), fail_at(1, times=2), lambda: False)
    assert generator.state.status is Status.HEALTHY
    after = draw(generator, replace(QUICK, width=128))
    assert np.array_equal(after.pixels, before.pixels)
    assert (after.identity, after.warnings) == (before.identity, ())


def test_what_ran_out_of_memory_unloads_and_wakes(make):
    """After trouble the memory can be given back, and the next picture loads and has the usual bits."""
    generator = make()
    before = draw(generator)
    with pytest.raises(OutOfMemory):
        generator.generate(QUICK, fail_at(1, times=2), lambda: False)
    generator.unload()
    assert generator.state.status is Status.SLEEPING
    assert np.array_equal(draw(generator).pixels, before.pixels)


def test_attention_and_compilation_are_in_the_runtime(make):
    """As the contract spells it; the default backend is called sdpa whatever it was asked by."""
    assert make(device=H200, attention="native").identity() == make(device=H200).identity()
    assert make(device=H200, attention="_flash_3").identity().runtime.endswith(" cuda-sm_90 _flash_3")
    assert make(device=H200, compiled=True).identity().runtime.endswith(" cuda-sm_90 sdpa+compile")
    assert make(device=H200, compiled=True, identity_mode="portable").identity().runtime == "diffusers"


def test_the_plan_is_reported_with_its_reason(make, caplog):
    """One line at the start says how the model will be laid out and why."""
    caplog.set_level("INFO")
    make(device=H200)
    assert "plan NVIDIA H200: bfloat16, offload none (a small model)" in caplog.text


def test_a_plan_that_cannot_be_is_refused_at_once(make):
    """An offload without a device is a setting's fault, found before anything loads."""
    with pytest.raises(SettingsError, match=r"^offload: "):
        make(offload="model")


def test_a_card_that_broke_says_so_and_may_come_back(make, monkeypatch):
    """Broken while drawing: the state is an error with a remedy, the weights are let go, and the next ask loads."""
    generator = make()
    undisturbed = draw(generator)
    unloaded, unload = [], LoadedPipeline.unload

    def noted(loaded):
        unloaded.append(loaded)
        unload(loaded)

    monkeypatch.setattr(LoadedPipeline, "unload", noted)
    with monkeypatch.context() as device:

        def fail(*_args, **_options):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

        def fall(_step):
            device.setattr(torch, "ones", fail)  # a device that failed is known by not being able to add any more
            fail()

        with pytest.raises(DeviceFailed):
            generator.generate(QUICK, fall, lambda: False)
    assert generator.state.status is Status.ERROR
    assert "the device failed" in str(generator.state.detail)
    assert len(unloaded) == 1
    assert np.array_equal(draw(generator).pixels, undisturbed.pixels)
    assert generator.state.status is Status.HEALTHY


def test_a_card_that_refuses_its_memory_back_is_unloaded(make, monkeypatch, caplog):
    """What a broken device answers while it is unloaded is logged; the generator sleeps, and can be loaded again."""
    generator = make()
    generator.load()

    def refuse(_pipeline):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(LoadedPipeline, "unload", refuse)
    generator.unload()
    assert generator.state.status is Status.SLEEPING
    assert "illegal memory access" in caplog.text
    generator.load()
    assert generator.state.status is Status.HEALTHY
