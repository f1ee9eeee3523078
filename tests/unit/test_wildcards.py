"""Wildcard files, and texts in which the same seed always picks the same."""

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_cache.errors import InvalidRequest
from zimage_cache.prompts import wildcards as module
from zimage_cache.prompts.wildcards import MAX_FILE_BYTES, Wildcards, expand

NONE = Wildcards(None)
SIGNS = st.sampled_from(["{", "}", "|", "__", "\\", "2$$", "-", "3::", "a", "b", " "])
TEXTS = st.text() | st.lists(SIGNS).map("".join)


@pytest.fixture
def shelf(tmp_path):
    """Give a writer of wildcard files, by name; it returns all of them, freshly read."""

    def write(files: dict[str, str | bytes] | None = None) -> Wildcards:
        for name, content in (files or {}).items():
            path = tmp_path / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Wildcards(tmp_path)

    return write


def outcomes(text: str, wildcards: Wildcards = NONE, seeds: int = 300) -> set[str]:
    return {expand(text, seed, wildcards) for seed in range(seeds)}


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("{red|blue|green} {cat|dog}", 0, "blue dog"),
        ("{red|blue|green} {cat|dog}", 1, "red dog"),
        ("{red|blue|green} {cat|dog}", 2**32 - 1, "red cat"),
        ("{2$$a|b|c|d}, {1-3$$ and $$x|y|{z|w}}", 7, "b, d, z and y"),
        ("{3::a|0.5::b|c} {{e|f}|{g|h}}", 42, "b e"),
    ],
)
def test_a_seed_picks_the_same_for_ever(text, seed, expected):
    """What a seed picked once it picks on every machine and in every version: shared prompts stay what they were."""
    assert expand(text, seed, NONE) == expected


@given(TEXTS, st.integers(0, 2**32 - 1))
def test_any_text_is_expanded_or_refused_in_words(text, seed):
    """No text crashes it; the same text and seed give the same answer; it never grows past the bound."""
    try:
        once = expand(text, seed, NONE)
    except InvalidRequest:
        with pytest.raises(InvalidRequest):
            expand(text, seed, NONE)
    else:
        assert len(once) <= 8000
        assert expand(text, seed, NONE) == once


@given(st.text(), st.integers(0, 2**32 - 1))
def test_plain_text_is_unchanged(text, seed):
    """Without braces and double underscores there is nothing to pick."""
    plain = re.sub(r"[{}]|_", "", text)
    assert expand(plain, seed, NONE) == plain


@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=4), min_size=2, max_size=5, unique=True))
def test_every_option_is_reached_and_no_other(options):
    """Among three hundred seeds each option turns up, as it was written."""
    assert outcomes("{" + "|".join(options) + "}") == set(options)


def test_nested_options_are_reached():
    """Alternatives nested in alternatives are picked as well."""
    assert outcomes("a {big {red|blue}|} cat") == {"a big red cat", "a big blue cat", "a  cat"}


def test_weights_weigh():
    """Three against one is about three quarters; 0 is never."""
    found = Counter(expand("{3::a|b|0::c}", seed, NONE) for seed in range(2000))
    assert set(found) == {"a", "b"}
    assert 1400 < found["a"] < 1600


def test_options_that_all_weigh_nothing_are_nothing():
    """Nothing is picked where nothing may be."""
    assert outcomes("{0::a|0::b}") == {""}


def test_several_are_different_ones():
    """`2$$` picks two different options, in every order, joined by a comma; spaces around them are not kept."""
    assert outcomes("{2$$ a | b |c}") == {"a, b", "b, a", "a, c", "c, a", "b, c", "c, b"}


def test_several_of_the_lightest_are_different_ones():
    """With weights as small as can be written, where every pick falls on an edge, none is picked twice."""
    orders = {"a, b, c", "a, c, b", "b, a, c", "b, c, a", "c, a, b", "c, b, a"}
    assert outcomes("{3$$0.000001::a|0.000001::b|0.000001::c}") == orders


def test_several_of_too_few_are_all_of_them():
    """Asking for more than there are gives what there is; empty ones leave no comma behind."""
    assert outcomes("{9$$a|b|}") == {"a, b", "b, a"}


def test_ranges_pick_each_number():
    """From the lower to the upper end, each count comes up."""
    assert {len(text.split("+")) for text in outcomes("{1-3$$+$$a|b|c|d}")} == {1, 2, 3}
    assert outcomes("{0-1$$a|b}") == {"", "a", "b"}


def test_words_around_a_pick_do_not_change_it():
    """Text appended to a prompt does not change the earlier picks of a seed."""
    for seed in range(20):
        assert expand("{a|b|c|d} {e|f|g}", seed, NONE) == expand("{a|b|c|d} {e|f|g}, {x|y}", seed, NONE)[:3]
        assert expand("so: {a|b|c|d}", seed, NONE) == "so: " + expand("{a|b|c|d}", seed, NONE)


def test_parts_of_one_seed_pick_independently():
    """The negative prompt does not echo the prompt's picks."""
    pairs = {(expand("{a|b}", s, NONE), expand("{a|b}", s, NONE, part="negative_prompt")) for s in range(100)}
    assert len(pairs) == 4


def test_a_file_holds_one_option_a_line(shelf):
    """Blank lines and comments are none, spaces around an option neither; BOM and CRLF do no harm."""
    wildcards = shelf({"color": b"\xef\xbb\xbf# warm\r\n red \r\n\r\n  # cold\r\n\xe8\x93\x9d\r\nred\r\n"})
    assert outcomes("__color__", wildcards) == {"red", "蓝"}


def test_lines_have_weights_and_may_be_templates(shelf):
    """A line may weigh more, and hold alternatives and other wildcards."""
    wildcards = shelf({"a": "5::{x|y}\n0::never\n__b__ __b__", "b": "p\nq"})
    assert outcomes("__a__", wildcards) == {"x", "y", "p p", "p q", "q p", "q q"}


def test_several_of_a_wildcard_are_different_lines(shelf):
    """`{2$$__name__}` picks two lines of the file, never one twice."""
    assert outcomes("{2$$__n__}", shelf({"n": "a\nb\na\n"})) == {"a, b", "b, a"}


def test_folders_and_patterns(shelf):
    """A folder is part of the name; `*` stays within one, `**` does not; lines of all matches are picked from."""
    wildcards = shelf({"c/warm": "red", "c/cold": "blue", "c/d/x": "grey", "e": "pink"})
    assert wildcards.names == ["c/cold", "c/d/x", "c/warm", "e"]
    assert outcomes("__c/warm__", wildcards) == {"red"}
    assert outcomes("__c/*__", wildcards) == {"red", "blue"}
    assert outcomes("__c/**__", wildcards) == {"red", "blue", "grey"}
    assert outcomes("__*__", wildcards) == {"pink"}
    assert outcomes("__c/w*m__", wildcards) == {"red"}
    assert outcomes("{2$$__c/*__}", wildcards) == {"red, blue", "blue, red"}


def test_weights_count_across_files(shelf):
    """Among all lines that match, those of one file are picked as often as their weights say, those of 0 never."""
    wildcards = shelf({"c1": "0::x\n2::a\nb", "c2": "c\n0::y"})
    found = Counter(expand("__c*__", seed, wildcards) for seed in range(2000))
    assert set(found) == {"a", "b", "c"}
    assert 900 < found["a"] < 1100


def test_names_in_any_normal_form(shelf):
    """A file whose name a file system has decomposed is found by what a keyboard writes, and the other way round."""
    wildcards = shelf({unicodedata.normalize("NFD", "Ångström"): "x"})
    assert wildcards.names == [unicodedata.normalize("NFC", "Ångström")]
    assert outcomes(unicodedata.normalize("NFD", "__Ångström__"), wildcards) == {"x"}


def test_what_is_no_wildcard(shelf, tmp_path):
    """Other files, hidden ones, folders, pipes, and names no prompt can spell are not offered, and never opened."""
    wildcards = shelf({"ok": "x", ".hidden": "x", ".git/x": "x", "a__b": "x", "a{b": "x", " a": "x", "_a": "x"})
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "LOUD.TXT").write_text("x")
    os.mkfifo(tmp_path / "pipe.txt")
    assert wildcards.names == ["LOUD", "ok"]


def test_nothing_outside_the_folder_is_read(tmp_path):
    """Neither dots nor absolute paths nor links lead out; a link that stays within does, and so may the folder be."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "inside.txt").write_text("fine")
    (tmp_path / "real" / "again.txt").symlink_to("inside.txt")
    (tmp_path / "real" / "leak.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (tmp_path / "real" / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "real" / "leaks").symlink_to(tmp_path / "outside")
    (tmp_path / "folder").symlink_to("real")
    wildcards = Wildcards(tmp_path / "folder")
    assert wildcards.names == ["again", "inside"]
    escapes = ["../outside/secret", f"{tmp_path}/outside/secret", "leak", "leaks/secret", "../**", "loop", "./inside"]
    for name in escapes:
        with pytest.raises(InvalidRequest, match="unknown wildcard"):
            expand(f"__{name}__", 0, wildcards)
    assert outcomes("__**__", wildcards) == {"fine"}


def test_an_unknown_wildcard_is_reported_with_what_there_is(shelf, tmp_path):
    """The message names it, the folder, names that are close, and how to write two underscores."""
    wildcards = shelf({"color": "x", "collar": "x", "zebra": "x"})
    with pytest.raises(InvalidRequest) as caught:
        expand("a __colour__ cat", 0, wildcards)
    message = str(caught.value)
    assert "unknown wildcard __colour__" in message
    assert "color, collar" in message
    assert str(tmp_path) in message
    assert r"\__" in message


@pytest.mark.parametrize("folder", [None, Path("/no/such/folder")])
def test_without_a_folder_there_are_no_wildcards(folder):
    """A missing folder is an error only for a prompt with a wildcard."""
    assert Wildcards(folder).names == []
    assert expand("{a|a}", 0, Wildcards(folder)) == "a"
    with pytest.raises(InvalidRequest, match="there are no wildcards"):
        expand("__a__", 0, Wildcards(folder))


def test_a_circle_is_reported_with_its_files(shelf):
    """A wildcard within its own options is named, with the way that leads back to it."""
    with pytest.raises(InvalidRequest, match=r"__a__ stands in its own options: a -> x/b -> a"):
        expand("__a__", 0, shelf({"a": "1 __x/b__", "x/b": "2 __a__"}))


def test_a_pattern_leaves_out_the_file_it_stands_in(shelf):
    """`__c*__` in a file whose own name matches picks from the others; where there are none, it is a circle."""
    assert outcomes("__c-all__", shelf({"c-all": "__c*__", "c-1": "x", "c-2": "y"})) == {"x", "y"}
    with pytest.raises(InvalidRequest, match="stands in its own options"):
        expand("__lone__", 0, shelf({"lone": "__lone*__"}))


def test_depth_across_files_is_bounded(shelf):
    """Wildcards within wildcards end in words, not in a crash."""
    chain = {f"w{i}": f"__w{i + 1}__" for i in range(30)} | {"w30": "x"}
    with pytest.raises(InvalidRequest, match="at most 20 deep"):
        expand("__w0__", 0, shelf(chain))
    assert expand("__w20__", 0, shelf()) == "x"


def test_growth_is_bounded(shelf):
    """Texts that swell are stopped: by their length, or, where they swell with nothing, by their picks."""
    wildcards = shelf({"long": "x" * 800, "bomb": "__big__" * 100, "big": "__none__" * 100, "none": "{|}"})
    with pytest.raises(InvalidRequest, match="at most 8000 characters"):
        expand("__long__" * 11, 0, wildcards)
    with pytest.raises(InvalidRequest, match="at most 1000 picks"):
        expand("__bomb__", 0, wildcards)
    assert len(expand("__long__" * 10, 0, wildcards)) == 8000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ok\n" + b"x" * MAX_FILE_BYTES, "at most 1048576 bytes"),
        (b"ok\n\xff\xfe", "line 2 is not UTF-8"),
        ("红\r\n蓝".encode("gbk"), "line 1 is not UTF-8"),
        ("ok\r\ncafé".encode("cp1252"), "line 2 is not UTF-8"),
        ("ok\nred".encode("utf-16-le"), "line 1 is not UTF-8"),
        ("ok\nred".encode("utf-16")[:-1], "line 2 is not UTF-8"),
        (b"ok\n" + b"x" * 8001, "line 2 has more than 8000 characters"),
    ],
    ids=["large", "not text", "GBK", "Windows-1252", "UTF-16 without a mark", "UTF-16 cut off", "long line"],
)
def test_a_bad_file_is_named(shelf, tmp_path, content, told):
    """What cannot be used says which file, what is wrong, and where; other files are not concerned."""
    wildcards = shelf({"bad": content, "good": "x"})
    with pytest.raises(InvalidRequest, match=told) as caught:
        expand("__bad__", 0, wildcards)
    assert str(tmp_path / "bad.txt") in str(caught.value)
    assert expand("__good__", 0, wildcards) == "x"


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff红\r\n蓝\r\n".encode(),
        "红\r\n蓝\r\n".encode("utf-16"),
        "\ufeff红\r\n蓝".encode("utf-16-be"),
        "红\r蓝\r".encode(),
        "红\r\n蓝\r\n\x1a".encode(),
        "\ufeff红\r\n\ufeff蓝".encode(),
        "\ufeff＃ 注释\r\n红\r\n# 注释\r\n蓝".encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "UTF-16 big-endian", "CR", "Ctrl-Z", "joined files", "comments"],
)
def test_files_of_other_editors(shelf, content):
    """Whatever editor wrote the file, its options are its lines: no mark, no carriage return, no comment."""
    assert outcomes("__color__", shelf({"color": content})) == {"红", "蓝"}


def test_signs_of_files_that_mean_themselves(shelf):
    """A backslash makes a comment's sign the first sign of an option, and a weight its text."""
    wildcards = shelf({"a": "\\#1\n#no\n\\＃2\n＃no\n3\\::x\n３：：y\n0::no"})
    assert outcomes("__a__", wildcards) == {"#1", "＃2", "3::x", "y"}


def test_names_and_stars_in_full_width(shelf):
    """A name that no file has is looked for in ASCII; a file with full-width signs in its name is found first."""
    assert outcomes("__ｃｏｌｏｒ__ __x／＊__", shelf({"color": "red", "x/a": "1"})) == {"red 1"}
    assert outcomes("__ｃｏｌｏｒ__", shelf({"color": "red", "ｃｏｌｏｒ": "blue"})) == {"blue"}


def test_full_width_signs_of_files_are_pointed_out(shelf):
    """Full-width braces and bars in a file stay text; its first line that has them is named, comments aside."""
    wildcards = shelf({"a": "＃ ｛x｜y｝\nred\n{红｜蓝}", "b": "a｜b"})
    assert outcomes("__a__", wildcards) == {"red", "{红｜蓝}"}
    assert outcomes("__b__", wildcards) == {"a｜b"}
    [notice] = map(str, wildcards.notices)
    assert re.search(r"a\.txt, line 3: ｜ look", notice)


def test_a_file_that_goes_away_is_named(shelf, tmp_path):
    """A file deleted between listing and reading is an ordinary error."""
    wildcards = shelf({"gone": "x"})
    assert wildcards.names == ["gone"]
    (tmp_path / "gone.txt").unlink()
    with pytest.raises(InvalidRequest, match=r"gone\.txt: cannot be read"):
        expand("__gone__", 0, wildcards)


def test_a_prompt_reads_a_bounded_number_of_bytes(shelf, monkeypatch):
    """A pattern that matches a whole library is refused before it fills the memory."""
    monkeypatch.setattr(module, "MAX_READ_BYTES", 10)
    wildcards = shelf({"a": "xxxx\n", "b": "yyyy\n", "c": "z"})
    assert expand("{__a__|__a__} {__b__|__b__}", 0, wildcards) == "xxxx yyyy"
    with pytest.raises(InvalidRequest, match="at most 10 bytes"):
        expand("__*__", 0, wildcards)


def test_a_library_has_a_bounded_number_of_files(shelf, monkeypatch):
    """Of too many files the first ones count, in an order that is the same everywhere."""
    monkeypatch.setattr(module, "MAX_FILES", 3)
    assert shelf(dict.fromkeys("ebdac", "x")).names == ["a", "b", "c"]


def test_stars_are_bounded(shelf):
    """A name of many stars, slow to match, is refused."""
    with pytest.raises(InvalidRequest, match="at most 4 stars, got 5"):
        expand("__*a*a*a*a*__", 0, shelf({"a": "x"}))
