"""The viewer: pictures in the whole window."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.waiting import wait_until

from .conftest import Fake, Watch, http
from .test_accessibility import offences

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
    expect(viewer.locator(".zi-viewer-stage img")).to_have_attribute("alt", "Picture drawn for: seen")
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
    assert scale(page) == 500
    page.set_viewport_size({"width": 1280, "height": 460})
    page.wait_for_function("document.querySelector('.zi-viewer-scale').textContent === '200 %'")


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


def stored(fake: Fake, prompt: str, n: int = 3) -> list[dict[str, Any]]:
    """Have pictures drawn, and return them as the history lists them, in the order of their seeds."""
    body = {"prompt": prompt, "n": n, "seed": 40, "steps": 6, "width": 192, "height": 128}
    http.post(f"{fake.url}/generate", json=body).raise_for_status()

    def listed() -> list[dict[str, Any]]:
        answer = http.get(f"{fake.url}/history", params={"query": f'"{prompt}"'}).raise_for_status().json()
        return sorted(answer["pictures"], key=lambda each: each["parameters"]["seed"])

    wait_until(lambda: len(listed()) == n)
    return listed()


def open_from_history(page: Page, prompt: str) -> Locator:
    """Open the viewer at the newest picture of *prompt*, among those of that prompt."""
    page.get_by_role("tab", name="History").click()
    page.get_by_role("searchbox").fill(f'"{prompt}"')
    page.wait_for_function("document.querySelector('.zi-h-count').textContent.includes('found')")
    page.locator(".zi-h-tile").first.hover()
    page.locator(".zi-h-act-full").first.click()
    shown(page)
    return page.locator(VIEWER)


def test_prompt_and_settings_are_in_a_panel(fake: Fake, open_page: Callable[..., Page]):
    """I opens it and closes it; it follows the picture; each value is copied by a press."""
    stored(fake, "a panel <b>full</b> of settings")
    page = open_page(fake.url)
    page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    viewer = open_from_history(page, "a panel")
    panel = viewer.get_by_label("Prompt and settings", exact=True)
    expect(panel).to_be_hidden()
    page.keyboard.press("i")
    expect(panel).to_contain_text("a panel <b>full</b> of settings")
    for text in ("192x128", "Steps", "6", "euler", "image_2"):
        expect(panel).to_contain_text(text)
    assert offences(page) == []
    panel.get_by_role("button", name="Copy: Prompt", exact=True).click()
    assert page.evaluate("window.copied") == "a panel <b>full</b> of settings"
    before = panel.locator('[data-fact="seed"]').text_content()
    page.keyboard.press("ArrowRight")
    expect(panel.locator('[data-fact="seed"]')).not_to_have_text(before or "")
    page.keyboard.press("i")
    expect(panel).to_be_hidden()


def test_the_settings_of_the_shown_picture_are_used(fake: Fake, open_page: Callable[..., Page]):
    """U closes the viewer and fills the form on the Create tab; nothing is drawn, and the link copies the same."""
    stored(fake, "used from the viewer")
    page = open_page(fake.url)
    page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    drawn = len(fake.generator.recipes)
    viewer = open_from_history(page, "used from the viewer")
    seed = int((page.text_content(".zi-viewer-caption") or "").split()[1])
    page.keyboard.press("l")
    page.wait_for_function("window.copied")
    assert f"seed={seed}" in page.evaluate("window.copied")
    assert "prompt=used+from+the+viewer" in page.evaluate("window.copied")
    page.keyboard.press("u")
    expect(viewer).to_be_hidden()
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#zi-prompt textarea")).to_have_value("used from the viewer")
    expect(page.locator("#zi-seed input")).to_have_value(str(seed))
    expect(page.locator("#zi-width input")).to_have_value("192")
    assert len(fake.generator.recipes) == drawn


def test_a_star_in_the_viewer_is_a_star_everywhere(fake: Fake, open_page: Callable[..., Page]):
    """S stars and unstars; the History's tile shows it at once, and the star is there when the picture comes again."""
    stored(fake, "starred in the viewer")
    page = open_page(fake.url)
    viewer = open_from_history(page, "starred in the viewer")
    star = viewer.locator(".zi-viewer-star")
    expect(star).to_be_visible()
    page.keyboard.press("s")
    expect(star).to_have_accessible_name("Unstar")
    expect(page.locator(".zi-h-star.zi-on")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    expect(star).to_have_accessible_name("Star")
    page.keyboard.press("ArrowLeft")
    expect(star).to_have_accessible_name("Unstar")
    star.click()
    expect(star).to_have_accessible_name("Star")
    expect(page.locator(".zi-h-star.zi-on")).to_have_count(0)


def test_deleting_in_the_viewer_goes_on_to_the_next(fake: Fake, open_page: Callable[..., Page]):
    """Undo can be pressed over the viewer, and shows the picture again; deleting the last one closes the viewer."""
    stored(fake, "deleted in the viewer", 2)
    page = open_page(fake.url)
    viewer = open_from_history(page, "deleted in the viewer")
    number, question = page.locator(".zi-viewer-number"), page.get_by_role("dialog", name="Delete this picture?")
    expect(number).to_have_text("1 / 2")
    first = page.text_content(".zi-viewer-caption")
    page.keyboard.press("Delete")
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_have_count(0)
    expect(viewer).to_be_visible()
    page.keyboard.press("Delete")
    question.get_by_role("button", name="Delete").click()
    expect(page.locator(".zi-viewer-caption")).not_to_have_text(first or "")
    expect(number).to_have_text("")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".zi-viewer-caption")).to_have_text(first or "")
    expect(number).to_have_text("1 / 2")
    for _ in range(2):
        page.keyboard.press("Delete")
        question.get_by_role("button", name="Delete").click()
        expect(question).to_have_count(0)
    expect(viewer).to_be_hidden()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def test_a_reload_in_the_viewer_comes_back_to_the_list(fake: Fake, open_page: Callable[..., Page]):
    """The viewer is closed, and the History is as it was searched."""
    stored(fake, "reloaded in the viewer", 2)
    page = open_page(fake.url)
    open_from_history(page, "reloaded in the viewer")
    page.reload()
    expect(page.locator(".zi-h-tile")).to_have_count(2)
    expect(page.locator(VIEWER)).to_be_hidden()


def test_the_strip_shows_the_row(fake: Fake, open_page: Callable[..., Page]):
    """A thumbnail for each picture, the current one marked; a press goes there. A single picture has none."""
    stored(fake, "in a strip")
    page = open_page(fake.url)
    viewer = open_from_history(page, "in a strip")
    strip = viewer.locator(".zi-viewer-strip")
    expect(strip.locator("button")).to_have_count(3)
    expect(strip.locator("[aria-current]")).to_have_attribute("aria-label", re.compile("^1: "))
    strip.locator("button").last.click()
    expect(viewer).to_contain_text("3 / 3")
    expect(strip.locator("[aria-current]")).to_have_attribute("aria-label", re.compile("^3: "))
    page.keyboard.press("Escape")
    page.evaluate("zimage.viewer.open([{ image_url: '/x.png', alt: '', seed: 1, width: 64, height: 64 }])")
    expect(strip).to_be_hidden()


def test_what_is_not_known_of_a_picture_is_not_offered(fake: Fake, open_page: Callable[..., Page]):
    """A picture of a caller that tells only where it is can be looked at and downloaded; keys do no more either."""
    page = open_page(fake.url)
    page.evaluate("zimage.viewer.open([{ image_url: '/x.png', alt: '', seed: 1, width: 64, height: 64 }])")
    viewer = page.locator(VIEWER)
    for name in ("use", "star", "link", "compare", "formats", "remove"):
        expect(viewer.locator(f".zi-viewer-{name}")).to_be_hidden()
    expect(viewer.locator(".zi-viewer-download")).to_be_visible()
    for key in ("u", "s", "l", "c", "Delete"):
        page.keyboard.press(key)
    expect(viewer).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(1)


def test_a_picture_is_compared_with_the_one_before(pictures: Callable[..., Page]):
    """C and the button take the picture and the one before it; the first has none. Esc leads back to the viewer."""
    page = pictures()
    viewer, compared = open_at(page, 0), page.locator(".zi-compare figcaption")
    expect(viewer.locator(".zi-viewer-compare")).to_be_hidden()
    page.keyboard.press("c")
    expect(compared).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    expect(compared).to_have_text(["Before · Seed 7", "After · Seed 8"])
    page.keyboard.press("Escape")
    expect(compared).to_have_count(0)
    expect(viewer).to_be_visible()
    page.keyboard.press("ArrowRight")
    viewer.locator(".zi-viewer-compare").click()
    expect(compared).to_have_text(["Before · Seed 8", "After · Seed 9"])


def test_other_formats_in_the_viewer(fake: Fake, open_page: Callable[..., Page]):
    """The list opens over the viewer; Esc closes the list alone."""
    (first, *_) = stored(fake, "formats in the viewer", 1)
    page = open_page(fake.url)
    viewer = open_from_history(page, "formats in the viewer")
    viewer.get_by_role("button", name="Download in another format").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="WebP").click()
    assert saved.value.suggested_filename == f"zimage_{first['key'][:8]}_40.webp"
    viewer.get_by_role("button", name="Download in another format").click()
    expect(page.get_by_role("menuitem", name="JPEG")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menuitem", name="JPEG")).to_be_hidden()
    expect(viewer).to_be_visible()


@pytest.mark.parametrize("size", [(390, 844), (320, 256)])
def test_everything_fits_on_a_small_screen(fake: Fake, open_page: Callable[..., Page], size: tuple[int, int]):
    """On a phone, and at 400 %, all buttons are inside the window, and some of the picture is seen."""
    stored(fake, "on a small screen")
    page = open_page(fake.url, viewport={"width": size[0], "height": size[1]}, is_mobile=True, has_touch=True)
    viewer = open_from_history(page, "on a small screen")
    for button in viewer.locator(".zi-viewer-bar :is(button, a):visible, .zi-viewer-views button:visible").all():
        box = button.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] < box["y"] + box["height"] <= size[1]
    stage = page.locator(".zi-viewer-stage").bounding_box()
    assert stage
    assert stage["height"] > 80
    viewer.locator(".zi-viewer-info").tap()
    expect(viewer.get_by_label("Prompt and settings", exact=True)).to_contain_text("on a small screen")
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


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
