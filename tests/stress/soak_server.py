"""A server with a generator that only waits, for the soak test: `soak_server.py WORKSPACE`; prints its port."""

import sys
from pathlib import Path

from zimage_cache import compose
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.settings import load
from zimage_cache.web.app import create_app
from zimage_cache.web.server import run

settings, _ = load({"workspace": Path(sys.argv[1]), "memory_max_bytes": 2**21, "cache_max_entries": 300})
service, running = compose.make_service(settings, FakeGenerator(seconds=0.01, preview=b""))
listening = compose.listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)  # noqa: T201 - read by the test
run(create_app(service, running), listening, open_to_all=True)
