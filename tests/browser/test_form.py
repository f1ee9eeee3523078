"""The form as a whole: what is seen of it without scrolling, and the number of pictures."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, set_count, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

PARTS = [
    *("#zi-prompt textarea", "#zi-generate", "#zi-n", ".zi-styles-all", "#zi-style", ".zi-sizes"),
    *("#zi-seed input", "#zi-dice", ".zi-rolls", ".zi-advanced-head"),
]


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_the_form_fits_a_small_window(fake: Fake, open_page: Callable[..., Page], locale: str):
    """In 1280x800 all of it is seen without scrolling, also with the lines that a prompt adds."""
    page = open_page(fake.url, viewport={"width": 1280, "height": 800}, locale=locale)
    write(page, "a prompt that is counted")
    expect(page.locator(".zi-count")).to_be_visible()
    for part in PARTS:
        box = page.locator(part).bounding_box()
        assert box, part
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 800, part
    assert page.evaluate("scrollY") == 0


def test_a_phone_has_one_column_and_the_button_at_the_bottom(fake: Fake, open_page: Callable[..., Page]):
    """At 390 pixels nothing is beside anything else; the button and the number of pictures are always in reach."""
    page = open_page(fake.url, viewport={"width": 390, "height": 844})
    page.click(".zi-custom")
    set_count(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for y in (0, 500, 5000):
        page.evaluate("y => scrollTo(0, y)", y)
        for part in ("#zi-generate", "#zi-n", "#zi-stop"):
            box = page.locator(part).bounding_box()
            assert box
            assert box["y"] > 750
            assert box["y"] + box["height"] <= 844
            assert box["width"] >= 44


def test_the_fixed_button_leaves_room_at_400_percent(fake: Fake, open_page: Callable[..., Page]):
    """Of 1280x800 at 400 % it takes a quarter of the height at most, and nothing is cut off."""
    page = open_page(fake.url, viewport={"width": 320, "height": 200})
    set_count(page, 3)
    bar = page.locator(".zi-actions").bounding_box()
    assert bar
    assert bar["height"] <= 50
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for part in ("#zi-generate", "#zi-n", "#zi-stop"):
        box = page.locator(part).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        assert min(box["width"], box["height"]) >= 24
    page.get_by_role("radiogroup", name="Pictures").get_by_role("radio", name="4").check()


def shown(page: Page) -> list[str]:
    return page.locator("#zi-n label").evaluate_all(
        "all => all.filter((it) => it.checkVisibility()).map((it) => it.innerText.trim())"
    )


def test_four_numbers_of_pictures_and_another_one_while_it_is_chosen(fake: Fake, open_page: Callable[..., Page]):
    """A number of an earlier session or a link is one choice more, over a reload too; it goes with the next choice."""
    page = open_page(fake.url)
    assert shown(page) == ["1", "2", "4", "8"]
    set_count(page, 3)
    assert shown(page) == ["1", "2", "3", "4", "8"]
    page.reload()
    expect(page.locator("#zi-n input:checked")).to_have_value("3")
    assert shown(page) == ["1", "2", "3", "4", "8"]
    assert page.evaluate("zimage.form.values.n") == 3
    page.focus("#zi-n input:checked")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("zimage.form.values.n === 4")
    assert shown(page) == ["1", "2", "4", "8"]
    for n in (8, 1, 2, 4):
        page.keyboard.press("ArrowRight")
        page.wait_for_function("n => zimage.form.values.n === n", arg=n)


def test_a_number_that_no_request_has_is_refused_at_the_field(fake: Fake, open_page: Callable[..., Page]):
    """Nothing is chosen for it in silence."""
    page = open_page(fake.url)
    write(page, "ninety-nine pictures")
    page.evaluate("zimage.form.fill({ n: 99 })")
    page.wait_for_function("zimage.form.values.n === 99")
    page.click("#zi-generate")
    expect(page.locator("#zi-n.zi-wrong")).to_be_visible()
    expect(page.locator("#zi-n input:checked")).to_have_count(0)
