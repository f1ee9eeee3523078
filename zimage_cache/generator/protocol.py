"""The seam to whatever draws pictures. Knows nothing of torch, the cache, queues or the web."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.request import ModelProfile, Recipe

Pixels = NDArray[np.uint8]


class Status(StrEnum):
    """How a generator is: `sleeping` wakes by itself when asked, `error` needs a person."""

    LOADING = "loading"
    HEALTHY = "healthy"
    SLEEPING = "sleeping"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """One moment of a generator's life, for `/health` and the page.

    `phase` says what a loading generator does ("checking files", "loading weights", "warming up"), `share` how
    much of it is done in 0..1 where that is known, `detail` what went wrong and what to do.
    """

    status: Status
    phase: str = ""
    share: float | None = None
    detail: str = ""
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """So many of so many transformer evaluations are finished; 0: the prompt is encoded and the first one begins.

    After the last one the picture is decoded. `preview` makes a small JPEG, at most 256 pixels wide and high, of
    what the picture looks like now; call it inside `on_step` only, and only if somebody watches. None: there is none.
    """

    evaluation: int
    evaluations: int
    preview: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One finished picture: RGB, shape (height, width, 3), uint8; who really drew it, and how long that took."""

    pixels: Pixels
    identity: GeneratorIdentity
    gpu_seconds: float
    warnings: tuple[str, ...] = ()


class ImageGenerator(Protocol):
    """Draws one picture at a time. `generate`, `load` and `unload` are called by one worker thread only."""

    @property
    def profile(self) -> ModelProfile:
        """What this generator offers; known at once."""

    @property
    def state(self) -> GeneratorState:
        """How it is now; from any thread, never blocking."""

    def identity(self) -> GeneratorIdentity:
        """Tell who draws, without loading weights; from any thread.

        The first call may block while the model's files are hashed; later calls return at once.

        Raises:
            ModelMissing: There is no model on disk yet, hence no identity.
            ModelCorrupt: The model's folder is not whole.
        """

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        """Tell under which identities *recipe*'s picture may be stored, the one that would draw it now first.

        More than one once a picture of its size ran out of memory, or overflowed, and was drawn another way. From
        any thread; call `identity` before.
        """

    def count_tokens(self, text: str) -> int | None:
        """Count the tokens the model makes of *text*, its template included; more than its limit are not read.

        None where that cannot be told: the model is not on disk, or its tokenizer cannot be read. From any thread,
        without the weights; the first call, and one while the model loads, may block for seconds.
        """

    def load(self) -> None:
        """Bring the weights onto the device; nothing to do when they are there.

        Raises:
            GeneratorError: Also shown as the state, with its remedy.
        """

    def unload(self) -> None:
        """Give the memory back; the state becomes sleeping."""

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        """Draw *recipe*, loading first if need be.

        *on_step* is told when the prompt is encoded and of each finished evaluation, and again from 0 when the
        picture is tried once more because memory ran out; *cancelled* is asked between evaluations.

        Raises:
            Cancelled: *cancelled* answered yes; the next call is not affected.
            OutOfMemory: Also under the next thriftier plan; says what would fit.
            GeneratorError: Anything else; the next call is not affected either.
        """
