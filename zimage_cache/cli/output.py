"""Output of `zimage` commands: text or JSON, without control characters from user text."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import click

_SHOWN_PROMPT: Final = 60

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def print_answer(document: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    """Print *document* as JSON, or the text *words*."""
    if as_json:
        print_json(document)
    else:
        click.echo(words)


def print_json(document: Mapping[str, Any]) -> None:
    """Print *document* as JSON; values of other types are converted to text."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> None:
    """Print columns as wide as their widest cell; the last column is not padded.

    Args:
        rows: All of the same length; the first may be the column heads.
        right: Columns, counted from 0, that end at their right edge.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def legible(text: str) -> str:
    """Return user text on one line, with control characters replaced."""
    return "".join(each if each.isprintable() else " " for each in text)


def shortened(prompt: str) -> str:
    """Return the beginning of a prompt, as `legible` shows it."""
    prompt = legible(prompt)
    return prompt if len(prompt) <= _SHOWN_PROMPT else prompt[: _SHOWN_PROMPT - 1] + "…"


def counted(pictures: int) -> str:
    """Return a number of pictures as text."""
    return f"{pictures} picture" if pictures == 1 else f"{pictures} pictures"
