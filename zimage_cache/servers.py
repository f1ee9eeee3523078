"""Addresses of running servers: one file `<pid>.json` a server, which it keeps locked while it runs.

A lock ends with its process, however that ends. So a file without a lock is stale, whatever process has its number
now, and a file that another container of the machine has locked is not.
"""

import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zimage_cache.atomic import unfinished

_log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"\d{1,10}\.json", re.ASCII)
_MOST_BYTES: Final = 2**16
_CLOSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server is.

    Args:
        url: Where this machine reaches it, such as http://127.0.0.1:7860.
        host: The address it listens on.
        port: The port it listens on.
        root_path: Path under which a proxy shows it; requests to `url` do not need it.
        pid: Its process.
        started: When the process began, RFC 3339.
        version: Of this program.
    """

    url: str
    host: str
    port: int
    root_path: str
    pid: int
    started: str
    version: str


def address_of_this_process(host: str, port: int, *, root_path: str = "", version: str) -> ServerAddress:
    """Describe the server that this process runs on *host* and *port*."""
    pid = os.getpid()
    began = _began(pid) or time.time()
    return ServerAddress(
        url=local_url(host, port),
        host=host,
        port=port,
        root_path=root_path,
        pid=pid,
        started=datetime.fromtimestamp(began, UTC).isoformat(),
        version=version,
    )


def local_url(host: str, port: int) -> str:
    """Return the address at which this machine reaches a server that listens on *host* and *port*."""
    return f"http://{_reachable(host)}:{port}"


@contextlib.contextmanager
def announced(folder: Path, address: ServerAddress) -> Iterator[None]:
    """Keep the address of this process in *folder*; where it cannot be written, that is one warning."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked_file(folder, address))
        except OSError as error:
            _log.warning(
                "server_address_not_written folder=%s error=%s; commands find this server by --url or --port alone",
                folder,
                error,
            )
        yield


def running(folder: Path) -> list[ServerAddress]:
    """Return the addresses of the servers that run, the one started last first; files of others are removed."""
    try:
        files = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
    found = filter(None, map(_address_in, files))
    return sorted(found, key=lambda address: address.started, reverse=True)


@contextlib.contextmanager
def _locked_file(folder: Path, address: ServerAddress) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    running(folder)  # which removes what servers that were killed have left
    path = folder / f"{address.pid}.json"
    with unfinished(folder) as part, part.open("xb") as file:
        # Before the rename, so that no reader finds the file without its lock.
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(json.dumps(asdict(address), indent=2).encode())
        file.flush()
        part.replace(path)
        try:
            yield
        finally:
            _remove(path, file.fileno())


def _address_in(path: Path) -> ServerAddress | None:
    """Read a file of a running server; a stale one is removed, and gives None, as one that cannot be read."""
    try:
        with open(path, "rb", opener=_opened_now) as file:
            address = _parsed(file.read(_MOST_BYTES))
            if _is_locked(file.fileno()) or (address and _runs(address)):
                return address
            _remove(path, file.fileno())
    except OSError:
        pass
    return None


def _opened_now(path: str, _flags: int) -> int:
    """Open a regular file for reading: no link is followed, and no pipe's writer waited for."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _parsed(content: bytes) -> ServerAddress | None:
    """Read an address; fields that a later version added are left out.

    Commands send their password there, and others may be able to write the file: no other machine is believed in.
    """
    try:
        document = json.loads(content)
        address = ServerAddress(**{field.name: document[field.name] for field in fields(ServerAddress)})
        datetime.fromisoformat(address.started)
        is_own = address.url == local_url(address.host, address.port) and _is_of_this_machine(address.host)
        has_numbers = isinstance(document["pid"], int) and isinstance(document["port"], int)
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    return address if is_own and has_numbers else None


def _is_of_this_machine(host: str) -> bool:
    """Whether *host* is an address that a server on this machine can listen on.

    Raises:
        ValueError: It is a name.
    """
    version = ipaddress.ip_address(host).version
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:  # noqa: PLR2004
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False


def _runs(address: ServerAddress) -> bool:
    """Whether the process itself runs, not another one with its number: what there is to go by without locks."""
    began = _began(address.pid)
    return began is not None and abs(began - datetime.fromisoformat(address.started).timestamp()) < _CLOSE_SECONDS


def _began(pid: int) -> float | None:
    """Return when a process began, in seconds since 1970; None where it is gone, or the system has no `/proc`."""
    try:
        # The start is field 22 of `man 5 proc`, counted after field 2, a name in brackets that may hold anything.
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
        boot = re.search(rb"^btime (\d+)$", Path("/proc/stat").read_bytes(), re.MULTILINE)
    except (OSError, IndexError):
        return None
    return int(boot[1]) + int(ticks) / os.sysconf("SC_CLK_TCK") if boot else None


def _remove(path: Path, descriptor: int) -> None:
    """Remove a file, unless another one has taken its name."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == os.fstat(descriptor).st_ino:
            path.unlink()


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a server listening on *host*, as written in URLs."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"  # noqa: PLR2004 - the 4 of IPv4
    return f"[{address}]" if address.version == 6 else host  # noqa: PLR2004 - the 6 of IPv6
