"""The users of a running server follow their file."""

import asyncio

import pytest

from zimage_cache.accounts.source import UserSource
from zimage_cache.accounts.users import UserFile


def names(source: UserSource) -> list[str]:
    return [account.name for account in source.current]


def test_changes_are_seen_within_a_second(tmp_path):
    """Not before: the file is looked at once a second."""
    now = [0.0]
    file = UserFile(tmp_path / "users.txt")
    file.put("ann", "secret of ann", administrator=True)
    source = UserSource(file.path, ["bot:sha256$" + "0" * 64], lambda: now[0])
    file.put("ben", "secret of ben", administrator=False)
    asyncio.run(source.refresh())
    assert names(source) == ["ann", "bot"]
    asyncio.run(source.refresh(at_once=True))
    assert names(source) == ["ann", "ben", "bot"]
    file.remove("ben")
    asyncio.run(source.refresh())
    assert names(source) == ["ann", "ben", "bot"]
    now[0] = 1.0
    asyncio.run(source.refresh())
    assert names(source) == ["ann", "bot"]


@pytest.mark.parametrize("broken", [None, b"", b"no colon\n", b"\xff\xfe\x00"])
def test_a_file_that_breaks_leaves_the_former_users(tmp_path, caplog, broken):
    """A removed or damaged file opens the server to no one, and shuts no one out; the log says so."""
    now = [0.0]
    path = tmp_path / "users.txt"
    path.write_text("ann:secret\n")
    source = UserSource(path, (), lambda: now[0])
    path.unlink() if broken is None else path.write_bytes(broken)
    now[0] = 2.0
    asyncio.run(source.refresh())
    assert names(source) == ["ann"]
    assert "users_not_read" in caplog.text
    assert "no colon" not in caplog.text
    path.write_text("eve:secret\n")
    now[0] = 4.0
    asyncio.run(source.refresh())
    assert names(source) == ["eve"]
