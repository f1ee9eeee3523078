"""What the page knows of the server's health, and how soon."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, Watch, wait_with

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def die(page: Page) -> None:
    page.route("**/{health,lookup,jobs,prompt-info}", lambda route: route.abort())


def test_a_request_without_an_answer_makes_the_page_look_at_once(
    fake: Fake, open_page: Callable[..., Page], watch: Watch
):
    """The head says that the server is gone as soon as a press found out, and soon after that it is back."""
    page = open_page(fake.url, clock=True)
    state = page.locator(".zi-state")
    expect(state).to_have_attribute("data-status", "healthy")
    page.clock.pause_at("2040-01-01")  # no timer of the page comes due
    expect(state).to_have_attribute("data-status", "healthy")
    die(page)
    page.fill("#zi-prompt textarea", "nothing answers")
    page.evaluate("zimage.server.post('/lookup', {}).catch(() => {})")
    expect(state).to_have_attribute("data-status", "unreachable")
    page.unroute_all()
    page.clock.run_for(1000)
    expect(state).to_have_attribute("data-status", "healthy")
    watch.errors.clear()  # the browser's own lines about the aborted requests


def test_a_reload_while_the_server_is_gone_and_back(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A page that was reloaded knows the state anew."""
    page = open_page(fake.url)
    page.route("**/health", lambda route: route.abort())
    page.reload()
    expect(page.locator(".zi-state")).to_have_attribute("data-status", "unreachable")
    asked = watch.requests.count("/health")
    wait_with(page, lambda: watch.requests.count("/health") > asked + 1)  # again and again
    page.unroute_all()
    expect(page.locator(".zi-state")).to_have_attribute("data-status", "healthy")
    watch.errors.clear()
