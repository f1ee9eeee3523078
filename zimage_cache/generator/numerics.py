"""Pins the switches of torch that can change a pixel, whatever the environment and other code in the process set.

Most of them belong to the whole process, and no key names them. `tests/data/switches.toml` lists the switches of torch,
diffusers and transformers that were looked at, and says why the others are not pinned.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final

import torch
from torch.backends import cuda
from torch.cuda import tunable
from torch.nn.functional import scaled_dot_product_attention

_log = logging.getLogger(__name__)
# Attributes in `torch.backends`, with torch's defaults, also where these are "none" and "tf32". One is no default:
# without `deterministic`, some of cuDNN's convolutions compute other values each time.
_ATTRIBUTES: Final[dict[str, object]] = {
    "fp32_precision": "none",
    "cuda.matmul.fp32_precision": "ieee",
    "cuda.matmul.allow_fp16_accumulation": False,
    "cudnn.enabled": True,
    "cudnn.benchmark": False,
    "cudnn.deterministic": True,
    "cudnn.depthwise_kernel": "auto",
    "cudnn.fp32_precision": "none",
    "cudnn.conv.fp32_precision": "tf32",
    "cudnn.rnn.fp32_precision": "tf32",
    "mkldnn.enabled": True,
    "mkldnn.deterministic": False,
    "mkldnn.fp32_precision": "none",
    "mkldnn.matmul.fp32_precision": "ieee",
    "mkldnn.conv.fp32_precision": "ieee",
    "mkldnn.rnn.fp32_precision": "ieee",
    "python_native.cutedsl.enabled": False,
}
# Functions of `torch._C` that read and write a switch for which torch has no public ones.
_PRIVATE: Final[dict[tuple[str, str], object]] = {
    ("_get_nnpack_enabled", "_set_nnpack_enabled"): True,
    ("_get_fa3_sdp_enabled", "_set_sdp_use_fa3"): False,
    ("_get_overrideable_sdp_enabled", "_set_sdp_use_overrideable"): True,
    ("_get_sm_carveout_experimental", "_set_sm_carveout_experimental"): None,
    ("_get_cpu_allow_fp16_reduced_precision_reduction", "_set_cpu_allow_fp16_reduced_precision_reduction"): False,
}
# Orders of torch's attention kernels: it chooses between the two by the GPU and cuDNN, when it first needs a kernel.
_SDP_ORDERS: Final = ((1, 2, 0, 3), (3, 1, 2, 0))


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of torch, and the value to draw with."""

    name: str
    read: Callable[[], object]
    write: Callable[[Any], object]
    value: object


class Pins:
    """The switches of torch, pinned. For the thread that draws on *device*: some switches belong to a thread.

    *threads* of the CPU share its work.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._switches = [
            *switches(device),
            Switch("num_threads", torch.get_num_threads, torch.set_num_threads, threads),
        ]
        self._pin()
        # Not the values that were written: torch reads some of them back in another form.
        self._pinned = self._values()

    def hold(self) -> None:
        """Pin the switches again where one has another value than after pinning, and log which."""
        found = self._values()
        if found == self._pinned:
            return
        compared = zip(self._switches, self._pinned, found, strict=True)
        changed = ", ".join(switch.name for switch, pinned, value in compared if value != pinned)
        _log.warning("other code in this process had changed %s of torch, which changes pixels: set back", changed)
        self._pin()

    def _pin(self) -> None:
        for switch in self._switches:
            switch.write(switch.value)

    def _values(self) -> list[object]:
        return [_value(switch) for switch in self._switches]


def switches(device: torch.device) -> Iterator[Switch]:
    """Yield the switches that this version of torch has, in the order in which they are to be written."""
    # First, because it writes others of them.
    yield Switch(
        "float32_matmul_precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
    )
    for name, value in _ATTRIBUTES.items():
        owner, _, attribute = f"backends.{name}".rpartition(".")
        yield from _attribute(owner, attribute, value)
    for (read, write), value in _PRIVATE.items():
        if hasattr(torch._C, write):  # noqa: SLF001 - see above
            yield Switch(write.removeprefix("_set_"), *attrgetter(read, write)(torch._C), value)  # noqa: SLF001
    for half in ("fp16", "bf16"):
        name = f"allow_{half}_reduced_precision_reduction"
        # Not the attribute, which leaves out whether sums may be split.
        read_both = getattr(torch._C, f"_get_cublas_{name}")  # noqa: SLF001
        yield Switch(f"cuda.matmul.{name}", read_both, partial(setattr, cuda.matmul, name), value=True)
    for kind in ("cpu", "cuda"):
        on_kind = partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind)
        yield Switch(f"autocast {kind}", *on_kind, value=False)
    yield Switch(
        "deterministic_algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
        value=False,
    )
    yield Switch("flash_sdp", cuda.flash_sdp_enabled, cuda.enable_flash_sdp, value=True)
    yield Switch("mem_efficient_sdp", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, value=True)
    yield Switch("math_sdp", cuda.math_sdp_enabled, cuda.enable_math_sdp, value=True)
    yield Switch("cudnn_sdp", cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, value=True)
    yield Switch(
        "fp16_bf16_reduction_math_sdp",
        cuda.fp16_bf16_reduction_math_sdp_allowed,
        cuda.allow_fp16_bf16_reduction_math_sdp,
        value=False,
    )
    yield Switch("sdp_priority_order", _sdp_order, torch._C._set_sdp_priority_order, _own_sdp_order(device))  # noqa: SLF001
    if device.type == "cuda":
        yield Switch("tunable.enabled", tunable.is_enabled, tunable.enable, value=False)
        yield Switch("preferred_blas_library", cuda.preferred_blas_library, cuda.preferred_blas_library, "default")
        for size in filter(None, (getattr(cuda, f"{name}_workspace_size", None) for name in ("cublas", "cublaslt"))):
            yield Switch(size.__name__, size, size, size())


def _attribute(owner: str, name: str, value: object) -> Iterator[Switch]:
    """Yield the switch that is an attribute; nothing where this version of torch does not have it."""
    try:
        module = attrgetter(owner)(torch)
        getattr(module, name)
    except AttributeError:
        return
    yield Switch(f"{owner}.{name}", partial(getattr, module, name), partial(setattr, module, name), value)


def _sdp_order() -> list[int]:
    order: list[int] = torch._C._get_sdp_priority_order()  # noqa: SLF001 - torch has no public function
    return order


def _own_sdp_order(device: torch.device) -> tuple[int, ...]:
    """Return the order that torch has for *device*, after it has chosen one; where others changed it, its first one."""
    zeros = torch.zeros(1, 1, 8, 64, device=device)
    scaled_dot_product_attention(zeros, zeros, zeros)
    order = tuple(_sdp_order()[: len(_SDP_ORDERS[0])])
    return order if order in _SDP_ORDERS else _SDP_ORDERS[0]


def _value(switch: Switch) -> object:
    try:
        return switch.read()
    except RuntimeError as error:  # torch, where precisions were set by its old functions and by its new ones
        return str(error)
