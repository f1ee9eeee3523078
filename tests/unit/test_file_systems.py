"""The cache on file systems that lack something: it works, or what is off is said, and no change is said to be done."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import flockless
from tests.factories import present
from tests.waiting import Clock
from zimage_cache import process_lock
from zimage_cache.atomic import flush
from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.entry import Source
from zimage_cache.errors import CacheUnavailable
from zimage_cache.faults import Faults

# Stores, pins and reads one picture, as a process of its own.
WORKER = """
import json, sys
from pathlib import Path
from tests.factories import picture_entry, present
from zimage_cache import process_lock
from zimage_cache.cache.disk import DiskTier
process_lock.SETTLING_SECONDS = 0.0
disk, entry = DiskTier(Path(sys.argv[1]), max_bytes=0), picture_entry(int(sys.argv[2]))
disk.put(entry)
generation = present(disk.generation(entry.record.key))
print(json.dumps([disk.pin(entry.record.key), disk.tally["write_errors"]]), flush=True)
sys.stdin.readline()
generation.release()
"""


@pytest.fixture
def root(tmp_path):
    yield tmp_path / "cache"
    assert check(tmp_path / "cache") == []


@pytest.fixture
def cache(root) -> ResultCache:
    return ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))


def _fail(number: int):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def _on_folders(number: int, call):
    """Fail where *call* is made on a folder."""

    def made(what, *more, **named):
        if os.path.isdir(what):  # noqa: PTH112 - it may be a descriptor
            raise OSError(number, os.strerror(number))
        return call(what, *more, **named)

    return made


def _works(cache: ResultCache, root: Path, entry) -> None:
    """Store, read after a restart, pin, prune, unpin and delete: all of it works, and nothing is counted as trouble."""
    kept, other = entry(1), entry(2)
    assert [cache.put(kept), cache.put(other), cache.pin(kept.record.key)] == [True] * 3
    restarted = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))
    assert present(restarted.get(kept.record.key)).source is Source.DISK
    assert restarted.prune(to_bytes=0).entries == 1
    assert [restarted.unpin(kept.record.key), restarted.delete(kept.record.key)] == [True] * 2
    assert restarted.get(kept.record.key) is None
    counted = cache.counts() + restarted.counts()
    assert (counted["write_errors"], counted["read_errors"]) == (0, 0)


@pytest.mark.parametrize("answer", flockless.ANSWERS)
def test_without_flock(cache, root, entry, monkeypatch, answer):
    """Everything works, and a key is drawn by one at a time."""
    flockless.refuse(monkeypatch, answer)
    monkeypatch.setattr(process_lock, "SETTLING_SECONDS", 0.0)

    _works(cache, root, entry)

    first = present(cache.generation(entry(3).record.key))
    assert cache.generation(entry(3).record.key) is None
    first.release()
    present(cache.generation(entry(3).record.key)).release()


def test_processes_with_and_without_flock_share_a_cache(tmp_path, root, entry):
    """What one stores, the other serves and changes; a key is drawn by one at a time; a killed one has none."""
    site = tmp_path / "site"
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root), "1"],
        env=flockless.environment(site, root.resolve()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as without:
        assert json.loads(present(without.stdout).readline()) == [True, 0]
        os.utime(root / "locks" / process_lock.KIND, (1e9, 1e9))
        mine = DiskTier(root, max_bytes=0)  # this process has `flock`
        key = entry(1).record.key
        assert present(mine.get(key)).entry == entry(1)
        assert mine.generation(key) is None
        assert mine.unpin(key)
        assert mine.put(entry(2))
        without.kill()

    present(mine.generation(key)).release()
    assert mine.tally["write_errors"] == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOENT, errno.ENOSYS, errno.EBADF])
def test_folders_that_cannot_be_synced(cache, root, entry, monkeypatch, number):
    """Network shares refuse that with various errors, none of which keeps a picture from being stored."""
    monkeypatch.setattr(os, "fsync", _on_folders(number, os.fsync))

    _works(cache, root, entry)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.EINVAL])
def test_folders_that_cannot_be_opened(tmp_path, monkeypatch, number):
    """Nor does it matter where a folder cannot even be opened to be synced; a file that cannot be is an error."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "open", _fail(number))

    flush(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        flush(tmp_path / "file")


def test_file_times_that_cannot_be_set(cache, root, entry, monkeypatch):
    """A file system without times, or with another owner's files, only forgets when a picture was used."""
    monkeypatch.setattr(os, "utime", _fail(errno.EPERM))

    _works(cache, root, entry)


def test_times_of_two_seconds(cache, root, entry, monkeypatch):
    """Where two writes in two seconds have the same time, size and number, what is served is still one of them."""
    monkeypatch.setattr(os, "fstat", _coarse(os.fstat))
    monkeypatch.setattr(Path, "lstat", _coarse(Path.lstat))
    old, new = entry(1, look=1), entry(1, look=2)
    cache.put(old)
    other = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))

    assert present(other.get(old.record.key)).entry == old
    cache.put(new)
    assert present(cache.get(old.record.key)).entry == new
    assert present(other.get(old.record.key)).entry in (old, new)


def _coarse(call):
    def coarse(*args, **named):
        fields = list(call(*args, **named))
        fields[1] = 1  # the number of the file
        fields[7:10] = [int(moment) // 2 * 2 for moment in fields[7:10]]
        return os.stat_result(fields, {"st_mtime_ns": fields[8] * 10**9, "st_mtime": fields[8], "st_ctime": fields[9]})

    return coarse


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (("rename", errno.EXDEV), "cache_unwritable"),  # `images` is another mount than `tmp`
        (("rename", errno.EDQUOT), "cache_disk_full"),
        (("flock", errno.EIO), "cache_unwritable"),
        (("flock", errno.ENOLCK), "cache_unwritable"),  # and folders cannot be renamed
        (("open", errno.ENAMETOOLONG), "cache_unwritable"),
        (("open", errno.EDQUOT), "cache_disk_full"),
    ],
)
def test_what_cannot_work_is_said(root, entry, monkeypatch, refused, code):
    """It stands from the start until it is over, with its cause, and pins and deletions tell what happened."""
    faults = Faults()
    now = Clock()
    disk = DiskTier(root, max_bytes=0, steady=now, faults=faults)
    cache = ResultCache(MemoryTier(0), disk)
    key = entry(1).record.key
    root.mkdir()
    disk.try_out()
    assert list(root.iterdir()) == []
    assert faults.standing == []
    with monkeypatch.context() as odd:
        _refuse(odd, *refused)
        disk.try_out()
        faults.retest()
        (fault,) = faults.standing
        assert fault.code == code
        assert cache.put(entry(1)) is False
        assert present(cache.get(key)).source is Source.MEMORY
        with pytest.raises(CacheUnavailable, match="cannot be pinned"):
            cache.pin(key)
        assert cache.delete(key) is True  # from memory, where it was
        assert cache.get(key) is None
        faults.retest()
        assert [fault.code for fault in faults.standing] == [code]
    faults.retest()
    assert faults.standing == []
    disk.try_out()
    assert cache.put(entry(1)) is True
    assert cache.pin(key) is True


def _refuse(odd, call: str, number: int) -> None:
    match call:
        case "rename":
            odd.setattr(Path, "replace", _fail(number))
        case "flock":
            flockless.refuse(odd, errno.errorcode[number])
            odd.setattr(Path, "rename", _fail(errno.EOPNOTSUPP))
            odd.setattr(process_lock, "SETTLING_SECONDS", 0.0)
        case "open":
            odd.setattr(os, "open", _refusing_long_names(number))


def _refusing_long_names(number: int):
    really = os.open

    def opened(path, flags, *more, **named):
        if flags & os.O_CREAT and len(os.path.basename(path)) > 20:  # noqa: PTH119 - bytes or text
            raise OSError(number, os.strerror(number), path)
        return really(path, flags, *more, **named)

    return opened


def test_pinning_writes_what_could_not_be_written(cache, root, entry, monkeypatch):
    """A picture that memory alone has is stored by its pin, once that works, and stays after a restart."""
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", _fail(errno.ENOSPC))
        assert cache.put(entry(1)) is False
        with pytest.raises(CacheUnavailable, match=os.strerror(errno.ENOSPC)):
            cache.pin(entry(1).record.key)

    assert cache.pin(entry(1).record.key) is True

    restarted = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))
    assert present(restarted.get(entry(1).record.key)).entry == entry(1)
    assert restarted.pin(entry(2).record.key) is False


def test_pinning_what_is_about_to_be_stored(cache, entry):
    """A picture on its way to the disk can be pinned at once; one that never fits is refused with the reason."""
    assert cache.pin(entry(1).record.key, entry(1)) is True
    assert present(cache.get(entry(1).record.key)).entry == entry(1)

    small = ResultCache(MemoryTier(0), DiskTier(cache._disk.root, max_bytes=100))  # noqa: SLF001
    with pytest.raises(CacheUnavailable, match="quarter"):
        small.pin(entry(2).record.key, entry(2))
