"""One process of the stress tests: `python cache_worker.py FOLDER MODE NUMBER …`. Talks to its parent in lines."""

import json
import os
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.factories import picture_entry
from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.locks import Generation, Stripes
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.errors import CacheError

KEYS = 12
LOOKS = 2
# Few, so that most writes replace: the harder case for a kill.
WRITE_KEYS = 3


def _say(**fields: object) -> None:
    # One write a line: several processes may share the pipe.
    os.write(1, (json.dumps(fields) + "\n").encode())


def nursery(root: Path, _number: int) -> None:
    """Fork a writer for each input line, and report its end: importing would take longer than a writer runs."""
    for line in sys.stdin:
        if (writer := os.fork()) == 0:
            write(root, int(line))
        _say(born=writer)
        os.waitpid(writer, 0)
        _say(died=writer)


def write(root: Path, number: int) -> None:
    """Store and replace for ever; say before and after each, until killed."""
    cache = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))
    rng = random.Random(number)
    while True:
        seed, look = rng.randrange(WRITE_KEYS), rng.randrange(10**6)
        entry = picture_entry(seed, look=look)
        _say(begins=seed)
        if not cache.put(entry):
            _say(failed=seed)
        _say(committed=seed, digest=entry.record.digest)


def hold(root: Path, number: int) -> None:
    """Hold the lock of one key, and the right to generate it, until killed."""
    key = picture_entry(number).record.key
    with Stripes(root / "locks").hold(key):
        taken = Generation.take(root / "locks", key)
        _say(held=taken is not None)
        time.sleep(3600)


def full(root: Path, number: int) -> None:
    """Meet a full disk while storing, then one with room again."""
    cache = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))
    entry = picture_entry(number)
    cache.put(picture_entry(number + 1))
    answers = []
    for limit in (len(entry.png) // 2, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        stored = cache.put(entry)
        hit = cache.get(entry.record.key)
        errors, entries = cache.counts()["write_errors"], cache.held().disk_entries
        answers.append([stored, hit is not None and hit.entry == entry, errors, entries])
        answers[-1].append(len(list((root / "tmp").iterdir())))
    _say(answers=answers)


ACTS = {
    "get": 40,
    "put": 25,
    "refresh": 8,
    "delete": 8,
    "thumbnail": 8,
    "peek": 6,
    "evict": 4,
    "pin": 2,
    "unpin": 2,
    "list": 2,
    "check": 1,
    "scan": 1,
    "scrub": 1,
    "clear": 0.2,
}


def mix(root: Path, number: int) -> None:
    """Do everything at random on a few keys, with bounds that force eviction; say what went wrong."""
    entries = [[picture_entry(seed, look=look) for look in range(LOOKS)] for seed in range(KEYS)]
    one = entries[0][0]
    disk = DiskTier(root, max_bytes=7 * (len(one.png) + 1500), max_entries=8)
    cache = ResultCache(MemoryTier(4 * len(one.png)), disk)
    cache.start()
    rng = random.Random(number)
    acts = rng.choices(list(ACTS), list(ACTS.values()), k=10**6)
    end = time.monotonic() + float(sys.argv[4])
    wrong: list[str] = []
    done = 0
    while time.monotonic() < end:
        looks = entries[rng.randrange(KEYS)]
        try:
            wrong += _act(cache, disk, acts[done % len(acts)], looks, rng)
        except CacheError as error:
            wrong.append(repr(error))
        done += 1
    cache.close()
    counts = cache.counts()
    hits = counts["hits_memory"] + counts["hits_disk"]
    told = {name: counts[name] for name in ("corrupt", "read_errors", "index_errors", "evictions", "writes")}
    _say(wrong=wrong, done=done, hits=hits, **told)


def _act(cache: ResultCache, disk: DiskTier, act: str, looks: list, rng: random.Random) -> list[str]:
    key = looks[0].record.key
    match act:
        case "put" | "refresh":
            cache.put(looks[0] if act == "put" else looks[rng.randrange(LOOKS)])
        case "delete" | "thumbnail" | "peek" | "pin" | "unpin":
            getattr(cache, act)(key)
        case "evict":
            cache.prune(to_bytes=int(cache.held().disk_bytes * 0.8))
        case "list":
            return [f"listed {item}" for item in cache.entries("circle").items if item.prompt != "a 红 circle"]
        case "check":
            return [f"found {finding}" for finding in check(disk.root)]
        case "scan":
            disk.scan()
        case "scrub":
            disk.scrub(50_000)
        case "clear":
            cache.clear(pinned=rng.random() < 0.5)
        case _:
            hit = cache.get(key)
            if hit is not None and hit.entry not in looks:
                return [f"served something else under {key}"]
    return []


MODES = {"nursery": nursery, "write": write, "hold": hold, "full": full, "mix": mix}

if __name__ == "__main__":
    MODES[sys.argv[2]](Path(sys.argv[1]), int(sys.argv[3]))
