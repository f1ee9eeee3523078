"""Text files from any editor, read alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_cache.text_files import NotText, decoded, read_text

TEXT = "红 = 1\n\nblue # é\n"
# Texts without what is an end of a line, a mark or an end of a file to one system or another.
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\x1a\ufeff"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "\x1a", "\x1a\r\n", "\x1a" * 40])
def test_marks_and_ends_of_lines(tmp_path, encoding, end, tail):
    """A mark names the encoding and is no part of the text; each line ends in a line feed; a final Ctrl-Z goes."""
    path = tmp_path / "file.txt"
    path.write_bytes((TEXT.replace("\n", end) + tail).encode(encoding))

    assert read_text(path) in {TEXT, TEXT.rstrip("\n") + "\n"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_both_orders_of_bytes(encoding):
    """The mark says which byte comes first."""
    assert decoded(f"\ufeff{TEXT}".encode(encoding)) == TEXT


@given(PLAIN)
def test_other_text_is_unchanged(text):
    """Apart from marks and ends, every character stays."""
    assert decoded(text.encode()) == text


def test_marks_between_joined_files():
    """Files joined by `copy a+b` leave a mark at the beginning of a line; elsewhere the character stays."""
    assert decoded("\ufeffa\r\n\ufeffb\u2060\ufeffc".encode()) == "a\nb\u2060\ufeffc"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("红".encode("gbk"), 1),
        ("a\r\nb\r\n颜色".encode("gb18030"), 3),
        ("a\rcafé\r".encode("cp1252"), 2),
        ("a\n日本".encode("shift_jis"), 2),
        ("a\n繁體".encode("big5"), 2),
        ("a\nb".encode("utf-16-le"), 1),
        ("红\n".encode("utf-16")[:-1], 1),
        (b"\xff\xfea\0\n\0\x00\xd8", 2),
        (b"\xef\xbb\xbfa\nb\n\xc0\x80", 3),
        (b"\x89PNG\r\n\x1a\n", 1),
    ],
)
def test_other_encodings_are_refused_by_line(content, line):
    """Nothing is guessed: the first line that cannot be read is named."""
    with pytest.raises(NotText, match=rf"line {line} is not UTF-8; save the file as UTF-8") as raised:
        decoded(content)
    assert raised.value.line == line
