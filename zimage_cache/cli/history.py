"""`zimage history …`: the pictures in `output_image/`; on the folder itself, with or without a running server."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click
from rich.progress import track

from zimage_cache.cli.options import IntegerRange, Moment
from zimage_cache.cli.output import as_json_option, counted, legible, print_answer, shortened
from zimage_cache.errors import UsageError
from zimage_cache.settings import Settings

if TYPE_CHECKING:
    from zimage_cache.history import History, Picture

_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_limit = click.option("--limit", type=IntegerRange(1), default=50, show_default=True, help="Most pictures to print.")


@as_json_option
@_limit
def list_pictures(settings: Settings, *, limit: int, as_json: bool) -> None:
    """List the pictures, newest first."""
    _search(settings, "", limit, as_json=as_json)


@as_json_option
@_limit
@click.argument("text", metavar="TEXT", nargs=-1, required=True, help="What to look for; all of it must be found.")
def search(settings: Settings, text: Sequence[str], *, limit: int, as_json: bool) -> None:
    """Find pictures by words of the prompt, seed:42, size:1024x768, model:NAME, key:KEY or is:starred, newest first."""
    _search(settings, " ".join(text), limit, as_json=as_json)


@as_json_option
@click.option("--before", type=Moment(), required=True, help="Move pictures made before; local time.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to move them to; nothing in it is overwritten.",
)
def archive(settings: Settings, *, before: datetime, to: Path, as_json: bool) -> None:
    """Move old pictures out of the history into another folder."""
    history = _history(settings)
    moved = []
    for picture in _with_bar(list(history.every(before.astimezone())), "moving", as_json=as_json):
        target = history.archive(picture, to.absolute())
        moved.append({**_document(picture, settings), "moved_to": str(target)})
    print_answer({"archived": moved}, f"moved {counted(len(moved))} to {to}", as_json=as_json)


@as_json_option
@_yes
@click.argument(
    "ids", metavar="ID...", nargs=-1, required=True, type=IntegerRange(1, 2**63 - 1), help="Numbers of pictures."
)
def delete(settings: Settings, ids: Sequence[int], *, yes: bool, as_json: bool) -> None:
    """Delete pictures by the numbers that `list` prints: their files, too. The cache is not touched."""
    history = _history(settings)
    found = {id_: history.get(id_) for id_ in ids}
    missing = [str(id_) for id_, picture in found.items() if picture is None]
    if missing:
        raise UsageError(f"ID: no picture has the number {', '.join(missing)}; see `zimage history list`")
    _delete(settings, history, [picture for picture in found.values() if picture], yes=yes, as_json=as_json)


@as_json_option
@_yes
def clear(settings: Settings, *, yes: bool, as_json: bool) -> None:
    """Delete all pictures in output_image/. Other files there, and the cache, are not touched."""
    history = _history(settings)
    _delete(settings, history, list(history.every()), yes=yes, as_json=as_json)


COMMANDS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {"list": list_pictures, "search": search, "archive": archive, "delete": delete, "clear": clear}
)


def _history(settings: Settings) -> "History":
    """Return the history, with its index brought up to date with the files."""
    from zimage_cache.compose import make_history  # noqa: PLC0415 - brings numpy, which `--help` can do without

    history = make_history(settings)
    history.reconcile()
    return history


def _search(settings: Settings, query: str, limit: int, *, as_json: bool) -> None:
    from zimage_cache.cache.store import Store  # noqa: PLC0415 - likewise

    page = _history(settings).page(query, limit=limit, starred=Store(settings.cache_folder).pinned_keys)
    if as_json:
        documents = [_document(picture, settings) for picture in page.pictures]
        print_answer({"pictures": documents, "more": page.cursor is not None}, "", as_json=True)
        return
    for picture in page.pictures:
        click.echo(_line(picture))
    if page.cursor is not None:
        click.echo(f"and older ones; --limit prints more than {limit}", err=True)


def _delete(settings: Settings, history: "History", pictures: Sequence["Picture"], *, yes: bool, as_json: bool) -> None:
    if pictures and not yes:
        if not _is_terminal():
            raise UsageError("--yes: is needed to delete pictures without a terminal to ask for confirmation")
        click.confirm(f"Delete {counted(len(pictures))} from {settings.output_folder}?", abort=True, err=True)
    for picture in _with_bar(pictures, "deleting", as_json=as_json):
        history.delete(picture)
    documents = [_document(picture, settings) for picture in pictures]
    print_answer({"deleted": documents}, f"deleted {counted(len(pictures))}", as_json=as_json)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _with_bar(pictures: Sequence["Picture"], doing: str, *, as_json: bool) -> Iterable["Picture"]:
    return track(pictures, doing, disable=as_json or not sys.stdout.isatty(), transient=True)


def _document(picture: "Picture", settings: Settings) -> dict[str, Any]:
    return {
        "id": picture.id,
        "file": str(settings.output_folder / picture.name),
        "made": datetime.fromtimestamp(picture.made, UTC).isoformat(),
        "bytes": picture.stamp.size,
        "width": picture.width,
        "height": picture.height,
        "key": picture.key,
        "model": picture.model,
        "parameters": picture.parameters or {},
    }


def _line(picture: "Picture") -> str:
    """Return one line about one picture; control characters of its prompt are replaced."""
    parameters = picture.parameters or {}
    prompt = shortened(str(parameters.get("prompt") or ""))
    made = datetime.fromtimestamp(picture.made).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    size, seed = f"{picture.width}x{picture.height}", parameters.get("seed", "-")
    return f"{picture.id:>6}  {made}  {size:>9}  seed {seed!s:<10}  {legible(picture.name)}  {prompt}"
