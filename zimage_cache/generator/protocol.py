"""`ImageGenerator`, the interface of every implementation that draws pictures; independent of torch, cache and web."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.i18n.messages import Message
from zimage_cache.request import ModelProfile, Recipe

Pixels = NDArray[np.uint8]


class Status(StrEnum):
    """State of a generator: `sleeping` loads by itself at the next request, `error` needs the operator."""

    LOADING = "loading"
    HEALTHY = "healthy"
    SLEEPING = "sleeping"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """A snapshot of a generator's state, for `/health` and the page.

    `phase` is what a loading generator does (checking files, loading weights, warming up), `share` the part of it
    that is done, 0..1, where known; `detail` states an error and its remedy.
    """

    status: Status
    phase: Message | None = None
    share: float | None = None
    detail: Message | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How many transformer evaluations of how many are finished; 0: the prompt is encoded and the first one begins.

    After the last one the picture is decoded. `preview` makes a JPEG, at most 256 pixels wide and high, of the
    unfinished picture; call it inside `on_step` only, and only if the preview is shown. None: no preview is available.
    """

    evaluation: int
    evaluations: int
    preview: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture: RGB, shape (height, width, 3), uint8; the identity that drew it, and the seconds it took.

    `versions` names the machine and its libraries, as far as no identity does: "device", "cpu", "cuda", "cudnn". They
    are recorded, so that `zimage cache audit` can tell what has changed.
    """

    pixels: Pixels
    identity: GeneratorIdentity
    gpu_seconds: float
    warnings: tuple[Message, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


class ImageGenerator(Protocol):
    """Draws one picture at a time. `generate`, `load` and `unload` are called by one worker thread only."""

    @property
    def profile(self) -> ModelProfile:
        """What this generator offers; available at once."""

    @property
    def state(self) -> GeneratorState:
        """The current state; from any thread, never blocks."""

    def identity(self) -> GeneratorIdentity:
        """Return the identity, without loading weights; from any thread.

        The first call may block while the model's files are hashed; later calls return at once.

        Raises:
            ModelMissing: There is no model on disk yet, hence no identity.
            ModelCorrupt: The model's folder is incomplete or damaged.
        """

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        """Return the identities under which *recipe*'s picture may be stored, the one that would draw it now first.

        There are several once a picture of its size ran out of memory or overflowed and was drawn under another plan.
        From any thread; call `identity` before.
        """

    def count_tokens(self, text: str) -> int | None:
        """Count the model's tokens of *text*, its chat template included; tokens beyond its limit have no effect.

        None where the model is not on disk or its tokenizer cannot be read. From any thread, without the weights; the
        first call, and one while the model loads, may block for seconds.
        """

    def load(self) -> None:
        """Load the weights onto the device, unless they are there.

        Raises:
            GeneratorError: Also in `state`, with its remedy.
        """

    def unload(self) -> None:
        """Free the memory; the state becomes sleeping."""

    def interrupt(self) -> None:
        """Stop a download that `load` waits for; from any thread. What has arrived is kept for the next load."""

    def close(self) -> None:
        """Stop downloads and hashing for good, so that the process can end; from any thread."""

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        """Draw *recipe*, loading the weights first where they are not loaded.

        *on_step* is called when the prompt is encoded and after each evaluation, and again from 0 when the picture is
        retried because memory ran out; *cancelled* is called between evaluations.

        Raises:
            Cancelled: *cancelled* returned true; the next call is not affected.
            OutOfMemory: Also under the next smaller plan; the message names what would fit.
            GeneratorError: Anything else; the next call is not affected either.
        """
