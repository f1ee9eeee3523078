"""The server's messages on a Chinese page: every message is translated, and translated completely."""

import itertools
import math
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Page, expect
from pydantic import BaseModel

import zimage_cache.web.app  # so that all bodies it reads are known
from zimage_cache.errors import GenerationFailed, InvalidRequest
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.web.page.strings import messages

from .conftest import Fake
from .speech import Message, Speech

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")

# Messages with a rule of pydantic; the tests of rules produce all of them.
RULES: Final = frozenset({"request:invalid_request", "web/errors:_unfit"})
# Messages that begin with a field's name.
PREFIXED: Final = frozenset({"service/prompts:_expanded_part"})
# Functions that pass on messages made elsewhere, where they are found; `models/hubs:reason` also texts of the clients.
PASSED_ON: Final = frozenset(
    {
        *("models/download:_run", "models/progress:add", "generator/zimage:_on_progress", "generator/zimage:_loaded"),
        *("generator/zimage:_read", "generator/zimage:generate", "models/hubs:reason", "service/tickets:leave"),
        *("web/errors:_http", "web/errors:_ours", "web/middleware:_refuse"),
    }
)
HAN: Final = re.compile(r"[\u4e00-\u9fff]")
# Parts that are the same in every language: marks, quotations, commands, flags, URLs.
ANY_LANGUAGE: Final = re.compile(r"⟨\d+⟩|`[^`]*`|'[^']*'|\"[^\"]*\"|--[\w-]+( \w+)?|Content-Type: \w+/\w+")
ENGLISH: Final = re.compile(r"[a-z]{2,}[,;:]? [a-z]{2,}")
VALUES: Final[tuple[object, ...]] = (
    *(None, True, False, "text", " ", "", "9" * 30, "a" * 9000, "\ud800", "1.5", "7d", "-1GiB"),
    *(-(10**400), -(10**9), -1, 0, 1, 17, 10**9, 10**30, 8.5, -0.5, math.nan, math.inf),
    *([], {}, [1], {"a": 1}),
)

PATIENCE: Final = 20_000  # milliseconds; a busy machine may take seconds to answer
REMEDY: Final = (
    "fetch the model again (`zimage model download`), or only what is damaged (`zimage model verify --repair`)"
)
QUERIES: Final = ("text", "-1", "0", "1.5", "9" * 30, "9" * 5000, "a" * 9000, "a " * 40)
TOLD: Final = MappingProxyType(
    {
        "width: should be a multiple of 16, got 100": "宽度：应为 16 的倍数，实际为 100",
        "width: should be an integer, got a list": "宽度：应为整数，实际为列表",
        'steps: should be an integer, got "a; b, got c: d"': '步数：应为整数，实际为 "a; b, got c: d"',
        "height: Demo (coloured shapes) draws 64..512 pixels a side, got 8": (
            "高度：演示模型的边长范围是 64～512 像素，实际为 8"
        ),
        "height: Z-Image-Turbo draws 256..2048 pixels a side, got 64": (
            "高度：Z-Image-Turbo 的边长范围是 256～2048 像素，实际为 64"
        ),
        "guidance: should be a number, got true": "guidance：应为数字，实际为 true",
        "Z-Image-Turbo is loading (loading weights); try again in a few seconds": (
            "Z-Image-Turbo 正在加载（加载权重）；请过几秒再试"
        ),
        (
            "NVIDIA A10: too little memory for 2048x2048 as bfloat16; 1024x1024 fitted here, "
            "or guidance 0, which halves the work, or start with --offload group"
        ): (
            "NVIDIA A10：显存或内存不足，无法生成 2048x2048（bfloat16）；这里可以生成 1024x1024，"
            "或把引导强度设为 0（计算量减半），或用 --offload group 启动"
        ),
        (
            "model: a/b could not be fetched (modelscope: the disk became full; make room, or choose another disk "
            "with --model-cache; huggingface: ConnectError: no route); check the network and the free disk, then "
            "start again (what has arrived is kept), or name a folder with --model PATH"
        ): (
            "模型：无法下载 a/b（modelscope：磁盘已满；请腾出空间，或用 --model-cache 换一个磁盘；"
            "huggingface：ConnectError: no route）；请检查网络和磁盘空间后重新启动（已下载的部分会保留），"
            "或用 --model PATH 指定文件夹"
        ),
        "请填写像素数，须为 16 的倍数": "请填写像素数，须为 16 的倍数",
        "nobody ever says this: really, got 3 bytes": "nobody ever says this: really, got 3 bytes",
        "": "",
    }
)


def told(page: Page, said: list[str]) -> list[str]:
    return page.evaluate("said => said.map(zimage.told)", said)


def assert_chinese(page: Page, said: list[str]) -> None:
    """Assert that the page shows all messages in Chinese only."""
    shown = zip(said, told(page, said), strict=True)
    left = [(was, now) for was, now in shown if not HAN.search(now) or ENGLISH.search(ANY_LANGUAGE.sub("", now))]
    assert left == []


@pytest.fixture
def chinese(fake: Fake, open_page) -> Page:
    return open_page(fake.url, locale="zh-CN")


@pytest.fixture(scope="module")
def said() -> list[Message]:
    return Speech().messages()


def test_every_message_can_be_read_in_the_source(said: list[Message]):
    """The source analysis finds the text of every message."""
    assert len([message for message in said if message.legible]) > 100
    assert {message.place for message in said if not message.legible} <= PASSED_ON | RULES


@pytest.mark.browser
def test_every_message_of_the_server_is_translated(chinese: Page, said: list[Message]):
    """Errors, refusals, warnings, phases, faults: each is translated, with all its placeholders."""
    texts = [message.text for message in said if message.legible and message.place not in RULES | PREFIXED]
    assert_chinese(chinese, texts)
    for was, now in zip(texts, told(chinese, texts), strict=True):
        assert sorted(re.findall(r"⟨\d+⟩", was)) == sorted(re.findall(r"⟨\d+⟩", now)), (was, now)
        commands = [part for part in re.findall(r"`[^`]*`|--[\w-]+", was) if part != "`only`"]
        assert all(command in now for command in commands), (was, now)


@pytest.mark.browser
def test_every_rule_of_a_body_is_translated(chinese: Page):
    """Every error of every field of every body is shown in Chinese."""
    complaints = list(dict.fromkeys(itertools.chain.from_iterable(map(_complaints, _bodies(BaseModel)))))
    assert len(complaints) > 100
    assert_chinese(chinese, complaints)


@pytest.mark.browser
def test_every_rule_of_a_url_is_translated(fake: Fake, chinese: Page):
    """Likewise for the parameters of a URL."""
    complaints = list(dict.fromkeys(_refused_queries(fake.url)))
    assert len(complaints) > 5
    assert_chinese(chinese, complaints)


@pytest.mark.browser
def test_messages_are_put_together_from_their_parts(chinese: Page):
    """Field, rule, value and remedy are translated one by one; values and unknown texts stay unchanged."""
    assert dict(zip(TOLD, told(chinese, list(TOLD)), strict=True)) == dict(TOLD)


@pytest.mark.browser
def test_an_english_page_shows_the_servers_own_words(fake: Fake, open_page):
    """On an English page messages are unchanged."""
    english = [en for en, _ in messages()]
    assert told(open_page(fake.url, locale="en-GB"), english) == english


@pytest.mark.browser
def test_errors_and_warnings_reach_the_card_in_chinese(fake: Fake, chinese: Page):
    """The card shows errors of a field, errors of drawing, and warnings in Chinese."""
    chinese.fill("#zi-prompt textarea", "圆")
    chinese.fill("#zi-width input", "100")
    chinese.click("#zi-generate")
    expect(chinese.locator(".zi-error-text")).to_have_text("应为 16 的倍数，实际为 100", timeout=PATIENCE)
    expect(chinese.locator(".zi-error-title")).to_have_text("请修改一处：宽度", timeout=PATIENCE)
    chinese.fill("#zi-width input", "128")
    quiet, fake.generator.before_step = fake.generator.before_step, _fail
    try:
        chinese.click("#zi-generate")
        expect(chinese.locator(".zi-error-text")).to_have_text("模型管线出错：<b>x</b>", timeout=PATIENCE)
        fake.generator.before_step = quiet
        fake.generator.warnings = ("prompt: 700 tokens, but only the first 512 were read; shorten it (API: a)",)
        fake.generator.warnings += ("decoder: float16 overflowed, so the picture was decoded in float32",)
        chinese.click("#zi-generate")
        expect(chinese.locator(".zi-warnings li").last).to_have_text(
            "解码器：float16 溢出，已改用 float32 解码", timeout=PATIENCE
        )
    finally:
        fake.generator.before_step, fake.generator.warnings = quiet, ()


@pytest.mark.browser
def test_the_state_of_the_model_is_translated(fake: Fake, open_page):
    """The line about the model shows the phase of a load, and errors with their remedy."""
    before = fake.generator.state
    try:
        fake.generator.state = GeneratorState(Status.LOADING, "fetching the model", 0.35)
        page = open_page(fake.url, locale="zh-CN")
        expect(page.locator(".zi-state-more")).to_contain_text("下载模型 35 %", timeout=PATIENCE)
        fake.generator.state = GeneratorState(Status.ERROR, detail=f"model: <i>/m</i> is missing; {REMEDY}")
        expect(page.locator(".zi-trouble")).to_contain_text("模型：缺少 <i>/m</i>；请重新下载模型", timeout=PATIENCE)
    finally:
        fake.generator.state = before


def _fail(*_: object) -> None:
    raise GenerationFailed("the pipeline failed: <b>x</b>")


def _bodies(model: type[BaseModel]) -> Iterator[Any]:
    """Yield the bodies our routes read: the models that parse what arrived from outside."""
    for child in model.__subclasses__():
        if child.__module__.startswith(f"{zimage_cache.__name__}.web.") and hasattr(child, "parse"):
            yield child
        yield from _bodies(child)


def _complaints(body: Any) -> Iterator[str]:
    """Yield all errors of *body* for invalid values of every kind."""
    whole = {name: "a" for name, field in body.model_fields.items() if field.is_required()}
    wrong = [{**whole, name: value} for name in body.model_fields for value in VALUES]
    twice = [{**whole, name: 1, alias: 1} for alias, name in getattr(body, "ALIASES", {}).items()]
    bodies: list[object] = [*wrong, *twice, {**whole, "nothing": 1}, {}, [], "text", None]
    for given in bodies:
        try:
            body.parse(given)
        except InvalidRequest as error:
            yield str(error)


def _refused_queries(url: str) -> Iterator[str]:
    with httpx.Client(base_url=url) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path in (path for path in paths if "{" not in path and "get" in paths[path]):
            for parameter, value in itertools.product(paths[path]["get"].get("parameters", []), QUERIES):
                answer = client.get(path, params={parameter["name"]: value})
                if answer.status_code == 422:
                    yield answer.json()["error"]["message"]
