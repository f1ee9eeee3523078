"""One cache under many threads, and against a model."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.waiting import wait_until
from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.eviction import Policy
from zimage_cache.cache.index import NAME
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.store import Store
from zimage_cache.entry import Entry

pytestmark = pytest.mark.stress
THREADS = 8
PROCESSES = 2
SEEDS, LOOKS, WHO = st.integers(0, 6), st.integers(0, 1), st.integers(0, PROCESSES - 1)


def test_threads_put_get_delete_evict(tmp_path, entry, rounds, bytes_below):
    """From one barrier, on few keys, with a bound that forces eviction: whole answers, exact bytes, a clean folder."""
    entries = {(seed, look): entry(seed, look=look) for seed in range(10) for look in range(2)}
    one = entries[0, 0]
    bound = 6 * (len(one.png) + 1500)
    cache = ResultCache(MemoryTier(3 * len(one.png)), DiskTier(tmp_path, max_bytes=bound))
    cache.start()
    barrier = threading.Barrier(THREADS)
    wrong, failed = [], []

    def work(number: int) -> None:
        rng = random.Random(number)
        barrier.wait()
        for _ in range(rounds(1500)):
            seed = rng.randrange(10)
            mine = entries[seed, rng.randrange(2)]
            match rng.choices(["get", "put", "delete", "thumbnail"], [5, 4, 1, 1])[0]:
                case "get":
                    hit = cache.get(mine.record.key)
                    if hit and hit.entry not in (entries[seed, 0], entries[seed, 1]):
                        wrong.append(hit)
                case "put":
                    failed.extend([] if cache.put(mine) else [mine])
                case "delete":
                    cache.delete(mine.record.key)
                case _:
                    cache.thumbnail(mine.record.key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()

    held, counts = cache.held(), cache.counts()
    assert wrong == []
    assert counts["write_errors"] >= len(failed)  # eight at once may find every victim busy
    assert (counts["corrupt"], counts["read_errors"]) == (0, 0)
    assert counts["evictions"] > 0
    assert held.disk_bytes == bytes_below(tmp_path) <= bound
    assert held.disk_entries == len(list((tmp_path / "keys").iterdir()))
    assert check(tmp_path) == []


class CacheMachine(RuleBasedStateMachine):
    """Two processes with one bound against a dict of what was put last under each key; a put may evict any other."""

    policy: Policy
    entries: dict[tuple[int, int], Entry]
    bound: int
    make_root: Callable[[], Path]
    bytes_below: Callable[[Path], int]

    @initialize()
    def begin(self) -> None:
        self.root = self.make_root()
        self.layout = Layout(self.root)
        self.model: dict[int, int] = {}
        self.pinned: set[int] = set()
        self.disks: list[DiskTier] = []
        self.caches: list[ResultCache] = []
        for who in range(PROCESSES):
            self.restart(who)

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        for old in self.disks[who : who + 1]:
            old.close()
        disk = DiskTier(self.root, max_bytes=self.bound, policy=self.policy)
        self.disks[who : who + 1] = [disk]
        self.caches[who : who + 1] = [ResultCache(MemoryTier(40_000), disk)]
        disk.scan()

    @rule(who=WHO)
    def lose_index(self, who: int) -> None:
        (self.root / NAME).unlink(missing_ok=True)
        self.disks[who].scan()

    @rule(who=WHO, seed=SEEDS, look=LOOKS)
    def put(self, who: int, seed: int, look: int) -> None:
        assert self.caches[who].put(self.entries[seed, look])
        self.model[seed] = look
        assert self.caches[1 - who].peek(self.key(seed)) == self.entries[seed, look]
        self._let_evicted_go()

    @rule(who=WHO, seed=SEEDS)
    def get(self, who: int, seed: int) -> None:
        hit = self.caches[who].get(self.key(seed))
        assert (hit and hit.entry) == (self.entries[seed, self.model[seed]] if seed in self.model else None)

    @rule(who=WHO, seed=SEEDS)
    def delete(self, who: int, seed: int) -> None:
        assert self.caches[who].delete(self.key(seed)) == (self.model.pop(seed, None) is not None)
        self.pinned.discard(seed)

    @rule(who=WHO, seed=SEEDS)
    def thumbnail(self, who: int, seed: int) -> None:
        assert (self.caches[who].thumbnail(self.key(seed)) is not None) == (seed in self.model)
        self._let_evicted_go()

    @precondition(lambda self: not self.pinned)
    @rule(who=WHO, seed=SEEDS)
    def pin(self, who: int, seed: int) -> None:
        assert self.caches[who].pin(self.key(seed)) == (seed in self.model)
        self.pinned |= {seed} & set(self.model)

    @rule(who=WHO, seed=SEEDS)
    def unpin(self, who: int, seed: int) -> None:
        assert self.caches[who].unpin(self.key(seed)) == (seed in self.pinned)
        self.pinned.discard(seed)

    @rule(who=WHO, pinned=st.booleans())
    def clear(self, who: int, pinned: bool) -> None:
        left = set() if pinned else self.pinned
        assert self.caches[who].clear(pinned=pinned) == len(self.model.keys() - left)
        self.model = {seed: look for seed, look in self.model.items() if seed in left}
        self.pinned = left

    @rule(who=WHO, entries=st.integers(0, 4))
    def prune(self, who: int, entries: int) -> None:
        before = len(self.model)
        pruned = self.caches[who].prune(to_bytes=entries * self.bound // 4)
        self._let_evicted_go()
        assert pruned.entries == before - len(self.model)

    @precondition(lambda self: self.model)
    @rule(who=WHO, choice=st.randoms(use_true_random=False), which=st.sampled_from(["record", "image"]))
    def remove_by_hand(self, who: int, choice: random.Random, which: str) -> None:
        seed = self._forget_one(choice)
        getattr(self.layout, which)(self.key(seed)).unlink()
        assert self.caches[who].get(self.key(seed)) is None

    @precondition(lambda self: self.model)
    @rule(who=WHO, choice=st.randoms(use_true_random=False))
    def damage(self, who: int, choice: random.Random) -> None:
        seed = self._forget_one(choice)
        os.truncate(self.layout.image(self.key(seed)), 100)
        self.restart(who)
        assert self.caches[who].get(self.key(seed)) is None

    @precondition(lambda self: hasattr(self, "caches"))
    @invariant()
    def counted_bytes_are_those_on_disk(self) -> None:
        for disk in (*self.disks, *self.disks):  # the second time they read the changes of the others
            disk.keep_up()
        for cache in self.caches:
            held = cache.held()
            assert held.disk_bytes == type(self).bytes_below(self.root) <= self.bound
            assert (held.disk_entries, held.pinned) == (len(self.model), len(self.pinned))

    def teardown(self) -> None:
        for disk in self.disks:
            disk.close()
        assert check(self.root) == []

    def key(self, seed: int) -> str:
        return self.entries[seed, 0].record.key

    def _forget_one(self, choice: random.Random) -> int:
        """Choose an entry that is not pinned: a pin outlives damage, and waits for the entry to come back."""
        seed = choice.choice(sorted(self.model))
        self.caches[0].unpin(self.key(seed))
        self.pinned.discard(seed)
        del self.model[seed]
        return seed

    def _let_evicted_go(self) -> None:
        self.model = {seed: look for seed, look in self.model.items() if self.caches[0].peek(self.key(seed))}
        assert self.pinned <= self.model.keys()


@pytest.mark.parametrize("policy", ["gdsf", "lru"])
def test_cache_against_a_dict(tmp_path_factory, entry, bytes_below, rounds, policy):
    """After any sequence of operations in two processes, removals by hand, damage, lost indexes and restarts.

    Right answers in both, exact bytes in both, pins that hold, a clean folder.
    """
    entries = {(seed, look): entry(seed, look=look) for seed in range(7) for look in range(2)}
    promised = {
        "policy": policy,
        "entries": entries,
        "bound": 4 * (len(entries[0, 0].png) + 1500) + 4000,
        "make_root": lambda _self: tmp_path_factory.mktemp("cache"),
        "bytes_below": staticmethod(bytes_below),
    }
    machine: type[CacheMachine] = type("Machine", (CacheMachine,), promised)
    case = machine.TestCase
    case.settings = settings(max_examples=rounds(200), stateful_step_count=30)

    case().runTest()


def test_no_write_waits_for_a_mass_eviction(tmp_path, entry, rounds, monkeypatch):
    """Writers on a folder far over its new bounds: none removes more than a batch, and in the end the bounds hold."""
    many, bound = rounds(3000), 40
    filling = DiskTier(tmp_path, max_bytes=0)
    for seed in range(many):
        filling.put(entry(seed, side=16))
    filling.close()
    (tmp_path / NAME).unlink()
    disk = DiskTier(tmp_path, max_bytes=0, max_entries=bound)
    cache = ResultCache(MemoryTier(0), disk)
    removed: dict[str, int] = {}
    remove = Store.remove

    def counted(store, key):
        name = threading.current_thread().name
        removed[name] = removed.get(name, 0) + 1
        return remove(store, key)

    monkeypatch.setattr(Store, "remove", counted)
    worst = []

    def write(first):
        for seed in range(first, first + 20):
            before = removed.get(threading.current_thread().name, 0)
            assert cache.put(entry(seed, side=16))
            worst.append(removed.get(threading.current_thread().name, 0) - before)

    cache.start()
    threads = [threading.Thread(target=write, args=(many + 1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: cache.learned)
    cache.close()
    while disk.relieve():
        pass

    assert max(worst) <= 16
    assert len(disk) == len(list((tmp_path / "keys").iterdir())) <= bound
    assert check(tmp_path) == []
