"""A server with a generator that only waits, for the soak test: `soak_server.py WORKSPACE`; prints its port."""

import sys
from pathlib import Path
from typing import Any

from zimage_cache import compose
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import Drawing
from zimage_cache.service import lookup, tickets
from zimage_cache.settings import load
from zimage_cache.web.app import create_app
from zimage_cache.web.server import run


class Waiting(FakeGenerator):
    """Remembers nothing of what it drew."""

    def generate(self, *given: Any) -> Drawing:
        self.recipes.clear()
        return super().generate(*given)


# What is kept for ten minutes is kept for seconds here, so that growth shows in a minute.
lookup.SHELF_SECONDS = tickets.KEPT_SECONDS = 3.0  # type: ignore[misc]  # they are constants
settings, _ = load({"workspace": Path(sys.argv[1]), "memory_max_bytes": 2**21, "cache_max_entries": 300})
service, running = compose.make_service(settings, Waiting(seconds=0.01, preview=b""))
listening = compose.listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)  # noqa: T201 - read by the test
run(create_app(service, running), listening, open_to_all=True)
