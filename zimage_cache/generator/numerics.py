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
# The values are torch's defaults, written out so that what other code sets is replaced. Only `cudnn.deterministic`
# differs: without it, some of cuDNN's convolutions compute other values each time.
_FLOAT32: Final = {  # by library and operation
    ("generic", "all"): "none",
    ("cuda", "all"): "none",
    ("cuda", "matmul"): "ieee",
    ("cuda", "conv"): "tf32",
    ("cuda", "rnn"): "tf32",
    ("mkldnn", "all"): "none",
    ("mkldnn", "matmul"): "ieee",
    ("mkldnn", "conv"): "ieee",
    ("mkldnn", "rnn"): "ieee",
}
_ATTRIBUTES: Final[dict[str, object]] = {  # of torch.backends
    # Beside cuda conv and rnn: torch refuses to read it where they contradict each other.
    "cudnn.allow_tf32": True,
    "cudnn.enabled": True,
    "cudnn.benchmark": False,
    "cudnn.deterministic": True,
    "cudnn.depthwise_kernel": "auto",
    "cuda.matmul.allow_fp16_accumulation": False,
    "mkldnn.enabled": True,
    "mkldnn.deterministic": False,
    "python_native.triton.enabled": True,
    "python_native.cutedsl.enabled": False,
}
_FUNCTIONS: Final = (  # to read, to write, the value
    (cuda.flash_sdp_enabled, cuda.enable_flash_sdp, True),
    (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, True),
    (cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
    (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, True),
    (cuda.fp16_bf16_reduction_math_sdp_allowed, cuda.allow_fp16_bf16_reduction_math_sdp, False),
)
_PRIVATE: Final = (  # likewise, of `torch._C`, where torch has no public functions or these do more
    ("_get_deterministic_algorithms", "_set_deterministic_algorithms", False),
    ("_get_nnpack_enabled", "_set_nnpack_enabled", True),
    ("_get_fa3_sdp_enabled", "_set_sdp_use_fa3", False),
    ("_get_overrideable_sdp_enabled", "_set_sdp_use_overrideable", True),
    ("_get_sm_carveout_experimental", "_set_sm_carveout_experimental", None),
    ("_get_cpu_allow_fp16_reduced_precision_reduction", "_set_cpu_allow_fp16_reduced_precision_reduction", False),
)
# torch's orders of preference among attention kernels; it chooses by the GPU and cuDNN, when it first needs a kernel.
_SDP_ORDERS: Final = ((1, 2, 0, 3), (3, 1, 2, 0))


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of torch, and the value to draw with."""

    name: str
    read: Callable[[], object]
    write: Callable[[Any], object]
    value: object

    def pin(self) -> None:
        """Give it the value."""
        self.write(self.value)

    def now(self) -> object:
        """Return its value; where torch refuses to read it, because others contradict it, torch's reason."""
        try:
            return self.read()
        except RuntimeError as error:
            return str(error)


class Pins:
    """The switches of torch, pinned. For the thread that draws on *device*: some switches belong to a thread.

    *threads* of the CPU share its work.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._switches = list(switches(device))
        self._pin()
        # The last one needs the others: it computes.
        for last in (thread_number(threads), sdp_order(device)):
            last.pin()
            self._switches.append(last)
        # Not the values that were written: torch reads some of them back in another form.
        self._pinned = self._values()

    def hold(self) -> None:
        """Pin the switches again where one has another value than after pinning, and log which.

        Raises:
            RuntimeError: A switch does not take its value back.
        """
        if not (changed := self._changed()):
            return
        self._pin()
        if kept := self._changed():
            raise RuntimeError(f"other code in this process holds {kept} of torch, which changes pixels")
        _log.warning("set back, because it changes pixels: other code in this process had changed torch's %s", changed)

    def _changed(self) -> str:
        compared = zip(self._switches, self._pinned, self._values(), strict=True)
        return ", ".join(switch.name for switch, pinned, value in compared if value != pinned)

    def _pin(self) -> None:
        for switch in self._switches:
            switch.pin()

    def _values(self) -> list[object]:
        return [switch.now() for switch in self._switches]


def switches(device: torch.device) -> Iterator[Switch]:
    """Yield the switches that this version of torch has, in the order in which they are to be pinned."""
    # First, because it writes others of them.
    name = "float32_matmul_precision"
    yield Switch(name, torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")
    for name, value in _ATTRIBUTES.items():
        yield from _attribute(name, value)
    yield from map(_float32, _FLOAT32, _FLOAT32.values())
    for half in ("fp16", "bf16"):
        yield _reduction(f"allow_{half}_reduced_precision_reduction")
    for kind in ("cpu", "cuda"):
        read, write = partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind)
        yield Switch(f"autocast {kind}", read, write, value=False)
    for reading, writing, on in _FUNCTIONS:
        yield Switch(writing.__name__, reading, writing, on)
    yield from _private_switches()
    if device.type == "cuda":
        yield Switch("tunable.enable", tunable.is_enabled, tunable.enable, value=False)
        yield Switch("preferred_blas_library", cuda.preferred_blas_library, cuda.preferred_blas_library, "default")


def thread_number(threads: int) -> Switch:
    """Return the switch for the threads of the CPU that share its work."""
    return Switch("num_threads", torch.get_num_threads, torch.set_num_threads, threads)


def sdp_order(device: torch.device) -> Switch:
    """Return the switch for the order of attention kernels, with torch's own order for *device*.

    torch chooses it once, when it first needs such a kernel, so one is computed here. Where other code has changed the
    order since, it is torch's first one.
    """
    zeros = torch.zeros(1, 1, 8, 64, device=device, dtype=torch.float32)
    scaled_dot_product_attention(zeros, zeros, zeros)
    order = tuple(_sdp_order()[: len(_SDP_ORDERS[0])])
    own = order if order in _SDP_ORDERS else _SDP_ORDERS[0]
    return Switch("sdp_priority_order", _sdp_order, torch._C._set_sdp_priority_order, own)  # noqa: SLF001 - as below


def _sdp_order() -> list[int]:
    order: list[int] = torch._C._get_sdp_priority_order()  # noqa: SLF001 - torch has no public function
    return order


def _float32(place: tuple[str, str], value: str) -> Switch:
    # Not the attributes, which set other places than they read.
    read = partial(torch._C._get_fp32_precision_getter, *place)  # noqa: SLF001
    write = partial(torch._C._set_fp32_precision_setter, *place)  # noqa: SLF001
    return Switch(f"fp32_precision {' '.join(place)}", read, write, value)


def _reduction(name: str) -> Switch:
    # Read without the attribute, which leaves out whether sums may be split.
    read = getattr(torch._C, f"_get_cublas_{name}")  # noqa: SLF001
    return Switch(name, read, partial(setattr, cuda.matmul, name), value=True)


def _attribute(path: str, value: object) -> Iterator[Switch]:
    """Yield the switch that is an attribute in `torch.backends`; nothing where this version of torch has none."""
    owner, _, name = path.rpartition(".")
    try:
        module = attrgetter(owner)(torch.backends)
        getattr(module, name)
    except AttributeError:
        return
    except RuntimeError:  # it is there, and contradicts others
        pass
    yield Switch(path, partial(getattr, module, name), partial(setattr, module, name), value)


def _private_switches() -> Iterator[Switch]:
    for read, write, value in _PRIVATE:
        if hasattr(torch._C, write):  # noqa: SLF001
            yield Switch(write.removeprefix("_set_"), *attrgetter(read, write)(torch._C), value)  # noqa: SLF001
