"""The benchmarks run with small parameters on any machine, so that changes which break them are noticed."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.factories import present
from zimage_cache.generator.device import CPU
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.plan import DevicePlan
from zimage_cache.models.profiles import DEMO

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = replace(DEMO, width=64, height=64, steps=2)
SMALL = {
    "transformer": {
        "dim": 64,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 64,
        "axes_dims": [8, 12, 12],
        "axes_lens": [1536, 512, 512],
    },
    "text_encoder": {
        "vocab_size": 2048,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "tie_word_embeddings": True,
    },
}


@pytest.fixture
def gpu():
    """The script as a module; its imports cost nothing here, torch is loaded already."""
    spec = present(importlib.util.spec_from_file_location("bench_gpu", SCRIPTS / "bench_gpu.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_gpu"] = module
    present(spec.loader).exec_module(module)
    return module


def test_the_gpu_benchmark_runs_without_one(gpu, tmp_path, capsys, monkeypatch):
    """On a CPU it measures the demo model and prints every table."""
    monkeypatch.setattr(gpu, "BACKENDS", ("_native_math",))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _module, **_options: None)
    bench = gpu.Bench(gpu.weights(CPU, tmp_path), CPU, TINY, sides=(64, 80), rounds=1)
    gpu.report(bench, tmp_path)
    told = capsys.readouterr().out
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[0][0] == "| size"
    assert re.fullmatch(r"\| 64²", rows[1][0])
    assert all(float(seconds) > 0 for seconds in rows[1][1:5])
    assert [row[0] for row in rows[3:9]] == ["| float32"] * 3 + ["| float32+vae-tiling"] * 3
    assert all(row[-1] == "same |" for row in rows[3:9])
    assert [row[0] for row in rows[10:14]] == [
        "| first start, hashing the files",
        "| later start",
        "| cached in memory: request",
        "| cached in disk: request",
    ]
    assert [row[0] for row in rows[15:18]] == ["| sdpa, eager", "| sdpa, compiled", "| _native_math"]
    assert rows[-1][0] == "| 80²"
    assert "No time was left" not in told


def test_a_budget_leaves_out_what_does_not_fit_and_says_so(gpu, tmp_path, capsys):
    """With no time at all, each row is named as missing, and none is measured."""
    bench = gpu.Bench(gpu.weights(CPU, tmp_path), CPU, TINY, sides=(64,), rounds=1, deadline=0)
    gpu.against_bare(bench, bench.sides)
    gpu.plans(bench)
    gpu.new_process(bench)
    gpu.engines(bench)
    assert capsys.readouterr().out.count("\n| ") == 4 * 2
    assert bench.left_out[0] == "64² against bare"
    assert {"plan float32 none", "later start", "sdpa, compiled"} < set(bench.left_out)


def test_another_engine_is_measured_or_its_absence_reported(gpu, tmp_path, capsys, monkeypatch):
    """A backend that is not here costs a row that says so, never the run."""
    monkeypatch.setattr(gpu, "BACKENDS", ("_native_math", "no_such"))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _module, **_options: None)
    gpu.engines(gpu.Bench(gpu.weights(CPU, tmp_path), CPU, TINY, sides=(64,), rounds=1))
    rows = capsys.readouterr().out.splitlines()[3:]
    assert [row.split(" | ")[0] for row in rows] == ["| sdpa, eager", "| sdpa, compiled", "| _native_math", "| no_such"]
    assert all(row.endswith("same, same |") for row in rows[:3])
    assert "not here: attention: 'no_such'" in rows[-1]


def test_random_weights_load_and_draw(gpu, tmp_path):
    """What it builds for a card has the published layout, and draws finite pixels in bfloat16."""
    vae = gpu.FULL["vae"] | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    gpu.build(tmp_path / "model", SMALL | {"vae": vae}, torch.device("cpu"), torch.bfloat16)
    loaded = LoadedPipeline(tmp_path / "model", CPU, DevicePlan("bfloat16"))
    bench = gpu.Bench(tmp_path / "model", CPU, TINY, sides=(64,), rounds=1)
    pixels = loaded.draw(bench.recipe(64), lambda _step: None, lambda: False).pixels
    assert pixels.shape == (64, 64, 3)
    assert len(np.unique(pixels)) > 10


def test_the_full_size_is_the_published_one(gpu):
    """Counted on no memory at all: the parameters of the real transformer, text encoder and decoder, exactly."""
    with torch.device("meta"):
        models = (
            gpu.ZImageTransformer2DModel(**gpu.FULL["transformer"]),
            gpu.Qwen3Model(gpu.Qwen3Config(**gpu.FULL["text_encoder"])),
            gpu.AutoencoderKL(**gpu.FULL["vae"]),
        )
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert counts == [6_154_908_736, 4_022_468_096, 83_819_683]


def test_the_generator_benchmark_runs():
    """With small parameters it prints the rate, the share of the limit, and where the worker waited."""
    script = [sys.executable, str(SCRIPTS / "bench_generator.py")]
    small = ["--pictures", "4", "--seconds", "0.05", "--side", "64", "--at-least", "0"]
    told = subprocess.run([*script, *small], capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.search(r"pictures a second, [\d.]+% of the limit of 20\n", told)
    assert re.search(r"the worker waited [\d.-]+ s for the interpreter lock, [\d.]+ s for an encoder", told)
