"""`scripts/health_check.sh` against a server that answers as a test says."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "health_check.sh"


class Server:
    """As much of the HTTP contract as the health check asks for, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.health = (200, '{"status": "healthy", "detail": null}')
        self.answer: tuple[int, str] | None = None
        self.cached = True
        self.requests: list[dict[str, Any]] = []
        self.credentials: list[str | None] = []

    def generate(self, request: dict[str, Any]) -> tuple[int, str]:
        self.requests.append(request)
        known = self.cached and request["cache"] == "use" and len(self.requests) > 1
        source = "memory" if known else "generated"
        return self.answer or (200, json.dumps({"images": [{"source": source, "cached": known}], "duration": 0.1}))


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(served.health)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(served.generate(json.loads(body)))

        def reply(self, answer: tuple[int, str]) -> None:
            served.credentials.append(self.headers["Authorization"])
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        served.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        listening.shutdown()
        thread.join()


def check(url: str | None, **variables: str) -> tuple[int, str]:
    """Exit status of the script and everything that it printed."""
    done = subprocess.run(
        ["bash", SCRIPT, *([] if url is None else [url])],
        check=False,
        env={"PATH": os.environ["PATH"], "ZIMAGE_VENV": sys.prefix, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
    )
    return done.returncode, done.stdout


def test_healthy(server: Server) -> None:
    """A healthy server: warmed, then drawn anew, then answered from the cache; both times and their ratio."""
    status, output = check(server.url + "/")

    assert status == 0
    assert re.fullmatch(r"\S+ is healthy\ncold +[\d.]+ s\ncached +[\d.]+ s \(memory\)\nratio +[\d.]+\n", output)
    assert [request["cache"] for request in server.requests] == ["use", "bypass", "use"]
    assert len({json.dumps({**request, "cache": ""}, sort_keys=True) for request in server.requests}) == 1
    assert {(request["width"], request["height"]) for request in server.requests} == {(256, 256)}
    assert server.requests[0]["seed"] >= 0


def test_the_server_of_the_workspace(server: Server, tmp_path: Path) -> None:
    """Without an address it checks a server whose file is in the workspace, past files of servers that are gone.

    Only loopback addresses count, as they are written there: the password is sent to them.
    """
    folder = tmp_path / "servers"
    folder.mkdir()
    (folder / "0.json").write_text(json.dumps({"url": server.url.replace("127.0.0.1", "localhost")}))
    (folder / "1.json").write_text('{"url": "http://127.0.0.1:1"}')
    (folder / "2.json").write_text("no JSON")
    (folder / "3.json").write_text(json.dumps({"url": server.url}))

    status, output = check(None, ZIMAGE_WORKSPACE=str(tmp_path))
    assert (status, output.splitlines()[0]) == (0, f"{server.url} is healthy")


def test_no_server_of_the_workspace(tmp_path: Path) -> None:
    """Without any, the usual port is named."""
    status, output = check(None, ZIMAGE_WORKSPACE=str(tmp_path))
    assert status in {0, 1}
    assert "http://127.0.0.1:7860" in output


@pytest.mark.parametrize(
    ("code", "health", "reason"),
    [
        (200, '{"status": "error", "detail": "out of disk"}', "out of disk"),
        (200, '{"status": "loading", "detail": "weights, 40 %"}', "loading, weights, 40 %"),
        (200, '{"status": null}', "no JSON with a status"),
        (200, "<html>another program</html>", "no JSON with a status"),
        (500, '{"error": {"message": "broken"}}', "500"),
    ],
)
def test_unhealthy(server: Server, code: int, health: str, reason: str) -> None:
    """An unhealthy, loading or foreign server is refused with its reason and asked for no picture."""
    server.health = (code, health)

    status, output = check(server.url)

    assert (status, output.count("\n")) == (1, 1)
    assert reason in output
    assert server.requests == []


def test_unreachable() -> None:
    """Where no server listens, the error states that."""
    status, output = check("http://127.0.0.1:1")

    assert (status, output.count("\n")) == (1, 1)
    assert output.startswith("http://127.0.0.1:1 cannot be reached: ")


def test_generation_fails(server: Server) -> None:
    """A server that is healthy by its own account but draws nothing is not: status and message are printed."""
    server.answer = (507, '{"error": {"code": "out_of_memory", "message": "8 GB are too few"}}')

    status, output = check(server.url)

    assert status == 1
    assert "/generate answers 507, 8 GB are too few" in output.splitlines()[-1]


def test_cache_off(server: Server) -> None:
    """A server without a cache is healthy; it is said, and no ratio made up."""
    server.cached = False

    status, output = check(server.url)

    assert status == 0
    assert "ratio" not in output
    assert "switched off" in output


def test_password(server: Server) -> None:
    """ZIMAGE_AUTH is sent with every request, quotes and backslashes included."""
    check(server.url, ZIMAGE_AUTH='me:pass"w\\ord')

    assert server.credentials == ["Basic bWU6cGFzcyJ3XG9yZA=="] * 4


def test_proxy_is_not_asked(server: Server) -> None:
    """A proxy in the environment is not asked for a server on this machine."""
    assert check(server.url, http_proxy="http://127.0.0.1:1")[0] == 0
