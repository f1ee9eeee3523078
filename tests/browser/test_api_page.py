"""Gradio's page "Use via API": it describes the named endpoints, and the page itself has nothing of it."""

import pytest
from playwright.sync_api import Browser, expect

from .conftest import Fake

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def test_the_address_that_names_it_shows_the_endpoints(fake: Fake, chromium: Browser):
    """Opened at once, without a press; nothing is asked of another host."""
    context = chromium.new_context()
    page, hosts = context.new_page(), set[str]()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(f"{fake.url}/?view=api")
    expect(page.get_by_text("3 API endpoints")).to_be_visible(timeout=20_000)
    for name in ("/generate", "/lookup", "/cache_stats"):
        expect(page.get_by_text(f'api_name="{name}"').first).to_be_attached()
    assert {host.partition(":")[0] for host in hosts} == {"127.0.0.1"}
    context.close()
