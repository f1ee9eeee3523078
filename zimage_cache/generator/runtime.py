"""The `runtime` of an identity: what draws, as far as it can change a pixel and is not pinned by `numerics`.

Imports none of the libraries that draw: keys are needed before they are loaded.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import Requirement

from zimage_cache.generator.device import Device
from zimage_cache.generator.processor import Processor

_log = logging.getLogger(__name__)
# Keys of the first versions of this program do not name these; later ones name what differs. Never to be changed.
_UNNAMED: Final = frozenset(
    {"transformers-5.23.0", "torchao-0.18.0", "torch+cpu", "x86_64", "AMD64", "avx512", "2-threads"}
)
# Packages with attention backends, by the first part that a backend's name has; the rest is in torch. `kernels`
# downloads those named "hub" in the version that diffusers asks for.
_ATTENTION_PACKAGES: Final = {
    "native": None,
    "hub": "kernels",
    "flash_3": "flash_attn_3",
    "flash_varlen_3": "flash_attn_3",
    "flash": "flash_attn",
    "sage": "sageattention",
    "xformers": "xformers",
}
# What torch for CUDA requires in one version, and computes with.
_CUDA_PACKAGES: Final = re.compile(r"(?:nvidia|cuda|triton)\b.*", re.ASCII)
# Variables that choose the instructions of the CPU, which draws the noise for every device. A machine may need them.
NAMED: Final = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
# Variables that change how libraries compute, and that no machine needs.
IGNORED: Final = re.compile(
    r"""NVIDIA_TF32_OVERRIDE | TORCH_ALLOW_TF32_CUBLAS_OVERRIDE | (?:ONEDNN|DNNL)_DEFAULT_FPMATH_MODE
    | (?:CUBLAS|CUBLASLT|CUDNN)_(?!LIBRARY|LOG)\w+ | CUDA_FORCE_PTX_JIT | DISABLE_ADDMM_CUDA_LT
    | TORCH_(?:BLAS|LINALG)_PREFER_\w+ | TORCH_(?:CUBLASLT|CUDNN|MKLDNN)_\w+ | TORCH_LINEAR_FLATTEN_3D
    | TORCH_DISABLE_NATIVE_JIT | TORCH_NATIVE_SKIP_VERSION_CHECK | PYTORCH_TUNABLEOP_\w+
    | TORCHINDUCTOR_(?!CACHE_DIR|COMPILE_THREADS)\w+ | TORCHDYNAMO_\w+ | TRITON_(?:F32_DEFAULT|DEFAULT_FP_FUSION)
    | TORCH_PYTHON_NATIVE_USER_GRAPH_ORDER_FN | MKL_DISABLE_FAST_MM
    | DIFFUSERS_ATTN_\w+ | TRANSFORMERS_SDPA_\w+ | USE_HUB_KERNELS | FLASH_ATTENTION_\w+ | XFORMERS_\w+""",
    re.ASCII | re.VERBOSE,
)


def runtime_of(
    device: Device,
    processor: Processor,
    attention: str = "auto",
    *,
    compiled: bool = False,
    int8: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Return the `runtime` of pictures that *device* draws in this environment, with noise from *processor*.

    First the versions of diffusers and torch, without their local suffix, the device class, and the attention backend:
    "diffusers-0.42.1 torch-2.13.0 cuda-sm_90 sdpa". Then everything else that differs from where the first keys were
    made: "transformers-5.24.0 aarch64 ATEN_CPU_CAPABILITY=avx2".
    """
    versions = [f"{name}-{version(name).partition('+')[0]}" for name in ("diffusers", "torch")]
    attention = "sdpa" if attention in {"auto", "native"} else attention
    rest = [*_packages(attention, int8=int8), processor.machine]
    if device.capability is None:
        rest += [processor.instructions, f"{processor.threads}-threads"]
    else:
        rest += _cuda_build()
    rest += [f"{name}={environ[name]}" for name in NAMED if environ.get(name)]
    return " ".join([*versions, device.device_class, attention + "+compile" * compiled, *_differing(rest)])


def _differing(parts: list[str]) -> Iterator[str]:
    return (part for part in parts if part and part not in _UNNAMED)


def ignore_switches(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove variables that would make libraries draw other pixels under the same keys; a line of the log names them.

    Before these libraries are imported, and while no other thread uses the environment.
    """
    if found := sorted(filter(IGNORED.fullmatch, environ)):
        for name in found:
            del environ[name]
        _log.warning("ignored, because they change pixels and no key names them: %s", ", ".join(found))


def _packages(attention: str, *, int8: bool) -> Iterator[str]:
    """Yield the packages that draw beside diffusers and torch, with their versions."""
    kernels = next((package for part, package in _ATTENTION_PACKAGES.items() if part in attention), None)
    for name in filter(None, ("transformers", kernels, "torchao" if int8 else None)):
        with suppress(PackageNotFoundError):
            yield f"{name}-{version(name)}"


def _cuda_build() -> Iterator[str]:
    """Yield the build of torch, where its wheel says one, and the CUDA packages of other versions than it requires."""
    _, plus, build = version("torch").partition("+")
    yield f"torch+{build}" if plus else ""
    for requirement in map(Requirement, requires("torch") or ()):
        used = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        with suppress(PackageNotFoundError):
            if used and _CUDA_PACKAGES.fullmatch(requirement.name):
                found = version(requirement.name)
                yield "" if requirement.specifier.contains(found, prereleases=True) else f"{requirement.name}-{found}"
