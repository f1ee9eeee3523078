"""`Server-Timing`: where the time of a request went, on answers of `/generate` and on jobs that are done."""

import re

import httpx
import pytest

from tests.waiting import wait_until
from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.fake import FakeGenerator

ASK = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4, "seed": 7}
DRAWN = ["cache", "queue", "draw", "encode"]


def stages(answer: httpx.Response) -> dict[str, float]:
    """Read the header by its grammar: names with a duration in milliseconds each."""
    header = answer.headers["server-timing"]
    assert re.fullmatch(r"[a-z]+;dur=\d+\.\d+(, [a-z]+;dur=\d+\.\d+)*", header)
    return {name: float(value) for name, _, value in (part.partition(";dur=") for part in header.split(", "))}


def test_a_drawn_picture_has_all_stages_and_a_hit_the_look_up_alone(serve):
    """The stages of a drawn picture are together what the request waited; a stored one was only looked up."""
    house = serve(generator=FakeGenerator(seconds=0.05))
    first, again = house.generate(), house.generate()
    times = stages(first)
    assert [*times] == DRAWN
    assert times["draw"] >= 50
    assert sum(times.values()) == pytest.approx(first.json()["images"][0]["seconds"] * 1000, abs=0.1)
    assert [*stages(again)] == ["cache"]


@pytest.mark.parametrize("fields", [{"cache": "bypass"}, {"cache": "refresh"}, {"seed": -1}, {"n": 3}])
def test_every_way_to_a_new_picture_has_all_stages(serve, fields):
    """Bypassed, refreshed, random and several pictures, and a picture as PNG."""
    house = serve()
    assert [*stages(house.generate(**fields))] == DRAWN


def test_the_answer_with_the_picture_itself_has_the_header(serve):
    """`Accept: image/png` takes another way out of the route."""
    house = serve()
    assert [*stages(house.generate({"Accept": "image/png"}))] == DRAWN


def test_a_job_has_it_once_it_is_done(serve, gate):
    """While it is drawn there is no header; the 202 of a stored picture has it at once."""
    hold = gate()
    house = serve(hold)
    opened = house.client.post("/jobs", json=ASK)
    hold.wait()
    path = opened.headers["location"]
    running = house.client.get(path)
    hold.open()
    wait_until(lambda: house.client.get(path).json()["state"] == "done")
    assert [*stages(house.client.get(path))] == DRAWN
    assert [*stages(house.client.post("/jobs", json=ASK))] == ["cache"]
    assert "server-timing" not in {*opened.headers, *running.headers}


def test_a_failure_has_none(serve):
    """There is no answer whose way could be told."""

    def burst(_recipe: object, _evaluation: int) -> None:
        raise OutOfMemory("as_said", text="too big")

    house = serve(burst)
    assert "server-timing" not in house.generate().headers
    path = house.client.post("/jobs", json=ASK).headers["location"]
    wait_until(lambda: house.client.get(path).json()["state"] == "failed")
    assert "server-timing" not in house.client.get(path).headers


def test_metrics_have_the_same_stages(serve):
    """Each delivered request is counted once in each of its stages, however many pictures it was for."""
    house = serve()
    house.generate(n=2)
    house.generate()
    text = house.client.get("/metrics").text
    counted = {name: int(float(n)) for name, n in re.findall(r'zimage_stage_seconds_count{stage="(\w+)"} (\S+)', text)}
    assert counted == {"cache": 2, "queue": 1, "draw": 1, "encode": 1}
