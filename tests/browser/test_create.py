"""The Create tab, as a person uses it."""

import contextlib
import io

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.waiting import wait_until
from zimage_cache.cache.check import check
from zimage_cache.errors import GenerationFailed
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message
from zimage_cache.models.profiles import DEMO
from zimage_cache.service import tickets
from zimage_cache.web.body import GenerateBody

from .conftest import (
    Demo,
    Fake,
    Streams,
    Watch,
    both,
    choose_style,
    generate,
    http,
    open_advanced,
    seed,
    set_count,
    set_side,
    wait_with,
    write,
)

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

CIRCLE = "a large red circle on a blue background"


def picture(page: Page) -> Image.Image:
    """Fetch the picture the card shows, after the browser has shown it."""
    page.wait_for_function("document.querySelector('.zi-pictures img')?.naturalWidth > 0")
    address = page.locator(".zi-pictures img").first.evaluate("image => image.src")
    return Image.open(io.BytesIO(http.get(address).content)).convert("RGB")


def test_first_drawn_then_from_memory_then_after_a_restart_from_disk(demo: Demo, open_page):
    """A prompt becomes a picture; asked again it comes from memory, and after a restart from disk, and says so."""
    page = open_page(demo.url)
    generate(page, CIRCLE, "generated")
    drawn = picture(page)
    colours, middle = drawn.getcolors(1 << 16), drawn.getpixel((64, 64))
    assert colours
    assert len(colours) > 100
    assert isinstance(middle, tuple)
    red, _, blue = middle
    assert red > blue
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator(".zi-badge")).to_contain_text("saved")
    first_seed = seed(page)
    expect(page.locator(".zi-facts")).to_contain_text(first_seed)

    page.close()
    demo.restart()
    page = open_page(demo.url)
    page.fill("#zi-seed input", first_seed)
    generate(page, CIRCLE, "disk")
    expect(page.locator(".zi-badge")).to_contain_text("From disk")
    assert picture(page).tobytes() == drawn.tobytes()
    assert check(demo.workspace / "cache") == []


def test_new_seed_draws_another_picture(demo: Demo, open_page):
    """The button "Another seed" puts a new seed into the form and draws with it."""
    page = open_page(demo.url)
    generate(page, CIRCLE)
    old_seed, old = seed(page), page.get_attribute(".zi-download", "href")
    page.click(".zi-new-seed")
    expect(page.locator(".zi-facts")).not_to_contain_text(old_seed)
    assert seed(page) != old_seed
    expect(page.locator(".zi-facts")).to_contain_text(seed(page))
    assert page.get_attribute(".zi-download", "href") != old


def test_dice_changes_the_seed_and_draws_nothing(fake: Fake, open_page):
    """The dice beside the seed only changes the field."""
    page = open_page(fake.url)
    before, drawn = seed(page), len(fake.generator.recipes)
    page.click("#zi-dice")
    wait_until(lambda: seed(page) != before)
    assert len(fake.generator.recipes) == drawn
    expect(page.locator(".zi-empty")).to_be_visible()


def test_every_control_reaches_the_recipe(fake: Fake, open_page):
    """The values of the form are the ones drawn, field by field."""
    page = open_page(fake.url)
    write(page, "all of it")
    choose_style(page, "Watercolour")
    set_side(page, "width", "160")
    set_side(page, "height", "96")
    page.fill("#zi-seed input", "4294967295")
    open_advanced(page)
    expect(page.locator(".zi-idle")).to_be_visible()
    page.fill("#zi-guidance_scale input[type=number]", "2.5")
    page.fill("#zi-negative_prompt textarea", "fog")
    expect(page.locator(".zi-acts")).to_be_visible()
    page.fill("#zi-steps input[type=number]", "5")
    page.fill("#zi-shift input[type=number]", "1.5")
    page.click("#zi-sampler input")
    page.get_by_role("option", name="UniPC").click()
    set_count(page, 2)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".zi-pictures .zi-badge")).to_have_count(2)
    first, second = fake.generator.recipes[-2:]
    assert first.prompt.startswith("watercolour painting of all of it,")
    assert first.negative_prompt == "fog, photograph, hard outlines"
    assert (first.width, first.height, first.steps) == (160, 96, 5)
    assert (first.guidance_scale, first.shift, first.sampler) == (2.5, 1.5, "unipc")
    assert (first.seed, second.seed) == (4294967295, 0)


def test_every_field_of_a_request_has_a_widget(fake: Fake, open_page):
    """A new parameter that changes pixels has one without a line of the page's own."""
    page = open_page(fake.url)
    for name in GenerateBody.model_fields.keys() - {"model"}:  # there is only one here
        expect(page.locator(f"#zi-{name}")).to_have_count(1)


def test_what_is_typed_as_soon_as_advanced_opens_stays(fake: Fake, open_page):
    """Its fields are there before they are seen, so that Gradio writes into none of them when they appear."""
    page = open_page(fake.url)
    changes = page.evaluate_handle(
        """() => {
          const heard = [];
          zimage.form.changed(({ steps, shift }) => heard.push([steps, shift]));
          return heard;
        }"""
    )
    write(page, "typed at once")
    expect(page.locator("#zi-steps input[type=number]")).to_be_hidden()
    before = page.evaluate_handle("document.querySelector('#zi-steps input[type=number]')")
    open_advanced(page)
    page.fill("#zi-steps input[type=number]", "3")
    page.fill("#zi-shift input[type=number]", "1.5")
    assert page.evaluate("field => field.isConnected", before)
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_have_count(1)
    assert (fake.generator.recipes[-1].steps, fake.generator.recipes[-1].shift) == (3, 1.5)
    # Once each field held what was typed, no change took it back.
    told = changes.json_value()
    assert [3, 1.5] in told
    assert told[told.index([3, 1.5]) :] == [[3, 1.5]] * (len(told) - told.index([3, 1.5]))


def test_cache_modes(fake: Fake, open_page):
    """The mode "Redraw" draws although it is stored; "Leave no trace" stores nothing."""
    page = open_page(fake.url)

    def stored(prompt: str) -> bool:
        # A record that is just being replaced is not there for a moment.
        with contextlib.suppress(FileNotFoundError):
            records = (fake.workspace / "cache" / "keys").glob("*.json")
            return any(f'"prompt": "{prompt}"' in record.read_text() for record in records)
        return False

    generate(page, "modes", "generated")
    wait_until(lambda: stored("modes"))
    open_advanced(page)
    drawn = len(fake.generator.recipes)
    page.get_by_label("Redraw").check()
    page.click("#zi-generate")
    wait_until(lambda: len(fake.generator.recipes) == drawn + 1)
    wait_until(lambda: stored("modes"))
    page.get_by_label("Leave no trace").check()
    generate(page, "no trace", "generated")
    assert picture(page).size == (128, 128)
    assert not stored("no trace")


def test_stop_ends_the_run_and_the_next_picture_works(fake: Fake, open_page, hold):
    """Stop half-way cancels the run within a step; nothing of it is stored, and the next ask is drawn."""
    page, door = open_page(fake.url), hold(evaluation=2)
    write(page, "never finished")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 1 of 8")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.click("#zi-stop")
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")
    expect(page.locator("#zi-stop")).to_have_css("pointer-events", "none")
    door.open()
    wait_until(lambda: fake.generator.busy == 0)
    assert max(evaluation for _, evaluation in door.steps) == 2
    generate(page, "after the stop", "generated")


def test_the_picture_grows_while_it_is_drawn(fake: Fake, open_page, hold, streams: Streams):
    """Previews appear with the steps, in the asked shape, and give way to the finished picture."""
    page, early, late = open_page(fake.url), hold(evaluation=1), hold(evaluation=4)
    fake.generator.before_step = both(early, late)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, "JPEG")
    fake.generator.preview = file.getvalue()
    try:
        write(page, "growing")
        page.click("#zi-generate")
        # Previews are made for those who listen.
        expect(page.locator(".zi-running")).to_contain_text("step 0 of 8")
        wait_until(lambda: streams.jobs == 1)
        early.open()
        preview = page.locator(".zi-running .zi-preview")
        expect(preview).to_be_visible()
        page.wait_for_function("document.querySelector('.zi-preview')?.naturalWidth === 16")
        expect(page.locator(".zi-running")).to_contain_text("step 3 of 8")
        box = preview.bounding_box()
        assert box
        assert box["height"] > 200
        expect(preview).to_have_css("object-fit", "contain")
    finally:
        late.open()
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(preview).not_to_be_visible()
    fake.generator.preview = None


def test_escape_stops_the_request_on_the_card(fake: Fake, open_page, hold):
    """Esc is Stop, also before the job has a name; an invalid request stops nothing."""
    page, door = open_page(fake.url), hold(evaluation=2)

    def ask(prompt: str) -> None:
        write(page, prompt)
        page.keyboard.press("Control+Enter")

    # Before the job has a name, Stop sends nothing yet.
    with page.expect_response("**/jobs"):
        ask("escaped")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.keyboard.press("Escape")
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")
    with page.expect_response("**/jobs"):
        ask("beside a wrong one")
    expect(page.locator(".zi-running")).to_be_visible()
    ask(" ")
    expect(page.locator(".zi-fault")).to_contain_text("must not be blank")
    door.open()
    expect(page.locator(".zi-asked")).to_have_text("beside a wrong one")


def test_stop_reaches_a_press_that_is_still_on_its_way(fake: Fake, open_page):
    """Stop may come before the server has named the job: it is given up as soon as it is, and nothing of it shown."""
    page, waiting = open_page(fake.url), []
    page.route("**/jobs", lambda route: waiting.append(route))  # noqa: PLW0108 - Playwright marks what it calls
    write(page, "stopped early")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_be_visible()
    wait_with(page, lambda: waiting)
    page.keyboard.press("Escape")
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as dropped:
        waiting[0].continue_()
    assert dropped.value.status == 204
    expect(page.locator(".zi-empty")).to_contain_text("Stopped")


def test_a_closed_page_gives_its_run_up(fake: Fake, open_page, hold, monkeypatch):
    """After the tab is closed and the grace time is over, the run is cancelled within one step."""
    monkeypatch.setattr(tickets, "GRACE_SECONDS", 0.1)
    page, door = open_page(fake.url), hold(evaluation=2)

    def abandoned() -> int:
        return http.get(f"{fake.url}/cache/stats").json()["this_process"]["abandoned"]

    before = abandoned()
    write(page, "closed")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_contain_text("step 1 of 8")
    page.close()
    wait_until(lambda: abandoned() == before + 1)
    door.open()
    wait_until(lambda: fake.generator.busy == 0)
    assert max(evaluation for _, evaluation in door.steps) == 2


def test_the_queue_is_shown_and_a_shared_run_says_so(fake: Fake, open_page, hold):
    """Who waits sees how many are ahead; who asks for what is being drawn shares that run."""
    pages, door = [open_page(fake.url) for _ in range(3)], hold(evaluation=2)
    for page, prompt in zip(pages, ("busy", "queued", "busy"), strict=True):
        write(page, prompt)
        page.fill("#zi-seed input", "11")
    pages[0].click("#zi-generate")
    expect(pages[0].locator(".zi-running")).to_contain_text("step")
    pages[2].click("#zi-generate")
    pages[1].click("#zi-generate")
    expect(pages[1].locator(".zi-running")).to_contain_text("1 ahead of you")
    expect(pages[2].locator(".zi-running")).to_contain_text("step")
    door.open()
    expect(pages[2].locator(".zi-badge")).to_contain_text("Shared run")
    expect(pages[0].locator(".zi-badge")).to_contain_text("Newly drawn")
    expect(pages[1].locator(".zi-badge")).to_contain_text("Newly drawn")


def test_bad_input_names_the_field_and_the_rule(fake: Fake, open_page):
    """Nothing is clamped: what is wrong is named, marked, and gone with the next good ask."""
    page = open_page(fake.url)
    write(page, "   ")
    page.click("#zi-generate")
    expect(page.locator("#zi-prompt .zi-fault")).to_contain_text("must not be blank")
    expect(page.locator("#zi-prompt.zi-wrong")).to_be_visible()
    write(page, CIRCLE)
    set_side(page, "width", "100")
    page.click("#zi-generate")
    expect(page.locator("#zi-width .zi-fault")).to_contain_text("multiple of 16, got 100")
    expect(page.locator("#zi-width input")).to_be_focused()
    set_side(page, "width", "")
    page.click("#zi-generate")
    expect(page.locator("#zi-width .zi-fault")).to_contain_text("a number of pixels is needed")
    set_side(page, "width", "96")
    page.click("#zi-generate")
    expect(page.locator(".zi-facts")).to_contain_text("96 × 128")
    expect(page.locator(".zi-wrong, .zi-fault")).to_have_count(0)


def test_a_failed_run_is_reported_with_its_request_id(fake: Fake, open_page):
    """An exception of the generator becomes a readable message with the id from the log; the next request works."""

    def fail(_recipe: object, _evaluation: int) -> None:
        raise GenerationFailed("as_said", text="the transformer returned NaN; try another seed")

    page = open_page(fake.url)
    fake.generator.before_step = fail
    try:
        write(page, "fails")
        page.click("#zi-generate")
        expect(page.locator(".zi-error")).to_contain_text("the transformer returned NaN; try another seed")
        expect(page.locator(".zi-error-id")).to_contain_text("generation_failed")
        assert page.inner_text(".zi-error-id").split()[1] not in {"-", "·"}
    finally:
        fake.generator.before_step = lambda _recipe, _evaluation: None
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()


def test_warnings_of_a_picture_are_shown(fake: Fake, open_page):
    """Warnings of the generator are shown below the picture."""
    page = open_page(fake.url)
    fake.generator.warnings = (Message("as_said", text="prompt: 700 tokens, 512 are read"),)
    try:
        generate(page, "long", "generated")
    finally:
        fake.generator.warnings = ()
    expect(page.locator(".zi-warnings")).to_have_text("prompt: 700 tokens, 512 are read")


HOSTILE = (
    "${alert(1)}",
    "`${alert(1)}` and ` alone",
    "back\\slash \\u{ \\x \\",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>{{value}}",
)


def test_hostile_prompts_are_text(fake: Fake, open_page):
    """Whatever a person types is shown as it was typed, drawn or from memory, and never runs."""
    page = open_page(fake.url)
    for prompt in HOSTILE:
        for source in ("generated", "memory"):
            generate(page, prompt, source)
            expect(page.locator(".zi-asked")).to_have_text(prompt)
            assert page.locator(".zi-asked").text_content() == prompt
            assert page.get_attribute(".zi-pictures img", "alt") == f"Picture drawn for: {prompt}"


def test_an_example_is_drawn(demo: Demo, open_page):
    """A click on an example writes it into the prompt and draws it."""
    page = open_page(demo.url)
    example = DEMO.examples["en"][1]
    page.get_by_role("button", name=example).click()
    expect(page.locator("#zi-prompt textarea")).to_have_value(example)
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(page.locator(".zi-asked")).to_have_text(example)


def test_examples_are_in_the_language_of_the_page(demo: Demo, open_page):
    """A Chinese browser is shown the Chinese ones."""
    page = open_page(demo.url, locale="zh-CN")
    expect(page.locator(".zi-examples .zi-chip")).to_have_text([*DEMO.examples["zh"]])


def test_unknown_words_are_told_before_the_press(demo: Demo, open_page):
    """The demo model names the words that it was not taught below the prompt; the notice ends with them."""
    page = open_page(demo.url)
    page.fill("#zi-prompt textarea", "a red house with a dragon")
    notices = page.locator(".zi-notices")
    expect(notices).to_have_text("The model has not learned dragon, which may change nothing")
    page.fill("#zi-prompt textarea", "an old fisherman")
    expect(notices).to_contain_text(DEMO.examples["en"][0])
    page.fill("#zi-prompt textarea", "a red house by the sea")
    expect(notices).to_be_hidden()


def test_the_demo_says_that_it_is_one(demo: Demo, open_page):
    """The page states what the demo model can draw, and how to get the real one."""
    page = open_page(demo.url)
    expect(page.locator(".zi-state")).to_contain_text("Ready")
    note = page.locator(".zi-note")
    for words in ("Demo model", "cats", "--model turbo", "33 GB"):
        expect(note).to_contain_text(words)


def test_model_state_is_reported_and_a_hidden_page_asks_nothing(fake: Fake, open_page, watch: Watch):
    """Loading with phase and share, trouble with its remedy, then ready; no request while the page is hidden."""
    before = fake.generator.state
    try:
        fake.generator.state = GeneratorState(Status.LOADING, phase=Message("loading_weights"), share=0.4)
        page = open_page(fake.url, clock=True)
        expect(page.locator(".zi-state")).to_contain_text("Loading")
        expect(page.locator(".zi-state")).to_contain_text("loading weights 40 %")
        page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: true })")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        asked = watch.requests.count("/health")
        page.clock.fast_forward("01:00")
        page.evaluate("fetch('/ready')")  # whatever was asked before it is known by now
        assert watch.requests.count("/health") == asked
        fake.generator.state = GeneratorState(
            Status.ERROR, detail=Message("as_said", text="model.safetensors: damaged; run zimage model verify")
        )
        page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: false })")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator(".zi-trouble")).to_have_text("model.safetensors: damaged; run zimage model verify")
    finally:
        fake.generator.state = before
    expect(page.locator(".zi-trouble")).to_be_hidden()


def test_what_does_not_work_is_said_while_it_lasts(fake: Fake, open_page):
    """A disk that refuses pictures is named at the top of the page, each trouble in a line; afterwards nothing is."""
    page = open_page(fake.url, clock=True)
    expect(page.locator(".zi-trouble")).to_be_hidden()

    def troubled(route: Route) -> None:
        answer = route.fetch()
        lasting = [
            {"code": code, "since": "2026-11-27T10:00:00Z", "detail": f"the {code} <i>fails</i>"} for code in "ab"
        ]
        route.fulfill(response=answer, json=answer.json() | {"troubles": lasting})

    page.route("**/health", troubled)
    page.clock.fast_forward("01:00")
    expect(page.locator(".zi-trouble")).to_have_text("the a <i>fails</i>\nthe b <i>fails</i>")
    page.unroute("**/health")
    page.clock.fast_forward("01:00")
    expect(page.locator(".zi-trouble")).to_be_hidden()


def test_chinese_browsers_read_chinese(fake: Fake, open_page):
    """Labels, choices and everything our script says follow the browser's language."""
    page = open_page(fake.url, locale="zh-CN")
    for words in ("提示词", "生成", "停止", "风格", "宽度", "种子", "高级设置", "图片会显示在这里"):
        expect(page.locator("body")).to_contain_text(words)
    expect(page.get_by_label("摄影", exact=True)).to_be_visible()
    write(page, "红色圆形")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("新生成")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_contain_text("来自内存")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"


def test_a_phone_reaches_everything(fake: Fake, open_page):
    """At 390 pixels nothing is cut off sideways, Generate is in reach, and the picture comes into view."""
    page = open_page(fake.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    expect(page.locator("#zi-generate")).to_be_in_viewport(ratio=1)
    write(page, "on a phone")
    page.tap("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    expect(page.locator(".zi-badge")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_dead_server_is_reported(fake: Fake, open_page, watch: Watch):
    """When the server does not answer, the page says so instead of nothing."""
    page = open_page(fake.url)
    page.route("**/jobs", lambda route: route.abort())
    write(page, CIRCLE)
    page.click("#zi-generate")
    expect(page.locator(".zi-error")).to_contain_text("The server does not answer")
    page.unroute("**/jobs")
    generate(page, CIRCLE)
    watch.errors.clear()  # the browser's own line about the aborted request
