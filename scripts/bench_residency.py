"""Measures the memory that loading takes and unloading frees, with a random-weight pipeline of about 1 GB.

    python scripts/bench_residency.py [--gigabytes 1.0] [--rounds 3] [--precision bfloat16]

The pipeline has the real classes and the demo's tokenizer; its weights are random, so the memory is realistic and the
pictures are noise. Prints a table of resident memory (RSS; on a GPU also torch's memory there) before a load, after it,
and after `unload`, for several rounds: memory that is not freed would add up.
"""

import argparse
import gc
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path

import diffusers
import psutil
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from zimage_cache.generator.device import find_device
from zimage_cache.generator.residency import Residency
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.models.profiles import DEMO
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Recipe

MIB = 2**20


def build(folder: Path, gigabytes: float) -> None:
    """Save a pipeline of about *gigabytes* of float32 weights, nearly all of them in the transformer."""
    tokenizer = AutoTokenizer.from_pretrained(demo_folder() / "tokenizer")
    dim, text = 1024, 128
    layers = max(1, round((gigabytes * 1e9 / 4 - 28e6) / 13.6e6))
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=dim,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=8,
        n_kv_heads=8,
        cap_feat_dim=text,
        axes_dims=[32, 48, 48],
        axes_lens=[1024, 512, 512],
    )
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=text,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    ZImagePipeline(scheduler, vae, encoder, tokenizer, transformer).save_pretrained(folder)


def resident() -> float:
    """Return this process's resident memory in MiB."""
    gc.collect()
    return float(psutil.Process().memory_info().rss / MIB)


def allocated() -> float:
    """Return torch's memory on the GPU in MiB, including reserved memory."""
    return torch.cuda.memory_reserved() / MIB if torch.cuda.is_available() else 0.0


def main() -> None:
    """Build, then load, draw and unload, round after round."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="zimage-residency-"))
    try:
        # In a separate process, so that the memory of building is not counted as that of loading.
        building = multiprocessing.get_context("spawn").Process(target=build, args=(place / "model", options.gigabytes))
        building.start()
        building.join()
        measure(place, options.rounds, options.precision)
    finally:
        shutil.rmtree(place)


def measure(place: Path, rounds: int, precision: str) -> None:
    """Print one line a round."""
    weights = sum(path.stat().st_size for path in (place / "model").rglob("*.safetensors")) / MIB
    device = find_device()
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"{weights:.0f} MiB of float32 weights, loaded as {precision}, {device.name}, {versions}")
    generator = ZImageGenerator(
        DEMO, lambda: place / "model", model="noise", device=device, memo=place / "memo.json", precision=precision
    )
    model = Residency(1).add(generator)
    recipe = Recipe(
        prompt="noise",
        width=128,
        height=128,
        steps=1,
        guidance_scale=0.0,
        seed=1,
    )
    print(f"{'round':>5} {'before':>8} {'loaded':>8} {'drawn':>8} {'freed':>8}  MiB RSS (GPU)   load s")
    for number in range(1, rounds + 1):
        seen = [(resident(), allocated())]
        started = time.perf_counter()
        model.load()
        seconds = time.perf_counter() - started
        seen.append((resident(), allocated()))
        model.generate(recipe, lambda _step: None, lambda: False)
        seen.append((resident(), allocated()))
        model.unload()
        seen.append((resident(), allocated()))
        cells = " ".join(f"{main:8.0f}" + (f" ({gpu:.0f})" if gpu else "") for main, gpu in seen)
        print(f"{number:>5} {cells}  {seconds:21.2f}")


if __name__ == "__main__":
    main()
