"""Files that are complete whenever they exist under their name."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
            os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to the disk, as far as the file system can.

    Raises:
        OSError: The file system refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waiting for the writer of a FIFO
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # network and FUSE file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)
