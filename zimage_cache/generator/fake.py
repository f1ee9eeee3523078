"""A generator without a model: deterministic pictures after a delay, for tests, benchmarks and development."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from zimage_cache.errors import Cancelled
from zimage_cache.fingerprint import GeneratorIdentity, fingerprint
from zimage_cache.generator.protocol import Drawing, GeneratorState, Pixels, Status, Step
from zimage_cache.i18n.messages import Message
from zimage_cache.request import ModelProfile, Recipe

FAKE_PROFILE = ModelProfile(
    name="fake",
    title="Fake",
    width=128,
    height=128,
    steps=8,
    guidance_scale=0.0,
    min_side=64,
    max_side=2048,
)
FAKE_IDENTITY = GeneratorIdentity("fake", "1", "uint8", "numpy")


@dataclass
class FakeGenerator:
    """Draws noise that only the recipe determines.

    Args:
        seconds: How long one picture takes, spread evenly over its evaluations.
        before_step: Called before each evaluation; a test may raise or block in it.
        identity_: The identity it reports.
        draws_as: The identity of its pictures where it differs from `identity_`, as after a retry under another plan.
            From the first such picture on, `identities` returns it first.
        preview: The preview of every step; None = no previews.
        versions: What its pictures say of the machine that drew them.
        previews: How many previews were made.
        recipes: Every recipe that `generate` received, in order, failed ones included.
        busy: How many `generate` calls there are now.
        interrupted: Set by `interrupt` and `close`.
        most_at_once: The highest number of simultaneous `generate` calls seen. More than one is a bug.
    """

    profile: ModelProfile = FAKE_PROFILE
    seconds: float = 0.0
    before_step: Callable[[Recipe, int], None] = lambda _recipe, _evaluation: None
    identity_: GeneratorIdentity = FAKE_IDENTITY
    draws_as: GeneratorIdentity | None = None
    preview: bytes | None = None
    previews: int = 0
    warnings: tuple[Message, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    state: GeneratorState = field(default_factory=partial(GeneratorState, Status.SLEEPING))
    recipes: list[Recipe] = field(default_factory=list)
    loads: int = 0
    interrupted: threading.Event = field(default_factory=threading.Event)
    most_at_once: int = 0
    busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def identity(self) -> GeneratorIdentity:
        return self.identity_

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        drawn = any(recipe.width == other.width and recipe.height == other.height for other in self.recipes)
        return (self.draws_as, self.identity_) if drawn and self.draws_as else (self.identity_,)

    def count_tokens(self, text: str) -> int | None:
        return len(text.split())

    def load(self) -> None:
        if self.state.status is not Status.HEALTHY:
            self.loads += 1
            self.state = GeneratorState(Status.HEALTHY, device="cpu")

    def unload(self) -> None:
        self.state = GeneratorState(Status.SLEEPING)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.interrupted.set()

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        self.load()
        with self._lock:
            self.recipes.append(recipe)
            self.busy += 1
            self.most_at_once = max(self.most_at_once, self.busy)
        started = time.perf_counter()
        shown = self._show if self.preview is not None else None
        try:
            if not cancelled():
                on_step(Step(0, recipe.evaluations))
            for evaluation in range(1, recipe.evaluations + 1):
                if cancelled():
                    raise Cancelled("unwanted")
                self.before_step(recipe, evaluation)
                time.sleep(self.seconds / recipe.evaluations)
                on_step(Step(evaluation, recipe.evaluations, shown))
        finally:
            with self._lock:
                self.busy -= 1
        identity = self.draws_as or self.identity_
        seconds = time.perf_counter() - started
        return Drawing(_noise(recipe, self.identity_), identity, seconds, self.warnings, self.versions)

    def _show(self) -> bytes:
        self.previews += 1
        return self.preview or b""


def _noise(recipe: Recipe, identity: GeneratorIdentity) -> Pixels:
    """Return smooth coloured noise of about a photograph's entropy, seeded by the recipe's key."""
    rng = np.random.default_rng(int(fingerprint(recipe, identity), 16))
    coarse = rng.integers(0, 256, (recipe.height // 16, recipe.width // 16, 3))
    smooth = coarse.repeat(16, axis=0).repeat(16, axis=1)
    grain = rng.normal(0, 4, smooth.shape)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)
