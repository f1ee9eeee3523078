"""Moments are UTC inside and local for people: another time zone of the server, or a change to winter, moves none."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.factories import present
from zimage_cache.cache.disk import DiskTier
from zimage_cache.history import History
from zimage_cache.log_lines import JsonLines, TextLines
from zimage_cache.metadata import png

ZONES = ["UTC", "Asia/Shanghai", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "America/New_York"]
SUMMER = datetime(2026, 7, 1, 12, 0, 5, tzinfo=UTC)
# On 1 November 2026 the clocks of New York go from 2:00 to 1:00: this hour comes twice.
REPEATED = datetime(2026, 11, 1, 5, 30, 5, tzinfo=UTC)
PIXELS = np.zeros((16, 16, 3), np.uint8)


@pytest.fixture
def zone(monkeypatch) -> Iterator[Callable[[str], None]]:
    """Give a function that moves this process to a time zone."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "output_image"


def _old(folder: Path, moment: datetime, after: float = 1.0, key: str = "ab12cd34") -> Path:
    """Write a picture as a server does: its name has the local time, and the file the moment of writing."""
    folder.mkdir(exist_ok=True)
    path = folder / f"image_{moment.astimezone():%Y%m%d_%H%M%S}_{key}.png"
    path.write_bytes(png.encode(PIXELS, {"zimage": json.dumps({"request": {"prompt": "a fox"}, "seed": 1})}))
    os.utime(path, (moment.timestamp() + after,) * 2)
    return path


def _made(folder: Path, workspace: Path) -> dict[str, datetime]:
    """Return what a new index says: the moments of all pictures, newest first."""
    (workspace / "zimage.sqlite3").unlink(missing_ok=True)
    history = History(folder, workspace)
    history.reconcile()
    return {each.name: datetime.fromtimestamp(each.made, UTC) for each in history.page().pictures}


@pytest.mark.parametrize("written", ZONES)
@pytest.mark.parametrize("read", ZONES)
def test_old_names_are_read_in_the_zone_they_were_written_in(folder, tmp_path, zone, written, read):
    """A server that moved to another zone, and an index made anew there, give pictures their own moments."""
    zone(written)
    path = _old(folder, SUMMER)
    zone(read)
    assert _made(folder, tmp_path) == {path.name: SUMMER}


@pytest.mark.parametrize("after", [-1.5, 0.0, 30.0, 59.0])
def test_a_file_may_be_written_a_little_later(folder, tmp_path, zone, after):
    """Encoding and a busy disk take seconds, and a file system may round down."""
    zone("Asia/Shanghai")
    path = _old(folder, SUMMER, after)
    zone("America/St_Johns")
    assert _made(folder, tmp_path) == {path.name: SUMMER}


def test_an_old_copy_is_read_in_the_zone_of_the_server(folder, tmp_path, zone):
    """A copy without the times of its original tells no zone: the one of today is the best guess."""
    zone("Asia/Shanghai")
    path = _old(folder, SUMMER, after=40 * 86400 + 333)
    assert _made(folder, tmp_path) == {path.name: SUMMER}
    zone("UTC")
    assert _made(folder, tmp_path) == {path.name: SUMMER + timedelta(hours=8)}


def test_an_hour_that_comes_twice(folder, tmp_path, zone):
    """Two pictures an hour apart have the same local time in their names, and keep their order."""
    zone("America/New_York")
    first = _old(folder, REPEATED, key="ffff0000")
    second = _old(folder, REPEATED + timedelta(hours=1), key="00000000")
    assert first.name[:21] == second.name[:21]
    for name in ("America/New_York", "Asia/Shanghai"):
        zone(name)
        expected = {second.name: REPEATED + timedelta(hours=1), first.name: REPEATED}
        assert list(_made(folder, tmp_path).items()) == list(expected.items())


def test_names_are_local(folder, entry, zone):
    """People who look into the folder see the time of their clock."""
    for name, shown in [("Asia/Shanghai", "20261121_080000"), ("America/St_Johns", "20261120_203000")]:
        zone(name)
        path = present(History(folder).add(entry(1)))
        assert path.name.startswith(f"image_{shown}_")


def test_ages_have_no_zone(tmp_path, entry, zone):
    """Time to live and pruning by age count seconds since the drawing, whatever the zone was and is."""
    age = 3 * 3600.0
    now = entry(1).record.created.timestamp() + age
    zone("Asia/Shanghai")
    DiskTier(tmp_path, max_bytes=0).put(entry(1))
    for name in ZONES:
        zone(name)
        older = DiskTier(tmp_path, max_bytes=0, clock=lambda: now)
        assert older.prune(older_than=age + 60, dry_run=True).entries == 0
        assert older.prune(older_than=age - 60, dry_run=True).entries == 1
        assert DiskTier(tmp_path, max_bytes=0, ttl_seconds=age + 60, clock=lambda: now).get(entry(1).record.key)
        assert not DiskTier(tmp_path, max_bytes=0, ttl_seconds=age - 60, clock=lambda: now).get(entry(1).record.key)


def test_log_lines_tell_their_zone(zone):
    """Lines of the hour that comes twice differ: text has the local time with its offset, JSON has UTC."""
    record = logging.makeLogRecord({"msg": "x", "created": REPEATED.timestamp(), "request_id": "-"})
    zone("America/New_York")
    assert TextLines().format(record).startswith("2026-11-01 01:30:05.000-04:00 ")
    assert json.loads(JsonLines().format(record))["time"] == "2026-11-01T05:30:05.000+00:00"
    record.created += 3600
    assert TextLines().format(record).startswith("2026-11-01 01:30:05.000-05:00 ")
