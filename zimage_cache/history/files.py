"""Files in `output_image/`: writes new ones atomically under a free name; finds, opens and moves existing ones."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from zimage_cache.atomic import UNFINISHED, flush, unfinished, write

_END_OF_TIME: Final = 253_402_300_799  # the last second of the year 9999; files may claim more
_ABANDONED_SECONDS: Final = 3600.0
_NAMED_MOMENT = re.compile(r"image_(\d{8}_\d{6})_")


class Stamp(NamedTuple):
    """Size in bytes and modification time in nanoseconds, to detect that a file has changed."""

    size: int
    changed: int


def write_new(folder: Path, stem: str, png: bytes) -> Path:
    """Write a picture as *stem*.png, or as *stem*_2.png and so on where that name is taken; flushed to the disk.

    Raises:
        OSError: The picture could not be written; no file is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with unfinished(folder) as part:
        write(part, png, durable=True)
        return _publish(part, folder / f"{stem}.png")


def move(source: Path, target: Path) -> Path:
    """Move a file, also to another file system, to *target* or the next free name; returns where it is now.

    Raises:
        OSError: The file could not be moved; it is unchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        moved = _publish(source, target)  # on the same file system: a second name of the same file
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.ENOTSUP}:
            raise
        with unfinished(target.parent) as part:
            shutil.copy2(source, part, follow_symlinks=False)
            flush(part)
            moved = _publish(part, target)
    flush(moved.parent)
    source.unlink(missing_ok=True)
    return moved


def sweep(folder: Path, now: float) -> None:
    """Remove unfinished files of crashed writers below *folder*: those that were not written to for an hour.

    Files that cannot be read or removed stay. *now* is in seconds since 1970.
    """
    for inner, _, names in os.walk(folder):
        for name in filter(UNFINISHED.fullmatch, names):
            file = Path(inner, name)
            with suppress(OSError):
                stamp = stamp_of(file)
                if stamp is not None and now - stamp.changed / 1e9 > _ABANDONED_SECONDS:
                    file.unlink()


def scan(folder: Path) -> Iterator[tuple[str, Stamp]]:
    """Yield the PNG files below *folder* by their path in it, with their stamps; hidden files and links are left out.

    Links are left out because they could expose any picture of the machine. Names that are not UTF-8 cannot be stored
    in the index.

    Raises:
        OSError: The folder itself cannot be read.
    """
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            entries = list(os.scandir(folder / inner))
        except OSError:
            if not inner:
                raise
            continue
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            if entry.name.startswith(".") or not _is_text(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif entry.name.lower().endswith(".png") and (stamp := stamp_of(folder / name)):
                yield name, stamp


def stamp_of(file: Path) -> Stamp | None:
    """Return a regular file's stamp; None when there is no such file."""
    try:
        status = file.lstat()
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def open_plain(file: Path) -> BinaryIO:
    """Open a regular file, without following a link.

    Raises:
        OSError: There is no such file, or it is not a regular one.
    """
    # Without O_NONBLOCK, opening a named pipe would block until another process writes to it.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no regular file", str(file))
    return os.fdopen(descriptor, "rb")


def moment_of(name: str, stamp: Stamp) -> int:
    """Return when a picture was made, in seconds since 1970: from its name, else its modification time."""
    if named := _NAMED_MOMENT.search(name):
        try:
            return int(datetime.strptime(named[1], "%Y%m%d_%H%M%S").astimezone().timestamp())
        except (ValueError, OverflowError, OSError):
            pass  # the digits are no date
    return min(max(stamp.changed // 10**9, 0), _END_OF_TIME)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _publish(finished: Path, target: Path) -> Path:
    """Give a finished file the first free name; two writers in the same second get different names."""
    number, wanted = 1, target
    while True:
        try:
            _appear(finished, target)
        except FileExistsError:
            number += 1
            target = wanted.with_stem(f"{wanted.stem}_{number}")
        else:
            return target


def _appear(finished: Path, target: Path) -> None:
    """Give a finished file the name *target*, atomically.

    Raises:
        FileExistsError: The name is taken.
    """
    try:
        # Not os.replace, which replaces existing files, nor a reserved empty file, which a crash would leave behind.
        os.link(finished, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise
        # The file system has no hard links (exFAT, some network shares): reserve the name with an empty file.
        target.open("xb").close()
        try:
            finished.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
