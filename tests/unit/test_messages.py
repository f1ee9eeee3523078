"""Messages for people: templates in every language, their values, and the calls in the source that name them."""

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import zimage_cache
from zimage_cache import errors
from zimage_cache.i18n.messages import LANGUAGES, Message, message_of, page_words, table
from zimage_cache.models.profiles import DEMO

ENGLISH, CHINESE = (table(language).messages for language in LANGUAGES)
# What has the same form in every language: quotations in backticks, and flags.
COMMAND = re.compile(r"`[^`]*`|--[\w-]+")
HAN = re.compile(r"[\u4e00-\u9fff]")
# Which argument of a call names a template, where it is not the first one.
PLACES = {"Refused": 1, "Damaged": 2, "damaged": 2}
# Arguments that are no values of the template.
OTHERS = {"InvalidRequest": {"field", "place"}, "Refused": {"headers"}}
# Values that the called function itself adds.
ADDED = {"damaged": {"file"}}
# The only modules that name a template by a variable: they pass on a message, or choose one from a table of theirs.
PASSED_ON = {
    *("cache/cache.py", "errors.py", "history/history.py", "i18n/messages.py", "models/store.py"),
    *("service/tickets.py", "validation.py", "web/errors.py"),
}


def holes(template: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", template))


def modules() -> Iterator[tuple[str, ast.Module]]:
    root = Path(zimage_cache.__file__).parent
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), ast.parse(path.read_text())


def calls() -> Iterator[tuple[str, str, ast.expr, set[str | None]]]:
    """Yield the calls that name a template: module, function, the name's expression, and the names of the values."""
    told = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ZImageError) and not issubclass(kind, errors.LocalError)
    }
    for module, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name in told | PLACES.keys() | {"Message", "NotFetched"}:
                    given = {keyword.arg for keyword in node.keywords}
                    values = given - OTHERS.get(name, set()) | ADDED.get(name, set())
                    yield module, name, node.args[PLACES.get(name, 0)], values


def test_tables_have_the_same_keys():
    """Each language has every label, word and template, in the same order."""
    tables = [table(language) for language in LANGUAGES]
    for part in ("fields", "places", "page", "messages"):
        first, *others = [getattr(each, part) for each in tables]
        assert all(list(first) == list(other) for other in others)
        assert all(text for each in tables for text in getattr(each, part).values())


@pytest.mark.parametrize("rule", ENGLISH)
def test_templates_have_the_same_holes(rule: str):
    """A translation loses no value."""
    assert holes(ENGLISH[rule]) == holes(CHINESE[rule])


@pytest.mark.parametrize("rule", ENGLISH)
def test_commands_and_flags_stay_as_they_are(rule: str):
    """A reader can copy them in every language; a language may name a flag that explains a value."""
    assert set(COMMAND.findall(ENGLISH[rule])) <= set(COMMAND.findall(CHINESE[rule]))


def test_every_template_is_chinese():
    """No template was left in English, but for those that are nothing but values and punctuation."""
    bare = {rule for rule, template in CHINESE.items() if not HAN.search(template)}
    assert bare == {"of_field", "as_said", "because", "from_hub"}


def test_every_call_names_a_template_and_gives_its_values():
    """A message never fails for the person who should read it: its template exists, and every hole is filled."""
    wrong, seen, passed_on = [], 0, set()
    for module, function, name, values in calls():
        if isinstance(name, ast.Constant):
            seen += 1
            expected = holes(ENGLISH.get(str(name.value), "{no_such_template}"))
            if values - {"got"} != expected - {"got"} or ("got" in expected and "got" not in values):
                wrong.append((module, function, name.value, values ^ expected))
        else:
            passed_on.add(module)
    assert wrong == []
    assert passed_on == PASSED_ON
    assert seen > 150


def test_every_template_is_used():
    """No template outlives its message: each is named by a literal of the source."""
    literals = {
        node.value
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert ENGLISH.keys() - literals == set()


def test_the_page_gets_no_messages():
    """The page has the words and the labels of fields; messages come with the answers."""
    words = page_words()
    assert words["zh"]["width"] == "宽度"
    assert words["zh"]["generate"] == "生成"
    assert not {"multiple_of", "model_loading"} & words["en"].keys()


def test_values_fill_the_holes():
    """Numbers, texts, messages and tuples; a value of another type becomes its text."""
    assert str(Message("at_most", most=50)) == "should be at most 50"
    assert str(Message("file_missing", file=Path("/m/x"))) == "/m/x is missing"
    assert str(Message("unknown_style", got="no", offered=("ink", "oil"))) == "unknown, got 'no'; one of ink, oil"
    remedies = (Message("half_of_it"), Message("group_offload"))
    message = Message("does_not_fit", device="A10", size="2x2", precision="float32", remedies=remedies)
    assert str(message).endswith("; try half of it, or start with --offload group")
    assert message.text("zh").endswith("；请把尺寸减半，或用 --offload group 启动")


def test_the_demo_has_its_title_in_messages():
    """It is a description, and has a translation."""
    assert str(DEMO.title) == "Demo (small scenes)"
    assert isinstance(DEMO.title, Message)
    assert DEMO.title.text("zh") == "演示模型"


@pytest.mark.parametrize(
    "document",
    [
        {"rule": "waited", "params": {"seconds": 10**400}},
        {"rule": "as_said", "params": {"text": [["a"]]}},
        {"rule": "waited", "params": {}},
        {"rule": "none of this version", "params": {}},
    ],
    ids=["huge number", "list in a list", "without its value", "unknown"],
)
def test_a_damaged_document_is_no_message(document):
    """Records may have been changed by hand: what cannot be written as a text costs no picture and no memory."""
    assert message_of(document) is None


def test_equal_messages_have_equal_hashes():
    """Whatever the order of their values."""
    one = Message("queue_full", capacity=1, pending=2, more=3)
    other = Message("queue_full", more=3, pending=2, capacity=1)
    assert one == other
    assert hash(one) == hash(other)


def test_a_value_received_is_appended_unless_the_template_has_it():
    """`got` ends the message; where a remedy follows, the template says where it goes."""
    assert str(Message("at_most", most=50, got=51)) == "should be at most 50, got 51"
    assert str(Message("styled_too_long", most=8000, got=8001)).endswith("got 8001; shorten it")


def test_fields_have_their_labels_in_chinese():
    """A field of a request by its label, a place by its name, another field as it is."""
    labelled = [Message("of_field", field=field, reason=Message("required")) for field in ("steps", "body", "stop")]
    assert [message.text("zh") for message in labelled] == ["步数：必填", "请求体：必填", "stop：必填"]
    assert [str(message) for message in labelled] == ["steps: required", "body: required", "stop: required"]


@pytest.mark.parametrize(
    ("got", "text"),
    [(Message("a_list"), "应为整数，实际为列表"), (5.5, "应为整数，实际为 5.5"), ('"一"', '应为整数，实际为 "一"')],
)
def test_no_space_stands_between_chinese_characters(got, text):
    """Holes have spaces around Latin letters and digits; those disappear beside Chinese ones."""
    assert Message("not_integer", got=got).text("zh") == text


def test_english_texts_keep_their_spaces():
    """A prompt in Chinese does not change how an English message is written."""
    assert str(Message("asking_hub", hub="魔搭")) == "asking 魔搭"


def test_messages_are_values():
    """Equal ones are one key of a dictionary, so that a warning of several pictures is shown once."""
    messages = [Message("asking_hub", hub="a"), Message("asking_hub", hub="a"), Message("asking_hub", hub="b")]
    assert len(set(messages)) == 2
    assert messages[0] == messages[1] != messages[2]


@pytest.mark.parametrize(
    "message",
    [
        Message("starting"),
        Message("multiple_of", step=16, got=100),
        Message("of_field", field="n", reason=Message("at_most", most=8)),
        Message("not_fetched", model="a/b", reasons=(Message("model_disk_full"), "x")),
    ],
)
def test_documents_make_the_round_trip(message: Message):
    """What is stored with a picture, or passed by a child process, is the same message again."""
    assert message_of(message.document()) == message


@pytest.mark.parametrize(
    "document",
    [
        *(None, 5, "text", [], {}, {"rule": "starting"}, {"rule": 5, "params": {}}, {"rule": "starting", "params": []}),
        *({"rule": "of_a_later_version", "params": {}}, {"rule": "multiple_of", "params": {}}),
        {"rule": "of_field", "params": {"field": "n", "reason": {"rule": "of_a_later_version", "params": {}}}},
        {"rule": "waited", "params": {"seconds": "text"}},
    ],
)
def test_other_documents_are_none(document: object):
    """A record of another version has no message of this one; nothing fails."""
    assert message_of(document) is None


def test_no_template_breaks_off():
    """Templates are single lines without spaces at their ends."""
    texts = itertools.chain(ENGLISH.values(), CHINESE.values())
    assert [text for text in texts if text != text.strip() or "\n" in text] == []
