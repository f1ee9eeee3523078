"""Commands beside servers in processes of their own: they find those of their workspace, on whatever port."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from tests.waiting import replace_time, wait_until
from zimage_cache.cli import main as cli
from zimage_cache.cli import reached
from zimage_cache.cli.client import Client

ROOT = Path(__file__).resolve().parents[2]
ASK = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 1}


class Started:
    """A server of a process of its own."""

    def __init__(self, workspace: Path, *flags: str) -> None:
        command = [sys.executable, "app.py", "--workspace", str(workspace), "--device", "cpu", "--model", "demo"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_")}
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--no-warmup", *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = line.partition("URL: ")[2].strip()
        assert self.url, line

    def draw(self, seed: int, **options: Any) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options) as client:
            wait_until(lambda: client.get("/ready").status_code == 200, every=0.1)
            [image] = client.post("/generate", json=ASK | {"seed": seed}).raise_for_status().json()["images"]
            # It is stored after it was answered.
            wait_until(lambda: client.get(f"/cache/{image['key']}").status_code == 200, every=0.1)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path) -> None:
    """Run commands in an empty folder and environment, with nothing on the usual port."""
    for variable in [*filter(lambda name: name.startswith("ZIMAGE_"), os.environ), "DISABLE_CACHE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ZIMAGE_PORT", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Started]]:
    """Give a starter of servers on the workspace `w`."""
    with ExitStack() as stack:

        def started(*flags: str) -> Started:
            server = Started(tmp_path / "w", *flags)
            stack.callback(server.end)
            return server

        yield started


def zimage(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, [*arguments, "--workspace", "w"])


def stats(*flags: str) -> dict:
    result = zimage("cache", "stats", "--json", *flags)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def asked(*flags: str) -> list[str]:
    """Return the addresses of the servers whose numbers `cache stats` tells."""
    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        overview = Client.overview

        def recorded(client: Client) -> dict[str, Any]:
            answer = overview(client)
            found.append(client.url)
            return answer

        patch.setattr(Client, "overview", recorded)
        stats(*flags)
    return found


def test_one_server(start, tmp_path):
    """From its first line to its end there is a file, and commands ask the server: no number is old or missing."""
    server = start("--host", "0.0.0.0")
    [path] = (tmp_path / "w" / "servers").iterdir()
    document = json.loads(path.read_text())
    assert path.name == f"{server.process.pid}.json"
    assert (document["url"], document["host"], document["pid"]) == (server.url, "0.0.0.0", server.process.pid)

    server.draw(1)
    server.draw(1)
    answer = stats()
    assert answer == httpx.get(f"{server.url}/cache/stats", trust_env=False).json()
    for block in (answer["lifetime"], answer["this_process"]):
        assert (block["misses"], block["hits_memory"], block["generated"]) == (1, 1, 1)
    assert answer["now"]["memory_entries"] == 1
    assert re.search(r"^ +lifetime +this process$", zimage("cache", "stats").stdout, re.MULTILINE)

    drawn = json.loads(zimage("generate", "--prompt", "a red circle", "--output", "x.jpg", "--json").stdout)
    assert stats()["this_process"]["misses"] == 2
    assert (tmp_path / "x.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert "image_url" in drawn["images"][0]
    assert zimage("model", "unload", "demo").stdout == "demo: sleeping\n"
    assert zimage("warmup", "--wait", "30").exit_code == 0

    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    assert list((tmp_path / "w" / "servers").iterdir()) == []
    assert "no server runs on this workspace" in zimage("cache", "stats").stdout
    assert stats()["lifetime"]["misses"] == 2


def test_several_servers_and_one_that_is_killed(start, tmp_path):
    """Each is asked and shown, the sums are those of all; a killed one is forgotten, its file removed."""
    first, second = start(), start()
    first.draw(1)
    second.draw(2)
    second.draw(2)
    answer = stats()
    assert {each["url"]: each["this_process"]["misses"] for each in answer["servers"]} == {first.url: 1, second.url: 1}
    assert (answer["this_process"]["misses"], answer["lifetime"]["misses"]) == (2, 2)
    assert answer["this_process"]["hit_ratio"] == pytest.approx(1 / 3)
    assert answer["now"]["memory_entries"] == 2
    heads = zimage("cache", "stats").stdout
    assert all(each.url.removeprefix("http://") in heads for each in (first, second))
    assert asked("--port", first.url.rpartition(":")[2]) == [first.url]
    told = zimage("model", "unload", "demo")
    assert f"several servers run on this workspace; telling the one at {second.url}" in told.stderr

    second.end()
    assert asked() == [first.url]
    assert [path.stem for path in (tmp_path / "w" / "servers").iterdir()] == [str(first.process.pid)]


def test_a_server_that_hangs_holds_nothing_up(start, monkeypatch):
    """A server that does not answer is told in one line; the files say the rest."""
    monkeypatch.setattr("zimage_cache.cli.client._OVERVIEW_SECONDS", 0.3)
    monkeypatch.setattr("zimage_cache.cli.client._CONNECT_SECONDS", 0.3)
    server = start()
    server.draw(1)
    server.process.send_signal(signal.SIGSTOP)

    result = zimage("cache", "stats", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["now"]["disk_entries"] == 1
    assert result.stderr == f"zimage: {server.url}: timed out; without its memory and its last seconds\n"
    server.process.send_signal(signal.SIGCONT)


def test_a_server_with_a_password(start):
    """Without the password the files are told, and one line says so; with it the server is asked."""
    server = start("--auth", "ann:pass")
    server.draw(1, auth=("ann", "pass"))
    server.draw(1, auth=("ann", "pass"))

    result = zimage("cache", "stats", "--json")
    assert (result.exit_code, json.loads(result.stdout)["this_process"]["misses"]) == (0, 0)
    [line] = result.stderr.splitlines()
    assert line.startswith(
        f"zimage: {server.url}: this server asks for a user name and a password; sign in with --auth"
    )
    assert zimage("cache", "stats", "--auth", "ann:wrong").stderr.startswith("zimage: ")
    signed_in = stats("--auth", "ann:pass")
    assert (signed_in["this_process"]["hits_memory"], signed_in["lifetime"]["hits_memory"]) == (1, 1)


def test_a_folder_that_cannot_be_written(start, tmp_path):
    """A server that cannot leave its address runs, and is found by the port."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "servers").write_text("in the way")
    server = start()
    assert httpx.get(f"{server.url}/health", timeout=60, trust_env=False).status_code == 200
    assert asked() == []
    assert asked("--port", server.url.rpartition(":")[2]) == [server.url]


def test_a_server_is_waited_for_on_any_port(start, monkeypatch):
    """`warmup` may start before the server, and need not know its port."""
    sleep, started = time.sleep, list[Started]()

    def start_first(seconds: float) -> None:
        if started:
            sleep(seconds)
        else:
            started.append(start())

    replace_time(monkeypatch, [reached], sleep=start_first)
    result = zimage("warmup", "--wait", "120")
    assert result.exit_code == 0, result.output
    assert len(started) == 1


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
def test_a_server_on_all_addresses_of_ipv6(start):
    """It is asked at this machine's own."""
    server = start("--host", "::")
    server.draw(1)
    port = server.url.rpartition(":")[2]
    assert asked() == [f"http://[::1]:{port}"]
