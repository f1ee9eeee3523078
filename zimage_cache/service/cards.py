"""Which of a model's cards draws next, and which one is to be loaded again. Knows no queue, no threads."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from zimage_cache.generator.protocol import GeneratorState, ImageGenerator, Status

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
_DOUBLINGS: Final = 16
_BEST_FIRST: Final = (Status.HEALTHY, Status.LOADING, Status.SLEEPING, Status.ERROR)


class Cards:
    """The cards one model is drawn on, by their number from 0; each has a generator of its own.

    The rule:

    - A healthy card draws.
    - While none is healthy, one card is the opener: the first that has no error; where all have one, the one whose
      failure is longest ago. A run wakes the opener, and no other card: weights are read once before they are read
      side by side.
    - While another card is healthy, one that is not draws nothing. It is loaded without a run: at once, or, where it
      failed, after a pause of 5 s, twice as long after every further failure, up to ten minutes. Only a picture ends
      the count: a card that loads, and fails again, waits longer each time.
    - A card whose state is an error after a run is to blame for it, and the run may go to another card, once. An error
      that leaves the card healthy (out of memory for this size, numbers that are not finite) is the run's own.

    The model is as well as the best of its cards.

    Args:
        generators: The first is the model's usual one.
        clock: Seconds on a clock that nobody sets.
        pause: Seconds after the first failure.

    Threads: any; states are asked of the generators each time, and each card's own worker notes its failures.
    """

    def __init__(
        self,
        generators: Sequence[ImageGenerator],
        clock: Callable[[], float] = time.monotonic,
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.generators = tuple(generators)
        self._clock = clock
        self._pause = pause
        self._failures = [0] * len(self.generators)
        self._failed = [float("-inf")] * len(self.generators)

    @property
    def states(self) -> list[GeneratorState]:
        """How each card is now."""
        return [generator.state for generator in self.generators]

    @property
    def state(self) -> GeneratorState:
        """How the model is: as its best card, the first of several."""
        return min(self.states, key=lambda state: _BEST_FIRST.index(state.status))

    @property
    def able(self) -> int:
        """How many cards are not in error, but at least one: so many pictures are drawn at once."""
        return max(1, sum(state.status is not Status.ERROR for state in self.states))

    def draws(self, card: int) -> bool:
        """Tell whether *card* takes the next run."""
        if len(self.generators) == 1:
            return True
        statuses = [state.status for state in self.states]
        return statuses[card] is Status.HEALTHY or (Status.HEALTHY not in statuses and self._opener(statuses) == card)

    def wants_loading(self, card: int) -> bool:
        """Tell whether *card* is to be loaded now, without a run."""
        statuses = [state.status for state in self.states]
        if statuses[card] in {Status.HEALTHY, Status.LOADING} or Status.HEALTHY not in statuses:
            return False
        return self._clock() >= self._due(card)

    def pause(self, card: int) -> float | None:
        """Return the seconds until an answer of `wants_loading` may change by itself; None: it will not."""
        left = self._due(card) - self._clock()
        return left if left > 0 else None

    def failed(self, card: int) -> None:
        """Note that *card* could not be loaded, or broke while it drew."""
        self._failures[card] += 1
        self._failed[card] = self._clock()

    def drew(self, card: int) -> None:
        """Note that *card* drew a picture."""
        self._failures[card] = 0

    def broken(self, card: int) -> bool:
        """Tell whether *card* is to blame for what just went wrong on it."""
        return self.generators[card].state.status is Status.ERROR

    def others(self, card: int) -> bool:
        """Tell whether there is another card that is not in error."""
        return any(state.status is not Status.ERROR for other, state in enumerate(self.states) if other != card)

    def lonely(self, card: int) -> bool:
        """Tell whether the model was sent to sleep while *card* was being loaded to draw beside the others."""
        others = [state.status for other, state in enumerate(self.states) if other != card]
        return Status.SLEEPING in others and not {Status.HEALTHY, Status.LOADING}.intersection(others)

    def _opener(self, statuses: Sequence[Status]) -> int:
        return min(
            range(len(statuses)),
            key=lambda card: (statuses[card] is Status.ERROR, statuses[card] is Status.ERROR and self._failed[card]),
        )

    def _due(self, card: int) -> float:
        doublings = min(max(self._failures[card] - 1, 0), _DOUBLINGS)
        return self._failed[card] + min(LONGEST_PAUSE_SECONDS, self._pause * 2.0**doublings)
