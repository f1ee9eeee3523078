"""The pictures of this sitting: the strip, comparing two, and how much room a picture gets."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import Fake, generate, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def items(page: Page) -> Locator:
    return page.locator(".zi-strip li")


def selected(page: Page) -> list[int]:
    return page.locator(".zi-strip li").evaluate_all(
        "items => items.flatMap((item, i) => item.ariaSelected === 'true' ? [i] : [])"
    )


def draw(page: Page, *seeds: int) -> None:
    for seed in seeds:
        page.fill("#zi-seed input", str(seed))
        generate(page, f"number {seed}", "generated")
        expect(page.locator(".zi-asked")).to_have_text(f"number {seed}")


def several(page: Page, prompt: str, n: int, **fields: int) -> None:
    write(page, prompt)
    page.evaluate("fields => zimage.form.fill(fields)", {"n": n, **fields})
    page.wait_for_function("n => zimage.form.values.n === n", arg=n)
    page.click("#zi-generate")
    expect(page.locator('.zi-card[data-view="result"] figure[data-state="there"]')).to_have_count(n)


def test_the_strip_has_every_picture_and_arrow_keys_show_them(fake: Fake, open_page):
    """Each picture stays to be looked at again, by pointer or keys, also after a reload; nothing is asked for that."""
    page = open_page(fake.url)
    expect(page.locator(".zi-strip")).to_be_hidden()
    draw(page, 401, 402, 403)
    expect(items(page)).to_have_count(3)
    assert selected(page) == [2]
    items(page).nth(0).click()
    expect(page.locator(".zi-asked")).to_have_text("number 401")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".zi-asked")).to_have_text("number 402")
    page.keyboard.press("End")
    expect(page.locator(".zi-asked")).to_have_text("number 403")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".zi-asked")).to_have_text("number 401")
    assert selected(page) == [0]
    page.reload()
    expect(items(page)).to_have_count(3)
    expect(page.locator(".zi-asked")).to_have_text("number 401")
    items(page).nth(1).click()
    expect(page.locator(".zi-asked")).to_have_text("number 402")


def test_the_same_picture_is_there_once(fake: Fake, open_page):
    """Asked for again, a picture becomes the newest of the strip instead of standing there twice."""
    page = open_page(fake.url)
    draw(page, 411, 412)
    page.fill("#zi-seed input", "411")
    generate(page, "number 411", "memory")
    expect(items(page)).to_have_count(2)
    assert selected(page) == [1]
    expect(items(page).nth(1)).to_have_attribute("title", re.compile("^number 411"))


def test_one_of_several_leads_back_to_all(fake: Fake, open_page):
    """A picture of a grid is shown alone, large; a button shows them all again."""
    page = open_page(fake.url)
    several(page, "a grid in the strip", 3, seed=420)
    expect(items(page)).to_have_count(3)
    items(page).nth(1).click()
    expect(page.locator(".zi-pictures figure")).to_have_count(1)
    expect(page.locator(".zi-facts-all")).to_contain_text("421")
    page.get_by_role("button", name="Show all 3").click()
    expect(page.locator(".zi-pictures figure")).to_have_count(3)


def test_all_of_a_request_keep_their_seeds(fake: Fake, open_page):
    """One of several that is asked for alone stays one of them; one that was deleted leaves its place empty."""
    page = open_page(fake.url)
    several(page, "seeds of a grid", 3, seed=480)
    write(page, "seeds of a grid")
    page.evaluate("zimage.form.fill({ n: 1, seed: 481 })")
    page.wait_for_function("zimage.form.values.seed === 481")
    page.click("#zi-generate")
    expect(page.locator(".zi-pictures figure")).to_have_count(1)
    page.get_by_role("button", name="Show all 3").click()
    expect(page.locator(".zi-pictures figure dd")).to_have_text(["480", "481", "482"])
    items(page).nth(0).click()
    page.hover(".zi-pictures figure")
    page.locator('[data-tool="delete"]').click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(items(page)).to_have_count(2)
    items(page).nth(0).click()
    page.get_by_role("button", name="Show all 2").click()
    expect(page.locator('.zi-pictures figure[data-state="deleted"]')).to_have_count(1)
    expect(page.locator(".zi-pictures figure dd")).to_have_text(["481", "482"])
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".zi-pictures figure dd")).to_have_text(["480", "481", "482"])


def test_another_seed_is_of_the_picture_on_the_card(fake: Fake, open_page):
    """Below a picture of the strip, the button draws that prompt, whatever is in the form."""
    page = open_page(fake.url)
    draw(page, 491, 492)
    items(page).nth(0).click()
    page.click(".zi-new-seed")
    expect(items(page)).to_have_count(3)
    expect(page.locator(".zi-asked")).to_have_text("number 491")
    expect(page.locator("#zi-prompt textarea")).to_have_value("number 492")
    assert fake.generator.recipes[-1].seed != 491


def test_a_picture_deleted_while_others_are_drawn_stays_deleted(fake: Fake, open_page, hold):
    """Its tile is empty at once, and at the end of the request too; what is drawn again after that is shown."""
    page = open_page(fake.url)
    door = hold(3, only=[502])
    write(page, "deleted in the middle")
    page.evaluate("zimage.form.fill({ n: 3, seed: 500 })")
    page.wait_for_function("zimage.form.values.seed === 500")
    page.click("#zi-generate")
    there = page.locator('.zi-pictures figure[data-state="there"]')
    expect(there).to_have_count(2)
    there.first.hover()
    there.first.locator('[data-tool="delete"]').click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(there).to_have_count(1)
    door.open()
    expect(page.locator('.zi-card[data-view="result"]')).to_be_visible()
    expect(there).to_have_count(2)
    expect(items(page)).to_have_count(2)
    page.click("#zi-generate")
    expect(there).to_have_count(3)


def test_a_star_on_the_card_is_one_in_the_viewer(fake: Fake, open_page):
    """Starred on the card, the picture is starred in the viewer, and one press takes the star."""
    page = open_page(fake.url)
    draw(page, 511)
    page.hover(".zi-pictures figure")
    page.locator('.zi-pictures [data-tool="star"]').click()
    expect(page.locator(".zi-pictures .zi-on")).to_have_count(1)
    page.click(".zi-open")
    expect(page.locator(".zi-viewer-star.zi-on")).to_be_visible()
    page.keyboard.press("s")
    expect(page.locator(".zi-viewer-star.zi-on")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".zi-pictures .zi-on")).to_have_count(0)


def test_typing_on_a_phone_is_not_scrolled_away(fake: Fake, open_page, hold):
    """A picture that arrives does not take the field that is typed in out of sight."""
    page = open_page(fake.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    door = hold(3)
    write(page, "drawn while typing")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    page.evaluate("window.scrollTo(0, 0)")
    page.focus("#zi-prompt textarea")
    page.keyboard.type(" on")
    door.open()
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(page.locator("#zi-prompt textarea")).to_be_in_viewport(ratio=1)


def test_a_picture_that_is_gone_leaves_the_strip(fake: Fake, open_page):
    """A file that cannot be had any more is no item after a reload."""
    page = open_page(fake.url)
    draw(page, 431, 432)
    items(page).nth(0).click()
    key = page.get_attribute(".zi-open", "href").removeprefix("/images/")[:64]
    # The browser has kept the file, but for this.
    page.route(f"**/images/{key}*/**", lambda route: route.fulfill(status=404, body=""))
    page.route(f"**/images/{key}*", lambda route: route.fulfill(status=404, body=""))
    page.reload()
    expect(items(page)).to_have_count(1)
    expect(items(page).nth(0)).to_have_attribute("title", re.compile("^number 432"))


def test_two_pictures_are_compared(fake: Fake, open_page):
    """The picture and the one before it: a line between them, moved by keys, or side by side; Esc leaves."""
    page = open_page(fake.url)
    draw(page, 441)
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()  # there is nothing before it
    draw(page, 442)
    page.get_by_role("button", name="Compare").click()
    dialog = page.locator(".zi-compare")
    assert [image.get_attribute("src") for image in dialog.locator("img").all()] == page.locator(
        ".zi-strip img"
    ).evaluate_all("images => images.map(image => image.getAttribute('src').replace('/thumbnail.webp', '.png'))")
    line = dialog.get_by_role("slider")
    line.press("Home")
    assert dialog.locator(".zi-both").evaluate("both => both.style.getPropertyValue('--line')") == "0%"
    dialog.get_by_role("button", name="Side by side").click()
    expect(line).to_be_hidden()
    boxes = [image.bounding_box() for image in dialog.locator("img").all()]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".zi-asked")).to_have_text("number 442")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (2560, 1440)])
def test_one_picture_fills_the_height(fake: Fake, open_page, width, height):
    """The picture ends where its line begins, and all of it, with the strip, is in the window without scrolling."""
    page = open_page(fake.url, viewport={"width": width, "height": height})
    draw(page, width)
    strip, picture = page.locator(".zi-strip").bounding_box(), page.locator(".zi-open img").bounding_box()
    assert strip["y"] + strip["height"] <= height
    assert picture["height"] >= 0.6 * height
    assert page.evaluate("document.scrollingElement.scrollTop") == 0


@pytest.mark.parametrize(
    ("shape", "n", "columns"), [((144, 256), 4, 4), ((128, 128), 4, 2), ((128, 128), 8, 4), ((224, 96), 2, 1)]
)
def test_a_grid_has_the_columns_of_the_largest_pictures(fake: Fake, open_page, shape, n, columns):
    """Four upright pictures stand in one row, square ones in two, two very wide ones below each other."""
    page = open_page(fake.url, viewport={"width": 1280, "height": 800})
    several(page, f"a grid of {n} {shape}", n, width=shape[0], height=shape[1], seed=460)
    lefts = {round(figure.bounding_box()["x"]) for figure in page.locator(".zi-pictures figure").all()}
    assert len(lefts) == columns
    for figure in page.locator(".zi-pictures figure").all():
        figure.hover()
        room, tools = figure.bounding_box(), figure.locator(".zi-tools").bounding_box()
        assert room["x"] <= tools["x"]
        assert tools["x"] + tools["width"] <= room["x"] + room["width"]
        badge = figure.locator(".zi-badge")
        assert badge.evaluate("badge => badge.scrollWidth <= badge.clientWidth")
