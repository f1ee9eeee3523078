"""A lock that excludes other processes, on this machine and on others that have the same folder.

It is an `flock` where the file system has that, and the name of its owner in a folder where the file system refuses it
(NFS without a lock daemon, some cluster and container mounts).

**The kinds never guard one folder side by side.** The file `kind` in the folder of the locks tells which one counts:
empty means `flock`. A process that is refused `flock` writes it, and from then on every process takes all locks of the
folder by names, also one that has `flock`. Who has got an `flock` looks into `kind` once more before the lock counts,
and gives it back if names do. Names count five seconds after `kind` was written: who took an `flock` before that has
finished. `kind` is opened, not looked up, because only then do network file systems ask the server.

**A name excludes others** because a folder with an owner's name in it is renamed to `LOCK.held`, which file systems
refuse while a folder of that name has content. Each name is used once, so removing a dead owner's name can never
remove that of a new owner.

**A dead owner blocks no other process.** The kernel drops the `flock` of a killed process. A name is dead when its
process is gone, which processes of the same machine can tell, or when it was not renewed for two minutes: its owner
renews it every twenty seconds. Both times are those of the file server, so the clocks of the machines may differ.

What the rule does not cover: a process that was suspended for over two minutes holds what another has taken meanwhile,
mounts on which `flock` excludes processes of one machine alone (`nolock`, `local_lock`) look like any other, and
versions of this program before this rule know no names. What these locks guard must bear that.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

KIND: Final = "kind"
HELD: Final = ".held"
_NAMES: Final = b"names\n"
_READY: Final = ".ready"
REFUSED: Final = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM}
)  # answers of `flock`
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_POLL_SECONDS: Final = 0.005
SETTLING_SECONDS: Final = 5.0  # the first time a folder's locks are taken by names, each takes so long
_RENEWAL_SECONDS: Final = 20.0
_SILENT_SECONDS: Final = 120.0
_NAME: Final = re.compile(r"([0-9a-f]{12})\.(\d{1,9})\.[0-9a-f]{16}", re.ASCII)
_log = logging.getLogger(__name__)


class ProcessLock:
    """One lock; of the threads of a process, only one may use it at a time.

    Args:
        path: Names the lock. Other files of that name with endings, and `kind`, lie beside it.

    Raises:
        OSError: From `acquire`: the folder cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # A soft lock of the library outlives its killed holder on network file systems, so it is never used.
        self._flock = FileLock(path, thread_local=False, fallback_to_soft=False)
        self._name: Path | None = None  # while the lock is held by name

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock, within *patience* seconds; return whether that worked."""
        deadline = time.monotonic() + patience
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not _by_names(self._path.parent):
            try:
                self._flock.acquire(timeout=patience, poll_interval=_POLL_SECONDS)
            except Timeout:
                return False
            except OSError as error:
                # An error of the file's opening has its name.
                if error.errno not in REFUSED or error.filename is not None:
                    raise
                _declare_names(self._path.parent, error)
            else:
                if self._counts():
                    return True
        return self._acquire_name(deadline)

    def release(self) -> None:
        """Release the lock."""
        if self._name is None:
            self._flock.release()
            return
        name, self._name = self._name, None
        with suppress(OSError):  # what cannot be removed is dead, since its owner does not renew it
            name.unlink()
            name.parent.rmdir()
        _own.forget(name.name)

    def _counts(self) -> bool:
        """Return whether an `flock` that was got just now is a lock; give it back where it is none."""
        with contextlib.ExitStack() as undo:
            undo.callback(self._flock.release)
            if _by_names(self._path.parent):
                return False
            undo.pop_all()
        return True

    def _acquire_name(self, deadline: float) -> bool:
        with _prepared(self._path.parent) as ready:
            while not self._enter(ready):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_SECONDS)
            return True

    def _enter(self, ready: Path) -> bool:
        """Try once to make the folder *ready*, which has our name in it, the one of the lock."""
        place = self._path.with_name(self._path.name + HELD)
        name = _name_in(ready)
        now = _renewed(ready / name)
        if 0 <= now - (self._path.parent / KIND).stat().st_mtime < SETTLING_SECONDS:
            return False
        _remove_stale(place, now)
        try:
            ready.rename(place)
        except OSError as error:
            if error.errno in _TAKEN or _entries(place) not in ([], [name]):
                return False
            if _entries(place) != [name]:  # else it worked: the server's first answer was lost
                raise
        self._name = place / name
        _own.note(self._name)
        return True


def sweep(folder: Path) -> None:
    """Remove what killed processes left in *folder* while they were taking a lock by name."""
    for entry in _entries(folder):
        name = entry.removesuffix(_READY).removeprefix(".")
        if f".{name}{_READY}" == entry and _NAME.fullmatch(name) and _is_gone(name):
            shutil.rmtree(folder / entry, ignore_errors=True)


def _by_names(folder: Path) -> bool:
    """Return whether the locks of *folder* are taken by names."""
    descriptor = os.open(folder / KIND, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        return os.fstat(descriptor).st_size > 0
    finally:
        os.close(descriptor)


def _declare_names(folder: Path, refused: OSError) -> None:
    _log.warning(
        "locks_by_name folder=%s error=%s; the file system has no flock, so locks are names in this folder",
        folder,
        refused.strerror,
    )
    if _by_names(folder):
        return
    with (folder / KIND).open("r+b") as file:
        file.write(_NAMES)
        file.flush()
        with suppress(OSError):
            os.fsync(file.fileno())


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """Make a folder beside the lock with a new name of ours in it; remove it unless it was renamed."""
    name = f"{_host()}.{os.getpid()}.{secrets.token_hex(8)}"
    ready = folder / f".{name}{_READY}"
    _own.note(ready / name)
    try:
        ready.mkdir()
        (ready / name).touch()
        yield ready
    finally:
        if _own.path(name) == ready / name:
            _own.forget(name)
            shutil.rmtree(ready, ignore_errors=True)


def _name_in(ready: Path) -> str:
    return ready.name.removesuffix(_READY).removeprefix(".")


def _renewed(name: Path) -> float:
    """Write to a name's file; return when that was by the clock of the file server, in seconds since 1970."""
    with name.open("r+b") as file:  # makes no file, where another has removed the name
        file.write(f"{socket.gethostname()}, process {os.getpid()}\n".encode())
    return name.stat().st_mtime


def _remove_stale(place: Path, now: float) -> None:
    """Remove the names of dead owners from a lock, and the lock's folder when it is empty."""
    for name in _entries(place):
        with suppress(FileNotFoundError):
            # A clock that was set back makes the times of dead owners lie ahead.
            silent = abs(now - (place / name).stat().st_mtime) > _SILENT_SECONDS
            if silent or _is_gone(name):
                (place / name).unlink()
    with suppress(OSError):  # there is none, or it has an owner
        place.rmdir()


def _entries(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _is_gone(name: str) -> bool:
    """Return whether a name is of a process that this machine had and has no more."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] != _host():
        return False
    if int(match[2]) == os.getpid():
        return _own.path(name) is None
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _host() -> str:
    """Return 12 hex digits for this machine since it was started, and where a number means the same process."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class _Own:
    """The names of this process, and a thread that renews them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[str, Path] = {}
        self._thread: threading.Thread | None = None

    def note(self, path: Path) -> None:
        """Renew the file at *path* from now on, in place of an earlier one of the same name."""
        with self._lock:
            self._paths[path.name] = path
            if self._thread is None:
                thread = threading.Thread(target=self._renew_often, name="lock-names", daemon=True)
                with suppress(RuntimeError):  # no thread can be started: the next name tries again
                    thread.start()
                    self._thread = thread

    def forget(self, name: str) -> None:
        """Renew it no longer."""
        with self._lock:
            self._paths.pop(name, None)

    def path(self, name: str) -> Path | None:
        """Return where the file of a name of ours is."""
        with self._lock:
            return self._paths.get(name)

    def _renew_often(self) -> None:
        while True:
            time.sleep(_RENEWAL_SECONDS)
            with self._lock:
                paths = list(self._paths.values())
            for path in paths:
                with suppress(OSError):
                    _renewed(path)


_own: Final = _Own()
