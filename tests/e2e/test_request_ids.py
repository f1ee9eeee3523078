"""The id of a request in the JSON log lines of all that was done for it, in whichever thread that was."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.waiting import wait_until
from zimage_cache.errors import GeneratorError
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.history import History
from zimage_cache.log_lines import JsonLines, LimitedHandler
from zimage_cache.request_id import RequestIdFilter

ID = {"X-Request-Id": "the-first"}
_log = logging.getLogger("zimage_cache.generator.somewhere")


@pytest.fixture
def lines() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Log as a server with `--log-format json` does; return the lines whose message begins with a word."""
    stream = io.StringIO()
    handler = LimitedHandler(stream)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(JsonLines())
    log = logging.getLogger("zimage_cache")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield lambda word: [
        line for line in map(json.loads, stream.getvalue().splitlines()) if line["message"].startswith(word)
    ]
    log.setLevel(level)
    log.removeHandler(handler)


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["request_id"] for line in lines]


def test_a_run_that_fails_in_the_drawing_thread(serve, lines):
    """The traceback of a bug in a generator has the id that its client was told."""

    def burst(_recipe: object, _evaluation: int) -> None:
        raise ZeroDivisionError

    house = serve(burst)
    answer = house.generate(headers=ID)
    assert answer.json()["error"]["request_id"] == "the-first"
    (line,) = lines("run_failed")
    assert line["request_id"] == "the-first"
    assert "ZeroDivisionError" in line["traceback"]


def test_a_warning_while_a_picture_is_drawn(serve, lines):
    """A line from the middle of a picture has the id of its request, and one of the next picture has the next id."""
    house = serve(lambda _recipe, _evaluation: _log.warning("slow_step"))
    for name in ("first", "second"):
        house.generate(headers={"X-Request-Id": name}, steps=2, prompt=name)
    assert ids(lines("slow_step")) == ["first", "first", "second", "second"]


def test_a_run_that_moves_to_another_device(serve, lines):
    """The line about a device that broke, and those of the device that draws instead, have the id."""
    first, second = FakeGenerator(), FakeGenerator()

    def broken(_recipe: object, _evaluation: int) -> None:
        first.state = GeneratorState(Status.ERROR)
        raise GeneratorError("failed_unexpectedly")

    first.before_step = broken
    second.before_step = lambda _recipe, _evaluation: _log.warning("drawn_instead")
    second.state = GeneratorState(Status.SLEEPING)
    house = serve(generator=first, peers={first.profile.name: [second]})
    assert house.generate(headers=ID, steps=1).status_code == 200
    assert ids(lines("run_moved") + lines("drawn_instead")) == ["the-first", "the-first"]


def test_what_is_stored_in_the_encoder_thread(serve, lines, monkeypatch):
    """A warning of the history about the copy of a picture has the id of the request that it was drawn for."""
    monkeypatch.setattr(History, "add", lambda *_: _log.warning("copy_failed %s", threading.current_thread().name))
    house = serve()
    house.generate(headers=ID)
    assert house.studio.service.idle(60)
    (line,) = lines("copy_failed")
    assert line["request_id"] == "the-first"
    assert "encoder" in line["message"]


def test_a_damaged_file_that_a_reader_thread_finds(serve, lines):
    """The line about a damaged file has the id of the request that met it, not of the one that drew the picture."""
    house = serve()
    (key,) = {house.image()["key"]} & house.stored()
    house.studio.memory.clear()
    (house.studio.root / "cache" / "images" / f"{key}.png").write_bytes(b"damaged")
    house.generate(headers={"X-Request-Id": "finder"})
    (line,) = lines("cache trouble [corrupt]")
    assert line["request_id"] == "finder"


def test_a_job_and_the_request_that_joined_its_run(serve, lines, gate):
    """A run's lines have the id of the request that began it; the line of each request has its own."""
    hold = gate()

    def held(recipe: Any, evaluation: int) -> None:
        hold(recipe, evaluation)
        _log.warning("step")

    house = serve(held)
    ask = {"prompt": "a", "seed": 1, "width": 64, "height": 64, "steps": 1}
    house.client.post("/jobs", json=ask, headers=ID)
    hold.wait()
    connection = house.ask_and_hold(**ask)
    wait_until(lambda: house.studio.service.runs[0].waiters == 2)
    hold.open()
    connection.getresponse().read()
    connection.close()
    wait_until(lambda: len(lines("picture")) == 2)
    assert ids(lines("step")) == ["the-first"]
    assert ids(lines("picture")).count("the-first") == 1


def test_a_load_that_a_request_orders(serve, lines):
    """The line about a load that failed has the id of the request that ordered it."""

    class Unloadable(FakeGenerator):
        def load(self) -> None:
            raise GeneratorError("failed_unexpectedly")

    generator = Unloadable(state=GeneratorState(Status.SLEEPING))
    house = serve(generator=generator)
    house.client.post(f"/models/{generator.profile.name}/load", headers=ID)
    wait_until(lambda: lines("load_failed"))
    assert ids(lines("load_failed")) == ["the-first"]
