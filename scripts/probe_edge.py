#!/usr/bin/env python3
"""Attacks a real server in several ways, one after the other, and measures the effect on a regular client.

    python scripts/probe_edge.py            # starts `app.py` with the demo model in a temporary folder
    python scripts/probe_edge.py --only silent --seconds 20

Each row: the latency of hits during the attack, the server's highest memory, the number of lines it logged. The
attacker is a separate process; all connections stay on 127.0.0.1. docs/reliability.md has the figures of one run.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import socket
import statistics
import string
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
ASK: Final = json.dumps({"prompt": "a red circle", "seed": 7, "width": 128, "height": 128, "steps": 2})
JSON: Final = {"Content-Type": "application/json"}
PNG_HEAD: Final = b"POST /png-info HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
MIB: Final = 2**20
PATIENCE: Final = 60.0


def connected(port: int) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a request over a new connection; return the status of its answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10 * PATIENCE)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Make a PNG with these chunks and no pixels."""
    every = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), *chunks, (b"IDAT", b"")]
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def repeatedly(work: Callable[[], object], beside: int = 1) -> None:
    """Call *work* repeatedly, in *beside* threads, until this process is ended."""

    def work_on() -> None:
        while True:
            with suppress(OSError):
                work()

    threads = [threading.Thread(target=work_on) for _ in range(beside)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def holding(port: int, number: int, said: bytes, more: bytes = b"") -> None:
    """Hold connections open: send *said* on each, then *more* every second; connections that end are reopened."""
    held: list[socket.socket] = []
    while True:
        with suppress(OSError):
            while len(held) < number:
                held.append(connected(port))
                held[-1].sendall(said)
        time.sleep(1)
        alive = []
        for connection in held:
            with suppress(OSError):
                connection.sendall(more)
                connection.settimeout(0)
                with suppress(BlockingIOError):
                    if connection.recv(65536) == b"":
                        raise ConnectionResetError
                connection.settimeout(PATIENCE)
                alive.append(connection)
        held = alive


def repeated_names(port: int) -> None:
    """Send JSON with 125,000 names, the last of them twice."""
    names = ("".join(each) for each in itertools.product(string.ascii_letters + string.digits, repeat=3))
    body = ("{" + ",".join(f'"{name}":1' for name in itertools.islice(names, 125_000)) + ',"!":1,"!":1}').encode()
    repeatedly(lambda: post(port, "/lookup", body, JSON))


def many_brackets(port: int) -> None:
    """Send JSON of a third of a million lists."""
    repeatedly(lambda: post(port, "/lookup", b"[" + b"[]," * 340_000 + b"[]]", JSON))


def long_settings(port: int) -> None:
    """Send a PNG whose text is a word of 19 MiB."""
    file = png((b"tEXt", b"parameters\0" + b"x\n" + b"a" * 19 * MIB))
    repeatedly(lambda: post(port, "/png-info", file, {"Content-Type": "image/png"}), 4)


def compressed_settings(port: int) -> None:
    """Send a PNG of 4 KiB whose text is 1 MB."""
    file = png((b"zTXt", b"parameters\0\0" + zlib.compress(b"x\n" + b"Steps: 1, " * 100_000)))
    repeatedly(lambda: post(port, "/png-info", file, {"Content-Type": "image/png"}), 4)


def held_uploads(port: int) -> None:
    """Hold 120 uploads of 19 MiB each, a byte before their end."""
    holding(port, 120, PNG_HEAD + b"Content-Length: 20000000\r\n\r\n" + b"x" * 19 * MIB, b"x")


def silent(port: int) -> None:
    """Hold 1,200 connections that send nothing."""
    holding(port, 1200, b"")


def half_heads(port: int) -> None:
    """Hold 400 requests whose heads never end."""
    holding(port, 400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"x")


def half_bodies(port: int) -> None:
    """Hold 400 requests whose bodies never end."""
    holding(port, 400, PNG_HEAD + b"Content-Length: 1000\r\n\r\n", b"x")


def tiny_pieces(port: int) -> None:
    """Send bodies in pieces of one byte."""

    def send() -> None:
        with connected(port) as connection:
            connection.sendall(PNG_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000)
            connection.recv(4096)

    repeatedly(send)


def unread_answers(port: int) -> None:
    """Request 30,000 long answers, and read none."""
    holding(port, 300, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)


def gradio_sessions(port: int) -> None:
    """Create sessions of an unused route of Gradio."""
    numbers = itertools.count()

    def join() -> None:
        body = json.dumps({"session_hash": f"s{next(numbers)}", "component_id": 1, "data": [], "fn_name": "x"})
        post(port, "/gradio_api/component_server", body.encode(), JSON)

    repeatedly(join, 4)


def no_http(port: int) -> None:
    """Send bytes that are not HTTP."""

    def send() -> None:
        with connected(port) as connection:
            connection.sendall(b"\0\r\n\r\n")
            connection.recv(4096)

    repeatedly(send)


def nothing(_port: int) -> None:
    """Do nothing, for comparison."""
    time.sleep(10 * PATIENCE)


ATTACKS: Final[dict[str, Callable[[int], None]]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(nothing, repeated_names, many_brackets, long_settings, compressed_settings, held_uploads, silent),
        *(half_heads, half_bodies, tiny_pieces, unread_answers, gradio_sessions, no_http),
    )
}


@contextmanager
def server(open_files: int) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """Start the server; yield its process, its port and its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        command = [sys.executable, "app.py", "--workspace", folder, "--port", "0", "--model", "demo", "--device", "cpu"]
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files)),  # noqa: PLW1509
            )
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            port = int(process.stdout.readline().strip().rpartition(":")[2])
            while post(port, "/generate", ASK.encode(), JSON) != 200:  # noqa: PLR2004 - it loads
                time.sleep(0.5)
            yield process, port, log
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def hits(port: int, until: float) -> list[float]:
    """Request a stored picture repeatedly over one connection; return the milliseconds of each request."""
    waits = []
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    while time.monotonic() < until:
        begun = time.perf_counter()
        try:
            connection.request("POST", "/generate", ASK, JSON)
            connection.getresponse().read()
        except OSError:
            connection.close()
        waits.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.01)
    connection.close()
    return waits


def measure(name: str, seconds: float, open_files: int) -> str:
    """Attack a new server for *seconds*, and return a row of its latency, memory and log lines."""
    with server(open_files) as (process, port, log):
        watched, most = psutil.Process(process.pid), 0
        before, lines = watched.memory_info().rss, log.read_text().count("\n")
        attacker = multiprocessing.Process(target=ATTACKS[name], args=(port,), daemon=True)
        attacker.start()
        end = time.monotonic() + seconds
        waits: list[float] = []
        asking = threading.Thread(target=lambda: waits.extend(hits(port, end)))
        asking.start()
        while asking.is_alive():
            most = max(most, watched.memory_info().rss)
            asking.join(0.2)
        attacker.kill()
        attacker.join()
        logged = log.read_text().count("\n") - lines - len(waits)  # each hit has its own line
    percentiles = statistics.quantiles(waits, n=100, method="inclusive") if len(waits) > 1 else [float("nan")] * 99
    return (
        f"| {name} | {len(waits)} | {percentiles[49]:.1f} | {percentiles[98]:.1f} | {max(waits, default=0):.0f} | "
        f"{before / MIB:.0f} → {most / MIB:.0f} | {max(0, logged)} |"
    )


def main() -> None:
    """Print a table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ATTACKS, action="append", help="this attack alone; may be repeated")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each attack lasts (default: 20)")
    parser.add_argument("--open-files", type=int, default=1024, help="the server's bound on them (default: 1024)")
    given = parser.parse_args()
    os.environ.pop("ZIMAGE_AUTH", None)
    print("| attack | hits | p50 ms | p99 ms | max ms | server MiB | lines logged |\n|---|---|---|---|---|---|---|")
    for name in given.only or ATTACKS:
        print(measure(name, given.seconds, given.open_files), flush=True)


if __name__ == "__main__":
    main()
