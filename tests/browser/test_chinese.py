"""A Chinese page shows what the server says in Chinese: errors, warnings, states. Their texts come with the answers."""

import shutil

import pytest
from playwright.sync_api import Browser, Page, expect

from zimage_cache.errors import GenerationFailed
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message

from .conftest import ALONE, FLAGS, Fake, set_side, write

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

PATIENCE = 20_000  # milliseconds; a busy machine may take seconds to answer


@pytest.fixture
def chinese(fake: Fake, open_page) -> Page:
    # A stream of its own: Playwright sets the language of pages alone, not of the workers they share.
    return open_page(fake.url, locale="zh-CN", script=ALONE)


def test_errors_and_warnings_reach_the_card_in_chinese(fake: Fake, chinese: Page):
    """The card shows errors of a field, errors of drawing, and warnings in Chinese."""
    chinese.fill("#zi-prompt textarea", "圆")
    set_side(chinese, "width", "100")
    chinese.click("#zi-generate")
    expect(chinese.locator(".zi-fault")).to_have_text("应为 16 的倍数，实际为 100", timeout=PATIENCE)
    set_side(chinese, "width", "128")
    quiet, fake.generator.before_step = fake.generator.before_step, _fail
    try:
        chinese.click("#zi-generate")
        expect(chinese.locator(".zi-error-text")).to_have_text("模型管线出错：<b>x</b>", timeout=PATIENCE)
        fake.generator.before_step = quiet
        fake.generator.warnings = (
            Message("of_field", field="prompt", reason=Message("too_many_tokens", tokens=700, room=512)),
            Message("decoder_overflowed", dtype="float16"),
        )
        chinese.click("#zi-generate")
        expect(chinese.locator(".zi-warnings li").last).to_have_text(
            "解码器：float16 溢出，已改用 float32 解码", timeout=PATIENCE
        )
    finally:
        fake.generator.before_step, fake.generator.warnings = quiet, ()


def test_the_stream_of_all_tabs_is_in_the_language_of_the_browser(chromium: Browser, fake: Fake):
    """In a browser that is Chinese itself, the shared worker asks in Chinese too."""
    browser = chromium.browser_type.launch(
        executable_path=shutil.which("chromium"), args=[*FLAGS, "--accept-lang=zh-CN"]
    )
    before, fake.generator.before_step = fake.generator.before_step, _fail
    try:
        page = browser.new_page()
        page.goto(fake.url)
        page.wait_for_function("document.querySelector('#zi-seed input')?.value")
        write(page, "圆")
        page.click("#zi-generate")
        expect(page.locator(".zi-error-text")).to_have_text("模型管线出错：<b>x</b>", timeout=PATIENCE)
    finally:
        fake.generator.before_step = before
        browser.close()


def test_errors_of_the_prompt_stand_below_it_in_chinese(chinese: Page):
    """Without the field's name: the message is right below the field."""
    chinese.fill("#zi-prompt textarea", "{a|" * 40 + "b" + "}" * 40)
    expect(chinese.locator(".zi-prompt-trouble")).to_contain_text("备选项最多嵌套", timeout=PATIENCE)
    expect(chinese.locator(".zi-prompt-trouble")).not_to_contain_text("提示词：")


def test_the_state_of_the_model_is_chinese(fake: Fake, open_page):
    """The line about the model shows the phase of a load, and errors with their remedy."""
    before = fake.generator.state
    damage = Message("model_damaged", what=Message("file_missing", file="<i>/m</i>"))
    try:
        fake.generator.state = GeneratorState(Status.LOADING, Message("fetching"), 0.35)
        page = open_page(fake.url, locale="zh-CN")
        expect(page.locator(".zi-state-more")).to_contain_text("下载模型 35 %", timeout=PATIENCE)
        fake.generator.state = GeneratorState(Status.ERROR, detail=damage)
        expect(page.locator(".zi-trouble")).to_contain_text("模型：缺少 <i>/m</i>；请重新下载模型", timeout=PATIENCE)
    finally:
        fake.generator.state = before


def test_the_page_decides_the_language_of_its_answers(fake: Fake, open_page):
    """Where the page is English its answers are, whatever the browser accepts."""
    script = "Object.defineProperty(navigator, 'language', { get: () => 'en-GB' })"
    page = open_page(fake.url, locale="zh-CN", script=script)
    page.fill("#zi-prompt textarea", "circle")
    set_side(page, "width", "100")
    page.click("#zi-generate")
    expect(page.locator(".zi-fault")).to_have_text("should be a multiple of 16, got 100", timeout=PATIENCE)


def _fail(*_: object) -> None:
    raise GenerationFailed("pipeline_failed", error="<b>x</b>")
