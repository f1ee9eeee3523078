"""All calls of the operating system: reads and writes whole files, and translates its errors, here only.

Reading trouble is a `CacheError`, writing trouble a `CacheWriteFailed`, and what is no regular file a
`CorruptEntry`. A file that is not there is `None` or `False`. Knows nothing of keys, records or locks.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zimage_cache.atomic import flush, sync
from zimage_cache.cache.tier import Signature
from zimage_cache.errors import CacheError, CacheWriteFailed, CorruptEntry

# Never through a planted link; never waiting for the writer of a FIFO.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Translate what the operating system says about reading *path*."""
    try:
        yield
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate what the operating system says about writing *path*."""
    try:
        yield
    except OSError as error:
        raise CacheWriteFailed(f"{path}: cannot be written: {error.strerror or error}") from error


def kind(error: CacheError) -> str:
    """Name the trouble in one word, for rate limits: ENOSPC, EACCES, Timeout; or the error's own class."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    return errno.errorcode.get(number or 0, type(cause or error).__name__)


def read(path: Path, limit: int) -> tuple[bytes, Signature] | None:
    """Read a whole file of at most *limit* bytes, and tell which version of it that was.

    Returns:
        `None` when there is none.

    Raises:
        CorruptEntry: A link, folder, FIFO or device is in its place, or it is larger.
        CacheError: Anything else.
    """
    with reading(path):
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NO_FILE:
                raise CorruptEntry(f"{path.name}: is no regular file") from None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise CorruptEntry(f"{path.name}: is no regular file")
            if status.st_size > limit:
                raise CorruptEntry(f"{path.name}: {status.st_size} bytes, at most {limit} expected")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size + 1), Signature.of(status)
        finally:
            os.close(descriptor)


def write(path: Path, content: bytes) -> Signature:
    """Write a new file, durably: the bytes are on the disk, its name in the folder is not yet.

    Raises:
        CacheWriteFailed: Nothing is left behind then.
    """
    with writing(path):
        descriptor = os.open(path, _CREATE, 0o666)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
                file.write(content)
                file.flush()
                sync(descriptor)
                return Signature.of(os.fstat(descriptor))
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def replace(source: Path, target: Path) -> None:
    """Move *source* into the place of *target*, in one instant."""
    with writing(target):
        source.replace(target)


def remove(path: Path) -> bool:
    """Remove a file or link; return whether there was one.

    Raises:
        CorruptEntry: A folder is in its place.
        CacheWriteFailed: It cannot be removed.
    """
    with writing(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except (IsADirectoryError, PermissionError):
            # macOS answers EPERM for a folder.
            if path.is_dir() and not path.is_symlink():
                raise CorruptEntry(f"{path.name}: a folder is in its place") from None
            raise
        return True


def remove_all(folder: Path) -> None:
    """Remove a folder and what is in it, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)


def make_folders(folders: tuple[Path, ...]) -> None:
    """Make the folders that are missing, with their parents."""
    for folder in folders:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable, as far as the file system can."""
    with writing(folder):
        flush(folder)


def status(path: Path) -> os.stat_result | None:
    """Look at *path* itself, not at what it may link to; `None` when nothing is there."""
    with reading(path):
        try:
            return path.lstat()
        except FileNotFoundError:
            return None


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at what a listing found, as `status` does."""
    with reading(Path(entry.path)):
        try:
            return entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None


def listing(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Walk over what is in *folder*; nothing when there is no such folder."""
    with reading(folder):
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            yield from entries


def free_bytes(folder: Path) -> int:
    """Return how many bytes the file system of *folder* has left for us."""
    with writing(folder):
        return shutil.disk_usage(folder).free


def touch(path: Path, seconds: float) -> None:
    """Set the modification time of *path*, in seconds since 1970; a hint, so a failure is ignored."""
    try:
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    except OSError:
        return
