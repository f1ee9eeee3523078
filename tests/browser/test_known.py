"""What of a request is stored, said by the button before it is pressed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from .conftest import Fake, Watch, generate, holding, http, open_advanced, set_count, set_side, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def expect_said(page: Page, words: str) -> None:
    expect(page.locator("#zi-generate")).to_have_accessible_name(words)


def prepared(page: Page, prompt: str, seed: int = 7) -> Page:
    write(page, prompt)
    page.fill("#zi-seed input", str(seed))
    return page


def drawn(page: Page, prompt: str, seed: int = 7) -> Page:
    page.fill("#zi-seed input", str(seed))
    generate(page, prompt)
    expect_said(page, "Show · in cache")
    page.wait_for_timeout(500)  # it may be asked once more, after the result
    return page


def lookups(watch: Watch) -> int:
    return sum(path.endswith("/lookup") for path in watch.requests)


def test_what_is_stored_is_said_before_the_press(fake: Fake, open_page: Callable[..., Page]):
    """Nothing, some and all of the pictures; also after a reload, and in another tab; the button keeps its size."""
    page = prepared(open_page(fake.url), "said before the press")
    with page.expect_response("**/lookup"):
        pass
    expect_said(page, "Generate")
    box = page.locator("#zi-generate").bounding_box()
    drawn(page, "said before the press")
    assert page.locator("#zi-generate").bounding_box() == box
    set_count(page, 4)
    expect_said(page, "Generate · 1 of 4 in cache")
    assert page.locator("#zi-generate").bounding_box() == box
    page.reload()
    expect_said(page, "Generate · 1 of 4 in cache")
    set_count(page, 1)
    expect_said(page, "Show · in cache")
    prepared(page, "said before the press", seed=8)
    expect_said(page, "Generate")
    # Away and back before it is asked.
    page.evaluate("[7, 8, 7].forEach((seed) => zimage.form.fill({ seed }))")
    expect_said(page, "Show · in cache")
    other = prepared(open_page(fake.url, locale="zh-CN"), "said before the press")
    expect_said(other, "显示 · 缓存中已有")


def test_nothing_is_claimed_of_what_a_press_does_not_use(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A rolled seed, another use of the cache and wrong values: the button says what it does, and nothing is asked."""
    page = drawn(open_page(fake.url), "nothing is claimed")
    asked = lookups(watch)
    page.locator(".zi-rolls label", has_text="Random").click()
    expect_said(page, "Generate")
    page.locator(".zi-rolls label", has_text="Fixed").click()
    expect_said(page, "Show · in cache")
    open_advanced(page)
    for mode in ("Redraw", "Leave no trace"):
        page.locator("#zi-cache label", has_text=mode).click()
        expect_said(page, "Generate")
    page.locator("#zi-cache label", has_text="Use").click()
    expect_said(page, "Show · in cache")
    set_side(page, "width", "100")
    expect_said(page, "Generate")
    page.fill("#zi-width input", "128")
    expect_said(page, "Show · in cache")
    for wrong in ("4294967296", ""):
        page.fill("#zi-seed input", wrong)
        expect_said(page, "Generate")
    page.fill("#zi-seed input", "7")
    expect_said(page, "Show · in cache")
    write(page, "  ")
    expect_said(page, "Generate")
    page.wait_for_timeout(500)
    assert lookups(watch) == asked + 4


def test_nothing_is_asked_while_nothing_changes(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """One request for a pause in typing, one after a result, none at rest, and none of an empty form."""
    page = open_page(fake.url)
    page.wait_for_timeout(500)
    assert lookups(watch) == 0
    page.fill("#zi-seed input", "7")
    page.locator("#zi-prompt textarea").press_sequentially("typed letter by letter", delay=10)
    with page.expect_response("**/lookup"):
        pass
    assert lookups(watch) == 1
    drawn(page, "typed letter by letter")
    seen = lookups(watch)
    page.evaluate("zimage.form.fill({ steps: zimage.form.values.steps })")
    page.wait_for_timeout(1000)
    assert lookups(watch) == seen


def test_alternatives_are_expanded_first(fake: Fake, open_page: Callable[..., Page]):
    """What a seed makes of {red|blue} is looked up, not the braces; an error in them is silent."""
    page = drawn(open_page(fake.url), "a {red|blue|green} door", seed=3)
    chosen = fake.generator.recipes[-1].prompt
    assert "{" not in chosen
    prepared(page, chosen, seed=3)
    expect_said(page, "Show · in cache")
    with page.expect_response("**/prompt-info"):
        write(page, "a {red|blue door")
    expect_said(page, "Generate")


def answer(images: int, cached: int) -> str:
    known: list[dict[str, Any]] = [{"key": "k", "cached": i < cached} for i in range(images)]
    return json.dumps({"images": known, "eta_seconds": None})


def test_an_answer_for_older_values_is_not_shown(fake: Fake, open_page: Callable[..., Page]):
    """The older request is aborted: at most one is on its way."""
    page, held, ended = open_page(fake.url), list[Route](), list[Request]()
    page.on("requestfailed", lambda request: ended.append(request))  # noqa: PLW0108 - Playwright marks what it calls
    page.route("**/lookup", holding(held))
    prepared(page, "older values")
    wait_with(page, lambda: len(held) == 1)
    write(page, "newer values")
    expect_said(page, "Generate")
    wait_with(page, lambda: len(held) == 2)
    assert [request.url for request in ended] == [held[0].request.url]
    held[1].fulfill(body=answer(1, 1), content_type="application/json")
    expect_said(page, "Show · in cache")
    page.unroute_all()


def test_a_press_does_not_wait_for_the_answer(fake: Fake, open_page: Callable[..., Page]):
    """While the look-up is on its way, `POST /jobs` goes out at once, and the picture is drawn."""
    page, held = open_page(fake.url), list[Route]()
    page.route("**/lookup", holding(held))
    prepared(page, "pressed while it is asked")
    wait_with(page, lambda: held)
    with page.expect_request("**/jobs"):
        page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    page.unroute_all()


def test_errors_are_silent(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A server that refuses or does not answer leaves the button as it is; later answers count again."""
    page = drawn(open_page(fake.url), "silent errors")
    page.route("**/lookup", lambda route: route.fulfill(status=500, body="{}"))
    with page.expect_response("**/lookup"):
        prepared(page, "silent errors", seed=9)
    expect_said(page, "Generate")
    expect(page.locator(".zi-error")).to_be_hidden()
    page.unroute_all()
    prepared(page, "silent errors")
    expect_said(page, "Show · in cache")
    watch.errors.clear()


@pytest.mark.parametrize("status", ["loading", "unreachable"])
def test_a_model_that_cannot_be_asked_for_has_no_claim(
    fake: Fake, open_page: Callable[..., Page], watch: Watch, status: str
):
    """While it loads, or the server does not answer, nothing is claimed; after that it is asked again."""
    page = drawn(open_page(fake.url), "a model that cannot be asked for")

    def health(route: Route) -> None:
        told = {"status": status, "timestamp": "2026-01-01T00:00:00Z"}
        route.abort() if status == "unreachable" else route.fulfill(json=told)

    page.route("**/health", health)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect_said(page, "Generate")
    page.unroute_all()
    expect_said(page, "Show · in cache")
    watch.errors.clear()  # the browser's own line about a request without an answer


def test_a_hidden_page_asks_nothing_and_one_that_is_seen_again_asks_anew(
    fake: Fake, open_page: Callable[..., Page], watch: Watch
):
    """What was stored may be gone by then."""
    page = drawn(open_page(fake.url), "hidden for a while")
    seen = lookups(watch)

    def show(*, hidden: bool) -> None:
        page.evaluate(
            """(hidden) => {
              Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
              document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )

    show(hidden=True)
    expect_said(page, "Generate")
    key = page.evaluate("zimage.server.post('/lookup', { prompt: 'hidden for a while', seed: 7 })")["images"][0]["key"]
    assert http.delete(f"{fake.url}/cache/{key}").status_code in {200, 204}
    assert lookups(watch) == seen + 1
    show(hidden=False)
    with page.expect_response("**/lookup"):
        pass
    expect_said(page, "Generate")


def test_a_look_up_counts_nothing(fake: Fake, open_page: Callable[..., Page]):
    """The statistics of the cache are those of presses."""

    def counted() -> dict[str, Any]:
        told = http.get(f"{fake.url}/cache/stats").json()
        return {name: told[name] for name in told if name != "uptime_seconds"}

    page = drawn(open_page(fake.url), "counts nothing")
    before = counted()
    for n in (2, 4, 1):
        with page.expect_response("**/lookup"):
            set_count(page, n)
    expect_said(page, "Show · in cache")
    assert counted() == before
