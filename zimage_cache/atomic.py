"""Files that are complete whenever they exist under their name."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# What network shares and FUSE file systems say that cannot sync folders, or nothing at all; some do not even open one.
_CANNOT_SYNC: Final = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOENT, errno.EBADF}
)
_CANNOT_OPEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.EINVAL, errno.ENOTSUP})
UNFINISHED: Final = re.compile(r"\.[0-9a-f]{16}\.part", re.ASCII)  # names that only a crash leaves behind


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file beside *path*, and rename it to *path*: readers see the old content or the new one, never a part.

    Args:
        path: The file; one that exists is replaced. Its folder must exist.
        content: All of it.
        durable: Bring the bytes to the disk before the rename, so that a power failure cannot leave an empty file.

    Raises:
        OSError: Nothing has changed.
    """
    with unfinished(path.parent) as part:
        write(part, content, durable=durable)
        part.replace(path)


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Give a free name in *folder* for a file that is not complete yet; nothing is left under it."""
    # Not mkstemp: its file would be readable for this user only, and other users may share the folder.
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, content: bytes, *, durable: bool) -> None:
    """Write a file that does not exist yet; a failure may leave a part of it.

    Raises:
        OSError: It is not written, or not on the disk though *durable*.
    """
    with path.open("xb") as file:
        file.write(content)
        if durable:
            file.flush()
            sync(file.fileno())


def flush(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to the disk, as far as the file system can.

    Raises:
        OSError: The disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waiting for the writer of a FIFO
    except OSError as error:
        if error.errno not in _CANNOT_OPEN or not path.is_dir():
            raise
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Bring an open file's bytes, or an open folder's names, to the disk, as far as the file system can.

    Raises:
        OSError: The disk fails.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
