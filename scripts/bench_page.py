"""Measures the page's overhead for a hit: from the click on Generate to the picture, against a minimal page.

The exact command:

    python scripts/bench_page.py

One run in one headless Chromium: 1024x1024 pictures are stored, then the real page and a minimal page of twenty lines
(one button, one `fetch`, one `<img>`, prepared answers) show them in turn, each picture for the first time in its tab,
so that its bytes are transferred. The time is from the click to the `load` event of the picture. Then the real page is
opened in new profiles: the time is from the navigation until the form responds to clicks. At last the real page and an
empty page of Gradio's are opened in turn over a slow line: a process that passes connections on at 400 kbit/s each
way for all of them together.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench_http import body, row, server
from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = 40
WARM = 5
QUIET = 500  # ms
VISITS = 7
SLOW = 50_000  # bytes a second, each way
PIECE = 1460  # bytes: what a packet carries, so that connections share the slow line evenly
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
BARE_PAGE = """<!doctype html><title>bare</title>
<button id="zi-generate">Generate</button><p><img id="picture"></p>
<script>
let seed = 0;
const ready = (next) => { seed = next; };
document.querySelector("button").addEventListener("click", async () => {
  const ask = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ seed }) };
  const answer = await (await fetch("/generate", ask)).json();
  document.getElementById("picture").src = answer.images[0].image_url;
});
</script>"""
CLICK = """() => new Promise((done) => {
  let started = 0;
  const loaded = (event) => {
    if (event.target.tagName !== "IMG" || !event.target.src.includes("/images/")) return;
    document.removeEventListener("load", loaded, true);
    done(performance.now() - started);
  };
  document.addEventListener("load", loaded, true);
  started = performance.now();
  document.getElementById("zi-generate").click();
})"""
FILL = "(fields) => new Promise((done) => zimage.form.fill(fields, done))"
WIRED = "document.querySelector('#zi-seed input')?.value"
EMPTY = "document.querySelector('gradio-app footer') !== null"
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main() -> None:
    """Measure and print, or with --serve run as the server of the minimal page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=["bare", "empty", "line"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--to", help="URL of the server at the other end of the line")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--visits", type=int, default=VISITS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.pictures, options.visits)


def serve(options: argparse.Namespace) -> None:
    """Run as one of the servers that the measurements start."""
    if options.serve == "bare":
        serve_bare(options.port, options.folder)
    elif options.serve == "empty":
        serve_empty(options.port)
    else:
        asyncio.run(serve_line(options.port, options.to))


def compare(folder: Path, pictures: int, visits: int) -> None:
    """Store pictures, show them on both pages in turn, and open the real page a few times."""
    with server("product", "--workspace", str(folder / "workspace"), "--seconds", "0", script=HTTP_SCRIPT) as ask:
        for seed in range(pictures):
            answer = ask("POST", "/generate", body(seed))
            url = json.loads(answer)["images"][0]["image_url"]
            (folder / f"{seed}.json").write_bytes(answer)
            (folder / url.partition("?")[0].rpartition("/")[2]).write_bytes(ask("GET", url))
        with (
            server("bare", "--folder", str(folder), script=__file__) as bare,
            server("empty", script=__file__) as empty,
            server("line", "--to", empty.url, script=__file__) as slow_empty,
            server("line", "--to", ask.url, script=__file__) as slow_ours,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
            hits(browser, ask.url, bare.url, pictures)
            first_visits(browser, ask.url, visits)
            pages = {"empty page of Gradio's": (slow_empty.url, EMPTY), "our page": (slow_ours.url, WIRED)}
            slow_visits(browser, pages, visits)
            browser.close()


def hits(browser: Browser, ours: str, bare: str, pictures: int) -> None:
    """Print how long stored pictures take on both pages."""
    page, plain = opened(browser, ours), browser.new_page()
    plain.goto(bare)
    fields = {name: value for name, value in json.loads(body(0)).items() if name != "seed"}
    our_times: list[float] = []
    bare_times: list[float] = []
    for seed in range(pictures):
        page.evaluate(FILL, {**fields, "seed": seed})
        plain.evaluate("(seed) => ready(seed)", seed)
        turns = ((page, our_times), (plain, bare_times))
        for tab, times in turns if seed % 2 else reversed(turns):
            tab.bring_to_front()
            # What the change of the form, or the picture before, has set off: token count, similar pictures, frames.
            tab.wait_for_timeout(QUIET)
            times.append(tab.evaluate(CLICK) / 1000)
    print(f"click to picture, {pictures - WARM} hits of 1024x1024 after {WARM} to warm up, in turn")
    row("bare page", bare_times[WARM:], bare_times[WARM:])
    row("our page", our_times[WARM:], bare_times[WARM:])


def first_visits(browser: Browser, ours: str, visits: int) -> None:
    """Print the time until the page is usable."""
    times = [visit(browser, ours) for _ in range(visits)]
    print(f"\nfrom navigation to a page that answers, {visits} fresh profiles")
    print(f"  median {statistics.median(times):.2f} s, slowest {max(times):.2f} s")


@dataclass
class Visit:
    """A visit over the slow line: seconds until something is seen and until the page is usable, and what it took."""

    painted: float
    usable: float
    requests: int
    kilobytes: float


def slow_visits(browser: Browser, pages: dict[str, tuple[str, str]], visits: int) -> None:
    """Print how long each page takes over a slow line, opened in turn with empty caches."""
    found: dict[str, list[Visit]] = {name: [] for name in pages}
    for _ in range(visits):
        for name, (url, usable) in pages.items():
            found[name].append(slow_visit(browser, url, usable))
    print(f"\nover a line of 400 kbit/s, {visits} fresh profiles, in turn")
    for name, seen in found.items():
        painted, ready = statistics.median(one.painted for one in seen), sorted(one.usable for one in seen)
        times = f"seen {painted:5.2f} s, usable {statistics.median(ready):5.2f} s, slowest {ready[-1]:5.2f} s"
        print(f"  {name:24} {times}, {seen[-1].requests} requests, {seen[-1].kilobytes:.0f} kB")


def slow_visit(browser: Browser, url: str, usable: str) -> Visit:
    """Open *url*, the near end of a slow line, until *usable* is true."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    events, sizes = context.new_cdp_session(page), list[float]()
    events.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    events.send("Network.enable")
    started = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function(usable, timeout=60_000)
    seconds = time.perf_counter() - started
    page.wait_for_timeout(100)
    visit = Visit(page.evaluate(PAINTED) / 1000, seconds, len(sizes), sum(sizes) / 1000)
    context.close()
    return visit


def opened(browser: Browser, url: str) -> Page:
    """Open the real page in a new profile and wait until its form is ready."""
    page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.goto(url)
    page.wait_for_function(WIRED)
    return page


def visit(browser: Browser, url: str) -> float:
    """Return the seconds one visit takes."""
    started = time.perf_counter()
    page = opened(browser, url)
    seconds = time.perf_counter() - started
    page.context.close()
    return seconds


def serve_bare(port: int, folder: Path) -> None:
    """Serve the minimal page, prepared answers, and the pictures with headers that allow caching."""
    import uvicorn  # noqa: PLC0415 - not in the measuring process
    from fastapi import FastAPI, Request  # noqa: PLC0415
    from starlette.responses import HTMLResponse, Response  # noqa: PLC0415

    app = FastAPI()
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    @app.get("/")
    async def page() -> Response:
        return HTMLResponse(BARE_PAGE)

    @app.post("/generate")
    async def generate(request: Request) -> Response:
        return Response(files[f"{(await request.json())['seed']}.json"], media_type="application/json")

    @app.get("/images/{name}")
    async def image(name: str) -> Response:
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(files[name], media_type="image/png", headers=headers)

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def serve_empty(port: int) -> None:
    """Serve a page of Gradio's with nothing on it, as Gradio serves it."""
    import gradio  # noqa: PLC0415 - not in the measuring process
    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415

    with gradio.Blocks(analytics_enabled=False) as page:
        pass
    app = gradio.mount_gradio_app(FastAPI(), page, path="/", ssr_mode=False, run_history=False)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


class SlowLine:
    """One direction of a slow line, which the connections share piece by piece."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Pass on what *source* sends until it ends, each piece when the line has carried it."""
        with suppress(OSError), closing(target):
            while piece := await source.read(PIECE):
                now = time.monotonic()
                self._free_at = max(self._free_at, now) + len(piece) / SLOW
                await asyncio.sleep(self._free_at - now)
                target.write(piece)
                await target.drain()


async def serve_line(port: int, url: str) -> None:
    """Pass connections on to the server at *url*, all of them together over one slow line."""
    there, back = SlowLine(), SlowLine()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        await asyncio.gather(there.copy(reader, far_writer), back.copy(far_reader, writer))

    async with await asyncio.start_server(connect, "127.0.0.1", port) as line:
        await line.serve_forever()


HTTP_SCRIPT = str(Path(__file__).with_name("bench_http.py"))

if __name__ == "__main__":
    main()
