"""Models on disk: where a copy is, and whether it is complete. Writes nothing, and never uses the network."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from zimage_cache.errors import ModelCorrupt, ModelMissing
from zimage_cache.i18n.messages import Message
from zimage_cache.text_files import read_text

INDEX: Final = "model_index.json"
SLIM: Final = ".zimage/slim"  # folder of the 16-bit copies, below the folder models are downloaded into
PIPELINE: Final = "ZImagePipeline"
# What must lie in each component's folder: its settings, and for networks weights under this stem.
_SETTINGS: Final = MappingProxyType(
    {
        "scheduler": "scheduler_config.json",
        "text_encoder": "config.json",
        "tokenizer": "tokenizer_config.json",
        "transformer": "config.json",
        "vae": "config.json",
    }
)
_WEIGHTS: Final = MappingProxyType(
    {
        "text_encoder": "model",
        "transformer": "diffusion_pytorch_model",
        "vae": "diffusion_pytorch_model",
    }
)
_LIBRARIES: Final = frozenset({"diffusers", "transformers"})
# The kinds of files that the libraries read: settings, vocabularies, templates and weights; no pickles, no code.
READ_SUFFIXES: Final = (".safetensors", ".json", ".txt", ".model", ".jinja")
_TEMPLATES: Final = "additional_chat_templates"  # the one subfolder of a component that transformers looks into
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Where programs that load single files, such as ComfyUI, keep them: one kind of weights a folder.
_SPLIT: Final = tuple(
    f"{place}*{suffix}"
    for place in ("", "*/", "models/*/", "split_files/*/")
    for suffix in (".safetensors", ".gguf", ".ckpt")
)
_HEADER_BYTES: Final = 8


class Problem(StrEnum):
    """Kinds of problems with one file of a model."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    REFUSED = "refused"


def demo_folder() -> Path:
    """Return the folder of the embedded demo model: a complete `ZImagePipeline`, 12 MB, part of the package.

    The package is always installed unpacked (torch cannot load from a zip file), so its resources are plain files.
    """
    return Path(str(files("zimage_cache") / "generator" / "demo"))


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem with one file of a model; `detail` is a sentence with the remedy."""

    file: Path
    problem: Problem
    detail: str


class Damaged(ModelCorrupt):
    """A `ModelCorrupt` with the file that causes it, and the kind of problem."""

    def __init__(self, path: Path, problem: Problem, rule: str, /, **params: object) -> None:
        super().__init__(rule, **params)
        self.file_problem = FileProblem(path, problem, str(self))


def damaged(path: Path, problem: Problem, rule: str, /, **params: object) -> Damaged:
    """Return the error for one file: the template *rule* says what is wrong with it, the remedy is added."""
    return Damaged(path, problem, "model_damaged", what=Message(rule, file=path, **params))


def find_model(repo_id: str, roots: Iterable[Path]) -> Path:
    """Return the first complete copy of *repo_id* below *roots*, in either hub's layout; writes nothing.

    Raises:
        ModelMissing: There is no copy at all.
        ModelCorrupt: There are copies, none complete; says what the first one lacks.
    """
    first: ModelCorrupt | None = None
    searched = tuple(roots)
    for folder in copies(repo_id, searched):
        try:
            check_folder(folder)
        except ModelCorrupt as error:
            first = first or error
        else:
            return folder
    if first:
        raise first
    raise ModelMissing("model_missing", model=repo_id, places=searched)


def copies(repo_id: str, roots: Iterable[Path]) -> Iterator[Path]:
    """Yield every existing copy of *repo_id*, complete or not, in the order of search."""
    for root in roots:
        for pattern in _layouts(repo_id):
            for folder in _newest_first(root, pattern):
                if _is_folder(folder):
                    yield folder


def _is_folder(path: Path) -> bool:
    """Return whether *path* is a folder; a folder this user may not read counts as none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def check_folder(folder: Path) -> None:
    """Check that *folder* holds a complete pipeline; reads the small files and the headers of the weights.

    Raises:
        ModelMissing: There is no such folder.
        ModelCorrupt: Names the first file that is missing, unreadable, cut off, or not allowed, and the remedy.
    """
    try:
        if not folder.is_dir():
            raise ModelMissing("no_such_folder", folder=folder)
        for component in components(folder):
            for check in _checks(folder / component, component):
                check()
    except OSError as error:  # a folder this user may not enter
        raise unreadable(Path(error.filename or folder), error) from error


def file_problems(folder: Path) -> list[FileProblem]:
    """List every problem that `check_folder` would raise, file by file; empty when the folder is complete."""
    if not folder.is_dir():
        return [FileProblem(folder, Problem.MISSING, f"model: there is no folder {folder}")]
    try:
        names = components(folder)
    except Damaged as error:
        return [error.file_problem]
    except OSError as error:
        return [unreadable(Path(error.filename or folder), error).file_problem]
    found = []
    for check in [check for name in names for check in _checks(folder / name, name)]:
        try:
            check()
        except Damaged as error:
            found.append(error.file_problem)
        except OSError as error:
            found.append(unreadable(Path(error.filename or folder), error).file_problem)
    return list(dict.fromkeys(found))


def components(folder: Path) -> list[str]:
    """Read the folder's index and return the names of the pipeline's components, which are its subfolders.

    Raises:
        ModelCorrupt: The index is missing or unreadable, describes another kind of pipeline, or names code of its own.
    """
    if not (folder / INDEX).exists():
        raise _without_index(folder)
    index = _json(folder / INDEX)
    made_for = index.get("_class_name")
    if made_for != PIPELINE:
        index_file = folder / INDEX
        raise Damaged(index_file, Problem.REFUSED, "other_pipeline", file=index_file, kind=made_for, ours=PIPELINE)
    for name in _SETTINGS:
        source = index.get(name)
        if not isinstance(source, list) or not source or source[0] not in _LIBRARIES:
            known = tuple(sorted(_LIBRARIES))
            raise damaged(
                folder / INDEX, Problem.REFUSED, "foreign_component", part=name, source=repr(source), libraries=known
            )
    return list(_SETTINGS)


def _without_index(folder: Path) -> Damaged:
    """Return the error for a folder without an index: what it is instead of a model, or that the index is missing."""
    near = (folder.parent / INDEX, *folder.glob(f"*/{INDEX}"), *folder.glob(f"snapshots/*/{INDEX}"))
    if model := next((path.parent for path in near if path.is_file()), None):
        return Damaged(folder / INDEX, Problem.REFUSED, "model_beside", folder=folder, model=model)
    begun = any((folder / name).is_dir() for name in _SETTINGS if name != "vae")  # other programs too have a `vae`
    single = None if begun else next((path for place in _SPLIT for path in folder.glob(place)), None)
    if single:
        return Damaged(folder / INDEX, Problem.REFUSED, "single_files", folder=folder, file=single.relative_to(folder))
    return damaged(folder / INDEX, Problem.MISSING, "file_missing")


def content_files(folder: Path) -> list[Path]:
    """List the files that make up the model: its index, and what a loader can read of its components.

    Programs leave other files beside them: hidden ones, names with `:` (streams of Windows), lock files with a leading
    `~`, other kinds, subfolders. Of a subfolder only the weights that an index names and chat templates are read.

    Raises:
        ModelCorrupt: The folder's index, or that of a component's weights, is missing or unusable.
        OSError: A component's folder cannot be read.
    """
    files = {folder / INDEX}
    for name in components(folder):
        files.update(readable_files(folder / name))
        files.update(path for path in (folder / name / _TEMPLATES).glob("*.jinja") if _can_be_read(path))
        if stem := _WEIGHTS.get(name):
            files.update(path for path in _weights(folder / name, stem) if path.is_file())
    return sorted(files)


def readable_files(folder: Path) -> list[Path]:
    """List the files of one component's folder, without subfolders, that a loader can read.

    Raises:
        OSError: The folder cannot be read.
    """
    return sorted(filter(_can_be_read, folder.iterdir()))


def _can_be_read(path: Path) -> bool:
    foreign = path.name.startswith((".", "~")) or ":" in path.name
    return path.suffix.lower() in READ_SUFFIXES and not foreign and path.is_file()


def newer_than_here(folder: Path, installed: str) -> Message | None:
    """Return a message if *folder* was made with a later diffusers than the *installed* one, else None."""
    try:
        made_with = str(_json(folder / INDEX).get("_diffusers_version"))
        newer = _release(made_with) > _release(installed)
    except (ModelCorrupt, ValueError):
        return None
    return Message("made_by_newer", file=folder / INDEX, theirs=made_with, ours=installed) if newer else None


def _release(version: str) -> tuple[int, ...]:
    """Read major and minor; development versions count as the release they lead to."""
    return tuple(int(part) for part in version.split(".")[:2])


def _layouts(repo_id: str) -> tuple[str, ...]:
    """Return the places of a model below a root: ModelScope's layouts, newest first, then Hugging Face's.

    The default root of ModelScope's client was the folder `hub` below today's. Dots in names became `___` at some time.
    """
    owner, _, name = repo_id.partition("/")
    olds = dict.fromkeys((f"{owner}/{name.replace('.', '___')}", repo_id))
    flat = f"{owner}--{name}"
    return (
        *(f"{base}models/{flat}/snapshots/*" for base in ("", "hub/")),
        *(f"{base}{old}" for base in ("models/", "hub/models/", "hub/", "") for old in olds),
        *(f"{base}models--{flat}/snapshots/*" for base in ("hub/", "")),
    )


def _newest_first(root: Path, pattern: str) -> Iterable[Path]:
    """List the folders of a layout below *root*: the snapshot the branch points to first, then the newest first."""
    if not pattern.endswith("*"):
        return [root / pattern]
    snapshots = root / pattern[:-2]
    try:
        folders = [path for path in snapshots.iterdir() if not path.name.startswith(".") and _is_folder(path)]
        found = sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
    branch = _text(snapshots.parent / "refs" / "main") or "master"
    return sorted(found, key=lambda path: path.name != branch)


def _text(path: Path) -> str:
    try:
        return read_text(path).strip()
    except (OSError, ValueError):
        return ""


def _checks(folder: Path, name: str) -> Iterator[Callable[[], object]]:
    """Yield the checks of one component, each of which raises `Damaged` for one file."""
    yield partial(_json, folder / _SETTINGS[name])
    if name == "tokenizer":
        yield partial(_check_vocabulary, folder)
    if stem := _WEIGHTS.get(name):
        yield partial(_weights, folder, stem)
        with suppress(Damaged, OSError):
            yield from (partial(_check_tensors, path) for path in _weights(folder, stem))


def _check_vocabulary(folder: Path) -> None:
    if (folder / "tokenizer.json").is_file():
        _json(folder / "tokenizer.json")
    elif not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise damaged(folder / "tokenizer.json", Problem.MISSING, "file_missing")


def _weights(folder: Path, stem: str) -> list[Path]:
    """Return the weight files that are loaded: those listed by the index if there is one, else the single file.

    Where a folder has both, transformers (stem "model") loads the single file, and diffusers what the index lists.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if not index.exists() or (stem == "model" and single.is_file()):
        return [single]
    shards = _json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise damaged(index, Problem.CORRUPT, "file_without_weights")
    return [folder / str(name) for name in sorted(set(map(str, shards.values())))]


def _check_tensors(path: Path) -> None:
    """Open one weight file: its header must be valid and account for every byte of the file."""
    if not path.exists():
        if pickles := [p.name for kind in _PICKLES for p in path.parent.glob(kind)]:
            place, pickle = path.parent, pickles[0]
            raise Damaged(path, Problem.REFUSED, "pickle_refused", folder=place, pickle=pickle, file=path.name)
        raise damaged(path, Problem.MISSING, "file_missing")
    try:
        with safe_open(path, framework="np"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise _broken(path) from error


def _broken(path: Path) -> Damaged:
    """Return the error for a weight file that cannot be opened: shorter than its header states, or damaged."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_BYTES), "little")
            header = json.loads(file.read(min(length, size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = _HEADER_BYTES + length + max(ends, default=0)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return damaged(path, Problem.CORRUPT, "file_cut_or_damaged")
    if size < expected:
        return damaged(path, Problem.TRUNCATED, "file_cut", size=size, all=expected)
    return damaged(path, Problem.CORRUPT, "file_damaged")


def unreadable(path: Path, error: OSError) -> Damaged:
    """Return the error for a file that the system refuses to read; fetching it again would not help."""
    reason = error.strerror or error
    return Damaged(path, Problem.UNREADABLE, "file_refused_by_system", file=path, error=reason)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except FileNotFoundError:
        raise damaged(path, Problem.MISSING, "file_missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise damaged(path, Problem.CORRUPT, "file_unreadable", error=error) from error
    if not isinstance(document, dict):
        raise damaged(path, Problem.CORRUPT, "file_not_object")
    if json.detect_encoding(content) != "utf-8":
        raise damaged(path, Problem.CORRUPT, "file_not_plain_utf8")  # the libraries that load it read nothing else
    return document
