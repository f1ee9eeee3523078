"""Chinese and English answers: the client chooses by `Accept-Language`, and a program reads rule and params."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pydantic import BaseModel

import zimage_cache.web.app  # so that all bodies it reads are known
from tests.factories import authentication
from tests.waiting import wait_until
from zimage_cache.errors import GenerationFailed, InvalidRequest
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message

from .conftest import House

CHINESE: Final = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
HAN: Final = re.compile(r"[\u4e00-\u9fff]")
# Parts that are the same in every language: quotations, commands, flags.
ANY_LANGUAGE: Final = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|--[\w-]+( \w+)?|Content-Type: \w+/\w+")
ENGLISH: Final = re.compile(r"[a-z]{2,}[,;:]? [a-z]{2,}")
VALUES: Final[tuple[object, ...]] = (
    *(None, True, False, "text", " ", "", "9" * 30, "a" * 9000, "\ud800", "1.5", "7d", "-1GiB"),
    *(-(10**400), -(10**9), -1, 0, 1, 17, 10**9, 10**30, 8.5, -0.5, math.nan, math.inf),
    *([], {}, [1], {"a": 1}),
)
QUERIES: Final = ("text", "-1", "0", "1.5", "9" * 30, "9" * 5000, "a" * 9000, "a " * 40)


def assert_chinese(texts: set[str]) -> None:
    left = [text for text in texts if not HAN.search(text) or ENGLISH.search(ANY_LANGUAGE.sub("", text))]
    assert left == []


def bodies(model: type[BaseModel] = BaseModel) -> Iterator[Any]:
    """Yield the bodies our routes read: the models that parse what arrived from outside."""
    for child in model.__subclasses__():
        if child.__module__.startswith(f"{zimage_cache.__name__}.web.") and hasattr(child, "parse"):
            yield child
        yield from bodies(child)


def errors_of(body: Any) -> Iterator[InvalidRequest]:
    """Yield all errors of *body* for invalid values of every kind."""
    whole = {name: "a" for name, field in body.model_fields.items() if field.is_required()}
    wrong = [{**whole, name: value} for name in body.model_fields for value in VALUES]
    twice = [{**whole, name: 1, alias: 1} for alias, name in getattr(body, "ALIASES", {}).items()]
    given: list[object] = [*wrong, *twice, {**whole, "nothing": 1}, {}, [], "text", None]
    for fields in given:
        try:
            body.parse(fields)
        except InvalidRequest as error:
            yield error


def test_every_rule_of_a_body_has_a_chinese_text():
    """Every error of every field of every body, without English words left."""
    texts = {error.message.text("zh") for body in bodies() for error in errors_of(body)}
    assert len(texts) > 100
    assert_chinese(texts)


def test_every_rule_of_a_url_has_a_chinese_text(house: House):
    """Likewise for the parameters of a URL."""
    texts = set()
    paths = house.client.get("/openapi.json").json()["paths"]
    for path in (path for path in paths if "{" not in path and "get" in paths[path]):
        for parameter, value in itertools.product(paths[path]["get"].get("parameters", []), QUERIES):
            answer = house.client.get(path, params={parameter["name"]: value}, headers=CHINESE)
            if answer.status_code == 422:
                texts.add(answer.json()["error"]["message"])
    assert len(texts) > 5
    assert_chinese(texts)


def test_an_error_is_a_text_for_people_and_a_rule_for_programs(house: House):
    """Code, rule, params and field are the same in every language; message and reason are translated."""
    shared = {"code": "invalid_request", "rule": "multiple_of", "params": {"step": 16, "got": 100}, "field": "width"}
    english = {"message": "width: should be a multiple of 16, got 100", "reason": "should be a multiple of 16, got 100"}
    chinese = {"message": "宽度：应为 16 的倍数，实际为 100", "reason": "应为 16 的倍数，实际为 100"}
    for language, texts in (("en", english), ("zh", chinese)):
        answer = house.generate({"Accept-Language": language}, width=100)
        error = answer.json()["error"]
        assert error == {**shared, **texts, "request_id": answer.headers["x-request-id"]}
        assert answer.headers["content-language"] == language
        assert "Accept-Language" in answer.headers["vary"]


def test_messages_among_the_params_are_rules_with_params(house: House):
    """A program needs no text of ours, however deep it is."""
    error = house.generate(steps=[]).json()["error"]
    assert (error["rule"], error["params"]) == ("not_integer", {"got": {"rule": "a_list", "params": {}}})


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/nothing", "这个地址什么也没有；可用的地址见 /docs"),
        ("GET", "/images/x.png", "没有这张图片：从未生成，或已不再存储；可用 POST /generate 请求"),
        ("GET", "/jobs/x", "没有这个任务：从未创建，或结束十分钟后已清除"),
        ("GET", "/history/x/y", "没有这张图片：'x/y'"),
        ("DELETE", "/cache/x", "没有存储这张图片：'x'"),
        ("POST", "/models/x/load", "这里没有模型 'x'；可选：fake"),
        ("PUT", "/generate", "这里不支持 PUT；请用 POST"),
        ("POST", "/generate", "请求体须注明 Content-Type: application/json，实际为 'none'"),
    ],
)
def test_refusals_are_translated(house: House, method: str, path: str, text: str):
    """Unknown addresses, methods and things are refused in the client's language, too."""
    answer = house.client.request(method, path, headers=CHINESE)
    assert answer.json()["error"]["message"] == text
    assert answer.headers["content-language"] == "zh"


@pytest.mark.parametrize("header", [None, "*", "fr", "zh;q=0.5, en;q=0.9", "zh;q=0", ",;=", "zh;q=oh"])
def test_other_clients_read_english(house: House, header: str | None):
    """Without a preference for Chinese an answer is what it was before there was a choice."""
    answer = house.client.get("/jobs/x", headers={} if header is None else {"Accept-Language": header})
    assert answer.json()["error"]["message"].startswith("no such job: never opened")
    assert answer.headers["content-language"] == "en"


def test_refusals_before_any_route_are_translated(serve, tmp_path):
    """A wrong host and a missing password are refused by the guard."""
    house = serve(web={"authentication": authentication(tmp_path, "user:password")})
    answer = house.client.get("/", headers=CHINESE)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "访问本服务需要用户名和密码")
    answer = house.client.get("/", headers=CHINESE | {"Host": "evil.example"})
    assert "evil.example" in answer.json()["error"]["message"]
    assert answer.headers["content-language"] == "zh"


def test_states_are_told_in_the_readers_language(serve):
    """`/health` and `/models`: the phase of a load, an error with its remedy, and a fault that lasts."""
    generator = FakeGenerator(state=GeneratorState(Status.LOADING, Message("loading_weights"), 0.5))
    house = serve(generator=generator)
    house.studio.service.faults.begin("cache_read_only", Message("cache_read_only"))
    health = {
        language: house.client.get("/health", headers={"Accept-Language": language}).json() for language in ["en", "zh"]
    }
    assert (health["en"]["phase"], health["zh"]["phase"]) == ("loading weights", "加载权重")
    assert health["zh"]["devices"][0]["phase"] == "加载权重"
    assert health["zh"]["troubles"][0]["detail"].startswith("缓存文件夹无法更改")
    generator.state = GeneratorState(Status.ERROR, detail=Message("model_out_of_memory", device="A10"))
    (model,) = house.client.get("/models", headers=CHINESE).json()["models"]
    assert model["detail"] == "A10：显存或内存不足，放不下这个模型；请关闭其他占用它的程序"


def test_a_failed_job_is_told_in_the_readers_language(serve):
    """The job was created by an English client; its state, once or as a stream, is in the language of who reads it."""

    def fail(*_: object) -> None:
        raise GenerationFailed("pipeline_failed", error="ValueError: x")

    house = serve(fail)
    job = house.client.post("/jobs", json={"prompt": "x", "width": 64, "height": 64}).json()
    path = f"/jobs/{job['id']}"
    wait_until(lambda: house.client.get(path).json()["state"] == "failed")
    error = house.client.get(path).json()["error"]
    assert (error["message"], error["rule"]) == ("the pipeline failed: ValueError: x", "pipeline_failed")
    assert house.client.get(path, headers=CHINESE).json()["error"]["message"] == "模型管线出错：ValueError: x"
    stream = house.client.get(f"{path}/events", headers=CHINESE).text
    assert json.loads(stream.partition("data: ")[2].partition("\n")[0])["error"]["params"] == {"error": "ValueError: x"}
    assert "模型管线出错" in stream


def test_warnings_are_told_in_the_readers_language(serve):
    """Drawn for an English client, the picture has its warning in Chinese for a Chinese one, from the cache."""
    warning = Message("of_field", field="prompt", reason=Message("too_many_tokens", tokens=700, room=512))
    house = serve(generator=FakeGenerator(warnings=(warning,)))
    drawn = house.generate().json()
    assert drawn["warnings"] == [
        "prompt: 700 tokens, but only the first 512 were read; shorten it (API: max_sequence_length)"
    ]
    house.stored()
    (text,) = house.generate(CHINESE).json()["warnings"]
    assert text.startswith("提示词：共 700 个 token，只读取了前 512 个")
