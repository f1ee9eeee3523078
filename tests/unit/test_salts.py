"""Salts of accounts: the same after a restart, different for each account and each server."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zimage_cache.accounts.salts import Salts, read_salts


def test_an_account_keeps_its_salt(tmp_path: Path):
    """A second server on the same file has the same ones, and no two accounts have one in common."""
    first, second = (read_salts(tmp_path / "cache_salt") for _ in range(2))
    salts = [first.of(name) for name in ("ann", "ben", "ann ", "安")]
    assert salts == [second.of(name) for name in ("ann", "ben", "ann ", "安")]
    assert len(set(salts)) == 4
    assert all(len(salt) == 32 and int(salt, 16) for salt in salts)


def test_another_secret_gives_other_salts(tmp_path: Path):
    """Salts cannot be computed from names alone."""
    assert read_salts(tmp_path / "a").of("ann") != read_salts(tmp_path / "b").of("ann")


def test_callers_without_an_account_have_none():
    """They share their pictures, with keys as before."""
    assert Salts(b"s" * 32).of("") == ""


def test_the_file_is_for_its_owner_alone(tmp_path: Path):
    """Others could compute the keys of any user with it."""
    read_salts(tmp_path / "cache_salt")
    assert stat.S_IMODE((tmp_path / "cache_salt").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["cache_salt"]


def test_servers_that_start_together_agree(tmp_path: Path):
    """The file of one of them wins; none of them goes on with a secret that is not in the file."""
    for attempt in range(20):
        path = tmp_path / str(attempt)
        with ThreadPoolExecutor(4) as pool:
            salts = {each.of("ann") for each in pool.map(read_salts, [path] * 4)}
        assert salts == {read_salts(path).of("ann")}


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Some file systems have none."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert read_salts(tmp_path / "s").of("ann") == read_salts(tmp_path / "s").of("ann") != ""


def test_a_damaged_file_is_not_replaced(tmp_path: Path):
    """With another secret no user would find their pictures again."""
    path = tmp_path / "cache_salt"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="32 random bytes, has 5"):
        read_salts(path)
    assert path.read_bytes() == b"short"
