"""Sizes as people pick them: by shape and class, turned, typed, or with another model."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.models.profiles import BASE, DEMO, TURBO
from zimage_cache.request import ImageRequest, ModelProfile
from zimage_cache.service.resolve import resolve
from zimage_cache.web.page.form import ASPECTS, size_classes

from .conftest import open_advanced, serving, set_side

browser = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


@pytest.mark.parametrize("profile", [TURBO, BASE, DEMO], ids=lambda profile: profile.name)
def test_every_size_offered_is_one_the_model_draws(profile: ModelProfile):
    """No offered size is refused, in either orientation; each has its aspect ratio; the model's default is included."""
    classes = size_classes(profile)
    sizes = [(size, shape) for row in classes.values() for size, shape in zip(row, ASPECTS, strict=True) if size]
    assert (profile.width, profile.height) in dict(sizes)
    assert len(dict(sizes)) == len(sizes) > 10
    for (width, height), (long, short) in sizes:
        assert width * short == height * long
        resolve(ImageRequest(prompt="a", width=width, height=height), profile)
        resolve(ImageRequest(prompt="a", width=height, height=width), profile)
    for side, row in classes.items():
        assert row[0] == (side, side)


def test_sizes_a_model_cannot_draw_are_not_offered():
    """A model of narrower bounds is offered fewer sizes, and no class without any."""
    narrow = replace(TURBO, min_side=800, max_side=1300)
    classes = size_classes(narrow)
    assert list(classes) == [1024, 1280]
    assert classes[1024] == [(1024, 1024), (1152, 896), (1152, 864), (1248, 832), None, None]
    assert classes[1280] == [(1280, 1280), None, None, None, None, None]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve three models that differ in size, steps and guidance; no picture is drawn here."""
    turbo, base, demo = (
        FakeGenerator(profile=profile, identity_=GeneratorIdentity(profile.name, "1", "uint8", "numpy"))
        for profile in (TURBO, BASE, DEMO)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        with serving(turbo, tmp_path_factory.mktemp("workspace"), others=[base, demo]) as url:
            yield url


def expect_size(page: Page, width: int, height: int) -> None:
    expect(page.locator("#zi-width input")).to_have_value(str(width))
    expect(page.locator("#zi-height input")).to_have_value(str(height))


def expect_chosen(page: Page, shape: str | None, pixels: str | None) -> None:
    """Expect the highlight on *shape* and *pixels*; None: on nothing."""
    for part, words in ((".zi-aspects", shape), (".zi-classes", pixels)):
        chosen = page.locator(f"{part} label:has(:checked)")
        expect(chosen).to_have_count(0) if words is None else expect(chosen).to_have_text(words)


def pick(page: Page, words: str) -> None:
    """Pick a shape or a class; a shape that has its size from another class says it behind its name."""
    page.locator(".zi-sizes label", has_text=re.compile(rf"^{re.escape(words)}(\s|$)")).click()


def pick_model(page: Page, title: str) -> None:
    if page.locator("#zi-model input").is_hidden():
        open_advanced(page)
    page.click("#zi-model input")
    page.get_by_role("option", name=title, exact=True).click()


class TestPicking:
    pytestmark = browser

    def test_shape_class_and_turn_fill_both_sides(self, models: str, open_page: Callable[..., Page]):
        """A shape keeps the class, a class keeps the shape, and turning exchanges the sides."""
        page = open_page(models)
        expect_chosen(page, "1:1", "1 MP")
        pick(page, "16:9")
        expect_size(page, 1280, 720)
        expect_chosen(page, "16:9", "1 MP")
        pick(page, "2.4 MP")
        expect_size(page, 2048, 1152)
        page.click(".zi-turn")
        expect_size(page, 1152, 2048)
        expect_chosen(page, "9:16", "2.4 MP")
        pick(page, "2:3")
        expect_size(page, 1248, 1872)

    def test_a_square_turned_offers_upright_shapes(self, models: str, open_page: Callable[..., Page]):
        """Turning a square changes no side, but the other shapes are then in portrait orientation."""
        page = open_page(models)
        page.click(".zi-turn")
        expect(page.locator(".zi-aspects")).to_contain_text("3:4")
        expect_size(page, 1024, 1024)
        pick(page, "3:4")
        expect_size(page, 864, 1152)

    def test_the_highlight_follows_whatever_sets_the_size(self, models: str, open_page: Callable[..., Page]):
        """Typed or filled by a script: an offered size is highlighted, any other is not."""
        page = open_page(models)
        set_side(page, "width", "832")
        expect_chosen(page, None, None)
        set_side(page, "height", "1248")
        expect_chosen(page, "2:3", "1 MP")
        page.evaluate("zimage.form.fill({ width: 1680, height: 720 })")
        expect_chosen(page, "21:9", "1.6 MP")
        expect_size(page, 1680, 720)

    def test_from_a_size_of_ones_own_a_shape_keeps_about_its_pixels(self, models: str, open_page: Callable[..., Page]):
        """Picking a shape with a custom size picks it in the class nearest to that size."""
        page = open_page(models)
        set_side(page, "width", "1600")
        set_side(page, "height", "1552")
        expect_chosen(page, None, None)
        pick(page, "4:3")
        expect_size(page, 1728, 1296)

    def test_a_wrong_side_is_reported_while_it_is_typed(self, models: str, open_page: Callable[..., Page]):
        """A side that is no multiple of 16, or out of bounds, is named with the nearest right one to press."""
        page = open_page(models)
        page.click(".zi-custom")
        hint, width = page.locator("#zi-side-hint"), page.locator("#zi-width input")
        expect(hint).to_have_text("Multiples of 16, from 256 to 2048")
        width.fill("1001")
        expect(hint).to_contain_text("Width: Multiples of 16, from 256 to 2048")
        expect(width).to_have_attribute("aria-invalid", "true")
        expect(width).to_have_attribute("aria-describedby", "zi-side-hint")
        page.get_by_role("button", name="nearest: 1008").click()
        expect_size(page, 1008, 1024)
        expect(width).to_have_attribute("aria-invalid", "false")
        expect(width).to_be_focused()
        for typed, nearest in (("5000", "2048"), ("12", "256"), ("1032", "1040")):
            width.fill(typed)
            expect(hint.get_by_role("button")).to_have_text(f"nearest: {nearest}")
        width.fill("")
        expect(hint).to_contain_text("Width: Multiples of 16")
        expect(hint.get_by_role("button")).to_have_count(0)

    def test_small_models_have_small_sizes(self, models: str, open_page: Callable[..., Page]):
        """With the demo model, sizes are its own; a shape its class lacks comes from the nearest class that has it."""
        page = open_page(models)
        pick_model(page, "Demo (small scenes)")
        expect(page.locator(".zi-classes")).to_have_text("128 px192 px256 px")
        expect_size(page, 128, 128)
        pick(page, "16:9")
        expect_size(page, 256, 144)
        pick(page, "192 px")
        expect_size(page, 192, 128)
        expect(page.locator("#zi-side-hint")).to_have_text("Multiples of 16, from 64 to 512")

    def test_a_shape_tried_and_taken_back_leaves_the_size_as_it_was(self, models: str, open_page: Callable[..., Page]):
        """The class that was chosen by hand stays, though it lacks a shape; the shape says the size it would have."""
        page = open_page(models)
        pick_model(page, "Demo (small scenes)")
        expect(page.locator(".zi-aspects label", has_text="16:9")).to_have_text("16:9 256×144")
        expect(page.locator(".zi-aspects label", has_text="4:3")).to_have_text("4:3")
        for shape, width, height in (("16:9", 256, 144), ("1:1", 128, 128), ("21:9", 224, 96), ("16:9", 256, 144)):
            pick(page, shape)
            expect_size(page, width, height)
            expect(page.locator(".zi-size")).to_have_text(f"{width} × {height}")
            expect_chosen(page, f"16:9 {width}×{height}" if shape == "16:9" else shape, "128 px")
        page.reload()
        expect_size(page, 256, 144)
        expect_chosen(page, "16:9 256×144", "128 px")
        page.click(".zi-turn")
        expect_size(page, 144, 256)
        pick(page, "1:1")
        expect_size(page, 128, 128)

    def test_a_size_set_otherwise_is_the_one_to_go_back_to(self, models: str, open_page: Callable[..., Page]):
        """A size from a link, the history or another class forgets the class of before."""
        page = open_page(models)
        pick_model(page, "Demo (small scenes)")
        pick(page, "16:9")
        expect_size(page, 256, 144)
        page.evaluate("zimage.form.fill({ width: 192, height: 128 })")
        expect_chosen(page, "3:2", "192 px")
        pick(page, "1:1")
        expect_size(page, 192, 192)
        pick(page, "16:9")
        pick(page, "256 px")
        expect_size(page, 256, 144)
        pick(page, "1:1")
        expect_size(page, 256, 256)

    def test_a_class_tried_and_taken_back_leaves_the_shape_as_it_was(self, models: str, open_page: Callable[..., Page]):
        """Where a class lacks the shape, it gives the nearest one; the next class has the one that was chosen."""
        page = open_page(models)
        pick_model(page, "Demo (small scenes)")
        pick(page, "256 px")
        pick(page, "16:9")
        pick(page, "192 px")
        expect_size(page, 192, 128)
        expect_chosen(page, "3:2", "192 px")
        pick(page, "256 px")
        expect_size(page, 256, 144)

    def test_custom_shows_the_sides(self, models: str, open_page: Callable[..., Page]):
        """They are hidden until asked for, stay while they are typed in, and close with a choice of a size."""
        page = open_page(models)
        custom, width = page.locator(".zi-custom"), page.locator("#zi-width input")
        expect(width).to_be_hidden()
        expect(custom).to_have_attribute("aria-expanded", "false")
        custom.click()
        expect(custom).to_have_attribute("aria-expanded", "true")
        width.fill("832")
        page.fill("#zi-height input", "1248")
        expect_chosen(page, "2:3", "1 MP")
        expect(width).to_be_visible()
        pick(page, "3:4")
        expect(width).to_be_hidden()
        expect_size(page, 864, 1152)

    def test_a_size_that_is_not_offered_opens_custom(self, models: str, open_page: Callable[..., Page]):
        """Filled by a script or kept over a reload; such a size may be hidden again, a wrong one may not."""
        page = open_page(models)
        custom, width = page.locator(".zi-custom"), page.locator("#zi-width input")
        page.evaluate("zimage.form.fill({ width: 1600, height: 1552 })")
        expect(width).to_be_visible()
        custom.click()
        expect(width).to_be_hidden()
        expect(page.locator(".zi-size")).to_have_text("1600 × 1552")
        page.reload()
        expect(width).to_be_visible()
        width.fill("1601")
        custom.click()
        expect(width).to_be_focused()
        expect(page.locator("#zi-side-hint")).to_be_visible()
        expect(custom).to_have_attribute("aria-expanded", "true")

    def test_an_error_at_a_hidden_field_shows_it(self, models: str, open_page: Callable[..., Page]):
        """What the server refuses is marked where it can be changed, in Custom and in Advanced."""
        page = open_page(models)
        for field in ("width", "height", "steps"):
            expect(page.locator(f"#zi-{field} input").first).to_be_hidden()
            page.evaluate("field => zimage.form.mark(field)", field)
            expect(page.locator(f"#zi-{field}.zi-wrong input").first).to_be_visible()
            if page.locator(".zi-custom").get_attribute("aria-expanded") == "true":
                page.click(".zi-custom")
        expect(page.locator(".zi-advanced-head")).to_have_attribute("aria-expanded", "true")

    def test_keys_pick_shapes(self, models: str, open_page: Callable[..., Page]):
        """The shapes are one stop of the Tab key, and arrows go from one to the next."""
        page = open_page(models)
        page.focus(".zi-aspects input:checked")
        page.keyboard.press("ArrowRight")
        expect_size(page, 1152, 896)
        page.keyboard.press("ArrowRight")
        expect_size(page, 1152, 864)
        page.keyboard.press("Tab")
        expect(page.locator(".zi-turn")).to_be_focused()


class TestAnotherModel:
    pytestmark = browser

    def test_what_still_held_the_old_default_takes_the_new_one(self, models: str, open_page: Callable[..., Page]):
        """Steps, guidance and size follow the model while they hold its defaults."""
        page = open_page(models)
        pick_model(page, "Z-Image")
        expect(page.locator("#zi-steps input[type=number]")).to_have_value("28")
        expect(page.locator("#zi-guidance_scale input[type=number]")).to_have_value("4")
        expect_size(page, 1024, 1024)
        pick_model(page, "Demo (small scenes)")
        expect(page.locator("#zi-steps input[type=number]")).to_have_value("8")
        expect_size(page, 128, 128)

    def test_what_was_chosen_stays(self, models: str, open_page: Callable[..., Page]):
        """A side or number of one's own survives a change of model, and one chosen side keeps the other with it."""
        page = open_page(models)
        open_advanced(page)
        page.fill("#zi-steps input[type=number]", "12")
        set_side(page, "width", "512")
        expect_chosen(page, None, None)
        pick_model(page, "Demo (small scenes)")
        expect(page.locator("#zi-guidance_scale input[type=number]")).to_have_value("1")
        expect(page.locator("#zi-steps input[type=number]")).to_have_value("12")
        expect_size(page, 512, 1024)
        expect(page.get_by_role("button", name="nearest: 512")).to_be_visible()

    def test_a_form_that_is_filled_keeps_what_it_is_filled_with(self, models: str, open_page: Callable[..., Page]):
        """Restoring a request of another model restores its values, also those that are the old model's defaults."""
        page = open_page(models)
        page.evaluate("zimage.form.fill({ model: 'base', steps: 8, guidance_scale: 0, width: 1024, height: 1024 })")
        page.wait_for_function("zimage.form.values.model === 'base'")
        page.evaluate("zimage.form.fill({ prompt: 'after' })")
        expect(page.locator("#zi-prompt textarea")).to_have_value("after")
        open_advanced(page)
        expect(page.locator("#zi-model input")).to_have_value("Z-Image")
        expect(page.locator("#zi-guidance_scale input[type=number]")).to_have_value("0")
        expect(page.locator("#zi-steps input[type=number]")).to_have_value("8")

    def test_styles_that_a_model_was_not_taught_are_not_offered(self, models: str, open_page: Callable[..., Page]):
        """With the demo model their tiles go, but for one that is chosen; with another model all are offered again."""
        page = open_page(models)
        photo, ink, oil = (
            page.locator(f"#zi-style label:has(input[value='{name}'])") for name in ("photo", "ink", "oil")
        )
        photo.click()
        pick_model(page, "Demo (small scenes)")
        page.click(".zi-styles-all")
        expect(oil).to_be_hidden()
        expect(ink).to_be_visible()
        expect(photo).to_be_visible()  # chosen: it still counts, and can be taken back
        ink.click()
        expect(photo).to_be_hidden()
        pick_model(page, "Z-Image")
        page.click(".zi-styles-all")
        for tile in (photo, oil, ink):
            expect(tile).to_be_visible()
        expect(page.locator("#zi-style input:checked")).to_have_value("ink")

    def test_examples_are_those_of_the_model(self, models: str, open_page: Callable[..., Page]):
        """Another model in the form has other examples in the place of the picture."""
        page = open_page(models)
        chips = page.locator(".zi-examples .zi-chip")
        expect(chips).to_have_text([*TURBO.examples["en"]])
        pick_model(page, "Demo (small scenes)")
        expect(chips).to_have_text([*DEMO.examples["en"]])
