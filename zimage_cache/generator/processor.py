"""The CPU, as far as it changes pixels: it draws the noise for every device, and whole pictures where there is no GPU.

Imports no torch: keys are needed before it is loaded.
"""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CPUS: Final = Path("/sys/devices/system/cpu")
_CPU_INFO: Final = Path("/proc/cpuinfo")
_FLAGS: Final = re.compile(r"^(?:flags|Features)\s*+:(.*)", re.MULTILINE)
_X86: Final = frozenset({"x86_64", "AMD64"})
# What torch's kernels need, the best ones first; Linux's names of the instructions.
_KERNELS: Final = {
    "avx512": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}),
    "avx2": frozenset({"avx2", "fma"}),
    "sve": frozenset({"sve"}),
}
_16_BITS: Final = ("amx_bf16", "amx_fp16", "avx512_bf16", "avx512_fp16", "bf16")  # units for 16-bit numbers
_FIRST_THREADS: Final = 2
_THREADS: Final = re.compile(r"0*+([1-9]\d{0,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Processor:
    """A CPU.

    `kernels` is the best kind of kernels that torch has for it: "avx512", "avx2", "sve", "baseline", or "unknown".
    `units` are those for 16-bit numbers. torch cuts its work into as many parts as there are `threads`, and rounds
    differently at the edges of some.
    """

    machine: str
    kernels: str
    units: tuple[str, ...]
    threads: int

    def noise_words(self) -> list[str]:
        """Name what changes the noise of a picture; nothing for x86-64 with AVX2, on which the first keys were made."""
        machine = [] if self.machine in _X86 else [self.machine]
        return machine if self.kernels in {"avx512", "avx2"} else [*machine, self.kernels]

    def drawing_words(self, dtype: str) -> list[str]:
        """Name what changes a picture drawn here in *dtype*; nothing for AVX-512 and two threads, likewise."""
        words = self.noise_words() + ["avx2"] * (self.kernels == "avx2")
        if dtype != "float32" and self.units != ("avx512_bf16",):
            words.append("+".join(self.units) or "no-16-bit-units")
        return [*words, f"{self.threads}-threads"] if self.threads != _FIRST_THREADS else words


def this_processor(environ: Mapping[str, str] = os.environ) -> Processor:
    """Return this machine's CPU; threads are those that OMP_NUM_THREADS asks for, else one a core of this process."""
    asked = _THREADS.fullmatch(environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip())
    flags = _flags()
    kernels = next((name for name, needed in _KERNELS.items() if needed <= flags), "baseline" if flags else "unknown")
    units = tuple(name for name in _16_BITS if name in flags)
    return Processor(platform.machine(), kernels, units, int(asked[1]) if asked else _cores())


def _flags() -> frozenset[str]:
    try:
        found = _FLAGS.search(_CPU_INFO.read_text("ascii", "replace"))
    except OSError:
        found = None
    return frozenset(found[1].split() if found else ())


def _cores() -> int:
    """Count the cores that this process may use, not the threads of one core; where that is not known, those too."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len({_siblings(number) for number in usable})


def _siblings(number: int) -> str:
    try:
        return (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text("ascii").strip()
    except OSError:
        return str(number)
