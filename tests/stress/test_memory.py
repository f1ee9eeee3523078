"""What stays in memory of a miss: nothing, once every bound is reached."""

import gc

import pytest

from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tiered import ResultCache
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.history import History
from zimage_cache.request import ImageRequest
from zimage_cache.service.service import ImageService
from zimage_cache.service.tickets import Tickets

pytestmark = [pytest.mark.stress, pytest.mark.anyio]


async def test_a_miss_leaves_nothing_behind(tmp_path, rounds, monkeypatch):
    """Misses of new prompts, as requests and as jobs: after a warm-up the number of objects stays what it is."""
    monkeypatch.setattr("zimage_cache.service.tickets.MOST_KEPT", 10)
    generator = FakeGenerator()
    memory, disk = MemoryTier(20 * 8192), DiskTier(tmp_path / "cache", max_bytes=0, max_entries=20)
    cache = ResultCache(memory, disk)
    service = ImageService({"fake": generator}, cache, History(tmp_path / "out"), database=tmp_path / "db.sqlite3")
    cache.start()
    service.start()
    tickets = Tickets(service, lambda outcome: outcome.source)
    count, asked = rounds(500), 0
    for stripe in range(256):  # a lock of its own each, made when first needed
        with disk._store.stripes.hold(f"{stripe:02x}".ljust(64, "0")):  # noqa: SLF001 - no call takes one for nothing
            pass

    async def misses() -> int:
        nonlocal asked
        for _ in range(count):
            asked += 1
            request = ImageRequest(
                prompt=f"picture {asked} " + "of a circle " * (asked % 9), seed=asked, width=64, height=64
            )
            await service.render(request)
            ticket = await tickets.open(request.model_copy(update={"seed": asked + 10**6}))
            await ticket.news(60)
        generator.recipes.clear()
        gc.collect()
        return len(gc.get_objects())

    await misses()
    await misses()
    seen = [await misses() for _ in range(4)]
    await tickets.close()
    service.close()
    cache.close()

    # Some hundred objects come and go with what is under way. Between these two there are two rounds of 2 * count
    # pictures each: a single object kept of each picture would be 4 * count more.
    assert min(seen[2:]) - min(seen[:2]) < count
    assert len(memory) <= 20
    assert len(disk) <= 20
