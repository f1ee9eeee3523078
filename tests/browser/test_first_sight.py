"""What is in sight without scrolling, on a desk and on a phone."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.waiting import wait_until

from .conftest import Demo, Fake, Streams, both, generate, holding, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def choose(page: Page, **fields: int) -> None:
    """Fill numbers into the form and wait until the page knows of them."""
    page.evaluate("fields => zimage.form.fill(fields)", fields)
    for field, value in fields.items():
        page.wait_for_function(f"zimage.form.values.{field} === {value}")
    page.evaluate("window.scrollTo(0, 0)")


def test_a_large_picture_needs_no_scrolling(fake: Fake, open_page: Callable[..., Page]):
    """At 1280 by 860, a picture of 1024 pixels, its badge and its buttons are whole, and it is the largest thing."""
    page = open_page(fake.url)
    choose(page, width=1024, height=1024)
    generate(page, "large", "generated")
    for part in (".zi-pictures img", ".zi-badge", ".zi-new-seed", ".zi-strip"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0
    box = page.locator(".zi-pictures img").bounding_box()
    assert box
    assert min(box["width"], box["height"]) > 500


@pytest.mark.parametrize("n", [4, 8])
def test_several_pictures_need_no_scrolling(fake: Fake, open_page: Callable[..., Page], n: int):
    """Four and eight square pictures are shown in two rows, uncropped, with the buttons below them."""
    page = open_page(fake.url)
    choose(page, width=256, height=256, seed=4_000_000_000 + n, n=n)
    write(page, f"{n} of them")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_have_count(n)
    for tile in page.locator(".zi-pictures figure").all():
        expect(tile).to_be_in_viewport(ratio=1)
    expect(page.locator(".zi-new-seed")).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize(("width", "height"), [(128, 128), (1024, 1024), (512, 768)])
def test_the_picture_grows_where_it_stays(
    fake: Fake,
    open_page: Callable[..., Page],
    hold: Callable[..., Any],
    streams: Streams,
    *,
    width: int,
    height: int,
):
    """The preview has the place and size of the picture that follows, and the next ask begins without it."""
    page, early, late = open_page(fake.url), hold(evaluation=1), hold(evaluation=4)
    held: list[Route] = []
    page.route("**/images/*.png*", holding(held))
    fake.generator.before_step = both(early, late)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, "JPEG")
    fake.generator.preview = file.getvalue()
    try:
        choose(page, width=width, height=height)
        write(page, f"growing in its place {width} {height}")
        page.click("#zi-generate")
        # Previews are made for those who listen.
        expect(page.locator(".zi-running")).to_contain_text("step 0 of 8")
        wait_until(lambda: streams.jobs == 1)
        early.open()
        expect(page.locator(".zi-preview")).to_be_visible()
        page.evaluate("window.scrollTo(0, 0)")
        before = page.locator(".zi-preview").bounding_box()
    finally:
        late.open()
        fake.generator.preview = None
    expect(page.locator(".zi-badge")).to_be_visible()
    page.evaluate("window.scrollTo(0, 0)")
    wait_with(page, lambda: held)
    announced = page.locator(".zi-pictures img").bounding_box()
    held[0].continue_()
    page.wait_for_function("document.querySelector('.zi-pictures img').naturalWidth > 0")
    after = page.locator(".zi-pictures img").bounding_box()
    assert before
    assert after
    assert before == pytest.approx(after, abs=2)
    assert announced == pytest.approx(after, abs=2)  # also before the file arrives: nothing jumps on a slow line
    page.route("**/jobs", holding([]))
    write(page, "another one")
    page.click("#zi-generate")
    expect(page.locator(".zi-course")).to_be_visible()
    expect(page.locator(".zi-preview")).to_be_hidden()


def test_on_a_phone_the_card_follows_the_prompt(fake: Fake, open_page: Callable[..., Page]):
    """Below the prompt is the result, and then the other fields."""
    page = open_page(fake.url, **PHONE)
    parts = ("#zi-prompt", "#zi-card", "#zi-style", "#zi-seed")
    order = [page.evaluate(f"document.querySelector('{part}').getBoundingClientRect().top") for part in parts]
    assert order == sorted(order)


def test_on_a_phone_generate_is_always_in_reach(fake: Fake, open_page: Callable[..., Page]):
    """Wherever the form is scrolled to, Generate is whole and nothing lies over it; at the end it hides nothing."""
    page = open_page(fake.url, **PHONE)
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        page.evaluate("(share) => window.scrollTo(0, share * document.body.scrollHeight)", share)
        expect(page.locator("#zi-generate")).to_be_in_viewport(ratio=1)
        covered = page.evaluate(
            """() => {
                const button = document.querySelector('#zi-generate'), box = button.getBoundingClientRect();
                const places = [0.1, 0.3, 0.5, 0.7, 0.9].flatMap((x) => [0.2, 0.5, 0.8].map((y) => [x, y]));
                return places.filter(([x, y]) =>
                    !button.contains(document.elementFromPoint(box.x + x * box.width, box.y + y * box.height)));
            }"""
        )
        assert covered == []
    last = page.locator(".zi-read-file").first.bounding_box()
    bar = page.locator(".zi-actions").bounding_box()
    assert last
    assert bar
    assert last["y"] + last["height"] <= bar["y"]


def test_examples_are_for_the_beginning(demo: Demo, open_page: Callable[..., Page]):
    """They are on the empty card, and are not shown again after the first request."""
    page = open_page(demo.url)
    expect(page.locator(".zi-examples .zi-chip")).not_to_have_count(0)
    expect(page.locator(".zi-examples")).to_be_visible()
    page.route("**/jobs", holding([]))
    write(page, "stopped at once")
    page.click("#zi-generate")
    expect(page.locator("body.zi-busy")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")
    expect(page.locator(".zi-examples")).to_be_hidden()
