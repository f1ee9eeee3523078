"""Translates exceptions of torch and diffusers into this program's errors, and frees the memory they hold."""

import gc
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import torch

from zimage_cache.errors import DeviceFailed, GenerationFailed, GeneratorError, ModelCorrupt, OutOfMemory
from zimage_cache.generator.device import Device

_log = logging.getLogger(__name__)
# Texts of out-of-memory errors without a type of their own: of main memory, CUDA's libraries and the driver.
_FULL: Final = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
Failure = TypeVar("Failure", bound=GeneratorError)


def drawing_failed(error: Exception, device: torch.device) -> GeneratorError:
    """Translate an exception of drawing; after running out of memory, the picture's tensors are freed."""
    if _is_out_of_memory(error):
        _log.warning("out of memory: %s", first_line(error))
        return _without_frames(OutOfMemory("out_of_memory"), error)
    if _is_broken(device):
        return _device_failed(error)
    failure = GenerationFailed("pipeline_failed", error=first_line(error))
    failure.__cause__ = error
    return failure


def loading_failed(error: Exception, folder: Path, device: Device) -> GeneratorError:
    """Translate an exception of loading the model in *folder* onto *device*."""
    if _is_out_of_memory(error):
        return _without_frames(OutOfMemory("model_out_of_memory", device=device.name), error)
    if _is_broken(torch.device(device.torch_name)):
        return _device_failed(error)
    failure = ModelCorrupt("folder_does_not_load", folder=folder, error=first_line(error))
    failure.__cause__ = error
    return failure


def _device_failed(error: Exception) -> DeviceFailed:
    return _without_frames(DeviceFailed("device_failed", error=first_line(error)), error)


def _without_frames(failure: Failure, error: Exception) -> Failure:
    """Set *error* as the cause without its traceback, whose frames would keep the tensors in memory."""
    error.__context__ = None
    failure.__cause__ = error.with_traceback(None)
    collect()
    return failure


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in _FULL)


def _is_broken(device: torch.device) -> bool:
    """Run an addition on the device: it succeeds after an error of one picture, and fails on a broken device.

    The text of an error cannot decide this: the same text may mean either.
    """
    try:
        return int(torch.ones(2, device=device).sum()) != 2  # noqa: PLR2004 - one and one
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True


def first_line(error: Exception) -> str:
    """Return an error's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def collect() -> None:
    """Free unreferenced memory: pipelines are in reference cycles, and torch caches freed GPU memory."""
    gc.collect()
    with suppress(torch.AcceleratorError):  # raised by a broken GPU
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
