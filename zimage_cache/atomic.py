"""Files that are complete whenever they exist under their name."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file beside *path*, and rename it to *path*: readers see the old content or the new one, never a part.

    Args:
        path: The file; one that exists is replaced. Its folder must exist.
        content: All of it.
        durable: Bring the bytes to the disk before the rename, so that a power failure cannot leave an empty file.

    Raises:
        OSError: Nothing has changed.
    """
    # Not mkstemp: its file would be readable for this user only, and other users may share the folder.
    unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to the disk.

    Raises:
        OSError: The file system refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
