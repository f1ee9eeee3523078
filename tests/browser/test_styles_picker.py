"""The styles as tiles with a drawing each."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from zimage_cache.prompts.styles import styles
from zimage_cache.web.page.swatches import swatch_rules, swatches

from .conftest import Fake

browser = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def test_every_style_has_its_drawing_and_every_drawing_its_style():
    """No tile is blank, and no drawing is left over."""
    assert swatches().keys() == styles().keys()


@pytest.mark.parametrize("style", sorted(styles()))
def test_a_drawing_is_small_and_of_itself(style: str):
    """Each is well-formed SVG below 2 kB that runs nothing and fetches nothing."""
    drawing = swatches()[style]
    assert len(drawing.encode()) < 2048
    assert ET.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<script|<image|href|\bon\w+=|url\((?!#)", drawing)


def test_the_rules_cannot_end_their_style_sheet():
    """No drawing contains markup or a quote after escaping."""
    rules = swatch_rules()
    assert "<" not in rules
    assert rules.count('"') == 4 * len(styles())


@pytest.fixture
def open_tiles(fake: Fake, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Open pages on which the tiles are drawn, and are one group."""

    def open_(**options: object) -> Page:
        page = open_page(fake.url, **options)
        page.wait_for_function(
            """count => {
              const radios = [...document.querySelectorAll('#zi-style input')];
              const picture = (radio) => getComputedStyle(radio.nextElementSibling, '::before').backgroundImage;
              return radios.length === count && radios.every((radio) => radio.name === radios[0].name)
                && radios.every((radio) => !radio.value || picture(radio) !== 'none');
            }""",
            arg=len(styles()) + 1,
        )
        return page

    return open_


class TestTiles:
    pytestmark = browser

    def test_each_tile_shows_its_drawing(self, open_tiles: Callable[..., Page]):
        """The browser can draw every one of them, and no two tiles look the same."""
        page = open_tiles()
        shown = page.evaluate(
            """async () => Promise.all([...document.querySelectorAll('#zi-style input:not([value=""])')].map(
                async (radio) => {
                  const address = getComputedStyle(radio.nextElementSibling, '::before').backgroundImage;
                  const image = Object.assign(new Image(), { src: address.slice(5, -2).replaceAll('\\\\"', '"') });
                  await image.decode();
                  return [radio.value, image.src];
                }))"""
        )
        assert [style for style, _ in shown] == list(styles())
        assert len({address for _, address in shown}) == len(styles())

    def test_a_tile_chooses_its_style(self, open_tiles: Callable[..., Page]):
        """A click chooses, the choice is named above the tiles, and it reaches the request."""
        page = open_tiles()
        page.locator("#zi-style label", has_text="Watercolour").click()
        expect(page.get_by_label("Watercolour")).to_be_checked()
        expect(page.locator(".zi-style-chosen")).to_have_text("Watercolour")
        assert page.evaluate("zimage.form.values.style") == "watercolor"
        page.locator("#zi-style label", has_text="None").click()
        expect(page.locator(".zi-style-chosen")).to_be_empty()

    def test_two_rows_until_there_is_a_reason_for_more(self, open_tiles: Callable[..., Page]):
        """What does not fit two rows waits behind a button, which says how much that is."""
        page = open_tiles()
        more, last = page.locator(".zi-styles-more"), page.locator("#zi-style label", has_text="Paper cut")
        expect(more).to_have_attribute("aria-expanded", "false")
        folded = int((more.text_content() or "").split()[0])
        expect(page.locator('#zi-style label[data-folded="true"]')).to_have_count(folded)
        expect(last).to_have_css("height", "0px")
        more.click()
        expect(more).to_have_text("Fewer")
        expect(page.locator('#zi-style label[data-folded="true"]')).to_have_count(0)
        last.click()
        expect(page.locator(".zi-style-chosen")).to_have_text("Paper cut")

    def test_a_folded_style_unfolds_when_the_form_is_filled_with_it(self, open_tiles: Callable[..., Page]):
        """A restored style is visible, in whichever row it is."""
        page = open_tiles()
        page.evaluate("zimage.form.fill({ style: 'papercut' })")
        expect(page.get_by_label("Paper cut")).to_be_checked()
        expect(page.locator(".zi-styles-more")).to_have_attribute("aria-expanded", "true")

    def test_arrows_go_through_all_of_them(self, open_tiles: Callable[..., Page]):
        """The tiles are one group: one stop of the Tab key, arrows choose, and folded tiles unfold on the way."""
        page = open_tiles()
        page.focus("#zi-style input:checked")
        for style in styles():
            page.keyboard.press("ArrowRight")
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()
            page.wait_for_function("style => zimage.form.values.style === style", arg=style)
        expect(page.locator(".zi-styles-more")).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Tab")
        expect(page.locator(".zi-classes input:checked")).to_be_focused()

    def test_no_arrow_is_lost_before_the_next_frame(self, open_tiles: Callable[..., Page]):
        """Gradio takes the group apart at each choice; it is whole again before the next key."""
        page = open_tiles()
        page.focus("#zi-style input:checked")
        page.evaluate("window.requestAnimationFrame = () => 0")
        for style in styles():
            page.keyboard.press("ArrowRight")
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()

    def test_a_phone_has_room_for_whole_tiles(self, open_tiles: Callable[..., Page]):
        """At 390 pixels no tile is cut off, and wide windows need no second look."""
        page = open_tiles(viewport={"width": 390, "height": 844})
        boxes = page.eval_on_selector_all(
            '#zi-style label:not([data-folded="true"])', "tiles => tiles.map((tile) => tile.getBoundingClientRect())"
        )
        assert len(boxes) == 10
        assert all(box["left"] >= 0 and box["right"] <= 390 and box["width"] > 60 for box in boxes)
        page.set_viewport_size({"width": 3840, "height": 2160})
        expect(page.locator(".zi-styles-more")).to_be_hidden()
