"""`/metrics`: the statistics of this process in Prometheus's format; counted elsewhere."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import accumulate
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.responses import Response

import zimage_cache
from zimage_cache.generator.protocol import Status
from zimage_cache.service.service import ImageService
from zimage_cache.service.statistics import ANSWERS, BUCKETS, Counts, Unrated, Waits
from zimage_cache.web.api.routes import add_routes

# The counters without labels: the metric, what it counts, and the field that it shows.
COUNTERS: Final = tuple(
    (each.metadata["metric"], each.metadata["help"], each.name) for each in fields(Counts) if each.metadata["metric"]
)
_UNDELIVERED: Final = frozenset({Unrated.FAILED, Unrated.ABANDONED})
_ENDINGS: Final = [*map(floatToGoString, BUCKETS), "+Inf"]


def add_metrics(app: FastAPI, service: ImageService) -> None:
    """Add `GET /metrics` to *app*."""
    router = APIRouter()
    registry = CollectorRegistry()
    registry.register(_ServiceCollector(service))
    ProcessCollector(registry=registry)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics(request: Request) -> Response:
        """Return the statistics of this process since its start, in Prometheus's text format."""
        encoder, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), headers={"Content-Type": media_type})

    add_routes(app, router)


class _ServiceCollector(Collector):
    """Reads the statistics from the service at each request."""

    def __init__(self, service: ImageService) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        counts, waits = self._service.statistics.snapshot()
        yield _requests(counts)
        delivered = [(answer, each) for answer, each in waits.items() if answer not in _UNDELIVERED]
        yield _histogram("zimage_request_seconds", "How long delivered pictures were waited for.", "source", delivered)
        stages = self._service.statistics.stages()
        yield _histogram(
            "zimage_stage_seconds", "How long delivered requests spent in each stage.", "stage", stages.items()
        )
        yield from _plain(counts)
        yield _errors(counts)
        yield from self._held()
        yield GaugeMetricFamily(
            "zimage_queue_depth", "Pictures that wait for or hold a generator.", self._service.queue_depth
        )
        yield from self._states()

    def _states(self) -> Iterator[Metric]:
        models = GaugeMetricFamily(
            "zimage_model_status", "1 for the present status of each model.", labels=["model", "status"]
        )
        for name in self._service.models:
            now = self._service.state(name).status
            for status in Status:
                models.add_metric([name, status], now is status)
        yield models
        troubles = GaugeMetricFamily("zimage_trouble", "1 for each persistent fault, while it lasts.", labels=["code"])
        for fault in self._service.faults.standing:
            troubles.add_metric([fault.code], 1)
        yield troubles
        yield InfoMetricFamily("zimage_build", "The version of this server.", {"version": zimage_cache.__version__})

    def _held(self) -> Iterator[Metric]:
        sizes = GaugeMetricFamily("zimage_cache_bytes", "Bytes held by each tier of the cache.", labels=["tier"])
        bounds = GaugeMetricFamily("zimage_cache_max_bytes", "Bound of those bytes; 0 = none.", labels=["tier"])
        entries = GaugeMetricFamily("zimage_cache_entries", "Entries in each tier of the cache.", labels=["tier"])
        held = self._service.cache.held()
        for tier, size, bound, number in (
            ("memory", held.memory_bytes, held.memory_max_bytes, held.memory_entries),
            ("disk", held.disk_bytes, held.disk_max_bytes, held.disk_entries),
        ):
            sizes.add_metric([tier], size)
            bounds.add_metric([tier], bound)
            entries.add_metric([tier], number)
        yield sizes
        yield bounds
        yield entries
        yield GaugeMetricFamily("zimage_cache_pinned", "Entries on disk that are pinned.", held.pinned)
        if held.victim_age_seconds is not None:
            yield GaugeMetricFamily(
                "zimage_cache_victim_age_seconds",
                "How long the last evicted entry had not been used.",
                held.victim_age_seconds,
            )


def _requests(counts: Counts) -> Metric:
    family = CounterMetricFamily("zimage_requests", "Pictures asked for, by what became of them.", labels=["source"])
    for answer in ANSWERS:
        family.add_metric([answer], counts.of(answer))
    return family


def _histogram(name: str, words: str, label: str, waits: Iterable[tuple[str, Waits]]) -> Metric:
    family = HistogramMetricFamily(name, words, labels=[label])
    for value, wait in waits:
        ends = zip(_ENDINGS, accumulate(wait.buckets), strict=True)
        family.add_metric([value], [(ending, float(number)) for ending, number in ends], wait.seconds)
    return family


def _plain(counts: Counts) -> Iterator[Metric]:
    for name, words, field in COUNTERS:
        yield CounterMetricFamily(name, words, getattr(counts, field))


def _errors(counts: Counts) -> Metric:
    family = CounterMetricFamily("zimage_cache_errors", "Operations of the cache that failed.", labels=["operation"])
    for operation in ("read", "write", "index"):
        family.add_metric([operation], getattr(counts, f"{operation}_errors"))
    return family
