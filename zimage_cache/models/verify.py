"""Whether a copy of a model is what its hub offered: file by file, down to the last bit where hashes are known."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from zimage_cache.models.hubs import HubFile
from zimage_cache.models.progress import Meter, Tell, silent
from zimage_cache.models.revision import sha256_of
from zimage_cache.models.store import Finding, Problem, damaged, findings


def verify(folder: Path, offered: Iterable[HubFile] = (), tell: Tell = silent) -> list[Finding]:
    """Check *folder* against its own indexes and headers, and against what was *offered*; reads every hashed byte.

    Never trusts a remembered hash: bits rot under an unchanged date. Blocks for as long as reading 33 GB takes.

    Args:
        folder: The copy.
        offered: Sizes, and hashes where known; empty = structure only.
        tell: Hears of the bytes read.

    Returns:
        What is wrong, at most one finding a file, sorted by path.
    """
    found = {finding.file: finding for finding in findings(folder)}
    rest = []
    for file in offered:
        path = folder / file.path
        if wrong := _wrong_size(path, file):
            found.setdefault(path, wrong)
        elif path not in found and file.sha256:
            rest.append((path, file))
    meter = Meter("verifying", sum(file.size for _, file in rest), tell)
    wrong_bits = [_wrong_bits(path, file.sha256, meter.add) for path, file in rest]
    found |= {finding.file: finding for finding in wrong_bits if finding}
    return sorted(found.values(), key=lambda finding: finding.file)


def _wrong_size(path: Path, file: HubFile) -> Finding | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return damaged(path, Problem.MISSING, "is missing").finding
    except OSError as error:
        return _unreadable(path, error)
    if size < file.size:
        return damaged(path, Problem.TRUNCATED, f"is cut off: {size} of {file.size} bytes").finding
    if size > file.size:
        return damaged(path, Problem.CORRUPT, f"is too long: {size} of {file.size} bytes").finding
    return None


def _wrong_bits(path: Path, sha256: str, read: Callable[[int], object]) -> Finding | None:
    try:
        if partial(sha256_of, read=read)(path) == sha256:
            return None
    except OSError as error:
        return _unreadable(path, error)
    return damaged(path, Problem.CORRUPT, "is damaged: its SHA-256 is not the one its hub tells").finding


def _unreadable(path: Path, error: OSError) -> Finding:
    said = f"model: {path} cannot be read ({error.strerror or error}); check its permissions and its disk"
    return Finding(path, Problem.UNREADABLE, said)
