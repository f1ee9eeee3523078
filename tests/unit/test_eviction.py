"""Tests of cache.eviction."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.factories import present
from zimage_cache.cache.eviction import Footprint, Order

LONG_AGO, NOW = 1_000_000.0, 2_000_000.0
GONE = Footprint(0, whole=False, used=0.0)


def _set(order: Order, key: str, *, size: int = 10, cost: float = 1.0, used: float = LONG_AGO, **more) -> None:
    worth = order.worth(cost, 1, size)
    order.set(key, Footprint(size, whole=True, used=used, cost=cost, worth=worth, **more))


def _all(order: Order, now: float = NOW) -> list[str]:
    """Return who would go, one after the other, if all were skipped."""
    seen: set[str] = set()
    gone = []
    while (key := order.victim(now, seen)) is not None:
        seen.add(key)
        gone.append(key)
    return gone


def test_least_gpu_seconds_a_byte_go_first():
    """Cheap and large goes before dear and small; being served twice is worth twice as much."""
    order = Order()
    _set(order, "dear", cost=9.0)
    _set(order, "cheap", cost=1.0)
    _set(order, "large", cost=9.0, size=1000)
    _set(order, "served", cost=1.0)
    order.use("served", LONG_AGO)

    assert _all(order) == ["large", "cheap", "served", "dear"]


def test_newcomers_overtake_what_was_once_popular():
    """Each eviction raises the base value of later entries, so that entries do not stay forever because of old uses."""
    order = Order()
    _set(order, "popular", cost=5.0)
    for number in range(20):
        _set(order, f"new {number}")
        victim = present(order.victim(NOW))
        order.went(present(order.get(victim)).worth)
        order.set(victim, GONE)
        if victim == "popular":
            break

    assert order.get("popular") is None
    assert 3 < number < 8


def test_lru_ignores_merits():
    """Under `lru` the least recently used goes first, also when the clock stops or is set back."""
    order = Order("lru")
    for key in "abcd":
        _set(order, key, cost=100.0 if key == "a" else 1.0)
    for moment, key in ((NOW, "b"), (NOW, "a"), (NOW - 500_000, "c"), (NOW - 500_000, "b")):
        order.use(key, moment)

    assert _all(order, NOW * 2) == ["d", "a", "c", "b"]


@pytest.mark.parametrize("policy", ["gdsf", "lru"])
def test_recently_served_go_last(policy):
    """Who was served within the grace goes after all others, whatever it is worth, but goes when no other is left."""
    order = Order(policy, grace=600.0)
    _set(order, "served", cost=0.001)
    _set(order, "dear", cost=100.0)
    order.use("served", NOW)

    assert _all(order, NOW + 599) == ["dear", "served"]
    assert _all(order, NOW + 601) == (["served", "dear"] if policy == "gdsf" else ["dear", "served"])


@pytest.mark.parametrize("jump", [-31_536_000.0, 31_536_000.0])
def test_grace_under_a_clock_that_jumps(jump):
    """A clock change by a year ends every grace time; no entry becomes permanent, and nothing fails."""
    order = Order(grace=600.0)
    _set(order, "a", cost=2.0)
    _set(order, "b", cost=1.0)
    order.use("b", NOW)
    order.use("b", NOW)
    assert _all(order, NOW) == ["a", "b"]

    assert _all(order, NOW + jump) == ["a", "b"]
    order.use("a", NOW + jump)
    assert _all(order, NOW + jump) == ["b", "a"]


def test_pinned_never_go():
    """A pin removes a key from the order, and unpinning adds it again."""
    order = Order()
    _set(order, "a")
    _set(order, "b", cost=5.0)
    assert order.victim(NOW) == "a"
    order.set("a", replace(present(order.get("a")), pinned=True))
    assert (_all(order), order.pinned) == (["b"], 1)

    order.set("a", replace(present(order.get("a")), pinned=False))

    assert (_all(order), order.pinned) == (["a", "b"], 0)


def test_leftovers_go_first():
    """Files that cannot be served are worth nothing."""
    order = Order()
    _set(order, "entry", cost=0.0)
    order.set("leftover", Footprint(5, whole=False, used=NOW))

    assert _all(order) == ["leftover", "entry"]


def test_counts_are_exact():
    """Bytes and entries follow every change; leftovers have bytes, but are no entries; nothing is forgotten."""
    order = Order()
    _set(order, "a")
    _set(order, "b")
    order.set("a", Footprint(3, whole=False, used=0.0))
    assert (order.bytes, order.entries) == (13, 1)

    order.set("b", GONE)
    order.set("never", GONE)

    assert (order.bytes, order.entries, _all(order)) == (3, 0, ["a"])


def test_floor_of_a_new_process():
    """What is there counts as what survived: a newcomer is worth more than the least of it, not less than all."""
    order = Order()
    for number in range(3):
        order.set(f"old {number}", Footprint(10, whole=True, used=LONG_AGO, cost=1.0, worth=50.0 + number))
    order.settle_floor()
    _set(order, "new", cost=15.0)

    assert _all(order) == ["old 0", "old 1", "new", "old 2"]


def test_using_a_key_is_cheap_and_leaves_no_trail():
    """A thousand uses queue nothing, a thousand changes do not pile up, and the victim is still the right one."""
    order = Order()
    for key in ("a", "b"):
        _set(order, key)
    queue = order._settled._heap  # noqa: SLF001 - what it leaves behind takes memory and changes no answer
    before = len(queue)
    for _ in range(1000):
        order.use("a", LONG_AGO)
    assert len(queue) == before

    for size in range(1, 1000):
        _set(order, "a", size=size)

    assert len(queue) < 100
    assert order.victim(NOW) == "a"


class OrderMachine(RuleBasedStateMachine):
    """`Order` against a dict that is searched whole for each victim."""

    policy: Literal["gdsf", "lru"] = "gdsf"
    keys = st.sampled_from("abcdefgh")

    def __init__(self) -> None:
        super().__init__()
        self.order = Order(self.policy, grace=10.0)
        self.now = 1000.0
        self.floor = 0.0
        self.turn = 0
        self.model: dict[str, dict[str, float]] = {}

    @rule(key=keys, size=st.integers(1, 50), cost=st.integers(0, 50), pinned=st.booleans())
    def put(self, key: str, size: int, cost: int, pinned: bool) -> None:
        self.turn += 1
        worth = self.floor + cost / size
        self.model[key] = {"size": size, "cost": cost, "uses": 1, "worth": worth, "pinned": pinned}
        self.model[key] |= {"used": self.now, "turn": self.turn}
        mine = Footprint(size, whole=True, used=self.now, cost=cost, pinned=pinned)
        mine.worth = self.order.worth(cost, 1, size)
        self.order.set(key, mine)
        self.order.use(key, self.now, times=0)

    @rule(key=keys)
    def use(self, key: str) -> None:
        self.order.use(key, self.now)
        if (known := self.model.get(key)) is not None:
            self.turn += 1
            known["uses"] += 1
            known["worth"] = self.floor + known["uses"] * known["cost"] / known["size"]
            known |= {"used": self.now, "turn": self.turn}

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.model.pop(key, None)
        self.order.set(key, GONE)

    @rule(seconds=st.sampled_from([0.5, 5.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(skipped=st.sets(keys, max_size=3))
    def evict(self, skipped: set[str]) -> None:
        victim = self.order.victim(self.now, skipped)
        free = {key: known for key, known in self.model.items() if not known["pinned"] and key not in skipped}
        ranks = {key: self.rank(known) for key, known in free.items()}
        if victim is None:
            assert not free
            return
        assert ranks[victim] == min(ranks.values())
        self.floor = max(self.floor, self.model.pop(victim)["worth"])
        self.order.went(present(self.order.get(victim)).worth)
        self.order.set(victim, GONE)

    def rank(self, known: dict[str, float]) -> tuple[bool, float]:
        return self.now - known["used"] < 10.0, known["worth" if self.policy == "gdsf" else "turn"]

    @invariant()
    def counts(self) -> None:
        assert self.order.bytes == sum(known["size"] for known in self.model.values())
        assert self.order.entries == len(self.model)
        assert self.order.pinned == sum(known["pinned"] for known in self.model.values())


@pytest.mark.parametrize("policy", ["gdsf", "lru"])
def test_against_brute_force(policy):
    """After any sequence the victim is the one that a search through everything finds."""
    machine: type[OrderMachine] = type("Machine", (OrderMachine,), {"policy": policy})
    case = machine.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=40)

    case().runTest()
