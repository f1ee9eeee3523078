"""The revision of a model: a hash over the content of every file, computed once and kept in a file."""

import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from zimage_cache.atomic import write_atomically
from zimage_cache.errors import Cancelled, ModelCorrupt
from zimage_cache.i18n.messages import Message
from zimage_cache.models.progress import Meter, OnProgress, ignore_progress
from zimage_cache.models.store import content_files

HASHING: Final = Message("hashing")
_HASHERS: Final = 4
_BLOCK: Final = 2**20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)

FileStamp = list[int]  # size, modification time in ns, inode: a file whose stamp is unchanged is unchanged
RememberedHashes = dict[str, tuple[FileStamp, str]]  # by resolved path


def _never() -> bool:
    return False


def sha256_of(path: Path, read: Callable[[int], object] | None = None) -> str:
    """Hash one file; returns 64 hex digits. Blocks while the file is read; *read* is called with each count of bytes.

    An exception from *read* ends the hashing.

    Raises:
        OSError: It cannot be read.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if read is not None:
                read(count)
    return digest.hexdigest()


def content_revision(
    folder: Path,
    memo: Path,
    hash_file: Callable[[Path], str] | None = None,
    on_progress: OnProgress = ignore_progress,
    stopped: Callable[[], bool] = _never,
) -> str:
    """Return the revision of the folder's content: the SHA-256 of its manifest, one "<sha256>  <path>" line per file.

    The manifest lists the files of `content_files`, sorted by relative path, so that the same weights from either hub
    have the same revision, independent of other files. Files are hashed on a few threads; their hashes are kept in
    *memo* by path, size, modification time and inode. With a damaged or unwritable memo they are computed again.
    Blocks for minutes the first time (32 GB), for milliseconds later; *on_progress* reports the bytes hashed, and
    *stopped* is called after each block.

    Raises:
        ModelCorrupt: A file is missing or cannot be read.
        Cancelled: *stopped* returned true; files hashed until then are kept in *memo*.
    """
    try:
        names = sorted(path.relative_to(folder).as_posix() for path in content_files(folder))
        digests = digests_of([folder / name for name in names], memo, hash_file, on_progress, stopped)
    except OSError as error:
        raise ModelCorrupt("cannot_hash", file=error.filename, error=error.strerror) from error
    manifest = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    return hashlib.sha256(manifest.encode()).hexdigest()


def digests_of(
    files: list[Path],
    memo: Path,
    hash_file: Callable[[Path], str] | None = None,
    on_progress: OnProgress = ignore_progress,
    stopped: Callable[[], bool] = _never,
) -> list[str]:
    """Return the SHA-256 of each of *files*, in the same order, from *memo* where possible.

    Raises:
        OSError: One of them cannot be read.
        Cancelled: *stopped* returned true. Files hashed until then are kept in *memo*, on errors too.
    """
    memory = _recall(memo)
    unknown = [path for path in files if not _remembered(path, memory)]
    meter = Meter(HASHING, sum(path.stat().st_size for path in unknown), on_progress)
    ending = threading.Event()
    known: RememberedHashes = {}

    def read(count: int) -> None:
        if ending.is_set() or stopped():
            raise Cancelled("hashing_stopped")
        meter.add(count)

    def digest(path: Path) -> str:
        key, entry = _digest(path, memory, hash_file or partial(sha256_of, read=read))
        known[key] = entry
        return entry[1]

    try:
        # hashlib releases the interpreter lock, so threads hash in parallel; more than a few only make a disk seek.
        # Leaving this block, by an exception too, sets `ending`: else both it and the interpreter's exit would wait.
        with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as pool, _set_at_end(ending):
            return list(pool.map(digest, files))
    finally:
        if learnt := {key: entry for key, entry in known.items() if memory.get(key) != entry}:
            _remember(memo, learnt)


@contextmanager
def _set_at_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _remembered(path: Path, memory: RememberedHashes) -> bool:
    known = memory.get(str(path.resolve()))
    return known is not None and known[0] == _stamp(path)


def _digest(
    path: Path, memory: RememberedHashes, hash_file: Callable[[Path], str]
) -> tuple[str, tuple[FileStamp, str]]:
    """Return the remembered entry of *path* where its stamp is unchanged, else hash the file."""
    key, stamp = str(path.resolve()), _stamp(path)
    known = memory.get(key)
    # The stamp is taken before reading: a file that changes while it is hashed has another stamp next time.
    return key, known if known and known[0] == stamp else (stamp, hash_file(path))


def _stamp(path: Path) -> FileStamp:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _recall(memo: Path) -> RememberedHashes:
    """Read the memo; invalid entries are dropped."""
    try:
        document = json.loads(memo.read_bytes())
    except (OSError, ValueError):
        return {}
    entries = document.items() if isinstance(document, dict) else ()
    return {key: (entry[0], entry[1]) for key, entry in entries if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    match entry:
        case [[int(), int(), int()], str(digest)]:
            return _SHA256.fullmatch(digest) is not None
    return False


def _remember(memo: Path, learnt: RememberedHashes) -> None:
    """Add to the memo by an atomic rename; of two processes at once one may lose entries, which are hashed again."""
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memo, json.dumps(_recall(memo) | learnt, indent=1).encode())
    except OSError as error:
        _log.warning("hashes of the weights are not remembered, so the next start computes them again: %s", error)
