"""Tests of cache.store: the quarantine."""

import errno
import os
from pathlib import Path

import pytest

from zimage_cache.cache import store
from zimage_cache.cache.store import Quarantine
from zimage_cache.errors import CacheWriteFailed


def _incidents(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_files_and_reason_are_kept_together(tmp_path):
    """Each incident has its own folder with the files, whatever they are, and the reason; what is missing is none."""
    bad, folder, missing = tmp_path / "bad.png", tmp_path / "bad.json", tmp_path / "missing.webp"
    bad.write_bytes(b"torn")
    folder.mkdir()
    (folder / "somebody's").write_text("file")

    Quarantine(tmp_path / "q").take([folder, bad, missing], "it was torn")

    (incident,) = _incidents(tmp_path / "q")
    assert not bad.exists()
    assert not folder.exists()
    assert (incident / "bad.png").read_bytes() == b"torn"
    assert (incident / "bad.json" / "somebody's").read_text() == "file"
    assert (incident / "reason.txt").read_text() == "it was torn\n"


def _take(folder: Path, number: int, size: int) -> None:
    path = folder / f"{number}.png"
    path.write_bytes(b"x" * size)
    Quarantine(folder / "q").take([path], str(number))


def test_bounded_in_number(tmp_path, monkeypatch):
    """The oldest incidents go when there are too many."""
    monkeypatch.setattr(store, "MOST_INCIDENTS", 3)
    for number in range(5):
        _take(tmp_path, number, 10)

    reasons = [(incident / "reason.txt").read_text().strip() for incident in _incidents(tmp_path / "q")]

    assert reasons == ["2", "3", "4"]


def test_bounded_in_bytes(tmp_path, monkeypatch):
    """The oldest incidents go when they are too large together, and one that is too large alone is not kept."""
    monkeypatch.setattr(store, "QUARANTINE_BYTES", 1000)
    for number in range(5):
        _take(tmp_path, number, 400)
    assert len(_incidents(tmp_path / "q")) == 2

    _take(tmp_path, 5, 2000)
    assert _incidents(tmp_path / "q") == []


def test_full_disk_discards(tmp_path, monkeypatch):
    """With no room for evidence the files are removed: they must not stay where they could be served."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"torn")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "mkdir", full)
    Quarantine(tmp_path / "q").take([bad], "torn")

    assert not bad.exists()


def test_immovable_files_are_reported(tmp_path, monkeypatch):
    """On a read-only disk the caller learns that the files are still there."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"torn")

    def read_only(*_args, **_kwargs):
        raise OSError(errno.EROFS, "read-only")

    for call in ("mkdir", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, call, read_only)

    with pytest.raises(CacheWriteFailed):
        Quarantine(tmp_path / "q").take([bad], "torn")
    assert bad.exists()
