"""Tests of cache.files."""

import errno
import os
import socket

import pytest

from tests.factories import present
from zimage_cache.cache import files
from zimage_cache.errors import CacheError, CacheWriteFailed, CorruptEntry

TROUBLE = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE]


def _raiser(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def _symlink(path):
    path.with_name("target").write_bytes(b"secret")
    path.symlink_to(path.with_name("target"))


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


IN_THE_WAY = {"symlink": _symlink, "folder": os.mkdir, "fifo": os.mkfifo, "socket": _socket}


@pytest.mark.parametrize("plant", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_only_regular_files_are_read(tmp_path, plant):
    """A link, folder, FIFO or socket in the place of a file is corrupt: never followed, never waited for."""
    path = tmp_path / "file"
    plant(path)

    with pytest.raises(CorruptEntry, match="no regular file"):
        files.read(path, 100)


def test_reading_is_bounded(tmp_path):
    """A file over the limit is refused before it is read, one at the limit is read whole."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    content, signature = present(files.read(path, 5))

    assert (content, signature.size) == (b"12345", 5)
    with pytest.raises(CorruptEntry, match="5 bytes, at most 4"):
        files.read(path, 4)


def test_another_write_has_another_signature(tmp_path):
    """Replacing a file by one with the same content changes its signature; reading does not."""
    path, new = tmp_path / "file", tmp_path / "new"
    first = files.write(path, b"same")
    files.write(new, b"same")
    files.replace(new, path)

    assert present(files.read(path, 9))[1] == present(files.read(path, 9))[1] != first


@pytest.mark.parametrize("number", TROUBLE)
def test_reading_trouble_is_translated(tmp_path, monkeypatch, number):
    """Whatever the operating system says about a read becomes our error, with its kind kept."""
    monkeypatch.setattr(os, "open", _raiser(number))

    with pytest.raises(CacheError) as caught:
        files.read(tmp_path / "file", 9)

    assert type(caught.value) is CacheError
    assert files.kind(caught.value) == errno.errorcode[number]


@pytest.mark.parametrize("number", TROUBLE)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_failed_write_leaves_nothing(tmp_path, monkeypatch, number, call):
    """A write that fails becomes our error, and the half-written file is gone."""
    monkeypatch.setattr(os, call, _raiser(number))

    with pytest.raises(CacheWriteFailed) as caught:
        files.write(tmp_path / "file", b"x" * 100_000)

    monkeypatch.undo()
    assert files.kind(caught.value) == errno.errorcode[number]
    assert list(tmp_path.iterdir()) == []


def test_writing_never_overwrites(tmp_path):
    """`write` makes new files only: not through a link, and not over an existing file."""
    _symlink(tmp_path / "file")

    with pytest.raises(CacheWriteFailed):
        files.write(tmp_path / "file", b"mine")

    assert (tmp_path / "target").read_bytes() == b"secret"


def test_writing_is_durable(tmp_path, monkeypatch):
    """The bytes are synced before the file has its name in the end, and so is the folder on demand."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))

    files.write(tmp_path / "file", b"x")
    files.sync_folder(tmp_path)

    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_file_system_without_folder_sync(tmp_path, monkeypatch):
    """Some file systems cannot sync a folder: no trouble; real trouble is."""
    monkeypatch.setattr(os, "fsync", _raiser(errno.EINVAL))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", _raiser(errno.EIO))

    with pytest.raises(CacheWriteFailed):
        files.sync_folder(tmp_path)


def test_new_files_obey_the_umask(tmp_path):
    """Files of a shared cache are readable by whom the umask lets: no private mode as temporary files have."""
    old = os.umask(0o027)
    try:
        files.write(tmp_path / "file", b"x")
    finally:
        os.umask(old)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_is_not_there(tmp_path):
    """Missing files and folders are no errors."""
    missing = tmp_path / "missing"

    assert files.read(missing, 9) is None
    assert files.status(missing) is None
    assert files.remove(missing) is False
    assert list(files.listing(missing)) == []
    files.touch(missing, 1.0)


def test_folder_is_not_removed(tmp_path):
    """A folder in the place of a file may hold a user's files: it is reported as corrupt, not removed."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(CorruptEntry, match="a folder is in its place"):
        files.remove(tmp_path / "folder")

    assert (tmp_path / "folder").is_dir()


def test_links_are_removed_not_their_targets(tmp_path):
    """Removing a planted link leaves what it points at."""
    _symlink(tmp_path / "file")

    assert files.remove(tmp_path / "file")
    assert (tmp_path / "target").read_bytes() == b"secret"
