"""The same numbers in three views: `/cache/stats`, `/metrics` and `zimage cache stats`, after a mixed run."""

import json
import threading
from dataclasses import fields
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from tests.factories import authentication
from tests.waiting import wait_until
from zimage_cache.cli import main as cli
from zimage_cache.errors import OutOfMemory
from zimage_cache.request import Recipe
from zimage_cache.service.statistics import ANSWERS, FIELD, Counts
from zimage_cache.web.api.metrics import COUNTERS

NAMES = [each.name for each in fields(Counts)]
BURSTS = 666


def burst(recipe: Recipe, _evaluation: int) -> None:
    if recipe.seed == BURSTS:
        raise OutOfMemory("as_said", text="too big")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Give `zimage cache stats --json` for the workspace, its server listening on a port."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "OMP_WAIT_POLICY", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")

    def stats(port: int) -> dict[str, Any]:
        command = ["cache", "stats", "--json", "--workspace", str(tmp_path), "--port", str(port)]
        result = CliRunner().invoke(cli.main, command)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return stats


def measured(house) -> dict[str, float]:
    """Read `/metrics` back into the names of the statistics."""
    samples = {
        (each.name, *sorted(each.labels.values())): each.value
        for family in text_string_to_metric_families(house.client.get("/metrics").text)
        for each in family.samples
    }
    counts = {FIELD[answer]: samples["zimage_requests_total", answer] for answer in ANSWERS}
    counts |= {field: samples[f"{name}_total",] for name, _, field in COUNTERS}
    errors = {each: samples["zimage_cache_errors_total", each] for each in ("read", "write", "index")}
    return counts | {f"{operation}_errors": number for operation, number in errors.items()}


def mixed_run(house) -> dict[str, int]:
    """Ask in every way there is; give what must have been counted."""
    house.image(seed=1)  # a miss
    house.image(seed=1)  # memory
    house.generate(seed=1, n=3)  # memory, and two misses
    house.image(seed=-1)  # a drawn seed: a miss
    house.image(seed=1, cache="refresh")  # a miss
    house.image(seed=5, cache="bypass")
    house.image(seed=1, cache="only")  # memory
    assert house.generate(seed=9, cache="only").status_code == 404
    assert house.generate(seed=BURSTS).status_code == 507
    assert house.generate(seed=8, steps=99).status_code == 422
    house.client.post("/lookup", json={"prompt": "a red circle", "width": 64, "height": 64, "seed": 1})
    house.stored()
    return {"misses": 5, "hits_memory": 3, "bypasses": 1, "failures": 1, "generated": 6, "writes": 5}


def numbers(block: dict[str, Any]) -> dict[str, float]:
    return {name: block[name] for name in NAMES}


def test_three_views_agree_number_by_number(serve, told, tmp_path):
    """After a mixed run each count is what happened, in all views; the lifetime is this process's until a restart."""
    house = serve(burst, database=tmp_path / "zimage.sqlite3")
    expected = mixed_run(house)
    answer = house.client.get("/cache/stats").json()
    process = numbers(answer["this_process"])
    assert {name: n for name, n in process.items() if n and not name.startswith("gpu")} == expected
    assert process["gpu_seconds"] > 0
    assert process["gpu_seconds_saved"] > 0
    assert measured(house) == process
    assert numbers(answer["lifetime"]) == process
    terminal = told(house.port)
    assert terminal == house.client.get("/cache/stats").json() == answer
    assert answer["now"]["disk_entries"] == len(house.studio.stored) == 4
    assert answer["this_process"]["hit_ratio"] == pytest.approx(3 / 8)


def test_lifetime_goes_on_after_a_restart(serve, told, tmp_path):
    """A second server adds to what the first one did; without one, the command line prints the same sums."""
    database = tmp_path / "zimage.sqlite3"
    first = serve(burst, database=database)
    mixed_run(first)
    before = numbers(first.client.get("/cache/stats").json()["lifetime"])
    first.close()
    assert numbers(told(first.port)["lifetime"]) == before
    second = serve(burst, database=database)
    second.image(seed=1)
    answer = second.client.get("/cache/stats").json()
    process = numbers(answer["this_process"])
    assert {name: n for name, n in process.items() if n and not name.startswith("gpu")} == {"hits_disk": 1}
    assert measured(second) == process
    lifetime = numbers(answer["lifetime"])
    assert lifetime == {name: pytest.approx(before[name] + process[name]) for name in NAMES}
    second.close()
    alone = told(second.port)
    assert numbers(alone["lifetime"]) == lifetime
    assert alone["now"]["disk_entries"] == 4
    assert not any(numbers(alone["this_process"]).values())


def test_two_servers_on_one_workspace_add_up(serve, tmp_path):
    """Each server reports its own block, and both report the lifetime of both."""
    database = tmp_path / "zimage.sqlite3"
    one, other = serve(database=database), serve(database=database)
    one.image(seed=1)
    one.stored()
    other.image(seed=1)
    other.image(seed=2)
    other.stored()
    one.client.get("/cache/stats")
    other.client.get("/cache/stats")
    blocks = [house.client.get("/cache/stats").json() for house in (one, other)]
    assert [block["this_process"]["misses"] for block in blocks] == [1, 1]
    assert [block["lifetime"]["misses"] for block in blocks] == [2, 2]
    assert [block["lifetime"]["hits_disk"] for block in blocks] == [1, 1]


def test_simultaneous_requests_are_counted_one_by_one(serve, gate, tmp_path):
    """Eight who ask at once are one miss and seven shared, one picture drawn, and one hit for each who comes later."""
    house = serve(gate(), database=tmp_path / "zimage.sqlite3")
    askers = [threading.Thread(target=house.image) for _ in range(8)]
    for asker in askers:
        asker.start()
    wait_until(lambda: [run.waiters for run in house.studio.service.runs] == [8])
    house.studio.generator.before_step.open()
    for asker in askers:
        asker.join()
    house.stored()
    house.image()
    process = house.client.get("/cache/stats").json()["this_process"]
    assert {name: process[name] for name in ("misses", "shared", "generated", "hits_memory")} == {
        "misses": 1,
        "shared": 7,
        "generated": 1,
        "hits_memory": 1,
    }
    assert process["gpu_seconds_saved"] == pytest.approx(8 * process["gpu_seconds"])


def test_a_client_that_disconnects_is_counted_as_gone(serve, gate, tmp_path):
    """A client that closes its connection is neither hit nor miss nor failure."""
    house = serve(gate(), database=tmp_path / "zimage.sqlite3")
    with pytest.raises(Exception, match="timed out"):
        house.client.post("/generate", json={"prompt": "x", "width": 64, "height": 64, "seed": 1}, timeout=0.5)
    wait_until(lambda: house.studio.service.statistics.this_process().counts.abandoned == 1)
    process = numbers(house.client.get("/cache/stats").json()["this_process"])
    assert {name: n for name, n in process.items() if n} == {"abandoned": 1}


ROUTES = [
    ("GET", "/metrics"),
    ("GET", "/cache/stats"),
    ("GET", "/cache/entries"),
    ("POST", "/cache/prune"),
    ("DELETE", "/cache/" + "0" * 64),
    ("POST", "/cache/" + "0" * 64 + "/pin"),
]


def test_a_password_is_asked_for(serve, expect_error, tmp_path):
    """Statistics and clean-ups are for those who may come in."""
    house = serve(web={"authentication": authentication(tmp_path, "ann:secret")})
    for method, path in ROUTES:
        expect_error(house.client.request(method, path), 401, "unauthorized")
        assert house.client.request(method, path, auth=("ann", "secret")).status_code in {200, 404, 415}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_sites_change_nothing(house, expect_error, method, path):
    """What is not a mere read is refused to pages of other origins."""
    answer = house.client.request(method, path, headers={"Origin": "http://evil.example"})
    if method == "GET":
        assert answer.status_code == 200
    else:
        expect_error(answer, 403, "forbidden_origin")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_strange_hosts_are_refused(house, expect_error, method, path):
    """A name this server does not answer to gets nothing, against rebinding."""
    answer = house.client.request(method, path, headers={"Host": "evil.example"})
    expect_error(answer, 403, "forbidden")


def test_errors_have_the_one_shape(house, expect_error):
    """404, 405 and 422 of these routes have the common form, also where the page would answer otherwise."""
    expect_error(house.client.delete("/cache/nobody"), 404, "not_found")
    expect_error(house.client.delete("/cache/stats"), 405, "method_not_allowed")
    expect_error(house.client.post("/metrics"), 405, "method_not_allowed")
    expect_error(house.client.get("/cache/entries?limit=0"), 422, "invalid_request", "limit")
    expect_error(house.client.post("/cache/prune", json={"to_bytes": "x"}), 422, "invalid_request", "to_bytes")


def test_openapi_tells_them_all(house):
    """The published description has every route of the cache, and the metrics."""
    paths = house.client.get("/openapi.json").json()["paths"]
    assert {path for path in paths if path.startswith(("/cache", "/metrics"))} == {
        "/cache/stats",
        "/cache/entries",
        "/cache/prune",
        "/cache/{key}",
        "/cache/{key}/pin",
        "/cache/{key}/unpin",
        "/metrics",
    }
