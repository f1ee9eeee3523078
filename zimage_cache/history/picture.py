"""One picture of the history, read from its own file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from zimage_cache.errors import InvalidRequest
from zimage_cache.history.files import Stamp, moment_of, open_plain
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.description import describe


@dataclass(frozen=True, slots=True)
class Picture:
    """The metadata of a file in `output_image/`.

    `id` is its number in the index (0 = not indexed yet), `name` the path below the folder, `made` seconds since 1970;
    `parameters` are the file's own metadata under the names of request fields, empty when it has none. `readable` is
    False for a file named like a PNG that is none: it is indexed, so that it is not read again, and never shown.
    """

    name: str
    stamp: Stamp
    made: int
    owner: str = ""
    width: int = 0
    height: int = 0
    key: str | None = None
    model: str | None = None
    parameters: dict[str, Any] | None = None
    readable: bool = False
    id: int = 0

    @classmethod
    def read(cls, folder: Path, name: str, stamp: Stamp, owner: str = "") -> Self:
        """Read the texts of a file; a file that is no PNG, or cannot be read, gives an unreadable picture."""
        unread = cls(name, stamp, moment_of(name, stamp), owner)
        try:
            with open_plain(folder / name) as opened:
                found = describe(opened)
        except (OSError, InvalidRequest):
            return unread
        if found.media_type is not MediaType.PNG:
            return unread
        return replace(
            unread,
            width=found.width,
            height=found.height,
            key=found.key,
            model=found.model,
            parameters=found.parameters,
            readable=True,
        )
