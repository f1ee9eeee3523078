"""Several pictures of one ask: tiles that fill while they arrive."""

import io

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.waiting import wait_until
from zimage_cache.errors import GenerationFailed
from zimage_cache.request import Recipe

from .conftest import Fake, Streams, both, generate, http, seed, set_count, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def several(page: Page, prompt: str, n: int) -> None:
    write(page, prompt)
    set_count(page, n)
    page.click("#zi-generate")


def tiles(page: Page, state: str) -> Locator:
    return page.locator(f'.zi-pictures figure[data-state="{state}"]')


def test_known_pictures_stand_there_at_once_and_the_others_follow(fake: Fake, open_page, hold, streams: Streams):
    """What is stored fills its tile at once, the one being drawn shows its steps and preview, each its own seed."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "21")
    generate(page, "a row", "generated")
    first, last = hold(2, only=[22]), hold(5, only=[24])
    fake.generator.before_step = both(first, last)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, "JPEG")
    fake.generator.preview = file.getvalue()
    try:
        several(page, "a row", 4)
        expect(tiles(page, "there")).to_have_count(1)
        expect(tiles(page, "there").locator(".zi-badge")).to_contain_text("From memory")
        expect(tiles(page, "drawing")).to_contain_text("step 1 of 8")
        expect(tiles(page, "pending")).to_have_count(2)
        expect(page.locator(".zi-course")).to_contain_text("picture 2 of 4")
        wait_until(lambda: streams.jobs == 1)
        first.open()
        expect(tiles(page, "there")).to_have_count(3)
        expect(tiles(page, "drawing")).to_contain_text("step 4 of 8")
        expect(tiles(page, "drawing").locator("img")).to_be_visible()
    finally:
        last.open()
        fake.generator.preview = None
    expect(tiles(page, "there")).to_have_count(4)
    expect(page.locator(".zi-course")).to_be_hidden()
    expect(page.locator(".zi-badge strong")).to_have_text(["From memory", *["Newly drawn"] * 3])
    for i, figure in enumerate(page.locator(".zi-pictures figure").all()):
        expect(figure.locator("dd")).to_have_text(str(21 + i))
    addresses = page.locator(".zi-pictures .zi-open").evaluate_all("links => links.map(link => link.href)")
    assert len(set(addresses)) == 4
    assert all(http.get(address).status_code == 200 for address in addresses)


def test_stop_in_the_middle_keeps_what_is_finished(fake: Fake, open_page, hold):
    """Stopped after the first of two, the next ask draws only what is missing."""
    page = open_page(fake.url)
    door = hold(2, only=[(int(seed(page)) + 1) % 2**32])
    several(page, "half of it", 2)
    expect(tiles(page, "there")).to_have_count(1)
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.keyboard.press("Escape")
    expect(tiles(page, "there")).to_have_count(1)
    expect(tiles(page, "stopped")).to_have_count(1)
    door.open()
    wait_until(lambda: fake.generator.busy == 0)
    drawn = len(fake.generator.recipes)
    page.click("#zi-generate")
    expect(page.locator(".zi-badge strong")).to_have_text(["From memory", "Newly drawn"])
    assert len(fake.generator.recipes) == drawn + 1


def test_one_that_fails_is_reported_and_the_finished_ones_are_kept(fake: Fake, open_page):
    """A picture that cannot be drawn becomes an error with its id; those before it come from the cache afterwards."""
    page = open_page(fake.url)
    bad = (int(seed(page)) + 1) % 2**32

    def fail(recipe: Recipe, _evaluation: int) -> None:
        if recipe.seed == bad:
            raise GenerationFailed("as_said", text="the transformer returned NaN; try another seed")

    fake.generator.before_step = fail
    try:
        several(page, "one fails", 2)
        expect(page.locator(".zi-error")).to_contain_text("the transformer returned NaN")
        expect(page.locator(".zi-error-id")).to_contain_text("generation_failed")
    finally:
        fake.generator.before_step = lambda _recipe, _evaluation: None
    page.click("#zi-generate")
    expect(page.locator(".zi-badge strong")).to_have_text(["From memory", "Newly drawn"])


def test_after_a_reload_what_is_left_is_shown(fake: Fake, open_page):
    """One of three is deleted from the cache: the others keep their places, its tile says so, and nothing is drawn."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", str(2**32 - 2))
    several(page, "not all of it", 3)
    expect(tiles(page, "there")).to_have_count(3)
    facts = page.inner_text(".zi-facts-all")
    keys = page.locator(".zi-pictures .zi-open").evaluate_all("links => links.map(link => link.pathname.slice(8, 72))")
    drawn = len(fake.generator.recipes)
    for key, left in ((keys[0], 2), (keys[1], 1)):
        assert page.request.delete(f"{fake.url}/cache/{key}").ok
        page.reload()
        expect(tiles(page, "there")).to_have_count(left)
        expect(tiles(page, "deleted")).to_have_count(3 - left)
        expect(tiles(page, "there").last.locator("dd")).to_have_text("0")
        assert page.inner_text(".zi-facts-all") == facts
    assert page.request.delete(f"{fake.url}/cache/{keys[2]}").ok
    page.reload()
    expect(page.locator(".zi-told")).to_contain_text("not stored any more")
    expect(page.locator(".zi-empty")).to_be_visible()
    assert len(fake.generator.recipes) == drawn


def test_any_seed_is_drawn_by_the_page(fake: Fake, open_page):
    """-1 in the seed's field becomes a concrete seed, which finds the same picture again."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "-1")
    generate(page, "any seed", "generated")
    drawn = int(seed(page))
    assert fake.generator.recipes[-1].seed == drawn >= 0
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
