"""Finds the device to draw on by asking the CUDA driver, without importing torch.

Importing torch takes seconds, and the answer decides at start-up which model is offered; the driver answers in
milliseconds. Function names, attribute numbers and signatures are those of NVIDIA's CUDA driver API (`cuda.h`).
"""

import ctypes
import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from zimage_cache.errors import SettingsError

_log = logging.getLogger(__name__)
_DRIVERS: Final = ("libcuda.so.1", "libcuda.so")
_CAPABILITY_MAJOR: Final = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_CAPABILITY_MINOR: Final = 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
_NAME_BYTES: Final = 256
_ASKED: Final = re.compile(r"auto|cuda(?::(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that draws pictures; constant while the process runs.

    `torch_name` is its name in torch ("cuda:0", "cpu"), `name` its product name ("NVIDIA H200"). `capability` is CUDA's
    (major, minor), `total_bytes` its total memory, not the free part; both are None on a CPU.
    """

    torch_name: str
    name: str
    capability: tuple[int, int] | None = None
    total_bytes: int | None = None

    @property
    def device_class(self) -> str:
        """The kind of device whose kernels draw the same pixels: "cuda-sm_90", or "cpu"."""
        return "cpu" if self.capability is None else f"cuda-sm_{self.capability[0]}{self.capability[1]}"

    def numbered(self) -> "Device":
        """Return the same device with its number in its name: "NVIDIA H200 (cuda:1)"."""
        return replace(self, name=f"{self.name} ({self.torch_name})")


CPU: Final = Device("cpu", "cpu")


def find_device(asked: str = "auto", devices: Callable[[], list[Device]] | None = None) -> Device:
    """Choose the device: `auto` is the first CUDA device, else the CPU; `cpu`, `cuda` and `cuda:N` name one.

    *devices* lists the CUDA devices torch can use (default: asks the driver).

    Raises:
        SettingsError: No such device, or an unknown word.
    """
    if asked == "cpu":
        return CPU
    match = _ASKED.fullmatch(asked)
    if match is None:
        raise SettingsError(f"device: should be auto, cpu, cuda or cuda:N, got {asked!r}")
    found = (devices or cuda_devices)()
    if asked == "auto":
        return found[0] if found else CPU
    number = int(match[1] or 0)
    if number < len(found):
        return found[number]
    raise SettingsError(f"device: torch can use {len(found)} CUDA devices here, got {asked!r}; try auto")


def find_peers(first: Device, asked: str = "auto", devices: Callable[[], list[Device]] | None = None) -> list[Device]:
    """List the further GPUs to draw on beside *first*: with `auto`, all of the same make; else none.

    GPUs of another make are left out: they may draw other pixels, or need another plan.
    """
    if asked != "auto" or first.capability is None:
        return []
    kind = (first.name, first.capability)
    found = (devices or cuda_devices)()
    return [device for device in found if (device.name, device.capability) == kind and device != first]


def cuda_devices() -> list[Device]:
    """List the CUDA devices that both the driver and the installed torch can use; honours CUDA_VISIBLE_DEVICES."""
    driver = _driver() if _torch_has_cuda() else None
    if driver is None:
        return []
    try:
        _call(driver.cuInit, 0)
        return [_describe(driver, number) for number in range(_integer(driver.cuDeviceGetCount))]
    except OSError as error:
        _log.warning("CUDA: the driver is installed but answers %s; drawing on the CPU", error)
        return []


def _torch_has_cuda() -> bool:
    """Return whether the installed torch is a CUDA build, by a library that only such builds contain."""
    spec = importlib.util.find_spec("torch")
    return bool(spec and spec.origin and (Path(spec.origin).parent / "lib" / "libtorch_cuda.so").exists())


def _driver() -> Any:  # noqa: ANN401 - a C library: its functions are its attributes
    """Open the driver's library, or return None where there is none (also everywhere but on Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    for name in _DRIVERS:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _describe(driver: Any, number: int) -> Device:  # noqa: ANN401 - a C library
    ordinal = _integer(driver.cuDeviceGet, number)
    major = _integer(driver.cuDeviceGetAttribute, _CAPABILITY_MAJOR, ordinal)
    minor = _integer(driver.cuDeviceGetAttribute, _CAPABILITY_MINOR, ordinal)
    total = ctypes.c_size_t()
    _call(driver.cuDeviceTotalMem_v2, ctypes.byref(total), ordinal)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(driver.cuDeviceGetName, name, _NAME_BYTES, ordinal)
    return Device(f"cuda:{number}", name.value.decode(errors="replace"), (major, minor), total.value)


def _integer(function: Callable[..., int], *arguments: int) -> int:
    """Call a driver function whose first argument receives an integer, and return that."""
    answer = ctypes.c_int()
    _call(function, ctypes.byref(answer), *arguments)
    return answer.value


def _call(function: Callable[..., int], *arguments: object) -> None:
    """Call a driver function.

    Raises:
        OSError: It returned an error code.
    """
    if code := function(*arguments):
        raise OSError(f"error {code} from {getattr(function, '__name__', 'a call')}")
