"""Signing in and out on a server with users, as people do it in a browser."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.factories import present
from tests.waiting import wait_until
from zimage_cache.accounts.sessions import Sessions
from zimage_cache.accounts.users import UserFile
from zimage_cache.generator.fake import FakeGenerator

from .conftest import generate, serving, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

READY = "document.querySelector('#zi-seed input')?.value"
ANN, BEN = "secret of ann", "secret of ben"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserFile:
    file = UserFile(tmp_path_factory.mktemp("users") / "users.txt")
    file.put("ann", ANN, administrator=True)
    file.put("ben", BEN, administrator=False)
    return file


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def url(chromium: Browser, users: UserFile, workspace: Path) -> Iterator[str]:  # noqa: ARG001 - see `fake`
    with serving(FakeGenerator(), workspace, auth_file=users.path) as address:
        yield address


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Make browsers with nothing in them."""
    made: list[BrowserContext] = []

    def make(scheme: Literal["light", "dark"] = "light", language: str = "en-US") -> BrowserContext:
        view: ViewportSize = {"width": 1280, "height": 800}
        made.append(chromium.new_context(viewport=view, color_scheme=scheme, locale=language))
        return made[-1]

    yield make
    for each in made:
        each.close()


def sign_in(page: Page, name: str, password: str) -> None:
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", password)
    page.click("form button")


def signed_in(browser: BrowserContext, url: str, name: str, password: str) -> Page:
    page = browser.new_page()
    page.goto(url)
    sign_in(page, name, password)
    page.wait_for_function(READY)
    return page


def test_a_link_to_a_picture_survives_the_sign_in(url: str, visitor):
    """The page that was asked for comes after the password, with what stands behind the #."""
    page = visitor().new_page()
    answer = page.goto(f"{url}/?lang=en#prompt=of+ann&seed=5")
    assert answer is not None
    assert answer.status == 401
    expect(page.locator("input[name=name]")).to_be_focused()
    sign_in(page, "ann", ANN)
    page.wait_for_function(READY)
    assert page.evaluate("location.pathname + location.search") == "/?lang=en"
    expect(page.locator("#zi-prompt textarea")).to_have_value("of ann")
    expect(page.locator(".zi-account-name")).to_have_text("ann")


def test_a_wrong_password(url: str, visitor):
    """It is said, by screen readers too; the name stays, the password does not, and the link is kept."""
    page = visitor().new_page()
    page.goto(f"{url}/#prompt=after+all&seed=6")
    sign_in(page, "ann", "wrong")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("the user name or the password is wrong")
    expect(page.locator("input[name=name]")).to_have_value("ann")
    expect(page.locator("input[name=password]")).to_have_value("")
    sign_in(page, "ann", ANN)
    page.wait_for_function(READY)
    expect(page.locator("#zi-prompt textarea")).to_have_value("after all")


def test_password_managers_know_the_form(url: str, visitor):
    """Both inputs are named as the standard says, in one form that is posted."""
    page = visitor().new_page()
    page.goto(url)
    assert page.locator("form").get_attribute("method") == "post"
    assert page.locator("form input[autocomplete=username]").get_attribute("type") is None
    assert page.locator("form input[autocomplete=current-password]").get_attribute("type") == "password"


def test_a_reload_and_a_sign_out(url: str, visitor):
    """The session lasts until the sign-out; then the same cookie is worth nothing, and the page says so."""
    browser = visitor()
    page = signed_in(browser, url, "ann", ANN)
    (cookie,) = browser.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    page.reload()
    page.wait_for_function(READY)
    other = browser.new_page()
    other.goto(url)
    other.wait_for_function(READY)
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("input[name=password]")).to_be_visible()
    assert browser.cookies() == []
    # Another tab of the same browser.
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(other.locator(".zi-trouble")).to_contain_text("You are signed out")
    write(other, "kept over the sign-in")
    other.click("#zi-generate")
    expect(other.locator(".zi-error-title")).to_have_text("You are signed out")
    duplicate = browser.new_page()
    duplicate.goto(url)
    expect(duplicate.locator("input[name=password]")).to_be_visible()
    browser.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": url}])
    other.reload()
    expect(other.locator("input[name=password]")).to_be_visible()
    sign_in(other, "ann", ANN)
    other.wait_for_function(READY)
    expect(other.locator("#zi-prompt textarea")).to_have_value("kept over the sign-in")


@pytest.mark.parametrize("days", [29, 31])
def test_an_old_session(url: str, visitor, workspace: Path, users: UserFile, days: int):
    """After a month without use the password is asked for again, and not before."""
    browser = visitor()
    then = Sessions(workspace / "zimage.sqlite3", clock=lambda: time.time() - days * 86_400)
    token = then.begin("ann", present(users.read().get("ann")).mark)
    browser.add_cookies([{"name": f"zimage_session_{url.rpartition(':')[2]}", "value": token, "url": url}])
    page = browser.new_page()
    page.goto(url)
    if days < 30:
        page.wait_for_function(READY)
    expect(page.locator("input[name=password]")).to_have_count(0 if days < 30 else 1)


def test_the_next_user_of_a_tab_finds_nothing(url: str, visitor):
    """After a sign-out neither the form nor the last request of the user before comes back."""
    page = signed_in(visitor(), url, "ann", ANN)
    generate(page, "what ann was drawing")
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "ben", BEN)
    page.wait_for_function(READY)
    expect(page.locator(".zi-account-name")).to_have_text("ben")
    expect(page.locator("#zi-prompt textarea")).to_have_value("")
    expect(page.locator(".zi-empty-title")).to_be_visible()


@pytest.mark.parametrize(("names", "kept"), [(("ann",), True), (("ben",), False), (("bne", "ann"), True)])
def test_a_session_that_ends_by_itself(url: str, visitor, names: tuple[str, ...], kept: bool):
    """What the tab keeps comes back for the same user, also after a slip of the pen, and goes when another signs in."""
    browser = visitor()
    page = signed_in(browser, url, "ann", ANN)
    expect(page.locator(".zi-account-name")).to_have_text("ann")
    write(page, "typed by ann")
    page.wait_for_function("sessionStorage.getItem('zimage.form')?.includes('typed by ann')")
    browser.clear_cookies()
    page.reload()
    for name in names:
        sign_in(page, name, {"ann": ANN, "ben": BEN}.get(name, "wrong"))
        page.wait_for_load_state()
    page.wait_for_function(READY)
    expect(page.locator("#zi-prompt textarea")).to_have_value("typed by ann" if kept else "")


def test_two_users_side_by_side(url: str, visitor):
    """Each has a history of their own; a picture that one drew is a stored one for the other."""
    ann, ben = signed_in(visitor(), url, "ann", ANN), signed_in(visitor(), url, "ben", BEN)
    for page in (ann, ben):
        page.evaluate("(fields) => new Promise((done) => zimage.form.fill(fields, done))", {"seed": 77})
    generate(ann, "drawn once for both", "generated")
    generate(ben, "drawn once for both", "memory")
    generate(ben, "of ben alone", "generated")
    for page, own, others in (
        (ann, "drawn once for both", "of ben alone"),
        (ben, "of ben alone", "drawn once for both"),
    ):
        page.get_by_role("tab", name="History").click()
        expect(page.get_by_role("button", name=f"Picture drawn for: {own}")).to_be_visible()
        expect(page.get_by_role("button", name=f"Picture drawn for: {others}")).to_have_count(0)


def test_a_removed_user_is_signed_out(url: str, visitor, users: UserFile):
    """Within a second or two, without a restart."""
    users.put("eve", "secret of eve", administrator=False)
    page = signed_in(visitor(), url, "eve", "secret of eve")
    users.remove("eve")
    wait_until(lambda: page.evaluate("fetch('me').then((answer) => answer.status)") == 401)
    page.reload()
    expect(page.locator("input[name=password]")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("language", "title"), [("en-US", "Sign in · Z-Image"), ("zh-CN", "登录 · Z-Image")])
def test_axe_finds_nothing(url: str, visitor, scheme: str, language: str, title: str):
    """In both languages and themes, with an error on the page."""
    page = visitor(scheme, language).new_page()
    page.goto(url)
    expect(page).to_have_title(title)
    sign_in(page, "ann", "wrong")
    expect(page.get_by_role("alert")).not_to_be_empty()
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_an_address_with_a_password(url: str, visitor):
    """Browsers refuse requests from such a page: after the sign-in it opens without the password in its address."""
    page = visitor().new_page()
    page.goto(re.sub("//", "//ann:x@", url, count=1) + "/?lang=en#prompt=of+ann&seed=5")
    sign_in(page, "ann", ANN)
    page.wait_for_function(READY)
    assert page.evaluate("location.href").startswith(f"{url}/")
    generate(page, "with a clean address")


def test_stars_and_the_cache_are_the_administrators(url: str, visitor):
    """Others have no star, and delete their own files alone: no route refuses them, and none is asked in vain."""
    ben = visitor("light", "en-GB")
    refused: list[str] = []
    ben.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    page = signed_in(ben, url, "ben", BEN)
    generate(page, "of a user who is no administrator", "generated")
    expect(page.locator('.zi-tool[data-tool="use"]')).to_be_visible()
    expect(page.locator('.zi-tool[data-tool="star"]')).to_be_hidden()
    page.get_by_role("tab", name="History").click()
    page.get_by_role("searchbox").fill("no administrator")
    expect(page.locator(".zi-h-tile")).to_have_count(1)
    expect(page.locator(".zi-h-star")).to_be_hidden()
    expect(page.locator(".zi-h-starred")).to_be_hidden()
    page.locator(".zi-h-pick").press("Delete")
    question = page.get_by_role("dialog", name="Delete this picture?")
    expect(question).to_contain_text("Its file leaves the history.")
    expect(question.get_by_role("checkbox")).to_have_count(0)
    question.get_by_role("button", name="Delete").click()
    expect(page.locator(".zi-h-tile")).to_have_count(0)
    page.reload()  # carries it out
    page.wait_for_function(READY)
    page.get_by_role("tab", name="Create").click()
    page.click("#zi-generate")  # found in the cache
    expect(page.locator('.zi-badge[data-cached="true"]')).to_be_visible()
    page.locator('.zi-tool[data-tool="delete"]').click()
    expect(page.locator(".zi-told")).to_contain_text("only administrators can delete it from the cache")
    assert refused == []

    ann = signed_in(visitor("light", "en-GB"), url, "ann", ANN)
    generate(ann, "of an administrator", "generated")
    expect(ann.locator('.zi-tool[data-tool="star"]')).to_be_visible()
