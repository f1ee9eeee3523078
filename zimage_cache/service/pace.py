"""How long pictures take here, learnt from those already drawn."""

from zimage_cache.request import Recipe


class Pace:
    """Remembers GPU-seconds an evaluation, by model, size and whether guidance doubles the work.

    The plan needs no place in the key: a generator draws each size under one plan, and when that changes the next
    picture is the new measure.

    Threads: one worker thread a device writes, anybody reads; single dictionary operations, no lock.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int, int, bool], float] = {}

    def learn(self, model: str, recipe: Recipe, gpu_seconds: float) -> None:
        """Take the latest picture as the measure: loads and clocks change, old averages mislead."""
        self._seconds[_kind(model, recipe)] = gpu_seconds / recipe.evaluations

    def guess(self, model: str, recipe: Recipe) -> float | None:
        """Return the GPU-seconds to expect for *recipe*; None before the first of its kind."""
        seconds = self._seconds.get(_kind(model, recipe))
        return None if seconds is None else seconds * recipe.evaluations


def _kind(model: str, recipe: Recipe) -> tuple[str, int, int, bool]:
    return model, recipe.width, recipe.height, recipe.guidance_scale > 0
