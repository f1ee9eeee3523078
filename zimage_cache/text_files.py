"""Text files as editors of any system write them: byte-order marks, CRLF or CR, a Ctrl-Z at the end."""

import codecs
from pathlib import Path
from typing import Final

# The marks of UTF-32 come first: that of UTF-16 is the beginning of one of them.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CTRL_Z: Final = "\x1a"
_MARK: Final = "\ufeff"


class NotText(ValueError):
    """Bytes that are no text this module reads; `line` is the first such line, counted from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is not UTF-8; save the file as UTF-8")
        self.line = line


def read_text(path: Path) -> str:
    """Read a text file that a person may have written; lines end in a line feed.

    Raises:
        NotText: It is in another encoding than UTF-8, or UTF-16 or UTF-32 with a byte-order mark.
        OSError: It cannot be read.
    """
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """Return the text of a file's bytes, as `read_text` does.

    Raises:
        NotText: As `read_text`.
    """
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    body = content.removeprefix(mark)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotText(_lines_in(body[: error.start].decode(encoding, "replace")) + 1) from None
    # Without a mark, UTF-16 is valid UTF-8 that is full of NUL.
    if "\0" in text:
        raise NotText(_lines_in(text.partition("\0")[0]) + 1)
    # A mark in the middle is left where files were joined.
    return _without_end_mark(_with_line_feeds(text)).replace(f"\n{_MARK}", "\n").removeprefix(_MARK)


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_end_mark(text: str) -> str:
    """Remove the Ctrl-Z, or several, with which editors of DOS end a file."""
    rest = text.rstrip("\n" + _CTRL_Z)
    return rest + "\n" if _CTRL_Z in text[len(rest) :] else text


def _lines_in(text: str) -> int:
    return _with_line_feeds(text).count("\n")
