"""The list of keys, and that each key on it does what the list says."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, generate, open_advanced, set_count, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def selected(page: Page, tab: str) -> None:
    expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def to_the_prompt(page: Page) -> None:
    press(page, "g", "h")
    selected(page, "History")
    press(page, "/")
    selected(page, "Create")
    expect(page.locator("#zi-prompt textarea")).to_be_focused()
    expect(page.locator("#zi-prompt textarea")).to_have_value("keys")


def to_tabs(page: Page) -> None:
    for key, tab in (("h", "History"), ("s", "Cache"), ("c", "Create")):
        press(page, "g", key)
        selected(page, tab)


def the_list(page: Page) -> None:
    press(page, "?")
    expect(page.locator(".zi-shortcuts")).to_be_visible()
    press(page, "Escape")
    expect(page.locator(".zi-shortcuts")).to_be_hidden()


def tabs_beside(page: Page) -> None:
    page.get_by_role("tab", name="Create").focus()
    for key, tab in (("ArrowRight", "History"), ("ArrowLeft", "Create"), ("End", "Cache"), ("Home", "Create")):
        press(page, key)
        selected(page, tab)


def the_viewer(page: Page) -> None:
    page.locator(".zi-pictures .zi-open").first.click()
    viewer, number = page.locator("dialog.zi-viewer"), page.locator("dialog.zi-viewer")
    for key, at in (("ArrowRight", "2 / 2"), ("ArrowLeft", "1 / 2"), ("End", "2 / 2"), ("Home", "1 / 2")):
        press(page, key)
        expect(number).to_contain_text(at)
    scale = "parseInt(document.querySelector('.zi-viewer-scale').textContent)"
    fitted = page.evaluate(scale)
    press(page, "+")
    assert page.evaluate(scale) > fitted
    press(page, "-")
    press(page, "0")
    assert page.evaluate(scale) == fitted
    press(page, "f")
    page.wait_for_function("document.fullscreenElement !== null")
    press(page, "f")
    page.wait_for_function("document.fullscreenElement === null")
    with page.expect_download():
        press(page, "d")
    press(page, "Escape")
    expect(viewer).to_be_hidden()


def in_the_history(page: Page) -> None:
    press(page, "g", "h")
    page.locator(".zi-h-pick").first.focus()
    press(page, "Delete")
    expect(page.locator("dialog[open]")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


# What shows that a key does what the list says, by the words of the list.
SHOWN = {
    "Go to the prompt": to_the_prompt,
    "Open Create": to_tabs,
    "Open History": to_tabs,
    "Open Cache": to_tabs,
    "Show this list": the_list,
    "To the one beside": tabs_beside,
    "To the first or last one": tabs_beside,
    "Previous or next picture": the_viewer,
    "First or last picture": the_viewer,
    "Zoom in or out": the_viewer,
    "Fit to the window": the_viewer,
    "Full screen": the_viewer,
    "Download": the_viewer,
    "Close": the_viewer,
    "Delete the picture that has the focus": in_the_history,
}
# And by which tests elsewhere.
ELSEWHERE = {
    "Generate": "test_accessibility: a picture without a mouse",
    "Stop waiting; close a menu or dialog": "test_keyboard, test_preferences",
    "Move an enlarged picture": "test_viewer: a near picture is dragged within the window",
    "Undo a deletion": "test_actions: undo brings it back",
    "Prompt and settings": "test_viewer: prompt and settings are in a panel",
    "Use these settings": "test_viewer: the settings of the shown picture are used",
    "Copy the link": "test_viewer: the settings of the shown picture are used",
    "Star": "test_viewer: a star in the viewer is a star everywhere",
    "Compare with the one before": "test_viewer: a picture is compared with the one before",
    "Delete": "test_viewer: deleting in the viewer goes on to the next",
}


def test_every_key_on_the_list_does_what_it_says(fake: Fake, open_page: Callable[..., Page]):
    """Each line of the list is tried out, here or in a test that is named here."""
    page = open_page(fake.url)
    set_count(page, 2)
    generate(page, "keys")
    expect(page.locator(".zi-pictures .zi-open")).to_have_count(2)
    page.evaluate("document.activeElement.blur()")
    press(page, "?")
    listed = page.locator(".zi-shortcuts dd").all_inner_texts()
    assert set(listed) == {*SHOWN, *ELSEWHERE}
    press(page, "Escape")
    for show in dict.fromkeys(SHOWN.values()):
        show(page)
        page.evaluate("document.activeElement.blur()")
        press(page, "g", "c")


def test_no_key_acts_where_text_is_typed(fake: Fake, open_page: Callable[..., Page]):
    """In every field the keys are characters; with a modifier they are the browser's, and in a dialog its own."""
    page = open_page(fake.url)
    write(page, "")
    page.focus("#zi-prompt textarea")
    page.keyboard.type("what? g h /")
    expect(page.locator("#zi-prompt textarea")).to_have_value("what? g h /")
    open_advanced(page)
    page.focus("#zi-negative_prompt textarea")
    page.keyboard.type("g h?")
    page.focus("#zi-seed input")
    page.keyboard.type("gh?")
    selected(page, "Create")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.evaluate("document.activeElement.blur()")
    press(page, "Control+g", "h", "g", "Alt+h", "x", "h")
    selected(page, "Create")
    press(page, "?", "g", "h")
    expect(page.locator(".zi-shortcuts")).to_be_visible()
    press(page, "Escape")
    selected(page, "Create")


def test_two_keys_belong_together_for_a_moment_only(fake: Fake, open_page: Callable[..., Page]):
    """A key long after the first one is a key alone; capital letters of Caps Lock count like others."""
    page = open_page(fake.url)
    page.evaluate("""() => {
      const at = Object.getOwnPropertyDescriptor(Event.prototype, 'timeStamp').get;
      window.later = 0;
      Object.defineProperty(Event.prototype, 'timeStamp', { get() { return at.call(this) + later; } });
    }""")
    press(page, "g")
    page.evaluate("later = 5000")
    press(page, "h")
    selected(page, "Create")
    press(page, "G", "H")
    selected(page, "History")


def test_the_list_is_opened_from_the_menu_and_closed_in_every_way(fake: Fake, open_page: Callable[..., Page]):
    """By its button, a click beside it and Esc; the focus goes back, and a reload shows the page without it."""
    page = open_page(fake.url)
    sheet = page.locator(".zi-shortcuts")
    for close in (lambda: sheet.get_by_role("button", name="Close").click(), lambda: page.mouse.click(5, 5)):
        page.click(".zi-menu-open")
        page.get_by_role("button", name="Keyboard shortcuts").click()
        expect(sheet).to_be_visible()
        expect(page.locator(".zi-menu")).to_be_hidden()
        close()
        expect(sheet).to_be_hidden()
    press(page, "?")
    expect(sheet).to_be_visible()
    page.reload()
    expect(page.locator("#zi-generate")).to_be_visible()
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_the_list_on_a_phone_in_chinese(fake: Fake, open_page: Callable[..., Page]):
    """One column, in reach, and every line has words in the page's language."""
    page = open_page(fake.url, viewport={"width": 390, "height": 844}, locale="zh-CN")
    page.click(".zi-menu-open")
    page.click(".zi-menu-act")
    box = page.locator(".zi-shortcuts").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert not [words for words in page.locator(".zi-shortcuts dd").all_inner_texts() if words.isascii()]
