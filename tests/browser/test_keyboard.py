"""Keys while an input method composes, as for Chinese and Japanese: all of them are the input method's."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.conftest import Gate

from .conftest import Fake, generate, open_advanced, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def compose(page: Page, text: str) -> CDPSession:
    """Begin a composition in the field with the focus, as an input method does."""
    line = page.context.new_cdp_session(page)
    line.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
    return line


def heard(page: Page) -> list[str]:
    """List the keys that listeners of the page behind ours are told of from now on."""
    keys: list[str] = []
    page.expose_function("heardKey", lambda key: keys.append(key))  # noqa: PLW0108 - Playwright marks the function
    page.evaluate("addEventListener('keydown', (event) => void heardKey(event.key), true)")
    return keys


@pytest.mark.parametrize("field", ["#zi-prompt textarea", "#zi-negative_prompt textarea"])
def test_esc_and_ctrl_enter_while_composing(fake: Fake, hold: Callable[..., Gate], open_page, field: str):
    """They end or accept the word being written; after that they stop the run, and start one, as always."""
    gate = hold()
    page = open_page(fake.url)
    open_advanced(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method) if request.url.endswith("/jobs") else None)
    write(page, f"composing in {field}")
    page.click("#zi-generate")
    gate.wait()
    page.focus(field)
    keys = heard(page)
    line = compose(page, "hong")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    line.send("Input.insertText", {"text": "红"})
    page.keyboard.press("a")
    wait_with(page, lambda: "a" in keys)
    assert "Escape" not in keys
    assert "Enter" not in keys
    assert asked == ["POST"]
    expect(page.locator("body.zi-busy")).to_have_count(1)
    expect(page.locator(field)).to_have_value(re.compile("红"))
    page.keyboard.press("Escape")
    expect(page.locator("body.zi-busy")).to_have_count(0)
    gate.open()


def test_enter_while_composing_in_the_search(fake: Fake, open_page):
    """The history is searched for the finished word only."""
    page = open_page(fake.url)
    generate(page, "to be searched for", "generated")
    page.get_by_role("tab", name="History").click()
    search = page.locator(".zi-h-search input")
    search.click()
    keys = heard(page)
    line = compose(page, "hong")
    expect(search).to_have_value("hong")
    page.keyboard.press("Enter")
    line.send("Input.insertText", {"text": "红"})
    page.keyboard.press("Enter")
    wait_with(page, lambda: "Enter" in keys)
    assert keys.count("Enter") == 1
