"""Measures the time of a cached answer, and the time it saves.

The exact command:

    python scripts/bench_http.py

One run, interleaved, over HTTP on this machine, one keep-alive connection, 1024x1024 pictures of about 1.5 MB:

1. a cached `POST /generate`, guard, validation, fingerprint, look-up and log line included, against a bare FastAPI
   route that reads the body and returns the same JSON bytes;
2. a first generation (1 s of simulated GPU) against a memory hit and a disk hit, each with its picture fetched.

Compare columns of one run only: absolute times depend on the machine and its load.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROUNDS = 300
PICTURES = 12
SIDE = 1024


def main() -> None:
    """Run both comparisons, or with --serve run as the server under test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=["product", "bare"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--answer")
    parser.add_argument("--seconds", type=float, default=1.0, help="what the simulated GPU takes for a picture")
    options = parser.parse_args()
    if options.serve == "product":
        serve_product(options.port, options.workspace, options.seconds)
    elif options.serve == "bare":
        serve_bare(options.port, options.answer)
    else:
        with tempfile.TemporaryDirectory() as workspace:
            compare(Path(workspace))


def compare(workspace: Path) -> None:
    """Measure and print."""
    with server("product", "--workspace", str(workspace)) as ask:
        first = [timed(partial(fetch, ask, seed)) for seed in range(PICTURES)]
        memory = [timed(partial(fetch, ask, seed)) for seed in range(PICTURES)]
        answer = ask("POST", "/generate", body(0))
        with server("bare", "--answer", answer.decode()) as bare:
            cached_times, bare_times = [], []
            for _ in range(ROUNDS):
                cached_times.append(timed(lambda: ask("POST", "/generate", body(0))))
                bare_times.append(timed(lambda: bare("POST", "/generate", body(0))))
    with server("product", "--workspace", str(workspace)) as ask:
        ask("GET", "/health")
        disk = [timed(partial(fetch, ask, seed)) for seed in range(PICTURES)]
    print(f"cached POST /generate against a bare route, {ROUNDS} rounds, interleaved")
    row("bare route", bare_times, bare_times)
    row("cached POST /generate", cached_times, bare_times)
    print(f"\nfirst generation (1 s simulated GPU) against hits, {PICTURES} pictures, each fetched as PNG")
    row("generated", first, first)
    row("memory hit", memory, first)
    row("disk hit, new process", disk, first)


def row(name: str, times: list[float], against: list[float]) -> None:
    """Print median, 95th percentile and the ratio of medians."""
    median, base = statistics.median(times), statistics.median(against)
    high = sorted(times)[int(0.95 * (len(times) - 1))]
    ratio = median / base if median >= base else base / median
    sign = "x" if median >= base else "x faster"
    print(f"  {name:<24} p50 {median * 1000:8.2f} ms   p95 {high * 1000:8.2f} ms   {ratio:6.2f}{sign}")


def body(seed: int) -> bytes:
    """Return the body of one request."""
    return json.dumps({"prompt": "a lighthouse at dusk", "seed": seed, "width": SIDE, "height": SIDE}).encode()


def fetch(ask: Callable[..., bytes], seed: int) -> None:
    """Request a picture and fetch it, as a browser does."""
    image = json.loads(ask("POST", "/generate", body(seed)))["images"][0]
    ask("GET", image["image_url"])


def timed(action: Callable[[], object]) -> float:
    """Return the seconds *action* takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Server:
    """A client of a running server, with one keep-alive connection."""

    url: str
    connection: http.client.HTTPConnection

    def __call__(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """Send a request; any answer but 200 is an error."""
        self.connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text


@contextmanager
def server(kind: str, *arguments: str, script: str = __file__) -> Iterator[Server]:
    """Start *script* as a server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, script, "--serve", kind, "--port", str(port), *arguments]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    try:
        if not listens(port, process):
            log.seek(0)
            raise RuntimeError(f"the server did not start: {log.read()[-2000:].decode()}")
        yield Server(f"http://127.0.0.1:{port}", connection)
    finally:
        connection.close()
        process.terminate()
        process.wait(30)


def listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server listens; False when it ended instead."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


def serve_product(port: int, workspace: Path, seconds: float, **further: object) -> None:
    """Serve the whole application, with further settings and a generator that only waits."""
    from zimage_cache import compose  # noqa: PLC0415 - not in the measuring process
    from zimage_cache.generator.fake import FakeGenerator  # noqa: PLC0415
    from zimage_cache.settings import load  # noqa: PLC0415
    from zimage_cache.web.app import create_app  # noqa: PLC0415
    from zimage_cache.web.server import run  # noqa: PLC0415

    settings, _ = load({"workspace": str(workspace), "preload": False, **further})
    compose.configure_logging(settings)
    service, running = compose.make_service(settings, FakeGenerator(seconds=seconds))
    run(create_app(service, running), compose.listen("127.0.0.1", port), open_to_all=False)


def serve_bare(port: int, answer: str) -> None:
    """Serve one route that reads the body and returns prepared bytes."""
    import uvicorn  # noqa: PLC0415 - not in the measuring process
    from fastapi import FastAPI, Request  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415

    app = FastAPI()

    @app.post("/generate")
    async def generate(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
