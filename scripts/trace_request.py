"""Count the modules and classes that one picture passes, from the HTTP request to the answer.

    python scripts/trace_request.py          # the numbers
    python scripts/trace_request.py --names  # and the names

A fake generator draws; everything else is the program as it is served. Of several pictures only what each of them
passes is counted: that leaves out what runs once at the start, and threads that work beside requests.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

import httpx

_PACKAGE = "zimage_cache"
_PICTURES = 5
_PICTURE = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4}


class Trace:
    """Collects the modules and classes of the package whose functions are called while it is on, in any thread."""

    def __init__(self) -> None:
        self.on = False
        self._modules: set[str] = set()
        self._classes: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Take in one call; set as the profile function of every thread."""
        module = frame.f_globals.get("__name__", "")
        if not self.on or event != "call" or not module.startswith(f"{_PACKAGE}."):
            return
        self._modules.add(module)
        owner = frame.f_locals.get("self", frame.f_locals.get("cls"))
        kind = owner if isinstance(owner, type) else type(owner)
        if kind.__module__.startswith(f"{_PACKAGE}."):
            self._classes.add(f"{kind.__module__}.{kind.__qualname__}")

    def taken(self) -> tuple[set[str], set[str]]:
        """Return the modules and classes collected, and begin anew."""
        taken = self._modules, self._classes
        self._modules, self._classes = set(), set()
        return taken


async def run(folder: Path, trace: Trace, *, names: bool) -> None:
    """Ask for new pictures, and for each of them again."""
    from zimage_cache.compose import make_service  # noqa: PLC0415 - after the trace is set and Gradio's switch
    from zimage_cache.generator.fake import FakeGenerator  # noqa: PLC0415 - likewise
    from zimage_cache.settings import Settings  # noqa: PLC0415 - likewise
    from zimage_cache.web.app import create_app  # noqa: PLC0415 - likewise

    service, running = make_service(Settings.model_validate({"workspace": folder}), FakeGenerator())
    app = create_app(service, running)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:

        async def ask(seed: int) -> str:
            answer = await client.post("/generate", json=_PICTURE | {"seed": seed}, headers={"Host": "127.0.0.1"})
            source = str(answer.json()["images"][0]["source"])
            if source == "generated":  # which is also stored, after the answer
                await asyncio.to_thread(service.idle, 10)
            return source

        passed: dict[str, list[tuple[set[str], set[str]]]] = {"generated": [], "memory": []}
        for seed in range(_PICTURES):
            for expected, pictures in passed.items():
                trace.on = True
                source = await ask(seed)
                trace.on = False
                if source != expected:
                    raise SystemExit(f"expected {expected}, got {source}")
                pictures.append(trace.taken())
    for source, pictures in passed.items():
        modules, classes = (set.intersection(*each) for each in zip(*pictures, strict=True))
        print(f"{source}: {len(modules)} modules, {len(classes)} classes")
        if names:
            print(*(f"  {name}" for name in sorted(modules | classes)), sep="\n")


def main() -> None:
    """Trace both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true")
    arguments = parser.parse_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    sys.path.insert(0, str(Path(__file__).parents[1]))
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), trace, names=arguments.names))


if __name__ == "__main__":
    main()
