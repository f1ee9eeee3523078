"""Files with the addresses of running servers: there while a server runs, whatever ended the ones before."""

import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from zimage_cache.servers import ServerAddress, address_of_this_process, announced, running

ROOT = Path(__file__).parents[2]
# Announces the server of a process of its own in the folder named, and sleeps.
CHILD = """
import sys, time
from pathlib import Path
from zimage_cache.servers import address_of_this_process, announced
with announced(Path(sys.argv[1]), address_of_this_process("0.0.0.0", 7001, version="1")):
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "servers"


@pytest.fixture
def child(folder):
    """A process that has announced a server; ended by force if the test did not."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.communicate()


def here(**changes) -> ServerAddress:
    return replace(address_of_this_process("127.0.0.1", 7001, version="1"), **changes)


def write(folder: Path, address: ServerAddress, name: str | None = None) -> Path:
    """Leave the file of a server that has not removed it."""
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"{address.pid}.json")
    path.write_text(json.dumps(asdict(address)))
    return path


def test_the_file_is_there_while_the_server_runs(folder):
    """It is complete from its first moment, names the process and where it listens, and goes with the server."""
    address = here()
    with announced(folder, address):
        [path] = folder.iterdir()
        assert path.name == f"{os.getpid()}.json"
        assert json.loads(path.read_text()) == asdict(address)
        assert running(folder) == [address]
        assert path.exists()
    assert list(folder.iterdir()) == []
    assert running(folder) == []


def test_no_folder_is_no_server(folder):
    """A workspace in which no server has run; looking makes nothing."""
    assert running(folder) == []
    assert not folder.exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_file_of_a_process_that_ended(folder, child, end):
    """However a server ends, it is not found any more, and its file is removed when it is looked for."""
    [address] = running(folder)
    assert (address.pid, address.port, address.url) == (child.pid, 7001, "http://127.0.0.1:7001")
    child.send_signal(end)
    child.wait(60)
    assert running(folder) == []
    assert list(folder.iterdir()) == []


def test_a_server_that_hangs_still_runs(folder, child):
    """A stopped process keeps its lock."""
    child.send_signal(signal.SIGSTOP)
    assert [address.pid for address in running(folder)] == [child.pid]


def test_a_process_with_the_number_of_another(folder):
    """A number that was given again, here to this process and to the first of all, makes no file valid."""
    write(folder, here(started="2020-01-01T00:00:00+00:00"))
    write(folder, here(pid=1, started="2020-01-01T00:00:00+00:00"))
    assert running(folder) == []
    assert list(folder.iterdir()) == []


def test_a_new_server_clears_up(folder):
    """What killed servers left goes when the next one starts; files of other names are left alone."""
    stale = write(folder, here(pid=2**22 + 5))
    other = folder / "notes.txt"
    other.write_text("mine")
    with announced(folder, here()):
        assert not stale.exists()
    assert list(folder.iterdir()) == [other]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"url": 1}', b"\xff\xfe", b"{}" * 100_000])
def test_a_file_that_is_no_address(folder, content):
    """It is ignored and removed: every file is written whole."""
    folder.mkdir()
    (folder / "77.json").write_bytes(content)
    assert running(folder) == []
    assert list(folder.iterdir()) == []


def test_a_file_with_nonsense_in_it(folder):
    """Values of the wrong kind are no address either."""
    changes: list[dict[str, Any]] = [{"url": 5}, {"pid": "x"}, {"started": "yesterday"}, {"started": None}]
    urls = ("file:///etc/passwd", "127.0.0.1:7860", "http://me@h:1", "http://h:1/x", "http://h\n:1", "http://")
    changes += [{"url": url} for url in urls]
    for number, change in enumerate(changes):
        write(folder, here(**change), f"{number}.json")
    assert running(folder) == []


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("203.0.113.7", 80, "http://203.0.113.7:80"),  # another machine
        ("gallery.example", 80, "http://gallery.example:80"),
        ("127.0.0.1", 7001, "http://203.0.113.7:80"),
        ("127.0.0.1", 7001, "https://127.0.0.1:7001"),
        ("127.0.0.1", "7001@203.0.113.7:80", "http://127.0.0.1:7001@203.0.113.7:80"),
    ],
)
def test_no_other_machine_is_believed_in(folder, host, port, url):
    """Commands send their password to a server of the workspace, and others may be able to write into that."""
    write(folder, here(host=host, port=port, url=url))
    assert running(folder) == []


def test_a_later_version_may_write_more(folder):
    """Fields this version does not know are left out."""
    with announced(folder, here()):
        [path] = folder.iterdir()
        with path.open("r+") as file:
            file.write(json.dumps(asdict(here()) | {"api_key": True}))
            file.truncate()
        assert running(folder) == [here()]


def test_links_and_pipes_are_no_files_of_servers(folder, tmp_path):
    """A link is not followed, and a pipe not waited for."""
    outside = write(tmp_path / "elsewhere", here(), "1.json")
    folder.mkdir()
    (folder / "1.json").symlink_to(outside)
    os.mkfifo(folder / "2.json")
    assert running(folder) == []
    assert outside.exists()


def test_several_servers(folder, child):
    """The one started last comes first."""
    with announced(folder, here(started="2999-01-01T00:00:00+00:00")):
        assert [address.pid for address in running(folder)] == [os.getpid(), child.pid]
    assert [address.pid for address in running(folder)] == [child.pid]


def test_a_file_that_another_took(folder):
    """In containers two servers may have one number: the one that ends does not remove the file of the other."""
    with announced(folder, here()):
        with announced(folder, here(port=7002)):
            [path] = folder.iterdir()
            path.rename(folder / "aside")
            path.write_text("another's")
        assert path.read_text() == "another's"


def test_a_folder_that_cannot_be_written(folder, caplog):
    """The server runs all the same, after one warning."""
    folder.write_text("a file")
    with caplog.at_level(logging.WARNING), announced(folder, here()):
        assert running(folder) == []
    assert [record.getMessage().split()[0] for record in caplog.records] == ["server_address_not_written"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(folder, monkeypatch, number):
    """There the process itself is looked for, and the moment it began: 1 is a process, but not that server."""

    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with announced(folder, here()):
        write(folder, here(pid=2**22 + 5))
        write(folder, here(pid=1), "8.json")
        assert running(folder) == [here()]


def test_a_file_system_whose_locks_do_nothing(folder, monkeypatch):
    """A lock that is always granted does not make a running server stale."""
    monkeypatch.setattr(fcntl, "flock", lambda *_arguments: None)
    with announced(folder, here()):
        assert running(folder) == [here()]
