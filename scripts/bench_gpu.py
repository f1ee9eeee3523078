"""Measures seconds and memory of a picture on this device, and compares with diffusers alone.

The exact command, on a CUDA machine with 64 GB of free disk and 32 GB of main memory:

    python scripts/bench_gpu.py --budget 340

There it builds the full-size architecture from its published configuration with random bfloat16 weights: speed and
memory are as with the real weights, the pictures are noise. On a CPU it runs the embedded demo model, so that tests
can run this script. Prints Markdown tables for `docs/benchmarks.md`, the most important first; rows that do not fit
into the budget (seconds, including the building of the weights) are named at the end:

1. seconds a step and a picture at the model's own size: bare `pipe(...)`, then ours with a new and with a known prompt,
   in turns;
2. peak memory and seconds by plan;
3. a new process from its start to the first picture, and a cached picture from the request to its first byte;
4. compiled blocks and other attention backends;
5. table 1 for other sizes.

After each row of 2 and 4 one picture is drawn again as at the start: the column "bits" shows whether it is still the
same.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import logging
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.environment import ignore_what_changes_pixels
from zimage_cache.errors import ZImageError
from zimage_cache.generator.device import CPU, Device, find_device
from zimage_cache.generator.pipeline import Engine, LoadedPipeline
from zimage_cache.generator.plan import DevicePlan, Offload, make_plan
from zimage_cache.generator.protocol import Step
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.history import History
from zimage_cache.models.profiles import DEMO, TURBO
from zimage_cache.models.store import demo_folder
from zimage_cache.request import ImageRequest, ModelProfile, Recipe
from zimage_cache.service.service import ImageService

# The published configurations (several public copies agree); only what differs from the classes' defaults.
FULL: Final[dict[str, dict[str, Any]]] = {
    "transformer": {
        "dim": 3840,
        "n_layers": 30,
        "n_refiner_layers": 2,
        "n_heads": 30,
        "n_kv_heads": 30,
        "cap_feat_dim": 2560,
        "axes_dims": [32, 48, 48],
        "axes_lens": [1536, 512, 512],
    },
    "text_encoder": {
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 16,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
}
PROMPT: Final = (
    "Portrait of an old fisherman on a wooden pier before dawn, weathered face lit by a lantern from the left, thick "
    "woollen sweater, gulls above the masts behind him, soft mist over the water, 85 mm, shallow depth of field"
)
BACKENDS: Final = ("_native_flash", "_native_cudnn", "flash", "_flash_3", "sage")


@dataclass(frozen=True)
class Bench:
    """The parameters of a run: weights, device, sizes, repetitions and deadline."""

    folder: Path
    device: Device
    profile: ModelProfile
    sides: tuple[int, ...]
    rounds: int
    deadline: float = math.inf  # as `time.monotonic()` counts
    left_out: list[str] = field(default_factory=list)

    def reaches(self, row: str, seconds: float) -> bool:
        """Return whether *row*, which takes about *seconds*, fits into the budget; if not, record it as missing."""
        fits = time.monotonic() + seconds < self.deadline
        if not fits:
            self.left_out.append(row)
        return fits

    @property
    def plan(self) -> DevicePlan:
        """The plan that the server would make here."""
        return make_plan(self.device, weights_bytes=self.profile.weights_bytes)

    def recipe(self, side: int, prompt: str = PROMPT) -> Recipe:
        """Return the recipe of a typical request."""
        return Recipe(
            prompt=prompt,
            width=side,
            height=side,
            steps=self.profile.steps,
            guidance_scale=0.0,
            seed=1,
        )


@dataclass(frozen=True)
class Cost:
    """Seconds a picture and a step, the most bytes of the device in use (0 on a CPU), and a digest of the pixels."""

    picture: float
    step: float
    peak: int
    digest: str


def main() -> None:
    """Measure everything, or with --first run as the new process that draws one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="weights built before, or where to keep them")
    parser.add_argument("--sides", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds; leaves out what does not fit")
    parser.add_argument("--first", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    deadline = time.monotonic() + options.budget
    logging.basicConfig(level=logging.ERROR)
    ignore_what_changes_pixels()
    device = find_device(options.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.first or weights(device, options.folder or Path(scratch) / "model")
        profile = DEMO if device == CPU else TURBO
        sides = tuple(options.sides or ((128, 64, 256) if device == CPU else (1024, 512, 2048)))
        bench = Bench(folder, device, profile, sides, options.rounds, deadline)
        if options.first:
            first_picture(bench, Path(scratch))
        else:
            report(bench, Path(scratch))


def report(bench: Bench, scratch: Path) -> None:
    """Print all tables for which there is time."""
    model = "embedded demo model" if bench.device == CPU else "full-size architecture, random bfloat16 weights"
    print(f"### {bench.device.name}, {datetime.now(UTC):%Y-%m-%d}\n")
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"{model}; {versions}; {bench.profile.steps} steps, guidance 0, seconds, median of {bench.rounds}\n")
    against_bare(bench, bench.sides[:1])
    plans(bench)
    new_process(bench)
    asyncio.run(cached(bench, scratch))
    engines(bench)
    against_bare(bench, bench.sides[1:])
    if bench.left_out:
        print(f"\nNo time was left for: {', '.join(bench.left_out)}.")


def head(*names: str) -> None:
    """Print a table's head."""
    print()
    row(*names)
    row(*["---"] * len(names))


def row(*cells: str) -> None:
    """Print a table's row."""
    print("| " + " | ".join(cells) + " |", flush=True)


def against_bare(bench: Bench, sides: Sequence[int]) -> None:
    """Compare with diffusers alone, alternating after every picture, so that both have the same GPU clocks."""
    head("size", "bare pipe(...)", "new prompt", "known prompt", "s/step", "overhead")
    loaded = LoadedPipeline(bench.folder, bench.device, bench.plan)
    bare = bare_pipeline(loaded)
    for side in sides:
        if bench.reaches(f"{side}² against bare", 3 * timed_bare(bare, bench.recipe(side)) * (bench.rounds + 1)):
            row(f"{side}²", *turns(bench, loaded, bare, side))
    del bare
    loaded.unload()


def turns(bench: Bench, loaded: LoadedPipeline, bare: ZImagePipeline, side: int) -> list[str]:
    """Draw in turns, after one turn to warm up; returns the medians as cells."""
    known, times = bench.recipe(side), []
    for turn in range(-1, bench.rounds):
        new = bench.recipe(side, f"{PROMPT}, {side}, take {turn}")
        times.append((timed_bare(bare, known), cost(loaded, new).picture, cost(loaded, known).picture))
    bare_s, new_s, known_s = (statistics.median(column) for column in zip(*times[1:], strict=True))
    step = cost(loaded, known).step
    return [*(f"{s:.3f}" for s in (bare_s, new_s, known_s)), f"{step:.4f}", f"{new_s / bare_s - 1:+.1%}"]


def bare_pipeline(loaded: LoadedPipeline) -> ZImagePipeline:
    """Return diffusers' pipeline with the same weights as *loaded*."""
    parts = loaded._pipeline.components  # noqa: SLF001 - the same weights, for a fair comparison and half the memory
    text_encoder = loaded._reader.text_encoder  # noqa: SLF001 - likewise
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    bare = ZImagePipeline(**parts | {"text_encoder": text_encoder, "scheduler": scheduler})
    bare.set_progress_bar_config(disable=True)
    return bare


def timed_bare(bare: ZImagePipeline, recipe: Recipe) -> float:
    """Return the seconds of one picture, up to pixels in main memory."""
    wait()
    started = time.perf_counter()
    bare(
        recipe.prompt,
        height=recipe.height,
        width=recipe.width,
        num_inference_steps=recipe.steps,
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(recipe.seed),
        output_type="np",
    )
    return time.perf_counter() - started


def cost(loaded: LoadedPipeline, recipe: Recipe, plan: DevicePlan | None = None) -> Cost:
    """Draw once and measure."""
    times: list[float] = []

    def on_step(_step: Step) -> None:
        times.append(time.perf_counter())

    wait()
    if torch.cuda.is_available():
        gc.collect()  # frees weights of earlier rows that are kept by reference cycles
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    picture = loaded.draw(recipe, on_step, lambda: False, plan)
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    digest = hashlib.sha256(picture.pixels.tobytes()).hexdigest()
    return Cost(seconds, (times[-1] - times[0]) / recipe.evaluations, peak, digest)


def plans(bench: Bench) -> None:
    """Measure the peak memory of each plan."""
    head("plan", "offload", "s/picture", "peak GB on the device", "bits")
    dtype, recipe = bench.plan.dtype, bench.recipe(bench.profile.width)
    wanted = [DevicePlan(dtype, offload, vae_tiling=tiling) for tiling in (False, True) for offload in Offload]
    if int8_is_here():
        wanted += [DevicePlan(dtype, offload, int8=True, vae_tiling=True) for offload in (Offload.MODEL, Offload.GROUP)]
    first: dict[str, str] = {}
    seconds = 0.0
    for plan in wanted:
        if not bench.reaches(f"plan {plan.precision} {plan.offload}", seconds):
            continue
        started = time.monotonic()
        loaded = LoadedPipeline(bench.folder, bench.device, plan)
        read, drawn = cost(loaded, recipe), cost(loaded, recipe)
        peak = f"{max(read.peak, drawn.peak) / 1e9:.1f}" if drawn.peak else "-"
        bits = same(first.setdefault(plan.precision, read.digest), read.digest, drawn.digest)
        row(plan.precision, plan.offload, f"{drawn.picture:.3f}", peak, bits)
        loaded.unload()
        seconds = time.monotonic() - started


def same(*digests: str) -> str:
    """Return whether all digests are equal, as text."""
    return "same" if len(set(digests)) == 1 else "DIFFERENT"


def engines(bench: Bench) -> None:
    """Measure compiled blocks and the available attention backends, each with a newly loaded pipeline."""
    head("engine", "size", "s/picture", "s/step", "first picture, with compilation", "bits, and then eager again")
    side, seconds = bench.sides[0], 0.0
    wanted = {"sdpa, eager": Engine(), "sdpa, compiled": Engine(compiled=True)}
    wanted |= {backend: Engine(attention=backend) for backend in BACKENDS}
    eager = digest_of(bench, side)
    for name, engine in wanted.items():
        if not bench.reaches(name, seconds):
            continue
        started = time.monotonic()
        try:
            cells = engine_cells(bench, engine, side)
        except ZImageError as error:
            cells = ["-", "-", f"not here: {str(error).splitlines()[0][:90]}", "-"]
        torch.compiler.reset()
        row(name, f"{side}²", *cells[:-1], f"{cells[-1]}, {same(eager, digest_of(bench, side))}")
        seconds = time.monotonic() - started


def engine_cells(bench: Bench, engine: Engine, side: int) -> list[str]:
    """Measure one engine: medians, its first picture, and whether all its pictures were the same."""
    loaded = LoadedPipeline(bench.folder, bench.device, bench.plan, engine)
    first, *costs = (cost(loaded, bench.recipe(side)) for _ in range(bench.rounds + 1))
    picture, step = (statistics.median(getattr(c, part) for c in costs) for part in ("picture", "step"))
    loaded.unload()
    bits = same(first.digest, *(c.digest for c in costs))
    return [f"{picture:.3f}", f"{step:.4f}", f"{first.picture:.2f}", bits]


def digest_of(bench: Bench, side: int) -> str:
    """Draw one picture with a newly loaded pipeline with the server's defaults."""
    loaded = LoadedPipeline(bench.folder, bench.device, bench.plan)
    digest = cost(loaded, bench.recipe(side)).digest
    loaded.unload()
    return digest


def int8_is_here() -> bool:
    """Return whether the extra for 8-bit weights is installed."""
    try:
        make_plan(CPU, "int8")
    except ZImageError:
        return False
    return True


def new_process(bench: Bench) -> None:
    """Time a process from its start to its first picture, imports, hashing and weights included."""
    head("from", "to", "seconds")
    memo_of(bench.folder).unlink(missing_ok=True)
    command = [sys.executable, __file__, "--device", bench.device.torch_name, "--first", str(bench.folder)]
    seconds = 0.0
    for name in ("first start, hashing the files", "later start"):
        if not bench.reaches(name, seconds):
            continue
        started = time.perf_counter()
        with subprocess.Popen([*command], stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline() if process.stdout else ""
            seconds = time.perf_counter() - started
        if process.returncode or not line:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        row(name, "first picture", f"{seconds:.1f} (of it {json.loads(line)['loading']:.1f} loading)")


def memo_of(folder: Path) -> Path:
    """Return the file that keeps the hashes of these weights between two starts."""
    return folder.with_name(f"{folder.name}.hashes.json")


def first_picture(bench: Bench, scratch: Path) -> None:
    """Draw one picture as the server would, and print how long loading took."""
    memo = scratch / "hashes.json" if bench.device == CPU else memo_of(bench.folder)
    generator = ZImageGenerator(
        bench.profile, lambda: bench.folder, model=bench.profile.name, device=bench.device, memo=memo
    )
    started = time.perf_counter()
    generator.load()
    loading = time.perf_counter() - started
    generator.generate(bench.recipe(bench.profile.width), lambda _step: None, lambda: False)
    print(json.dumps({"loading": loading}), flush=True)


async def cached(bench: Bench, scratch: Path) -> None:
    """Time a stored picture over HTTP: from memory, and from disk with an empty memory tier, as in a new process."""
    memo = scratch / "hashes.json"
    for tier, memory in (("memory", 2**28), ("disk", 0)):
        generator = ZImageGenerator(
            bench.profile, lambda: bench.folder, model=bench.profile.name, device=bench.device, memo=memo
        )
        cache = ResultCache(MemoryTier(memory), DiskTier(scratch / "cache", max_bytes=0))
        service = ImageService({bench.profile.name: generator}, cache, History(scratch / "output_image"))
        cache.start()
        service.start()
        ask = ImageRequest(prompt=PROMPT, seed=1)
        [outcome] = await service.render(ask)
        await asyncio.to_thread(until_stored, cache, outcome.name)
        with serving(service) as get:
            times = [await asyncio.to_thread(get) for _ in range(20)]
        row(f"cached in {tier}: request", "first byte of the picture", f"{statistics.median(times):.4f}")
        service.close()
        generator.unload()
        cache.close()


def until_stored(cache: ResultCache, key: str) -> None:
    """Wait until a picture is stored, which happens after the answer."""
    while cache.peek(key) is None:
        time.sleep(0.01)


@contextmanager
def serving(service: ImageService) -> Iterator[Callable[[], float]]:
    """Serve *service* in a thread; yield a function that requests the PNG and returns the seconds to its first byte."""
    import http.client  # noqa: PLC0415 - only for this table, like those below
    import threading  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415

    from zimage_cache.compose import listen  # noqa: PLC0415
    from zimage_cache.web.api.generate import add_api  # noqa: PLC0415
    from zimage_cache.web.middleware import Guard  # noqa: PLC0415

    app = FastAPI()
    add_api(app, service, private=False)
    app.add_middleware(Guard, checks=[])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=60)
    body = json.dumps({"prompt": PROMPT, "seed": 1, "cache": "only"}).encode()

    def get() -> float:
        started = time.perf_counter()
        connection.request("POST", "/generate", body, {"Content-Type": "application/json", "Accept": "image/png"})
        answer = connection.getresponse()
        answer.read(1)
        seconds = time.perf_counter() - started
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"the cached picture was not: {answer.status}")
        return seconds

    try:
        yield get
    finally:
        connection.close()
        server.should_exit = True
        thread.join(30)
        listening.close()


def weights(device: Device, folder: Path) -> Path:
    """Return a folder of weights: on a CPU the demo's, else the full-size model's, built in *folder* if need be."""
    if device == CPU:
        return demo_folder()
    if not (folder / "model_index.json").exists():
        print(f"building random weights in {folder} …", file=sys.stderr)
        build(folder, FULL, torch.device(device.torch_name), torch.bfloat16)
    return folder


def build(folder: Path, configs: dict[str, dict[str, Any]], device: torch.device, dtype: torch.dtype) -> None:
    """Write a model of these configurations with random weights, in the layout of the published one."""
    tokenizer = AutoTokenizer.from_pretrained(demo_folder() / "tokenizer", local_files_only=True)
    with torch.device(device):
        text_encoder = Qwen3Model(Qwen3Config(**configs["text_encoder"]))
        transformer = ZImageTransformer2DModel(**configs["transformer"])
        vae = AutoencoderKL(**configs["vae"])
    for model in (text_encoder, transformer, vae):
        torch.nn.Module.to(model, dtype)
    randomise(text_encoder.parameters(), transformer.parameters())
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    pipeline = ZImagePipeline(scheduler, vae, text_encoder, tokenizer, transformer)
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="10GB")


@torch.no_grad()
def randomise(*parameters: Iterable[torch.nn.Parameter]) -> None:
    """Fill matrices so that activations stay finite through all layers; some of them are uninitialised before."""
    for group in parameters:
        for parameter in group:
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02)


def wait() -> None:
    """Wait until the device is idle, before a time measurement."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
