"""The `runtime` of an identity: what draws, as far as it can change a pixel and is not pinned by `numerics`.

Imports none of the libraries that draw: keys are needed before they are loaded.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import Requirement

from zimage_cache.generator.device import Device
from zimage_cache.generator.processor import Processor

# The versions with which the first keys were made, which do not name them. Never to be changed: later ones are named.
_FIRST_VERSIONS: Final = {"transformers": "5.23.0", "torchao": "0.18.0"}
# What torch for CUDA requires in one version, and computes with.
_CUDA_PACKAGES: Final = re.compile(r"(?:nvidia|cuda|triton)\b.*")
# Variables that choose the instructions of the CPU, or the assembler of kernels. A machine may need them.
NAMED: Final = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "TRITON_LIBDEVICE_PATH",
    "TRITON_PTXAS_PATH",
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
    used = "sdpa" if attention in {"auto", "native"} else attention
    on_cpu = device.capability is None
    rest = [
        *_packages(attention, int8=int8),
        *(processor.drawing_words if on_cpu else [*_cuda_build(), *processor.words]),
        *_chosen(processor, environ),
    ]
    return " ".join([*versions, device.device_class, used + "+compile" * compiled, *rest])


def _packages(attention: str, *, int8: bool) -> Iterator[str]:
    """Yield the packages that draw beside diffusers and torch, in other versions than the first."""
    for name in filter(None, ("transformers", _attention_package(attention), "torchao" if int8 else None)):
        with suppress(PackageNotFoundError):
            if (found := version(name)) != _FIRST_VERSIONS.get(name):
                yield f"{name}-{found}"


def _attention_package(attention: str) -> str | None:
    """Return the package of an attention backend of diffusers; None for those that are part of torch."""
    name = attention.lstrip("_")
    if name.endswith("_hub"):
        return "kernels"  # downloads the backend in the version that diffusers asks for
    if name.startswith("flash"):
        return "flash_attn_3" if name.endswith("_3") else "flash_attn"
    return next((package for package in ("sageattention", "xformers") if name.startswith(package[:4])), None)


def _cuda_build() -> Iterator[str]:
    """Yield the build of torch, where its wheel says one, and the CUDA packages that are not those it requires."""
    _, _, build = version("torch").partition("+")
    if build not in {"", "cpu"}:
        yield f"torch+{build}"
    yield from _other_than_required("torch", "")


def _other_than_required(package: str, extra: str) -> Iterator[str]:
    for requirement in map(Requirement, requires(package) or ()):
        used = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not used or not _CUDA_PACKAGES.fullmatch(requirement.name):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name}-none"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name}-{found}"
        for wanted in sorted(requirement.extras):
            yield from _other_than_required(requirement.name, wanted)


def _chosen(processor: Processor, environ: Mapping[str, str]) -> Iterator[str]:
    for name in NAMED:
        value = environ.get(name, "")
        if value and value.lower() != processor.kernels:
            yield f"{name}={value if name.endswith('_PATH') else value.lower()}"
