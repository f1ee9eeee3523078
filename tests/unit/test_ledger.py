"""Tests of cache.ledger: several ledgers on one index act as several processes."""

from datetime import UTC, datetime

import pytest

from zimage_cache.cache.eviction import Order
from zimage_cache.cache.index import Index
from zimage_cache.cache.ledger import Bounds, Ledger
from zimage_cache.cache.store import Presence
from zimage_cache.cache.trouble import LimitedWarnings, Tally

NOW = 2_000_000_000.0
WHOLE = Presence(record=10, image=90, used=NOW, changed=NOW, stamp=7)


@pytest.fixture
def make(tmp_path):
    """Give a maker of ledgers; each call is a process of its own."""

    def maker(policy="gdsf") -> Ledger:
        index = Index(tmp_path, tally=Tally(), warnings=LimitedWarnings())
        return Ledger(index, Order(policy), lambda: NOW)

    return maker


def _record(entry, gpu_seconds: float = 1.5):
    return entry(1).record.model_copy(update={"gpu_seconds": gpu_seconds, "created": datetime(2026, 1, 1, tzinfo=UTC)})


def test_what_one_writes_counts_for_all(make, entry):
    """Bytes, entries, pins and merits of what another process stored, and that it is gone again."""
    mine, theirs = make(), make()
    record = _record(entry)
    mine.write("a" * 64, WHOLE, record)
    mine.write("b" * 64, Presence(record=1, image=1, stamp=1, pinned=True), record)

    theirs.follow()
    assert (theirs.bytes, theirs.entries, theirs.pinned) == (102, 2, 1)
    assert theirs.get("a" * 64).cost == 1.5
    mine.write("a" * 64, Presence(), None)
    theirs.follow()

    assert (theirs.bytes, theirs.entries, theirs.pinned) == (mine.bytes, mine.entries, mine.pinned) == (2, 1, 1)


def test_hits_in_another_process_save_from_eviction(make, entry):
    """Entries served by another process, even from memory, are worth more here once the index has that."""
    mine, theirs = make(), make()
    mine.write("a" * 64, WHOLE, _record(entry))
    mine.write("b" * 64, WHOLE, _record(entry))
    theirs.follow()
    for _ in range(3):
        theirs.use("a" * 64, 60.0)
    theirs.flush()
    mine.follow()

    assert mine.get("a" * 64).frequency == 4
    assert mine.victim(set()) == "b" * 64


def test_uses_not_written_yet_are_not_lost(make, entry):
    """News about a key do not overwrite what was counted here meanwhile; nothing is counted twice."""
    mine, theirs = make(), make()
    mine.write("a" * 64, WHOLE, _record(entry))
    theirs.follow()
    mine.use("a" * 64, 60.0)
    theirs.use("a" * 64, 60.0)
    theirs.use("a" * 64, 60.0)
    theirs.flush()
    mine.follow()
    assert mine.get("a" * 64).frequency == 4

    mine.flush()
    mine.flush()
    mine.follow()
    theirs.follow()
    assert mine.get("a" * 64).frequency == theirs.get("a" * 64).frequency == 4


def test_uses_are_written_once(make, entry):
    """A use that was written with a row is not written again by a later flush."""
    mine, theirs = make(), make()
    mine.write("a" * 64, WHOLE, _record(entry))
    mine.use("a" * 64, 60.0)
    mine.write("a" * 64, WHOLE, _record(entry))
    mine.flush()
    theirs.follow()

    assert theirs.get("a" * 64).frequency == 2


def test_a_new_process_begins_at_the_floor_of_the_old(make, entry):
    """After the first scan a newcomer counts as much as the least of those that survived so far, not as nothing."""
    old = make()
    old.write("b" * 64, WHOLE, _record(entry, 5000.0))
    old.write("b" * 64, Presence(), None, evicted=True)
    old.write("a" * 64, WHOLE, _record(entry, 1.0))
    old.index.settle(NOW + 100_000.0)
    new = make()
    with new.scanning():
        pass
    new.write("c" * 64, WHOLE, _record(entry, 2.0))

    assert new.victim(set()) == "a" * 64


def test_evictions_raise_the_floor_for_all(make, entry):
    """An eviction there ages what is here; a deletion does not."""
    mine, theirs = make(), make()
    mine.write("a" * 64, WHOLE, _record(entry, 100.0))
    mine.write("b" * 64, WHOLE, _record(entry, 900.0))
    mine.write("b" * 64, Presence(), None)
    theirs.follow()
    worth = theirs._order.worth  # noqa: SLF001 - a victim shows which key is worth less, not why
    assert worth(0.0, 1, 1) == 0.0
    mine.write("a" * 64, Presence(), None, evicted=True)
    theirs.follow()

    assert worth(0.0, 1, 1) == 1.0


def test_scan_does_not_overrule_what_happened_meanwhile(make, entry):
    """What was removed or written while a scan was under way, here or elsewhere, stays so, whatever the scan saw."""
    mine, theirs = make(), make()
    record = _record(entry)
    keys = {name: name * 64 for name in "abcd"}
    mine.write(keys["a"], WHOLE, record)
    with mine.scanning():
        seen = [(key, Presence(record=500, image=500, stamp=1), record) for key in keys.values()]
        mine.write(keys["a"], Presence(), None)
        mine.write(keys["b"], WHOLE, record)
        theirs.write(keys["c"], WHOLE, record)
        mine.found(seen)

    assert {key: mine.get(key) and mine.get(key).bytes for key in keys.values()} == {
        keys["a"]: None,
        keys["b"]: 100,
        keys["c"]: 100,
        keys["d"]: 1000,
    }


def test_strange_is_what_either_witness_denies(make, entry):
    """A key is looked at again when the index, the memory or the disk say different things of it, and only then."""
    ledger = make()
    record = _record(entry)
    for name in "abc":
        ledger.write(name * 64, WHOLE, record)
    ledger.index.close()
    ledger.index.path.unlink()
    ledger.write("a" * 64, WHOLE, record)

    seen = {"a" * 64: WHOLE, "b" * 64: WHOLE, "d" * 64: WHOLE, "e" * 64: Presence(pinned=True)}

    assert sorted(ledger.strange(seen)) == ["b" * 64, "c" * 64, "d" * 64]


@pytest.mark.parametrize(
    ("bounds", "held", "over"),
    [
        (Bounds(0), (10**12, 10**9), False),
        (Bounds(100), (100, 5), False),
        (Bounds(100), (101, 5), True),
        (Bounds(0, 5), (10**12, 5), False),
        (Bounds(0, 5), (0, 6), True),
    ],
)
def test_bounds(bounds, held, over):
    """Zero is no limit; the limit itself is allowed."""
    assert bounds.exceeded(*held) == over


def test_target_leaves_room():
    """Once exceeded, one byte in twenty is freed; the number of entries is met exactly."""
    assert Bounds(1000, 10).target == Bounds(950, 10)
    assert Bounds(0, 0).target == Bounds(0, 0)


def test_surplus(make, entry):
    """First all that are too old, whatever they are worth; then the least worth until the bytes fit; no pinned ones."""
    ledger = make()
    old, new = datetime(2020, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)
    for name, created, cost in (("a", old, 99.0), ("b", new, 1.0), ("c", new, 5.0)):
        ledger.write(name * 64, WHOLE, _record(entry, cost).model_copy(update={"created": created}))
    ledger.write("d" * 64, Presence(record=10, image=90, stamp=1, pinned=True), _record(entry))

    def names(**limits):
        return "".join(key[0] for key, _ in ledger.surplus(**limits))

    year = 366 * 86400.0
    assert names(older_than=None, to_bytes=None) == ""
    assert names(older_than=year, to_bytes=None) == "a"
    assert names(older_than=year, to_bytes=250) == "ab"
    assert names(older_than=None, to_bytes=250) == "bc"
    assert names(older_than=None, to_bytes=0) == "bca"
