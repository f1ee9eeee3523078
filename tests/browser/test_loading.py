"""How the page comes into being: what is seen first, which files are loaded, and in which order."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from .conftest import Fake, Watch, holding, wait_with

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

Scheme = Literal["light", "dark"]
GROUND: dict[Scheme, str] = {"light": "rgb(250, 249, 247)", "dark": "rgb(20, 19, 17)"}
GRADIO = re.compile(r"/assets/[\w.-]+\.(?:js|css)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_something_is_seen_before_any_other_file_has_arrived(fake: Fake, chromium: Browser, scheme: Scheme):
    """The outline of the page has its colours; it is nothing for screen readers, and goes when the form is there."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860}, color_scheme=scheme)
    page, held = context.new_page(), list[Route]()
    try:
        page.route(re.compile(r"/(page|assets|static)/"), holding(held))
        page.goto(fake.url, wait_until="commit")
        outline = page.locator("#zi-skeleton")
        expect(outline).to_be_visible()
        expect(outline).to_have_attribute("aria-hidden", "true")
        expect(outline).to_have_css("background-color", GROUND[scheme])
        assert outline.bounding_box() == {"x": 0, "y": 0, "width": 1280, "height": 860}
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        page.unroute_all()  # lets those through that are held, too
        expect(outline).to_have_count(0)
        expect(page.locator("#zi-seed input")).not_to_have_value("")
    finally:
        context.close()


def test_files_of_gradio_are_announced_exactly(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """The scripts that the page loads are those that the document names, and no style sheet comes by itself."""
    page = open_page(fake.url)
    page.wait_for_timeout(500)  # what comes late
    named = re.findall(r'(?:src|href)="\.(/assets/[\w.-]+\.js)"', page.request.get(fake.url).text())
    assert {path for path in watch.requests if GRADIO.fullmatch(path)} == set(named)


def test_few_requests(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """Of ours one script and three style sheets, and not more of Gradio's than it needs."""
    page = open_page(fake.url)
    wait_with(page, lambda: any(path.endswith("/swatches.css") for path in watch.requests))
    ours = sorted(path.rpartition("/")[2] for path in watch.requests if path.startswith("/page/"))
    assert ours == ["gradio.css", "page.css", "page.js", "swatches.css"]
    assert len(watch.requests) < 55


def test_a_second_visit_loads_the_document_alone(fake: Fake, open_page: Callable[..., Page]):
    """Every file with a version in its name is in the browser's cache."""
    page = open_page(fake.url)
    page.wait_for_timeout(500)
    line = page.context.new_cdp_session(page)
    urls: dict[str, str] = {}
    sent: dict[str, float] = {}  # bytes over the line, by address
    line.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    line.on(
        "Network.loadingFinished", lambda event: sent.update({urls[event["requestId"]]: event["encodedDataLength"]})
    )
    line.send("Network.enable")
    page.reload()
    wait_with(page, lambda: any(url.endswith("/swatches.css") for url in sent))
    versions = {url: size for url, size in sent.items() if "/assets/" in url or "/page/" in url}
    assert len(versions) > 30
    assert sum(versions.values()) == 0
    assert sent[f"{fake.url}/"] > 1000
