"""Language, theme, notifications and sound, chosen on the page and kept in the browser."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import Fake, generate, holding, wait_with, write
from .test_loading import GROUND

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

PAPER = "getComputedStyle(document.querySelector('.gradio-container')).backgroundColor"


def choose(page: Page, name: str) -> None:
    if not page.locator(".zi-menu").is_visible():
        page.click(".zi-menu-open")
    page.locator(".zi-menu").get_by_label(name, exact=True).click()


def is_dark(page: Page) -> bool:
    return bool(page.evaluate(f"{PAPER} === '{GROUND['dark']}'"))


def test_the_language_can_be_chosen(fake: Fake, open_page: Callable[..., Page]):
    """Our texts, Gradio's labels, the document and the server's messages follow; form and card survive."""
    page = open_page(fake.url)
    generate(page, "kept over the language")
    choose(page, "中文")
    expect(page.locator("#zi-generate")).to_have_text("生成")
    expect(page.locator("#zi-prompt textarea")).to_have_value("kept over the language")
    expect(page.locator(".zi-badge")).to_contain_text("来自内存")
    expect(page.get_by_role("tab", name="历史")).to_be_visible()
    expect(page.get_by_label("水彩")).to_have_count(1)
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    told = "zimage.server.post('/generate', { prompt: '' }).catch(({ message }) => message)"
    assert re.search(r"[\u4e00-\u9fff]", page.evaluate(told))
    page.reload()
    expect(page.locator("#zi-generate")).to_have_text("生成")
    choose(page, "跟随浏览器")
    expect(page.locator("#zi-generate")).to_have_text("Generate")
    assert page.evaluate("document.documentElement.lang").startswith("en")


def test_english_in_a_chinese_browser(fake: Fake, open_page: Callable[..., Page]):
    """The choice wins over the browser's language for all texts, and in every new tab."""
    page = open_page(fake.url, locale="zh-CN")
    choose(page, "English")
    expect(page.locator("#zi-generate")).to_have_text("Generate")
    another = page.context.new_page()
    another.goto(fake.url)
    expect(another.locator("#zi-generate")).to_have_text("Generate")
    expect(another.get_by_role("tab", name="History")).to_be_visible()


def test_what_a_job_tells_is_in_the_chosen_language(fake: Fake, open_page: Callable[..., Page]):
    """Event streams cannot have a header for it: their address names the language."""
    page = open_page(fake.url)
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    choose(page, "中文")
    expect(page.locator("#zi-generate")).to_have_text("生成")
    streams = "new Promise((told) => { const all = new EventSource('/jobs/events?ids=none&language=zh');"
    page.evaluate(streams + " all.addEventListener('gone', () => { all.close(); told(); }); })")
    write(page, "streamed in a language")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    assert not [url for url in asked if "/jobs/events" in url and "language=zh" not in url]


@pytest.mark.parametrize(("system", "choice"), [("light", "dark"), ("dark", "light")])
def test_the_theme_can_be_chosen(fake: Fake, open_page: Callable[..., Page], system, choice):
    """A chosen theme wins over the system's at once and after a reload; "system's" follows it, also when it changes."""
    page = open_page(fake.url, color_scheme=system)
    assert is_dark(page) == (system == "dark")
    choose(page, choice.capitalize())
    assert is_dark(page) == (choice == "dark")
    page.emulate_media(color_scheme=choice)
    page.emulate_media(color_scheme=system)
    assert is_dark(page) == (choice == "dark")
    page.reload()
    page.wait_for_function("document.querySelector('#zi-seed input')?.value")
    assert is_dark(page) == (choice == "dark")
    choose(page, "System's")
    assert is_dark(page) == (system == "dark")
    page.emulate_media(color_scheme=choice)
    page.wait_for_function(f"{PAPER} === '{GROUND[choice]}'")


@pytest.mark.parametrize("choice", ["light", "dark"])
def test_a_chosen_theme_is_that_of_the_first_thing_seen(fake: Fake, chromium: Browser, choice):
    """The outline of the page has the chosen colours before any other file has arrived: nothing flashes."""
    context = chromium.new_context(color_scheme="dark" if choice == "light" else "light")
    context.add_init_script(f"localStorage.setItem('zimage.preferences', '{{\"theme\": \"{choice}\"}}')")
    page = context.new_page()
    try:
        page.route(re.compile(r"/(page|assets|static)/"), holding([]))
        page.goto(fake.url, wait_until="commit")
        expect(page.locator("#zi-skeleton")).to_have_css("background-color", GROUND[choice])
        page.evaluate(
            """() => {
              window.seen = new Set();
              const look = () => {
                const bodies = document.querySelectorAll('body:has(.gradio-container)');
                for (const it of [document.documentElement, ...bodies]) seen.add(it.classList.contains('dark'));
                requestAnimationFrame(look);
              };
              look();
            }"""
        )
        page.unroute_all()
        expect(page.locator("#zi-skeleton")).to_have_count(0)
        assert page.evaluate(PAPER) == GROUND[choice]
        assert page.evaluate("[...seen]") == [choice == "dark"]
    finally:
        context.close()


def test_another_tab_follows_the_theme(fake: Fake, open_page: Callable[..., Page]):
    """A choice holds in all tabs of the browser at once."""
    page = open_page(fake.url)
    another = page.context.new_page()
    another.goto(fake.url)
    expect(another.locator("#zi-generate")).to_be_visible()
    choose(page, "Dark")
    another.wait_for_function(f"{PAPER} === '{GROUND['dark']}'")


@pytest.mark.parametrize("kept", ["", "no JSON", "null", "[]", '{"theme": "pink", "language": 7, "unnoted": "x"}'])
def test_a_storage_with_anything_else_in_it_is_no_error(fake: Fake, open_page: Callable[..., Page], kept: str):
    """What is no choice of this version counts as none."""
    page = open_page(fake.url, script=f"localStorage.setItem('zimage.preferences', {kept!r})")
    expect(page.locator("#zi-generate")).to_have_text("Generate")
    assert not is_dark(page)
    choose(page, "Dark")
    assert is_dark(page)


def test_without_a_storage_a_choice_holds_until_the_page_is_left(fake: Fake, open_page: Callable[..., Page]):
    """A browser that refuses its storage shows the page all the same."""
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    page = open_page(fake.url, script=refuse)
    choose(page, "Dark")
    assert is_dark(page)


def test_the_menu_by_keys(fake: Fake, open_page: Callable[..., Page], hold):
    """It opens, is gone through and is closed by keys, and Esc leaves a run alone."""
    page = open_page(fake.url)
    gate = hold()
    write(page, "drawn behind the menu")
    page.click("#zi-generate")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    page.locator(".zi-menu-open").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".zi-menu")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_with(page, lambda: is_dark(page))
    page.keyboard.press("Escape")
    expect(page.locator(".zi-menu")).to_be_hidden()
    expect(page.locator("body.zi-busy")).to_have_count(1)
    gate.open()
    expect(page.locator(".zi-badge")).to_be_visible()
