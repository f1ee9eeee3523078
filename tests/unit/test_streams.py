"""Output that no character breaks, in any encoding a terminal has."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.progress import track
from rich.table import Table

from zimage_cache.cli.streams import make_streams_safe
from zimage_cache.log_lines import JsonLines, LimitedHandler

ROOT = Path(__file__).parents[2]
TEXT = "红 é … 🦊 \udcff"
ENCODINGS = ["ascii", "cp936", "latin-1", "cp1252", "cp437", "shift_jis", "utf-8", "ANSI_X3.4-1968"]
EACH = pytest.mark.parametrize("encoding", ENCODINGS)


@pytest.fixture
def streams(monkeypatch):
    """Give a function that puts a terminal of some encoding behind both streams, and one that reads what was shown."""

    def make(encoding: str) -> io.BytesIO:
        shown = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding, write_through=True))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown, encoding, write_through=True))
        make_streams_safe()
        return shown

    return make


@EACH
def test_text_is_escaped_where_it_must_be(streams, encoding):
    """What the encoding has is written as it is, everything else as an escape: by hand and by click alike."""
    shown = streams(encoding)
    sys.stdout.write(f"{TEXT}\n")
    click.echo(TEXT)
    click.echo(TEXT, err=True)

    lines = shown.getvalue().decode(encoding).splitlines()
    assert len(set(lines)) == 1
    assert json.loads(f'"{lines[0]}"') == TEXT
    for character in "红é🦊":
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            assert character not in lines[0]
        else:
            assert character in lines[0]


@EACH
def test_json_stays_json(streams, encoding):
    """JSON with the characters themselves is valid JSON in every encoding."""
    shown = streams(encoding)
    click.echo(json.dumps({TEXT: [TEXT]}, ensure_ascii=False, indent=2))
    assert json.loads(shown.getvalue().decode(encoding)) == {TEXT: [TEXT]}


@EACH
def test_log_lines_of_both_formats(streams, encoding):
    """A line of the log is never lost, and one in JSON is valid JSON."""
    shown = streams(encoding)
    handler = LimitedHandler()
    handler.setFormatter(JsonLines())
    handler.handle(logging.LogRecord("zimage_cache", logging.INFO, "f", 1, "prompt %s", (TEXT,), None))
    assert json.loads(shown.getvalue().decode(encoding))["message"] == f"prompt {TEXT}"


@EACH
def test_bars_and_tables(streams, encoding):
    """Rich's boxes, bars and spinners have characters few encodings have."""
    shown = streams(encoding)
    console = Console(file=sys.stderr, force_terminal=True, width=60)
    table = Table(title=TEXT)
    table.add_column("红")
    table.add_row("🦊")
    console.print(table)
    with console.status("红"):
        list(track([1], "🦊", console=Console(file=io.StringIO())))
    list(track([1], "🦊", console=console))
    shown.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp936", "latin-1", "utf-8"])
def test_a_whole_command(encoding, tmp_path):
    """Texts, JSON, help and errors of a command come out in the terminal's encoding, without a traceback."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": encoding,
        "ZIMAGE_WORKSPACE": str(tmp_path),
    }
    commands = [["config", "show"], ["config", "show", "--json"], ["generate", "--help"], ["no-红🦊"]]
    code = (
        "import sys; from zimage_cache.cli.main import main\n"
        f"for command in {commands!r}:\n"
        "    try: main([*command, *(['--model', '红🦊é'] if command[0] == 'config' else [])])\n"
        "    except SystemExit: print('----', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code], env=environment, capture_output=True, check=True
    )

    text, as_json, help_, error = done.stdout.decode(encoding).split("----\n")[:4]
    assert json.loads(as_json)["model"]["value"] == "红🦊é"
    assert '"红🦊é"' in text or "\\u" in text
    assert "--offload" in help_
    assert error == ""
    assert "No such command" in done.stderr.decode(encoding)
    assert "Traceback" not in done.stderr.decode(encoding)


def test_what_is_typed_is_read(monkeypatch):
    """An answer in another encoding than the terminal's is a wrong answer, and no traceback."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("是\n".encode("gbk")), "utf-8"))
    make_streams_safe()
    assert "�" in sys.stdin.readline()


def test_other_streams_are_left_alone(monkeypatch):
    """Streams that are closed, missing or none of Python's own need no change."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    make_streams_safe()
    click.echo(TEXT)
