"""Tests of cache.check."""

import os
import threading
import time
from pathlib import Path

import pytest

from zimage_cache.cache.check import FindingKind, check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.locks import Stripes

HOUR = 3600.0


@pytest.fixture
def tier(tmp_path, entry):
    """Give a tier with three entries, one of which has a thumbnail; in the end the folder must be clean."""
    disk = DiskTier(tmp_path, max_bytes=0)
    for seed in range(3):
        disk.put(entry(seed))
    disk.put_thumbnail(entry(0).record, b"small")
    yield disk
    assert check(tmp_path) == []


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


def _leave(path):
    (path.parent.parent / "tmp" / f"{path.stem}.1f").write_bytes(b"half")


def _age(folder):
    for path in folder.iterdir():
        os.utime(path, (0, 0))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "bit flip": (FindingKind.CORRUPT, "image", _flip),
    "truncated": (FindingKind.CORRUPT, "image", lambda path: os.truncate(path, 9)),
    "record garbage": (FindingKind.CORRUPT, "record", lambda path: path.write_text("{}")),
    "record is a FIFO": (FindingKind.CORRUPT, "record", _fifo),
    "image is a folder": (FindingKind.CORRUPT, "image", lambda path: (path.unlink(), path.mkdir())),
    "image missing": (FindingKind.IMAGE_MISSING, "image", os.unlink),
    "record missing": (FindingKind.ORPHAN, "record", os.unlink),
    "thumb damaged": (FindingKind.THUMB_CORRUPT, "thumb", _flip),
    "thumb is a folder": (FindingKind.THUMB_CORRUPT, "thumb", lambda path: (path.unlink(), path.mkdir())),
    "leftover": (FindingKind.LEFTOVER, "image", _leave),
}


def test_missing_folder_is_clean(tmp_path):
    """A cache that was never used has no findings."""
    assert check(tmp_path / "none") == []


@pytest.mark.usefixtures("tier")
def test_what_a_killed_writer_left_is_clean_for_an_hour(tmp_path, entry):
    """A file in `tmp/`, a picture without its record: `check` says clean right after the kill, a server tidies up."""
    layout = Layout(tmp_path)
    _leave(layout.image(entry(0).record.key))
    layout.record(entry(1).record.key).unlink()
    assert check(tmp_path) == []
    later = time.time() + HOUR + 60
    assert {finding.kind for finding in check(tmp_path, clock=lambda: later)} == {
        FindingKind.LEFTOVER,
        FindingKind.ORPHAN,
    }
    DiskTier(tmp_path, max_bytes=0, clock=lambda: later).scan()
    assert check(tmp_path, clock=lambda: later) == []


@pytest.mark.parametrize(("kind", "which", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_every_damage_is_found_and_repaired(tmp_path, tier, entry, *, kind, which, damage):
    """One typed finding for one damage; looking changes nothing; repairing leaves what is healthy, and only that."""
    key = entry(0).record.key
    path = getattr(Layout(tmp_path), which)(key)
    damage(path)
    later = path.parent.stat().st_ctime + HOUR + 60

    for repair in (False, False, True):
        findings = check(tmp_path, repair=repair, clock=lambda: later)
        assert [finding.kind for finding in findings] == [kind]
        assert key in str(findings[0].path)
        assert findings[0].detail
    assert check(tmp_path, clock=lambda: later) == []

    tier.scan()
    assert [tier.get(entry(seed).record.key) is not None for seed in (1, 2)] == [True, True]
    gone = kind in {FindingKind.CORRUPT, FindingKind.IMAGE_MISSING, FindingKind.ORPHAN}
    assert (tier.get(key) is None) == gone


@pytest.mark.usefixtures("tier")
def test_all_damage_at_once(tmp_path, entry):
    """Findings do not hide each other."""
    layout = Layout(tmp_path)
    layout.image(entry(0).record.key).unlink()
    _flip(layout.image(entry(1).record.key))
    _leave(layout.image(entry(2).record.key))
    _age(layout.tmp)

    kinds = {finding.kind for finding in check(tmp_path, repair=True)}

    assert kinds == {FindingKind.IMAGE_MISSING, FindingKind.CORRUPT, FindingKind.LEFTOVER}


def test_young_orphans_and_live_writers_are_no_findings(tmp_path, tier, entry):
    """What a writer is still at, and what was orphaned within the hour, is normal on a live cache."""
    key = entry(0).record.key
    with Stripes(tmp_path / "locks").hold(key):
        _leave(Layout(tmp_path).image(key))
        Layout(tmp_path).record(entry(1).record.key).unlink()

        assert check(tmp_path, repair=True) == []
    tier.scan()


def test_racing_replacement_is_no_finding(tmp_path, tier, entry):
    """An entry that is replaced all the time is healthy whenever it is looked at; so is its thumbnail."""
    done = threading.Event()

    def replace() -> None:
        look = 0
        while not done.is_set():
            look += 1
            tier.put(entry(0, look=look))
            tier.put_thumbnail(entry(0, look=look).record, b"small")

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        findings = [finding for _ in range(30) for finding in check(tmp_path, repair=True)]
    finally:
        done.set()
        thread.join()

    assert findings == []


@pytest.mark.usefixtures("tier")
def test_unreadable_files_are_reported(tmp_path, entry, monkeypatch):
    """What the disk does not give is a finding of its own: nothing is judged, nothing repaired."""
    really = os.open

    def opening(path, *args, **kwargs):
        if entry(0).record.key in str(path):
            raise OSError(5, "broken")
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opening)
    findings = check(tmp_path, repair=True)
    monkeypatch.undo()

    assert [finding.kind for finding in findings] == [FindingKind.UNREADABLE]


def test_leftovers_that_cannot_be_removed(tmp_path, tier, entry, monkeypatch):
    """On a read-only disk repairing leaves a leftover and says so; foreign folders are not leftovers."""
    _leave(Layout(tmp_path).image(entry(0).record.key))
    (tmp_path / "tmp" / "folder").mkdir()
    later = time.time() + 2 * HOUR

    def read_only(*_args, **_kwargs):
        raise OSError(30, "read-only")

    monkeypatch.setattr(os, "unlink", read_only)
    (finding,) = check(tmp_path, repair=True, clock=lambda: later)
    monkeypatch.undo()

    assert "could not be repaired" in finding.detail
    tier.scan()
    assert tier.tally["read_errors"] == 0
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["folder"]


@pytest.mark.usefixtures("tier")
def test_read_only_folder_can_be_checked(tmp_path, entry, monkeypatch):
    """Where no lock can be taken, findings are still reported, with a note that they are not confirmed."""
    _flip(Layout(tmp_path).image(entry(0).record.key))
    really = os.open

    def opening(path, flags, *args, **kwargs):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(30, "read-only")
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", opening)
    (finding,) = check(tmp_path)
    monkeypatch.undo()

    assert finding.kind is FindingKind.CORRUPT
    assert "could not be confirmed" in finding.detail
    check(tmp_path, repair=True)
