"""Which of a model's devices draws next, and which one is to be loaded again. Knows no queue, no threads."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from zimage_cache.generator.protocol import GeneratorState, ImageGenerator, Status

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
_DOUBLINGS: Final = 16
_BEST_FIRST: Final = (Status.HEALTHY, Status.LOADING, Status.SLEEPING, Status.ERROR)


class Devices:
    """The devices one model is drawn on, by their number from 0; each has a generator of its own.

    The rule:

    - A healthy device draws.
    - While none is healthy, one device is loaded first: the first without an error; where all have one, the one whose
      failure is longest ago. A run wakes this device and no other: weights are read once before they are read side by
      side.
    - While another device is healthy, one that is not draws nothing. It is loaded without a run: at once, or, where it
      failed, after a pause of 5 s, twice as long after every further failure, up to ten minutes. Only a picture ends
      the count: a device that loads, and fails again, waits longer each time.
    - A device whose state is an error after a run caused it, and the run may go to another device, once. An error that
      leaves the device healthy (out of memory for this size, numbers that are not finite) is the run's own.

    The state of the model is that of its best device.

    Args:
        generators: The first is the model's usual one.
        clock: Monotonic seconds.
        pause: Seconds after the first failure.

    Threads: any; states are read from the generators each time, and each device's own thread notes its failures.
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
        """The state of each device."""
        return [generator.state for generator in self.generators]

    @property
    def state(self) -> GeneratorState:
        """The state of the best device, the first of several."""
        return min(self.states, key=lambda state: _BEST_FIRST.index(state.status))

    @property
    def able(self) -> int:
        """How many devices are not in error, but at least one: so many pictures are drawn at once."""
        return max(1, sum(state.status is not Status.ERROR for state in self.states))

    def draws(self, device: int) -> bool:
        """Return whether *device* takes the next run."""
        if len(self.generators) == 1:
            return True
        statuses = [state.status for state in self.states]
        return statuses[device] is Status.HEALTHY or (
            Status.HEALTHY not in statuses and self._first_to_load(statuses) == device
        )

    def wants_loading(self, device: int) -> bool:
        """Return whether *device* is to be loaded now, without a run."""
        statuses = [state.status for state in self.states]
        if statuses[device] in {Status.HEALTHY, Status.LOADING} or Status.HEALTHY not in statuses:
            return False
        return self._clock() >= self._due(device)

    def pause(self, device: int) -> float | None:
        """Return the seconds until an answer of `wants_loading` may change by itself; None: it will not."""
        left = self._due(device) - self._clock()
        return left if left > 0 else None

    def failed(self, device: int) -> None:
        """Note that *device* could not be loaded, or broke while it drew."""
        self._failures[device] += 1
        self._failed[device] = self._clock()

    def drew(self, device: int) -> None:
        """Note that *device* drew a picture."""
        self._failures[device] = 0

    def broken(self, device: int) -> bool:
        """Return whether *device* caused what just went wrong on it."""
        return self.generators[device].state.status is Status.ERROR

    def others(self, device: int) -> bool:
        """Return whether there is another device that is not in error."""
        return any(state.status is not Status.ERROR for other, state in enumerate(self.states) if other != device)

    def model_unloaded(self, device: int) -> bool:
        """Return whether the model was unloaded while *device* was being loaded to draw beside the others."""
        others = [state.status for other, state in enumerate(self.states) if other != device]
        return Status.SLEEPING in others and not {Status.HEALTHY, Status.LOADING}.intersection(others)

    def _first_to_load(self, statuses: Sequence[Status]) -> int:
        return min(
            range(len(statuses)),
            key=lambda device: (
                statuses[device] is Status.ERROR,
                statuses[device] is Status.ERROR and self._failed[device],
            ),
        )

    def _due(self, device: int) -> float:
        doublings = min(max(self._failures[device] - 1, 0), _DOUBLINGS)
        return self._failed[device] + min(LONGEST_PAUSE_SECONDS, self._pause * 2.0**doublings)
