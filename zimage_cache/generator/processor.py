"""The CPU, as far as it changes the pixels that it draws: its instructions, and how many threads share the work.

torch cuts its work into as many parts as there are threads, and rounds differently at the edges of some. Imports no
torch: keys are needed before it is loaded.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CPUS: Final = Path("/sys/devices/system/cpu")
_CPU_INFO: Final = Path("/proc/cpuinfo")
_MOST_THREADS: Final = 1024
# What torch's kernels need, the best ones first; Linux's names of the instructions.
_INSTRUCTIONS: Final = {
    "avx512": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}),
    "avx2": frozenset({"avx2", "fma"}),
}


@dataclass(frozen=True, slots=True)
class Processor:
    """A CPU: its architecture, torch's best kernels there ("avx512", "avx2", or ""), and the threads to draw with."""

    machine: str
    instructions: str
    threads: int


def this_processor(environ: Mapping[str, str] = os.environ) -> Processor:
    """Return this machine's CPU; threads are those that OMP_NUM_THREADS asks for, else one a core of this process."""
    asked = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    threads = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= len(str(_MOST_THREADS)) else 0
    return Processor(platform.machine(), _instructions(), min(threads, _MOST_THREADS) or _cores())


def _instructions() -> str:
    try:
        lines = _CPU_INFO.read_text("ascii", "replace").splitlines()
    except OSError:
        return ""
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return next((name for name, needed in _INSTRUCTIONS.items() if needed <= flags), "")


def _cores() -> int:
    """Count the cores that this process may use, not the threads of one core; where that is not known, those too."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len({_siblings(number) for number in usable})


def _siblings(number: int) -> str:
    try:
        return (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text("ascii").strip()
    except OSError:
        return str(number)
