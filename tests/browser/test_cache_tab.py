"""The Cache tab: the numbers of the cache, the same as everywhere else, while it is open."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from zimage_cache.units import shown_bytes

from .conftest import Demo, Fake, Watch, generate, http

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

REQUESTS = 'zimage_requests_total{{source="{}"}}'
BYTES = 'zimage_cache_bytes{tier="disk"}'
BOUND = 'zimage_cache_max_bytes{tier="disk"}'


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Cache").click()
    expect(page.locator(".zi-c-table tbody tr")).to_have_count(7)


def table(page: Page) -> dict[str, list[str]]:
    rows = page.locator(".zi-c-table tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows}


def number(page: Page, name: str) -> str:
    return page.locator(f'[data-number="{name}"]').inner_text()


def metric(text: str, name: str) -> float:
    return float(re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[0])


def stats(demo: Demo) -> dict[str, Any]:
    """Return what `zimage cache stats --json` prints."""
    command = [sys.executable, "-c", "from zimage_cache.cli.main import main; main()", "cache", "stats", "--json"]
    told = subprocess.run([*command, "--workspace", str(demo.workspace)], capture_output=True, text=True, check=True)
    return dict(json.loads(told.stdout))


def test_the_numbers_are_those_of_the_metrics_and_of_the_command(demo: Demo, open_page: Callable[..., Page]):
    """Hit rate, sources, time, pictures and bytes with their bounds equal `/metrics` and `zimage cache stats`."""
    page = open_page(demo.url)
    for source in ("generated", "memory", "memory"):
        generate(page, "a red house that is counted", source)
    http.post(f"{demo.url}/generate", json={"prompt": "a red house", "seed": 3, "cache": "bypass"})
    open_tab(page)
    told, text, seen = stats(demo), http.get(f"{demo.url}/metrics").text, table(page)
    lifetime, now = told["lifetime"], told["now"]
    labels = {"From memory": "memory", "From disk": "disk", "Newly drawn": "generated", "Shared run": "shared"}
    for words, label in (labels | {"Drawn without the cache": "bypass", "Failed": "failed"}).items():
        assert seen[words][0] == f"{metric(text, REQUESTS.format(label)):.0f}", words
    for words, name in (("From memory", "hits_memory"), ("Newly drawn", "misses"), ("Failed", "failures")):
        assert seen[words][1] == str(lifetime[name])
    found = lifetime["hits_memory"] + lifetime["hits_disk"]
    assert number(page, "rate_of") == f"{found} of {found + lifetime['misses'] + lifetime['shared']} pictures"
    assert number(page, "rate") == f"{100 * lifetime['hit_ratio']:.1f}".removesuffix(".0") + "%"
    assert number(page, "saved") == f"{lifetime['gpu_seconds_saved']:.1f} s"
    assert number(page, "disk") == f"{now['disk_entries']} pictures"
    assert number(page, "disk_bytes") == f"{shown_bytes(metric(text, BYTES))} of {shown_bytes(metric(text, BOUND))}"
    assert now["disk_max_bytes"] == metric(text, BOUND) == 10 * 2**30
    assert number(page, "memory_bytes").endswith(f" of {shown_bytes(now['memory_max_bytes'])}")


def test_it_is_up_to_date_while_it_is_open_and_asks_nothing_else(
    fake: Fake, open_page: Callable[..., Page], watch: Watch
):
    """What another client does is there at the next turn; on another tab, and out of sight, nothing is asked."""
    page = open_page(fake.url, clock=True)
    open_tab(page)
    before = int(table(page)["Newly drawn"][1].replace(",", ""))
    http.post(f"{fake.url}/generate", json={"prompt": f"elsewhere {before}", "seed": 1})
    page.clock.fast_forward(2500)
    expect(page.locator(".zi-c-table tbody tr", has_text="Newly drawn").locator("td").nth(1)).to_have_text(
        f"{before + 1:,}"
    )
    page.get_by_role("tab", name="Create").click()
    page.clock.fast_forward(2500)  # what was on its way
    page.evaluate("fetch('/ready')")
    asked = watch.requests.count("/cache/stats")
    page.clock.fast_forward("01:00")
    page.evaluate("fetch('/ready')")
    assert watch.requests.count("/cache/stats") == asked


def test_the_last_numbers_stay_while_the_server_is_gone(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A line says that it does not answer and of when the numbers are, until it is back; a reload brings them back."""
    page = open_page(fake.url, clock=True)
    open_tab(page)
    before = table(page)
    notice = page.locator(".zi-c-notice")
    expect(notice).to_be_hidden()
    page.route("**/cache/stats", lambda route: route.abort())
    page.clock.fast_forward(2500)
    expect(notice).to_contain_text("Check that it is running")
    expect(notice).to_contain_text("These numbers are of")
    assert table(page) == before
    page.unroute_all()
    page.clock.fast_forward(2500)
    expect(notice).to_be_hidden()
    page.reload()
    open_tab(page)
    assert table(page) == before
    watch.errors.clear()  # the browser's own lines about the aborted requests


def test_numbers_are_written_as_in_the_language_of_the_page(fake: Fake, open_page: Callable[..., Page]):
    """In Chinese the words, units and dates are Chinese."""
    page = open_page(fake.url, locale="zh-CN")
    page.get_by_role("tab", name="缓存").click()
    expect(page.locator(".zi-c-since")).to_contain_text(re.compile(r"\d{4}年\d+月\d+日"))
    expect(page.locator(".zi-c-table tbody th").first).to_have_text("来自内存")
    expect(page.locator('[data-number="disk"]')).to_contain_text("张图片")
