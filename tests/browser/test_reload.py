"""What a page keeps when it is reloaded, when its connection breaks, and beside other pages."""

import pytest
from playwright.sync_api import Page, Route, expect

from zimage_cache.generator.fake import FakeGenerator

from .conftest import ALONE, Fake, Watch, choose_style, generate, seed, serving, set_count, set_side, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("document.querySelector('#zi-seed input')?.value")


def test_the_form_stays_as_it_was(fake: Fake, open_page):
    """A reload keeps every field; a tab of its own begins afresh."""
    page = open_page(fake.url)
    write(page, "kept ${text}")
    choose_style(page, "Watercolour")
    set_side(page, "width", "160")
    page.fill("#zi-seed input", "5")
    set_count(page, 3)
    page.wait_for_function("zimage.form.values.n === 3")
    reload(page)
    expect(page.locator("#zi-prompt textarea")).to_have_value("kept ${text}")
    expect(page.get_by_label("Watercolour")).to_be_checked()
    expect(page.locator("#zi-width input")).to_have_value("160")
    expect(page.locator("#zi-n input:checked")).to_have_value("3")
    assert seed(page) == "5"
    fresh = page.context.new_page()
    fresh.goto(fake.url)
    fresh.wait_for_function("document.querySelector('#zi-seed input')?.value")
    expect(fresh.locator("#zi-prompt textarea")).to_have_value("")


def test_a_browser_that_stores_nothing_still_draws(fake: Fake, open_page):
    """A full or forbidden session storage costs the comfort, nothing else."""
    page = open_page(fake.url)
    page.evaluate("void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); })")
    generate(page, "without a memory", "generated")


def test_a_running_job_goes_on_being_shown(fake: Fake, open_page, hold):
    """Reloaded in the middle, the page finds its own job again: no second run, and the picture appears."""
    page, door = open_page(fake.url), hold(3)
    write(page, "reloaded in the middle")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    reload(page)
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    expect(page.locator(".zi-asked")).to_have_text("reloaded in the middle")
    assert len(door.steps) == 8


def test_a_reload_before_the_job_has_a_name_asks_again(fake: Fake, open_page, hold):
    """Reloaded while its question is on the way, the page asks again, and the answer is shown once."""
    page, door = open_page(fake.url), hold(3)
    page.route("**/jobs", lambda _route: None)
    write(page, "reloaded early")
    with page.expect_request("**/jobs"):
        page.click("#zi-generate")
    page.unroute("**/jobs")
    reload(page)
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    expect(page.locator(".zi-badge")).to_have_count(1)
    expect(page.locator(".zi-asked")).to_have_text("reloaded early")


def test_stop_works_after_a_reload(fake: Fake, open_page, hold):
    """The job found again is this page's to stop."""
    page, door = open_page(fake.url), hold(3)
    write(page, "stopped after a reload")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    reload(page)
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as dropped:
        page.keyboard.press("Escape")
    assert dropped.value.status == 204
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")
    reload(page)
    expect(page.locator(".zi-empty")).to_contain_text("Your picture appears here")
    door.open()


def test_the_last_picture_is_shown_again_from_the_cache(fake: Fake, open_page):
    """After a reload the finished picture is back without being drawn; deleted meanwhile, the page says so."""
    page = open_page(fake.url)
    generate(page, "shown again", "generated")
    drawn = len(fake.generator.recipes)
    reload(page)
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator(".zi-asked")).to_have_text("shown again")
    key = page.get_attribute(".zi-open", "href").removeprefix("/images/")[:64]
    assert page.request.delete(f"{fake.url}/cache/{key}").ok
    reload(page)
    expect(page.locator(".zi-told")).to_contain_text("not stored any more")
    expect(page.locator(".zi-empty")).to_be_visible()
    assert len(fake.generator.recipes) == drawn


def test_two_tabs_do_not_disturb_each_other(fake: Fake, open_page, hold):
    """Stop in one tab leaves the other's run alone, also when both belong to one person."""
    door, one = hold(3), open_page(fake.url)
    other = one.context.new_page()
    other.goto(fake.url)
    other.wait_for_function("document.querySelector('#zi-seed input')?.value")
    for page, prompt in ((one, "of the first tab"), (other, "of the second tab")):
        write(page, prompt)
        page.click("#zi-generate")
        expect(page.locator(".zi-running")).to_be_visible()
    expect(other.locator(".zi-running")).to_contain_text("1 ahead of you")
    other.keyboard.press("Escape")
    expect(other.locator(".zi-empty")).to_contain_text("Stopped")
    expect(one.locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    expect(one.locator(".zi-asked")).to_have_text("of the first tab")
    expect(other.locator(".zi-empty")).to_contain_text("Stopped")


def test_a_duplicated_tab_does_not_take_the_job_over(fake: Fake, open_page, hold):
    """A tab that began as a copy of a busy one has its form, not its job."""
    page, door = open_page(fake.url), hold(3)
    write(page, "mine alone")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    with page.context.expect_page() as opened:
        page.evaluate("window.open(location.href)")  # copies the session storage
    copy = opened.value
    expect(copy.locator("#zi-prompt textarea")).to_have_value("mine alone")
    expect(copy.locator(".zi-empty")).to_be_visible()
    copy.keyboard.press("Escape")
    copy.close()
    door.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")


def test_a_lost_connection_is_reported_and_a_restarted_server_forgets_the_job(tmp_path, gate, open_page, watch: Watch):
    """While the server is away the card says so; come back without the job, it says what to do, and that works."""
    door = gate(3)
    with serving(FakeGenerator(before_step=door), tmp_path) as url:
        page = open_page(url, script=ALONE)
        write(page, "over a restart")
        page.click("#zi-generate")
        expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
        page.route("**/jobs/**", lambda route: route.abort())
        reload(page)
        expect(page.locator(".zi-running")).to_contain_text("Connection lost")
        door.open()  # a server ends when its generator does
    with serving(FakeGenerator(), tmp_path / "another", int(url.rpartition(":")[2])):
        page.unroute("**/jobs/**")
        expect(page.locator(".zi-error")).to_contain_text("Press Generate again")
        expect(page.locator("#zi-stop")).to_have_css("pointer-events", "none")
        generate(page, "over a restart", "generated")
        page.close()
    watch.errors.clear()  # the browser's own lines about connections refused


def test_a_stream_that_breaks_off_is_taken_up_again(fake: Fake, open_page, hold, watch: Watch):
    """Refused once, the stream is asked for again, and the picture is shown as if nothing had been."""
    page, door = open_page(fake.url, script=ALONE), hold(3)
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        refused.append(route)
        route.fulfill(status=503, body="") if len(refused) == 1 else route.continue_()

    page.route("**/jobs/events?*", refuse_once)
    write(page, "broken off")
    page.click("#zi-generate")
    wait_with(page, lambda: len(refused) > 1)
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    door.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    watch.errors.clear()


def test_a_hidden_page_looks_for_a_lost_server_no_longer_than_its_job_waits(fake: Fake, open_page, hold, watch: Watch):
    """After an outage longer than the grace time, a hidden page sends nothing; when visible again, it finds its job."""
    page, door = open_page(fake.url, clock=True, script=ALONE), hold(3)
    write(page, "lost in the dark")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    page.route("**/jobs/**", lambda route: route.fulfill(status=503, body=""))
    reload(page)
    expect(page.locator(".zi-running")).to_contain_text("Connection lost")
    page.evaluate("""() => {
      const { get } = zimage.server;
      zimage.server.get = (...all) => ((window.looks = (window.looks ?? 0) + 1), get(...all));
      Object.defineProperty(document, 'hidden', { configurable: true, value: true });
    }""")
    page.wait_for_function("window.looks >= 2")  # its job still waits
    page.evaluate("window.looks = 0")
    page.clock.fast_forward("01:00")
    page.clock.run_for(10_000)  # ten times as long as it waits between attempts
    assert page.evaluate("window.looks") <= 1  # the one that was due
    page.unroute("**/jobs/**")
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: false })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    door.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    watch.errors.clear()  # the browser's own lines about refused requests


def test_a_page_out_of_the_browsers_memory_keeps_its_job_to_itself(fake: Fake, open_page, hold):
    """Left and come back to without a reload, it has its job still: a copy of the tab finds none to end."""
    page, door = open_page(fake.url), hold(3)
    write(page, "back and forth")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 2 of 8")
    for name in ("pagehide", "pageshow"):
        page.evaluate(f"dispatchEvent(new PageTransitionEvent('{name}', {{ persisted: true }}))")
    assert page.evaluate("sessionStorage.getItem('zimage.ask')") is None
    door.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")


def test_a_model_that_is_not_offered_any_more_is_not_asked_for(fake: Fake, open_page):
    """After a restart with another model, a reloaded form has this server's own, and Generate draws."""
    page = open_page(fake.url)
    write(page, "of another server")
    page.wait_for_function("zimage.form.values.prompt === 'of another server'")
    page.evaluate("""() => {
      const form = { ...zimage.form.values, model: "gone" };
      sessionStorage.setItem("zimage.form", JSON.stringify(form));
    }""")
    reload(page)
    expect(page.locator("#zi-prompt textarea")).to_have_value("of another server")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
