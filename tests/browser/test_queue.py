"""Requests of one tab: each press adds one, each can be cancelled, and none takes away what is there."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from zimage_cache.errors import GenerationFailed
from zimage_cache.request import Recipe

from .conftest import Fake, generate, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def press(page: Page, prompt: str) -> None:
    write(page, prompt)
    page.click("#zi-generate")


def rows(page: Page) -> Locator:
    return page.locator(".zi-queue li")


def prompts_in_strip(page: Page) -> list[str]:
    return page.locator(".zi-strip li").evaluate_all("items => items.map(item => item.title.split('\\n')[0])")


def test_each_press_adds_a_request(fake: Fake, open_page, hold):
    """Pressed while one is drawn, the next one waits behind it; both arrive on the card and in the strip."""
    page, door = open_page(fake.url), hold(3)
    press(page, "the first of a queue")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    expect(page.locator(".zi-queue")).to_be_hidden()
    press(page, "the second of a queue")
    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(0)).to_contain_text("the first of a queue")
    expect(rows(page).nth(0)).to_contain_text("step 2 of 8")
    expect(rows(page).nth(1)).to_contain_text("1 ahead of you")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    expect(page.locator(".zi-strip li")).to_have_count(2)
    expect(page.locator(".zi-asked")).to_have_text("the second of a queue")
    expect(page.locator(".zi-queue")).to_be_hidden()
    assert prompts_in_strip(page) == ["the first of a queue", "the second of a queue"]
    assert [recipe.prompt for recipe in fake.generator.recipes[-2:]] == [
        "the first of a queue",
        "the second of a queue",
    ]


def test_one_of_several_is_cancelled(fake: Fake, open_page, hold):
    """The cross of a row ends that request alone; "Stop all" ends the others."""
    page, door = open_page(fake.url), hold(3)
    for prompt in ("drawn in a queue", "cancelled in a queue", "third in a queue", "fourth in a queue"):
        press(page, prompt)
    expect(rows(page)).to_have_count(4)
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Stop: cancelled in a queue").click()
    expect(rows(page)).to_have_count(3)
    expect(page.locator(".zi-queue")).not_to_contain_text("cancelled in a queue")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    page.get_by_role("button", name="Stop all").click()
    expect(page.locator(".zi-queue")).to_be_hidden()
    expect(page.locator("#zi-stop")).to_have_css("pointer-events", "none")
    door.open()
    expect(page.locator(".zi-strip li")).to_have_count(0)


def test_a_reload_keeps_the_queue(fake: Fake, open_page, hold):
    """Reloaded in the middle, every request goes on, in its order, and nothing is drawn twice."""
    page, door = open_page(fake.url), hold(3)
    before = len(fake.generator.recipes)
    for prompt in ("first over a reload", "second over a reload", "third over a reload"):
        press(page, prompt)
    expect(rows(page)).to_have_count(3)
    page.reload()
    expect(rows(page)).to_have_count(3)
    expect(rows(page).nth(0)).to_contain_text("step 2 of 8")
    expect(rows(page).nth(2)).to_contain_text("third over a reload")
    door.open()
    expect(page.locator(".zi-strip li")).to_have_count(3)
    expect(page.locator(".zi-asked")).to_have_text("third over a reload")
    assert len(fake.generator.recipes) == before + 3


def test_a_stored_picture_does_not_wait_behind_a_drawing(fake: Fake, open_page, hold):
    """What the cache has is shown at once; the one that is drawn goes on in its row, and arrives after it."""
    page = open_page(fake.url)
    generate(page, "stored beside a queue", "generated")
    door = hold(3)
    page.fill("#zi-seed input", "77")
    press(page, "slow beside a queue")
    expect(page.locator(".zi-course")).to_contain_text("step 2 of 8")
    page.locator(".zi-strip li").first.click()
    expect(page.locator(".zi-asked")).to_have_text("stored beside a queue")
    expect(rows(page)).to_have_count(1)
    rows(page).get_by_role("button").first.click()
    expect(page.locator(".zi-course")).to_contain_text("step 2 of 8")
    page.locator("#zi-prompt textarea").fill("stored beside a queue")
    page.evaluate("zimage.form.fill({ seed: Number(document.querySelector('.zi-strip li').title.match(/\\d+$/)[0]) })")
    page.click("#zi-generate")
    expect(page.locator(".zi-own-badge .zi-badge")).to_contain_text("From memory")
    expect(page.locator(".zi-asked")).to_have_text("stored beside a queue")
    expect(rows(page)).to_have_count(1)
    door.open()
    expect(page.locator(".zi-asked")).to_have_text("slow beside a queue")


def test_stop_keeps_the_finished_pictures(fake: Fake, open_page, hold):
    """Stopped after one of three, the card shows that one, also after a reload."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "300")
    door = hold(3, only=[301])
    write(page, "stopped in the middle")
    page.evaluate("zimage.form.fill({ n: 3 })")
    page.wait_for_function("zimage.form.values.n === 3")
    page.click("#zi-generate")
    expect(page.locator('.zi-pictures figure[data-state="there"]')).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator('.zi-card[data-view="result"] figure[data-state="there"]')).to_have_count(1)
    expect(page.locator('.zi-pictures figure[data-state="stopped"]')).to_have_count(2)
    expect(page.locator(".zi-strip li")).to_have_count(1)
    page.reload()
    expect(page.locator('.zi-pictures figure[data-state="there"]')).to_have_count(1)
    expect(page.locator(".zi-strip li")).to_have_count(1)
    door.open()


def test_what_fails_takes_nothing_away(fake: Fake, open_page):
    """A failure, an empty prompt and a wrong side leave the picture on the card; each says where it belongs."""
    page = open_page(fake.url)
    generate(page, "stays whatever comes", "generated")
    picture = page.get_attribute(".zi-open", "href")

    def broken(_recipe: Recipe, _evaluation: int) -> None:
        raise GenerationFailed("as_said", text="the transformer returned NaN")

    fake.generator.before_step = broken
    try:
        press(page, "fails")
        expect(page.locator(".zi-error")).to_be_visible()
    finally:
        fake.generator.before_step = lambda _recipe, _evaluation: None
    assert page.get_attribute(".zi-open", "href") == picture
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".zi-asked")).to_have_text("fails")
    expect(page.locator(".zi-error")).to_be_hidden()
    press(page, "")
    expect(page.locator("#zi-prompt .zi-fault")).to_be_visible()
    expect(page.locator("#zi-prompt textarea")).to_be_focused()
    expect(page.locator(".zi-asked")).to_have_text("fails")
    expect(page.locator(".zi-error")).to_be_hidden()
    write(page, "typed again")
    expect(page.locator(".zi-fault")).to_have_count(0)


def test_a_lost_server_takes_nothing_away(fake: Fake, open_page, watch):
    """Without a server the picture stays; when it is back, what it did not hear is asked again, and the line goes."""
    page = open_page(fake.url)
    generate(page, "stays without a server", "generated")
    for path in ("**/jobs", "**/health", "**/lookup"):
        page.route(path, lambda route: route.abort())
    press(page, "asked in vain")
    expect(page.locator(".zi-error")).to_contain_text("does not answer")
    expect(page.locator(".zi-asked")).to_have_text("stays without a server")
    expect(page.locator('.zi-state[data-status="unreachable"]')).to_be_visible()
    page.unroute_all()
    expect(page.locator(".zi-asked")).to_have_text("asked in vain")
    expect(page.locator(".zi-error")).to_be_hidden()
    watch.errors.clear()  # the browser's own lines about failed requests


def test_a_press_whose_connection_breaks_is_not_lost(fake: Fake, open_page, watch):
    """The server answers others: the line stays, and "Try again" asks for each of the requests that were lost."""
    page = open_page(fake.url)
    page.route("**/jobs", lambda route: route.abort("connectionreset"))
    press(page, "broken once")
    expect(page.locator(".zi-error")).to_contain_text("does not answer")
    page.unroute("**/jobs")
    with page.expect_response("**/health"):
        pass
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".zi-asked")).to_have_text("broken once")
    expect(page.locator(".zi-error")).to_be_hidden()
    watch.errors.clear()


def test_several_that_fail_are_all_asked_again(fake: Fake, open_page, hold):
    """Of three requests that fail, none is forgotten."""
    page, door = open_page(fake.url), hold(1)
    for number in range(3):
        press(page, f"fails in a queue {number}")
    expect(rows(page)).to_have_count(3)

    def broken(_recipe: Recipe, _evaluation: int) -> None:
        raise GenerationFailed("as_said", text="the transformer returned NaN")

    fake.generator.before_step = broken
    door.open()
    expect(page.get_by_role("button", name="Try all 3 again")).to_be_visible()
    fake.generator.before_step = lambda _recipe, _evaluation: None
    page.get_by_role("button", name="Try all 3 again").click()
    expect(page.locator(".zi-strip li")).to_have_count(3)


def test_a_held_key_asks_once(fake: Fake, open_page, hold):
    """Ctrl+Enter that is held down is one press; with a dialog open it is none."""
    page, door = open_page(fake.url), hold(1)
    write(page, "a held key")
    with page.expect_response("**/jobs"):
        page.keyboard.press("Control+Enter")
    page.evaluate("""() => { for (let i = 0; i < 5; i += 1) document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, repeat: true, bubbles: true })); }""")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator(".zi-shortcuts")).to_be_visible()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".zi-shortcuts")).to_be_hidden()
    expect(page.locator(".zi-queue")).to_be_hidden()
    expect(page.locator(".zi-running")).to_be_visible()
    door.open()
    expect(page.locator(".zi-strip li")).to_have_count(1)


def test_the_focus_stays_in_the_rows(fake: Fake, open_page, hold):
    """After a row's cross the next row has the focus, after the last one Generate."""
    page, door = open_page(fake.url), hold(1)
    for number in range(3):
        press(page, f"focused {number}")
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Stop: focused 1").press("Enter")
    expect(page.get_by_role("button", name="Stop: focused 2")).to_be_focused()
    page.get_by_role("button", name="Stop all").press("Enter")
    expect(page.locator("#zi-generate")).to_be_focused()
    door.open()


def test_rows_say_what_is_drawn(fake: Fake, open_page, hold):
    """Alternatives are shown as they were decided."""
    page, door = open_page(fake.url), hold(1)
    for _ in range(2):
        press(page, "a {red|blue} row")
    expect(rows(page)).to_have_count(2)
    for row in rows(page).all():
        expect(row.locator(".zi-row-prompt")).to_have_text(re.compile("^a (red|blue) row$"))
    door.open()


def test_the_picture_stays_until_the_next_has_something_to_show(fake: Fake, open_page, hold):
    """While the next one waits, the last picture and the progress are both to be seen."""
    page = open_page(fake.url)
    generate(page, "there before", "generated")
    door = hold(3)
    press(page, "on its way")
    expect(page.locator(".zi-course")).to_contain_text("step 2 of 8")
    expect(page.locator(".zi-open img")).to_be_visible()
    door.open()
    expect(page.locator(".zi-asked")).to_have_text("on its way")
    expect(page.locator(".zi-course")).to_be_hidden()
