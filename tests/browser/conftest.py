"""Real servers and a real browser. Everything started here is ended here, by its own process."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Route, expect, sync_playwright

from tests.conftest import Gate
from tests.waiting import wait_until
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.request import Recipe

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What Chromium draws behind its address bar, anew for each window: half a second of a core. It takes the last such
    # list only, so this one repeats what of Playwright's matters here.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup,PaintHolding,OptimizationHints",
)
# Playwright's own five seconds are short on a machine that is busy with something else.
expect.set_options(timeout=20_000)
# Chromium logs every answer that is no 2xx; for our API these are answers, and the page shows them.
EXPECTED_LOG = re.compile(r"Failed to load resource: the server responded with a status of (404|422|500|503)")

# Requests of tests beside the browser. On a busy machine an answer may take long; ended servers keep no connections.
http = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


# A browser without shared workers: each tab has an event stream of its own, which Playwright can intercept.
ALONE = "delete globalThis.SharedWorker"


def wait_with(page: Page, true: Callable[[], object], seconds: float = 20.0) -> None:
    """Likewise for a condition that events of *page* change, which are not delivered while this thread sleeps."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"did not come true in {seconds} s"
        page.wait_for_timeout(50)


def write(page: Page, prompt: str) -> None:
    page.fill("#zi-prompt textarea", prompt)


def open_advanced(page: Page) -> None:
    page.get_by_role("button", name="Advanced").click()


def choose_style(page: Page, title: str) -> None:
    """Choose a style that may be behind "All"."""
    tile = page.locator("#zi-style label", has_text=title)
    if tile.is_hidden():
        page.click(".zi-styles-all")
    tile.click()


def set_side(page: Page, side: str, pixels: str) -> None:
    """Type a width or a height, which "Custom" shows."""
    field = page.locator(f"#zi-{side} input")
    if field.is_hidden():
        page.click(".zi-custom")
    field.fill(pixels)


def set_count(page: Page, n: int) -> None:
    """Choose how many pictures to ask for; a number that is not offered is one that a script sets."""
    choice = page.locator(f"#zi-n label:has([value='{n}'])")
    choice.click() if choice.is_visible() else page.evaluate("n => zimage.form.fill({ n })", n)
    page.wait_for_function("n => zimage.form.values.n === n", arg=n)


def generate(page: Page, prompt: str, source: str = "") -> None:
    """Ask for *prompt* and wait for a picture of *source*."""
    write(page, prompt)
    page.click("#zi-generate")
    expect(page.locator(f'.zi-badge[data-source="{source}"]' if source else ".zi-badge").first).to_be_visible()


def seed(page: Page) -> str:
    return page.input_value("#zi-seed input")


def holding(held: list[Route]) -> Callable[[Route], None]:
    """Make a route handler that keeps requests unanswered in a list; Playwright accepts no built-in functions."""

    def hold_back(route: Route) -> None:
        held.append(route)

    return hold_back


def both(first: Gate, second: Gate) -> Callable[[Recipe, int], None]:
    """Make a `before_step` that passes through two gates, one after the other."""

    def step(recipe: Recipe, evaluation: int) -> None:
        first(recipe, evaluation)
        second(recipe, evaluation)

    return step


@dataclass
class Demo:
    """`app.py` with the demo model in a process of its own; `restart` keeps the workspace."""

    workspace: Path
    url: str = ""
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_")}
        command = [sys.executable, "app.py", "--workspace", str(self.workspace), "--port", "0", "--model", "demo"]
        log = (self.workspace / "log.txt").open("a")
        self._process = subprocess.Popen(
            [*command, "--device", "cpu"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        log.close()
        assert self._process.stdout
        line = next((line for line in self._process.stdout if line.startswith("Running on local URL")), "")
        self.url = line.partition(": ")[2].strip()
        assert self.url, (self.workspace / "log.txt").read_text()
        wait_until(lambda: http.get(f"{self.url}/ready").status_code == 200, every=0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=30)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


def installed(program: str, package: str) -> str:
    """Return the path of *program*; without it the test is skipped, or fails where it must run."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is not None:
        return found
    reason = f"no {program} on this machine: install the package `{package}` to run these tests"
    if os.environ.get("ZIMAGE_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


# One browser for the tests of this folder. Not for the session: while Playwright's synchronous API is open, this thread
# counts as running an event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    executable = installed("chromium", "chromium")
    with sync_playwright() as playwright:
        # Without a user data directory, Playwright makes a fresh one and removes it.
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    server = Demo(tmp_path_factory.mktemp("workspace"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class Fake:
    """The whole application around a fake generator, in a thread of this process."""

    url: str
    generator: FakeGenerator
    workspace: Path


# After the browser: with no event loop about, Gradio makes dozens of its own and closes none.
@pytest.fixture(scope="package")
def fake(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fake]:  # noqa: ARG001
    workspace = tmp_path_factory.mktemp("workspace")
    generator = FakeGenerator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        with serving(generator, workspace) as url:
            yield Fake(url, generator, workspace)


@pytest.fixture
def hold(fake: Fake, gate: Callable[..., Gate]) -> Iterator[Callable[..., Gate]]:
    """Return a function that makes gates which block the fake generator; at the end of the test they are opened."""
    made: list[Gate] = []

    def make(evaluation: int = 1, only: Collection[int] | None = None) -> Gate:
        made.append(gate(evaluation, only))
        fake.generator.before_step = made[-1]
        return made[-1]

    yield make
    for each in made:
        each.open()
    fake.generator.before_step = lambda _recipe, _evaluation: None
    wait_until(lambda: fake.generator.busy == 0)


@contextmanager
def serving(
    generator: FakeGenerator, workspace: Path, port: int = 0, others: Collection[FakeGenerator] = (), **given: Any
) -> Iterator[str]:
    from zimage_cache.accounts.sessions import Sessions  # noqa: PLC0415 - likewise
    from zimage_cache.compose import listen, make_service, make_users  # noqa: PLC0415 - after GRADIO_ANALYTICS_ENABLED is set
    from zimage_cache.settings import Settings  # noqa: PLC0415 - likewise
    from zimage_cache.web.app import create_app  # noqa: PLC0415 - likewise
    from zimage_cache.web.authentication import Authentication  # noqa: PLC0415 - likewise
    from zimage_cache.web.connections import ConnectionBounds  # noqa: PLC0415 - likewise
    from zimage_cache.web.server import Server  # noqa: PLC0415 - likewise

    settings = Settings.model_validate({"workspace": workspace, **given})
    service, running = make_service(settings, generator, [*others])
    users = make_users(settings)
    authentication = None if users is None else Authentication(users, Sessions(settings.database))

    async def build() -> FastAPI:
        return create_app(
            service,
            running,
            allowed_hosts=settings.allowed_host,
            trusted_proxies=settings.trusted_proxy,
            root_path=settings.root_path,
            authentication=authentication,
        )

    # On a loop, for Gradio leaves loops of its own behind, unclosed, where there is none; and in another thread, for
    # in this one Playwright's may be running.
    with ThreadPoolExecutor(1) as builder:
        app = builder.submit(lambda: asyncio.run(build())).result()
    listening = listen("127.0.0.1", port)
    server = Server(app, listening, ConnectionBounds(), open_to_all=True)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)
        listening.close()


@dataclass
class Streams:
    """The event streams that the server has sent: those that are open, and the messages of all."""

    open: list[Any] = field(default_factory=list)
    begun: int = 0
    messages: list[bytes] = field(default_factory=list)

    async def follow(self, messages: AsyncIterator[bytes], followed: Any) -> AsyncIterator[bytes]:
        self.open.append(followed)
        self.begun += 1
        try:
            async for message in messages:
                self.messages.append(message)
                yield message
        finally:
            self.open.remove(followed)

    @property
    def jobs(self) -> int:
        return sum(len(followed.jobs) for followed in self.open)

    @property
    def quiet(self) -> int:
        return sum(len(followed.quiet) for followed in self.open)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Watch the event streams of the server, which runs in this process."""
    from zimage_cache.web.api import jobs as jobs_api  # noqa: PLC0415 - after GRADIO_ANALYTICS_ENABLED is set

    seen, messages = Streams(), jobs_api._messages  # noqa: SLF001 - what the routes call
    monkeypatch.setattr(jobs_api, "_messages", lambda followed: seen.follow(messages(followed), followed))
    return seen


@dataclass
class Watch:
    """What pages did that no page of ours may do."""

    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("request", self._request)
        context.on("console", lambda message: self._log(message.type, message.text))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"data", "blob"}:
            self.hosts.add(url.hostname or "")
            self.requests.append(url.path)

    def _log(self, kind: str, text: str) -> None:
        if kind == "error" and not EXPECTED_LOG.match(text):
            self.errors.append(text)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def open_page(chromium: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Open pages, each in a fresh profile; at the end none may have logged an error or asked another host."""
    contexts: list[BrowserContext] = []

    def open_(url: str, *, clock: bool = False, script: str = "", **options: Any) -> Page:
        context = chromium.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        context.set_default_timeout(20_000)
        watch.over(context)
        page = context.new_page()
        if clock:  # goes as usual until a test moves it
            page.clock.install()
        page.add_init_script(script)
        page.goto(url)
        # The seed is drawn last: once it is there, the page is wired.
        page.wait_for_function("document.querySelector('#zi-seed input')?.value")
        # Nor before its choices are there: what is filled in earlier is overwritten by Gradio now and then.
        page.wait_for_function("document.querySelectorAll('#zi-style input').length > 1")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert watch.errors == []
    assert watch.hosts <= {"127.0.0.1"}
