"""What the buttons of a result do."""

import io
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.waiting import wait_until

from .conftest import Fake, choose_style, generate, http, open_advanced, seed, set_count, set_side, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def tool(page: Page, name: str) -> Locator:
    return page.locator(f'.zi-tool[data-tool="{name}"]')


def told(page: Page) -> Locator:
    return page.locator(".zi-told")


def key(page: Page) -> str:
    address = page.get_attribute(".zi-open", "href")
    assert address
    return address.removeprefix("/images/")[:64]


def entry(fake: Fake, key_: str) -> dict:
    listed = http.get(f"{fake.url}/cache/entries?limit=500").json()["entries"]
    return next((each for each in listed if each["key"] == key_), {})


def link(page: Page) -> str:
    """Copy the link of the first picture, and read what was copied."""
    page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    tool(page, "link").first.click()
    expect(told(page)).to_contain_text("Copied: Link")
    return page.evaluate("window.copied")


def test_the_age_of_a_stored_picture_is_reported(fake: Fake, open_page):
    """A hit says how long ago it was drawn, in the reader's language; a new picture does not."""
    page = open_page(fake.url)
    generate(page, "of some age", "generated")
    expect(page.locator(".zi-badge")).not_to_contain_text("ago")
    assert page.evaluate("[5, 185, 7300, 90000].map(zimage.age)") == ["5 sec ago", "3 min ago", "2 hr ago", "yesterday"]
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="memory"]')).to_contain_text(re.compile("now|ago"))
    chinese = open_page(fake.url, locale="zh-CN")
    assert chinese.evaluate("zimage.age(185)") == "3分钟前"


def test_draw_again_replaces_the_stored_picture(fake: Fake, open_page):
    """Redraw draws the picture that is shown, not what the form holds by now, and stores it in its place."""
    page = open_page(fake.url)
    generate(page, "drawn twice", "generated")
    drawn, first = len(fake.generator.recipes), key(page)
    write(page, "half a thou")
    page.click(".zi-again")
    wait_until(lambda: len(fake.generator.recipes) == drawn + 1)
    expect(page.locator('.zi-badge[data-source="generated"]')).to_be_visible()
    expect(page.locator(".zi-asked")).to_have_text("drawn twice")
    assert key(page) == first
    expect(page.locator("#zi-prompt textarea")).to_have_value("half a thou")


def test_facts_are_copied_whole(fake: Fake, open_page):
    """A click on a fact copies it: the seed, and of the key all 64 digits."""
    page = open_page(fake.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    generate(page, "facts", "generated")
    page.get_by_role("button", name="Details").click()
    page.locator('[data-fact="Key"] button').click()
    expect(told(page)).to_contain_text("Copied: Key")
    assert page.evaluate("navigator.clipboard.readText()") == key(page)
    page.locator('[data-fact="Seed"] button').click()
    expect(told(page)).to_contain_text("Copied: Seed")
    assert page.evaluate("navigator.clipboard.readText()") == seed(page)


def test_copying_works_without_the_clipboard_of_secure_pages(fake: Fake, open_page):
    """Over plain http there is no `navigator.clipboard`: the text reaches the clipboard all the same, or the reader."""
    page = open_page(fake.url)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { configurable: true, value: undefined })")
    generate(page, "copied the old way", "generated")
    page.locator('[data-fact="Seed"] button').click()
    expect(told(page)).to_contain_text("Copied: Seed")
    page.fill("#zi-prompt textarea", "")
    page.focus("#zi-prompt textarea")
    page.keyboard.press("Control+V")
    expect(page.locator("#zi-prompt textarea")).to_have_value(seed(page))
    assert page.locator(".zi-offstage").count() == 0
    page.evaluate("document.execCommand = () => false")
    page.locator('[data-fact="Seed"] button').click()
    expect(told(page)).to_contain_text(f"does not let this page copy. Here it is: {seed(page)}")


def test_a_download_is_the_stored_file(fake: Fake, open_page):
    """Download gives the very bytes that are stored, under a name that says which picture it is."""
    page = open_page(fake.url)
    generate(page, "downloaded", "generated")
    with page.expect_download() as downloading:
        page.click(".zi-download")
    assert downloading.value.suggested_filename == f"zimage_{key(page)[:8]}_{seed(page)}.png"
    stored = http.get(f"{fake.url}/images/{key(page)}.png").content
    assert downloading.value.path().read_bytes() == stored
    assert Image.open(io.BytesIO(stored)).size == (128, 128)


def test_a_link_opens_the_settings_and_the_picture(fake: Fake, open_page):
    """Opened elsewhere, a link fills the form and shows the stored picture; the address bar is clean again."""
    page = open_page(fake.url)
    choose_style(page, "Watercolour")
    set_side(page, "width", "160")
    generate(page, "linked & 100 % #+红", "generated")
    drawn, address = len(fake.generator.recipes), link(page)
    assert parse_qs(address.partition("#")[2])["seed"] == [seed(page)]
    other = open_page(address)
    expect(other.locator(".zi-badge")).to_contain_text("From memory")
    expect(other.locator("#zi-prompt textarea")).to_have_value("linked & 100 % #+红")
    expect(other.get_by_label("Watercolour")).to_be_checked()
    expect(other.locator("#zi-width input")).to_have_value("160")
    assert seed(other) == seed(page)
    assert key(other) == key(page)
    assert other.evaluate("location.hash") == ""
    other.click("#zi-generate")
    expect(other.locator(".zi-badge")).to_contain_text("From memory")
    assert len(fake.generator.recipes) == drawn


def test_a_link_opens_in_a_page_that_is_already_there(fake: Fake, open_page):
    """Pasted into the address bar of an open page, a link does the same; without its picture, the page says so."""
    page = open_page(fake.url)
    generate(page, "linked here", "generated")
    address = link(page)
    write(page, "something else")
    page.evaluate("address => void (location.href = address)", address)
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator("#zi-prompt textarea")).to_have_value("linked here")
    page.evaluate("address => void (location.href = address)", address.replace("linked", "never+drawn"))
    expect(told(page)).to_contain_text("not stored any more; Generate draws it again")
    expect(page.locator("#zi-prompt textarea")).to_have_value("never drawn here")
    assert page.evaluate("location.hash") == ""


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("width=100", "width", "multiple of 16, got 100"),
        ("steps=many", "steps", "the link says many, which is no number"),
        ("style=nonsense", "style", "nonsense"),
        ("sampler=nonsense", "sampler", "should be"),
        ("seed=-7", "seed", "-7"),
    ],
)
def test_a_bad_value_in_a_link_is_named(fake: Fake, open_page, text, field, message):
    """A link from anywhere cannot break the page: what is wrong with it is said, and the next good ask works."""
    page = open_page(f"{fake.url}/#prompt=of+a+bad+link&{text}")
    expect(page.locator(f"#zi-{field} .zi-fault")).to_contain_text(message)
    expect(page.locator("#zi-prompt textarea")).to_have_value("of a bad link")
    other = open_page(f"{fake.url}/#prompt=%E0%A4%A&model=nobody's&unknown=1&seed=3")
    expect(other.locator(".zi-told")).to_be_visible()
    other.click("#zi-generate")
    expect(other.locator(".zi-badge")).to_be_visible()


def test_use_as_settings_fills_the_form(fake: Fake, open_page):
    """What the form has become since gives way to what the picture was drawn with."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "77")
    generate(page, "to be used", "generated")
    write(page, "something else")
    set_side(page, "width", "256")
    page.fill("#zi-seed input", "1")
    tool(page, "use").click()
    expect(page.locator("#zi-prompt textarea")).to_have_value("to be used")
    expect(page.locator("#zi-width input")).to_have_value("128")
    assert seed(page) == "77"
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("From memory")


def test_the_other_formats_are_downloaded_from_a_list(fake: Fake, open_page):
    """A second button opens PNG, JPEG and WebP; arrow keys and Esc work there, and Esc stops nothing."""
    page = open_page(fake.url)
    generate(page, "in three formats", "generated")
    wait_until(lambda: entry(fake, key(page)))
    other = page.get_by_role("button", name="Download in another format")
    other.press("Enter")
    entries = page.get_by_role("menuitem")
    expect(entries).to_have_text(["PNG, the original with its settings", "JPEG", "WebP"])
    expect(entries.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(entries.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(entries.first).to_be_hidden()
    expect(other).to_be_focused()
    for name, kind in (("JPEG", "JPEG"), ("WebP", "WEBP")):
        other.click()
        with page.expect_download() as downloading:
            page.get_by_role("menuitem", name=name).click()
        suffix = {"JPEG": "jpg", "WEBP": "webp"}[kind]
        assert downloading.value.suggested_filename == f"zimage_{key(page)[:8]}_{seed(page)}.{suffix}"
        with Image.open(downloading.value.path()) as saved:
            assert (saved.format, saved.size) == (kind, (128, 128))


def test_a_list_of_formats_is_inside_the_window(fake: Fake, open_page):
    """In a grid on a small screen too, where the frame of a tile would cut it off."""
    page = open_page(fake.url, viewport={"width": 390, "height": 844})
    set_count(page, 2)
    generate(page, "formats of a tile", "generated")
    expect(page.locator(".zi-badge")).to_have_count(2)
    tool(page, "formats").last.click()
    box = page.get_by_role("menu").bounding_box()
    assert box
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    assert 0 <= box["y"] <= box["y"] + box["height"] <= 844
    expect(page.get_by_role("menuitem", name="WebP")).to_be_visible()


def test_a_star_keeps_a_picture(fake: Fake, open_page):
    """The star says what it does, is filled at once, pins the picture in the cache, and is taken again."""
    page = open_page(fake.url)
    generate(page, "starred", "generated")
    wait_until(lambda: entry(fake, key(page)))
    star = page.get_by_role("button", name="Star", exact=True)
    assert star.get_attribute("title") == "Star: stays in the cache"
    star.click()
    expect(page.get_by_role("button", name="Unstar")).to_have_class(re.compile("zi-on"))
    expect(told(page)).to_contain_text("Starred: it stays in the cache")
    assert entry(fake, key(page))["pinned"] is True
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="memory"]')).to_be_visible()
    page.get_by_role("button", name="Unstar").click()
    expect(told(page)).to_contain_text("No longer starred")
    assert entry(fake, key(page))["pinned"] is False


def test_a_star_is_still_there_after_a_reload(fake: Fake, open_page):
    """The server is asked for the star of a picture that was stored before."""
    page = open_page(fake.url)
    generate(page, "starred and reloaded", "generated")
    wait_until(lambda: entry(fake, key(page)))
    tool(page, "star").click()
    expect(told(page)).to_contain_text("Starred")
    page.reload()
    expect(page.get_by_role("button", name="Unstar")).to_be_visible()


def test_a_star_that_is_refused_is_taken_back(fake: Fake, open_page):
    """The reason is said; a second press of the same button may succeed."""
    page = open_page(fake.url)
    generate(page, "refused star", "generated")
    wait_until(lambda: entry(fake, key(page)))
    error = {"code": "cache_unavailable", "message": "the disk is read-only", "request_id": "x"}
    page.route("**/cache/*/pin", lambda route: route.fulfill(status=503, json={"error": error}))
    tool(page, "star").click()
    expect(told(page)).to_have_text("the disk is read-only")
    expect(page.get_by_role("button", name="Star", exact=True)).to_be_visible()
    page.unroute("**/cache/*/pin")
    tool(page, "star").click()
    expect(told(page)).to_contain_text("Starred")


def test_a_stored_picture_is_requested_before_whether_it_is_pinned(fake: Fake, open_page):
    """The question about its pin waits until the picture is there, and so does not delay it."""
    page = open_page(fake.url)
    generate(page, "first of all", "generated")
    wait_until(lambda: entry(fake, key(page)))
    drawn, page = seed(page), open_page(fake.url)
    page.fill("#zi-seed input", drawn)
    held: list[Route] = []
    asked: list[str] = []
    page.route("**/images/*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the handler
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    write(page, "first of all")
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-cached="true"]')).to_be_visible()
    expect(tool(page, "star")).to_be_visible()
    wait_with(page, lambda: held)
    others = ("/thumbnail.webp", "/cache/stats")
    about = [path.split("/")[1] for path in asked if not path.endswith(others)]
    assert [what for what in about if what in {"jobs", "images", "cache"}] == ["jobs", "images"]
    for route in held:
        route.continue_()
    wait_with(page, lambda: f"/cache/{key(page)}" in asked)


def question(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Delete this picture?")


def delete(page: Page) -> None:
    """Delete the first picture of the card."""
    tool(page, "delete").first.click()
    question(page).get_by_role("button", name="Delete", exact=True).click()


def files_of(fake: Fake, key_: str) -> list[dict]:
    return http.get(f"{fake.url}/history", params={"query": f"key:{key_}"}).raise_for_status().json()["pictures"]


def wait_for_both(fake: Fake, key_: str) -> None:
    """Wait until a picture is in the cache and in the history."""
    wait_until(lambda: entry(fake, key_) and files_of(fake, key_))


def test_delete_asks_first_and_then_both_copies_go(fake: Fake, open_page):
    """Kept by Keep, which has the focus, or Esc; deleted, it leaves the card at once, cache and history 5 s later."""
    page = open_page(fake.url, clock=True)
    generate(page, "to be deleted", "generated")
    doomed = key(page)
    wait_for_both(fake, doomed)
    (file,) = files_of(fake, doomed)
    tool(page, "delete").click()
    expect(question(page)).to_contain_text(file["name"])
    expect(question(page)).to_contain_text("Its file leaves the history")
    expect(question(page).get_by_label("also from the cache")).to_be_checked()
    expect(question(page).get_by_role("button")).to_have_text(["Keep", "Delete"])
    expect(question(page).get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question(page)).to_have_count(0)
    tool(page, "delete").click()
    expect(question(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(question(page)).to_have_count(0)
    delete(page)
    expect(page.locator(".zi-empty")).to_contain_text("Deleted")
    assert entry(fake, doomed)
    assert files_of(fake, doomed)
    page.clock.run_for(5000)
    wait_with(page, lambda: not (entry(fake, doomed) or files_of(fake, doomed)))
    expect(page.locator(".zi-told-offer")).to_be_hidden()
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="generated"]')).to_be_visible()


@pytest.mark.parametrize("way", ["button", "key"])
def test_undo_brings_it_back(fake: Fake, open_page, way):
    """Within 5 s the picture is back in its place, by the notice's button or Ctrl+Z; the server was never asked."""
    page = open_page(fake.url, clock=True)
    generate(page, f"undone by {way}", "generated")
    kept = key(page)
    wait_for_both(fake, kept)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "DELETE" else None)
    delete(page)
    expect(page.locator(".zi-empty")).to_be_visible()
    if way == "button":
        page.get_by_role("button", name="Undo").click()
    else:
        page.keyboard.press("Control+Z")
    expect(page.locator(".zi-open")).to_be_visible()
    assert key(page) == kept
    page.clock.run_for(10_000)
    expect(tool(page, "delete")).to_be_visible()
    assert asked == []


def test_a_tile_comes_back_in_its_place(fake: Fake, open_page):
    """Of several pictures, the others stay where they are, and the deleted one returns between them."""
    page = open_page(fake.url)
    set_count(page, 3)
    generate(page, "three to delete from", "generated")
    expect(page.locator(".zi-badge")).to_have_count(3)
    before = page.locator(".zi-open").evaluate_all("all => all.map(each => each.href)")
    tool(page, "delete").nth(1).click()
    question(page).get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator('figure[data-state="deleted"]')).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".zi-badge")).to_have_count(3)
    assert page.locator(".zi-open").evaluate_all("all => all.map(each => each.href)") == before


def test_a_second_deletion_carries_out_the_first(fake: Fake, open_page):
    """Only the latest one can be undone: the one before is carried out at once."""
    page = open_page(fake.url, clock=True)
    set_count(page, 2)
    generate(page, "two deletions", "generated")
    expect(page.locator(".zi-badge")).to_have_count(2)
    keys = [each["key"] for each in http.get(f"{fake.url}/cache/entries?query=two deletions").json()["entries"]]
    wait_until(lambda: all(files_of(fake, each) for each in keys))
    first = key(page)
    (second,) = (each for each in keys if each != first)
    delete(page)
    expect(page.locator('figure[data-state="deleted"]')).to_have_count(1)
    delete(page)
    expect(page.locator(".zi-empty")).to_contain_text("Deleted")
    wait_with(page, lambda: not (entry(fake, first) or files_of(fake, first)))
    assert entry(fake, second)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".zi-badge")).to_have_count(1)
    page.clock.run_for(10_000)
    assert entry(fake, second)


def test_the_page_is_left_before_the_time_is_up(fake: Fake, open_page):
    """A reload while Undo is offered carries out the deletion."""
    page = open_page(fake.url)
    generate(page, "deleted and reloaded", "generated")
    doomed = key(page)
    wait_for_both(fake, doomed)
    delete(page)
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.reload()
    wait_with(page, lambda: not (entry(fake, doomed) or files_of(fake, doomed)))
    expect(page.locator(".zi-empty")).to_be_visible()


def test_generate_while_undo_is_offered_draws_anew(fake: Fake, open_page):
    """What was deleted is not shown once more from the cache, to go a little later."""
    page = open_page(fake.url)
    generate(page, "asked for while it goes", "generated")
    wait_for_both(fake, key(page))
    delete(page)
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="generated"]')).to_be_visible()
    wait_for_both(fake, key(page))


def test_a_refused_deletion_brings_it_back_with_the_reason(fake: Fake, open_page):
    """A server that cannot delete now leaves the picture, in its place, and says why."""
    page = open_page(fake.url, clock=True)
    generate(page, "not to be deleted", "generated")
    wait_for_both(fake, key(page))
    error = {"code": "history_unavailable", "message": "the disk is read-only", "request_id": "x"}
    for path in ("**/history/*", "**/cache/*"):
        page.route(path, lambda route: route.fulfill(status=503, json={"error": error}))
    delete(page)
    expect(page.locator(".zi-empty")).to_be_visible()
    page.clock.run_for(5000)
    expect(page.locator(".zi-told-plain")).to_have_text("It could not be deleted and is back: the disk is read-only")
    expect(page.locator(".zi-open")).to_be_visible()


def test_what_was_deleted_elsewhere_is_no_error(fake: Fake, open_page):
    """A picture that another tab has deleted meanwhile is gone, as was wanted."""
    page = open_page(fake.url, clock=True)
    generate(page, "deleted by two", "generated")
    doomed = key(page)
    wait_for_both(fake, doomed)
    delete(page)
    http.delete(f"{fake.url}/cache/{doomed}").raise_for_status()
    http.delete(f"{fake.url}/history/{files_of(fake, doomed)[0]['id']}").raise_for_status()
    page.clock.run_for(5000)
    page.clock.run_for(1000)
    expect(page.locator(".zi-empty")).to_be_visible()
    expect(page.locator(".zi-told-plain.zi-there")).to_have_count(0)


def test_only_what_there_is_is_deleted(fake: Fake, open_page):
    """Without a file, the cache alone is offered; with the tick off, the cache keeps the picture."""
    page = open_page(fake.url, clock=True)
    generate(page, "without a file", "generated")
    doomed = key(page)
    wait_for_both(fake, doomed)
    http.delete(f"{fake.url}/history/{files_of(fake, doomed)[0]['id']}").raise_for_status()
    tool(page, "delete").click()
    expect(question(page)).to_contain_text("It leaves the cache; the history has no file of it.")
    expect(question(page).get_by_role("checkbox")).to_have_count(0)
    question(page).get_by_role("button", name="Delete", exact=True).click()
    page.clock.run_for(5000)
    wait_with(page, lambda: not entry(fake, doomed))

    generate(page, "kept in the cache", "generated")
    doomed = key(page)
    wait_for_both(fake, doomed)
    tool(page, "delete").click()
    question(page).get_by_label("also from the cache").uncheck()
    question(page).get_by_role("button", name="Delete", exact=True).click()
    page.clock.run_for(5000)
    wait_with(page, lambda: not files_of(fake, doomed))
    assert entry(fake, doomed)


def test_a_picture_without_a_trace_cannot_be_kept(fake: Fake, open_page):
    """What is not stored offers no star and no deletion; what was deleted elsewhere says so when it is starred."""
    page = open_page(fake.url)
    generate(page, "deleted elsewhere", "generated")
    wait_until(lambda: entry(fake, key(page)))
    assert http.delete(f"{fake.url}/cache/{key(page)}").status_code == 200
    tool(page, "star").click()
    expect(told(page)).to_contain_text("cannot be starred")
    expect(page.get_by_role("button", name="Star", exact=True)).to_be_visible()
    open_advanced(page)
    page.get_by_label("Leave no trace").check()
    generate(page, "no trace to keep", "generated")
    expect(page.locator(".zi-asked")).to_have_text("no trace to keep")
    expect(tool(page, "use")).to_be_visible()
    expect(tool(page, "star")).to_have_count(0)
    expect(tool(page, "formats")).to_have_count(0)
    expect(tool(page, "delete")).to_have_count(0)


def test_a_click_opens_the_viewer(fake: Fake, open_page):
    """The viewer gets all pictures and which was clicked; with Ctrl, the picture opens in a tab of its own."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "31")
    set_count(page, 2)
    generate(page, "looked at", "generated")
    expect(page.locator(".zi-badge")).to_have_count(2)
    page.evaluate("zimage.viewer.open = (...given) => void (window.given = given)")
    page.locator(".zi-open").last.click()
    pictures, index = page.evaluate("window.given.slice(0, 2)")
    assert [picture["seed"] for picture in pictures] == [31, 32]
    assert index == 1
    assert set(pictures[0]) >= {"image_url", "alt", "seed", "width", "height", "key", "parameters", "thumbnail_url"}
    with page.context.expect_page() as opened:
        page.locator(".zi-open").last.click(modifiers=["Control"])
    assert opened.value.url.endswith(pictures[1]["image_url"])


def test_restore_shows_a_copy_where_nothing_is_stored(fake: Fake, open_page):
    """Settings from elsewhere fill every field; their picture comes from the cache, else as a copy from the history."""
    page = open_page(fake.url)
    generate(page, "copied", "generated")
    copy = page.get_attribute(".zi-open", "href")
    page.evaluate(
        "copy => zimage.restore({ prompt: 'an old one', seed: 5, width: 256, unknown: 1 }, { image: copy })", copy
    )
    expect(page.locator(".zi-badge")).to_contain_text("From history")
    expect(page.locator("#zi-prompt textarea")).to_have_value("an old one")
    expect(page.locator("#zi-width input")).to_have_value("256")
    expect(page.locator("#zi-height input")).to_have_value("128")
    expect(tool(page, "delete")).to_have_count(0)
    page.evaluate("zimage.restore({ prompt: 'an old one', seed: 6 })")
    expect(told(page)).to_contain_text("not stored any more")
    expect(page.locator(".zi-badge")).to_contain_text("From history")


def test_callbacks_receive_every_result(fake: Fake, open_page):
    """Callbacks receive the request and its pictures, drawn or stored."""
    page = open_page(fake.url)
    page.evaluate("zimage.onResult((ask, images) => void (window.heard ??= []).push([ask.prompt, images[0].source]))")
    generate(page, "heard of", "generated")
    generate(page, "heard of", "memory")
    assert page.evaluate("window.heard") == [["heard of", "generated"], ["heard of", "memory"]]


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_a_notice_covers_no_button(fake: Fake, open_page, size):
    """Neither a plain notice nor one with Undo lies over a button of the card, of the form or of the page's tabs."""
    page = open_page(fake.url, viewport={"width": size[0], "height": size[1]})
    set_count(page, 2)
    generate(page, "under a notice", "generated")
    expect(page.locator(".zi-badge")).to_have_count(2)
    tool(page, "link").first.click()
    expect(page.locator(".zi-told-plain.zi-there")).to_be_visible()
    assert covered(page) == []
    delete(page)
    expect(page.locator(".zi-told-offer.zi-there")).to_be_visible()
    assert covered(page) == []


def covered(page: Page) -> list[str]:
    """List the buttons that have a point in common with a notice."""
    return page.evaluate("""() => {
      const boxes = [...document.querySelectorAll(".zi-told.zi-there")].map((it) => it.getBoundingClientRect());
      const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
      const buttons = [...document.querySelectorAll("button, [role=tab], a.zi-tool")]
        .filter((it) => it.checkVisibility() && !it.closest(".zi-told"));
      return buttons.filter((it) => boxes.some((box) => meet(box, it.getBoundingClientRect())))
        .map((it) => it.className);
    }""")
