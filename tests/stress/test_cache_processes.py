"""The cache folder under several processes, some of which are killed or run out of disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import flockless
from tests.factories import present
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.locks import Generation, Stripes

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1200)]
WORKER = Path(__file__).with_name("cache_worker.py")


def _start(
    root: Path, mode: str, number: int, *more: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(root), mode, str(number), *more]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _life(nursery: subprocess.Popen[str], number: int, words: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Have a writer born, kill it *seconds* after it said so many *words*, and give everything it said."""
    orders, told = present(nursery.stdin), present(nursery.stdout)
    orders.write(f"{number}\n")
    orders.flush()
    writer = None
    spoken = 0
    while "died" not in (line := json.loads(told.readline())):
        if "born" in line:
            writer = line["born"]
        else:
            spoken += 1
            yield line
        if writer and spoken >= words:
            time.sleep(seconds)
            os.kill(writer, signal.SIGKILL)
            writer = None


def test_kill_9_at_any_instant(tmp_path, rounds, entry):
    """A killed writer leaves nothing torn and loses nothing committed; only the key at work may be old, new or gone."""
    rng = random.Random(20261121)
    nursery = _start(tmp_path, "nursery", 0)
    promised: dict[int, set[str | None]] = {}
    commits = gone = leftovers = index_errors = 0
    for number in range(rounds(500)):
        at_work = None
        for line in _life(nursery, number, rng.randint(1, 12), rng.uniform(0.0, 0.03)):
            assert "failed" not in line
            if "begins" in line:
                at_work = line["begins"]
            else:
                promised[line["committed"]] = {line["digest"]}
                commits += 1
                at_work = None
        if at_work is not None:
            # Being stored for the first time, or replaced: whatever whole entry is there, if any.
            promised.pop(at_work, None)

        leftovers += len(list((tmp_path / "tmp").iterdir())) if (tmp_path / "tmp").exists() else 0
        disk = DiskTier(tmp_path, max_bytes=0)
        disk.scan()
        for seed, digests in promised.items():
            stored = disk.get(entry(seed).record.key)
            assert stored is not None, f"lost {seed} in round {number}"
            assert stored.entry.record.digest in digests
        if at_work is not None:
            gone += disk.get(entry(at_work).record.key) is None
        assert (disk.tally["corrupt"], disk.tally["read_errors"]) == (0, 0)
        index_errors += disk.tally["index_errors"]
        disk.close()
        assert check(tmp_path) == []
    nursery.communicate()

    figures = f"{rounds(500)} kills, {commits} commits, {gone} keys gone at work, {leftovers} leftovers swept"
    print(f"\n{figures}, {index_errors} index errors")  # noqa: T201 - the figures are evidence
    assert commits > rounds(500)
    assert index_errors == 0


def test_a_killed_holder_blocks_no_other_process(tmp_path, entry):
    """Locks of both kinds are held against other processes, and free as soon as their holder is killed."""
    key = entry(3).record.key
    stripes = Stripes(tmp_path / "locks")
    holder = _start(tmp_path, "hold", 3)
    assert json.loads(present(holder.stdout).readline()) == {"held": True}
    with stripes.try_hold(key) as held:
        assert not held
    assert Generation.take(tmp_path / "locks", key) is None

    holder.kill()
    holder.communicate()

    with stripes.try_hold(key) as held:
        assert held
    generation = Generation.take(tmp_path / "locks", key)
    assert generation is not None
    generation.release()
    assert check(tmp_path) == []


def test_full_disk(tmp_path):
    """A file-size limit in the middle of a picture: `False`, served from memory, nothing left; then all is well."""
    worker = _start(tmp_path, "full", 1)
    answers = json.loads(worker.communicate()[0])["answers"]

    assert worker.returncode == 0
    assert answers == [[False, True, 1, 1, 0], [True, True, 1, 2, 0]]
    assert check(tmp_path) == []


@pytest.mark.parametrize("without_flock", [0, 4, 2], ids=["flock", "no flock", "flock in two of four"])
def test_processes_share_one_folder(tmp_path, rounds, bytes_below, without_flock):
    """Four processes do everything at random for a minute: nothing wrong served, nothing healthy quarantined.

    No process gets a locked database; afterwards the bytes are within the bound, the index says what the disk says, and
    all is clean.
    """
    root = tmp_path / "cache"
    refused = flockless.environment(tmp_path / "site", root.resolve())
    seconds = str(rounds(60) + without_flock)  # names count only after a while
    environments = [refused if number < without_flock else None for number in range(4)]
    workers = [_start(root, "mix", number, seconds, environment=each) for number, each in enumerate(environments)]
    answers = [json.loads(worker.communicate()[0]) for worker in workers]
    total = {name: sum(answer[name] for answer in answers) for name in answers[0] if name != "wrong"}
    print(f"\n{total}")  # noqa: T201 - the figures are evidence

    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert [answer["wrong"] for answer in answers] == [[]] * 4
    assert (total["corrupt"], total["read_errors"], total["index_errors"]) == (0, 0, 0)
    assert min(total["hits"], total["evictions"], total["writes"]) > rounds(60)
    assert list((root / "quarantine").iterdir()) == []
    assert list((root / "tmp").iterdir()) == []
    disk = DiskTier(root, max_bytes=0)
    disk.keep_up()
    assert disk.bytes == bytes_below(root)
    told = {item.key: item.bytes for item in disk.page("", 50, None).items}
    assert set(told) == {path.stem for path in (root / "keys").iterdir()}
    assert sum(told.values()) == disk.bytes
    assert len(disk) <= 8
    assert check(root) == []
