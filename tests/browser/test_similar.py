"""Pictures one already has for words like those being typed."""

import re

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.waiting import wait_until

from .conftest import Fake, Watch, generate, holding, http

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

FOX = "a red fox in deep snow"
HOSTILE = (
    "${alert(1)} and so on",
    "`${alert(1)}` and ` alone",
    "back\\slash \\u{ \\x \\",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>{{value}}",
)


def have(fake: Fake, prompt: str, **fields: object) -> None:
    """Have a picture drawn, and wait until the history can find it."""
    http.post(f"{fake.url}/generate", json={"prompt": prompt, **fields}).raise_for_status()
    wait_until(lambda: prompt in {each["parameters"]["prompt"] for each in similar(fake, prompt)})


def similar(fake: Fake, text: str) -> list[dict[str, dict[str, str]]]:
    return http.get(f"{fake.url}/history", params={"similar": text}).raise_for_status().json()["pictures"]


def strip(page: Page) -> Locator:
    return page.locator(".zi-similar")


def write(page: Page, text: str) -> None:
    page.fill("#zi-prompt textarea", text)


def asked_for(page: Page) -> list[str]:
    """Collect what the page looks for from now on."""
    asked: list[str] = []
    page.on(
        "request",
        lambda request: asked.append(httpx.URL(request.url).params["similar"]) if "similar=" in request.url else None,
    )
    return asked


def test_what_one_has_is_offered_and_one_click_away(fake: Fake, open_page):
    """Similar prompts show their pictures; keys reach them; one brings its settings and itself, and draws nothing."""
    have(fake, FOX, seed=21, width=192)
    drawn = len(fake.generator.recipes)
    page = open_page(fake.url)
    write(page, "a red fox in the deep snow")
    offer = strip(page).get_by_role("button", name=FOX)
    expect(strip(page)).to_contain_text("You already have")
    expect(page.locator(".zi-empty")).to_be_visible()
    expect(page.locator("#zi-prompt textarea")).to_have_value("a red fox in the deep snow")
    offer.press("Enter")
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator("#zi-prompt textarea")).to_have_value(FOX)
    expect(page.locator("#zi-seed input")).to_have_value("21")
    expect(page.locator("#zi-width input")).to_have_value("192")
    assert len(fake.generator.recipes) == drawn


def test_it_moves_nothing(fake: Fake, open_page):
    """Form and card do not move when the row appears and disappears."""
    have(fake, FOX)
    page = open_page(fake.url)
    write(page, FOX)
    expect(strip(page)).to_be_visible()
    # Both in one task, so that nothing else on the page can move anything in between.
    places = page.evaluate("""() => {
      const parts = ["#zi-prompt", "#zi-generate", "#zi-seed", ".zi-card"].map((it) => document.querySelector(it));
      const measured = () => JSON.stringify(parts.map((part) => part.getBoundingClientRect()));
      const shown = measured();
      document.querySelector(".zi-similar").hidden = true;
      return [shown, measured()];
    }""")
    assert places[0] == places[1]


def test_it_asks_seldom(fake: Fake, open_page):
    """Not for a few letters, not twice for the same words, not from behind another tab."""
    page = open_page(fake.url, clock=True)
    asked = asked_for(page)
    write(page, "a fox")
    write(page, FOX)
    wait_until(lambda: page.evaluate("1") and asked == [FOX])
    page.fill("#zi-seed input", "5")
    write(page, f"{FOX} ")
    write(page, FOX)
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-history")).to_have_attribute("aria-busy", "false")
    page.evaluate("zimage.form.fill({ prompt: 'written from elsewhere' })")
    page.wait_for_function("zimage.form.values.prompt === 'written from elsewhere'")
    page.clock.fast_forward(60_000)
    assert asked == [FOX]
    page.get_by_role("tab", name="Create").click()
    wait_until(lambda: page.evaluate("1") and asked == [FOX, "written from elsewhere"])


def test_chinese_needs_fewer_characters(fake: Fake, open_page):
    """A Chinese character says as much as two letters."""
    have(fake, "红色的狐狸")
    page = open_page(fake.url, locale="zh-CN")
    write(page, "红色的狐狸")
    expect(strip(page)).to_contain_text("你已经有这些")
    expect(strip(page).get_by_role("button", name="红色的狐狸")).to_be_visible()


def test_nothing_similar_and_trouble_show_nothing(fake: Fake, open_page, watch: Watch):
    """No suggestion is no row; a server in trouble costs suggestions only, and the next words are looked for again."""
    have(fake, FOX)
    page = open_page(fake.url)
    write(page, FOX)
    expect(strip(page)).to_be_visible()
    write(page, "quite another purple elephant")
    expect(strip(page)).to_be_hidden()
    page.route("**/history?*", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        write(page, FOX)
    expect(strip(page)).to_be_hidden()
    page.unroute("**/history?*")
    write(page, f"{FOX}!")
    expect(strip(page)).to_be_visible()
    watch.errors.clear()  # the browser's own line about the aborted request


def test_a_late_answer_is_ignored(fake: Fake, open_page):
    """Words that were overtaken while they were looked for suggest nothing."""
    have(fake, FOX)
    page = open_page(fake.url)
    held: list[Route] = []
    page.route("**/history?*", holding(held))
    write(page, FOX)
    wait_until(lambda: page.evaluate("1") and held)
    write(page, "short")
    page.wait_for_function("zimage.form.values.prompt === 'short'")
    found = {"pictures": similar(fake, FOX), "cursor": None}
    held[0].fulfill(json=found)
    # An answer that was asked for later has arrived: so has the one before it.
    later = page.evaluate_handle("() => ({ answer: fetch('/history?limit=1').then((answer) => answer.json()) })")
    wait_until(lambda: page.evaluate("1") and len(held) == 2)
    held[1].fulfill(json=found)
    assert later.evaluate("({ answer }) => answer") == found
    expect(strip(page)).to_be_hidden()


def test_a_picture_deleted_meanwhile_is_no_suggestion(fake: Fake, open_page):
    """Where the thumbnail does not come there is nothing to offer."""
    have(fake, FOX)
    page = open_page(fake.url)
    page.route("**/thumbnail.webp*", lambda route: route.fulfill(status=404))
    asked = asked_for(page)
    with page.expect_response("**/thumbnail.webp*"):
        write(page, FOX)
    assert asked == [FOX]
    expect(strip(page)).to_be_hidden()


def test_hostile_prompts_are_text(fake: Fake, open_page):
    """What others called their pictures is an alternative text and nothing that runs."""
    page = open_page(fake.url)
    for prompt in HOSTILE:
        have(fake, prompt)
        write(page, prompt)
        image = strip(page).locator("img").first
        expect(image).to_have_attribute("alt", prompt)


def test_after_a_reload_the_row_is_back(fake: Fake, open_page):
    """The words come back into the form, and so does what they suggest."""
    have(fake, FOX)
    page = open_page(fake.url)
    write(page, FOX)
    expect(strip(page)).to_be_visible()
    page.reload()
    page.wait_for_function("document.querySelector('#zi-seed input')?.value")
    expect(page.locator("#zi-prompt textarea")).to_have_value(FOX)
    expect(strip(page).get_by_role("button", name=FOX).first).to_be_visible()


def test_what_is_on_the_card_is_not_offered(fake: Fake, open_page):
    """The picture one looks at is left out, others of its words are not; it comes back once another is shown."""
    prompt = "a lighthouse in thick fog"
    have(fake, prompt, seed=1)
    have(fake, prompt, seed=2)
    page = open_page(fake.url)
    write(page, prompt)
    expect(strip(page).get_by_role("button")).to_have_count(2)
    titles = strip(page).get_by_role("button")
    titles.first.click()
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(titles).to_have_count(1)
    one = page.input_value("#zi-seed input")
    expect(titles).to_have_attribute("title", re.compile(rf"(?<!{one})$"))
    titles.click()
    expect(page.locator("#zi-seed input")).not_to_have_value(one)
    expect(titles).to_have_attribute("title", re.compile(rf"{one}$"))


def test_what_was_just_drawn_is_among_them(fake: Fake, open_page):
    """Drawn with another seed, the picture of before is offered, without a change of the text."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "61")
    generate(page, "a lonely lighthouse in the fog", "generated")
    expect(page.locator(".zi-facts-all")).to_contain_text("61")
    page.fill("#zi-seed input", "62")
    page.click("#zi-generate")
    expect(page.locator(".zi-facts-all")).to_contain_text("62")
    offer = strip(page).get_by_role("button", name="a lonely lighthouse in the fog")
    expect(offer).to_have_count(1)
    expect(offer).to_have_attribute("title", "a lonely lighthouse in the fog\nSeed 61")
