"""Every kind of damage that a disk or a person does to files, in numbers: none is served, none is met as an error."""

import random
from pathlib import Path

import pytest

from zimage_cache.cache.check import FindingKind, check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.store import MOST_INCIDENTS, QUARANTINE_BYTES

pytestmark = pytest.mark.stress
PAGE = 4096


def _flip(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _truncate(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _zero_page(content: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(content) // PAGE) * PAGE
    content[begin : begin + PAGE] = bytes(PAGE)


def _damage(path: Path, how, rng: random.Random) -> None:
    before = path.read_bytes()
    content = bytearray(before)
    how(content, rng)
    assert content != before
    path.write_bytes(content)


@pytest.mark.parametrize("finder", ["get", "scrub", "check"])
def test_damaged_pictures_are_all_caught(tmp_path, entry, rounds, finder):
    """200 bit flips, 100 truncations, 50 zeroed pages: each found by who asks, by the scrub, and by the check."""
    rng = random.Random(20261121)
    layout, tier = Layout(tmp_path), DiskTier(tmp_path, max_bytes=0)
    cases = [_flip] * rounds(200) + [_truncate] * rounds(100) + [_zero_page] * rounds(50)
    caught = 0
    for number, how in enumerate(cases):
        mine = entry(number % 5)
        tier.put(mine)
        _damage(layout.image(mine.record.key), how, rng)
        if finder == "check":
            caught += [finding.kind for finding in check(tmp_path, repair=True)] == [FindingKind.CORRUPT]
        else:
            if finder == "scrub":
                tier.scrub(10**9)
            caught += tier.tally["corrupt"] == number if finder == "get" else tier.tally["corrupt"] == number + 1
        assert tier.get(mine.record.key) is None

    assert caught == len(cases)
    assert len(list(layout.quarantine.iterdir())) <= MOST_INCIDENTS
    assert sum(path.stat().st_size for path in layout.quarantine.rglob("*") if path.is_file()) <= QUARANTINE_BYTES
    assert (tier.tally["read_errors"], tier.tally["write_errors"]) == (0, 0)
    assert check(tmp_path) == []


def test_swapped_files_are_all_caught(tmp_path, entry, rounds):
    """Healthy pictures and records under each other's names, one or both: a hundred swaps, nothing served."""
    rng = random.Random(20261121)
    layout, tier = Layout(tmp_path), DiskTier(tmp_path, max_bytes=0)
    for _ in range(rounds(100)):
        keys = [entry(seed).record.key for seed in rng.sample(range(8), 2)]
        for seed in range(8):
            tier.put(entry(seed))
        for path_of in rng.choice([[layout.image], [layout.record], [layout.image, layout.record]]):
            one, two = map(path_of, keys)
            content = one.read_bytes()
            one.write_bytes(two.read_bytes())
            two.write_bytes(content)

        assert [tier.get(key) for key in keys] == [None, None]

    assert tier.tally["corrupt"] == 2 * rounds(100)
    assert check(tmp_path) == []


def test_damaged_records_serve_no_other_picture(tmp_path, entry, rounds):
    """Flips and cuts in records, which have no checksum of their own: the right picture or a miss, never an error."""
    rng = random.Random(20261121)
    layout, tier = Layout(tmp_path), DiskTier(tmp_path, max_bytes=0)
    missed = 0
    for number in range(rounds(400)):
        mine = entry(number % 5)
        tier.put(mine)
        _damage(layout.record(mine.record.key), _flip if number % 2 else _truncate, rng)

        found = tier.get(mine.record.key)
        assert found is None or found.entry.png == mine.png
        missed += found is None
        tier.page("", 5, None)
        tier.scan()

    assert missed > rounds(400) // 2
    assert (tier.tally["read_errors"], tier.tally["write_errors"]) == (0, 0)
    assert check(tmp_path) == []
