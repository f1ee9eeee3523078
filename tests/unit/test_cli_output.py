"""What all commands print alike."""

import json
from pathlib import Path

from zimage_cache.cli.output import counted, print_answer, print_table, shortened


def test_a_prompt_is_shown_on_one_line_of_bounded_length():
    """Control characters become spaces, and a shortened text ends with a mark."""
    assert shortened("a\nfox\x1b[2J 红") == "a fox [2J 红"
    assert shortened("x" * 60) == "x" * 60
    assert shortened("x" * 61) == "x" * 59 + "…"


def test_an_answer_is_words_or_json(capsys):
    """People get the sentence, programs the document, in the letters it is written in."""
    print_answer({"file": Path("红.png")}, "wrote it", as_json=False)
    print_answer({"file": Path("红.png")}, "wrote it", as_json=True)
    words, document = capsys.readouterr().out.split("\n", 1)
    assert words == "wrote it"
    assert json.loads(document) == {"file": "红.png"}
    assert "红" in document


def test_columns_are_as_wide_as_their_widest_cell(capsys):
    """Numbers end at the same place, lines without spaces to spare."""
    print_table([("KEY", "BYTES", ""), ("ab", "7", "pinned"), ("abcd", "123456", "")], right=(1,))
    assert capsys.readouterr().out.splitlines() == ["KEY    BYTES", "ab         7  pinned", "abcd  123456"]


def test_one_is_singular():
    """Numbers of pictures read as people say them."""
    assert [counted(n) for n in (0, 1, 2)] == ["0 pictures", "1 picture", "2 pictures"]
