"""What a CPU is, from Linux's own files, before torch is imported."""

import os

import pytest
import torch

from zimage_cache.generator import processor
from zimage_cache.generator.processor import this_processor

ZEN4 = "fma avx2 avx512f avx512bw avx512dq avx512vl avx512_bf16"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that makes a machine: the flags of its CPU, and the thread siblings of each of its CPUs."""

    def make(flags: str = ZEN4, siblings: tuple[str, ...] = ("0", "1")) -> None:
        (tmp_path / "cpuinfo").write_text(
            f"processor : 0\nflags\t\t: fpu {flags}\nbugs :\n\nprocessor : 1\nflags : x\n"
        )
        for number, threads in enumerate(siblings):
            folder = tmp_path / f"cpu{number}" / "topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{threads}\n")
        monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(processor, "_CPUS", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(len(siblings))), raising=False)

    return make


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (ZEN4, "avx512"),
        ("fma avx2 avx512f", "avx2"),
        ("fma avx2", "avx2"),
        ("avx2", "baseline"),
        ("avx sse4_2", "baseline"),
        ("asimd sve sve2 bf16", "sve"),
        ("", "baseline"),
    ],
)
def test_instructions_are_those_that_torch_has_kernels_for(machine, flags, expected):
    """All that a kind of kernel needs, or the next one."""
    machine(flags)
    assert this_processor({}).kernels == expected


def test_threads_are_the_cores_that_the_process_may_use(machine, monkeypatch):
    """Two threads of one core count once, and CPUs that a container keeps away do not."""
    machine(siblings=("0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"))
    assert this_processor({}).threads == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 4, 5})
    assert this_processor({}).threads == 2


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        ("3", 3),
        (" 8 ", 8),
        ("4,2", 4),
        ("0", 2),
        ("-1", 2),
        ("all", 2),
        ("", 2),
        ("٣", 2),
        ("9" * 400, 2),
        ("9999", 2),
        ("0012", 12),
    ],
)
def test_a_variable_says_how_many_threads(machine, asked, threads):
    """As OpenMP reads it; what it could not use is left out."""
    machine()
    found = this_processor({"OMP_NUM_THREADS": asked})
    assert (found.threads, found.chosen) == (threads, threads != 2)


def test_a_machine_that_tells_nothing(monkeypatch, tmp_path):
    """As on other systems: each CPU counts, and no instructions are known."""
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(processor, "_CPUS", tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    found = this_processor({})
    assert (found.kernels, found.threads, found.chosen) == ("unknown", 6, False)


def test_it_is_what_torch_finds_here():
    """Against torch's own answer about this machine."""
    theirs = {"AVX512": "avx512", "AVX2": "avx2", "SVE256": "sve", "DEFAULT": "baseline"}
    assert this_processor({}).kernels == theirs[torch.backends.cpu.get_cpu_capability()]
