"""Measures whether the server keeps the GPU busy: pictures per second against the limit of a simulated GPU.

The exact command:

    python scripts/bench_generator.py

The simulated GPU takes 1 s a picture, in eight evaluations, a tenth of each in Python that holds the interpreter
lock, as launching kernels does; the rest waits without it, as for a device. Everything else is real: queue, worker,
PNG encoding at 1024x1024, cache on disk, the copy in `output_image/`. The limit is therefore one picture a second.

On a machine that is busy with other things the simulated GPU's own Python takes longer than its tenth, so it is also
run bare, before and after, with nothing else in this process: that rate is what this machine could have reached now.
Printed beside the rates is where the worker waited: inside the simulated GPU longer than its second (for the
interpreter lock), for an encoder to take a picture, or elsewhere between two pictures.
"""

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import Drawing, Pixels, Step
from zimage_cache.history import History
from zimage_cache.request import ImageRequest, Recipe
from zimage_cache.service.service import ImageService

LOCKED = 0.1
LOOKS = 4


class SimulatedGpu(FakeGenerator):
    """Takes a fixed time for each picture, and longer only where it waits for the interpreter lock."""

    def __init__(self, seconds: float, side: int) -> None:
        super().__init__(seconds=seconds)
        self.turns: list[tuple[float, float]] = []
        self._pictures = [photograph(side, look) for look in range(LOOKS)]

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        """Draw one of the prepared pictures."""
        started = time.perf_counter()
        on_step(Step(0, recipe.evaluations))
        for evaluation in range(1, recipe.evaluations + 1):
            if cancelled():
                break
            launch(LOCKED * self.seconds / recipe.evaluations)
            time.sleep((1 - LOCKED) * self.seconds / recipe.evaluations)
            on_step(Step(evaluation, recipe.evaluations))
        pixels = self._pictures[recipe.seed % LOOKS]
        self.turns.append((started, time.perf_counter()))
        return Drawing(pixels, self.identity(), time.perf_counter() - started)


class TimedPlaces:
    """The worker's semaphore for unfinished pictures; measures the time spent waiting for it."""

    def __init__(self, places: threading.Semaphore) -> None:
        self.waited = 0.0
        self._places = places

    def acquire(self) -> None:
        """Wait for a place."""
        started = time.perf_counter()
        self._places.acquire()
        self.waited += time.perf_counter() - started

    def release(self) -> None:
        """Give a place back."""
        self._places.release()


def main() -> None:
    """Measure and print; exit 1 below 97 % of the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of the simulated GPU, a picture")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--at-least", type=float, default=0.97, help="share of the limit that is good enough")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        share = asyncio.run(measure(Path(folder), options.pictures, options.seconds, options.side))
    if share < options.at_least:
        raise SystemExit(1)


async def measure(folder: Path, pictures: int, seconds: float, side: int) -> float:
    """Draw the pictures, print the rates, and return the share of the limit that was reached."""
    gpu = SimulatedGpu(seconds, side)
    bare = [bare_rate(gpu, max(1, pictures // 4))]
    cache = ResultCache(MemoryTier(2**28), DiskTier(folder / "cache", max_bytes=0))
    service = ImageService({"fake": gpu}, cache, History(folder / "output_image"), queue_size=0, request_timeout=0)
    [model] = service._models.values()  # noqa: SLF001 - to put a clock on its waits
    places = TimedPlaces(model._places)  # noqa: SLF001 - likewise
    model._places = places  # type: ignore[assignment]  # noqa: SLF001 - all of a semaphore that a model uses
    cache.start()
    service.start()
    asks = [ImageRequest(prompt="a lighthouse", seed=seed, width=side, height=side) for seed in range(pictures)]
    started = time.perf_counter()
    outcomes = await asyncio.gather(*(service.render(ask, user=str(i % 4)) for i, ask in enumerate(asks)))
    wall = time.perf_counter() - started
    service.close()
    cache.close()
    if any(outcome.cached for [outcome] in outcomes):
        raise RuntimeError("something was not drawn")
    gaps = sum(later[0] - earlier[1] for earlier, later in zip(gpu.turns, gpu.turns[1:], strict=False))
    over = sum(ended - begun - seconds for begun, ended in gpu.turns)
    bare.append(bare_rate(gpu, max(1, pictures // 4)))
    rate, reached = pictures / wall, sum(bare) / len(bare)
    print(f"{pictures} pictures of {side}x{side}, {seconds:g} s each, on {os.cpu_count()} cores: {wall:.2f} s")
    print(f"  {rate:.3f} pictures a second, {rate * seconds:.1%} of the limit of {1 / seconds:g}")
    print(f"  {rate / reached:.1%} of the {reached:.3f} of the simulated GPU alone, before and after")
    print(f"  the worker waited {over:.3f} s for the interpreter lock, {places.waited:.3f} s for an encoder,")
    print(f"  {gaps - places.waited:.3f} s elsewhere between pictures; the last picture was encoded after that")
    return rate / reached


def bare_rate(gpu: SimulatedGpu, pictures: int) -> float:
    """Return the pictures a second of the simulated GPU alone."""
    recipe = Recipe(
        prompt="",
        width=64,
        height=64,
        steps=8,
        guidance_scale=0.0,
        seed=0,
    )
    started = time.perf_counter()
    for _ in range(pictures):
        gpu.generate(recipe, lambda _step: None, lambda: False)
    gpu.turns.clear()
    return pictures / (time.perf_counter() - started)


def photograph(side: int, look: int) -> Pixels:
    """Make a picture of about a photograph's entropy: 1024x1024 encode to about 1.5 MB."""
    rng = np.random.default_rng(look)
    coarse = rng.integers(0, 256, (side // 16, side // 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


def launch(seconds: float) -> None:
    """Run Python code that holds the interpreter lock, for *seconds* of this thread's CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


if __name__ == "__main__":
    main()
