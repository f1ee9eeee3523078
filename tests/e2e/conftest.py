"""A real server over a real socket, in this process: its fake generator can be held, counted and broken."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI

from tests.waiting import wait_until
from zimage_cache.compose import listen
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.web.app import create_app
from zimage_cache.web.connections import ConnectionBounds
from zimage_cache.web.server import Server


class Raw(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class House:
    """A server under test: the web application of a *studio* (service under test) on a free port of 127.0.0.1."""

    def __init__(self, studio: Any, *, bounds: ConnectionBounds | None = None, **options: Any) -> None:
        self.studio = studio
        self._socket = listen("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        app = asyncio.run(self._app(**options))
        self.server = Server(app, self._socket, bounds or ConnectionBounds(), open_to_all=True, grace_seconds=1)
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],))
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        wait_until(lambda: self.server.started)

    async def _app(self, **options: Any) -> FastAPI:
        # In a running loop: outside of one, Gradio makes a dozen loops and closes none.
        return create_app(self.studio.service, contextlib.nullcontext, **options)

    def close(self) -> None:
        """Stop the service, then the server."""
        self.client.close()
        self.studio.close()
        self.stop()

    def stop(self) -> None:
        """Stop the server alone."""
        self.server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def generate(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """Ask for a small picture."""
        return self.client.post("/generate", json=picture(**fields), headers=headers)

    def image(self, **fields: Any) -> dict[str, Any]:
        """Ask for one small picture that must come, and give its part of the answer."""
        answer = self.generate(**fields)
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["images"]
        return image

    def raw(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Raw:
        """Send a request no client library has tidied up; all headers but Content-Length are as given."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in ({"Host": "localhost"} | (headers or {})).items():
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Raw(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def ask_and_hold(self, **fields: Any) -> HTTPConnection:
        """Send a request for a small picture and do not read the answer; closing the connection hangs up."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps(picture(**fields))
        connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
        return connection

    def stored(self) -> set[str]:
        """Wait until everything drawn is stored, and give the keys on disk."""
        assert self.studio.service.idle(60)
        return self.studio.stored


def picture(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4, "seed": 7, **fields}


@pytest.fixture
def serve(studio) -> Iterator[Callable[..., House]]:
    """Return a function that starts servers under test; options of the web by `web=`, others for the service."""
    made: list[House] = []

    def make(*args: Any, web: dict[str, Any] | None = None, **options: Any) -> House:
        made.append(House(studio(*args, **options), **(web or {})))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.fixture(scope="session")
def open_house(studio_class, tmp_path_factory) -> Callable[..., AbstractContextManager[House]]:
    """Give a maker of houses for several tests that leave them as they were."""

    @contextlib.contextmanager
    def open_(web: dict[str, Any] | None = None, **options: Any) -> Iterator[House]:
        studio = studio_class(tmp_path_factory.mktemp("house"), FakeGenerator(), **options)
        studio.start()
        house = House(studio, **(web or {}))
        yield house
        house.close()

    return open_


@pytest.fixture(scope="session")
def house(open_house) -> Iterator[House]:
    """One shared server under test, for tests that do not change its settings."""
    with open_house(web={"allowed_hosts": ["gallery.example"]}) as house:
        yield house


@pytest.fixture
def expect_error():
    """Give a check of our one error shape."""

    def check(answer: httpx.Response | Raw, status: int, code: str, field: str | None = None) -> str:
        raw = answer if isinstance(answer, Raw) else Raw(answer.status_code, dict(answer.headers), answer.content)
        assert raw.status == status, raw.body
        error = json.loads(raw.body)["error"]
        assert error["code"] == code
        assert error.get("field") == field
        assert error["request_id"] == raw.headers["x-request-id"]
        assert raw.headers["content-type"] == "application/json"
        assert raw.headers["x-content-type-options"] == "nosniff"
        assert "Traceback" not in error["message"]
        return error["message"]

    return check
