"""Shows that a server's memory stops growing: sends new prompts for minutes, and prints its RSS after each minute.

The exact command of the figures in docs/reliability.md, which starts `python app.py` on a folder of its own:

    python scripts/bench_memory.py --minutes 30

Every request has a new prompt, so that it is drawn, stored, copied and counted. The bounds are small (32 MiB in
memory, 2,000 entries on disk), so that each of them is reached within the first minutes: anything that grows after that
is unbounded. Prints one line a minute: misses so far, RSS in MiB, KiB per miss of that minute, entries in memory and on
disk, threads, open files.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil

APP = Path(__file__).parents[1] / "app.py"
BOUNDS = ("--model", "demo", "--memory-max-bytes", "32MiB", "--cache-max-entries", "2000")


def main() -> None:
    """Start the server, send requests, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=4, help="how many ask at the same time")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace, server(Path(workspace)) as (process, port):
        measure(process, port, options.clients, options.minutes * 60, options.every)


def measure(process: psutil.Process, port: int, clients: int, seconds: float, every: float) -> None:
    """Send requests from *clients* threads for *seconds*, and print a line *every* so many seconds."""
    asked, stop = count(), threading.Event()
    threads = [threading.Thread(target=ask, args=(port, asked, stop)) for _ in range(clients)]
    print("minute  misses  RSS MiB  KiB/miss  in memory  on disk  threads  files")
    for thread in threads:
        thread.start()
    began, before = time.monotonic(), (0, rss(process))
    while (minutes := (time.monotonic() - began) / 60) * 60 < seconds:
        time.sleep(every)
        minutes = (time.monotonic() - began) / 60
        stats = get(port, "/cache/stats")
        now = int(stats["this_process"]["generated"]), rss(process)
        a_miss = (now[1] - before[1]) * 1024 / max(1, now[0] - before[0])
        held = stats["now"]
        print(
            f"{minutes:6.1f} {now[0]:7d} {now[1]:8.1f} {a_miss:9.1f} {held['memory_entries']:10d}"
            f" {held['disk_entries']:8d} {process.num_threads():8d} {process.num_fds():6d}",
            flush=True,
        )
        before = now
    stop.set()
    for thread in threads:
        thread.join()


def ask(port: int, asked: Iterator[int], stop: threading.Event) -> None:
    """Request one new picture after the other, with prompts of different lengths."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        while not stop.is_set():
            number = next(asked)
            prompt = f"picture {number} " + "of a red circle " * (number % 9)
            body = json.dumps({"prompt": prompt, "seed": number, "width": 64, "height": 64, "steps": 1})
            connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"{answer.status}: {text[:200]!r}")


def rss(process: psutil.Process) -> float:
    """Return the resident memory in MiB."""
    return float(process.memory_info().rss / 2**20)


def get(port: int, path: str) -> dict[str, Any]:
    """Fetch JSON."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


@contextmanager
def server(workspace: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Run the server on *workspace*; yield its process and port once the model is ready."""
    command = [sys.executable, str(APP), "--port", "0", "--workspace", str(workspace), *BOUNDS]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    with (workspace / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            line = next((line for line in process.stdout if "Running on" in line), "")
            found = re.search(r":(\d+)\s*$", line)
            if found is None:
                raise RuntimeError(f"the server did not start: {(workspace / 'log').read_text()[-2000:]}")
            port = int(found[1])
            while get(port, "/health")["status"] != "healthy":
                time.sleep(0.2)
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


if __name__ == "__main__":
    main()
