"""Picture files that commands write: the name decides the format, and what cannot be written is refused beforehand."""

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zimage_cache.atomic import unfinished, write, write_atomically
from zimage_cache.errors import SettingsError, UsageError
from zimage_cache.full_width import half_width

if TYPE_CHECKING:
    from zimage_cache.metadata.container import MediaType

_STDOUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Target:
    """Where pictures are written, and in which format; `path` None = one to standard output."""

    path: Path | None
    media_type: "MediaType"

    def require(self, pictures: int) -> None:
        """Check that so many pictures can be written.

        Raises:
            SettingsError: They cannot; names the file and the reason.
            UsageError: Standard output is a terminal, or has no room for several.
        """
        if self.path is None:
            _require_stream(pictures)
        for file in self._files(pictures):
            _require_writable(file)

    def write(self, pngs: Sequence[bytes]) -> list[str]:
        """Write pictures; returns the names of their files, none for standard output.

        Raises:
            SettingsError: A file cannot be written.
        """
        from zimage_cache.metadata.encodings import encoded  # noqa: PLC0415 - brings Pillow

        pictures = [encoded(png, self.media_type) for png in pngs]
        if self.path is None:
            stdout = sys.stdout.buffer
            stdout.write(b"".join(pictures))
            stdout.flush()
            return []
        files = self._files(len(pictures))
        for file, picture in zip(files, pictures, strict=True):
            try:
                _write_whole(file, picture)
            except OSError as error:
                raise _unwritable(file, error) from None
        return [str(file.absolute()) for file in files]

    def _files(self, pictures: int) -> list[Path]:
        """Name one picture as asked, several NAME_1, NAME_2 and so on."""
        if self.path is None:
            return []
        numbers = range(1, pictures + 1)
        return [self.path.with_stem(f"{self.path.stem}_{n}") for n in numbers] if pictures > 1 else [self.path]


class OutputFile(click.ParamType[Any, Any]):
    """The name of a picture file; `-` is standard output."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a `Target`, or fail with click's own error: status 2."""
        from zimage_cache.metadata.container import MediaType  # noqa: PLC0415 - brings Pillow
        from zimage_cache.metadata.encodings import SUFFIXES  # noqa: PLC0415 - likewise

        if isinstance(value, Target):
            return value
        if value == _STDOUT:
            return Target(None, MediaType.PNG)
        path = Path(value)
        if not path.name or value.endswith(os.sep) or path.is_dir():
            self.fail(f"{value!r} is a folder; name a file in it, such as {path / 'result.png'}", param, ctx)
        if path.suffix and path.suffix.lower() not in SUFFIXES and not _is_special(path):
            known = ", ".join(SUFFIXES)
            self.fail(f"{value!r} ends in {path.suffix}; pictures are written as {known}, or - for a PNG", param, ctx)
        # A full-width point counts as well.
        return Target(path, SUFFIXES.get(Path(half_width(path.name)).suffix.lower(), MediaType.PNG))


def _require_stream(pictures: int) -> None:
    if pictures > 1:
        raise UsageError("--output -: standard output has room for one picture; name a file for several")
    if sys.stdout.isatty():
        raise UsageError("--output -: a terminal shows no PNG; send it to a file or to a program, or name a file")


def _require_writable(file: Path) -> None:
    if file.is_dir():
        raise SettingsError(f"--output: {file} cannot be written: it is a folder; choose another")
    try:
        if not _is_special(file):
            with unfinished(file.parent) as probe:
                write(probe, b"", durable=False)
        elif not os.access(file, os.W_OK):
            raise SettingsError(f"--output: {file} cannot be written: Permission denied; choose another")
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--output: {file} cannot be written: {error.strerror}; choose another")


def _is_special(file: Path) -> bool:
    """Whether it is a pipe, a device, a socket, or a name of an open file such as /dev/stdout."""
    if str(file.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_whole(file: Path, picture: bytes) -> None:
    """Write a picture by an atomic rename; a pipe or a device, which cannot be replaced, is written into."""
    if _is_special(file):
        file.write_bytes(picture)
        return
    write_atomically(file, picture)
