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
_THREADS: Final = re.compile(r"0*+([1-9]\d{0,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Processor:
    """A CPU: its architecture, the best kind of kernels that torch has for it, and the threads that share its work.

    `kernels` is "avx512", "avx2", "sve", "baseline" or "unknown". `chosen` tells whether `threads` is another number
    than that of the cores that the process may use.
    """

    machine: str
    kernels: str
    threads: int
    chosen: bool = False

    @property
    def words(self) -> list[str]:
        """What changes the noise of a picture: nothing for x86-64 with AVX2, on which the first keys were made."""
        machine = [] if self.machine in _X86 else [self.machine]
        return machine if self.kernels in {"avx512", "avx2"} else [*machine, self.kernels]

    @property
    def drawing_words(self) -> list[str]:
        """What changes a picture that is drawn here: also a number of threads that was chosen.

        torch cuts its work into as many parts as there are threads, and rounds differently at the edges of some.
        """
        return [*self.words, f"{self.threads}-threads"] if self.chosen else self.words


def this_processor(environ: Mapping[str, str] = os.environ) -> Processor:
    """Return this machine's CPU; threads are those that OMP_NUM_THREADS asks for, else one a core of this process."""
    flags = _flags()
    kernels = next((name for name, needed in _KERNELS.items() if needed <= flags), "baseline" if flags else "unknown")
    asked = _THREADS.fullmatch(environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip())
    cores = _cores()
    threads = int(asked[1]) if asked else cores
    return Processor(platform.machine(), kernels, threads, threads != cores)


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
