"""How a model is placed on a device: number format, what stays in GPU memory, how the picture is decoded.

Imports no torch: plans are made early at start-up, from total memory and compute capability alone.
"""

import importlib.util
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from zimage_cache.errors import SettingsError
from zimage_cache.generator.device import Device

PRECISIONS: Final = ("auto", "bfloat16", "float16", "float32", "int8")
RESIDENT_BYTES: Final = 24_000_000_000  # 20.5 GB of bfloat16 weights and the activations of 2048x2048
SWAPPED_BYTES: Final = 15_000_000_000  # the transformer alone, 12.3 GB, and activations
STREAMED_BYTES: Final = 12_000_000_000  # below it, weights are halved to int8
QUANTISED_BYTES: Final = 8_000_000_000  # the int8 transformer, 6.2 GB, and activations
SMALL_MODEL_BYTES: Final = 1_000_000_000  # a model below this fits every GPU
_BFLOAT16_SINCE: Final = (8, 0)  # Ampere; older GPUs only emulate it


class Offload(StrEnum):
    """Which weights stay in main memory: changes the time a picture takes, never its pixels.

    `none`: no weights. `model`: the text encoder while the transformer runs, and the reverse; nothing moves for a
    prompt whose embeddings are cached. `group`: all blocks of both; each is copied to the device when it runs.
    """

    NONE = "none"
    MODEL = "model"
    GROUP = "group"


OFFLOADS: Final = ("auto", *Offload)


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One way of running a model; `dtype` is torch's name of it, `reason` says why this plan was made.

    `int8` stores the weights of transformer and text encoder in 8 bits, `vae_tiling` decodes in tiles,
    `vae_float32` decodes in float32: these change pixels and are part of `precision`, `offload` is not.
    """

    dtype: str
    offload: Offload = Offload.NONE
    int8: bool = False
    vae_tiling: bool = False
    vae_float32: bool = False
    reason: str = field(default="", compare=False)

    @property
    def precision(self) -> str:
        """Spell what changes pixels, as in the identity: "bfloat16", "bfloat16+int8wo+vae-tiling"."""
        marks = {"int8wo": self.int8, "vae-tiling": self.vae_tiling, "vae-float32": self.vae_float32}
        return "+".join([self.dtype, *(mark for mark, on in marks.items() if on)])

    @property
    def weights(self) -> str:
        """Spell the number format of the weights alone: it decides what a text's embeddings are."""
        return replace(self, vae_tiling=False, vae_float32=False).precision


def make_plan(
    device: Device, precision: str = "auto", offload: str = "auto", weights_bytes: int = 20_500_000_000
) -> DevicePlan:
    """Choose for *device* by its total memory and capability, so that the choice is the same at every start.

    Args:
        device: Where the model is to run.
        precision: A setting of the operator, or "auto"; "int8" means 8-bit weights and the GPU's own format otherwise.
        offload: Likewise; "group" never quantises the weights, because every GPU has room for one block.
        weights_bytes: All weights of the model in bfloat16.

    Raises:
        SettingsError: An unknown word, an offload without a GPU, or int8 without torchao.
    """
    _require("precision", precision, PRECISIONS)
    _require("offload", offload, OFFLOADS)
    if device.total_bytes is None:
        return _cpu_plan(device, precision, offload)
    small = weights_bytes < SMALL_MODEL_BYTES
    base = DevicePlan(_card_dtype(device), reason="a small model") if small else _card_plan(device, device.total_bytes)
    if offload != "auto":
        asked = Offload(offload)
        int8 = base.int8 and asked is not Offload.GROUP
        base = replace(base, offload=asked, int8=int8, reason=f"{base.reason}; --offload {asked} was asked for")
    if precision != "auto":
        base = replace(_with_precision(base, precision), reason=f"{base.reason}; --precision {precision} was asked for")
    _require_torchao(base, device)
    return base


def smaller_plan(plan: DevicePlan, device: Device) -> DevicePlan | None:
    """Return the plan to try where *plan* ran out of memory while drawing; None when there is no smaller one.

    Each step frees much memory, because a picture is tried again only once. Decoding takes the most memory, so every
    smaller plan decodes in tiles. The weights keep their format: another one would have to be read from disk.
    """
    if device.total_bytes is None:
        return None if plan.vae_tiling else replace(plan, vae_tiling=True)
    if plan.offload is Offload.GROUP and plan.vae_tiling:
        return None
    offload = Offload.MODEL if plan.offload is Offload.NONE else Offload.GROUP
    return replace(plan, offload=offload, vae_tiling=True)


def with_less_resident(plan: DevicePlan) -> DevicePlan | None:
    """Return the plan to try where *plan*'s weights do not fit in GPU memory: same pixels, fewer weights resident."""
    rungs = list(Offload)
    place = rungs.index(plan.offload) + 1
    return replace(plan, offload=rungs[place]) if place < len(rungs) else None


def _cpu_plan(device: Device, precision: str, offload: str) -> DevicePlan:
    if offload not in {"auto", Offload.NONE}:
        raise SettingsError(f"offload: {offload} needs a GPU to keep free, and {device.name} is none; use auto")
    plan = DevicePlan("float32", reason="float32 and everything in main memory: there is no GPU")
    if precision == "auto":
        return plan
    plan = replace(_with_precision(plan, precision), reason=f"--precision {precision} was asked for")
    _require_torchao(plan, device)
    return plan


def _card_plan(device: Device, total: int) -> DevicePlan:
    dtype = _card_dtype(device)
    size = f"{total / 1e9:.1f} GB"
    if total >= RESIDENT_BYTES:
        return DevicePlan(dtype, reason=f"{size}: everything fits on the GPU")
    if total >= SWAPPED_BYTES:
        reason = f"{size}: text encoder and transformer take turns on the GPU"
        return DevicePlan(dtype, Offload.MODEL, reason=reason)
    if total >= STREAMED_BYTES:
        return DevicePlan(
            dtype, Offload.GROUP, reason=f"{size}: the transformer does not fit, its blocks come one by one"
        )
    offload = Offload.MODEL if total >= QUANTISED_BYTES else Offload.GROUP
    reason = f"{size}: weights in 8 bits, decoding in tiles, the rest waits in main memory"
    return DevicePlan(dtype, offload, int8=True, vae_tiling=True, reason=reason)


def _card_dtype(device: Device) -> str:
    return "bfloat16" if (device.capability or (0, 0)) >= _BFLOAT16_SINCE else "float16"


def _with_precision(plan: DevicePlan, precision: str) -> DevicePlan:
    if precision == "int8":
        return replace(plan, int8=True)
    return replace(plan, dtype=precision, int8=False)


def _require(name: str, value: str, offered: tuple[str, ...]) -> None:
    if value not in offered:
        raise SettingsError(f"{name}: should be one of {', '.join(offered)}, got {value!r}")


def _require_torchao(plan: DevicePlan, device: Device) -> None:
    if plan.int8 and importlib.util.find_spec("torchao") is None:
        raise SettingsError(
            f"precision: int8 weights ({device.name}, {plan.reason}) need torchao, which is not installed; "
            "pip install 'zimage-cache[int8]', or use --offload group"
        )
