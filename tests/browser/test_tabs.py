"""Several tabs of one browser, whose jobs share one event stream, also when a tab or the line ends."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.waiting import wait_until
from zimage_cache.service import queue, tickets

from .conftest import ALONE, Fake, Streams, Watch, generate, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

BROKEN_WORKER = """{
  const Worker = SharedWorker;
  globalThis.SharedWorker = class extends Worker { constructor() { super("/page/none/worker.js"); } };
}"""


class Relay:
    """A line to a server that can be cut: its connections are closed then, and new ones refused."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rpartition(":")[2])
        self._open: set[socket.socket] = set()
        self._listening = self._listen(0)
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._listening = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = listening.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        self._open.add(source)
        with suppress(OSError):
            while piece := source.recv(2**16):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


@pytest.fixture
def relay(fake: Fake) -> Iterator[Relay]:
    line = Relay(fake.url)
    yield line
    line.cut()


@pytest.fixture
def tabs(fake: Fake, open_page: Callable[..., Page]) -> Callable[..., list[Page]]:
    """Open several tabs of one browser."""

    def open_(count: int, url: str = fake.url, script: str = "") -> list[Page]:
        first = open_page(url, script=script)
        others = [first.context.new_page() for _ in range(count - 1)]
        for page in others:
            page.add_init_script(script)
            page.goto(url)
            page.wait_for_function("document.querySelector('#zi-seed input')?.value")
            page.wait_for_function("document.querySelectorAll('#zi-style input').length > 1")
        return [first, *others]

    return open_


def draw(page: Page, prompt: str) -> None:
    """Press Generate, and wait until the job is followed."""
    write(page, prompt)
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_be_visible()
    expect(page.locator(".zi-running")).not_to_contain_text("Looking it up")


def show(page: Page, *, hidden: bool) -> None:
    """Let a tab be out of sight, or in sight again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def test_one_press_is_one_request(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A miss is asked for once and followed, a hit is answered by the same request; no error is in the console."""
    page = open_page(fake.url)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    for source in ("generated", "memory"):
        watch.requests.clear()
        generate(page, "pressed once", source)
        asked = [path for path in watch.requests if path.startswith(("/generate", "/jobs"))]
        assert asked == ["/jobs"]  # the stream is the worker's, which is not among the page's requests
    page.goto(f"{fake.url}/#prompt=pressed+never&seed=1")
    expect(page.locator(".zi-told")).to_contain_text("not stored")
    assert errors == []


def test_six_tabs_that_draw_leave_room_for_a_seventh(tabs, hold, streams: Streams):
    """Their jobs have one stream together; a stored picture is there at once, and each gets its own."""
    *drawing, seventh = tabs(7)
    generate(seventh, "a stored one", "generated")
    door = hold(3)
    for i, page in enumerate(drawing):
        draw(page, f"of tab {i}")
    wait_until(lambda: streams.jobs == 6)
    assert len(streams.open) == 1
    seventh.click("#zi-generate")
    expect(seventh.locator('.zi-badge[data-source="memory"]')).to_be_visible()
    door.open()
    for i, page in enumerate(drawing):
        expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
        expect(page.locator(".zi-asked")).to_have_text(f"of tab {i}")
    wait_until(lambda: not streams.open)


def test_browsers_share_nothing(fake: Fake, open_page: Callable[..., Page], hold, streams: Streams):
    """Two browsers have a stream each, and Stop in one leaves the other's as it was."""
    door, pages = hold(3), [open_page(fake.url) for _ in range(2)]
    for i, page in enumerate(pages):
        draw(page, f"of browser {i}")
    wait_until(lambda: len(streams.open) == 2)
    pages[0].keyboard.press("Escape")
    wait_until(lambda: len(streams.open) == 1)
    door.open()
    expect(pages[1].locator(".zi-asked")).to_have_text("of browser 1")
    expect(pages[0].locator(".zi-empty")).to_contain_text("Stopped")


def test_a_tab_out_of_sight_costs_nothing_and_keeps_its_job(fake: Fake, tabs, hold, streams: Streams, monkeypatch):
    """No messages, no previews, nothing repeated to the worker; seen again, it shows how its job stands."""
    (page,), early, late = tabs(1), hold(2), hold(5)

    def step(recipe, evaluation) -> None:
        early(recipe, evaluation)
        late(recipe, evaluation)

    fake.generator.before_step, fake.generator.preview = step, b"small"
    try:
        draw(page, "out of sight")
        expect(page.locator(".zi-running")).to_contain_text("step 1 of 8")
        show(page, hidden=True)
        wait_until(lambda: streams.quiet == 1)
        wait_until(lambda: streams.messages[-1].count(b'"step":1') == 1)
        told, begun, previews = len(streams.messages), streams.begun, fake.generator.previews
        with monkeypatch.context() as patch:
            patch.setattr(tickets, "GRACE_SECONDS", 0.1)  # only now: between two streams it may take longer
            early.open()
            late.wait()
            page.wait_for_timeout(1000)
        assert (len(streams.messages), streams.begun, fake.generator.previews) == (told, begun, previews)
        expect(page.locator(".zi-running")).to_contain_text("step 1 of 8")
        show(page, hidden=False)
        expect(page.locator(".zi-running")).to_contain_text("step 4 of 8")
        show(page, hidden=True)
        wait_until(lambda: streams.quiet == 1)
        late.open()
        expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    finally:
        late.open()
        fake.generator.preview = None


def test_the_tab_that_came_first_may_go(fake: Fake, tabs, hold, streams: Streams, monkeypatch):
    """The others are told as before, and the job of the closed tab is given up after its time."""
    (first, second), door = tabs(2), hold(3)

    def abandoned() -> int:
        return httpx.get(f"{fake.url}/cache/stats").json()["this_process"]["abandoned"]

    before = abandoned()
    draw(first, "of the closed tab")
    draw(second, "of the other tab")
    wait_until(lambda: streams.jobs == 2)
    first.close()
    wait_until(lambda: [len(followed.jobs) for followed in streams.open] == [1])
    monkeypatch.setattr(tickets, "GRACE_SECONDS", 0.1)  # only now: between two streams it may take longer
    wait_until(lambda: abandoned() == before + 1)
    door.open()
    expect(second.locator(".zi-asked")).to_have_text("of the other tab")
    assert len(door.steps) == 3 + 8


def test_a_worker_that_dies_is_replaced(chromium: Browser, tabs, hold, streams: Streams):
    """It may lie in the process of a tab that crashed: the other tabs notice and begin another one."""
    pages, door = tabs(2), hold(3)
    for i, page in enumerate(pages):
        draw(page, f"of tab {i}")
    wait_until(lambda: streams.jobs == 2)
    line = chromium.new_browser_cdp_session()
    targets = line.send("Target.getTargets")["targetInfos"]
    (worker,) = [target["targetId"] for target in targets if target["type"] == "shared_worker"]
    begun = streams.begun
    line.send("Target.closeTarget", {"targetId": worker})
    wait_with(pages[0], lambda: streams.begun > begun)
    wait_with(pages[0], lambda: streams.jobs == 2)
    assert len(streams.open) == 1
    door.open()
    for i, page in enumerate(pages):
        expect(page.locator(".zi-asked")).to_have_text(f"of tab {i}")


@pytest.mark.parametrize("script", ["", ALONE], ids=["together", "alone"])
def test_a_line_that_breaks_is_taken_up_again(relay: Relay, tabs, hold, watch: Watch, script: str):
    """While it is broken each card says so; mended, each shows its job again."""
    pages, door = tabs(2, relay.url, script), hold(3)
    for i, page in enumerate(pages):
        draw(page, f"of tab {i}")
    relay.cut()
    for page in pages:
        expect(page.locator(".zi-running")).to_contain_text("Connection lost")
    relay.mend()
    expect(pages[0].locator(".zi-running")).to_contain_text("step 2 of 8")
    expect(pages[1].locator(".zi-running")).to_contain_text("1 ahead of you")
    door.open()
    for i, page in enumerate(pages):
        expect(page.locator(".zi-asked")).to_have_text(f"of tab {i}")
    watch.errors.clear()  # the browser's own lines about connections refused


def test_a_job_that_the_server_has_forgotten_is_one_of_several(relay: Relay, tabs, hold, watch: Watch):
    """The tab of that job says what to do; the other one goes on."""
    pages, door = tabs(2, relay.url), hold(3)
    with pages[0].expect_response("**/jobs") as asked:
        draw(pages[0], "forgotten")
    draw(pages[1], "not forgotten")
    relay.cut()
    expect(pages[0].locator(".zi-running")).to_contain_text("Connection lost")
    relay.mend()
    for _ in range(2):  # the first ends it, the second forgets it
        pages[0].request.delete(f"{relay.url}{asked.value.headers['location']}")
    expect(pages[0].locator(".zi-error")).to_be_visible()
    expect(pages[1].locator(".zi-running")).to_be_visible()
    door.open()
    expect(pages[1].locator(".zi-asked")).to_have_text("not forgotten")
    watch.errors.clear()  # the browser's own lines about connections refused


@pytest.mark.parametrize("script", ["", ALONE, BROKEN_WORKER], ids=["together", "alone", "no worker"])
def test_a_server_that_refuses_streams_is_asked_for_the_state(fake: Fake, tabs, hold, monkeypatch, script: str):
    """Where there are too many streams, each card still shows its job, and its picture."""
    pages, door = tabs(2, fake.url, script), hold(3)
    room = queue.Shares.room
    streams = tickets.MOST_LISTENERS
    monkeypatch.setattr(queue.Shares, "room", lambda its, user: 0 if its.capacity == streams else room(its, user))
    for i, page in enumerate(pages):
        draw(page, f"of tab {i}")
    expect(pages[0].locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    for i, page in enumerate(pages):
        expect(page.locator(".zi-asked")).to_have_text(f"of tab {i}")


def test_a_worker_that_does_not_start_is_done_without(tabs, hold, streams: Streams):
    """Each tab has a stream of its own then."""
    pages, door = tabs(2, script=BROKEN_WORKER), hold(3)
    for i, page in enumerate(pages):
        draw(page, f"of tab {i}")
    wait_until(lambda: len(streams.open) == 2)
    door.open()
    for i, page in enumerate(pages):
        expect(page.locator(".zi-asked")).to_have_text(f"of tab {i}")
