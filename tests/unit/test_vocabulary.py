"""A model with few words says which words of a prompt it was not taught."""

from pathlib import Path

import pytest

from zimage_cache.models.profiles import DEMO
from zimage_cache.prompts.vocabulary import Vocabulary

TAUGHT = Vocabulary(frozenset(["red", "two", "house", "houses", "cat", "猫", "大", "小屋", "红", "色", "夜晚", "雪山"]))
EXAMPLES = {"en": ("a red house", "a cat"), "zh": ("雪山",)}


@pytest.mark.parametrize(
    ("prompt", "known", "unknown"),
    [
        ("a red house with a dragon", ["red", "house"], ["dragon"]),
        ("Two RED Houses!", ["two", "red", "houses"], []),
        ("the cat of an old fisherman, by the dragon; dragon", ["cat"], ["old", "fisherman", "dragon"]),
        ("夜晚的雪山，两只大猫", ["夜晚", "雪山", "大", "猫"], ["两"]),
        ("红色的小屋和读书的老人", ["红", "色", "小屋"], ["读书", "老人"]),
        ("猫头鹰 owl", ["猫"], ["头鹰", "owl"]),
        ("кот, ねこ", [], ["кот", "ねこ"]),
        ("the 的 1girl 4k _ 🦆 (red:1.2)", ["red"], ["girl", "k"]),
        ("", [], []),
    ],
)
def test_words_are_found_in_both_languages(prompt: str, known: list[str], unknown: list[str]):
    """Each word once, in their order; words without a meaning of their own, digits and signs are in neither list."""
    assert TAUGHT.divided(prompt) == (known, unknown)


def test_known_prompts_get_no_notice():
    """Nothing is said about a prompt of known words, nor about one without words."""
    assert TAUGHT.notice("two red houses", EXAMPLES) is None
    assert TAUGHT.notice("…", EXAMPLES) is None


def test_some_unknown_words_are_named():
    """The first five are named, in both languages of messages."""
    found = TAUGHT.notice("a red house, one, three, four, five, six, seven", EXAMPLES)
    assert str(found) == "The model has not learned one, three, four, five, six, which may change nothing"
    assert found is not None
    assert found.text("zh").startswith("模型没有学过 one")


@pytest.mark.parametrize(("prompt", "example"), [("an old fisherman", "a red house"), ("读书的老人", "雪山")])
def test_a_prompt_of_unknown_words_gets_an_example(prompt: str, example: str):
    """The example is in the language of the prompt."""
    found = str(TAUGHT.notice(prompt, EXAMPLES))
    assert "none of these words" in found
    assert found.endswith(example)


def test_a_file_has_a_word_a_line(tmp_path: Path):
    """Blank lines and another line ending change nothing."""
    path = tmp_path / "words.txt"
    path.write_bytes("red\r\n\r\n雪山\n".encode())
    assert Vocabulary.read(path).divided("red 雪山 blue") == (["red", "雪山"], ["blue"])


def test_the_demo_knows_its_own_examples():
    """No example of the page contains a word that the notice would call unknown."""
    vocabulary = DEMO.vocabulary
    assert vocabulary
    for examples in DEMO.examples.values():
        for example in examples:
            assert vocabulary.notice(example, DEMO.examples) is None, example
