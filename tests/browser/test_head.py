"""The head of the page: one line, a note that can be closed, and what the cache has saved so far."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.factories import present
from zimage_cache.accounts.users import UserFile
from zimage_cache.generator.fake import FakeGenerator

from .conftest import Demo, Fake, Watch, generate, http, serving
from .test_accessibility import offences

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def top(page: Page, selector: str) -> float:
    return present(page.locator(selector).first.bounding_box())["y"]


def nothing_overlaps(page: Page) -> None:
    parts = page.locator(".zi-head > *, #zi-tabs [role=tab]").filter(visible=True).all()
    names = [part.evaluate("it => it.className || it.id") for part in parts]
    # The words of the brand, whose element reaches below the tabs.
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.zi-head > *, #zi-tabs [role=tab]')]
            .filter((it) => it.checkVisibility()).map((it) => {
              const range = document.createRange();
              range.selectNodeContents(it);
              return (it.tagName === 'H1' ? range : it).getBoundingClientRect().toJSON();
            })"""
    )
    wider = """() => [...document.querySelectorAll('.zi-head > :is(.zi-state, .zi-account, .zi-part)')]
      .filter((it) => it.checkVisibility() && it.scrollWidth > it.clientWidth + 1).map((it) => it.className)"""
    assert page.evaluate(wider) == []
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart = one["right"] <= other["left"] + 1 or other["right"] <= one["left"] + 1
            assert apart or one["bottom"] <= other["top"] + 1, (names, one, other)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1440, 900), (1920, 1080)])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_the_head_leaves_the_window_to_the_picture(demo: Demo, open_page, width: int, height: int, locale: str):
    """Head and tabs share one line of at most 64 px, the note is one more, and what is below begins within 110 px."""
    for _ in range(2):
        http.post(f"{demo.url}/generate", json={"prompt": "a red house", "seed": 1})
    page = open_page(demo.url, viewport={"width": width, "height": height}, locale=locale)
    expect(page.locator(".zi-saved")).to_be_visible()
    expect(page.locator(".zi-state")).to_have_attribute("data-status", "healthy")
    assert present(page.locator(".zi-head").bounding_box())["height"] <= 64
    assert present(page.locator(".zi-note p").bounding_box())["height"] <= 20
    assert top(page, "#zi-prompt") <= 110
    assert top(page, "#zi-card") <= 110
    parts = [".zi-brand", "#zi-tab-create-button", "#zi-tab-cache-button", ".zi-saved", ".zi-state", ".zi-menu-open"]
    boxes = [present(page.locator(part).bounding_box()) for part in parts]
    boxes[0]["width"] = 100  # the words, without the room for the tabs
    for left, right in pairwise(boxes):
        assert left["x"] + left["width"] <= right["x"]
        assert right["y"] < 64
    cut = """() => [...document.querySelectorAll('.zi-saved, .zi-saved span, .zi-state span, .zi-note p')]
      .filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.className)"""
    assert page.evaluate(cut) == []


@pytest.mark.parametrize("width", [320, 390, 700, 1024])
def test_the_head_fits_into_narrow_windows(demo: Demo, open_page, width: int):
    """Nothing lies beside the window or on something else; the note has at most two lines, and is whole as a title."""
    page = open_page(demo.url, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert present(page.locator(".zi-head").bounding_box())["height"] <= 64
    assert present(page.locator(".zi-note p").bounding_box())["height"] <= 40
    expect(page.locator(".zi-note p")).to_have_attribute("title", present(page.locator(".zi-note-text").text_content()))
    nothing_overlaps(page)


@pytest.mark.parametrize("width", [390, 1000, 1280, 1440])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_long_names_leave_room_for_each_other(demo: Demo, open_page, width: int, locale: str):
    """A long name of a user or device, and large numbers, are cut off before they lie on something."""

    def told(more: dict[str, Any]) -> Callable[[Route], None]:
        def answer(route: Route) -> None:
            answered = route.fetch()
            route.fulfill(response=answered, json=answered.json() | more)

        return answer

    lifetime = http.get(f"{demo.url}/cache/stats").json()["lifetime"]
    many = {"hits_memory": 1_234_567, "hits_disk": 0, "misses": 9_876_543, "gpu_seconds_saved": 3e7}
    page = open_page(demo.url, viewport={"width": width, "height": 844}, locale=locale)
    page.route("**/me", told({"name": "a user whose name is very long indeed"}))
    page.route("**/health", told({"device": "NVIDIA GeForce RTX 4090 Laptop GPU", "status": "sleeping"}))
    page.route("**/cache/stats", told({"lifetime": lifetime | many}))
    page.reload()
    expect(page.locator(".zi-account")).to_be_visible()
    expect(page.locator(".zi-state")).to_have_attribute("data-status", "sleeping")
    if width > 620:
        expect(page.locator(".zi-saved")).to_contain_text("1,234,567")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    nothing_overlaps(page)


def test_the_note_on_the_model_is_closed_for_good(demo: Demo, open_page):
    """Closed once, it does not come back after a reload; another model's note would."""
    page = open_page(demo.url)
    expect(page.locator(".zi-note")).to_be_visible()
    page.get_by_role("button", name="Close this note").click()
    expect(page.locator(".zi-note")).to_be_hidden()
    page.reload()
    expect(page.locator(".zi-state")).to_contain_text("Ready")
    expect(page.locator(".zi-note")).to_be_hidden()
    page.evaluate("localStorage.setItem('zimage.preferences', JSON.stringify({ unnoted: ['another'] }))")
    page.reload()
    expect(page.locator(".zi-note")).to_be_visible()


def test_what_was_saved_grows_with_each_result(chromium, tmp_path, open_page):  # noqa: ARG001 - see `fake`
    """Nothing is said before the first hit; then hits of all pictures, and the time; a click opens the tab."""
    with serving(FakeGenerator(), tmp_path) as url:
        page = open_page(url)
        figure = page.locator(".zi-saved")
        expect(page.locator(".zi-state")).to_have_attribute("data-status", "healthy")
        expect(figure).to_be_hidden()
        generate(page, "saved", "generated")
        expect(figure).to_be_hidden()
        generate(page, "saved", "memory")
        expect(figure).to_contain_text("1 of 2 from cache")
        page.reload()
        expect(figure).to_contain_text("2 of 3 from cache")  # the reload has brought it back
        figure.click()
        expect(page.get_by_role("tab", name="Cache")).to_have_attribute("aria-selected", "true")
        page.close()


@pytest.mark.parametrize(("device", "words"), [("cuda:0", "2.0 h of GPU saved"), ("cpu", "2.0 h of computing saved")])
def test_what_the_time_is_of(fake: Fake, open_page, device: str, words: str):
    """It is called GPU time where there is a GPU; numbers are written as in the page's language."""
    page = open_page(fake.url, clock=True)

    def many(route: Route) -> None:
        told = route.fetch()
        lifetime = told.json()["lifetime"] | {"hits_memory": 1200, "hits_disk": 34, "misses": 66, "shared": 0}
        route.fulfill(response=told, json=told.json() | {"lifetime": lifetime | {"gpu_seconds_saved": 7200}})

    def on(route: Route) -> None:
        told = route.fetch()
        route.fulfill(response=told, json=told.json() | {"device": device})

    page.route("**/cache/stats", many)
    page.route("**/health", on)
    page.clock.fast_forward("01:00")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".zi-saved")).to_have_text(f"1,234 of 1,300 from cache{words}")


def test_the_numbers_stay_while_the_server_is_gone(fake: Fake, open_page, watch: Watch):
    """The last numbers are still there; the line beside them says that the server does not answer."""
    page = open_page(fake.url)
    expect(page.locator(".zi-state")).to_have_attribute("data-status", "healthy")
    with page.expect_response("**/cache/stats"):  # of this result
        generate(page, "gone", "generated")
    now = http.get(f"{fake.url}/cache/stats").json()["lifetime"]
    hits = now["hits_memory"] + now["hits_disk"]
    expect(page.locator(".zi-saved-hits")).to_have_text(f"{hits} of {hits + now['misses'] + now['shared']} from cache")
    said = page.locator(".zi-saved").text_content()
    page.route(re.compile("/(health|cache/stats)$"), lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".zi-state")).to_contain_text("Server does not answer")
    assert page.locator(".zi-saved").text_content() == said
    page.unroute_all()
    expect(page.locator(".zi-state")).to_contain_text("Ready")
    watch.errors.clear()  # the browser's own lines about the aborted requests


def test_others_than_administrators_see_no_numbers(chromium, tmp_path, open_page, watch: Watch):  # noqa: ARG001 - see `fake`
    """Neither the figure nor the tab is there, nothing is asked for that would be refused, and keys lead nowhere."""
    users = UserFile(tmp_path / "users.txt")
    users.put("ann", "secret of ann", administrator=True)
    users.put("ben", "secret of ben", administrator=False)
    with serving(FakeGenerator(), tmp_path, auth_file=users.path) as url:
        pages = {}
        for name in ("ann", "ben"):
            sign_in = http.post(f"{url}/login", data={"name": name, "password": f"secret of {name}"})
            kept = {"name": "cookie", "value": sign_in.headers["set-cookie"].partition(";")[0]}
            pages[name] = open_page(url, extra_http_headers={"cookie": kept["value"]})
            generate(pages[name], f"of {name}")
        generate(pages["ann"], "of ann", "memory")
        expect(pages["ann"].locator(".zi-saved")).to_be_visible()
        expect(pages["ann"].get_by_role("tab", name="Cache")).to_be_visible()
        asked = watch.requests.count("/cache/stats")
        ben = pages["ben"]
        expect(ben.locator(".zi-account-name")).to_have_text("ben")
        expect(ben.locator(".zi-saved")).to_be_hidden()
        expect(ben.get_by_role("tab")).to_have_text(["Create", "History"])
        ben.locator("#zi-tab-create-button").focus()
        ben.keyboard.press("ArrowLeft")
        expect(ben.get_by_role("tab", name="History")).to_be_focused()
        ben.keyboard.press("g")
        ben.keyboard.press("s")
        expect(ben.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
        ben.get_by_role("tab", name="Create").click()
        generate(ben, "again")
        assert watch.requests.count("/cache/stats") == asked
        for page in pages.values():
            page.close()


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_what_the_head_opens(fake: Fake, open_page: Callable[..., Page], scheme, locale):
    """Menu, list of keys and Cache tab have names, roles and contrast in both themes and both languages."""
    page = open_page(fake.url, color_scheme=scheme, locale=locale, reduced_motion="reduce")
    generate(page, f"{scheme} {locale} in the head")
    generate(page, f"{scheme} {locale} in the head", "memory")
    expect(page.locator(".zi-saved")).to_be_visible()
    page.click(".zi-menu-open")
    expect(page.locator(".zi-menu")).to_be_visible()
    found = {"menu": offences(page)}
    page.click(".zi-menu-act")
    expect(page.locator(".zi-shortcuts")).to_be_visible()
    found["shortcuts"] = offences(page)
    page.keyboard.press("Escape")
    page.click(".zi-saved")
    expect(page.locator(".zi-c-table tbody tr")).to_have_count(7)
    found["cache"] = offences(page)
    assert {state: wrong for state, wrong in found.items() if wrong} == {}
