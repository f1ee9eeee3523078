"""Fetching a model that is not on this disk: the hubs in order, one process at a time, with progress, resumable.

The hubs' own clients run in a child (`hubs`), which this module starts, watches and, when told to, ends. How much has
arrived is read off the disk: that is true for both clients, counts what an earlier attempt left, and can be seen by
another process that only waits for this one.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from filelock import FileLock, Timeout

import zimage_cache
from zimage_cache.errors import Cancelled, ModelCorrupt, ModelMissing, SettingsError
from zimage_cache.models.hubs import SOURCES, HubFile, NotFetched, Order, bytes_below
from zimage_cache.models.manifest import Manifest, hub_files, manifest_path, read_manifest, write_manifest
from zimage_cache.models.progress import Progress, Tell, silent
from zimage_cache.models.revision import digests_of
from zimage_cache.models.store import Finding, Problem, check_folder, copies

_log = logging.getLogger(__name__)
_TICK: Final = 0.3
_END_SECONDS: Final = 5.0
# Ours where the user set none. ModelScope's client alone would take 22 s to find out that there is no network.
_CHILD: Final = {
    "MODELSCOPE_API_MAX_RETRIES": "1",
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloader:
    """Fetches models into one root.

    Args:
        model_cache: The root; made when missing.
        source: Fixes the hub ("modelscope" or "huggingface"); None = ModelScope, then Hugging Face.
        memo: The file that remembers hashes; what arrives is hashed here, and never again at the first load.
        tell: Hears of every step, from the calling thread or those that hash.
        cancelled: Asked several times a second; what has arrived stays, and is resumed next time.
        environ: The environment of the hubs' clients.

    Raises:
        SettingsError: No such hub.
    """

    model_cache: Path
    source: str | None = None
    memo: Path | None = None
    tell: Tell = silent
    cancelled: Callable[[], bool] = _never
    environ: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.source is not None and self.source not in SOURCES:
            raise SettingsError(f"source: should be one of {', '.join(SOURCES)}, got {self.source!r}")

    def download(self, repo_id: str) -> Path:
        """Bring *repo_id* into the root and return its folder, complete. Blocks for as long as 33 GB take.

        One process downloads, the others wait for it and use what it brought.

        Raises:
            ModelMissing: No hub delivered it; says why, hub by hub.
            Cancelled: `cancelled` answered yes.
        """
        with self._alone(repo_id):
            for folder in copies(repo_id, [self.model_cache]):
                if _is_whole(folder):
                    return folder
            return self._first(Order("", repo_id, str(self.model_cache)))

    def repair(self, repo_id: str, folder: Path, wrong: list[Finding]) -> None:
        """Fetch only the files named in *wrong* again, into *folder* where it lies.

        Raises:
            ModelMissing: No hub delivered them.
            ModelCorrupt: One of them cannot be replaced: a read-only or foreign folder, or a file no hub has.
            Cancelled: `cancelled` answered yes.
        """
        names = tuple(finding.file.relative_to(folder).as_posix() for finding in wrong)
        with self._alone(repo_id):
            for finding in wrong:
                _discard(finding.file)
            self._first(Order("", repo_id, str(self.model_cache), str(folder), names))

    def listing(self, repo_id: str) -> tuple[HubFile, ...]:
        """Ask the hubs what *repo_id* consists of, and fetch nothing; empty when none answers."""
        for source in [self.source] if self.source else SOURCES:
            try:
                manifest, _ = self._run(Order(source, repo_id, str(self.model_cache), listing_only=True))
            except NotFetched as error:
                _log.info("%s lists nothing of %s: %s", source, repo_id, error)
            else:
                return manifest.files
        return ()

    def _first(self, order: Order) -> Path:
        """Return what the first hub that delivers delivered."""
        failures = []
        for source in [self.source] if self.source else SOURCES:
            try:
                return self._fetch(replace(order, source=source))
            except NotFetched as error:
                _log.warning("%s did not deliver %s: %s", source, order.repo_id, error)
                failures.append(f"{source}: {error}")
        raise ModelMissing(
            f"model: {order.repo_id} could not be fetched ({'; '.join(failures)}); check the network and the free "
            "disk, then start again (what has arrived is kept), or name a folder with --model PATH"
        )

    def _fetch(self, order: Order) -> Path:
        """Fetch from one hub, and believe nothing that is not on the disk."""
        manifest, folder = self._run(order)
        try:
            check_folder(folder)
        except ModelCorrupt as error:
            raise NotFetched(f"what it has is not whole: {error}") from None
        self._require_content(folder, manifest.files)
        return folder

    def _require_content(self, folder: Path, files: tuple[HubFile, ...]) -> None:
        """Compare what arrived with the hashes the hub told; a file that differs is deleted, to come again.

        Raises:
            NotFetched: One differs.
        """
        known = [file for file in files if file.sha256]
        memo = self.memo or self.model_cache / ".zimage" / "hashes.json"
        digests = digests_of([folder / file.path for file in known], memo, tell=self.tell)
        for file, digest in zip(known, digests, strict=True):
            if digest != file.sha256:
                _discard(folder / file.path)
                raise NotFetched(f"{file.path} arrived damaged, its SHA-256 is not the one the hub tells")

    def _run(self, order: Order) -> tuple[Manifest, Path]:
        """Run the child for one order; while it works, tell how much has arrived."""
        manifest: Manifest | None = None
        self.tell(Progress(f"asking {order.source}"))
        with _child(order, self._environment()) as answers:
            while True:
                if self.cancelled():
                    raise Cancelled(f"the download of {order.repo_id} was stopped; what has arrived is kept")
                try:
                    answer = answers.get(timeout=_TICK)
                except queue.Empty:
                    self._tell_arrived(manifest)
                    continue
                if "listing" in answer:
                    manifest = Manifest(order.source, Path(answer["arriving"]), hub_files(answer["listing"]))
                    self._keep(order, manifest)
                if manifest and ("folder" in answer or order.listing_only):
                    self._tell_arrived(manifest)
                    return manifest, Path(answer.get("folder", ""))
                if "reason" in answer:
                    raise NotFetched(answer["reason"])

    def _keep(self, order: Order, manifest: Manifest) -> None:
        if order.only or order.listing_only:
            return
        try:
            write_manifest(order.repo_id, self.model_cache, manifest)
        except OSError as error:
            _log.warning("the manifest of %s is not kept: %s", order.repo_id, error)

    def _tell_arrived(self, manifest: Manifest | None) -> None:
        if manifest is not None:
            total = manifest.total
            self.tell(Progress("fetching the model", min(total, bytes_below(manifest.arriving)), total))

    def _environment(self) -> dict[str, str]:
        given = dict(os.environ if self.environ is None else self.environ)
        home = str(Path(zimage_cache.__file__).parents[1])
        path = os.pathsep.join(filter(None, (home, given.get("PYTHONPATH"))))
        places = {"MODELSCOPE_CACHE": str(self.model_cache), "HF_HOME": str(self.model_cache), "PYTHONPATH": path}
        return _CHILD | given | places

    @contextmanager
    def _alone(self, repo_id: str) -> Iterator[None]:
        """Be the only process that fetches *repo_id* here; while another does, tell how far that one is."""
        lock = FileLock(manifest_path(repo_id, self.model_cache).with_suffix(".lock"), thread_local=False)
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            while not lock.is_locked:
                try:
                    lock.acquire(timeout=_TICK)
                except Timeout:
                    self._tell_waiting(repo_id)
        except OSError as error:
            raise ModelMissing(
                f"model: {self.model_cache} cannot be written ({error.strerror or error}); "
                "choose another folder with --model-cache"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _tell_waiting(self, repo_id: str) -> None:
        if self.cancelled():
            raise Cancelled(f"stopped waiting for another process that fetches {repo_id}")
        manifest = read_manifest(repo_id, self.model_cache)
        done, total = (bytes_below(manifest.arriving), manifest.total) if manifest else (0, 0)
        self.tell(Progress("waiting for another process that fetches the model", min(done, total), total))


@contextmanager
def _child(order: Order, environ: Mapping[str, str]) -> Iterator["queue.Queue[dict[str, Any]]"]:
    """Start the hubs' client; gives the queue of its answers, and ends it at the end."""
    command = [sys.executable, "-m", "zimage_cache.models.hubs", json.dumps(asdict(order))]
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    with subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        command, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        readers = [
            threading.Thread(target=_read, args=(child.stdout, answers), daemon=True),
            threading.Thread(target=_log_lines, args=(child.stderr,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            yield answers
        finally:
            child.terminate()
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            for reader in readers:
                reader.join()


def _read(stream: IO[str], answers: "queue.Queue[dict[str, Any]]") -> None:
    """Pass the child's answers on; its end is the last one, heard only by whoever still waits for another."""
    for line in stream:
        answers.put(json.loads(line))
    answers.put({"reason": "its client ended without a word; the log at --log-level debug may tell why"})


def _log_lines(stream: IO[str]) -> None:
    for line in stream:
        _log.debug("hub: %s", line.rstrip())


def _is_whole(folder: Path) -> bool:
    try:
        check_folder(folder)
    except ModelCorrupt:
        return False
    return True


def _discard(path: Path) -> None:
    """Delete a damaged file and, where it is a link to one, that too.

    Raises:
        ModelCorrupt: It cannot be deleted.
    """
    try:
        blob = path.resolve() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if blob is not None:
            blob.unlink(missing_ok=True)
    except OSError as error:
        said = f"model: {path} is {Problem.CORRUPT} and cannot be replaced here ({error.strerror}); fetch a copy of"
        raise ModelCorrupt(f"{said} your own with `zimage model download --model-cache FOLDER`") from error
