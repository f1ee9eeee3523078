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
        ("width=100", "Width", "multiple of 16, got 100"),
        ("steps=many", "Steps", "the link says many, which is no number"),
        ("style=nonsense", "Style", "nonsense"),
        ("sampler=nonsense", "Sampler", "should be"),
        ("seed=-7", "Seed", "-7"),
    ],
)
def test_a_bad_value_in_a_link_is_named(fake: Fake, open_page, text, field, message):
    """A link from anywhere cannot break the page: what is wrong with it is said, and the next good ask works."""
    page = open_page(f"{fake.url}/#prompt=of+a+bad+link&{text}")
    expect(page.locator(".zi-error")).to_contain_text(f"Please change one thing: {field}")
    expect(page.locator(".zi-error")).to_contain_text(message)
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


def test_pin_and_unpin(fake: Fake, open_page):
    """The pin says what it does, does it, and undoes it."""
    page = open_page(fake.url)
    generate(page, "pinned", "generated")
    wait_until(lambda: entry(fake, key(page)))
    page.get_by_role("button", name="Pin: keep it").click()
    expect(told(page)).to_contain_text("Pinned")
    assert entry(fake, key(page))["pinned"] is True
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="memory"]')).to_be_visible()
    page.get_by_role("button", name="Unpin").click()
    expect(told(page)).to_contain_text("No longer pinned")
    assert entry(fake, key(page))["pinned"] is False


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
    page.on("request", lambda request: asked.append(urlsplit(request.url).path.split("/")[1]))
    write(page, "first of all")
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-cached="true"]')).to_be_visible()
    expect(tool(page, "pin")).to_be_visible()
    wait_with(page, lambda: held)
    assert [what for what in asked if what in {"jobs", "images", "cache"}] == ["jobs", "images"]
    for route in held:
        route.continue_()
    wait_with(page, lambda: "cache" in asked)


def test_delete_asks_first_and_then_it_is_gone(fake: Fake, open_page):
    """Kept when the answer is Keep or Esc; deleted, it is gone from the card and the cache, and drawn when asked."""
    page = open_page(fake.url)
    generate(page, "to be deleted", "generated")
    wait_until(lambda: entry(fake, key(page)))
    doomed = key(page)
    tool(page, "delete").click()
    page.get_by_role("button", name="Keep it", exact=True).click()
    tool(page, "delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert entry(fake, doomed)
    tool(page, "delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".zi-empty")).to_contain_text("Deleted from the cache")
    assert not entry(fake, doomed)
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")


def test_one_of_several_is_deleted_alone(fake: Fake, open_page):
    """A deleted tile leaves its place empty; the others stay."""
    page = open_page(fake.url)
    set_count(page, 2)
    generate(page, "one of two", "generated")
    expect(page.locator(".zi-badge")).to_have_count(2)
    tool(page, "delete").last.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator('figure[data-state="deleted"]')).to_contain_text("Deleted")
    expect(page.locator(".zi-badge")).to_have_count(1)


def test_a_picture_without_a_trace_cannot_be_kept(fake: Fake, open_page):
    """What is not stored offers no pin and no deletion; what was deleted elsewhere says so when it is to be pinned."""
    page = open_page(fake.url)
    generate(page, "deleted elsewhere", "generated")
    wait_until(lambda: entry(fake, key(page)))
    assert http.delete(f"{fake.url}/cache/{key(page)}").status_code == 200
    tool(page, "pin").click()
    expect(told(page)).to_contain_text("cannot be pinned")
    open_advanced(page)
    page.get_by_label("Leave no trace").check()
    generate(page, "no trace to keep", "generated")
    expect(page.locator(".zi-asked")).to_have_text("no trace to keep")
    expect(tool(page, "use")).to_be_visible()
    expect(tool(page, "pin")).to_have_count(0)
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
    pictures, index = page.evaluate("window.given")
    assert [picture["seed"] for picture in pictures] == [31, 32]
    assert index == 1
    assert set(pictures[0]) == {"image_url", "alt", "seed", "width", "height"}
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
