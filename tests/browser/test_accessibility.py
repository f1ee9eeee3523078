"""For people who use no mouse, no screen, or a screen of another size."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import Fake, set_side

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


SETTLED = """() => Promise.allSettled(
  document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished))"""


def offences(page: Page) -> list[str]:
    """Say what axe-core finds seriously or critically wrong with the page as it is now. No rule is left out."""
    page.evaluate(SETTLED)  # colours on the way from one state to another are of neither
    found = Axe().run(page).response["violations"]
    return [
        f"{offence['id']}: {node['target']} {node['html'][:200]}"
        for offence in found
        if offence["impact"] in {"serious", "critical"}
        for node in offence["nodes"]
    ]


def advanced(page: Page) -> None:
    page.locator(".zi-advanced-head").click()
    expect(page.locator("#zi-steps input[type=number]")).to_be_visible()
    expect(page.locator(".zi-advanced-head")).to_have_attribute("aria-expanded", "true")


def ask(page: Page, prompt: str) -> None:
    page.fill("#zi-prompt textarea", prompt)
    page.click("#zi-generate")


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    fake: Fake, open_page: Callable[..., Page], hold: Callable[..., Any], scheme: str, locale: str
):
    """Names, roles, contrast and the rest hold in every state of the page, in both themes and both languages."""
    page = open_page(fake.url, color_scheme=scheme, locale=locale, reduced_motion="reduce")
    expect(page.locator(".zi-state")).not_to_have_attribute("data-status", "loading")
    found = {"empty": offences(page)}
    page.click(".zi-styles-all")
    found["all styles"] = offences(page)
    page.keyboard.press("Escape")
    page.click(".zi-custom")
    page.click(".zi-rolls label:last-child")
    advanced(page)
    found["all open"] = offences(page)
    page.click(".zi-rolls label:first-child")
    ask(page, f"{scheme} {locale}")
    expect(page.locator(".zi-badge")).to_have_count(1)
    expect(page.locator("#zi-generate[data-known]")).to_be_visible()
    found["result"] = offences(page)
    page.locator(".zi-pictures .zi-open").click()
    expect(page.locator("dialog.zi-viewer")).to_be_visible()
    found["viewer open"] = offences(page)
    page.keyboard.press("Escape")
    set_side(page, "width", "100")
    expect(page.locator(".zi-side-hint button")).to_be_visible()
    page.click("#zi-generate")
    expect(page.locator(".zi-fault")).to_be_visible()
    found["wrong field"] = offences(page)
    set_side(page, "width", "128")
    error = {"code": "queue_full", "message": "the queue is full", "request_id": "x"}
    page.route("**/jobs", lambda route: route.fulfill(status=503, json={"error": error}))
    ask(page, f"{scheme} {locale} refused")
    expect(page.locator(".zi-error")).to_be_visible()
    found["error"] = offences(page)
    page.unroute("**/jobs")
    ask(page, f"{scheme} {locale} second")
    expect(page.locator(".zi-strip li")).to_have_count(2)
    page.click(".zi-strip-compare")
    found["compared"] = offences(page)
    page.keyboard.press("Escape")
    hold()
    ask(page, f"{scheme} {locale} running")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    expect(page.locator(".zi-card")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#zi-stop")).to_have_attribute("aria-disabled", "false")  # a frame later
    found["running"] = offences(page)
    ask(page, f"{scheme} {locale} waiting")
    expect(page.locator(".zi-queue li")).to_have_count(2)
    found["queue"] = offences(page)
    assert {state: wrong for state, wrong in found.items() if wrong} == {}
    assert len(found) == 10


# What has the focus: the nearest thing that has a name of ours.
_FOCUS = """() => {
  const it = document.activeElement;
  const form = ['styles-all', 'classes', 'custom', 'aspects', 'turn', 'rolls', 'advanced-head'];
  const ours = ['saved', 'menu-open', ...form].map((name) => `.zi-${name}`);
  const part = it.closest(['[id^="zi-"]:not(#zi-card)', ...ours].join());
  return part ? part.id || ours.find((name) => part.matches(name)).slice(1) : it.tagName;
}"""


def tab_to(page: Page, selector: str) -> list[str]:
    """Press Tab until *selector* has the focus; returns the stops on the way."""
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_FOCUS))
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return stops
    raise AssertionError(f"Tab never reached {selector}; it went through {stops}")


def test_tab_goes_through_the_form_in_the_order_it_is_read(fake: Fake, open_page: Callable[..., Page]):
    """Each group is one stop, in the order of the page; nothing idle is stopped at, and each stop is seen."""
    page = open_page(fake.url)
    expect(page.locator("#zi-stop")).to_have_attribute("aria-disabled", "true")
    page.wait_for_function("document.querySelectorAll('#zi-style input[name=zi-style-choice]').length === 17")
    stops = tab_to(page, ".zi-advanced-head")
    form = [
        *("zi-prompt", "zi-n", "zi-generate", "zi-styles-all", "zi-style", "zi-classes", "zi-custom"),
        *("zi-aspects", "zi-turn", "zi-seed", "zi-dice", "zi-rolls", "zi-advanced-head"),
    ]
    # What was saved is there once a picture came from the cache.
    tabs = [f"zi-tab-{name}-button" for name in ("create", "history", "cache")]
    assert [stop for stop in stops if stop not in {"BODY", "zi-saved"}] == ["zi-menu-open", *tabs, *form]
    page.focus("#zi-prompt textarea")
    for _ in form[1:]:
        page.keyboard.press("Tab")
        assert page.evaluate(
            """() => [document.activeElement]
                .flatMap((it) => [it, it.parentElement, it.nextElementSibling]).filter(Boolean)
                .flatMap((it) => [getComputedStyle(it), getComputedStyle(it, '::before')])
                .some((style) => style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2)"""
        ), page.evaluate(_FOCUS)


def test_a_picture_without_a_mouse(fake: Fake, open_page: Callable[..., Page]):
    """From the first Tab to the closed viewer, keys are enough."""
    page = open_page(fake.url)
    page.wait_for_function("document.querySelectorAll('#zi-style input[name=zi-style-choice]').length === 17")
    tab_to(page, "#zi-prompt textarea")
    page.keyboard.type("by keys alone")
    tab_to(page, "#zi-style input")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("zimage.form.values.style === 'photo'")
    tab_to(page, ".zi-aspects input")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("zimage.form.values.width === 144 && zimage.form.values.height === 112")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".zi-badge")).to_have_count(1)
    tab_to(page, ".zi-pictures .zi-open")
    page.keyboard.press("Enter")
    viewer = page.locator("dialog.zi-viewer")
    expect(viewer).to_contain_text("144 × 112")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.locator(".zi-pictures .zi-open")).to_be_focused()
    assert fake.generator.recipes[-1].prompt.startswith("by keys alone, photograph")


def test_gradios_widgets_have_names_in_the_pages_language(fake: Fake, open_page: Callable[..., Page]):
    """Every field, slider and reset button is named for its field, in Chinese too."""
    page = open_page(fake.url, locale="zh-CN")
    advanced(page)
    for field in ("步数", "引导强度（CFG）", "偏移（shift）"):
        expect(page.get_by_role("spinbutton", name=field, exact=True)).to_be_visible()
        expect(page.get_by_role("slider", name=f"{field}，滑块", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name=f"{field}：恢复默认值", exact=True)).to_be_visible()
    for group in ("张数", "风格", "缓存", "宽高比", "像素数", "每次生成时的种子"):
        expect(page.get_by_role("radiogroup", name=group, exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [390, 800, 1280, 1920, 3840])
def test_no_window_is_too_narrow_or_too_wide(fake: Fake, open_page: Callable[..., Page], width: int):
    """Nothing is cut off sideways, and a large screen is used: page and card grow with it."""
    page = open_page(fake.url, viewport={"width": width, "height": round(width * 0.5625) if width > 800 else 844})
    advanced(page)
    set_side(page, "width", "100")
    set_side(page, "height", "101")
    expect(page.locator(".zi-side-hint button")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.zi-create :is(button, input, label, textarea), .zi-head *')]
            .filter((it) => it.checkVisibility()).map((it) => [it.outerHTML.slice(0, 80), it.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.left < -1 || box.right > innerWidth + 1)).map(([name]) => name)"""
    )
    assert cut == []
    frame = page.locator(".zi-empty .zi-frame").bounding_box()
    assert frame
    assert page.viewport_size
    if width >= 1280:
        assert frame["width"] > 0.5 * width
        assert frame["height"] > 0.5 * page.viewport_size["height"]
