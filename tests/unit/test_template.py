"""What the signs of the prompt syntax mean, and that all other text means itself."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_cache.errors import InvalidRequest
from zimage_cache.prompts.template import Alternatives, Option, PickBounds, Wildcard, parse, unread_signs

MILLION = 10**6
SIGNS = st.lists(st.sampled_from(["{", "}", "|", "_", "__", "\\", "$$", "2", "-", "::", "a", "*", "/", " "])).map(
    "".join
)


def written(parts) -> str:
    """Join parts that are all text."""
    assert all(isinstance(part, str) for part in parts), parts
    return "".join(parts)


def alternatives(text: str) -> Alternatives:
    (part,) = parse(text)
    assert isinstance(part, Alternatives)
    return part


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a { lone brace",
        "a } lone brace",
        "}{",
        "a { b | c",
        '{"subject": "a cat", "colors": {"fur": "red"}}',
        "{cat}",
        "${name}",
        "a | b",
        r"a \| b",
        r"C:\folder\file",
        "#1 of 5$ // it's http://",
        "{" * 8000,
        "{}" * 4000,
        "snake_case and foo__ bar",
        "_" * 8000,
        "__ spaced __",
        "__a\nb__",
        "a  b\n\tc",
    ],
)
def test_what_is_no_syntax_is_text(text):
    """Lone braces, JSON, single underscores and everything else come back as they are, however many."""
    assert written(parse(text)) == text


@given(st.text())
def test_text_without_signs_is_unchanged(text):
    """Whatever holds no brace and no double underscore is one text, byte for byte."""
    clean = re.sub(r"[{}]|__", "", text)
    if "__" not in clean:
        assert written(parse(clean)) == clean


@given(SIGNS)
def test_no_text_breaks_it(text):
    """Every text is parsed, and the result has no empty and no adjacent texts."""
    parts = parse(text)
    assert all(parts)
    assert not any(isinstance(a, str) and isinstance(b, str) for a, b in pairwise(parts))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\{a|b\}", "{a|b}"),
        (r"\__init__", "__init__"),
        (r"\_\_init\_\_", "__init__"),
        (r"__a\_\_ \_\_b__", "__a__ __b__"),
        (r"\{", "{"),
        (r"{a \}", "{a }"),
        (r"snake\_case \_ \#", r"snake\_case \_ \#"),
    ],
)
def test_escaped_signs_are_text(text, meant):
    """A backslash before a brace or a double underscore makes it itself, and is gone."""
    assert written(parse(text)) == meant


def test_alternatives_hold_alternatives_and_may_be_empty():
    """Braces nest; an option may be nothing; spaces stay, so that `a{ small|} cat` works."""
    inner = Alternatives((Option(MILLION, ("b",)), Option(MILLION, ("c",))), None, 1)
    outer = alternatives("{a |{b|c}|}")
    assert outer == Alternatives((Option(MILLION, ("a ",)), Option(MILLION, (inner,)), Option(MILLION, ())), None, 2)


def test_a_bar_can_be_an_option():
    r"""Within alternatives `\|` is a bar."""
    assert [option.parts for option in alternatives(r"{a\|b|c}").options] == [("a|b",), ("c",)]


@pytest.mark.parametrize(
    ("text", "weight", "rest"),
    [
        ("{3::red|x}", 3 * MILLION, ("red",)),
        ("{0.5::red|x}", MILLION // 2, ("red",)),
        ("{ .25::red|x}", MILLION // 4, ("red",)),
        ("{0::red|x}", 0, ("red",)),
        ("{1::red|x}", MILLION, ("red",)),
        ("{2::|x}", 2 * MILLION, ()),
        ("{2::__a__|x}", 2 * MILLION, (Wildcard("a"),)),
        ("{a::red|x}", MILLION, ("a::red",)),
        ("{1234567::red|x}", MILLION, ("1234567::red",)),
        ("{²::red|x}", MILLION, ("²::red",)),
        ("{３：：red|x}", 3 * MILLION, ("red",)),
        ("{0．5::red|x}", MILLION // 2, ("red",)),
        ("{　2：:red|x}", 2 * MILLION, ("red",)),
        ("{٣::red|x}", MILLION, ("٣::red",)),
        (r"{3\::red|x}", MILLION, ("3::red",)),
        (r"{3\：：red|x}", MILLION, ("3：：red",)),
        (r"{a\::red|x}", MILLION, (r"a\::red",)),
    ],
)
def test_weights(text, weight, rest):
    """A plain number and two colons weigh an option; anything else there is text."""
    assert alternatives(text).options[0] == Option(weight, rest)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("{a|b}", None),
        ("{2$$a|b}", PickBounds(2, 2)),
        ("{1-2$$a|b}", PickBounds(1, 2)),
        ("{2-1$$a|b}", PickBounds(1, 2)),
        ("{-2$$a|b}", PickBounds(1, 2)),
        ("{2-$$a|b}", PickBounds(2, None)),
        ("{0-1$$a|b}", PickBounds(0, 1)),
        ("{2$$ and $$a|b}", PickBounds(2, 2, " and ")),
        ("{2$$$$a|b}", PickBounds(2, 2, "")),
        (r"{2$$\|$$a|b}", PickBounds(2, 2, "|")),
        ("{２$$a|b}", PickBounds(2, 2)),
        ("{1－2＄＄a|b}", PickBounds(1, 2)),
        ("{1–２￥￥ 和 ￥￥a|b}", PickBounds(1, 2, " 和 ")),
        ("{2—$$a|b}", PickBounds(2, None)),
        (r"{x\$$a|b}", None),
        ("{$$a|b}", None),
        ("{x$$a|b}", None),
        ("{12345$$a|b}", None),
    ],
)
def test_how_many(text, bounds):
    """Numbers before `$$` say how many options are wanted, a text between two of them what joins these."""
    found = alternatives(text)
    assert found.bounds == bounds
    assert len(found.options) == 2
    if bounds:
        assert found.options[0].parts == ("a",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("__color__", ["color"]),
        ("__hair color__", ["hair color"]),
        ("__folder/color-1.x__", ["folder/color-1.x"]),
        ("__颜色__", ["颜色"]),
        ("__a__b__c__", ["a", "c"]),
        ("___a___", ["a"]),
        ("__north_america__", ["north_america"]),
        ("__a*__ __**/b__", ["a*", "**/b"]),
        ("{__a__}", ["a"]),
    ],
)
def test_wildcards(text, names):
    """A wildcard is a name between double underscores: no space at its ends, nothing of the other signs."""
    assert [part.name for part in parse(text) if isinstance(part, Wildcard)] == names


def test_a_number_of_options_can_be_text():
    r"""`\$$` after numbers is no number of options, and stands without its backslash."""
    (first, _) = alternatives(r"{2\$$a|b}").options
    assert first.parts == ("2$$a",)


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("｛红｜蓝｝", "｛｜｝"),
        ("{红｜蓝}", "｜"),
        ("{红|蓝｝", "｝"),
        ("{a|b｜c}", "｜"),
        ("＿＿颜色＿＿", "＿"),
        ("_＿颜色__", "＿"),
        ("{a|b} {2$$＿＿c＿＿}", "＿"),
        ("a｜b", ""),
        ("｛a｝", ""),
        ("＿＿", ""),
        (r"\{a｜b\}", ""),
        ("{a|b} 标题｜副标题", ""),
        ("｛a｜" * 30 + "｝" * 30, ""),
    ],
)
def test_full_width_signs_are_text_but_known(text, signs):
    """Full-width signs are never read as syntax; those that would be in ASCII are named, and no others."""
    assert "".join(unread_signs(text)) == signs
    if not any(sign in text for sign in "{}_"):
        assert written(parse(text)) == text


def test_depth_is_bounded():
    """Twenty levels of alternatives are read, one more is refused in words, and two thousand do no harm."""
    assert alternatives("{a|" * 20 + "}" * 20).depth == 20
    for levels in (21, 2000):
        with pytest.raises(InvalidRequest, match="at most 20 deep"):
            parse("{a|" * levels + "}" * levels)
