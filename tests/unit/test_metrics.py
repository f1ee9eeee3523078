"""`/metrics`: the counters of one process in Prometheus' own format."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import zimage_cache
from tests.factories import asked
from zimage_cache.entry import Source
from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message
from zimage_cache.request import CacheMode
from zimage_cache.service.statistics import ANSWERS, FIELD, Counts, Unrated
from zimage_cache.web.api.metrics import COUNTERS, add_metrics
from zimage_cache.web.errors import add_error_responses

pytestmark = pytest.mark.anyio
ASK = asked()
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
def scrape() -> Callable[..., Any]:
    """Give a function that asks a service for its metrics, through an application of its own."""

    async def scrape(service: Any, method: str = "GET", **headers: str) -> httpx.Response:
        app = FastAPI()
        add_error_responses(app)
        add_metrics(app, service)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.request(method, "/metrics", headers=headers)

    return scrape


def samples(text: str) -> dict[str, float]:
    """Read an answer with Prometheus' own parser: each sample by its name and labels."""
    return {
        ",".join([each.name, *(f"{name}={value}" for name, value in sorted(each.labels.items()))]): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_each_number_is_the_one_the_statistics_have(studio, scrape):
    """After pictures drawn, found, bypassed and failed, every sample equals the count it shows."""
    house = studio()
    service = house.service
    await service.render(ASK, n=2)
    await service.render(ASK)
    await service.render(ASK, cache=CacheMode.BYPASS)

    def burst(_recipe: object, _evaluation: int) -> None:
        raise OutOfMemory("as_said", text="too big")

    house.generator.before_step = burst
    with pytest.raises(OutOfMemory):
        await service.render(ASK, cache=CacheMode.REFRESH)
    await house.idle()
    seen = samples((await scrape(service)).text)
    counts = service.statistics.this_process().counts
    assert (counts.misses, counts.hits_memory, counts.bypasses, counts.failures) == (2, 1, 1, 1)
    for answer in ANSWERS:
        assert seen[f"zimage_requests_total,source={answer}"] == counts.of(answer)
    for name, _, field in COUNTERS:
        assert seen[f"{name}_total"] == getattr(counts, field), name
    for operation in ("read", "write", "index"):
        assert seen[f"zimage_cache_errors_total,operation={operation}"] == getattr(counts, f"{operation}_errors")
    held = service.cache.held()
    for tier in ("memory", "disk"):
        assert seen[f"zimage_cache_bytes,tier={tier}"] == getattr(held, f"{tier}_bytes") > 0
        assert seen[f"zimage_cache_max_bytes,tier={tier}"] == getattr(held, f"{tier}_max_bytes")
        assert seen[f"zimage_cache_entries,tier={tier}"] == getattr(held, f"{tier}_entries") == 2
    assert seen["zimage_queue_depth"] == 0


def test_no_count_is_forgotten():
    """Whatever the statistics count has a metric; a count added later makes this fail until it has one, too."""
    shown = {field for _, _, field in COUNTERS} | {*FIELD.values(), "read_errors", "write_errors", "index_errors"}
    assert shown == {each.name for each in fields(Counts)}


async def test_waits_are_a_histogram_of_what_was_delivered(studio, scrape):
    """Buckets are cumulative, end at +Inf with the number of delivered pictures, and the sum is theirs."""
    service = studio().service
    for seconds in (0.0005, 0.02, 400.0):
        service.statistics.delivered(Source.DISK, seconds=seconds, saved=0.0)
    service.statistics.lost(Unrated.FAILED, 5)
    text = (await scrape(service)).text
    seen = samples(text)
    name = "zimage_request_seconds"
    assert seen[f"{name}_bucket,le=0.001,source=disk"] == 1
    assert seen[f"{name}_bucket,le=0.025,source=disk"] == 2
    assert seen[f"{name}_bucket,le=300.0,source=disk"] == 2
    assert seen[f"{name}_bucket,le=+Inf,source=disk"] == seen[f"{name}_count,source=disk"] == 3
    assert seen[f"{name}_sum,source=disk"] == pytest.approx(400.0205)
    assert not any("source=failed" in sample for sample in seen if sample.startswith(name))


async def test_scraping_changes_nothing(studio, scrape):
    """Two scrapes of an idle server differ in nothing of ours."""
    house = studio()
    service = house.service
    await service.render(ASK)
    await house.idle()
    before, after = [samples((await scrape(service)).text).items() for _ in range(2)]
    assert {each for each in before if each[0].startswith("zimage")} <= set(after)


async def test_each_server_has_numbers_of_its_own(studio, scrape):
    """Two services in one process do not share a registry, and neither shows Python's global one."""
    first, second = studio().service, studio().service
    first.statistics.drawn(1.0)
    assert samples((await scrape(first)).text)["zimage_generations_total"] == 1
    other = samples((await scrape(second)).text)
    assert other["zimage_generations_total"] == 0
    assert not any(name.startswith("python_") for name in other)


async def test_the_victims_age_is_reported_once_there_was_one(studio, scrape):
    """How long the last victim had not been used is a gauge, absent before the first eviction."""
    house = studio()
    assert "zimage_cache_victim_age_seconds" not in samples((await scrape(house.service)).text)
    house.disk.victim_age = 12.5
    assert samples((await scrape(house.service)).text)["zimage_cache_victim_age_seconds"] == 12.5


async def test_both_text_formats_are_spoken(studio, scrape):
    """Prometheus' text by default, OpenMetrics where it is asked for; each says which it is."""
    service = studio().service
    plain = await scrape(service)
    assert plain.headers["content-type"] == TEXT
    modern = await scrape(service, Accept="application/openmetrics-text; version=1.0.0")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(modern.text)}
    assert {"zimage_requests", "zimage_request_seconds", "zimage_cache_bytes"} <= names


async def test_names_follow_the_rules(studio, scrape):
    """Counters end in _total, units are base units, and no sample has more than two labels."""
    families = list(text_string_to_metric_families((await scrape(studio().service)).text))
    for family in (family for family in families if family.name.startswith("zimage")):
        assert family.documentation
        assert not any(unit in family.name for unit in ("_ms", "_mb", "_percent"))
        for sample in family.samples:
            assert len(sample.labels) <= 2
            assert family.type != "counter" or sample.name.endswith("_total")


async def test_other_methods_are_refused(studio, scrape):
    """Metrics are read, nothing else."""
    answer = await scrape(studio().service, "POST")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_the_state_of_each_model_and_present_faults_are_shown(studio, scrape):
    """Alarms read them: one status of each model is 1, a fault is there while it lasts, and the version is a label."""
    house = studio()
    name = house.generator.profile.name
    house.generator.state = GeneratorState(Status.SLEEPING)
    house.service.faults.begin("cache_disk_full", Message("cache_disk_full"))
    seen = samples((await scrape(house.service)).text)
    statuses = {status: seen[f"zimage_model_status,model={name},status={status}"] for status in Status}
    assert statuses == {status: float(status is Status.SLEEPING) for status in Status}
    assert seen["zimage_trouble,code=cache_disk_full"] == 1
    assert seen[f"zimage_build_info,version={zimage_cache.__version__}"] == 1
    house.service.faults.end("cache_disk_full")
    assert not any(name.startswith("zimage_trouble") for name in samples((await scrape(house.service)).text))
