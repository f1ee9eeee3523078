"""Fetches a model that is not on this disk: the hubs in order, one process at a time, with progress, resumable.

The hubs' own clients run in a child process (`hubs`), which this module starts and, on cancellation, ends. Progress is
measured by the size of the files on disk: that works for both clients, includes the files of an earlier attempt, and
is visible to another process that waits for this one.
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

import zimage_cache
from zimage_cache.environment import for_clients
from zimage_cache.errors import Cancelled, ModelCorrupt, ModelMissing, SettingsError
from zimage_cache.i18n.messages import Message, message_of
from zimage_cache.models.hubs import SOURCES, FetchOrder, HubFile, NotFetched, bytes_below
from zimage_cache.models.manifest import Manifest, hub_files, manifest_path, read_manifest, write_manifest
from zimage_cache.models.progress import ByteProgress, OnProgress, ignore_progress
from zimage_cache.models.revision import digests_of
from zimage_cache.models.store import FileProblem, check_folder, copies
from zimage_cache.process_lock import ProcessLock

_log = logging.getLogger(__name__)
_TICK: Final = 0.3
_END_SECONDS: Final = 5.0
_NO_REASON: Final = Message("client_ended")
# Defaults where the user set no value. ModelScope's own defaults take 22 s to report that there is no network.
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
        memo: The file that keeps hashes; arrived files are hashed once here, so the first load need not hash them.
        on_progress: Receives every step, in the calling thread or in those that hash.
        cancelled: Called several times a second; when true, the download stops, and the next one resumes it.
        environ: The environment of the hubs' clients.

    Raises:
        SettingsError: No such hub.
    """

    model_cache: Path
    source: str | None = None
    memo: Path | None = None
    on_progress: OnProgress = ignore_progress
    cancelled: Callable[[], bool] = _never
    environ: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.source is not None and self.source not in SOURCES:
            raise SettingsError(f"source: should be one of {', '.join(SOURCES)}, got {self.source!r}")

    def download(self, repo_id: str) -> Path:
        """Download *repo_id* into the root and return its complete folder. Blocks while up to 33 GB are fetched.

        One process downloads; others wait for it and use its copy.

        Raises:
            ModelMissing: No hub delivered it; the message names the reason of each hub.
            Cancelled: `cancelled` returned true.
        """
        with self._alone(repo_id):
            for folder in copies(repo_id, [self.model_cache]):
                if _is_whole(folder):
                    return folder
            return self._first(FetchOrder("", repo_id, str(self.model_cache)))

    def repair(self, repo_id: str, folder: Path, wrong: list[FileProblem]) -> None:
        """Fetch only the files named in *wrong* again, in place.

        Raises:
            ModelMissing: No hub delivered them.
            ModelCorrupt: One of them cannot be replaced: a read-only or foreign folder, or a file no hub has.
            Cancelled: `cancelled` returned true.
        """
        names = tuple(problem.file.relative_to(folder).as_posix() for problem in wrong)
        with self._alone(repo_id):
            for problem in wrong:
                _discard(problem.file)
            self._first(FetchOrder("", repo_id, str(self.model_cache), str(folder), names))

    def listing(self, repo_id: str) -> tuple[HubFile, ...]:
        """Return the hubs' list of the files of *repo_id*, without fetching them; empty when no hub answers."""
        for source in [self.source] if self.source else SOURCES:
            try:
                manifest, _ = self._run(FetchOrder(source, repo_id, str(self.model_cache), listing_only=True))
            except NotFetched as error:
                _log.info("%s lists nothing of %s: %s", source, repo_id, error)
            else:
                return manifest.files
        return ()

    def _first(self, order: FetchOrder) -> Path:
        """Try the hubs in order and return the folder from the first one that delivers."""
        failures = []
        for source in [self.source] if self.source else SOURCES:
            try:
                return self._fetch(replace(order, source=source))
            except NotFetched as error:
                _log.warning("%s did not deliver %s: %s", source, order.repo_id, error)
                failures.append(Message("from_hub", hub=source, reason=error.message))
        raise ModelMissing("not_fetched", model=order.repo_id, reasons=tuple(failures))

    def _fetch(self, order: FetchOrder) -> Path:
        """Fetch from one hub, and verify the files on disk."""
        manifest, folder = self._run(order)
        try:
            check_folder(folder)
        except ModelCorrupt as error:
            raise NotFetched("hub_copy_incomplete", error=error.message) from None
        self._require_content(folder, manifest.files)
        return folder

    def _require_content(self, folder: Path, files: tuple[HubFile, ...]) -> None:
        """Compare the arrived files with the hub's hashes; a file that differs is deleted, so that it is fetched again.

        Raises:
            NotFetched: One differs.
        """
        known = [file for file in files if file.sha256]
        memo = self.memo or self.model_cache / ".zimage" / "hashes.json"
        digests = digests_of([folder / file.path for file in known], memo, on_progress=self.on_progress)
        for file, digest in zip(known, digests, strict=True):
            if digest != file.sha256:
                _discard(folder / file.path)
                raise NotFetched("arrived_damaged", file=file.path)

    def _run(self, order: FetchOrder) -> tuple[Manifest, Path]:
        """Run the child process for one order; report meanwhile how many bytes have arrived."""
        manifest: Manifest | None = None
        self.on_progress(ByteProgress(Message("asking_hub", hub=order.source)))
        with _child(order, self._environment()) as answers:
            while True:
                if self.cancelled():
                    raise Cancelled("download_stopped", model=order.repo_id)
                try:
                    answer = answers.get(timeout=_TICK)
                except queue.Empty:
                    self._report_arrived(manifest)
                    continue
                if "listing" in answer:
                    manifest = Manifest(order.source, Path(answer["arriving"]), hub_files(answer["listing"]))
                    self._keep(order, manifest)
                if manifest and ("folder" in answer or order.listing_only):
                    self._report_arrived(manifest)
                    return manifest, Path(answer.get("folder", ""))
                if "reason" in answer:
                    raise NotFetched.of(message_of(answer["reason"]) or _NO_REASON)

    def _keep(self, order: FetchOrder, manifest: Manifest) -> None:
        if order.only or order.listing_only:
            return
        try:
            write_manifest(order.repo_id, self.model_cache, manifest)
        except OSError as error:
            _log.warning("the manifest of %s is not kept: %s", order.repo_id, error)

    def _report_arrived(self, manifest: Manifest | None) -> None:
        if manifest is not None:
            total = manifest.total
            self.on_progress(ByteProgress(Message("fetching"), min(total, bytes_below(manifest.arriving)), total))

    def _environment(self) -> dict[str, str]:
        given = dict(os.environ if self.environ is None else self.environ)
        home = str(Path(zimage_cache.__file__).parents[1])
        path = os.pathsep.join(filter(None, (home, given.get("PYTHONPATH"))))
        places = {"MODELSCOPE_CACHE": str(self.model_cache), "HF_HOME": str(self.model_cache), "PYTHONPATH": path}
        return _CHILD | for_clients(given) | places

    @contextmanager
    def _alone(self, repo_id: str) -> Iterator[None]:
        """Hold the lock for fetching *repo_id* into this root; while another process holds it, report its progress."""
        lock = ProcessLock(manifest_path(repo_id, self.model_cache).with_suffix(".lock"))
        try:
            while not lock.acquire(_TICK):
                self._report_waiting(repo_id)
        except OSError as error:
            reason = error.strerror or error
            raise ModelMissing("model_cache_unwritable", folder=self.model_cache, error=reason) from error
        try:
            yield
        finally:
            lock.release()

    def _report_waiting(self, repo_id: str) -> None:
        if self.cancelled():
            raise Cancelled("waiting_stopped", model=repo_id)
        manifest = read_manifest(repo_id, self.model_cache)
        done, total = (bytes_below(manifest.arriving), manifest.total) if manifest else (0, 0)
        self.on_progress(ByteProgress(Message("waiting_for_process"), min(done, total), total))


@contextmanager
def _child(order: FetchOrder, environ: Mapping[str, str]) -> Iterator["queue.Queue[dict[str, Any]]"]:
    """Start the hubs' client and yield the queue of its answers; ends the client on exit."""
    command = [sys.executable, "-m", "zimage_cache.models.hubs", json.dumps(asdict(order))]
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    with subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        command,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
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
    """Put the child's answers into the queue, and a final reason for callers that still wait when it has ended."""
    for line in stream:
        answers.put(json.loads(line))
    answers.put({"reason": _NO_REASON.document()})


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
        raise ModelCorrupt("cannot_replace", file=path, error=error.strerror) from error
