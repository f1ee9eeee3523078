"""Refuses `flock`, as file systems without it do; here, and in other processes by a `sitecustomize` of theirs."""

import errno
import fcntl
import os
from pathlib import Path

ANSWERS = ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EPERM")
_SITE = """
import errno, fcntl, os
allowed = fcntl.flock
def flock(file, operation):
    path = os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
    if path.startswith(%r):
        raise OSError(errno.%s, os.strerror(errno.%s))
    return allowed(file, operation)
fcntl.flock = flock
"""


def refuse(monkeypatch, answer: str = "ENOLCK") -> None:
    """Have every `flock` of this process refused."""
    number = getattr(errno, answer)

    def flock(_file: object, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def environment(site: Path, below: Path, answer: str = "ENOLCK") -> dict[str, str]:
    """Return the environment of a process that is refused `flock` on files *below* a folder.

    Args:
        site: An empty folder for its `sitecustomize`.
        below: The folder, without links in its path.
        answer: What the system says.
    """
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE % (f"{below}/", answer, answer))
    paths = [str(site), str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
