"""Compares a copy of a model with the hub's listing, file by file: sizes, and SHA-256 where the hub states it."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from zimage_cache.i18n.messages import Message
from zimage_cache.models.hubs import HubFile
from zimage_cache.models.progress import Meter, OnProgress, ignore_progress
from zimage_cache.models.revision import sha256_of
from zimage_cache.models.store import FileProblem, Problem, damaged, file_problems, unreadable


def verify(
    folder: Path, offered: Iterable[HubFile] = (), on_progress: OnProgress = ignore_progress
) -> list[FileProblem]:
    """Check *folder* against its own indexes and headers, and against the files *offered* by its hub.

    Uses no remembered hash, because bits may change while the modification time stays. Blocks while up to 33 GB are
    read.

    Args:
        folder: The copy.
        offered: Sizes, and hashes where known; empty = only the structure is checked.
        on_progress: Receives the bytes read.

    Returns:
        At most one problem per file, sorted by path.
    """
    found = {finding.file: finding for finding in file_problems(folder)}
    rest = []
    for file in offered:
        path = folder / file.path
        if wrong := _wrong_size(path, file):
            found.setdefault(path, wrong)
        elif path not in found and file.sha256:
            rest.append((path, file))
    meter = Meter(Message("verifying"), sum(file.size for _, file in rest), on_progress)
    wrong_bits = [_wrong_bits(path, file.sha256, meter.add) for path, file in rest]
    found |= {finding.file: finding for finding in wrong_bits if finding}
    return sorted(found.values(), key=lambda finding: finding.file)


def _wrong_size(path: Path, file: HubFile) -> FileProblem | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return damaged(path, Problem.MISSING, "file_missing").file_problem
    except OSError as error:
        return unreadable(path, error).file_problem
    if size < file.size:
        return damaged(path, Problem.TRUNCATED, "file_cut", size=size, all=file.size).file_problem
    if size > file.size:
        return damaged(path, Problem.CORRUPT, "file_too_long", size=size, all=file.size).file_problem
    return None


def _wrong_bits(path: Path, sha256: str, read: Callable[[int], object]) -> FileProblem | None:
    try:
        if partial(sha256_of, read=read)(path) == sha256:
            return None
    except OSError as error:
        return unreadable(path, error).file_problem
    return damaged(path, Problem.CORRUPT, "file_other_hash").file_problem
