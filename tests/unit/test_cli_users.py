"""`zimage user …`: who may use the server, from a terminal."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zimage_cache.accounts.users import Account, UserFile
from zimage_cache.cli import main as cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZIMAGE_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path


def zimage(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli.main, ["user", *arguments], input=typed)


def file(folder: Path) -> UserFile:
    return UserFile(folder / "workspace" / "users.txt")


def test_a_user_is_added_listed_and_removed(here):
    """The password is asked for twice, and shown by nothing; the first user is an administrator."""
    added = zimage("add", "ann", typed="secret of ann\nsecret of ann\n")
    assert added.exit_code == 0, added.output
    assert "ann (administrator)" in added.output
    assert str(here / "workspace" / "users.txt") in added.output
    assert "secret" not in added.output
    assert zimage("add", "ben", "--password-stdin", typed="secret of ben\r\n").exit_code == 0
    users = file(here).read()
    assert users.with_password("ben", "secret of ben") == Account("ben")
    listed = zimage("list")
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["ann", "administrator", "yes", "0"],
        ["ben", "user", "yes", "0"],
    ]
    assert zimage("remove", "ben").stdout.startswith("removed ben: 1 line of ")
    again = zimage("remove", "ben")
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert "has no user of ben" in again.stderr


def test_a_key_is_printed_once(here):
    """Alone on its line, for scripts; the file has its digest."""
    key = zimage("key", "bot").stdout.strip()
    assert file(here).read().with_key(key) == Account("bot")
    assert key not in file(here).path.read_text()
    assert zimage("remove", "bot", "--keys").exit_code == 0
    assert "has no API key of bot" in zimage("remove", "bot", "--keys").stderr


def test_json(here):
    """Every command answers with one JSON document."""
    path = str(here / "workspace" / "users.txt")
    answers = [
        zimage("add", "ann", "--password-stdin", "--json", typed="secret of ann\n"),
        zimage("key", "ann", "--json"),
        zimage("list", "--json"),
        zimage("remove", "ann", "--json"),
    ]
    added, key, listed, removed = (json.loads(answer.stdout) for answer in answers)
    assert added == {"name": "ann", "administrator": True, "file": path}
    assert key.keys() == {"name", "key", "file"}
    assert listed == {"users": [{"name": "ann", "administrator": True, "password": True, "keys": 1}]}
    assert removed == {"name": "ann", "removed": 2, "file": path}


def test_the_file_of_the_setting(here):
    """`--auth-file` names another file."""
    zimage("add", "ann", "--password-stdin", "--auth-file", "mine.txt", typed="secret of ann\n")
    assert [account.name for account in UserFile(here / "mine.txt").read()] == ["ann"]
    assert not file(here).path.exists()


def test_no_users_yet():
    """A list without rows is one, too."""
    assert zimage("list").stdout.splitlines() == ["name  role  password  API keys"]


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("add", "a:b"), "secret of ann\n" * 2, "1 to 64 characters"),
        (("add", "ann", "--password-stdin"), "short\n", "at least 8 characters"),
        (("add", "ann", "--password-stdin"), "", "at least 8 characters"),
        (("key", ""), "", "1 to 64 characters"),
    ],
)
def test_what_is_refused(here, arguments, typed, said):
    """Status 2, one line, and no file."""
    result = zimage(*arguments, typed=typed)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not file(here).path.exists()


def test_a_file_that_is_no_file_of_users(here):
    """It is not changed, and the message names the line, not its content."""
    file(here).path.parent.mkdir()
    file(here).path.write_text("hunter2\n")
    result = zimage("add", "ann", "--password-stdin", typed="secret of ann\n")
    assert result.exit_code == 2
    assert "line 1" in result.stderr
    assert "hunter2" not in result.output
    assert file(here).path.read_text() == "hunter2\n"
