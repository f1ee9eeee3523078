"""Tests of cache.disk: every row of trouble ends as a miss, counted, with the folder clean and the bytes exact."""

import contextlib
import errno
import itertools
import json
import os
import shutil
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.factories import present
from zimage_cache.cache import disk as disk_module
from zimage_cache.cache import files
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.index import NAME, Index
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.ledger import Ledger
from zimage_cache.cache.locks import Stripes
from zimage_cache.cache.store import Store
from zimage_cache.cache.tier import Stored
from zimage_cache.entry import Entry
from zimage_cache.errors import CacheWriteFailed

TROUBLE = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE]
NOW = 1_800_000_000.0
HOUR = 3600.0
YEAR = 365 * 24 * HOUR


@pytest.fixture
def root(tmp_path):
    """Give a cache folder that must be clean in the end, and hold no temporary file."""
    yield tmp_path / "cache"
    assert check(tmp_path / "cache") == []
    assert list(files.listing(tmp_path / "cache" / "tmp")) == []


@pytest.fixture
def tier(root):
    return DiskTier(root, max_bytes=0)


def _raiser(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def _quarantined(root: Path) -> list[str]:
    """Return the reasons in quarantine."""
    return [path.read_text() for path in sorted((root / "quarantine").glob("*/reason.txt"))]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _replaced(path: Path, plant) -> None:
    path.unlink()
    plant(path)


def _other_canonical(path: Path) -> None:
    _edit(path, canonical=json.loads(path.read_text())["canonical"].replace("circle", "square"))


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGE_TO_IMAGE = {
    "truncated": lambda path: os.truncate(path, 1000),
    "zero length": lambda path: os.truncate(path, 0),
    "one bit flipped": _flip,
    "one byte more": _longer,
    "zeroed page": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(4096) + path.read_bytes()[8192:]),
    "foreign file": lambda path: path.write_bytes(b"GIF89a"),
    "symlink": lambda path: _replaced(path, lambda p: p.symlink_to("/etc/passwd")),
    "dangling symlink": lambda path: _replaced(path, lambda p: p.symlink_to("nowhere")),
    "folder": lambda path: _replaced(path, os.mkdir),
    "FIFO": lambda path: _replaced(path, os.mkfifo),
}
DAMAGE_TO_RECORD = {
    "truncated": lambda path: os.truncate(path, 100),
    "zero length": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(os.urandom(500)),
    "invalid JSON": lambda path: path.write_text("{"),
    "deep JSON": lambda path: path.write_text("[" * 100_000),
    "no object": lambda path: path.write_text("7"),
    "huge": lambda path: os.truncate(path, 3 * 2**20),
    "field missing": lambda path: path.write_text('{"key": "x"}'),
    "other canonical": _other_canonical,
    "lone surrogate": lambda path: _edit(path, canonical="\ud800"),
    "other key": lambda path: _edit(path, key="0" * 64),
    "other digest": lambda path: _edit(path, digest="0" * 64),
    "other size": lambda path: _edit(path, bytes=7),
    "endless size": lambda path: _edit(path, bytes=2**62),
    "symlink": lambda path: _replaced(path, lambda p: p.symlink_to("/etc/passwd")),
    "folder": lambda path: _replaced(path, os.mkdir),
    "FIFO": lambda path: _replaced(path, os.mkfifo),
}
DAMAGE = [("image", name, damage) for name, damage in DAMAGE_TO_IMAGE.items()]
DAMAGE += [("record", name, damage) for name, damage in DAMAGE_TO_RECORD.items()]


@pytest.mark.parametrize(("which", "damage"), [(w, d) for w, _, d in DAMAGE], ids=[f"{w}: {n}" for w, n, _ in DAMAGE])
@pytest.mark.parametrize("known", [True, False], ids=["own", "another process's"])
def test_damaged_entry_is_quarantined(root, tier, entry, bytes_below, *, which, damage, known):
    """Whatever happened to a file: a miss, counted once, kept with a reason, and storing anew just works."""
    mine = entry(1, side=96)
    tier.put(mine)
    damage(getattr(Layout(root), which)(mine.record.key))
    reader = tier if known else DiskTier(root, max_bytes=0)

    assert reader.get(mine.record.key) is None
    assert reader.get(mine.record.key) is None

    assert reader.tally["corrupt"] == 1
    assert reader.tally["read_errors"] == 0
    assert len(_quarantined(root)) == 1
    assert (len(reader), reader.bytes) == (0, bytes_below(root)) == (0, 0)
    reader.put(mine)
    assert present(reader.get(mine.record.key)).entry == mine


def test_swapped_entries_are_not_served(root, tier, entry):
    """Two healthy files of each kind under each other's names: both are misses."""
    one, two = entry(1), entry(2)
    tier.put(one)
    tier.put(two)
    layout = Layout(root)
    for path_of in (layout.record, layout.image):
        spare = root / "spare"
        path_of(one.record.key).rename(spare)
        path_of(two.record.key).rename(path_of(one.record.key))
        spare.rename(path_of(two.record.key))

    assert tier.get(one.record.key) is None
    assert tier.get(two.record.key) is None
    assert tier.tally["corrupt"] == 2


def test_links_are_not_followed_to_healthy_files(root, tier, entry, tmp_path):
    """A link is corrupt even when it leads to the right bytes: what lies outside is not ours to promise."""
    mine = entry(1)
    tier.put(mine)
    image = Layout(root).image(mine.record.key)
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")

    assert tier.get(mine.record.key) is None
    assert (tmp_path / "elsewhere.png").read_bytes() == mine.png


@pytest.mark.parametrize("which", ["record", "image"])
def test_deleting_by_hand_is_a_miss_at_once(root, tier, entry, bytes_below, which):
    """`rm` of either file is a deletion, not damage: a miss, nothing in quarantine, nothing counted as corrupt."""
    mine = entry(1)
    tier.put(mine)
    getattr(Layout(root), which)(mine.record.key).unlink()

    assert tier.get(mine.record.key) is None

    assert tier.tally["corrupt"] == tier.tally["read_errors"] == 0
    assert _quarantined(root) == []
    assert not Layout(root).record(mine.record.key).exists()
    tier.keep_up()
    assert (len(tier), tier.bytes) == (0, bytes_below(root))


def test_orphans_stay_for_an_hour(root, entry, bytes_below):
    """An image without a record is removed after an hour: copying a cache by hand may take that long."""
    mine = entry(1)
    DiskTier(root, max_bytes=0).put(mine)
    Layout(root).record(mine.record.key).unlink()
    born = Layout(root).image(mine.record.key).stat().st_ctime
    young = DiskTier(root, max_bytes=0, clock=lambda: born + HOUR - 60)
    old = DiskTier(root, max_bytes=0, clock=lambda: born + HOUR + 60)

    young.scan()
    assert (len(young), young.bytes) == (0, len(mine.png))
    old.scan()

    assert old.bytes == bytes_below(root) == 0


def test_scan_sweeps_what_dead_writers_left(root, tier, entry):
    """Files in `tmp/` whose writer holds no lock any more go at once, foreign ones after an hour, live ones never."""
    tier.put(entry(1))
    dead, live = entry(2).record.key, entry(3).record.key
    tmp = root / "tmp"
    for name in (f"{dead}.1", f"{live}.2", "foreign"):
        (tmp / name).write_bytes(b"x")

    with Stripes(root / "locks").hold(live):
        DiskTier(root, max_bytes=0).scan()
        assert sorted(path.name for path in tmp.iterdir()) == sorted([f"{live}.2", "foreign"])

    later = (tmp / "foreign").stat().st_mtime + HOUR + 60
    DiskTier(root, max_bytes=0, clock=lambda: later).scan()
    assert list(tmp.iterdir()) == []


@pytest.mark.parametrize("index", ["kept", "lost"])
def test_scan_learns_and_evicts(root, entry, bytes_below, index):
    """A restart knows what is there and in which order it was used; a smaller bound takes effect at once."""
    now = [NOW]
    first = DiskTier(root, max_bytes=0, clock=lambda: now[0])
    for seed in range(6):
        now[0] += 2 * HOUR
        first.put(entry(seed))
    now[0] += 2 * HOUR
    first.get(entry(0).record.key)
    total = first.bytes
    first.close()
    if index == "lost":
        (root / NAME).unlink()

    same = DiskTier(root, max_bytes=0)
    same.scan()
    assert (same.bytes, len(same)) == (total, 6)
    smaller = DiskTier(root, max_bytes=total * 11 // 20, policy="lru")
    smaller.scan()

    left = [seed for seed in range(6) if smaller.peek(entry(seed).record.key)]
    assert left == [0, 4, 5]
    assert smaller.bytes == bytes_below(root) <= total * 11 // 20
    assert smaller.tally["evictions"] == 3


@pytest.mark.parametrize("years", [-150, 300, 900])
def test_a_record_of_any_year_is_indexed(root, tier, entry, years):
    """Clocks that are wrong, and `touch`: an entry whose record has such a time is indexed, as are those beside it."""
    stored = [present(tier.put(entry(seed))).key for seed in range(3)]
    tier.close()
    (root / NAME).unlink()
    os.utime(Layout(root).record(stored[1]), (NOW + years * YEAR,) * 2)

    again = DiskTier(root, max_bytes=0)
    again.scan()

    assert again.tally["index_errors"] == 0
    assert all(again.get(key) for key in stored)
    with contextlib.closing(sqlite3.connect(root / NAME)) as database:
        assert database.execute("SELECT count(*) FROM entries WHERE bytes > 0").fetchone() == (3,)


def test_foreign_files_are_left_alone(root, tier, entry):
    """What is none of ours (`lost+found`, notes, other endings) is not counted, served, moved or removed."""
    tier.put(entry(1))
    foreign = [root / "keys" / "notes.txt", root / "images" / ("0" * 64 + ".jpg"), root / "README"]
    for path in foreign:
        path.write_text("mine")
    (root / "images" / "lost+found").mkdir()
    fresh = DiskTier(root, max_bytes=0)
    fresh.scan()

    assert (fresh.bytes, len(fresh)) == (tier.bytes, 1)
    assert fresh.clear() == 1
    assert all(path.read_text() == "mine" for path in foreign)


def test_touch_spares_the_record(root, entry):
    """A hit notes its time on the picture, at most once an hour, and leaves the record's signature alone."""
    now = [NOW]
    tier = DiskTier(root, max_bytes=0, clock=lambda: now[0])
    stored = present(tier.put(entry(1)))
    image = Layout(root).image(stored.key)

    seen = []
    for passed in (0, HOUR - 1, 2, YEAR, -2 * YEAR):
        now[0] += passed
        tier.get(stored.key)
        seen.append(image.stat().st_mtime)

    assert seen == [NOW, NOW, NOW + HOUR + 1, NOW + HOUR + 1 + YEAR, NOW + HOUR + 1 - YEAR]
    assert present(tier.get(stored.key)).signature == stored.signature


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_clock_jumps(root, entry, jump):
    """A clock a year off expires nothing, sweeps nothing that is whole, and miscounts nothing."""
    DiskTier(root, max_bytes=0).put(entry(1))
    now = Layout(root).image(entry(1).record.key).stat().st_mtime + jump
    tier = DiskTier(root, max_bytes=0, clock=lambda: now)
    tier.scan()

    assert present(tier.get(entry(1).record.key)).entry == entry(1)
    assert len(tier) == 1


def test_quarter_of_the_bound(root, entry, bytes_below):
    """An entry over 25 % of the bound is not stored, and nothing is evicted for it; one just below is stored."""
    tier = DiskTier(root, max_bytes=0)
    tier.put(entry(1))
    exact = 4 * tier.bytes
    assert DiskTier(root, max_bytes=exact).put(entry(1)) is not None

    bounded = DiskTier(root, max_bytes=exact - 1)
    bounded.scan()

    assert bounded.put(entry(2)) is None
    assert (bounded.tally["oversized"], bounded.tally["evictions"], bounded.tally["write_errors"]) == (1, 0, 0)
    assert bounded.bytes == bytes_below(root)


def test_room_is_made_before_writing(root, entry, monkeypatch, bytes_below):
    """The folder is within the bound at every instant: when the new files appear, the old ones are gone."""
    probe = DiskTier(root, max_bytes=0)
    probe.put(entry(0))
    bound = 4 * probe.bytes + 500
    tier = DiskTier(root, max_bytes=bound)
    tier.scan()
    seen = []
    really = os.fsync

    def watch(descriptor):
        seen.append(sum(path.lstat().st_size for path in (root / "tmp").iterdir()) + bytes_below(root))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    for seed in range(1, 8):
        tier.put(entry(seed))

    assert tier.tally["evictions"] == 4
    assert max(seen) <= bound


def test_busy_victims_are_skipped(root, entry):
    """Eviction does not wait: a locked entry stays, the next one goes; when all are locked, storing fails cleanly."""
    tier = DiskTier(root, max_bytes=0)
    entries = sorted((entry(seed) for seed in range(7)), key=lambda e: e.record.key)
    for one in entries[:6]:
        tier.put(one)
    tier.max_bytes = tier.bytes + 100
    hold = Stripes(root / "locks").hold  # as another process
    assert len({one.record.key[:2] for one in entries}) == 7

    with hold(entries[0].record.key):
        tier.put(entries[6])
    kept = [one for one in entries if tier.peek(one.record.key)]
    assert entries[0] in kept
    assert entries[6] in kept
    (missing, *_) = [one for one in entries if one not in kept]
    tier.max_bytes = tier.bytes + 100

    with contextlib.ExitStack() as stack:
        for one in kept:
            stack.enter_context(hold(one.record.key))
        with pytest.raises(CacheWriteFailed, match="no room"):
            tier.put(missing)
    assert tier.put(missing) is not None


def test_free_disk_floor(root, entry, monkeypatch):
    """Below the minimum of free space nothing is stored and one batch is evicted, once; above it, storing continues."""
    monkeypatch.setattr(disk_module, "_BATCH", 2)
    tier = DiskTier(root, max_bytes=0, min_free_bytes=10**6)
    free = [10**9]
    monkeypatch.setattr(files, "free_bytes", lambda _folder: free[0])
    for seed in range(5):
        tier.put(entry(seed))

    free[0] = 10**6
    for _ in range(3):
        with pytest.raises(CacheWriteFailed, match="to leave free"):
            tier.put(entry(9))
    assert (len(tier), tier.tally["evictions"]) == (3, 2)

    free[0] = 10**9
    assert tier.put(entry(9)) is not None
    free[0] = 0
    with pytest.raises(CacheWriteFailed):
        tier.put(entry(10))
    assert tier.tally["evictions"] == 4


def test_batch_can_be_enough(root, entry, monkeypatch):
    """When the batch brings the disk back above the floor, the entry is stored after all."""
    tier = DiskTier(root, max_bytes=0, min_free_bytes=10**6)
    tier.put(entry(1))
    monkeypatch.setattr(files, "free_bytes", lambda _folder: 10**9 if tier.tally["evictions"] else 0)

    assert tier.put(entry(2)) is not None


@pytest.mark.parametrize("number", TROUBLE)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("before", ["empty", "replacing"])
def test_writing_trouble(root, tier, entry, monkeypatch, bytes_below, *, number, call, before):
    """A failing disk costs the storing only: our error, counted, no temporary file, bytes exact, then recovery."""
    tier.put(entry(9))
    if before == "replacing":
        tier.put(entry(1, look=1))
    monkeypatch.setattr(os, call, _raiser(number))

    with pytest.raises(CacheWriteFailed) as caught:
        tier.put(entry(1, look=2))

    monkeypatch.undo()
    assert files.kind(caught.value) == errno.errorcode[number]
    assert tier.tally["write_errors"] == 1
    assert list((root / "tmp").iterdir()) == []
    assert tier.bytes == bytes_below(root)
    assert tier.put(entry(1, look=2)).entry == tier.get(entry(1).record.key).entry == entry(1, look=2)
    assert tier.tally["corrupt"] == 0


@pytest.mark.parametrize("failing", range(1, 6))
def test_any_rename_or_removal_can_fail(root, tier, entry, monkeypatch, bytes_below, *, failing):
    """Stopped after any number of steps, a replacement leaves the old entry, none, or the new one: never a mixture."""
    old, new = entry(1, look=1), entry(1, look=2)
    tier.put(old)
    left = [failing]

    def stepping(function):
        def step(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.EIO, "broken")
            return function(*args, **kwargs)

        return step

    for call in ("replace", "unlink"):
        monkeypatch.setattr(os, call, stepping(getattr(os, call)))
    try:
        stored = tier.put(new)
    except CacheWriteFailed:
        stored = None
    monkeypatch.undo()

    found = DiskTier(root, max_bytes=0).get(old.record.key)
    assert (found and found.entry) in ((new,) if stored else (old, None, new))
    assert tier.tally["corrupt"] == 0
    assert tier.bytes == bytes_below(root)
    DiskTier(root, max_bytes=0, clock=lambda: NOW + 100 * YEAR).scan()


@pytest.mark.parametrize("number", TROUBLE)
def test_reading_trouble(root, tier, entry, monkeypatch, number):
    """A disk that does not answer is a miss and a counter; nothing is judged by it; afterwards all is well."""
    tier.put(entry(1))
    monkeypatch.setattr(os, "open", _raiser(number))

    assert tier.get(entry(1).record.key) is None

    monkeypatch.undo()
    assert (tier.tally["read_errors"], tier.tally["corrupt"]) == (1, 0)
    assert _quarantined(root) == []
    assert present(tier.get(entry(1).record.key)).entry == entry(1)


def _read_only(monkeypatch):
    """Make every way to change a disk fail, as on a read-only mount: root may ignore a chmod."""
    really = os.open

    def open_to_read(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "read-only")
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_to_read)
    for call in ("mkdir", "rename", "replace", "unlink", "utime"):
        monkeypatch.setattr(os, call, _raiser(errno.EROFS))


@pytest.mark.parametrize("scanned", [True, False])
def test_read_only_folder_serves_hits(root, tier, entry, monkeypatch, scanned):
    """On a read-only disk hits work, also of entries not met before, and misses are misses; damage is not served."""
    tier.put(entry(1))
    tier.put(entry(2))
    _flip(Layout(root).image(entry(2).record.key))
    fresh = DiskTier(root, max_bytes=1)
    _read_only(monkeypatch)

    if scanned:
        fresh.scan()
    assert present(fresh.get(entry(1).record.key)).entry == entry(1)
    assert fresh.get(entry(2).record.key) is None
    with pytest.raises(CacheWriteFailed):
        fresh.delete(entry(1).record.key)

    monkeypatch.undo()
    assert tier.get(entry(2).record.key) is None


def test_unreadable_permissions(root, entry):
    """A folder without permissions is trouble, not a crash; root passes through, and finds the entry."""
    DiskTier(root, max_bytes=0).put(entry(1))
    (root / "keys").chmod(0)
    try:
        tier = DiskTier(root, max_bytes=0)
        tier.scan()
        found = tier.get(entry(1).record.key)
    finally:
        (root / "keys").chmod(0o755)

    assert (found is None) == (os.geteuid() != 0)
    assert tier.tally["read_errors"] == (0 if os.geteuid() == 0 else 2)


def test_folders_vanish_and_come_back(root, tier, entry, bytes_below):
    """Every removed folder is made again by the next write."""
    for name in ("keys", "images", "thumbs", "tmp", "locks", "quarantine", ""):
        tier.put(entry(1))
        shutil.rmtree(root / name)

        assert tier.put(entry(2)).entry == tier.get(entry(2).record.key).entry
        tier.get(entry(1).record.key)
        tier.keep_up()
        assert tier.clear() >= 1
        assert tier.bytes == bytes_below(root) == 0


@pytest.mark.parametrize("name", ["keys", "images"])
def test_lost_folder_is_not_tidied_away(root, tier, entry, name):
    """With a whole folder gone (a lost mount), everything is a miss, nothing is removed; back again, it is served."""
    tier.put(entry(1))
    (root / name).rename(root.parent / "away")
    later = DiskTier(root, max_bytes=0, clock=lambda: NOW + 100 * YEAR)

    later.scan()
    check(root, repair=True, clock=lambda: NOW + 100 * YEAR)
    assert later.get(entry(1).record.key) is None
    (root.parent / "away").rename(root / name)

    assert present(later.get(entry(1).record.key)).entry == entry(1)
    assert present(tier.get(entry(1).record.key)).entry == entry(1)
    assert later.tally["corrupt"] == 0
    later.keep_up()
    assert later.bytes == tier.bytes


def test_folder_in_the_way_of_a_new_entry(root, tier, entry):
    """A folder where the picture belongs does not keep its entry out for ever, and is not destroyed."""
    image = Layout(root).image(entry(1).record.key)
    image.mkdir(parents=True)
    (image / "somebody's").write_text("file")

    assert tier.put(entry(1)) is not None

    assert present(tier.get(entry(1).record.key)).entry == entry(1)
    assert [path.read_text() for path in root.glob("quarantine/*/*/somebody's")] == ["file"]


def test_commit_order(tier, entry, monkeypatch):
    """Both files are synced before either is moved; the old record goes first, the new one comes last."""
    tier.put(entry(1, look=1))
    steps = []

    def folder_of(descriptor):
        """Name the folder that is open, or that an open file lies in."""
        inode = os.fstat(descriptor).st_ino
        (path,) = (path for path in tier.root.rglob("*") if path.lstat().st_ino == inode)
        return path.name if path.is_dir() else path.parent.name

    def note(call, name_of):
        really = getattr(os, call)

        def noted(*args, **kwargs):
            steps.append(f"{call} {name_of(*args)}")
            return really(*args, **kwargs)

        monkeypatch.setattr(os, call, noted)

    note("fsync", folder_of)
    note("replace", lambda _source, target: Path(target).parent.name)
    note("unlink", lambda path: Path(path).parent.name)
    tier.put(entry(1, look=2))

    assert steps == [
        "fsync tmp",
        "fsync tmp",
        "unlink keys",
        "unlink thumbs",
        "replace images",
        "replace keys",
        "unlink tmp",
        "unlink tmp",
        "fsync images",
        "fsync keys",
    ]


@pytest.mark.parametrize("removing", ["delete", "evict", "clear"])
def test_removal_order(tier, entry, monkeypatch, removing):
    """The record goes first: a reader in between sees a miss, never a record without its picture."""
    tier.put(entry(1))
    tier.put_thumbnail(entry(1).record, b"thumb")
    order = []
    really = os.unlink

    def note(path, *args, **kwargs):
        order.append(Path(path).parent.name)
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", note)
    match removing:
        case "delete":
            tier.delete(entry(1).record.key)
        case "evict":
            _evict_all(tier)
        case _:
            tier.clear()

    assert order == ["keys", "images", "thumbs", *([] if removing == "evict" else ["pins"])]
    assert tier.bytes == 0


def _evict_all(tier: DiskTier) -> None:
    """Have *tier* remove what it has in order to keep a bound."""
    tier.max_bytes = 100
    tier.scan()
    assert len(tier) == 0


def _racing(monkeypatch, path_name: str, change) -> None:
    """Run *change* once, between the reading of the record and the opening of the picture."""
    really = os.open
    pending = [change]

    def opening(path, *args, **kwargs):
        if str(path).endswith(path_name) and pending:
            pending.pop()()
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opening)


@pytest.mark.parametrize("race", ["refresh", "evict", "delete", "delete and put"])
def test_racing_writers_are_no_damage(root, tier, entry, monkeypatch, race):
    """Another process changes the entry between our two reads: the reader sees old, new or nothing, no quarantine."""
    old, new = entry(1, look=1), entry(1, look=2)
    tier.put(old)
    other = DiskTier(root, max_bytes=0)
    other.scan()
    changes = {
        "refresh": lambda: other.put(new),
        "evict": lambda: _evict_all(other),
        "delete": lambda: other.delete(old.record.key),
        "delete and put": lambda: (other.delete(old.record.key), other.put(new)),
    }
    _racing(monkeypatch, ".png", changes[race])

    found = tier.get(old.record.key)

    assert (found and found.entry) == (new if "put" in race or race == "refresh" else None)
    assert (tier.tally["corrupt"], tier.tally["read_errors"]) == (0, 0)
    assert _quarantined(root) == []


def test_refresh_that_is_under_way_is_waited_for(root, tier, entry, monkeypatch):
    """A reader that meets a half-done replacement waits for the lock before it judges."""
    old, new = entry(1, look=1), entry(1, look=2)
    tier.put(old)
    held = []
    really = Store.judge

    def judge(store, key):
        # Who holds the lock is the only one to see the files at rest.
        with Stripes(root / "locks").try_hold(key) as free:
            held.append(not free)
        return really(store, key)

    monkeypatch.setattr(Store, "judge", judge)
    _racing(monkeypatch, ".png", lambda: DiskTier(root, max_bytes=0).put(new))

    assert tier.get(old.record.key).entry == new
    assert held == [True]


def test_thumbnail_belongs_to_its_picture(root, tier, entry, bytes_below):
    """A thumbnail is counted, read back, ignored once its picture was replaced, and deleted with its entry."""
    old, new = entry(1, look=1), entry(1, look=2)
    tier.put(old)
    tier.put_thumbnail(old.record, b"small")
    assert tier.thumbnail(old.record.key) == b"small"
    assert tier.bytes == bytes_below(root)

    tier.put(new)
    tier.put_thumbnail(old.record, b"late")
    assert tier.thumbnail(old.record.key) is None

    tier.put_thumbnail(new.record, b"small")
    tier.delete(new.record.key)
    assert tier.thumbnail(new.record.key) is None
    assert tier.bytes == bytes_below(root) == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "folder", "symlink", "other picture's"])
def test_damaged_thumbnail_is_none(root, tier, entry, damage):
    """A thumbnail that is not whole, not regular or not this picture's is as good as none, and is written anew."""
    mine = entry(1)
    tier.put(mine)
    tier.put(entry(2))
    tier.put_thumbnail(mine.record, b"small")
    tier.put_thumbnail(entry(2).record, b"other")
    path, other = (Layout(root).thumb(e.record.key) for e in (mine, entry(2)))
    match damage:
        case "flip":
            _flip(path)
        case "truncate":
            os.truncate(path, 3)
        case "folder":
            _replaced(path, os.mkdir)
        case "symlink":
            _replaced(path, lambda p: p.symlink_to("/etc/passwd"))
        case _:
            shutil.copy(other, path)

    assert tier.thumbnail(mine.record.key) is None
    tier.put_thumbnail(mine.record, b"small")
    assert tier.thumbnail(mine.record.key) == b"small"


def test_open_file_survives_eviction(root, tier, entry):
    """Who has opened a picture reads on after it was evicted."""
    tier.put(entry(1))
    with Layout(root).image(entry(1).record.key).open("rb") as file:
        _evict_all(tier)

        assert file.read() == entry(1).png


def test_unknown_entries_are_counted_when_met(root, entry, bytes_below):
    """What another process stored or deleted is counted, or not any more, soon after it was met."""
    mine, theirs = DiskTier(root, max_bytes=0), DiskTier(root, max_bytes=0)
    theirs.put(entry(1))
    assert (mine.bytes, len(mine)) == (0, 0)

    mine.get(entry(1).record.key)
    mine.keep_up()
    assert (mine.bytes, len(mine)) == (bytes_below(root), 1)
    theirs.delete(entry(1).record.key)
    mine.get(entry(1).record.key)
    mine.keep_up()

    assert (mine.bytes, len(mine)) == (0, 0)


def test_scan_can_be_stopped(root, tier, entry):
    """Asked to stop, a scan ends at once and learns nothing half; what happens later counts as usual."""
    for seed in range(5):
        tier.put(entry(seed))
    (root / NAME).unlink()
    asked: list[None] = []
    fresh = DiskTier(root, max_bytes=0)

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > 3

    fresh.scan(stopped)

    assert len(fresh) == 0
    assert len(asked) < 10
    fresh.put(entry(9))
    assert len(fresh) == 1


def test_records_too_large_to_be_read_back_are_not_written(tier, entry):
    """What reading would refuse is not stored in the first place."""
    mine = entry(1)
    record = mine.record.model_copy(update={"request": {"prompt": "x" * 3 * 2**20, "seed": 1}})

    assert tier.put(Entry(record, mine.png)) is None
    assert tier.tally["oversized"] == 1


def test_trouble_is_said_once(root, entry, monkeypatch, caplog):
    """The same trouble ten times is one warning, with its kind; another kind is another warning."""
    tier = DiskTier(root, max_bytes=0, steady=itertools.count(0.0, 100.0).__next__)
    monkeypatch.setattr(os, "replace", _raiser(errno.ENOSPC))
    for _ in range(10):
        with pytest.raises(CacheWriteFailed):
            tier.put(entry(1))
    monkeypatch.setattr(os, "replace", _raiser(errno.EIO))
    with pytest.raises(CacheWriteFailed):
        tier.put(entry(1))
    monkeypatch.undo()

    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == [
        "cache trouble [write ENOSPC]",
        "cache trouble [write EIO]",
    ]
    assert tier.tally["write_errors"] == 11


# Bounds: number, age, pins, and who goes first


def _born(entry: Entry, moment: float) -> Entry:
    """Return the same entry, drawn at *moment*."""
    record = entry.record.model_copy(update={"created": datetime.fromtimestamp(moment, UTC)})
    return Entry(record, entry.png)


def _dear(entry: Entry, gpu_seconds: float) -> Entry:
    return Entry(entry.record.model_copy(update={"gpu_seconds": gpu_seconds}), entry.png)


def test_number_of_entries(root, entry):
    """There are never more entries than the bound, replacing one needs no room, and the bound itself is allowed."""
    tier = DiskTier(root, max_bytes=0, max_entries=3)
    for seed in range(5):
        tier.put(entry(seed))
    tier.put(entry(4, look=1))

    assert len(tier) == len(list((root / "keys").iterdir())) == 3
    assert tier.tally["evictions"] == 2
    assert present(tier.peek(entry(4).record.key)).entry == entry(4, look=1)


def test_not_every_put_evicts(root, entry):
    """Once the bound was met room is made for several: of forty puts over it most evict nothing."""
    probe = DiskTier(root, max_bytes=0)
    assert probe.put(entry(0))
    one = probe.bytes
    probe.clear()
    tier = DiskTier(root, max_bytes=60 * (one + 100))
    evicting = 0
    for seed in range(100):
        before = tier.tally["evictions"]
        tier.put(entry(seed))
        evicting += tier.tally["evictions"] > before

    assert 0 < evicting < 20
    assert 56 <= len(tier) <= 62


def test_what_took_longest_to_draw_stays(root, entry):
    """Under `gdsf` the picture that took a minute outlives newer ones that took a second; under `lru` it does not."""
    kept = {}
    for policy in ("gdsf", "lru"):
        tier = DiskTier(root, max_bytes=0, max_entries=4, policy=policy)
        tier.put(_dear(entry(0), 60.0))
        for seed in range(1, 10):
            tier.put(_dear(entry(seed), 1.0))
        kept[policy] = tier.peek(entry(0).record.key) is not None
        tier.clear()

    assert kept == {"gdsf": True, "lru": False}


@pytest.mark.parametrize("policy", ["gdsf", "lru"])
def test_order_survives_a_restart(root, entry, policy):
    """What was served often, and in which order, is known to the next process before it has looked at any file."""
    first = DiskTier(root, max_bytes=0, policy=policy)
    for seed in range(4):
        first.put(entry(seed))
    for seed in (1, 1, 3, 3):
        first.get(entry(seed).record.key)
    first.close()
    second = DiskTier(root, max_bytes=0, max_entries=4, policy=policy)
    second.put(entry(4))
    second.put(entry(5))

    assert [seed for seed in range(6) if second.peek(entry(seed).record.key)] == [1, 3, 4, 5]


def test_age_is_a_miss(root, entry):
    """Above the TTL an entry is a miss for every way to ask, also in memory; drawn anew it is a hit again."""
    now = [NOW]
    tier = DiskTier(root, max_bytes=0, ttl_seconds=HOUR, clock=lambda: now[0])
    stored = present(tier.put(_born(entry(1), NOW)))
    now[0] += HOUR
    assert tier.get(stored.key) is not None
    assert tier.still(stored)

    now[0] += 1
    assert tier.get(stored.key) is None
    assert tier.peek(stored.key) is None
    assert not tier.still(stored)
    assert not tier.still(Stored(stored.entry, None))
    assert (tier.tally["expired"], tier.tally["corrupt"]) == (1, 0)

    tier.put(_born(entry(1), now[0]))
    assert tier.get(stored.key) is not None


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_clock_jumps_expire_nothing_for_good(root, entry, jump):
    """A clock that is a year off for half an hour costs no entry, though scans run meanwhile, whatever the TTL."""
    now, steady = [NOW], [0.0]
    tier = DiskTier(root, max_bytes=0, ttl_seconds=24 * HOUR, clock=lambda: now[0], steady=lambda: steady[0])
    for seed in range(3):
        tier.put(_born(entry(seed), NOW))
    now[0] += jump
    for _ in range(7):
        tier.scan()
        steady[0] += 300.0
    assert (tier.get(entry(0).record.key) is None) == (jump > 0)
    now[0] -= jump
    tier.scan()

    assert all(tier.get(entry(seed).record.key) for seed in range(3))


def test_old_entries_are_swept(root, entry, bytes_below):
    """Who has been too old for an hour goes with the next scan; younger, pinned and future ones stay."""
    now, steady = [NOW], [0.0]
    tier = DiskTier(root, max_bytes=0, ttl_seconds=24 * HOUR, clock=lambda: now[0], steady=lambda: steady[0])
    for seed, born in enumerate((NOW - 25 * HOUR, NOW - 25 * HOUR, NOW - 22 * HOUR, NOW + YEAR)):
        tier.put(_born(entry(seed), born))
    tier.pin(entry(1).record.key)
    tier.scan()
    assert len(tier) == 4
    steady[0] += HOUR
    tier.scan()

    assert [seed for seed in range(4) if tier.peek(entry(seed).record.key)] == [1, 2, 3]
    assert tier.tally["expired"] == 1
    assert tier.bytes == bytes_below(root)


def test_pins(root, entry):
    """Pinned entries are never evicted, cleared or pruned, but deleted by name, and then their pin is gone as well."""
    tier = DiskTier(root, max_bytes=0, max_entries=2)
    pinned = entry(0).record.key
    tier.put(entry(0))
    assert tier.pin(pinned)
    assert tier.pin(pinned)
    assert not tier.pin(entry(9).record.key)
    assert not tier.pin("../x")

    for seed in range(1, 5):
        tier.put(entry(seed))
    assert tier.peek(pinned)
    assert tier.prune(to_bytes=0).entries == 1
    tier.put(entry(1))
    assert tier.clear() == 1
    assert (len(tier), tier.pinned) == (1, 1)

    assert tier.delete(pinned)
    tier.put(entry(0))
    assert (tier.pinned, list((root / "pins").iterdir())) == (0, [])
    tier.pin(pinned)
    assert tier.unpin(pinned)
    assert not tier.unpin(pinned)
    tier.pin(pinned)
    assert tier.clear(pinned=True) == 1


def test_pinned_by_another_process(root, entry):
    """A pin has effect at once, whichever process set it; it outlives replacement and damage."""
    mine, theirs = DiskTier(root, max_bytes=0, max_entries=2), DiskTier(root, max_bytes=0)
    mine.put(entry(0))
    mine.scan()
    (root / "pins" / entry(0).record.key).touch()
    mine.put(entry(1))
    mine.put(entry(2))
    mine.put(entry(3))
    assert mine.peek(entry(0).record.key)

    theirs.put(entry(0, look=1))
    _flip(Layout(root).image(entry(0).record.key))
    assert mine.get(entry(0).record.key) is None
    mine.put(entry(0))
    assert present(theirs.show(entry(0).record.key)).pinned


def test_nothing_but_pins(root, entry):
    """When all that is there is pinned, storing fails cleanly, and nothing else does."""
    tier = DiskTier(root, max_bytes=0, max_entries=1)
    tier.put(entry(0))
    tier.pin(entry(0).record.key)

    with pytest.raises(CacheWriteFailed, match="pinned"):
        tier.put(entry(1))
    assert tier.get(entry(0).record.key)


def test_prune(root, entry, bytes_below):
    """By age, then by bytes; a dry run says the same and removes nothing."""
    tier = DiskTier(root, max_bytes=0, clock=lambda: NOW)
    for seed in range(6):
        tier.put(_dear(_born(entry(seed), NOW - (100 * HOUR if seed == 5 else 0)), 1.0 + seed))
    one = tier.bytes // 6
    limits: dict[str, Any] = {"older_than": 50 * HOUR, "to_bytes": 3 * one + 100}

    promised = tier.prune(**limits, dry_run=True)
    assert len(tier) == 6
    done = tier.prune(**limits)

    assert promised == done
    assert (done.entries, abs(done.bytes - 3 * one) < 50) == (3, True)
    assert [seed for seed in range(6) if tier.peek(entry(seed).record.key)] == [2, 3, 4]
    assert tier.bytes == bytes_below(root)
    assert DiskTier(root, max_bytes=0).prune(to_bytes=0).entries == 3


def test_lists_before_any_scan(root, entry):
    """Entries of another time, index lost, no scan so far: all are listed, with everything that is known of them."""
    first = DiskTier(root, max_bytes=0)
    for seed in range(5):
        first.put(_born(entry(seed), NOW + seed))
    first.get(entry(2).record.key)
    first.pin(entry(2).record.key)
    first.close()
    (root / NAME).unlink()
    tier = DiskTier(root, max_bytes=0)

    page = tier.page("circle", 3, None)
    rest = tier.page("circle", 3, page.cursor)

    assert [item.seed for item in page.items + rest.items] == [4, 3, 2, 1, 0]
    shown = tier.show(entry(2).record.key)
    assert shown == page.items[2]
    assert (shown.prompt, shown.pinned, shown.gpu_seconds, shown.model) == ("a 红 circle", True, 1.5, "fake")
    assert shown.bytes == sum(path.stat().st_size for path in root.glob(f"*/{shown.key}.*"))
    assert tier.show(entry(9).record.key) is None
    assert tier.show("x") is None


def test_listing_nothing_makes_nothing(tmp_path):
    """Asking an unused folder leaves it as it is."""
    tier = DiskTier(tmp_path / "none", max_bytes=0)

    assert tier.page("", 5, None).items == []
    assert tier.prune(to_bytes=0).entries == 0
    tier.scan()
    tier.close()
    assert not (tmp_path / "none").exists()


# The index


@pytest.mark.parametrize("trouble", ["missing", "garbage", "locked", "stale", "from elsewhere"])
def test_index_trouble_fails_no_request(root, entry, bytes_below, trouble, monkeypatch):
    """Whatever the index is like: hits, puts and bounds work, and a scan makes it right again."""
    monkeypatch.setattr("zimage_cache.cache.index._PATIENCE_MS", 10)
    first = DiskTier(root, max_bytes=0)
    for seed in range(4):
        first.put(entry(seed))
    first.scan()
    first.close()
    stuck = None
    match trouble:
        case "missing":
            (root / NAME).unlink()
        case "garbage":
            (root / NAME).write_bytes(b"garbage" * 1000)
        case "locked":
            stuck = sqlite3.connect(root / NAME, isolation_level=None)
            stuck.execute("BEGIN IMMEDIATE")
        case "stale":
            Layout(root).image(entry(0).record.key).unlink()
        case _:
            with contextlib.closing(sqlite3.connect(root / NAME)) as other, other:
                other.execute("UPDATE entries SET bytes = 10000000, cost = 99, stamp = 3")
    tier = DiskTier(root, max_bytes=4 * first.bytes, max_entries=4)

    assert present(tier.get(entry(1).record.key)).entry == entry(1)
    assert tier.put(entry(4))
    if stuck is not None:
        stuck.execute("ROLLBACK")
        stuck.close()
    fresh = DiskTier(root, max_bytes=0, max_entries=4)
    fresh.scan()
    fresh.scan()

    assert not fresh.behind
    assert fresh.bytes == bytes_below(root)
    assert len(fresh) <= 4
    assert len(fresh.page("", 50, None).items) == len(list((root / "keys").iterdir()))
    assert fresh.tally["write_errors"] == tier.tally["write_errors"] == tier.tally["read_errors"] == 0


def test_no_entry_is_evicted_by_the_index_alone(root, entry):
    """A wrong size in the index evicts no entry: before the first eviction the disk is read."""
    first = DiskTier(root, max_bytes=0)
    for seed in range(4):
        first.put(entry(seed))
    first.close()
    with contextlib.closing(sqlite3.connect(root / NAME)) as other, other:
        other.execute("UPDATE entries SET bytes = 1000000000000 WHERE seed = 1")
    tier = DiskTier(root, max_bytes=2 * first.bytes)

    tier.put(entry(4))

    assert tier.tally["evictions"] == 0
    assert all(tier.peek(entry(seed).record.key) for seed in range(5))


def test_one_that_cannot_be_removed(root, entry, monkeypatch):
    """A victim the system will not let go of is passed over; when none can be removed, that is a broken disk."""
    tier = DiskTier(root, max_bytes=0, max_entries=3)
    for seed in range(3):
        tier.put(_dear(entry(seed), 1.0 + seed))
    really = os.unlink
    stubborn = [entry(0).record.key]

    def unlink(path, *args, **kwargs):
        if Path(path).parent.name == "keys" and Path(path).stem in stubborn and Path(path).exists():
            raise PermissionError(errno.EPERM, "immutable")
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    tier.put(_dear(entry(3), 9.0))
    assert [seed for seed in range(4) if tier.peek(entry(seed).record.key)] == [0, 2, 3]

    stubborn += [entry(seed).record.key for seed in range(4)]
    with pytest.raises(CacheWriteFailed, match="no room"):
        tier.put(entry(4))
    monkeypatch.undo()
    assert tier.put(entry(4))


def test_records_that_no_database_holds(root, entry):
    """A record with numbers beyond all bounds is served, counted and listed like others."""
    record = entry(1).record.model_copy(update={"width": 10**30, "request": {"prompt": "x", "seed": -(10**30)}})
    tier = DiskTier(root, max_bytes=0)

    assert tier.put(Entry(record, entry(1).png))

    assert tier.get(record.key)
    assert [item.prompt for item in tier.page("", 5, None).items] == ["x"]
    assert tier.tally["index_errors"] == 0


def test_a_hit_needs_no_index(root, entry, monkeypatch):
    """Serving, touching and missing make no SQLite call and list no folder, however much there is."""
    DiskTier(root, max_bytes=0).put(entry(1))
    tier = DiskTier(root, max_bytes=0)
    called = []
    for target, call in ((Index, "_attempt"), (os, "scandir"), (os, "listdir")):
        monkeypatch.setattr(target, call, lambda *_args, call=call: called.append(call))

    stored = present(tier.get(entry(1).record.key))
    assert tier.still(stored)
    tier.touch(stored.key)
    assert tier.get(entry(2).record.key) is None

    assert called == []


def test_a_hit_waits_for_no_scan(root, entry):
    """While a scan and the index are busy for ever, hits and misses are answered all the same."""
    DiskTier(root, max_bytes=0).put(entry(1))
    tier = DiskTier(root, max_bytes=0)
    answers = []

    def ask() -> None:
        stored = tier.get(entry(1).record.key)
        answers.extend([stored is not None and tier.still(stored), tier.peek(entry(2).record.key)])

    thread = threading.Thread(target=ask)
    ledger = tier._ledger  # noqa: SLF001 - nothing public keeps all three locks busy for as long as a test wants
    with tier._scanning, ledger._step, ledger.index._lock:  # noqa: SLF001 - likewise
        thread.start()
        thread.join(30)
        assert answers == [True, None]
    thread.join()


def test_processes_count_each_others_entries(root, entry, bytes_below):
    """Two processes with one bound keep it together, and evict the other one's entries that are not served."""
    mine, theirs = (DiskTier(root, max_bytes=0, max_entries=6) for _ in range(2))
    for seed in range(6):
        (mine, theirs)[seed % 2].put(entry(seed))
    for _ in range(3):
        theirs.get(entry(0).record.key)
    theirs.keep_up()

    for seed in range(6, 11):
        mine.put(entry(seed))
    theirs.keep_up()

    assert len(list((root / "keys").iterdir())) == len(mine) == len(theirs) == 6
    assert mine.bytes == theirs.bytes == bytes_below(root)
    assert mine.peek(entry(0).record.key)
    assert mine.peek(entry(1).record.key) is None


# Trouble that lasts


@pytest.mark.parametrize("number", TROUBLE)
def test_a_failing_disk_is_left_alone_for_a_while(root, entry, monkeypatch, caplog, number):
    """A hundred pictures on a broken disk: a few tries, one warning, all counted; repaired, it is used again."""
    steady = [0.0]
    tier = DiskTier(root, max_bytes=0, steady=lambda: steady[0])
    tier.put(entry(9))
    monkeypatch.setattr(os, "replace", _raiser(number))
    for _ in range(100):
        steady[0] += 0.1
        with pytest.raises(CacheWriteFailed):
            tier.put(entry(1))
    errors, pauses = tier.tally["write_errors"], tier.tally["write_backoffs"]
    assert errors + pauses == 100
    assert 3 <= errors <= 7
    assert len(caplog.records) == 1
    assert tier.get(entry(9).record.key)

    monkeypatch.undo()
    steady[0] += 60.0
    assert tier.put(entry(1)) is not None
    for seed in range(20):
        assert tier.put(entry(seed)) is not None
    assert tier.tally["write_backoffs"] == pauses


def test_no_room_is_no_broken_disk(root, entry):
    """A bound that cannot be met does not make us wait with the next picture, which may find room."""
    tier = DiskTier(root, max_bytes=0, max_entries=1)
    tier.put(entry(0))
    tier.pin(entry(0).record.key)
    for _ in range(5):
        with pytest.raises(CacheWriteFailed):
            tier.put(entry(1))
    tier.unpin(entry(0).record.key)

    assert tier.put(entry(1)) is not None


def test_no_lock_to_be_had(tmp_path, caplog):
    """Where the lock of a generation cannot be made, every process may generate: one warning, and no error."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "locks").write_text("in the way")
    tier = DiskTier(tmp_path / "cache", max_bytes=0)

    for _ in range(3):
        present(tier.generation("a" * 64)).release()

    assert len(caplog.records) == 1


# Scrub


def test_scrub_finds_what_no_request_reads(root, entry):
    """Every entry is checked, in portions; damaged ones are quarantined before a request, and reported once."""
    tier = DiskTier(root, max_bytes=0)
    for seed in range(10):
        tier.put(entry(seed))
    for seed in (3, 7):
        _flip(Layout(root).image(entry(seed).record.key))
    portions = 1
    while not tier.scrub(2 * tier.bytes // len(tier)):
        portions += 1

    assert (tier.tally["scrubbed"], tier.tally["corrupt"], len(tier)) == (10, 2, 8)
    assert 4 <= portions <= 6
    assert tier.scrub(10**9)
    assert (tier.tally["scrubbed"], tier.tally["corrupt"]) == (18, 2)


def test_scrub_stops_at_once(root, entry):
    """When stopped, it verifies no further entry, and continues from there later."""
    tier = DiskTier(root, max_bytes=0)
    for seed in range(5):
        tier.put(entry(seed))

    assert not tier.scrub(10**9, lambda: True)
    assert tier.tally["scrubbed"] == 1
    assert tier.scrub(10**9)
    assert tier.tally["scrubbed"] == 5


def test_scan_sweeps_locks_and_pins_of_the_dead(root, tier, entry):
    """Lock files of killed generations go at once, pins of what was removed by hand after an hour."""
    tier.put(entry(1))
    tier.put(entry(2))
    tier.pin(entry(1).record.key)
    tier.pin(entry(2).record.key)
    layout = Layout(root)
    for path in layout.files(entry(1).record.key):
        path.unlink(missing_ok=True)
    (layout.locks / f"{'0' * 64}.generation").touch()
    born = layout.pin(entry(1).record.key).stat().st_ctime

    DiskTier(root, max_bytes=0, clock=lambda: born + HOUR - 60).scan()
    assert layout.pin(entry(1).record.key).exists()
    assert list(layout.locks.glob("*.generation")) == []
    DiskTier(root, max_bytes=0, clock=lambda: born + HOUR + 60).scan()

    assert [path.name for path in layout.pins.iterdir()] == [entry(2).record.key]


# Beside a caretaker


def _lowered(root: Path, entry, count: int, **bounds: Any) -> DiskTier:
    """Fill a folder with *count* entries, and open it again under bounds that are far below them, attended."""
    filling = DiskTier(root, max_bytes=0)
    for seed in range(count):
        filling.put(entry(seed, side=16))
    filling.close()
    tier = DiskTier(root, **({"max_bytes": 0} | bounds))
    tier.attended = True
    return tier


def test_a_write_evicts_one_batch_at_most(root, entry):
    """After a start with smaller bounds no write removes the whole surplus: the batches after it do."""
    tier = _lowered(root, entry, 100, max_entries=10)
    tier.scan()
    assert tier.tally["evictions"] == 0
    evicted = []
    for seed in range(200, 203):
        before = tier.tally["evictions"]
        assert tier.put(entry(seed, side=16)) is not None
        evicted.append(tier.tally["evictions"] - before)
    assert evicted == [16, 16, 16]

    while tier.relieve():
        evicted.append(tier.tally["evictions"] - sum(evicted))

    assert max(evicted) <= 16
    assert len(tier) == len(list((root / "keys").iterdir())) == 10


def test_a_write_that_one_batch_makes_no_room_for_is_stored(root, entry, bytes_below):
    """Room for a large picture among many small ones: it exceeds the bound only until the next batches."""
    bound = 200_000
    tier = _lowered(root, entry, 100, max_bytes=bound)
    tier.scan()
    while tier.relieve():
        pass
    assert tier.bytes <= bound

    large = entry(500, side=112)
    assert len(large.png) * 4 < bound < len(large.png) + tier.bytes
    assert tier.put(large) is not None
    while tier.relieve():
        pass

    assert tier.get(large.record.key) is not None
    assert tier.bytes == bytes_below(root) <= bound


def test_a_write_waits_for_no_scan(root, entry, monkeypatch):
    """With a cold index and too much on the disk, a write looks at no folder, and evicts nothing by the index alone."""
    tier = _lowered(root, entry, 40, max_entries=5)
    looks = []

    def listing(folder):
        looks.append(folder)
        return iter(())

    monkeypatch.setattr(files, "listing", listing)
    (root / NAME).unlink()

    assert tier.put(entry(200, side=16)) is not None

    assert looks == []
    assert tier.tally["evictions"] == 0
    assert tier.behind
    monkeypatch.undo()
    tier.scan()
    while tier.relieve():
        pass
    assert len(tier) == 5


def test_a_write_takes_over_a_bounded_number_of_rows(root, entry, monkeypatch):
    """At the start, however long the index is, a write reads only its first part."""
    filling = DiskTier(root, max_bytes=0)
    filling.put(entry(0))
    filling.close()
    with sqlite3.connect(root / NAME) as database:
        columns = (
            "bytes, whole, stamp, pinned, created, cost, frequency, used, worth, prompt, seed, width, height, model"
        )
        database.executemany(
            f"INSERT INTO entries (key, {columns}) SELECT ?, {columns} FROM entries LIMIT 1",
            [(f"{number:064x}",) for number in range(2000)],
        )
    database.close()
    tier = DiskTier(root, max_bytes=10**9)
    tier.attended = True
    taken = []
    changes = Index.changes

    def noted(*args):
        taken.append(changes(*args))
        return taken[-1]

    monkeypatch.setattr(Index, "changes", noted)

    tier.put(entry(1))

    assert sum(map(len, taken)) <= 256
    monkeypatch.undo()
    tier.scan()
    assert len(tier) == 2


def test_a_write_remeasures_a_bounded_number_of_stale_keys(root, entry, monkeypatch):
    """Hits of entries that are not counted yet leave notes; a write works through a few of them only."""
    tier = _lowered(root, entry, 60)
    for seed in range(60):
        tier.get(entry(seed, side=16).record.key)
    looked = []
    monkeypatch.setattr(Ledger, "write", lambda _ledger, key, *_, **__: looked.append(key))

    tier.put(entry(500, side=16))

    assert 0 < len(looked) <= 17
    monkeypatch.undo()
    tier.scan()


def test_a_scan_that_failed_is_made_again_soon(root, entry, monkeypatch):
    """Nothing is evicted before a scan has come to its end, so the next one is due at once."""
    tier = _lowered(root, entry, 3, max_entries=1)
    with monkeypatch.context() as trouble:
        trouble.setattr(os, "scandir", _raiser(errno.EIO))
        tier.scan()
    assert tier.behind
    tier.scan()
    assert not tier.behind
    while tier.relieve():
        pass
    assert len(tier) == 1
