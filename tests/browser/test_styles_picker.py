"""The styles as tiles with a drawing each."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from zimage_cache.prompts.styles import styles
from zimage_cache.web.page.swatches import swatch_rules, swatches

from .conftest import Fake, write

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


SHOWN = "#zi-style label:not([hidden])"
TOPS = "tiles => tiles.map((tile) => tile.getBoundingClientRect().top)"
# Of each label: its words (in Chinese, characters), its lines, and by how much a line is wider than the tile.
LINES = """() => [...document.querySelectorAll('#zi-style label:not([hidden]) span')].map((span) => {
  const text = document.createRange();
  text.selectNodeContents(span);
  const lines = [...text.getClientRects()];
  const words = /[a-z]/i.test(span.textContent) ? span.textContent.split(' ').length : span.textContent.length;
  return [words, lines.length, Math.max(...lines.map((line) => line.width)) - span.parentElement.clientWidth];
})"""


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
        page.locator("#zi-style label", has_text="Photograph").click()
        expect(page.get_by_label("Photograph")).to_be_checked()
        expect(page.locator(".zi-style-chosen")).to_have_text("Photograph")
        assert page.evaluate("zimage.form.values.style") == "photo"
        page.locator("#zi-style label", has_text="None").click()
        expect(page.locator(".zi-style-chosen")).to_be_empty()

    def test_one_row_and_a_button_for_the_others(self, open_tiles: Callable[..., Page]):
        """The others lie over what is below, which stays in its place; a click on one chooses it and closes them."""
        page = open_tiles()
        button, last = page.locator(".zi-styles-all"), page.locator("#zi-style label", has_text="Paper cut")
        expect(button).to_have_text(f"All {len(styles())}")
        expect(button).to_have_attribute("aria-expanded", "false")
        expect(page.locator(SHOWN)).to_have_count(6)
        assert len(set(page.eval_on_selector_all(SHOWN, TOPS))) == 1
        expect(last).to_be_hidden()
        below = page.locator(".zi-sizes").bounding_box()
        button.click()
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(page.locator(SHOWN)).to_have_count(len(styles()) + 1)
        assert page.locator(".zi-sizes").bounding_box() == below
        last.click()
        expect(button).to_have_attribute("aria-expanded", "false")
        expect(page.locator(".zi-style-chosen")).to_have_text("Paper cut")
        expect(last).to_be_visible()
        expect(page.locator(SHOWN)).to_have_count(6)

    def test_a_chosen_style_is_always_in_the_row(self, open_tiles: Callable[..., Page]):
        """A restored style is visible without the others, also after a reload; one of the first stays in its place."""
        page = open_tiles()
        page.evaluate("zimage.form.fill({ style: 'papercut' })")
        expect(page.get_by_label("Paper cut")).to_be_checked()
        expect(page.locator(SHOWN).last).to_have_text("Paper cut")
        expect(page.locator(".zi-styles-all")).to_have_attribute("aria-expanded", "false")
        page.reload()
        expect(page.locator(SHOWN).last).to_have_text("Paper cut")
        expect(page.locator(SHOWN)).to_have_count(6)
        page.locator("#zi-style label", has_text="Film still").click()
        expect(page.locator(SHOWN).last).to_have_text("Anime")

    @pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
    @pytest.mark.parametrize("width", [390, 1280])
    def test_no_label_breaks_inside_a_word(self, open_tiles: Callable[..., Page], width: int, locale: str):
        """Whichever style is chosen, its label has as many lines as words at most, and fits between its neighbours."""
        page = open_tiles(viewport={"width": width, "height": 844}, locale=locale)
        page.click(".zi-styles-all")
        for style in ("", *styles()):
            page.evaluate("style => zimage.form.fill({ style })", style)
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()
            found = page.evaluate(LINES)
            assert all(lines <= words and wider <= 6 for words, lines, wider in found), (style, found)

    def test_arrows_go_through_all_that_are_shown(self, open_tiles: Callable[..., Page]):
        """The tiles are one group: one stop of the Tab key, and arrows choose; never one that is hidden."""
        page = open_tiles()
        page.focus("#zi-style input:checked")
        for style in [*list(styles())[:5], "", "photo"]:
            page.keyboard.press("ArrowRight")
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()
            page.wait_for_function("style => zimage.form.values.style === style", arg=style)
        page.focus(".zi-styles-all")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        for style in list(styles())[1:]:
            page.keyboard.press("ArrowRight")
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()
        expect(page.locator(".zi-styles-all")).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Tab")
        expect(page.locator(".zi-classes input:checked")).to_be_focused()
        expect(page.locator(".zi-styles-all")).to_have_attribute("aria-expanded", "false")
        expect(page.get_by_label("Paper cut")).to_be_visible()

    def test_escape_closes_the_others_and_stops_no_run(self, fake: Fake, open_tiles: Callable[..., Page], hold):
        """Esc goes back to the button; a click beside them closes them too."""
        page, gate = open_tiles(), hold()
        write(page, "not stopped by a picker")
        page.click("#zi-generate")
        gate.wait()
        button = page.locator(".zi-styles-all")
        button.click()
        page.focus("#zi-style input:checked")
        page.keyboard.press("Escape")
        expect(button).to_have_attribute("aria-expanded", "false")
        expect(button).to_be_focused()
        expect(page.locator("body.zi-busy")).to_have_count(1)
        button.click()
        page.locator(".zi-seal").click()
        expect(button).to_have_attribute("aria-expanded", "false")
        gate.open()
        expect(page.locator(".zi-badge")).to_have_count(1)
        assert fake.generator.recipes[-1].prompt == "not stopped by a picker"

    def test_no_arrow_is_lost_before_the_next_frame(self, open_tiles: Callable[..., Page]):
        """Gradio takes the group apart at each choice; it is whole again before the next key."""
        page = open_tiles()
        page.click(".zi-styles-all")
        page.focus("#zi-style input:checked")
        page.evaluate("window.requestAnimationFrame = () => 0")
        for style in styles():
            page.keyboard.press("ArrowRight")
            expect(page.locator(f'#zi-style input[value="{style}"]')).to_be_checked()

    def test_a_phone_has_room_for_whole_tiles(self, open_tiles: Callable[..., Page]):
        """At 390 pixels no tile is cut off, and wide windows show all in one row."""
        page = open_tiles(viewport={"width": 390, "height": 844})
        expect(page.locator(SHOWN)).to_have_count(5)
        boxes = page.eval_on_selector_all(SHOWN, "tiles => tiles.map((tile) => tile.getBoundingClientRect())")
        assert all(box["left"] >= 0 and box["right"] <= 390 and box["width"] > 60 for box in boxes)
        page.click(".zi-styles-all")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.keyboard.press("Escape")
