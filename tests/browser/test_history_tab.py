"""The History tab, as a person uses it."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Locator, Page, Route, expect

from tests.waiting import wait_until

from .conftest import Fake, Watch, holding, http, wait_with
from .test_accessibility import offences

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

HOSTILE = (
    "${alert(1)}",
    "`${alert(1)}` and ` alone",
    "back\\slash \\u{ \\x \\",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>{{value}}",
)


@pytest.fixture
def folder(fake: Fake) -> Path:
    """The folder of pictures, empty at first."""
    folder = fake.workspace / "output_image"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    return folder


def draw(fake: Fake, prompt: str, **fields: object) -> dict[str, Any]:
    """Have pictures drawn, and wait until the history has them all."""
    before = listed(fake)
    # "refresh", because the cache may know it from another test, and a hit leaves no file.
    body = {"prompt": prompt, "cache": "refresh", **fields}
    answer = http.post(f"{fake.url}/generate", json=body).raise_for_status().json()
    wait_until(lambda: listed(fake) == before + len(answer["images"]))
    return answer


def listed(fake: Fake) -> int:
    return len(http.get(f"{fake.url}/history", params={"limit": 200}).raise_for_status().json()["pictures"])


def put(fake: Fake, folder: Path, name: str, size: tuple[int, int] = (64, 64)) -> Path:
    """Put a picture without parameters into the folder, and wait until it is indexed."""
    before = listed(fake)
    Image.new("RGB", size, "teal").save(folder / name, "PNG")
    wait_until(lambda: listed(fake) == before + 1)
    return folder / name


def open_history(page: Page) -> None:
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-history")).to_have_attribute("aria-busy", "false")


def tiles(page: Page) -> Locator:
    return page.locator(".zi-h-tile")


def tile(page: Page, text: str) -> Locator:
    return tiles(page).filter(has_text=text)


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Search your pictures").fill(text)


@pytest.mark.usefixtures("folder")
def test_a_click_brings_every_setting_and_the_picture_back(fake: Fake, open_page):
    """A picture's settings are in the form again, field by field, and the picture is on the card without drawing."""
    asked = {
        "style": "watercolor",
        "negative_prompt": "fog",
        "width": 160,
        "height": 96,
        "steps": 5,
        "guidance_scale": 2.5,
        "shift": 1.5,
        "sampler": "unipc",
        "seed": 4294967295,
        "max_sequence_length": 256,
    }
    draw(fake, "all of it back", **asked)
    drawn = len(fake.generator.recipes)
    page = open_page(fake.url)
    page.fill("#zi-prompt textarea", "something else")
    open_history(page)
    expect(page.locator(".zi-h-count")).to_have_text("1 picture")
    tile(page, "all of it back").locator(".zi-h-pick").click()
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", name="Create")).to_be_focused()
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator("#zi-prompt textarea")).to_have_value("all of it back")
    expect(page.locator("#zi-seed input")).to_have_value("4294967295")
    page.get_by_role("button", name="Advanced").click()
    expect(page.locator("#zi-sampler input")).to_have_value("UniPC")
    held = page.evaluate("zimage.form.values")
    assert {name: held[name] for name in asked} == asked
    assert len(fake.generator.recipes) == drawn


@pytest.mark.usefixtures("folder")
def test_what_is_not_in_the_cache_any_more_is_shown_from_its_file(fake: Fake, open_page):
    """A cleared cache costs a history nothing: the file itself is shown, and said to be from there."""
    (image,) = draw(fake, "cleared away", seed=1)["images"]
    http.delete(f"{fake.url}/cache/{image['key']}").raise_for_status()
    drawn = len(fake.generator.recipes)
    page = open_page(fake.url)
    open_history(page)
    tile(page, "cleared away").locator(".zi-h-pick").click()
    expect(page.locator(".zi-badge")).to_contain_text("From history")
    page.wait_for_function("document.querySelector('.zi-pictures img')?.naturalWidth === 128")
    expect(page.locator("#zi-seed input")).to_have_value("1")
    assert len(fake.generator.recipes) == drawn


@pytest.mark.usefixtures("folder")
def test_searching_says_how_many_and_what_can_be_searched(fake: Fake, open_page):
    """Words, phrases, seed, size and model narrow the list; an empty result explains them; a long query is refused."""
    draw(fake, "a red fox", seed=7, n=2)
    draw(fake, "a blue ship", seed=9, width=192)
    page = open_page(fake.url)
    open_history(page)
    expect(page.locator(".zi-h-count")).to_have_text("3 pictures")
    for query, found in [("fox", 2), ('"blue ship"', 1), ("seed:8", 1), ("size:192x128", 1), ("model:fake", 3)]:
        search(page, query)
        expect(page.locator(".zi-h-count")).to_have_text(f"{found} found")
        expect(tiles(page)).to_have_count(found)
    search(page, "purple elephant")
    expect(page.locator(".zi-h-none")).to_contain_text("Nothing found for “purple elephant”")
    for way in ("red fox", '"red fox"', "seed:42", "size:1024x768", "model:turbo", "is:starred"):
        expect(page.locator(".zi-h-ways")).to_contain_text(way)
    page.get_by_role("button", name="Clear the search").click()
    expect(tiles(page)).to_have_count(3)
    expect(page.get_by_role("searchbox")).to_be_focused()
    search(page, "a " * 31)
    expect(page.locator(".zi-h-notice")).to_contain_text("at most 30 words, got 31")
    expect(tiles(page)).to_have_count(3)
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_days_have_headings_and_the_newest_comes_first(fake: Fake, folder: Path, open_page):
    """Pictures are grouped by day, in the browser's time zone."""
    for day in (1, 2, 3):
        put(fake, folder, f"image_2020010{day}_120000_aaaaaaaa.png")
    page = open_page(fake.url)
    page.clock.set_fixed_time(datetime(2020, 1, 3, 15, tzinfo=UTC).astimezone())
    open_history(page)
    expect(page.locator(".zi-h-day h2")).to_have_text(
        ["Today", "Yesterday", re.compile("^Wednesday,? 1 January 2020$")]
    )
    expect(tiles(page)).to_have_text(
        [f"image_2020010{day}_120000_aaaaaaaa.png · no settings inside" for day in (3, 2, 1)]
    )


@pytest.mark.usefixtures("folder")
def test_all_pictures_can_be_reached_and_none_twice(fake: Fake, open_page):
    """The list is continued by the button or by scrolling to the end, until all pictures are listed."""
    for seed in range(0, 56, 8):
        draw(fake, "many of them", seed=seed, n=8)
    page = open_page(fake.url, viewport={"width": 390, "height": 844})
    open_history(page)
    expect(tiles(page)).to_have_count(48)
    expect(page.locator(".zi-h-count")).to_have_text("56 pictures")
    # Not by a mouse: that would scroll to the button first, which continues the list by itself.
    page.get_by_role("button", name="Show more").dispatch_event("click")
    expect(tiles(page)).to_have_count(56)
    expect(page.locator(".zi-h-count")).to_have_text("56 pictures")
    expect(page.locator(".zi-h-below")).to_be_hidden()
    ids = tiles(page).evaluate_all("all => all.map(tile => Number(tile.dataset.id))")
    # In the server's order, which is that of the moments they were drawn: two encoders may list them in another one.
    whole = http.get(f"{fake.url}/history", params={"limit": 200}).raise_for_status().json()["pictures"]
    assert ids == [picture["id"] for picture in whole]
    assert len(set(ids)) == 56


@pytest.mark.usefixtures("folder")
def test_nothing_jumps_while_thumbnails_load(fake: Fake, open_page):
    """Each picture's place is known before its thumbnail is there."""
    draw(fake, "wide", width=256, height=128)
    draw(fake, "tall", width=128, height=256)
    held: list[Route] = []
    page = open_page(fake.url)
    page.route("**/thumbnail.webp*", holding(held))
    open_history(page)
    wait_until_pumped(page, lambda: len(held) == 2)
    before = [each.bounding_box() for each in tiles(page).all()]
    assert all(box and box["height"] > 100 for box in before)
    for route in held:
        route.continue_()
    page.wait_for_function("[...document.querySelectorAll('.zi-h-tile img')].every(image => image.naturalWidth > 0)")
    assert [each.bounding_box() for each in tiles(page).all()] == before


def wait_until_pumped(page: Page, true: Callable[[], bool]) -> None:
    """Wait for something that Playwright's own events bring: they arrive only while it is called."""
    wait_until(lambda: page.evaluate("1") and true())


def delete(page: Page) -> None:
    """Answer the question about a picture with yes."""
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")


def test_deleting_asks_first_and_the_focus_stays_near(fake: Fake, folder: Path, open_page):
    """With keys only: the dialog opens with the focus on Keep; No changes nothing; Yes deletes this file alone."""
    for prompt in ("first to stay", "to be deleted", "last to stay"):
        draw(fake, prompt)
    page = open_page(fake.url, clock=True)
    open_history(page)
    doomed = tile(page, "to be deleted").locator(".zi-h-pick")
    doomed.focus()
    page.keyboard.press("Delete")
    question = page.get_by_role("dialog", name="Delete this picture?")
    expect(question).to_contain_text("to be deleted")
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_be_hidden()
    expect(doomed).to_be_focused()
    assert len(list(folder.iterdir())) == 3
    page.keyboard.press("Delete")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.keyboard.press("Delete")
    delete(page)
    expect(tile(page, "to be deleted")).to_have_count(0)
    expect(tile(page, "first to stay").locator(".zi-h-pick")).to_be_focused()
    expect(page.locator(".zi-h-count")).to_have_text("2 pictures")
    assert len(list(folder.iterdir())) == 3
    page.clock.run_for(5000)
    wait_until_pumped(page, lambda: len(list(folder.iterdir())) == 2)
    expect(tiles(page)).to_have_count(2)


def test_undo_puts_it_back_between_the_others(fake: Fake, folder: Path, open_page):
    """The list has it again in its place, counted, also after a reload of the list in between."""
    for prompt in ("first", "second", "third"):
        draw(fake, prompt)
    page = open_page(fake.url, clock=True)
    open_history(page)
    tile(page, "second").locator(".zi-h-pick").press("Delete")
    delete(page)
    expect(tiles(page)).to_have_text(["third", "first"])
    page.get_by_role("searchbox").press("Enter")  # reloads the list
    expect(page.locator(".zi-history")).to_have_attribute("aria-busy", "false")
    expect(tiles(page)).to_have_text(["third", "first"])
    expect(page.locator(".zi-h-count")).to_have_text("2 pictures")
    page.get_by_role("button", name="Undo").click()
    expect(tiles(page)).to_have_text(["third", "second", "first"])
    expect(page.locator(".zi-h-count")).to_have_text("3 pictures")
    page.clock.run_for(10_000)
    expect(tiles(page)).to_have_count(3)
    assert len(list(folder.iterdir())) == 3


def test_another_file_of_the_same_settings_stays(fake: Fake, folder: Path, open_page):
    """Of a picture that was drawn twice with other results, one file goes, and the dialog says that the other stays."""
    draw(fake, "drawn twice", seed=3)
    (first,) = folder.iterdir()
    put_twin(fake, first)
    page = open_page(fake.url, clock=True)
    open_history(page)
    expect(tiles(page)).to_have_count(2)
    page.locator(".zi-h-pick").first.press("Delete")
    expect(page.get_by_role("dialog")).to_contain_text("Another file of the same settings, drawn anew, stays.")
    delete(page)
    expect(tiles(page)).to_have_count(1)
    page.clock.run_for(5000)
    wait_until_pumped(page, lambda: len(list(folder.iterdir())) == 1)


def put_twin(fake: Fake, file: Path) -> None:
    """Put a file of the same key and settings beside *file*, with other pixels."""
    before = listed(fake)
    with Image.open(file) as picture:
        info = PngImagePlugin.PngInfo()
        for name, text in picture.info.items():
            info.add_text(str(name), str(text))
        picture.transpose(Image.Transpose.ROTATE_180).save(file.with_stem(f"{file.stem}_2"), "PNG", pnginfo=info)
    wait_until(lambda: listed(fake) == before + 1)


def test_the_card_deletes_all_files_of_its_picture(fake: Fake, folder: Path, open_page):
    """From the Create tab every file of the key goes; the dialog says how many."""
    draw(fake, "drawn twice and shown", seed=4)
    (first,) = folder.iterdir()
    put_twin(fake, first)
    page = open_page(fake.url, clock=True)
    open_history(page)
    page.locator(".zi-h-pick").first.click()
    expect(page.locator(".zi-badge")).to_be_visible()
    page.locator('.zi-tool[data-tool="delete"]').click()
    expect(page.get_by_role("dialog")).to_contain_text("All 2 files of it leave the history.")
    delete(page)
    expect(page.locator(".zi-empty")).to_be_visible()
    open_history(page)
    expect(page.locator(".zi-h-empty")).to_be_visible()
    page.clock.run_for(5000)
    wait_until_pumped(page, lambda: not list(folder.iterdir()))


def test_a_deletion_in_the_history_reaches_card_and_similar_pictures(fake: Fake, folder: Path, open_page):
    """A picture that is deleted disappears from the card and from the row of similar ones, and comes back to both."""
    draw(fake, "a red fox in deep snow", seed=1)
    draw(fake, "a red fox in deep snow", seed=2)
    page = open_page(fake.url)
    page.fill("#zi-prompt textarea", "a red fox in deep snow")
    expect(page.locator(".zi-similar li")).to_have_count(2)
    page.locator(".zi-similar button").first.click()
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(page.locator(".zi-similar li")).to_have_count(1)
    open_history(page)
    for left in (1, 0):
        page.locator(".zi-h-pick").first.press("Delete")
        delete(page)
        expect(tiles(page)).to_have_count(left)
    page.get_by_role("tab", name="Create").click()
    expect(page.locator(".zi-empty")).to_be_visible()
    expect(page.locator(".zi-similar")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(":is(.zi-open, .zi-similar li):visible")).to_have_count(1)
    wait_until_pumped(page, lambda: len(list(folder.iterdir())) == 1)


def test_a_reload_in_front_of_the_question_deletes_nothing(fake: Fake, folder: Path, open_page):
    """Reloading the page while the confirmation dialog is open deletes nothing."""
    draw(fake, "still here")
    page = open_page(fake.url)
    open_history(page)
    tile(page, "still here").hover()
    page.get_by_role("button", name="Delete still here").click()
    expect(page.get_by_role("dialog", name="Delete this picture?")).to_be_visible()
    page.reload()
    page.wait_for_function("document.querySelector('#zi-seed input')?.value")
    open_history(page)
    expect(tile(page, "still here")).to_be_visible()
    assert len(list(folder.iterdir())) == 1


def test_what_was_deleted_outside_is_said_and_taken_off(fake: Fake, folder: Path, open_page):
    """A file that went meanwhile leaves the list, whether its thumbnail is missed or it is to be deleted."""
    for prompt in ("gone before it is seen", "gone before it is deleted"):
        draw(fake, prompt)
    unseen, undeleted = sorted(folder.iterdir(), key=lambda file: b"gone before it is seen" not in file.read_bytes())
    held: list[Route] = []
    page = open_page(fake.url, clock=True)
    page.route("**/thumbnail.webp*", holding(held))
    open_history(page)
    wait_until_pumped(page, lambda: len(held) == 2)
    unseen.unlink()
    for route in held:
        route.continue_()
    expect(page.locator(".zi-h-notice-text")).to_have_text(
        f"{unseen.name} is no longer in output_image; it was taken off the list."
    )
    expect(tiles(page)).to_have_count(1)
    undeleted.unlink()
    page.locator(".zi-h-pick").press("Delete")
    delete(page)
    expect(page.locator(".zi-h-empty")).to_contain_text("No pictures yet")
    page.clock.run_for(6000)
    expect(page.locator(".zi-told-plain.zi-there")).to_have_count(0)


def test_the_settings_of_a_file_that_went_are_used_all_the_same(fake: Fake, folder: Path, open_page):
    """A picture that is nowhere any more leaves its settings in the form, and the list."""
    (image,) = draw(fake, "nowhere any more", seed=3)["images"]
    page = open_page(fake.url)
    open_history(page)
    page.wait_for_function("document.querySelector('.zi-h-tile img')?.naturalWidth > 0")
    http.delete(f"{fake.url}/cache/{image['key']}").raise_for_status()
    for file in folder.iterdir():
        file.unlink()
    page.locator(".zi-h-pick").click()
    expect(page.locator("#zi-prompt textarea")).to_have_value("nowhere any more")
    expect(page.locator("#zi-seed input")).to_have_value("3")
    expect(page.locator(".zi-empty")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-h-empty")).to_be_visible()


def test_pictures_without_settings_are_shown_and_nothing_more(fake: Fake, folder: Path, open_page):
    """A picture of another program opens large, with a notice that it has no settings; the form is unchanged."""
    put(fake, folder, "holiday.png", (320, 200))
    page = open_page(fake.url)
    page.fill("#zi-prompt textarea", "being written")
    open_history(page)
    page.get_by_role("button", name="holiday.png, a picture without settings").click()
    viewer = page.locator("dialog.zi-viewer")
    expect(viewer).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.locator(".zi-h-notice")).to_contain_text("holiday.png carries no settings")
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#zi-prompt textarea")).to_have_value("being written")


def test_a_damaged_picture_keeps_its_place(fake: Fake, folder: Path, open_page):
    """A file whose pixels are broken is listed without a thumbnail and can be deleted."""
    whole = put(fake, folder, "damaged.png", (400, 300))
    whole.write_bytes(whole.read_bytes()[:70])
    page = open_page(fake.url, clock=True)
    open_history(page)
    expect(page.locator(".zi-h-tile.zi-h-unshown")).to_contain_text("damaged.png")
    page.locator(".zi-h-pick").press("Delete")
    expect(page.get_by_role("dialog").get_by_role("checkbox")).to_have_count(0)  # nothing of it is in the cache
    delete(page)
    expect(page.locator(".zi-h-empty")).to_be_visible()
    page.clock.run_for(5000)
    wait_until_pumped(page, lambda: not whole.exists())


@pytest.mark.usefixtures("folder")
def test_full_size_leads_through_the_list(fake: Fake, open_page):
    """The viewer opens at the picture that was chosen, with its neighbours in the order of the list."""
    for prompt in ("older", "newer"):
        draw(fake, prompt)
    page = open_page(fake.url)
    open_history(page)
    tile(page, "older").hover()
    page.get_by_role("button", name="Open in full size older").click()
    expect(page.locator(".zi-viewer-number")).to_contain_text("2")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("img", name="Picture drawn for: newer").last).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")


@pytest.mark.usefixtures("folder")
def test_trouble_is_reported_and_passes(fake: Fake, open_page, watch: Watch):
    """An index that cannot be read and a server that is gone are said; what is listed stays; trying again helps."""
    draw(fake, "outlives trouble")
    page = open_page(fake.url)
    error = {"code": "history_unavailable", "message": "the history cannot be read just now", "request_id": "x"}
    page.route("**/history?*", lambda route: route.fulfill(status=503, json={"error": error}))
    open_history(page)
    expect(page.locator(".zi-h-error")).to_contain_text("The history cannot be read just now")
    page.unroute("**/history?*")
    page.get_by_role("button", name="Try again").click()
    expect(tiles(page)).to_have_count(1)
    page.route("**/history?*", lambda route: route.abort())
    page.get_by_role("tab", name="Create").click()
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-h-notice")).to_contain_text("The server does not answer")
    expect(tiles(page)).to_have_count(1)
    page.unroute("**/history?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".zi-h-notice-text")).to_be_empty()
    watch.errors.clear()  # the browser's own line about the aborted request


def test_a_refused_deletion_lists_the_picture_again(fake: Fake, folder: Path, open_page):
    """When a file cannot be deleted, the picture is listed again, with the reason."""
    draw(fake, "cannot be deleted")
    page = open_page(fake.url, clock=True)
    error = {"code": "history_unavailable", "message": "the disk is read-only", "request_id": "x"}
    page.route("**/history/*", lambda route: route.fulfill(status=503, json={"error": error}))
    open_history(page)
    page.locator(".zi-h-pick").press("Delete")
    delete(page)
    expect(tiles(page)).to_have_count(0)
    page.clock.run_for(5000)
    expect(page.locator(".zi-told-plain")).to_have_text("It could not be deleted and is back: the disk is read-only")
    expect(tiles(page)).to_have_count(1)
    assert len(list(folder.iterdir())) == 1


def asked_for_history(page: Page) -> list[str]:
    """Collect the page's questions for lists of pictures from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/history?" in request.url else None)
    return asked


@pytest.mark.usefixtures("folder")
def test_it_asks_when_it_is_shown_and_not_while_it_is_hidden(fake: Fake, open_page):
    """Nothing is asked before the tab is opened, nor from behind another; opened again, it shows what is new."""
    page = open_page(fake.url)
    asked = asked_for_history(page)
    page.fill("#zi-prompt textarea", "unseen")  # too short to look for similar ones
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    assert asked == []
    open_history(page)
    expect(tiles(page)).to_have_count(1)
    page.get_by_role("tab", name="Create").click()
    before = len(asked)
    page.click(".zi-new-seed")
    expect(page.locator(".zi-facts")).to_contain_text(page.input_value("#zi-seed input"))
    assert len(asked) == before
    open_history(page)
    expect(tiles(page)).to_have_count(2)


@pytest.mark.usefixtures("folder")
def test_a_picture_finished_meanwhile_joins_the_list(fake: Fake, open_page, hold):
    """What is being drawn while the History is open appears in it by itself."""
    draw(fake, "earlier")
    page = open_page(fake.url)
    gate = hold()
    page.fill("#zi-prompt textarea", "later")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_be_visible()
    open_history(page)
    expect(tiles(page)).to_have_text(["earlier"])
    gate.open()
    expect(tiles(page)).to_have_text(["later", "earlier"])


def test_hostile_prompts_and_names_are_text(fake: Fake, folder: Path, open_page):
    """Text from a file's metadata and name is shown literally, and never executed."""
    for prompt in HOSTILE:
        draw(fake, prompt)
    for name in ("${alert(1)}", "<img src=x onerror=alert(1)>", "`back\\u{tick"):
        put(fake, folder, f"{name}.png")
    page = open_page(fake.url)
    open_history(page)
    said = page.locator(".zi-h-said").all_text_contents()
    assert set(HOSTILE) <= set(said)
    assert "<img src=x onerror=alert(1)>.png · no settings inside" in said
    alternatives = page.locator(".zi-h-tile img").evaluate_all("all => all.map(image => image.alt)")
    assert {f"Picture drawn for: {prompt}" for prompt in HOSTILE} <= set(alternatives)
    search(page, HOSTILE[0])
    expect(page.locator(".zi-h-count")).to_have_text("3 found")  # two prompts, one file's name
    search(page, "<b>${alert(1)}")
    expect(page.locator(".zi-h-none-title")).to_have_text("Nothing found for “<b>${alert(1)}”")
    search(page, '"onerror=alert(1)>.png"')
    expect(page.locator(".zi-h-count")).to_have_text("1 found")
    page.locator(".zi-h-pick").press("Delete")
    expect(page.locator(".zi-delete-name")).to_have_text("<img src=x onerror=alert(1)>.png")


def test_tabs_by_keys(fake: Fake, open_page):
    """Arrow keys, Home and End change the tab; Tab moves into the page."""
    page = open_page(fake.url)
    create, history = page.get_by_role("tab", name="Create"), page.get_by_role("tab", name="History")
    create.focus()
    page.keyboard.press("ArrowRight")
    expect(history).to_be_focused()
    expect(history).to_have_attribute("aria-selected", "true")
    expect(page.locator(".zi-history")).to_be_visible()
    page.keyboard.press("Home")
    expect(create).to_have_attribute("aria-selected", "true")
    expect(page.locator("#zi-prompt")).to_be_visible()


@pytest.mark.usefixtures("folder")
def test_escape_in_the_search_stops_no_run(fake: Fake, open_page, hold):
    """Keys that mean something on the card mean nothing where the card is out of sight."""
    page = open_page(fake.url)
    gate, drawn = hold(), len(fake.generator.recipes)
    page.fill("#zi-prompt textarea", "goes on")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_be_visible()
    open_history(page)
    page.get_by_role("button", name="Read settings").focus()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    gate.open()
    expect(tiles(page)).to_have_text(["goes on"])
    page.get_by_role("tab", name="Create").click()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    assert len(fake.generator.recipes) == drawn + 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(fake: Fake, open_page, scheme):
    """Names, roles and contrast hold in every state of the History and of what opens over it."""
    page = open_page(fake.url, color_scheme=scheme, reduced_motion="reduce")
    open_history(page)
    found = {"empty": offences(page)}
    draw(fake, "a red fox in the snow", n=2)
    page.get_by_role("tab", name="Create").click()
    page.fill("#zi-prompt textarea", "a red fox in the snow")
    expect(page.locator(".zi-similar")).to_be_visible()
    found["similar"] = offences(page)
    open_history(page)
    expect(tiles(page)).to_have_count(2)
    found["list"] = offences(page)
    page.locator(".zi-h-pick").first.press("Delete")
    expect(page.get_by_role("dialog")).to_be_visible()
    found["question"] = offences(page)
    page.keyboard.press("Escape")
    search(page, "purple elephant")
    expect(page.locator(".zi-h-none")).to_be_visible()
    found["none"] = offences(page)
    search(page, "a " * 31)
    expect(page.locator(".zi-h-bad")).to_be_visible()
    found["refused"] = offences(page)
    assert {state: wrong for state, wrong in found.items() if wrong} == {}


@pytest.mark.usefixtures("folder")
def test_chinese_and_a_phone(fake: Fake, open_page):
    """Everything is said in Chinese, nothing is cut off sideways, and the buttons are there without a mouse."""
    draw(fake, "红色的圆形", width=512, height=128)
    page = open_page(fake.url, locale="zh-CN", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.get_by_role("tab", name="历史").tap()
    expect(page.locator(".zi-h-count")).to_have_text("共 1 张")
    expect(page.locator(".zi-h-acts")).to_have_css("opacity", "1")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="删除 红色的圆形").tap()
    expect(page.get_by_role("dialog")).to_contain_text("删除这张图片？")


@pytest.mark.usefixtures("folder")
def test_stars_are_shown_and_filtered(fake: Fake, open_page):
    """A star stays visible; the button and the term show starred pictures only, counted, and follow each other."""
    for prompt in ("plain", "loved", "loved too"):
        draw(fake, prompt)
    page = open_page(fake.url)
    open_history(page)
    star = tile(page, "loved too").get_by_role("button", name="Star", exact=True)
    expect(star).to_have_css("opacity", "0")
    tile(page, "loved too").hover()
    star.click()
    expect(page.locator(".zi-told")).to_contain_text("Starred")
    http.post(f"{fake.url}/cache/{key_of(fake, 'loved')}/pin").raise_for_status()
    page.mouse.move(0, 0)
    expect(tile(page, "loved too").get_by_role("button", name="Unstar")).to_have_css("opacity", "1")
    only = page.get_by_role("button", name="Starred")
    expect(only).to_have_attribute("aria-pressed", "false")
    only.click()
    expect(only).to_have_attribute("aria-pressed", "true")
    expect(tiles(page)).to_have_text(["loved too", "loved"])
    expect(page.locator(".zi-h-count")).to_have_text("2 found")
    expect(page.get_by_role("searchbox")).to_have_value("is:starred")
    search(page, "too is:starred")
    expect(tiles(page)).to_have_count(1)
    only.click()
    expect(page.get_by_role("searchbox")).to_have_value("too")
    search(page, "IS:starred")
    expect(only).to_have_attribute("aria-pressed", "true")
    expect(tiles(page)).to_have_count(2)
    page.reload()
    expect(only).to_have_attribute("aria-pressed", "true")
    expect(tiles(page)).to_have_count(2)
    http.delete(f"{fake.url}/cache/{key_of(fake, 'loved')}").raise_for_status()  # gone from the cache: no star
    page.get_by_role("searchbox").press("Enter")
    expect(tiles(page)).to_have_text(["loved too"])


def key_of(fake: Fake, prompt: str) -> str:
    pictures = http.get(f"{fake.url}/history").raise_for_status().json()["pictures"]
    return next(each["key"] for each in pictures if each["parameters"]["prompt"] == prompt)


@pytest.mark.usefixtures("folder")
def test_a_reload_stays_in_the_history_with_its_search(fake: Fake, open_page):
    """The open tab and what is searched for survive a reload; a link opens the Create tab all the same."""
    draw(fake, "a red fox")
    draw(fake, "a blue ship")
    page = open_page(fake.url)
    open_history(page)
    search(page, "fox")
    expect(tiles(page)).to_have_text(["a red fox"])
    page.reload()
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("searchbox")).to_have_value("fox")
    expect(tiles(page)).to_have_text(["a red fox"])
    other = open_page(fake.url)  # another browser tab begins anew
    expect(other.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    page.goto(f"{fake.url}/?again#prompt=a+red+fox&seed=1")
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#zi-prompt textarea")).to_have_value("a red fox")


@pytest.mark.usefixtures("folder")
def test_pictures_of_other_tabs_appear_by_themselves(fake: Fake, folder: Path, open_page):
    """Within ten seconds, by a question for one picture; hidden behind another tab, nothing is asked."""
    draw(fake, "earlier")
    page = open_page(fake.url, clock=True)
    open_history(page)
    expect(tiles(page)).to_have_count(1)
    asked = asked_for_history(page)
    page.clock.run_for(8000)
    wait_until_pumped(page, lambda: len(asked) == 1)
    assert "limit=1&" in f"{asked[0]}&"
    draw(fake, "by another tab")
    page.clock.run_for(8000)
    expect(tiles(page)).to_have_text(["by another tab", "earlier"])
    for file in folder.iterdir():
        if b"earlier" in file.read_bytes():
            file.unlink()
    wait_until(lambda: listed(fake) == 1)
    page.clock.run_for(8000)
    expect(tiles(page)).to_have_text(["by another tab"])
    page.get_by_role("tab", name="Create").click()
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []


@pytest.mark.usefixtures("folder")
def test_the_viewer_goes_on_past_the_first_page(fake: Fake, open_page):
    """All are counted, the next ones are loaded before the end is reached, and so the last one is shown."""
    for seed in range(0, 56, 8):
        draw(fake, "a long row", seed=seed, n=8)
    page = open_page(fake.url)
    open_history(page)
    page.evaluate("document.querySelectorAll('.zi-h-act-full')[40].click()")
    number = page.locator(".zi-viewer-number")
    expect(number).to_have_text("41 / 56")
    for place in range(42, 57):
        page.keyboard.press("ArrowRight")
        expect(number).to_have_text(f"{place} / 56")
    page.keyboard.press("ArrowRight")
    expect(number).to_have_text("56 / 56")
    expect(page.locator(".zi-viewer-strip button")).to_have_count(56)
    page.keyboard.press("Escape")
    expect(tiles(page)).to_have_count(56)


def test_a_list_of_hundreds_stays_whole_when_it_changes(fake: Fake, folder: Path, open_page):
    """One answer has 200 pictures at most: a picture of another tab joins the list, and those at its end stay."""
    for number in range(250):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number:03}.png", "PNG")
        os.utime(folder / f"{number:03}.png", (1_000_000_000 + number,) * 2)
    wait_until(lambda: http.get(f"{fake.url}/history?limit=1").json()["total"] == 250)
    page = open_page(fake.url, clock=True)
    open_history(page)
    for count in (96, 144, 192, 240, 250):
        page.evaluate("document.querySelector('.zi-h-more').click()")
        page.wait_for_function("least => document.querySelectorAll('.zi-h-tile').length >= least", arg=count)
    expect(tiles(page)).to_have_count(250)
    Image.new("RGB", (16, 16), "teal").save(folder / "newest.png", "PNG")
    wait_until(lambda: http.get(f"{fake.url}/history?limit=1").json()["total"] == 251)
    page.clock.run_for(8000)
    expect(tiles(page)).to_have_count(251)
    expect(tiles(page).first).to_contain_text("newest.png")
    expect(tiles(page).last).to_contain_text("000.png")
    expect(page.locator(".zi-h-count")).to_have_text("251 pictures")


@pytest.mark.usefixtures("folder")
def test_the_viewer_goes_on_after_a_page_that_could_not_be_loaded(fake: Fake, open_page, watch: Watch):
    """Where the next pictures cannot be had, it stays at the last one, and tries again with the next key."""
    for seed in range(0, 56, 8):
        draw(fake, "an interrupted row", seed=seed, n=8)
    page = open_page(fake.url)
    open_history(page)
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        refused.append(route)
        route.abort()

    page.route("**/history?*", refuse)
    page.evaluate("document.querySelectorAll('.zi-h-act-full')[47].click()")
    number = page.locator(".zi-viewer-number")
    expect(number).to_have_text("48 / 56")
    refused.clear()
    page.keyboard.press("ArrowRight")
    wait_with(page, lambda: refused)
    expect(number).to_have_text("48 / 56")
    page.unroute("**/history?*")
    page.wait_for_function("document.querySelector('.zi-history').getAttribute('aria-busy') === 'false'")
    page.keyboard.press("ArrowRight")
    expect(number).to_have_text("49 / 56")
    watch.errors.clear()  # the browser's own lines about the aborted requests
