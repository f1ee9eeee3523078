"""The first start of a real server whose model must be fetched: it listens, reports progress, and then draws."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.waiting import wait_until
from zimage_cache.models.store import demo_folder

ROOT = Path(__file__).parents[2]
BIG = "transformer/diffusion_pytorch_model.safetensors"
ASK = {"prompt": "a red circle", "width": 256, "height": 256, "steps": 1, "seed": 1}


class Server:
    """`python app.py` in a process of its own, on a workspace of its own."""

    def __init__(self, place: Path, hub_url: str, model: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_", "HF_", "MODEL"))
        }
        environ |= {
            "PYTHONPATH": str(ROOT),
            "HOME": str(place / "home"),
            "MODELSCOPE_ENDPOINT": hub_url,
            "HF_ENDPOINT": hub_url,
            "OMP_NUM_THREADS": "1",
        }
        flags = ["--port", str(port), "--workspace", str(place / "w"), "--model", model, "--device", "cpu"]
        self.log = (place / "server.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), *flags], env=environ, stdout=self.log, stderr=self.log
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def health(self) -> dict:
        try:
            return self.client.get("/health").json()
        except httpx.TransportError:
            return {"status": "not listening", "phase": None, "share": None}

    def until(self, condition: Callable[[dict], bool]) -> dict:
        """Wait until *condition* holds of what `/health` says, as long as the server lives, and return that."""

        def look() -> dict:
            assert self.process.poll() is None, Path(self.log.name).read_text()
            health = self.health()
            return health if condition(health) else {}

        return wait_until(look, every=0.1)

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.client.close()
            self.log.close()


@pytest.fixture
def start(tmp_path, serving, repo, trouble):
    """Give a hub that sends half of the largest file and then nothing, and a server that starts to fetch from it."""
    folder = tmp_path / "offered"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    with serving(folder) as hub:
        hub.troubles[BIG] = trouble(hold=True)
        server = Server(tmp_path, hub.url, repo)
        yield server, hub
        hub.let_go.set()
        if server.process.poll() is None:
            server.stop()


def test_a_server_tells_how_far_its_download_is_and_then_draws(start):
    """Meanwhile `/health` shows bytes of bytes, `/ready` says no, and a request gets `loading`."""
    server, hub = start
    health = server.until(lambda h: h["phase"] == "fetching the model" and (h["share"] or 0) > 0.2)
    assert health["status"] == "loading"
    assert health["share"] < 1
    assert server.client.get("/ready").status_code == 503
    refused = server.client.post("/generate", json=ASK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
    hub.troubles.clear()
    hub.let_go.set()
    server.until(lambda h: h["status"] == "healthy")
    answer = server.client.post("/generate", json=ASK)
    assert answer.status_code == 200, answer.text
    (model, demo) = server.client.get("/models").json()["models"]
    assert (model["default"], model["resident"], demo["name"], demo["resident"]) == (True, True, "demo", False)
    assert server.stop() in {0, -15}


def test_a_server_that_fetches_stops_on_a_signal(start):
    """Neither the server nor its download survive an order to stop, and what has arrived is kept."""
    server, _hub = start
    server.until(lambda h: (h["share"] or 0) > 0.2)
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.stop()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert list((Path(server.log.name).parent / "w" / "model_cache").rglob("*.incomplete"))
