"""Pictures drawn in one process and audited in another: the same key must be the same pixels."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch.backends import cuda, cudnn, mkldnn

from tests.factories import recipe
from zimage_cache.compose import make_generator, open_cache
from zimage_cache.entry import Entry
from zimage_cache.metadata import png
from zimage_cache.settings import load

ROOT = Path(__file__).resolve().parents[1]
ZIMAGE = [sys.executable, "-c", "from zimage_cache.cli.main import main; main()"]
RECIPE = recipe(prompt="a large red circle on a blue background", width=128, height=128, steps=2)
# Each read by torch, its libraries, diffusers or transformers, on their import or later.
HOSTILE = MappingProxyType(
    {
        "CUBLASLT_WORKSPACE_SIZE": "64",
        "CUBLAS_WORKSPACE_CONFIG": ":16:8",
        "DIFFUSERS_ATTN_BACKEND": "_native_math",
        "DIFFUSERS_ATTN_CHECKS": "1",
        "DISABLE_ADDMM_CUDA_LT": "1",
        "DNNL_DEFAULT_FPMATH_MODE": "BF16",
        "MKL_DISABLE_FAST_MM": "1",
        "NVIDIA_TF32_OVERRIDE": "1",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "PYTORCH_TUNABLEOP_ENABLED": "1",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
        "TORCH_BLAS_PREFER_CUBLASLT": "1",
        "TORCH_CUDNN_SDPA_DEPRIORITIZED": "1",
        "TORCH_CUDNN_V8_API_DISABLED": "1",
        "TORCH_LINEAR_FLATTEN_3D": "1",
        "TORCH_MKLDNN_MATMUL_MIN_DIM": "1",
        "TRANSFORMERS_SDPA_FORCE_GQA": "1",
        "USE_HUB_KERNELS": "NO",
    }
)


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


def other(value: Any) -> object:
    """Return a value for a switch of torch that is pinned to *value*."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else OTHERS[value]


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


def workspace_with_a_picture(folder: Path, device: str) -> Path:
    """Return *folder* as a workspace with one picture, which the demo model has drawn in this process."""
    settings, _ = load({"workspace": folder, "model": "demo", "device": device})
    drawing = make_generator(settings).generate(RECIPE, lambda _step: None, lambda: False)
    cache = open_cache(settings)
    entry = Entry.of(
        png.encode(drawing.pixels, {}),
        recipe=RECIPE,
        identity=drawing.identity,
        created=datetime.now(UTC),
        gpu_seconds=drawing.gpu_seconds,
        request={"prompt": RECIPE.prompt, "seed": RECIPE.seed},
        versions=dict(drawing.versions),
    )
    assert cache.put(entry)
    cache.close()
    return settings.workspace


def audited(workspace: Path, device: str, variables: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Audit in a new process with *variables*; returns the document that it prints, and its log."""
    place = ["--workspace", str(workspace), "--model", "demo", "--device", device]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_")}
    command = [*ZIMAGE, "cache", "audit", "--json", *place]
    run = subprocess.run(command, cwd=ROOT, env=kept | dict(variables), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    return json.loads(run.stdout), run.stderr
