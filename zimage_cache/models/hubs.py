"""Downloads with the hubs' own clients, in a child process: `python -m zimage_cache.models.hubs ORDER`.

A process, not a thread: a download takes hours, and both clients start threads that cannot be stopped, so that a
server that shuts down would wait for them. A child process can be ended at any time, and the next download resumes
what has arrived. It also exits when its parent has ended, because its standard input then closes.

ORDER is a JSON object of the fields of `FetchOrder`. Answers are JSON objects, one per line, on standard output: first
the `listing`, then the `folder`; on failure a `reason`, the document of a message, in place of either.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from filelock import FileLock, Timeout

from zimage_cache.environment import proxies
from zimage_cache.errors import ZImageError
from zimage_cache.i18n.messages import Message
from zimage_cache.models.store import READ_SUFFIXES
from zimage_cache.process_lock import REFUSED

PATTERNS: Final = tuple(f"*{suffix}" for suffix in READ_SUFFIXES)
SPARE_BYTES: Final = 2**28
_GIB: Final = 2**30
_DEEP: Final = 10
_OF_THE_HUB: Final = frozenset({401, 404})  # answers that no proxy makes up


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """What to fetch.

    Attributes:
        source: "modelscope" or "huggingface".
        repo_id: Such as Tongyi-MAI/Z-Image-Turbo.
        model_cache: The root to fetch into, when *folder* is empty.
        folder: An existing copy to repair in place; empty = the hub's usual place below *model_cache*.
        only: Paths inside the repository; empty = the whole model.
        listing_only: List the files and fetch nothing.
    """

    source: str
    repo_id: str
    model_cache: str
    folder: str = ""
    only: tuple[str, ...] = ()
    listing_only: bool = False


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file a hub offers: its size in bytes, and its SHA-256 in hex digits where the hub states it (else empty)."""

    path: str
    size: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A hub's files; `arriving` is the folder that unfinished downloads are in, `fetch` returns the finished one."""

    files: list[HubFile]
    arriving: Path
    fetch: Callable[[list[str]], Path]


class NotFetched(ZImageError):
    """A hub did not deliver; the message is the reason."""


def _modelscope(order: FetchOrder) -> Offer:
    # The function behind `modelscope.snapshot_download`, which itself would import torch.
    from modelscope_hub import HubApi  # noqa: PLC0415 - either client takes a while to import
    from modelscope_hub.compat import snapshot_download  # noqa: PLC0415 - see above

    endpoint = HubApi().resolve_endpoint_for_read(order.repo_id)
    listed = HubApi(endpoint=endpoint).list_repo_files(order.repo_id, "model")
    files = [HubFile(f.path, f.size or 0, f.sha256 or "") for f in listed if f.type != "tree"]
    flat = order.repo_id.replace("/", "--")
    target = Path(order.folder or Path(order.model_cache) / "models" / flat / "snapshots" / "master")

    def fetch(names: list[str]) -> Path:
        place: dict[str, Any] = {"cache_dir": order.model_cache, "local_dir": str(target)}
        return Path(snapshot_download(order.repo_id, endpoint=endpoint, allow_patterns=names, **place))

    return Offer(files, target, fetch)


def _huggingface(order: FetchOrder) -> Offer:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - either client takes a while to import

    info = HfApi().model_info(order.repo_id, files_metadata=True)
    files = [
        HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else "") for each in info.siblings or []
    ]
    folder, cache = Path(order.folder), Path(order.model_cache) / "hub"
    place: dict[str, Any] = {"cache_dir": cache}
    arriving = cache / f"models--{order.repo_id.replace('/', '--')}" / "blobs"
    if order.folder and folder.parent.name == "snapshots":  # the hub's own layout: files are links to blobs
        place = {"cache_dir": folder.parents[2], "revision": folder.name}
        arriving = folder.parents[1] / "blobs"
    elif order.folder:
        place, arriving = {"local_dir": folder}, folder

    def fetch(names: list[str]) -> Path:
        _sweep(arriving)
        return Path(snapshot_download(order.repo_id, allow_patterns=names, **place))

    return Offer(files, arriving, fetch)


def _sweep(blobs: Path) -> None:
    """Delete unfinished files of killed clients in Hugging Face's layout: its client never resumes another run's file.

    A file whose lock is held is being written by another process, and stays.
    """
    for path in blobs.glob("*.incomplete"):
        lock = blobs.parents[1] / ".locks" / blobs.parent.name / f"{path.name.partition('.')[0]}.lock"
        with contextlib.suppress(OSError, Timeout):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                path.unlink(missing_ok=True)


SOURCES: Final[Mapping[str, Callable[[FetchOrder], Offer]]] = MappingProxyType(
    {"modelscope": _modelscope, "huggingface": _huggingface}
)


def _carry_out(order: FetchOrder, say: Callable[[dict[str, Any]], None]) -> None:
    offer = SOURCES[order.source](order)
    wanted = [f for f in offer.files if _wanted(f.path, order.only)]
    if not wanted:
        raise NotFetched("no_safetensors", model=order.repo_id)
    say({"listing": [asdict(f) for f in wanted], "arriving": str(offer.arriving)})
    if not order.listing_only:
        offer.arriving.mkdir(parents=True, exist_ok=True)
        _require_space(offer.arriving, wanted)
        say({"folder": str(offer.fetch([f.path for f in wanted]))})


def _wanted(path: str, only: tuple[str, ...]) -> bool:
    return path in only if only else any(fnmatch(path, pattern) for pattern in PATTERNS)


def bytes_below(folder: Path) -> int:
    """Sum the sizes of the files below *folder*, without links; a file that vanishes meanwhile counts 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                path = Path(place, name)
                total += 0 if path.is_symlink() else path.stat().st_size
    return total


def _require_space(arriving: Path, wanted: list[HubFile]) -> None:
    """Compare the bytes still to fetch with the free disk space, before the download starts.

    Raises:
        NotFetched: The disk has too little free space.
    """
    total = sum(f.size for f in wanted)
    missing = max(0, total - bytes_below(arriving))
    free = shutil.disk_usage(arriving).free
    if missing and missing + SPARE_BYTES > free:
        raise NotFetched("model_disk_too_full", folder=arriving, missing=missing / _GIB, free=free / _GIB)


def reason(error: BaseException, environ: Mapping[str, str] = os.environ) -> Message:
    """Return why a client failed: the innermost cause that has a remedy, else the error's first line.

    Names the variables of proxies in *environ* where requests went through one; passwords in their values are not told.
    """
    causes = list(_causes(error))
    if here := _of_this_machine(causes):
        return here
    through = proxies(environ)
    told = _of_the_network(error, causes, through)
    if not through or any(_status(cause) in _OF_THE_HUB for cause in causes):
        return told
    socks = tuple(name for name, value in through.items() if value.lower().startswith("socks"))
    if socks and any("socks" in str(cause).lower() for cause in causes):
        return Message("socks_proxy", variables=socks)
    return Message("through_proxy", reason=told, variables=tuple(through))


def _of_this_machine(causes: Iterable[BaseException]) -> Message | None:
    for cause in causes:
        if isinstance(cause, NotFetched):
            return cause.message
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return Message("model_disk_full")
        if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EROFS}:
            return Message("model_file_unwritable", file=cause.filename)
    return None


def _of_the_network(error: BaseException, causes: list[BaseException], through: Mapping[str, str]) -> Message:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Message("certificate_refused", error=cause.verify_message)
    text = _first_line(error)
    if failed := getattr(error, "failed_files", None):
        name, cause = next(iter(failed.items()))
        text = f"{name}: {_first_line(cause)}"
    for name, value in through.items():
        text = text.replace(value, name)
    return Message("as_said", text=text)


def _first_line(error: BaseException) -> str:
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, nearest first; ModelScope's client keeps errors of single files in a mapping."""
    waiting, seen = [error], 0
    while waiting and seen < _DEEP:
        each, seen = waiting.pop(0), seen + 1
        yield each
        waiting += [e for e in (each.__cause__, each.__context__) if e is not None]
        waiting += [e for e in getattr(each, "failed_files", {}).values() if isinstance(e, BaseException)]
        waiting += [e for e in (getattr(each, "reason", None), *each.args) if isinstance(e, BaseException)]


def _do_without_flock() -> None:
    """Let the clients' locks do nothing where the file system refuses `flock`: they would fail, or be left by a kill.

    Of this program only one process downloads a model at a time, by a lock that works there, too.
    """
    flock = fcntl.flock

    def lenient(file: Any, operation: int) -> None:  # noqa: ANN401 - a descriptor, or what has one
        try:
            flock(file, operation)
        except OSError as error:
            if error.errno not in REFUSED:
                raise

    fcntl.flock = lenient


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(argument: str) -> int:
    """Carry out one order; returns the exit status."""
    # The clients print to standard output: that is redirected to standard error, answers go to the original output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _do_without_flock()
    fields = json.loads(argument)

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        _carry_out(FetchOrder(**fields | {"only": tuple(fields["only"])}), say)
    except Exception as error:  # noqa: BLE001 - the outermost edge of this program: its parent tells the person
        say({"reason": reason(error).document()})
        return 1
    return 0


if __name__ == "__main__":
    # Not `sys.exit`: running threads of the clients would keep the process alive.
    os._exit(main(sys.argv[1]))
