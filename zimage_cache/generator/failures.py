"""What torch and diffusers fail with, in our own words: whose fault it is, and what stays of it in memory."""

import gc
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import torch

from zimage_cache.errors import DeviceFailed, GenerationFailed, GeneratorError, ModelCorrupt, OutOfMemory
from zimage_cache.generator.device import Device

_log = logging.getLogger(__name__)
# What runs out of memory without saying so by its type: main memory, CUDA's libraries, the driver.
_FULL: Final = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
Failure = TypeVar("Failure", bound=GeneratorError)


def drawing_failed(error: Exception, device: torch.device) -> GeneratorError:
    """Translate what a picture ran into; of one that ran out of memory nothing stays on the device."""
    if _is_out_of_memory(error):
        _log.warning("out of memory: %s", first_line(error))
        message = "too little memory for this picture; try a smaller size, or guidance 0"
        return _without_frames(OutOfMemory(message), error)
    if _is_broken(device):
        return _device_failed(error)
    failure = GenerationFailed(f"the pipeline failed: {first_line(error)}")
    failure.__cause__ = error
    return failure


def loading_failed(error: Exception, folder: Path, device: Device) -> GeneratorError:
    """Translate why the model in *folder* could not be brought onto *device*."""
    if _is_out_of_memory(error):
        message = f"{device.name}: too little memory for this model; close what else uses it"
        return _without_frames(OutOfMemory(message), error)
    if _is_broken(torch.device(device.torch_name)):
        return _device_failed(error)
    failure = ModelCorrupt(f"model: {folder} does not load ({first_line(error)}); fetch it again")
    failure.__cause__ = error
    return failure


def _device_failed(error: Exception) -> DeviceFailed:
    said = f"the card failed ({first_line(error)}); if that repeats, restart the server, or the machine"
    return _without_frames(DeviceFailed(said), error)


def _without_frames(failure: Failure, error: Exception) -> Failure:
    """Name *error* as the cause, but let go of its frames: they hold the tensors there was no room for."""
    error.__context__ = None
    failure.__cause__ = error.with_traceback(None)
    collect()
    return failure


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in _FULL)


def _is_broken(device: torch.device) -> bool:
    """Ask the device to add: after an error that was the picture's own it still can, after one of its own it cannot.

    Not by the words of the error: they are many, and the same ones may stop one picture or the whole card.
    """
    try:
        return int(torch.ones(2, device=device).sum()) != 2  # noqa: PLR2004 - one and one
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True


def first_line(error: Exception) -> str:
    """Name an error's kind, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def collect() -> None:
    """Free what nobody refers to any more: pipelines hold themselves in circles, and torch keeps freed memory."""
    gc.collect()
    with suppress(torch.AcceleratorError):  # a broken card refuses even this
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
