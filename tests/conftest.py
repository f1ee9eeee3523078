"""What all tests share: the `--full` switch, the report, the order in processes, entries to store, a service to ask."""

import asyncio
import fcntl
import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from argon2 import PasswordHasher

from tests.factories import picture_entry
from zimage_cache.accounts import users
from zimage_cache.cache.cache import NoCache, ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.entry import Entry
from zimage_cache.environment import of_connections
from zimage_cache.faults import Faults
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.history import History
from zimage_cache.request import Recipe
from zimage_cache.service.service import ImageService

# Read when torch and gradio are imported, which is later: as `zimage_cache.cli.main` sets them for the server.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Tests send requests to this machine alone, by clients that would follow a proxy.
for _name in of_connections(os.environ):
    del os.environ[_name]

# Of the files outside `browser/`, those that take ten seconds and more: they come early, for one that came last would
# keep one process busy while the others have ended.
_LONG = ("test_checks", "test_download", "test_bench_scripts", "test_pipeline", "test_zimage", "test_connections")
_REPORTED = ("torch", "diffusers", "transformers", "gradio", "pillow", "filelock", "pydantic")


# Passwords of tests are hashed in a millisecond, with 8 KiB; `test_users` looks at the real parameters.
users._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # noqa: SLF001 - they are not a setting

# No test fails because the machine was busy: neither by Hypothesis' time for one example nor by that for making them.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all rounds of the stress tests, not a tenth of them")


def pytest_configure() -> None:
    """Take SIGINT back where a script started the tests in its background; processes that tests start inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (item.path.parent.name != "browser", item.path.stem not in _LONG))


def pytest_collection_finish() -> None:
    """Leave what lives as long as the process out of every later collection: each looks at far fewer objects then."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    return ", ".join(f"{name} {version(name)}" for name in _REPORTED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was skipped and why, a line for each file and reason."""
    skipped = Counter(_skip(report) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section("skipped")
        width = max(len(file) for file, _ in skipped)
        for (file, reason), count in sorted(skipped.items()):
            terminalreporter.write_line(f"{count:4}  {file:{width}}  {reason}")


def _skip(report: pytest.TestReport) -> tuple[str, str]:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return report.nodeid.partition("::")[0], reason.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a stress test run alone among the processes; its turn is waited for outside the timeout."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with _turn(item.config.cache.mkdir("turns"), alone=item.get_closest_marker("stress") is not None):
        return (yield)


@contextmanager
def _turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the room, by oneself or with others; the gate is held while waiting, so that no test is passed over."""
    with (folder / "gate").open("w") as gate, (folder / "room").open("w") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # said, not left to the closing: children may have inherited the file


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Say how many of so many rounds to run: all with `--full`, else a tenth, but at least one."""
    return lambda most: most if request.config.getoption("--full") else max(1, most // 10)


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Give the maker of entries; the same arguments make the same entry."""
    return picture_entry


@pytest.fixture
def bytes_below() -> Callable[[Path], int]:
    """Give a function that counts, without our code, what a cache folder has to answer for."""

    def count(root: Path) -> int:
        folders = (root / "keys", root / "images", root / "thumbs")
        return sum(path.lstat().st_size for folder in folders if folder.is_dir() for path in folder.iterdir())

    return count


class Gate:
    """A `before_step` that holds the generator before one evaluation of each picture until it is opened.

    Args:
        evaluation: Before which one; the first is 1.
        only: Hold the pictures of these seeds; None = all.
    """

    def __init__(self, evaluation: int = 1, only: Collection[int] | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self._evaluation = evaluation
        self._only = only
        self._opened = threading.Event()
        self._arrivals = threading.Semaphore(0)

    def __call__(self, recipe: Recipe, evaluation: int) -> None:
        self.steps.append((recipe.seed, evaluation))
        if evaluation == self._evaluation and (self._only is None or recipe.seed in self._only):
            self._arrivals.release()
            if not self._opened.wait(60):
                raise TimeoutError("the gate was not opened")

    def open(self) -> None:
        """Open the gate for all threads, now and later."""
        self._opened.set()

    def wait(self) -> None:
        """Wait until one more picture is blocked by the gate."""
        assert self._arrivals.acquire(timeout=60)

    async def arrival(self) -> None:
        """Wait likewise, on an event loop."""
        await asyncio.to_thread(self.wait)


class Studio:
    """A service under test with all its components, on a folder; its generators, *others* too, are fakes."""

    def __init__(
        self,
        root: Path,
        generator: FakeGenerator,
        *,
        others: Collection[FakeGenerator] = (),
        caching: bool = True,
        **options: Any,
    ) -> None:
        self.root = root
        self.generator = generator
        faults = Faults()
        self.memory, self.disk = MemoryTier(2**26), DiskTier(root / "cache", max_bytes=0, faults=faults)
        self.cache = ResultCache(self.memory, self.disk) if caching else NoCache()
        history = History(root / "output_image", faults=faults)
        generators = {each.profile.name: each for each in (generator, *others)}
        self.service = ImageService(generators, self.cache, history, faults=faults, **options)
        self._open = False

    def start(self) -> None:
        """Start what a server starts."""
        self.cache.start()
        self.service.start()
        self._open = True

    def close(self) -> None:
        """Stop it, opening every gate; once is enough."""
        if isinstance(self.generator.before_step, Gate):
            self.generator.before_step.open()
        if self._open:
            self.service.close()
            self.cache.close()
        self._open = False

    async def idle(self) -> None:
        """Wait until everything drawn is stored, which is after its askers were answered."""
        assert await asyncio.to_thread(self.service.idle, 60)

    @property
    def stored(self) -> set[str]:
        """The keys on disk."""
        return {path.stem for path in (self.root / "cache" / "keys").glob("*.json")}

    @property
    def copies(self) -> list[bytes]:
        """The pictures in `output_image/`, by name."""
        return [path.read_bytes() for path in sorted((self.root / "output_image").glob("*"))]


@pytest.fixture(scope="session")
def studio_class() -> type[Studio]:
    """Give `Studio` to fixtures that live longer than one test."""
    return Studio


@pytest.fixture(scope="session")
def gate() -> Callable[..., Gate]:
    """Give the maker of gates."""
    return Gate


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    """Give a maker of started studios on one folder; at the end all are closed and their cache is checked."""
    made: list[Studio] = []

    def make(
        before_step: Callable[[Recipe, int], None] | None = None,
        *,
        caching: bool = True,
        start: bool = True,
        generator: FakeGenerator | None = None,
        **options: Any,
    ) -> Studio:
        generator = generator or FakeGenerator()
        if before_step is not None:
            generator.before_step = before_step
        made.append(Studio(tmp_path, generator, caching=caching, **options))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert check(tmp_path / "cache") == []


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio, which is what the server runs on."""
    return "asyncio"
