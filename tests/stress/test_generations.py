"""One generation a key, however many processes are asked for it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.factories import present
from zimage_cache.cache.check import check

pytestmark = pytest.mark.stress
WORKER = Path(__file__).with_name("service_worker.py")
PROCESSES = 4


def _start(root: Path, mode: str, keys: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(root), mode, str(keys)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _word(worker: subprocess.Popen[str]) -> dict:
    return json.loads(present(worker.stdout).readline())


def test_a_herd_in_four_processes(tmp_path, rounds):
    """Four servers asked for the same keys at the same moment: each key is drawn once in all, and all get that one."""
    keys = rounds(100)
    workers = [_start(tmp_path, "herd", keys) for _ in range(PROCESSES)]
    for worker in workers:
        assert _word(worker) == {"ready": True}
    for worker in workers:
        present(worker.stdin).write("go\n")
        present(worker.stdin).flush()
    said = [_word(worker) for worker in workers]
    for worker in workers:
        worker.communicate()

    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    assert Counter(seed for each in said for seed in each["drawn"]) == dict.fromkeys(range(keys), 1)
    answers = [answer for each in said for answer in each["answers"]]
    assert len(answers) == PROCESSES * 4 * keys
    assert len({(seed, digest) for seed, digest, _ in answers}) == keys
    sources = Counter(source for _, _, source in answers)
    print(f"\n{keys} keys, {len(answers)} asks in {PROCESSES} processes: {dict(sources)}")  # noqa: T201 - evidence
    assert sources["generated"] == keys
    assert sources["shared"] > 0
    assert list((tmp_path / "cache" / "locks").glob("*.generation")) == []
    assert check(tmp_path / "cache") == []


def test_a_killed_server_blocks_no_other(tmp_path):
    """One that waits for another's picture draws it itself as soon as that one is killed, and not before."""
    holder = _start(tmp_path, "stuck")
    assert _word(holder) == {"drawing": True}
    waiter = _start(tmp_path, "patient")
    assert _word(waiter) == {"waiting": True, "drawn": 0}

    holder.kill()
    holder.communicate()

    said = _word(waiter)
    waiter.communicate()
    assert (said["answer"][2], said["drawn"]) == ("generated", 1)
    assert check(tmp_path / "cache") == []
