"""How far jobs are, and how long they will take: from what is queued, being drawn, and the pace of earlier pictures."""

import time
from collections.abc import Sequence

from zimage_cache.generator.protocol import Status
from zimage_cache.request import Recipe
from zimage_cache.service.flights import Phase, Run
from zimage_cache.service.job import Job, Progress
from zimage_cache.service.model import Model
from zimage_cache.service.pace import Pace


class Forecast:
    """Tells askers what to expect; instant, and changes nothing."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def cost(self, model: Model, recipes: Sequence[Recipe]) -> float | None:
        """Estimate the GPU-seconds of all of *recipes*; None: of some kind none was drawn yet."""
        guesses = [self._pace.guess(model.name, model.known_identity, recipe) for recipe in recipes]
        return None if None in guesses else sum(filter(None, guesses))

    def progress(self, model: Model, job: Job) -> Progress:
        """Tell how *job*, whose pictures *model* draws, stands now."""
        pending = job.pending
        done = len(job.parts) - len(pending)
        undrawn = [run for run in pending if run.phase in {Phase.WAITING, Phase.DRAWING}]
        if not undrawn:
            return Progress("finishing", n=len(job.parts), done=done, eta_seconds=0.0)
        run = next((run for run in undrawn if run.phase is Phase.DRAWING), undrawn[0])
        state = model.state
        loading = state.status is Status.LOADING
        return Progress(
            "loading" if loading else "queued" if run.phase is Phase.WAITING else _drawing_phase(run),
            detail=state.phase if loading else None,
            ahead=_ahead(model, run),
            step=run.step.evaluation if run.step else 0,
            steps=run.plan.recipe.evaluations,
            done=done,
            n=len(job.parts),
            eta_seconds=None if loading else self._eta(model, undrawn),
            preview=run.preview,
        )

    def _eta(self, model: Model, undrawn: Sequence[Run]) -> float | None:
        """Estimate the wait for all of *undrawn*: the pictures up to the last of them, at the pace of these."""
        cost = self.cost(model, [run.plan.recipe for run in undrawn])
        if cost is None:
            return _measured(undrawn[0]) if len(undrawn) == 1 else None
        pictures = max(len(undrawn), 1 + max(_ahead(model, run) for run in undrawn))
        begun = sum(_share(run) for run in model.drawing)
        return cost / len(undrawn) * (pictures - begun) / min(model.lanes, pictures)


def _ahead(model: Model, run: Run) -> int:
    """Count the pictures that will be drawn before this one, the one being drawn included."""
    if run.phase is not Phase.WAITING:
        return 0
    return (model.queue.ahead(run) or 0) + len(model.drawing)


def _drawing_phase(run: Run) -> str:
    if run.step is None:
        return "encoding"
    return "decoding" if run.step.evaluation == run.step.evaluations else "drawing"


def _share(run: Run) -> float:
    return run.step.evaluation / run.step.evaluations if run.step else 0.0


def _measured(run: Run) -> float | None:
    """Estimate the rest of a run from its own finished evaluations alone."""
    share = _share(run)
    # Since its first evaluation began: waking the model and reading the prompt come once.
    return (time.monotonic() - run.began) * (1 - share) / share if share and run.began else None
