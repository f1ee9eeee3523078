"""The viewer: pictures in the whole window."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import Fake, Watch

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

VIEWER = "dialog.zi-viewer"


@pytest.fixture
def pictures(fake: Fake, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Open pages that show three pictures of *side* pixels squared, with seeds 7 to 9."""

    def open_(side: int = 1024, **options: object) -> Page:
        page = open_page(fake.url, **options)
        page.evaluate(
            """side => zimage.generate(
                { ...zimage.form.values, prompt: 'seen', n: 3, seed: 7, width: side, height: side })""",
            side,
        )
        expect(page.locator(".zi-pictures .zi-badge")).to_have_count(3)
        return page

    return open_


def open_at(page: Page, index: int) -> Locator:
    """Open the viewer as a person does, and wait until it shows its picture."""
    page.locator(".zi-pictures .zi-open").nth(index).click()
    shown(page)
    return page.locator(VIEWER)


def shown(page: Page) -> None:
    page.wait_for_function("document.querySelector('dialog.zi-viewer[open] .zi-viewer-stage img')?.naturalWidth > 0")


def scale(page: Page) -> int:
    return int((page.text_content(".zi-viewer-scale") or "").split()[0])


def middle(page: Page) -> tuple[float, float]:
    box = page.locator(".zi-viewer-stage img").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_picture_of_the_card_opens_and_focus_returns_to_it(pictures: Callable[..., Page]):
    """A click shows the picture with its place, seed and size; Esc closes, and the keys are where they were."""
    page = pictures()
    viewer = open_at(page, 1)
    expect(viewer).to_have_accessible_name("Picture viewer")
    expect(viewer).to_contain_text("2 / 3")
    expect(viewer).to_contain_text("Seed 8 · 1024 × 1024")
    expect(viewer.locator("img")).to_have_attribute("alt", "Picture drawn for: seen")
    expect(page.locator("html")).to_have_css("overflow", "hidden")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.locator(".zi-pictures .zi-open").nth(1)).to_be_focused()
    expect(page.locator("html")).not_to_have_css("overflow", "hidden")


def test_it_opens_again_right_after_it_was_closed(pictures: Callable[..., Page]):
    """The `close` event of the viewer is delayed; pictures opened in between stay."""
    page = pictures()
    open_at(page, 0)
    page.evaluate(
        """() => new Promise((resolve) => {
          document.querySelector("dialog.zi-viewer").addEventListener("close", resolve);
          zimage.viewer.close();
          document.querySelectorAll(".zi-pictures .zi-open")[1].click();
        })"""
    )
    shown(page)
    expect(page.locator(VIEWER)).to_contain_text("2 / 3")


def test_keys_and_buttons_go_from_one_to_the_next(pictures: Callable[..., Page]):
    """Arrows, Home and End move between the pictures and stop at the ends, where the button is gone."""
    page = pictures()
    viewer = open_at(page, 0)
    back, on = viewer.get_by_label("Previous picture"), viewer.get_by_label("Next picture")
    expect(back).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_contain_text("1 / 3")
    page.keyboard.press("ArrowRight")
    expect(viewer).to_contain_text("Seed 8")
    on.click()
    expect(viewer).to_contain_text("3 / 3")
    expect(on).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_contain_text("2 / 3")
    page.keyboard.press("Home")
    expect(viewer).to_contain_text("1 / 3")
    page.keyboard.press("End")
    expect(viewer).to_contain_text("Seed 9")


def test_wheel_keys_and_double_click_zoom(pictures: Callable[..., Page]):
    """A large picture fits at first; it comes nearer by wheel, + or double click, and 0 fits it again."""
    page = pictures()
    open_at(page, 0)
    fitting = scale(page)
    assert 50 < fitting < 100
    page.keyboard.press("+")
    assert scale(page) > fitting
    page.keyboard.press("0")
    assert scale(page) == fitting
    page.keyboard.press("-")
    assert scale(page) == fitting
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "fitting => parseInt(document.querySelector('.zi-viewer-scale').textContent) > fitting", arg=fitting
    )
    page.keyboard.press("0")
    page.mouse.dblclick(400, 400)
    assert scale(page) > 100
    page.mouse.dblclick(400, 400)
    assert scale(page) == fitting


def test_the_wheel_keeps_the_point_under_it(pictures: Callable[..., Page]):
    """What the mouse points at stays there while it comes nearer."""
    page = pictures()
    open_at(page, 0)
    page.keyboard.press("+")
    page.keyboard.press("+")
    point = """([x, y]) => {
      const box = document.querySelector('.zi-viewer-stage img').getBoundingClientRect();
      return [(x - box.x) / box.width, (y - box.y) / box.height];
    }"""
    before = page.evaluate(point, [600, 400])
    nearer = scale(page)
    page.mouse.move(600, 400)
    page.mouse.wheel(0, -200)
    page.wait_for_function("old => parseInt(document.querySelector('.zi-viewer-scale').textContent) > old", arg=nearer)
    after = page.evaluate(point, [600, 400])
    assert after == pytest.approx(before, abs=0.01)


def test_a_near_picture_is_dragged_within_the_window(pictures: Callable[..., Page]):
    """Dragging moves a picture that is larger than the window, never beyond its edge, and is no click beside it."""
    page = pictures()
    viewer = open_at(page, 0)
    for _ in range(6):
        page.keyboard.press("+")
    x, y = middle(page)
    page.mouse.move(640, 400)
    page.mouse.down()
    page.mouse.move(500, 320, steps=4)
    page.mouse.up()
    assert middle(page) == pytest.approx((x - 140, y - 80), abs=2)
    page.mouse.move(10, 700)
    page.mouse.down()
    page.mouse.move(1270, 100, steps=4)
    page.mouse.up()
    box = page.locator(".zi-viewer-stage img").bounding_box()
    assert box
    assert box["x"] <= 0
    expect(viewer).to_be_visible()
    x, _ = middle(page)
    page.keyboard.press("Shift+ArrowRight")
    assert middle(page)[0] < x


def test_beside_the_picture_a_click_closes(pictures: Callable[..., Page]):
    """A click on the picture leaves it open, one beside it closes it, and so does the button."""
    page = pictures()
    viewer = open_at(page, 0)
    page.mouse.click(640, 400)
    expect(viewer).to_be_visible()
    page.mouse.click(130, 700)
    expect(viewer).to_be_hidden()
    open_at(page, 0)
    viewer.get_by_label("Close").click()
    expect(viewer).to_be_hidden()


def test_tiny_pictures_are_shown_large_and_with_their_pixels(pictures: Callable[..., Page]):
    """A picture of 128 pixels fills the window by a whole factor, unblurred."""
    page = pictures(128)
    open_at(page, 0)
    expect(page.locator(".zi-viewer-stage img")).to_have_css("image-rendering", "pixelated")
    assert scale(page) == 600
    page.set_viewport_size({"width": 1280, "height": 460})
    page.wait_for_function("document.querySelector('.zi-viewer-scale').textContent === '300 %'")


def test_it_saves_the_picture(pictures: Callable[..., Page]):
    """The download is the PNG, named by its key and seed; by button or by key."""
    page = pictures()
    viewer = open_at(page, 1)
    with page.expect_download() as saved:
        viewer.get_by_label("Download PNG").click()
    assert re.fullmatch(r"zimage_[0-9a-f]{8}_8\.png", saved.value.suggested_filename)
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    with page.expect_download():
        page.keyboard.press("d")


def test_f_fills_the_screen_and_gives_it_back(pictures: Callable[..., Page]):
    """F is full screen on and off; closing gives the screen back too."""
    page = pictures()
    viewer = open_at(page, 0)
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement !== null")
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement === null")
    expect(viewer).to_be_visible()
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement !== null")
    viewer.get_by_label("Close").click()
    page.wait_for_function("document.fullscreenElement === null")
    expect(viewer).to_be_hidden()


def test_escape_in_the_viewer_stops_no_run(fake: Fake, pictures: Callable[..., Page], hold: Callable[..., Any]):
    """While a picture is drawn, Esc closes the viewer; only a second Esc is Stop."""
    page = pictures(128)
    picture = page.get_attribute(".zi-pictures .zi-open", "href")
    hold()
    page.fill("#zi-prompt textarea", "held")
    page.click("#zi-generate")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    page.evaluate(
        "url => zimage.viewer.open([{ image_url: url, alt: 'seen', seed: 7, width: 128, height: 128 }])", picture
    )
    shown(page)
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator(VIEWER)).to_be_hidden()
    expect(page.locator("body.zi-busy")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("body.zi-busy")).to_have_count(0)
    assert [recipe.prompt for recipe in fake.generator.recipes].count("held") <= 3


def test_fingers_pinch_and_swipe(pictures: Callable[..., Page]):
    """Two fingers zoom, one finger goes to the next picture."""
    page = pictures(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.locator(".zi-pictures .zi-open").first.tap()
    shown(page)
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[int, int]) -> None:
        spots = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    touch("touchStart", (300, 400))
    for x in (240, 160, 80):
        touch("touchMove", (x, 402))
    touch("touchEnd")
    expect(page.locator(VIEWER)).to_contain_text("2 / 3")
    shown(page)
    fitting = scale(page)
    touch("touchStart", (150, 400), (240, 400))
    for by in (20, 60, 100):
        touch("touchMove", (150 - by, 400), (240 + by, 400))
    touch("touchEnd")
    page.wait_for_function(
        "old => parseInt(document.querySelector('.zi-viewer-scale').textContent) > 2 * old", arg=fitting
    )
    expect(page.locator(VIEWER)).to_contain_text("2 / 3")


def test_a_picture_that_is_gone_is_reported(fake: Fake, open_page: Callable[..., Page], watch: Watch):
    """A deleted picture leaves words, not a broken image, and its neighbours can still be seen."""
    page = open_page(fake.url)
    page.evaluate(
        """zimage.viewer.open([1, 2].map((seed) => (
            { image_url: `/images/${String(seed).repeat(64)}.png`, alt: '', seed, width: 512, height: 512 })))"""
    )
    expect(page.locator(".zi-viewer-gone")).to_contain_text("may have been deleted")
    page.keyboard.press("ArrowRight")
    expect(page.locator(VIEWER)).to_contain_text("2 / 2")
    assert watch.errors == []
