"""One server process of the stress tests: `python service_worker.py FOLDER MODE`. Talks to its parent in lines."""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conftest import Studio
from tests.waiting import until
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.request import ImageRequest, Recipe
from zimage_cache.service.service import ImageService


def _say(**fields: object) -> None:
    os.write(1, (json.dumps(fields) + "\n").encode())


async def _ask(service: ImageService, seed: int) -> tuple[int, str, str]:
    request = ImageRequest(prompt="a circle", width=64, height=64, steps=2, seed=seed)
    (outcome,) = await service.render(request)
    return seed, outcome.entry.record.digest, outcome.source


async def herd(studio: Studio, keys: int) -> None:
    """Request every key several times at once, in random order, after the start signal."""
    seeds = [seed for seed in range(keys) for _ in range(4)]
    random.Random(os.getpid()).shuffle(seeds)
    _say(ready=True)
    sys.stdin.readline()
    answers = await asyncio.gather(*(_ask(studio.service, seed) for seed in seeds))
    _say(drawn=[recipe.seed for recipe in studio.generator.recipes], answers=answers)


async def stuck(studio: Studio, _keys: int) -> None:
    """Begin to draw, and never end."""

    def block(_recipe: Recipe, _evaluation: int) -> None:
        _say(drawing=True)
        time.sleep(3600)

    studio.generator.before_step = block
    await _ask(studio.service, 1)


async def patient(studio: Studio, _keys: int) -> None:
    """Ask for what another process is drawing; say when it waits, and what came of it."""
    asking = asyncio.create_task(_ask(studio.service, 1))
    # No public attribute shows which run waits for another process: for its requests it is queued.
    await until(lambda: studio.service._rights._waiting)  # noqa: SLF001 - see above
    _say(waiting=True, drawn=len(studio.generator.recipes))
    answer = await asking
    _say(answer=answer, drawn=len(studio.generator.recipes))


def main() -> None:
    """Run one mode on a started service."""
    studio = Studio(Path(sys.argv[1]), FakeGenerator(seconds=0.02), queue_size=0)
    studio.start()
    try:
        asyncio.run({"herd": herd, "stuck": stuck, "patient": patient}[sys.argv[2]](studio, int(sys.argv[3])))
    finally:
        studio.close()


if __name__ == "__main__":
    main()
