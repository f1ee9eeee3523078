"""Fifty clients of all kinds at one server, some of which leave: no wrong answer, and nothing grows."""

import asyncio
import base64
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.factories import present
from tests.waiting import wait_until

pytestmark = pytest.mark.stress
CLIENTS = 50
SEEDS = 500  # more than the cache keeps: pictures are evicted and drawn again
SMALL: dict[str, Any] = {"prompt": "soak", "width": 64, "height": 64, "steps": 2}
LEAVES = 0.1  # share of requests whose client does not wait for the answer


class Visitor:
    """One client: it sends requests of all kinds in a random order, and judges each answer."""

    def __init__(self, http: httpx.AsyncClient, rng: random.Random, told: Counter[str]) -> None:
        self.http, self.rng, self.told = http, rng, told

    async def visit(self, seconds: float) -> None:
        """Send requests for so long."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            *(self.generate, self.generate, self.generate, self.job, self.openai, self.a1111, self.formats),
            *(self.look_up, self.reads, self.mistakes),
        ]
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            kind, leaves = self.rng.choice(kinds), self.rng.random() < LEAVES
            try:
                async with asyncio.timeout(0.02 if leaves else 60):
                    await kind()
            except TimeoutError:
                assert leaves, f"{kind.__name__} hangs"
                self.told["left"] += 1

    def seed(self) -> int:
        return min(self.rng.randrange(SEEDS), self.rng.randrange(SEEDS))

    async def answer(self, method: str, path: str, allowed: int = 200, **options: Any) -> httpx.Response:
        """Send a request; anything but success, a full queue and the *allowed* status is an error."""
        answer = await self.http.request(method, path, **options)
        busy = answer.status_code == 503 and answer.json()["error"]["code"] == "queue_full"
        expected = answer.is_success or busy or answer.status_code == allowed
        assert expected, (method, path, answer.status_code, answer.text[:300])
        self.told["queue_full"] += busy
        return answer

    async def generate(self) -> None:
        seed, cache = self.seed(), self.rng.choice(["use"] * 8 + ["refresh", "bypass"])
        answer = await self.answer("POST", "/generate", json=SMALL | {"seed": seed, "cache": cache})
        if answer.is_success:
            (image,) = answer.json()["images"]
            assert image["seed"] == seed
            fetched = await self.answer("GET", image["image_url"], 404)
            if fetched.is_success:  # else evicted, or its time is over
                check_picture(fetched.content, seed)
                self.told["generate"] += 1

    async def job(self) -> None:
        seed = self.seed()
        answer = await self.answer("POST", "/jobs", json=SMALL | {"seed": seed, "n": 2})
        if not answer.is_success:
            return
        job = answer.json()
        if self.rng.random() < 0.3:
            await self.answer("DELETE", f"/jobs/{job['id']}", 404)
            return
        async with self.http.stream("GET", f"/jobs/{job['id']}/events") as events:
            states = [json.loads(line[5:]) async for line in events.aiter_lines() if line.startswith("data:")]
        assert states[-1]["state"] == "done", states[-1]
        assert [image["seed"] for image in states[-1]["images"]] == [seed, seed + 1]
        self.told["job"] += 1

    async def openai(self) -> None:
        seed, stream = self.seed(), self.rng.random() < 0.5
        ask = {"prompt": "soak", "size": "64x64", "steps": 2, "seed": seed, "stream": stream}
        answer = await self.answer("POST", "/v1/images/generations", json=ask)
        if answer.is_success:
            text = answer.text.partition("data: ")[2].partition("\n")[0] if stream else answer.text
            document = json.loads(text)
            file = document["b64_json"] if stream else document["data"][0]["b64_json"]
            check_picture(base64.b64decode(file), seed)
            self.told["openai"] += 1

    async def a1111(self) -> None:
        seed = self.seed()
        answer = await self.answer(
            "POST", "/sdapi/v1/txt2img", json={"prompt": "soak", "width": 64, "height": 64, "seed": seed}
        )
        if answer.is_success:
            document = answer.json()
            assert json.loads(document["info"])["seed"] == seed
            check_picture(base64.b64decode(document["images"][0]), seed)
            self.told["a1111"] += 1

    async def formats(self) -> None:
        known = (await self.answer("POST", "/lookup", json=SMALL | {"seed": self.seed()})).json()["images"][0]
        if known["cached"]:
            for suffix in (".jpg", ".webp", "/thumbnail.webp"):
                answer = await self.answer("GET", f"/images/{known['key']}{suffix}", 404)
                if answer.is_success:
                    opened(answer.content)
                    self.told["formats"] += 1

    async def look_up(self) -> None:
        answer = await self.answer("POST", "/lookup", json=SMALL | {"seed": self.seed(), "n": 8})
        assert len(answer.json()["images"]) == 8

    async def reads(self) -> None:
        path = self.rng.choice(["/health", "/models", "/history", "/cache/stats", "/metrics", "/v1/models", "/"])
        assert (await self.answer("GET", path)).is_success

    async def mistakes(self) -> None:
        bad: dict[str, Any] = self.rng.choice([{"seed": -2}, {"width": 65}, {"n": 99}, {"prompt": ""}, {"steps": "x"}])
        assert (await self.answer("POST", "/generate", 422, json=SMALL | bad)).status_code == 422


def opened(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def check_picture(file: bytes, seed: int) -> None:
    """Read from the file that it is the picture of *seed*."""
    assert json.loads(opened(file).info["zimage"])["seed"] == seed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve in a process of its own; give its address and the process."""
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, str(Path(__file__).with_name("soak_server.py")), str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        url = f"http://127.0.0.1:{int(present(process.stdout).readline())}"
        wait_until(lambda: is_ready(url), every=0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def is_ready(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/ready").is_success
    return False


async def visits(url: str, seconds: float, told: Counter[str], seed: int) -> None:
    limits = httpx.Limits(max_connections=2 * CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
        visitors = [Visitor(http, random.Random(f"{seed} {i}"), told) for i in range(CLIENTS)]
        await asyncio.gather(*(visitor.visit(seconds) for visitor in visitors))


def test_fifty_clients(server, rounds):
    """After a third of the time for getting warm, neither memory, open files nor threads grow; all runs end."""
    url, process = server
    seconds, told, seen = rounds(600), Counter[str](), []
    for third in range(3):
        asyncio.run(visits(url, seconds / 3, told, third))
        wait_until(lambda: idle(url), every=0.1)
        seen.append((process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))
    print(f"\n{seconds} s: {dict(told)}; MB, open files, threads: {seen}")  # noqa: T201 - evidence
    (warm, files, threads), _, (memory, files_then, threads_then) = seen
    assert memory <= 1.1 * warm + 10
    assert files_then <= files + 5
    assert threads_then <= threads + 2
    assert min(told[kind] for kind in ("generate", "job", "openai", "a1111", "formats", "left")) > seconds


def idle(url: str) -> bool:
    """Whether the server works on nothing any more."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return any(line.split() == ["zimage_queue_depth", "0.0"] for line in lines)
