"""`zimage model …`: list, download, verify, repair and remove the weights on disk; load and unload them in a server."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from zimage_cache.cli.client import Client
from zimage_cache.cli.output import as_json_option, print_answer, print_json
from zimage_cache.cli.reached import answering, places, tell
from zimage_cache.errors import CommandError, GeneratorError, ModelCorrupt, ModelMissing, ServerError, SettingsError
from zimage_cache.i18n.messages import Message
from zimage_cache.models.download import Downloader
from zimage_cache.models.hubs import HubFile, bytes_below
from zimage_cache.models.manifest import linked_hashes, manifest_path, read_manifest
from zimage_cache.models.progress import ByteProgress, OnProgress
from zimage_cache.models.store import SLIM, FileProblem, copies, find_model
from zimage_cache.models.verify import verify
from zimage_cache.settings import Settings

if TYPE_CHECKING:
    from zimage_cache.models.profiles import ModelChoice

_GB: Final = 10**9
_POLL_SECONDS: Final = 0.5
_url = click.option("--url", help="Server to tell; default: this machine's.")
_name = click.argument("name", metavar="[MODEL]", required=False, help="turbo, base, a folder, or a repository id.")


@dataclass(frozen=True, slots=True)
class _Copy:
    """One model on this disk; `state` is "complete", "incomplete" or "missing", `detail` names what is wrong."""

    name: str
    repo_id: str | None
    state: str
    folder: Path | None = None
    bytes: int = 0
    detail: str = ""

    def document(self) -> dict[str, Any]:
        folder = None if self.folder is None else str(self.folder)
        return {
            "name": self.name,
            "repo_id": self.repo_id,
            "state": self.state,
            "folder": folder,
            "bytes": self.bytes,
            "detail": self.detail,
        }


@as_json_option
def list_models(settings: Settings, *, as_json: bool) -> None:
    """List the known models: where each lies, how large it is, and whether it is complete."""
    from zimage_cache.models.profiles import KNOWN  # noqa: PLC0415 - brings numpy, which `--help` can do without

    names = dict.fromkeys([*KNOWN, *([settings.model] if settings.model else [])])
    found = [_look(name, settings) for name in names]
    if as_json:
        print_json({"models": [each.document() for each in found]})
        return
    width = max(len(each.name) for each in found)
    for each in found:
        size = f"{each.bytes / _GB:6.1f} GB" if each.bytes else " " * 9
        click.echo(f"{each.name:<{width}}  {each.state:<10}  {size}  {each.folder or each.repo_id}")
        if each.state == "incomplete":
            click.echo(f"{'':<{width}}  {each.detail}")


@as_json_option
@_name
def download(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Fetch a model (default: turbo), ModelScope first, then Hugging Face; goes on where an earlier attempt ended.

    A complete copy that lies anywhere on this disk is used as it is: nothing is fetched.
    """
    choice = _choice(name, settings)
    repo_id = choice.repo_id
    try:
        folder = choice.locate(_roots(settings))
    except GeneratorError:
        if repo_id is None:
            raise
        if settings.offline:
            raise SettingsError(f"--offline: forbids fetching {repo_id}; start without it") from None
        with _progress() as on_progress:
            folder = _downloader(settings, on_progress).download(repo_id)
    print_answer(
        {"folder": str(folder), "bytes": _size(folder)}, f"{folder}  {_size(folder) / _GB:.1f} GB", as_json=as_json
    )


@as_json_option
@click.option("--repair", is_flag=True, help="Fetch what is missing or damaged again, and only that.")
@_name
def verify_model(settings: Settings, name: str | None, *, repair: bool, as_json: bool) -> None:
    """Compare a model on disk (default: turbo) with its indexes and its hub's sizes and hashes; one line a finding.

    Status 0 when clean (also after a repair), 1 when not. Hashes come from the download, or are asked of the hubs;
    with --offline only what is known here counts.
    """
    choice = _choice(name, settings)
    folder = choice.folder or _any_copy(choice, settings)
    with _progress() as on_progress:
        downloader = _downloader(settings, on_progress)
        offered, known_from = _offered(choice, folder, settings, downloader)
        found = verify(folder, offered, on_progress)
        repaired: list[FileProblem] = []
        if found and repair:
            _repair(choice, folder, found, downloader, settings)
            repaired, found = found, verify(folder, offered, on_progress)
    document = {
        "folder": str(folder),
        "compared_with": known_from,
        "findings": [_finding(finding, folder) for finding in found],
        "repaired": [_finding(finding, folder) for finding in repaired],
    }
    lines = [f"repaired  {finding.file}" for finding in repaired]
    lines += [f"{finding.problem:<10}  {finding.detail}" for finding in found]
    clean = f"{folder}: complete, compared with {known_from}"
    print_answer(document, "\n".join([*lines, *([] if found else [clean])]), as_json=as_json)
    if found:
        sys.exit(1)


@as_json_option
@_name
def path(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Print the folder of a model's complete copy (default: turbo)."""
    folder = _choice(name, settings).locate(_roots(settings))
    print_answer({"folder": str(folder)}, str(folder), as_json=as_json)


@as_json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("name", metavar="MODEL", help="turbo, base, or a repository id.")
def remove(settings: Settings, name: str, *, yes: bool, as_json: bool) -> None:
    """Delete the copies of a model from the folder this program downloads into; other folders are left alone."""
    repo_id = _choice(name, settings).repo_id
    if repo_id is None:
        raise SettingsError(f"model: {name} is a folder this program did not fetch; delete it by hand if you mean to")
    folders = [_whole_of(folder) for folder in copies(repo_id, [settings.model_folder])]
    folders += (settings.model_folder / SLIM).glob(f"{repo_id.replace('/', '--')}-*")
    folders = list(dict.fromkeys(folder for folder in folders if folder.exists()))
    freed = sum(map(bytes_below, folders))
    if not folders:
        raise CommandError(f"model: {repo_id} does not lie below {settings.model_folder}; nothing to remove")
    if not yes:
        click.confirm(f"Delete {', '.join(map(str, folders))} ({freed / _GB:.1f} GB)?", abort=True)
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise CommandError(f"model: {error.filename} cannot be deleted: {error.strerror}") from error
    manifest_path(repo_id, settings.model_folder).unlink(missing_ok=True)
    words = f"removed {', '.join(map(str, folders))}: {freed / _GB:.1f} GB"
    print_answer({"removed": [str(folder) for folder in folders], "bytes": freed}, words, as_json=as_json)


@as_json_option
@_url
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is in memory.")
@click.argument("name", metavar="MODEL", help="A name the server offers.")
def load(settings: Settings, name: str, *, url: str | None, wait: bool, as_json: bool) -> None:
    """Tell a running server to bring a model into memory, fetching it first if need be."""
    with _client(settings, url) as client, _progress() as on_progress:
        state = client.order(name, "load")
        while wait and state["status"] == "loading":
            phase, share = Message("as_said", text=state["phase"]), state["share"] or 0
            on_progress(ByteProgress(phase, round(1000 * share), 1000 if share else 0))
            time.sleep(_POLL_SECONDS)
            state = next(each for each in client.models() if each["name"] == name)
    if state["status"] == "error":
        raise ServerError(state["detail"])
    print_answer(state, f"{name}: {state['status']}", as_json=as_json)


@as_json_option
@_url
@click.argument("name", metavar="MODEL", help="A name the server offers.")
def unload(settings: Settings, name: str, *, url: str | None, as_json: bool) -> None:
    """Tell a running server to free a model's memory; the next picture wakes it."""
    with _client(settings, url) as client:
        state = client.order(name, "unload")
    print_answer(state, f"{name}: {state['status']}", as_json=as_json)


COMMANDS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "list": list_models,
        "download": download,
        "verify": verify_model,
        "path": path,
        "remove": remove,
        "load": load,
        "unload": unload,
    }
)


def _choice(name: str | None, settings: Settings) -> "ModelChoice":
    from zimage_cache.models.profiles import model_choice  # noqa: PLC0415 - brings numpy

    return model_choice(name or settings.model or "turbo")


def _client(settings: Settings, url: str | None) -> Client:
    """Return a client of the server to tell; where several run on the workspace, say which."""
    offered = places(settings, url)
    found = answering(settings, url) if len(offered) > 1 else None
    if found is None:
        return offered[0].client(settings)
    if sum(place.of_workspace for place in offered) > 1:
        tell(f"several servers run on this workspace; telling the one at {found[0].url}, others are named with --url")
    return found[0]


def _roots(settings: Settings) -> tuple[Path, ...]:
    from zimage_cache import compose  # noqa: PLC0415 - after the environment is set, and only when a command runs

    return compose.model_roots(settings)


def _downloader(settings: Settings, on_progress: OnProgress) -> Downloader:
    from zimage_cache import compose  # noqa: PLC0415 - likewise

    return compose.make_downloader(settings, on_progress)


def _look(name: str, settings: Settings) -> _Copy:
    choice = _choice(name, settings)
    try:
        folder = choice.locate(_roots(settings))
    except ModelMissing as error:
        return _Copy(name, choice.repo_id, "missing", detail=str(error))
    except ModelCorrupt as error:
        broken = choice.folder or _any_copy(choice, settings)
        return _Copy(name, choice.repo_id, "incomplete", broken, _size(broken), str(error))
    return _Copy(name, choice.repo_id, "complete", folder, _size(folder))


def _any_copy(choice: "ModelChoice", settings: Settings) -> Path:
    """Return the complete copy if there is one, else the first that is not."""
    roots = _roots(settings)
    try:
        return find_model(choice.identity, roots)
    except ModelCorrupt:
        return next(copies(choice.identity, roots))


def _offered(
    choice: "ModelChoice", folder: Path, settings: Settings, downloader: Downloader
) -> tuple[tuple[HubFile, ...], str]:
    """Return the files the copy should consist of, and where that list comes from; local sources are tried first."""
    if choice.repo_id is None:
        return (), "its own indexes"
    manifest = read_manifest(choice.repo_id, settings.model_folder)
    if manifest and manifest.covers(folder):
        return manifest.files, f"the manifest of its download from {manifest.source}"
    if listed := () if settings.offline else downloader.listing(choice.repo_id):
        return listed, "what the hub lists"
    if linked := linked_hashes(folder):
        return linked, "its own indexes and the names of its blobs"
    return (), "its own indexes"


def _repair(
    choice: "ModelChoice", folder: Path, found: list[FileProblem], downloader: Downloader, settings: Settings
) -> None:
    if choice.repo_id is None:
        raise CommandError(f"model: {folder} was not fetched from a hub, so none can repair it; replace it by hand")
    if settings.offline:
        raise SettingsError("--offline: forbids fetching what is damaged; repair without it")
    downloader.repair(choice.repo_id, folder, found)


def _whole_of(folder: Path) -> Path:
    """Return the folder to delete with a copy: in layouts with snapshots, the folder that holds the snapshots."""
    return folder.parents[1] if folder.parent.name == "snapshots" else folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _finding(finding: FileProblem, folder: Path) -> dict[str, str]:
    file = finding.file.relative_to(folder) if finding.file.is_relative_to(folder) else finding.file
    return {"file": file.as_posix(), "problem": str(finding.problem), "detail": finding.detail}


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show a progress bar on standard error where that is a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_progress(progress: ByteProgress) -> None:
            phase = str(progress.phase)
            if bar.tasks[0].description != phase:
                bar.reset(task, description=phase)
            bar.update(task, completed=progress.done, total=progress.total or None)

        yield on_progress
