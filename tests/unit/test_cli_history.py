"""`zimage history …`: output, exit statuses, and deletions and moves only on explicit command."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from zimage_cache.cli import history as cli_history
from zimage_cache.cli import main as cli
from zimage_cache.metadata import png


@pytest.fixture(autouse=True)
def workspace(monkeypatch, tmp_path) -> Path:
    """Run in an empty folder and environment, with a workspace of its own."""
    for variable in filter(lambda name: name.startswith("ZIMAGE_"), list(os.environ)):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ZIMAGE_WORKSPACE", str(tmp_path / "w"))
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "w"


@pytest.fixture
def put(workspace) -> Callable[..., Path]:
    """Give a function that puts a picture into `output_image/`, made on a day of January 2026."""

    def make(name: str, prompt: str = "a fox", *, day: int = 1) -> Path:
        path = workspace / "output_image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"request": {"prompt": prompt, "seed": day}, "seed": day}
        path.write_bytes(png.encode(np.zeros((16, 32, 3), np.uint8), {"zimage": json.dumps(document)}))
        moment = datetime(2026, 1, day, 12, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
        return path

    return make


def zimage(*arguments: str, **options) -> Result:
    return CliRunner().invoke(cli.main, ["history", *arguments], **options)


def documents(*arguments: str) -> dict:
    result = zimage(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, words: str) -> None:
    """Check for status 2 and one line of error."""
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("zimage: ")
    assert result.stdout == ""


def test_list(put):
    """One line a picture, newest first, read from the files themselves; what moves a cursor is not printed."""
    put("old.png", day=1)
    put("new.png", "an owl\x1b[2J\nthere", day=2)
    lines = zimage("list").stdout.splitlines()
    assert len(lines) == 2
    assert "an owl [2J there" in lines[0]
    assert "32x16" in lines[0]
    assert "seed 1 " in lines[1]


def test_list_as_json(put):
    """Every field a program needs, the file's full path among them; `more` says that the limit cut it."""
    file = put("a.png", "红", day=3)
    put("b.png", day=1)
    found = documents("list", "--limit", "1")
    (picture,) = found["pictures"]
    assert found["more"] is True
    assert picture["file"] == str(file)
    assert picture["made"] == "2026-01-03T12:00:00+00:00"
    assert picture["parameters"] == {"prompt": "红", "seed": 3}
    assert documents("list")["more"] is False


def test_an_empty_workspace():
    """Nothing there is an empty list, not an error, for every command."""
    assert documents("list") == {"pictures": [], "more": False}
    assert documents("search", "fox") == {"pictures": [], "more": False}
    assert documents("clear") == {"deleted": []}
    assert documents("archive", "--before", "2026-01-01", "--to", "attic") == {"archived": []}


def test_search_for_stars_and_keys(put, workspace):
    """`is:starred` finds what the cache has pinned, `key:` all files of a key."""
    key = "ab" * 32
    for number, name in enumerate(("loved.png", "plain.png")):
        document = {"request": {"prompt": name, "seed": number}, "key": key if name == "loved.png" else "cd" * 32}
        path = put(name)
        path.write_bytes(png.encode(np.zeros((16, 16, 3), np.uint8), {"zimage": json.dumps(document)}))
    assert documents("search", "is:starred")["pictures"] == []  # no cache yet
    for folder, name in (("pins", key), ("keys", f"{key}.json")):
        (workspace / "cache" / folder).mkdir(parents=True)
        (workspace / "cache" / folder / name).touch()
    for query in ("is:starred", "key:abababab"):
        (found,) = documents("search", query)["pictures"]
        assert found["key"] == key


def test_search(put):
    """Words after each other must all be found; `seed:` and the like are understood."""
    put("a.png", "a red fox", day=1)
    put("b.png", "a red owl", day=2)
    assert [each["parameters"]["seed"] for each in documents("search", "red", "fox")["pictures"]] == [1]
    assert [each["parameters"]["seed"] for each in documents("search", "seed:2")["pictures"]] == [2]
    refused(zimage("search", "x" * 1001), "query: at most 1000 characters")


def test_archive(put, tmp_path):
    """Pictures made before the day move to the folder, which may be named relative to here; the others stay."""
    old, new = put("old.png", day=1), put("new.png", day=10)
    found = documents("archive", "--before", "2026-01-05", "--to", "attic")
    assert [each["moved_to"] for each in found["archived"]] == [str(tmp_path / "attic" / "old.png")]
    assert (tmp_path / "attic" / "old.png").exists()
    assert not old.exists()
    assert new.exists()
    assert zimage("archive", "--before", "2026-01-05", "--to", "attic").stdout == "moved 0 pictures to attic\n"


def test_archive_into_itself(put, workspace):
    """A folder cannot be its own archive: status 2, nothing moved."""
    old = put("old.png")
    refused(
        zimage("archive", "--before", "2026-01-05", "--to", str(workspace / "output_image" / "x")), "must lie outside"
    )
    assert old.exists()


def test_delete(put):
    """Only the pictures with these numbers are deleted; with an unknown number nothing is deleted."""
    files = {day: put(f"{day}.png", day=day) for day in (1, 2, 3)}
    ids = {each["parameters"]["seed"]: str(each["id"]) for each in documents("list")["pictures"]}
    refused(zimage("delete", ids[1], "999", "--yes"), "no picture has the number 999")
    assert files[1].exists()
    assert [each["id"] for each in documents("delete", ids[1], ids[2], "--yes")["deleted"]] == [
        int(ids[1]),
        int(ids[2]),
    ]
    assert [path.exists() for path in files.values()] == [False, False, True]


def test_clear(put, workspace):
    """All pictures go, and nothing that is none."""
    put("a.png")
    put("sub/b.png")
    note = workspace / "output_image" / "note.txt"
    note.write_text("mine")
    assert zimage("clear", "--yes").stdout == "deleted 2 pictures\n"
    assert [path for path in note.parent.rglob("*") if path.is_file()] == [note]


@pytest.mark.parametrize("command", [["clear"], ["delete", "1"]])
def test_no_terminal_to_confirm_on(put, command):
    """Without a terminal and without --yes nothing is deleted: status 2, and what to do."""
    file = put("a.png")
    refused(zimage(*command), "--yes: is needed")
    assert file.exists()


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_asking(put, monkeypatch, answer, gone):
    """On a terminal it asks, names how many, and takes only yes for yes."""
    file = put("a.png")
    monkeypatch.setattr(cli_history, "_is_terminal", lambda: True)
    result = zimage("clear", input=answer)
    assert "Delete 1 picture from" in result.stderr
    assert file.exists() is not gone
    assert result.exit_code == (0 if gone else 1)
