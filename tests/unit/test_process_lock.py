"""Locks between processes: `flock` where there is one, names where there is none, and never both beside each other."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import flockless
from tests.factories import present
from tests.waiting import wait_until
from zimage_cache import process_lock
from zimage_cache.process_lock import KIND, ProcessLock

# Takes the lock so many times as told, and says how often another had it meanwhile; "hold" keeps it instead.
WORKER = """
import os, sys, time
from pathlib import Path
from zimage_cache import process_lock
process_lock.SETTLING_SECONDS = 0.3
folder, order = Path(sys.argv[1]), sys.argv[2]
lock, inside = process_lock.ProcessLock(folder / "locks" / "a.lock"), folder / "inside"
if order == "hold":
    print(lock.acquire(20), flush=True)
    time.sleep(600)
overlaps = 0
for _ in range(int(order)):
    assert lock.acquire(30)
    try:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        time.sleep(0.001)
        inside.unlink()
    except (FileExistsError, FileNotFoundError):
        overlaps += 1
    lock.release()
print(overlaps)
"""


def _start(folder: Path, order: str, site: Path | None) -> subprocess.Popen[str]:
    environ = flockless.environment(site, folder) if site else dict(os.environ)
    command = [sys.executable, "-c", WORKER, str(folder), order]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def names(tmp_path, monkeypatch) -> Path:
    """Return a folder whose locks have been names for a while, for a process that is refused `flock`."""
    flockless.refuse(monkeypatch)
    assert not ProcessLock(tmp_path / "first.lock").acquire()
    os.utime(tmp_path / KIND, (1e9, 1e9))
    return tmp_path


def _held(folder: Path) -> list[Path]:
    return list((folder / "a.lock.held").iterdir())


def _name(pid: int) -> str:
    """Return a name of a process on this machine."""
    return f"{process_lock._host()}.{pid}.{'0' * 16}"  # noqa: SLF001 - part of the format


def _leave(folder: Path, name: str) -> Path:
    """Leave the name of an owner that never released the lock."""
    (folder / "a.lock.held").mkdir()
    path = folder / "a.lock.held" / name
    path.touch()
    return path


def _dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("answer", flockless.ANSWERS)
def test_without_flock_names_exclude(tmp_path, monkeypatch, caplog, answer):
    """Whatever the system says about `flock`, one at a time has the lock, and the log says once why names are used."""
    flockless.refuse(monkeypatch, answer)
    mine, theirs = ProcessLock(tmp_path / "a.lock"), ProcessLock(tmp_path / "a.lock")
    monkeypatch.setattr(process_lock, "SETTLING_SECONDS", 0.0)

    taken = [mine.acquire(), theirs.acquire(), ProcessLock(tmp_path / "b.lock").acquire()]
    mine.release()

    assert taken == [True, False, True]
    assert theirs.acquire()
    theirs.release()
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 1
    assert os.strerror(getattr(errno, answer)) in warned[0]


def test_what_is_no_refusal_of_flock_is_an_error(tmp_path, monkeypatch):
    """A disk that fails, and a folder that may not be written, change no kind of lock."""
    flockless.refuse(monkeypatch, "EIO")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        ProcessLock(tmp_path / "a.lock").acquire()
    assert (tmp_path / KIND).read_bytes() == b""

    monkeypatch.undo()
    denied = PermissionError(errno.EPERM, "Operation not permitted", "a.lock")
    monkeypatch.setattr(os, "open", lambda *_args, **_named: (_ for _ in ()).throw(denied))
    with pytest.raises(PermissionError):
        ProcessLock(tmp_path / "a.lock").acquire()


def test_nothing_is_left_by_names(names):
    """After the release only the files that tell the kind are there, however often the lock was taken or not."""
    lock = ProcessLock(names / "a.lock")
    for _ in range(3):
        assert lock.acquire()
        assert not ProcessLock(names / "a.lock").acquire()
        lock.release()

    assert sorted(path.name for path in names.iterdir()) == ["first.lock", KIND]


def test_names_count_after_those_with_flock_have_finished(tmp_path, monkeypatch):
    """For five seconds by the file server's clock after `kind` was written, no name is a lock."""
    flockless.refuse(monkeypatch)
    lock = ProcessLock(tmp_path / "a.lock")
    assert not lock.acquire()
    now = time.time()
    taken = []
    for age in (0, 4, 6, -3600):  # also where the file comes from a machine whose clock is ahead
        os.utime(tmp_path / KIND, (now - age, now - age))
        taken.append(lock.acquire())
        if taken[-1]:
            lock.release()

    assert taken == [False, False, True, True]


def test_who_has_flock_takes_names_where_another_needs_them(names, monkeypatch):
    """A process with `flock` is kept out by a name, and takes the lock by name itself."""
    without = ProcessLock(names / "a.lock")
    assert without.acquire()
    monkeypatch.undo()
    with_flock = ProcessLock(names / "a.lock")

    assert not with_flock.acquire()
    without.release()
    assert with_flock.acquire()
    assert len(_held(names)) == 1
    with_flock.release()


def test_an_flock_that_was_got_too_late_is_given_back(tmp_path, monkeypatch):
    """Where names begin to count between the first look and the `flock`, the lock is taken by name."""
    lock = ProcessLock(tmp_path / "a.lock")
    looks = iter([False, True])
    monkeypatch.setattr(process_lock, "_by_names", lambda folder: (folder / KIND).touch() or next(looks))
    os.utime(tmp_path, (0, 0))
    monkeypatch.setattr(process_lock, "SETTLING_SECONDS", 0.0)

    assert lock.acquire()

    assert len(_held(tmp_path)) == 1
    monkeypatch.undo()
    assert ProcessLock(tmp_path / "a.lock").acquire()  # the `flock` itself is free
    lock.release()


def test_the_name_of_a_killed_process_is_free_at_once(names):
    """A process of this machine that is gone holds nothing; one that lives does, silent or not."""
    _leave(names, _name(_dead_pid()))
    lock = ProcessLock(names / "a.lock")
    assert lock.acquire()
    lock.release()

    _leave(names, _name(os.getppid()))
    assert not lock.acquire()


def test_a_name_that_this_process_lost_is_free(names):
    """A container that starts again may have the same number for its process: what it does not hold is left over."""
    _leave(names, _name(os.getpid()))

    assert ProcessLock(names / "a.lock").acquire()


@pytest.mark.parametrize(("silent", "free"), [(0, False), (100, False), (130, True), (-3600, True)])
def test_a_name_of_another_machine_is_free_when_it_is_silent(names, silent, free):
    """Whether its process lives cannot be asked: two minutes without renewal decide, by any clock."""
    name = _leave(names, f"{'0' * 12}.{os.getpid()}.{'0' * 16}")
    moment = time.time() - silent
    os.utime(name, (moment, moment))

    assert ProcessLock(names / "a.lock").acquire() is free


def test_an_owner_renews_its_name(names, monkeypatch):
    """While the lock is held its name does not get old; a name that another has removed is not made again."""
    monkeypatch.setattr(process_lock, "_RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(process_lock, "_own", type(process_lock._own)())  # noqa: SLF001 - with a thread of its own
    lock = ProcessLock(names / "a.lock")
    assert lock.acquire()
    (name,) = _held(names)
    os.utime(name, (0, 0))

    wait_until(lambda: name.stat().st_mtime > 0)
    name.unlink()
    seen = threading.Event()
    monkeypatch.setattr(process_lock, "_renewed", lambda _name: seen.set())
    assert seen.wait(10)
    assert not name.exists()
    lock.release()


def test_no_thread_for_the_renewal(names, monkeypatch):
    """Where the machine gives no thread the lock works; it only counts as dead after two minutes."""
    monkeypatch.setattr(process_lock, "_own", type(process_lock._own)())  # noqa: SLF001 - with a thread of its own
    monkeypatch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start")))
    lock = ProcessLock(names / "a.lock")

    assert lock.acquire()
    lock.release()


@pytest.mark.parametrize("answer", [errno.EACCES, errno.EBUSY, errno.EPERM])
def test_file_systems_that_refuse_a_held_name_in_other_words(names, monkeypatch, answer):
    """Network shares say EACCES or EBUSY where a folder has content: held by another. Without one it is an error."""
    lock = ProcessLock(names / "a.lock")
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(answer, "refused")))
    _leave(names, _name(os.getppid()))
    assert not lock.acquire()

    _held(names)[0].unlink()
    with pytest.raises(OSError, match="refused"):
        lock.acquire()
    assert sorted(path.name for path in names.iterdir()) == ["first.lock", KIND]


def test_a_lost_answer_of_the_server(names, monkeypatch):
    """A rename that worked although its answer says that there is no such folder gives the lock."""
    rename = Path.rename

    def twice(source: Path, target: Path) -> Path:
        rename(source, target)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", twice)
    lock = ProcessLock(names / "a.lock")

    assert lock.acquire()
    assert not ProcessLock(names / "a.lock").acquire()
    lock.release()
    assert ProcessLock(names / "a.lock").acquire()


def test_sweep_takes_what_killed_processes_prepared(names):
    """Folders of dead processes go; those of living ones, and other files, stay."""
    kept = [f".{_name(os.getppid())}.ready", ".other.ready", "a.lock"]
    for name in (*kept, f".{_name(_dead_pid())}.ready"):
        (names / name).mkdir()

    process_lock.sweep(names)

    assert sorted(path.name for path in names.iterdir()) == sorted([*kept, "first.lock", KIND])


def test_one_of_many_takes_the_name_of_a_dead_owner(names):
    """Threads with locks of their own find one dead name after another, and no two have the lock at once."""
    inside, most = [0], [0]
    dead = _dead_pid()
    barrier = threading.Barrier(8)

    def work() -> None:
        lock = ProcessLock(names / "a.lock")
        barrier.wait()
        for _ in range(20):
            assert lock.acquire(60)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            (names / "a.lock.held" / _name(dead)).touch()  # killed while it releases
            inside[0] -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]


def test_processes_with_and_without_flock_exclude_each_other(tmp_path):
    """Two of each kind take one lock, also while the kind of the lock changes: never two at once."""
    folder = tmp_path.resolve() / "shared"
    folder.mkdir()
    sites = (None, tmp_path / "site", None, tmp_path / "site")
    workers = [_start(folder, "100", site) for site in sites]

    said = [worker.communicate()[0].strip() for worker in workers]

    assert said == ["0"] * 4
    assert (folder / "locks" / KIND).stat().st_size > 0


@pytest.mark.parametrize("refused", [True, False], ids=["no flock", "flock"])
def test_a_killed_holder_blocks_no_other_process(tmp_path, refused):
    """A killed holder's lock is free at once, by `flock` and by name."""
    folder = tmp_path.resolve() / "shared"
    folder.mkdir()
    with _start(folder, "hold", tmp_path / "site" if refused else None) as holder:
        assert json.loads(present(holder.stdout).readline().lower()) is True
        if refused:
            os.utime(folder / "locks" / KIND, (1e9, 1e9))
        lock = ProcessLock(folder / "locks" / "a.lock")
        assert not lock.acquire()
        holder.kill()

    assert lock.acquire(1.0)
    lock.release()
