"""Files that are complete whenever they exist under their name."""

import os
import resource
import stat

import pytest

from zimage_cache.atomic import flush, write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_content_is_replaced_and_nothing_else_is_left(tmp_path, durable):
    """The new content stands under the name, and no other file beside it."""
    file = tmp_path / "file"
    for content in (b"old", b"", b"new" * 100_000):
        write_atomically(file, content, durable=durable)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content(tmp_path, monkeypatch, step):
    """Whichever step fails, the file is as before, and no part of the new one is left."""
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def fail(*_arguments):
        raise OSError("full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(file, b"new", durable=True)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_fills_up_leaves_the_old_content(tmp_path):
    """A write that ends in its middle leaves the file as it was, and no part of the new one."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, usual[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(file, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_only_durable_writes_wait_for_the_disk(tmp_path, monkeypatch):
    """What may be lost by a power failure costs no `fsync`."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_atomically(tmp_path / "file", b"x")
    assert synced == []
    write_atomically(tmp_path / "file", b"x", durable=True)
    flush(tmp_path)
    assert len(synced) == 2


def test_others_may_read_it(tmp_path):
    """The permissions are those of any new file."""
    file = tmp_path / "file"
    usual = tmp_path / "usual"
    usual.touch()
    write_atomically(file, b"x")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
