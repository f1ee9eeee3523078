"""The seed: fixed, or rolled anew at each press."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, generate, seed, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def choose(page: Page, name: str) -> None:
    page.locator(".zi-rolls label", has_text=name).click()
    expect_rolls(page, rolled=name == "Random")


def expect_rolls(page: Page, *, rolled: bool) -> None:
    expect(page.locator(f".zi-rolls [value={'random' if rolled else 'fixed'}]")).to_be_checked()


def press(page: Page) -> str:
    """Press Generate, wait for the picture, and return its seed, which is the one in the field."""
    with page.expect_response("**/jobs") as answer:
        page.click("#zi-generate")
    asked = str(json.loads(answer.value.request.post_data or "")["seed"])
    expect(page.locator(".zi-facts")).to_contain_text(asked)
    expect(page.locator("#zi-seed input")).to_have_value(asked)
    return asked


def test_a_fixed_seed_repeats(fake: Fake, open_page: Callable[..., Page]):
    """At first seeds are fixed: the second press is answered from the cache."""
    page = open_page(fake.url)
    expect_rolls(page, rolled=False)
    write(page, "fixed by default")
    assert press(page) == press(page)
    expect(page.locator(".zi-badge")).to_contain_text("From memory")


def test_a_random_seed_is_another_one_at_each_press(fake: Fake, open_page: Callable[..., Page]):
    """The field shows the seed of the last press; a reload changes neither, and "Fixed" repeats it."""
    page = open_page(fake.url)
    write(page, "another one at each press")
    choose(page, "Random")
    before = seed(page)
    first = press(page)
    second = press(page)
    assert len({before, first, second}) == 3
    page.reload()
    expect_rolls(page, rolled=True)
    expect(page.locator("#zi-seed input")).to_have_value(second)
    third = press(page)
    assert third != second
    choose(page, "Fixed")
    assert press(page) == third
    page.reload()
    expect_rolls(page, rolled=False)


def test_a_new_tab_begins_fixed(fake: Fake, open_page: Callable[..., Page]):
    """The choice is one of a tab, like its form."""
    page = open_page(fake.url)
    choose(page, "Random")
    fresh = page.context.new_page()
    fresh.goto(fake.url)
    fresh.wait_for_function("document.querySelector('#zi-seed input')?.value")
    expect_rolls(fresh, rolled=False)


def test_a_seed_of_ones_own_is_fixed(fake: Fake, open_page: Callable[..., Page]):
    """Typing one, a link, and the settings of a picture each mean that very seed."""
    page = open_page(fake.url)
    choose(page, "Random")
    page.fill("#zi-seed input", "7")
    expect_rolls(page, rolled=False)
    generate(page, "a seed of ones own", "generated")
    assert seed(page) == "7"
    choose(page, "Random")
    page.get_by_role("button", name="Use these settings in the form").first.click()
    expect_rolls(page, rolled=False)
    choose(page, "Random")
    page.evaluate("location.hash = 'prompt=a+seed+of+ones+own&seed=7'")
    expect_rolls(page, rolled=False)
    expect(page.locator("#zi-seed input")).to_have_value("7")
    choose(page, "Random")
    page.goto(f"{fake.url}/?opened#prompt=a+seed+of+ones+own&seed=8")
    expect(page.locator("#zi-seed input")).to_have_value("8")
    expect_rolls(page, rolled=False)


def test_what_rolls_a_seed_leaves_the_choice(fake: Fake, open_page: Callable[..., Page]):
    """The dice only fills the field, "Another seed" draws with a new one; both leave random random and fixed fixed."""
    page = open_page(fake.url)
    generate(page, "what rolls a seed", "generated")
    for name in ("Random", "Fixed"):
        choose(page, name)
        for button in (page.get_by_role("button", name="Roll seed"), page.get_by_role("button", name="Another seed")):
            before, drawn = seed(page), len(fake.generator.recipes)
            button.click()
            expect(page.locator("#zi-seed input")).not_to_have_value(before)
            expect_rolls(page, rolled=name == "Random")
        expect(page.locator(".zi-facts")).to_contain_text(seed(page))
        assert len(fake.generator.recipes) == drawn + 1


def test_a_seed_that_is_none_is_rolled_once(fake: Fake, open_page: Callable[..., Page]):
    """-1 or nothing in the field becomes a seed at the press, which is repeated from then on."""
    page = open_page(fake.url)
    write(page, "typed as none")
    for none in ("-1", ""):
        page.fill("#zi-seed input", none)
        expect_rolls(page, rolled=False)
        assert int(press(page)) == int(press(page)) >= 0


def test_a_wrong_seed_is_refused_as_before(fake: Fake, open_page: Callable[..., Page]):
    """One that is too large is named, not replaced."""
    page = open_page(fake.url)
    write(page, "too large a seed")
    page.fill("#zi-seed input", "4294967296")
    page.click("#zi-generate")
    expect(page.locator("#zi-seed.zi-wrong")).to_be_visible()
    assert seed(page) == "4294967296"


def test_the_choice_without_a_mouse(fake: Fake, open_page: Callable[..., Page]):
    """A group of one stop, named, with the arrows to choose."""
    page = open_page(fake.url)
    group = page.get_by_role("radiogroup", name="Seed at each press of Generate")
    page.focus("#zi-dice")
    page.keyboard.press("Tab")
    expect(group.get_by_role("radio", name="Fixed")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(group.get_by_role("radio", name="Random")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.locator(".zi-advanced-head")).to_be_focused()
