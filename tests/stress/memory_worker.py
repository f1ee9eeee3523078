"""One process that draws for a while: `python memory_worker.py FOLDER COUNT`. Prints how many objects there were."""

import asyncio
import gc
import json
import sys
from pathlib import Path

from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.history import History
from zimage_cache.request import ImageRequest
from zimage_cache.service import tickets as tickets_module
from zimage_cache.service.service import ImageService
from zimage_cache.service.tickets import Tickets, news

WARM_UP, ROUNDS = 2, 4


class Server:
    """A service whose bounds are reached after twenty pictures."""

    def __init__(self, root: Path) -> None:
        self.generator = FakeGenerator()
        self.memory, self.disk = MemoryTier(20 * 8192), DiskTier(root / "cache", max_bytes=0, max_entries=20)
        self.cache = ResultCache(self.memory, self.disk)
        history = History(root / "out")
        self.service = ImageService({"fake": self.generator}, self.cache, history, database=root / "db.sqlite3")
        self.tickets = Tickets(self.service, lambda outcome: outcome.source)
        self.asked = 0

    def start(self) -> None:
        self.cache.start()
        self.service.start()
        for stripe in range(256):  # a lock of its own each, made when first needed
            with self.disk._store.stripes.hold(f"{stripe:02x}".ljust(64, "0")):  # noqa: SLF001 - no call takes one alone
                pass

    async def misses(self, count: int) -> int:
        """Ask for 2 * *count* new pictures, as requests and as jobs; return how many objects there are then."""
        for _ in range(count):
            self.asked += 1
            prompt = f"picture {self.asked} " + "of a circle " * (self.asked % 9)
            request = ImageRequest(prompt=prompt, seed=self.asked, width=64, height=64)
            await self.service.render(request)
            ticket = await self.tickets.open(request.model_copy(update={"seed": self.asked + 10**6}))
            await news([ticket], 60)
        await asyncio.to_thread(self.service.idle)
        self.generator.recipes.clear()
        gc.collect()
        return len(gc.get_objects())

    async def close(self) -> None:
        await self.tickets.close()
        self.service.close()
        self.cache.close()


async def main(root: Path, count: int) -> None:
    """Print the numbers of objects after each round, and of the entries that each tier has at the end."""
    tickets_module.MOST_KEPT = 10  # type: ignore[misc]  # Final; a low bound is reached sooner
    server = Server(root)
    server.start()
    for _ in range(WARM_UP):
        await server.misses(count)
    objects = [await server.misses(count) for _ in range(ROUNDS)]
    await server.close()
    sys.stdout.write(json.dumps({"objects": objects, "entries": [len(server.memory), len(server.disk)]}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
