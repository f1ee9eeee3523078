"""Files in `output_image/`: writes new ones atomically under a free name; finds, opens and moves existing ones."""

import errno
import os
import re
import shutil
import stat
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, NamedTuple

from zimage_cache.atomic import UNFINISHED, flush, unfinished, write
from zimage_cache.database import storable

_END_OF_TIME: Final = 253_402_300_799  # the last second of the year 9999; files may claim more
_ABANDONED_SECONDS: Final = 3600.0
DEEPEST: Final = 8
MOST_FOLDERS: Final = 1000
MOST_PICTURES: Final = 250_000
_COARSE_NS: Final = 3 * 10**9
_FINE_NS: Final = 20 * 10**6
# Folders of copies, thumbnails and deleted files that desktops, file servers and other programs make beside pictures.
_NOT_OURS: Final = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "system volume information"}
    | {"lost+found", "__macosx", "thumbnails", "thumbs"}
)
_NAMED_MOMENT = re.compile(r"image_(\d{8}_\d{6})_", re.ASCII)
# Time zones, in seconds: their offsets from UTC are multiples of a quarter of an hour, from -12 to +14 hours.
_ZONE_STEP: Final = 900
_WEST: Final = -12 * 3600
_EAST: Final = 14 * 3600
# A file is written up to so many seconds after its picture was drawn, and may say two less: some file systems round.
_LATEST_WRITE: Final = 60
_EARLIEST_WRITE: Final = 2


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
            shutil.copyfile(source, part, follow_symlinks=False)
            with suppress(OSError):  # file systems without modes or times
                shutil.copystat(source, part, follow_symlinks=False)
            flush(part)
            moved = _publish(part, target)
    flush(moved.parent)
    source.unlink(missing_ok=True)
    return moved


def sweep(parts: Iterable[Path], now: float) -> None:
    """Remove unfinished files of crashed writers, as a survey found them, that were not written to for an hour.

    Files that cannot be read or removed stay. *now* is in seconds since 1970.
    """
    for file in parts:
        with suppress(OSError):
            stamp = stamp_of(file)
            if stamp is not None and now - stamp.changed / 1e9 > _ABANDONED_SECONDS:
                file.unlink()


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found below the folder of the pictures; names are paths in it, with `/`, and "" is the folder itself.

    Args:
        pictures: The PNG files, with their stamps.
        folders: The folders that were looked into, and when each had last changed.
        unseen: Folders that could not be read, or were too many: of what is in them nothing is known.
        parts: Files that writers have not finished.
    """

    pictures: dict[str, Stamp]
    folders: dict[str, int]
    unseen: frozenset[str]
    parts: list[Path]

    def knows(self, name: str) -> bool:
        """Return whether a picture of this name would have been found if it were there."""
        return "" not in self.unseen and self.unseen.isdisjoint(map(str, PurePosixPath(name).parents))


def survey(folder: Path, apart: Collection[str] = ()) -> Survey:
    """Find the pictures below *folder*; links, hidden files, thumbnails and what systems keep there are left out.

    Links are left out because they could expose any picture of the machine; so no folder is found twice. Names that are
    not UTF-8 cannot be stored in the index. Folders are read from the upper to the lower ones, at most 8 levels and
    1,000 folders, and none after 250,000 pictures were found.

    Args:
        folder: The folder of the pictures.
        apart: Folders in it that hold other files of this program.

    Raises:
        OSError: The folder itself cannot be read.
    """
    found = Survey({}, {}, frozenset(), [])
    waiting, unseen = deque([""]), set()
    while waiting:
        inner = waiting.popleft()
        if len(found.folders) >= MOST_FOLDERS or len(found.pictures) >= MOST_PICTURES or inner.count("/") >= DEEPEST:
            unseen.add(inner)
            continue
        try:
            found.folders[inner] = _changed(folder, inner)
            deeper = list(_look_into(folder, inner, found))
        except OSError:
            if not inner:
                raise
            unseen.add(inner)
        else:
            waiting.extend(sorted(name for name in deeper if name not in apart))
    return replace(found, unseen=frozenset(unseen))


def changed_since(folder: Path, found: Survey) -> bool:
    """Return whether any of the folders was changed after the survey; where that cannot be told, return True."""
    try:
        return any(moment < 0 or _changed(folder, inner) != moment for inner, moment in found.folders.items())
    except OSError:
        return True


def _look_into(folder: Path, inner: str, found: Survey) -> Iterator[str]:
    """Note the pictures and unfinished files of one folder; yield the folders in it."""
    with os.scandir(folder / inner) as entries:
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            if UNFINISHED.fullmatch(entry.name):
                found.parts.append(Path(entry.path))
            elif entry.name.startswith(".") or not _is_text(entry.name):
                continue
            elif entry.is_dir(follow_symlinks=False):
                if entry.name.casefold() not in _NOT_OURS:
                    yield name
            elif entry.name.lower().endswith(".png") and (stamp := stamp_of(folder / name)):
                found.pictures[name] = stamp


def _changed(folder: Path, inner: str) -> int:
    """Return when a folder was last changed, in nanoseconds; -1 for so lately that a change may not show.

    Times are those of the file system: of whole seconds, every second one, on FAT, and of a few milliseconds elsewhere.

    Raises:
        OSError: There is no such folder.
    """
    changed = os.lstat(f"{folder}/{inner}").st_mtime_ns  # the slash follows a link of the folder itself, and no other
    doubtful = _COARSE_NS if changed % 10**9 == 0 else _FINE_NS
    return -1 if abs(time.time_ns() - changed) < doubtful else changed


def stamp_of(file: Path) -> Stamp | None:
    """Return a regular file's stamp; None when there is no such file."""
    try:
        status = file.lstat()
    except OSError:
        return None
    return Stamp(status.st_size, storable(status.st_mtime_ns)) if stat.S_ISREG(status.st_mode) else None


def stamp_in(folder: Path, name: str) -> Stamp | None:
    """Return the stamp of a picture, as a survey would: None also where one of its folders has become a link."""
    for inner in PurePosixPath(name).parents[:-1]:
        if (folder / inner).is_symlink():
            return None
    return stamp_of(folder / name)


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
    """Return when a picture was made, in seconds since 1970.

    The names of this program's files have a local time, of a time zone that nothing tells: it is the one in which the
    file was last changed within a minute after that time, since a file is written right after its picture is drawn.
    Copies have other times: their names are read in the server's time zone. Pictures of other programs are as old as
    their files.

    Args:
        name: Of the file.
        stamp: Of the file.
    """
    changed: float = min(max(stamp.changed // 10**9, 0), _END_OF_TIME)
    local = _local_time(name)
    if local is None:
        moment = changed
    else:
        shift = local.replace(tzinfo=UTC).timestamp() - changed
        zone = round(shift / _ZONE_STEP) * _ZONE_STEP
        written = -_LATEST_WRITE <= shift - zone <= _EARLIEST_WRITE and _WEST <= zone <= _EAST
        moment = changed + shift - zone if written else _server_time(local, changed)
    return int(min(max(moment, 0), _END_OF_TIME))


def _local_time(name: str) -> datetime | None:
    if named := _NAMED_MOMENT.search(name):
        with suppress(ValueError):  # the digits are no date
            return datetime.strptime(named[1], "%Y%m%d_%H%M%S")  # noqa: DTZ007 - its time zone is what is sought
    return None


def _server_time(local: datetime, otherwise: float) -> float:
    try:
        return local.astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise


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
