"""The Cache tab: the numbers of the cache, the same as everywhere else, while it is open."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect

from zimage_cache.cli.main import main
from zimage_cache.generator.fake import FakeGenerator

from .conftest import Fake, Watch, generate, http, serving

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


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


def test_the_numbers_are_those_of_the_metrics_and_of_the_command(
    chromium: Browser,  # noqa: ARG001 - see `fake`
    tmp_path,
    open_page: Callable[..., Page],
):
    """Hit rate, sources, time, pictures and bytes with their bounds equal `/metrics` and `zimage cache stats`."""
    with serving(FakeGenerator(), tmp_path, memory_max_bytes=2**20, cache_max_bytes=3 * 2**30) as url:
        page = open_page(url)
        for source in ("generated", "memory", "memory"):
            generate(page, "counted", source)
        http.post(f"{url}/generate", json={"prompt": "counted", "seed": 3, "cache": "bypass"})
        open_tab(page)
        expect(page.locator('[data-number="rate_of"]')).to_have_text("2 of 3 pictures")
        assert number(page, "rate") == "66.7%"
        seen = table(page)
        text = http.get(f"{url}/metrics").text
        for words, label in (("From memory", "memory"), ("From disk", "disk"), ("Newly drawn", "generated")):
            count = metric(text, f'zimage_requests_total{{source="{label}"}}')
            assert seen[words][0] == seen[words][2] == f"{count:.0f}"
        assert seen["Drawn without the cache"][0] == "1"
        kibibytes = metric(text, 'zimage_cache_bytes{tier="disk"}') / 1024
        assert number(page, "disk_bytes") == f"{kibibytes:.1f} KiB of 3.0 GiB"
        assert metric(text, 'zimage_cache_max_bytes{tier="disk"}') == 3 * 2**30
        assert number(page, "memory_bytes").endswith("of 1.0 MiB")
        told = CliRunner().invoke(main, ["--workspace", str(tmp_path), "cache", "stats", "--json"])
        stats = json.loads(told.output)
        assert seen["From memory"][0] == str(stats["lifetime"]["hits_memory"])
        assert number(page, "disk") == f"{stats['now']['disk_entries']} pictures"
        page.close()


def test_it_is_up_to_date_while_it_is_open_and_asks_nothing_else(
    fake: Fake, open_page: Callable[..., Page], watch: Watch
):
    """What another client does is there at the next turn; on another tab, and out of sight, nothing is asked."""
    page = open_page(fake.url, clock=True)
    open_tab(page)
    before = int(table(page)["Newly drawn"][0].replace(",", ""))
    http.post(f"{fake.url}/generate", json={"prompt": f"elsewhere {before}", "seed": 1})
    page.clock.fast_forward(2500)
    expect(page.locator(".zi-c-table tbody tr", has_text="Newly drawn").locator("td").first).to_have_text(
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
