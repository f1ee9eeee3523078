"""One picture of the history, and how it is read from its own file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from zimage_cache.errors import InvalidRequest
from zimage_cache.history.files import Stamp, moment_of, open_plain
from zimage_cache.metadata import png
from zimage_cache.request import ImageRequest

_FIELDS = frozenset(ImageRequest.model_fields) | {"model"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a file in `output_image/`.

    `id` is the index's (0 = not in it yet), `name` the path below the folder, `made` seconds since 1970; `parameters`
    are the file's own claims under our request's names, empty when it makes none. `readable` is False for what bears
    the name of a PNG and is none: it is remembered, so as not to be read again, and never shown.
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
        """Read the head of a file, no more; a file that is no PNG, or cannot be read, gives an unreadable one."""
        unread = cls(name, stamp, moment_of(name, stamp), owner)
        try:
            with open_plain(folder / name) as opened:
                found = png.describe(opened)
        except (OSError, InvalidRequest):
            return unread
        return replace(
            unread,
            width=found.width,
            height=found.height,
            key=found.key,
            model=found.model,
            parameters=known_fields(found.parameters),
            readable=True,
        )


def known_fields(claims: dict[str, Any]) -> dict[str, Any]:
    """Keep what our requests have a field for."""
    return {name: value for name, value in claims.items() if name in _FIELDS}
