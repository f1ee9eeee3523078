"""A notification and a sound when a picture is done, where they are wanted."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from zimage_cache.errors import GenerationFailed

from .conftest import ALONE, Fake, generate

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

# The browser's own things, written down instead of shown and played. The answer to the question is `window.answer`.
RECORD = """
  window.shown = []; window.played = 0; window.focused = 0;
  window.focus = () => (focused += 1);
  let given = sessionStorage.given ?? "default";
  window.Notification = class extends EventTarget {
    static get permission() { return given; }
    static requestPermission() {
      given = sessionStorage.given = given === "default" ? window.answer ?? "granted" : given;
      return Promise.resolve(given);
    }
    constructor(title, options) { super(); shown.push({ title, ...options, one: this }); }
    close() {}
  };
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (at) { played += 1; start.call(this, at); };
"""


def switch(page: Page, name: str) -> None:
    page.click(".zi-menu-open")
    page.get_by_role("switch", name=name).click()
    page.keyboard.press("Escape")


def draw(page: Page, prompt: str) -> None:
    generate(page, prompt, "generated")


def out_of_sight(page: Page) -> None:
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: true })")


def test_nothing_is_told_unless_it_is_wanted(fake: Fake, open_page: Callable[..., Page]):
    """Both are off at first."""
    page = open_page(fake.url, script=RECORD)
    draw(page, "told by nothing")
    assert page.evaluate("[shown.length, played]") == [0, 0]


def test_a_picture_that_comes_out_of_sight_is_told(fake: Fake, open_page: Callable[..., Page], hold):
    """A notification with the prompt and the picture, whose click brings the tab to the front; and two notes."""
    page = open_page(fake.url, script=ALONE + ";" + RECORD)
    switch(page, "Notify me when a picture is done")
    switch(page, "Sound when a picture is done")
    assert page.evaluate("played") == 2  # to be heard what it is
    gate = hold()
    page.fill("#zi-prompt textarea", "told " + "very " * 60 + "long")
    page.click("#zi-generate")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    page.reload()  # in the middle: what was switched on stays, and the run is found again
    expect(page.locator("body.zi-busy")).to_have_count(1)
    out_of_sight(page)
    gate.open()
    page.wait_for_function("shown.length === 1")
    title, body, icon = page.evaluate("[shown[0].title, shown[0].body, shown[0].icon]")
    assert title == "Your picture is done"
    assert body.startswith("told very")
    assert len(body) == 121
    assert "/images/" in icon
    assert page.evaluate("played") == 2
    page.evaluate("shown[0].one.dispatchEvent(new Event('click'))")
    assert page.evaluate("focused") == 1


def test_a_failure_out_of_sight_is_told(fake: Fake, open_page: Callable[..., Page], hold):
    """A person who looks elsewhere is told that a picture could not be made; in sight, the page says so itself."""
    page = open_page(fake.url, script=ALONE + ";" + RECORD)
    switch(page, "Notify me when a picture is done")
    gate = hold()
    page.fill("#zi-prompt textarea", "fails out of sight")
    page.click("#zi-generate")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    out_of_sight(page)
    fake.generator.before_step = _fail
    gate.open()
    page.wait_for_function("shown.length === 1")
    assert page.evaluate("shown[0].title") == "A picture could not be made"


def _fail(*_: object) -> None:
    raise GenerationFailed("as_said", text="the transformer returned NaN")


def test_what_is_there_at_once_is_not_told(fake: Fake, open_page: Callable[..., Page]):
    """A quick picture in sight is seen; a stored one was not waited for, also when a reload brings it back."""
    page = open_page(fake.url, script=RECORD)
    switch(page, "Notify me when a picture is done")
    draw(page, "there at once")
    out_of_sight(page)
    generate(page, "there at once", "memory")
    page.reload()
    expect(page.locator(".zi-badge")).to_be_visible()
    assert page.evaluate("shown.length") == 0


def test_a_permission_that_is_refused_switches_it_off(fake: Fake, open_page: Callable[..., Page]):
    """The switch goes back and a sentence says why; the same after a permission was taken back."""
    page = open_page(fake.url, script=RECORD)
    page.evaluate("window.answer = 'denied'")
    page.click(".zi-menu-open")
    wanted = page.get_by_role("switch", name="Notify me when a picture is done")
    wanted.click()
    expect(page.locator(".zi-menu-refused")).to_contain_text("does not allow notifications")
    expect(wanted).not_to_be_checked()
    assert page.evaluate("JSON.parse(localStorage['zimage.preferences']).notify") is False
    page.evaluate("localStorage.setItem('zimage.preferences', JSON.stringify({ notify: true }))")
    page.reload()
    expect(page.locator("#zi-generate")).to_be_visible()
    out_of_sight(page)
    draw(page, "not told")
    page.click(".zi-menu-open")
    expect(wanted).not_to_be_checked()
    assert page.evaluate("shown.length") == 0


def test_a_browser_without_notifications(fake: Fake, open_page: Callable[..., Page]):
    """It is said when they are switched on, and nothing fails."""
    page = open_page(fake.url, script="delete window.Notification; delete window.AudioContext;")
    page.click(".zi-menu-open")
    page.get_by_role("switch", name="Notify me when a picture is done").click()
    expect(page.locator(".zi-menu-refused")).to_be_visible()
    page.get_by_role("switch", name="Sound when a picture is done").click()
    out_of_sight(page)
    draw(page, "in silence")


def test_a_long_wait_in_sight_is_told(fake: Fake, open_page: Callable[..., Page]):
    """More than three seconds are time enough to look elsewhere."""
    page = open_page(fake.url, script=ALONE + ";" + RECORD)
    page.evaluate("""() => {
      const { parse } = JSON;
      JSON.parse = (text, reviver) => parse(text.replaceAll(/"seconds":[\\d.e-]+/gu, '"seconds":4'), reviver);
    }""")
    switch(page, "Sound when a picture is done")
    draw(page, "a long wait")
    page.wait_for_function("played === 4")
