"""A page on which nothing happens does nothing: work for each frame would cost a core and a battery."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, generate

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

# Frames that our scripts ask for; Gradio's come from its own files.
COUNT_FRAMES = """
  const ask = requestAnimationFrame;
  window.framesOfOurs = 0;
  window.requestAnimationFrame = (act) => {
    if (!new Error().stack.includes("/assets/")) framesOfOurs += 1;
    return ask(act);
  };
"""
# Changes of the document and frames of ours within fifty frames.
OBSERVE = """async () => {
  const frame = () => new Promise((seen) => setTimeout(seen, 16));
  let changes = 0;
  const observer = new MutationObserver((records) => (changes += records.length));
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  const frames = framesOfOurs;
  for (let i = 0; i < 50; i++) await frame();
  observer.disconnect();
  return { changes, frames: framesOfOurs - frames };
}"""


def all_styles(page: Page) -> None:
    page.click(".zi-styles-all")


def a_picture(page: Page) -> None:
    generate(page, "at rest")


def the_viewer(page: Page) -> None:
    page.locator(".zi-pictures .zi-open").first.click()
    expect(page.locator("dialog.zi-viewer")).to_be_visible()


def the_history(page: Page) -> None:
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-history")).to_have_attribute("aria-busy", "false")


def test_nothing_is_done_for_each_frame(fake: Fake, open_page: Callable[..., Page]):
    """Whatever is shown, a page that is left alone changes nothing; a few changes are left to ages and states."""
    page = open_page(fake.url, script=COUNT_FRAMES)
    for show in (all_styles, a_picture, the_viewer, the_history):
        show(page)
        # What showing it takes ends in one of the first; work for each frame would be in all of them.
        seen = [page.evaluate(OBSERVE)]
        while max(seen[-1].values()) >= 10 and len(seen) < 20:
            seen.append(page.evaluate(OBSERVE))
        assert max(seen[-1].values()) < 10, (show.__name__, seen)
