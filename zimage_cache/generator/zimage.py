"""`ZImageGenerator`: an `ImageGenerator` that draws with a Z-Image model from a folder on disk.

Imports no torch: `compose` imports this module at start-up, and `pipeline`, which does, costs seconds. `load` imports
it, in the worker's thread; nothing before that needs more than file hashes and version numbers.
"""

import ctypes
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from zimage_cache.environment import loading_libraries
from zimage_cache.errors import (
    Cancelled,
    DeviceFailed,
    GenerationFailed,
    GeneratorError,
    ModelCorrupt,
    ModelMissing,
    ZImageError,
)
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.missing_weights import recording_missing_weights
from zimage_cache.generator.oom_retry import PlanBook, draw_with_oom_retry
from zimage_cache.generator.plan import make_plan
from zimage_cache.generator.processor import this_processor
from zimage_cache.generator.protocol import Drawing, GeneratorState, Status, Step
from zimage_cache.generator.runtime import runtime_of
from zimage_cache.generator.tokens import IMPORTING, TokenCounter
from zimage_cache.i18n.messages import Message
from zimage_cache.models.progress import ByteProgress, OnProgress
from zimage_cache.models.revision import HASHING, content_revision
from zimage_cache.models.store import newer_than_here
from zimage_cache.request import ModelProfile, Recipe

if TYPE_CHECKING:
    from zimage_cache.generator.embeddings import Embeddings
    from zimage_cache.generator.pipeline import LoadedPipeline

IdentityMode = Literal["strict", "portable"]
Fetch = Callable[[OnProgress, Callable[[], bool]], object]
_LOADING: Final = Message("loading_weights")
_CHECKING: Final = Message("checking_files")
_log = logging.getLogger(__name__)


class ZImageGenerator:
    """Draws with one `ZImagePipeline` on one device.

    Args:
        profile: What this model is asked for by default, and its limits.
        locate: Returns the model's folder, complete, or raises `ModelMissing` or `ModelCorrupt` with a remedy. May
            block. Called by `identity` and `load`, until it has succeeded once.
        model: The model's name in every key: the repository id, "zimage-demo", or a folder's name.
        device: Where to draw.
        memo: The file that remembers hashes of weights between starts; made when missing.
        precision: "auto", "bfloat16", "float16", "float32" or "int8".
        offload: "auto", "none", "model" or "group": what waits in main memory.
        attention: One of diffusers' attention backends; "auto" is "native".
        compiled: Compile the transformer's repeated blocks; the first picture then takes minutes.
        fetch: Downloads a missing or incomplete model, so that *locate* finds it; its arguments are a callback for
            progress and a function that returns true when it is to stop. None: nothing is downloaded. Called by `load`
            alone, so that no request starts a download. May block for hours.
        slim: Folder for a copy whose transformer has the precision drawn with; the copy is made and loaded. None: the
            source is loaded.
        warmup: Draw one small picture at the end of each load and discard it, so that the first request does not wait
            for the device's one-time initialisation.
        identity_mode: "strict" puts versions and device class into the identity, "portable" only "diffusers".
    """

    def __init__(
        self,
        profile: ModelProfile,
        locate: Callable[[], Path],
        *,
        model: str,
        device: Device,
        memo: Path,
        precision: str = "auto",
        offload: str = "auto",
        attention: str = "auto",
        compiled: bool = False,
        identity_mode: IdentityMode = "strict",
        fetch: Fetch | None = None,
        warmup: bool = False,
        slim: Path | None = None,
    ) -> None:
        self.profile = profile
        self._locate = locate
        self._model = model
        self._device = device
        self._memo = memo
        self._fetch = fetch
        self._warmup = warmup
        self._slim = slim
        self._stopped = threading.Event()
        self._closed = threading.Event()
        plan = make_plan(device, precision, offload, profile.weights_bytes)
        _log.info("plan %s: %s, offload %s (%s)", device.name, plan.precision, plan.offload, plan.reason)
        self._book = PlanBook(plan, device)
        self._precision = plan.precision
        self._attention, self._compiled = attention, compiled
        strict = identity_mode == "strict"
        processor = this_processor()
        named = runtime_of(device, processor, attention, compiled=compiled, int8=plan.int8)
        self._runtime = named if strict else "diffusers"
        self._threads = processor.threads
        self._embeddings: Embeddings | None = None
        self._state = GeneratorState(Status.SLEEPING, device=device.name)
        self._found: tuple[Path, GeneratorIdentity] | None = None
        self._finding = threading.Lock()
        self._tokens = TokenCounter(self._folder)
        self._pipeline: LoadedPipeline | None = None

    @property
    def state(self) -> GeneratorState:
        return self._state

    def identity(self) -> GeneratorIdentity:
        return self._find()[1]

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        identity = self.identity()
        return tuple(replace(identity, precision=precision) for precision in self._book.precisions(recipe))

    def count_tokens(self, text: str) -> int | None:
        return self._tokens.count(text)

    def load(self) -> None:
        self._loaded(self._fetch)

    def interrupt(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        # Without this, the end of the process would wait for 33 GB. Hashes of finished files are kept.
        self._closed.set()

    def unload(self) -> None:
        self._drop()
        self._state = GeneratorState(Status.SLEEPING, device=self._device.name)

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        pipeline = self._loaded()
        try:
            picture, warnings = draw_with_oom_retry(pipeline, self._book, recipe, on_step, cancelled)
        except DeviceFailed as error:
            self._state = GeneratorState(Status.ERROR, detail=error.message, device=self._device.name)
            _log.error("device_failed %s: %s", self._device.name, error)
            self._drop()
            raise
        identity = replace(self.identity(), precision=picture.plan.precision)
        return Drawing(
            picture.pixels, identity, picture.seconds, pipeline.warnings(recipe) + warnings, pipeline.versions
        )

    def _folder(self) -> Path:
        """Return the model's folder, without waiting for its files to be hashed."""
        found = self._found
        return self._locate() if found is None else found[0]

    def _drop(self) -> None:
        """Free the weights; an error of a broken device is logged."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is None:
            return
        try:
            pipeline.unload()
        except RuntimeError as error:
            _log.warning("unloading from %s: %s", self._device.name, error)
        _return_freed_memory()

    def _find(
        self, folder: Path | None = None, abandoned: Callable[[], bool] = lambda: False
    ) -> tuple[Path, GeneratorIdentity]:
        """Find the model and compute its identity, which then stays fixed for the process; a failure is retried.

        Raises:
            Cancelled: *abandoned* returned true, or this generator was closed.
        """
        with self._finding:
            if self._found is None:
                folder = folder or self._locate()
                stopped = partial(_either, self._closed.is_set, abandoned)
                revision = content_revision(folder, self._memo, on_progress=self._on_progress, stopped=stopped)
                identity = GeneratorIdentity(self._model, revision, self._precision, self._runtime)
                self._found = folder, identity
            return self._found

    def _locate_or(self, fetch: Fetch | None) -> Path:
        """Locate the model, or download it; without the lock, so that `identity` raises `ModelMissing` meanwhile."""
        try:
            return self._locate()
        except (ModelMissing, ModelCorrupt):
            if fetch is None:
                raise
        self._on_progress(ByteProgress(Message("fetching")))
        fetch(self._on_progress, partial(_either, self._stopped.is_set, self._closed.is_set))
        self._on_progress(ByteProgress(_CHECKING))
        return self._locate()

    def _loaded(self, fetch: Fetch | None = None) -> "LoadedPipeline":
        if self._pipeline is None:
            self._stopped.clear()
            self._state = GeneratorState(Status.LOADING, phase=_CHECKING, device=self._device.name)
            try:
                self._pipeline = self._read(self._locate_or(fetch))
            except Cancelled:
                self._state = GeneratorState(Status.SLEEPING, device=self._device.name)
                raise
            except GeneratorError as error:
                self._state = GeneratorState(Status.ERROR, detail=error.message, device=self._device.name)
                raise
            except Exception as error:
                # Any exception of a library: without this the state would stay "loading", and clients would wait.
                told = error if isinstance(error, ZImageError) else f"{type(error).__name__}: {error}"
                failure = GenerationFailed("load_failed", error=told)
                self._state = GeneratorState(Status.ERROR, detail=failure.message, device=self._device.name)
                raise failure from error
            self._state = GeneratorState(Status.HEALTHY, device=self._device.name)
        return self._pipeline

    def _read(self, folder: Path) -> "LoadedPipeline":
        """Load the weights and compute the identity in parallel: both read the same files, so the disk is read once."""
        over = threading.Event()
        # Set before the pool waits for its thread: when loading fails, hashing stops too.
        with ThreadPoolExecutor(1, "naming") as beside, ExitStack() as at_end:
            at_end.callback(over.set)
            naming = beside.submit(self._find, folder, partial(_either, over.is_set, self._stopped.is_set))
            self._on_progress(ByteProgress(Message("importing")))
            with IMPORTING, loading_libraries():
                from zimage_cache.generator.embeddings import Embeddings  # noqa: PLC0415 - see this module's head
                from zimage_cache.generator.pipeline import Engine, LoadedPipeline  # noqa: PLC0415 - likewise

            if self._embeddings is None:
                self._embeddings = Embeddings()
            read = self._slimmed(folder, naming)
            self._on_progress(ByteProgress(_LOADING))
            with recording_missing_weights(read) as missing:
                try:
                    pipeline = LoadedPipeline(
                        read,
                        self._device,
                        self._book.plan,
                        Engine(self._attention, self._compiled, self._threads),
                        embeddings=self._embeddings,
                    )
                except ModelCorrupt as error:
                    cause = newer_than_here(folder, version("diffusers")) or missing.message or error.message
                    raise ModelCorrupt.of(cause) from error
            if missing.message:
                pipeline.unload()
                raise ModelCorrupt.of(missing.message)
            _, identity = naming.result()
        self._book.plan = pipeline.plan
        # Compared after reading: pictures of weights that were replaced must not be stored under the old revision.
        if content_revision(folder, self._memo, stopped=self._closed.is_set) != identity.revision:
            raise ModelCorrupt("files_changed", folder=folder)
        self._warm_up(pipeline)
        _log.info("loaded %s on %s as %s", self._model, self._device.name, self._precision)
        return pipeline

    def _slimmed(self, folder: Path, naming: "Future[tuple[Path, GeneratorIdentity]]") -> Path:
        """Return the folder to read: the copy in the precision drawn with, if one is configured, else the source."""
        if self._slim is None or self._book.plan.dtype == "float32":
            return folder
        from zimage_cache.models.slim import slim_copy  # noqa: PLC0415 - brings torch

        place = self._slim / f"{self._model.replace('/', '--')}-{self._book.plan.dtype}"
        return slim_copy(folder, place, naming.result()[1].revision, self._book.plan.dtype, self._on_progress)

    def _warm_up(self, pipeline: "LoadedPipeline") -> None:
        """Draw one picture and discard it; a failure is only logged."""
        if not self._warmup:
            return
        self._on_progress(ByteProgress(Message("warming_up")))
        small = self._device == CPU  # a CPU initialises nothing by size, and takes minutes for a full-size picture
        recipe = Recipe(
            prompt="warm-up",
            width=self.profile.min_side if small else self.profile.width,
            height=self.profile.min_side if small else self.profile.height,
            steps=1,
            guidance_scale=self.profile.guidance_scale,
            seed=1,
        )
        try:
            pipeline.draw(recipe, lambda _step: None, self._stopped.is_set)
        except GeneratorError as error:
            _log.warning("the warm-up picture of %s failed: %s", self._model, error)

    def _on_progress(self, progress: ByteProgress) -> None:
        """Report progress in the state while the model loads; hashing for `identity` alone is not reported."""
        state = self._state
        if state.status is Status.LOADING:
            beside = progress.phase == HASHING and state.phase == _LOADING
            phase = state.phase if beside else progress.phase
            self._state = GeneratorState(Status.LOADING, phase, progress.share, device=self._device.name)


def _either(one: Callable[[], bool], other: Callable[[], bool]) -> bool:
    return one() or other()


def _return_freed_memory() -> None:
    """Make glibc return freed heap to the system: after a cast of 1 GB of weights it would keep 600 MiB.

    Other C libraries have no such function and do not need it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
