"""A hub's list of a model's files, kept beside the downloads so that copies can be verified offline."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from zimage_cache.atomic import write_atomically
from zimage_cache.models.hubs import HubFile

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
FOLDER: Final = ".zimage"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one download: the hub that offered them, and the folder that receives them."""

    source: str
    arriving: Path
    files: tuple[HubFile, ...]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)

    def covers(self, folder: Path) -> bool:
        """Return whether *folder* is the copy of this download: the same folder, or one whose links lead into it."""
        here, there = folder.resolve(), self.arriving.resolve()
        return here == there or here.parent.parent == there.parent


def manifest_path(repo_id: str, model_cache: Path) -> Path:
    """Return the file that keeps the manifest of *repo_id*."""
    return model_cache / FOLDER / f"{repo_id.replace('/', '--')}.json"


def write_manifest(repo_id: str, model_cache: Path, manifest: Manifest) -> None:
    """Write a manifest, replacing an older one by an atomic rename.

    Raises:
        OSError: It cannot be written.
    """
    path = manifest_path(repo_id, model_cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "source": manifest.source,
        "arriving": str(manifest.arriving),
        "files": [asdict(file) for file in manifest.files],
    }
    write_atomically(path, json.dumps(document, indent=1).encode())


def read_manifest(repo_id: str, model_cache: Path) -> Manifest | None:
    """Read what `write_manifest` kept; None when there is none, or it is no manifest."""
    try:
        document = json.loads(manifest_path(repo_id, model_cache).read_bytes())
        return Manifest(str(document["source"]), Path(document["arriving"]), hub_files(document["files"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def hub_files(entries: Iterable[Mapping[str, Any]]) -> tuple[HubFile, ...]:
    """Read a listing; a text that is no SHA-256 is read as no hash.

    Raises:
        LookupError, TypeError, ValueError: An entry has another form.
    """
    return tuple(
        HubFile(str(entry["path"]), int(entry["size"]), entry["sha256"] if _SHA256.fullmatch(entry["sha256"]) else "")
        for entry in entries
    )


def linked_hashes(folder: Path) -> tuple[HubFile, ...]:
    """Read sizes and hashes off a copy in Hugging Face's layout: its large files are links to blobs named by SHA-256.

    The size is that of the file on disk, so only the hash detects damage.
    """
    links = [path for path in sorted(folder.rglob("*")) if path.is_symlink() and path.exists()]
    return tuple(
        HubFile(path.relative_to(folder).as_posix(), path.stat().st_size, blob)
        for path in links
        if _SHA256.fullmatch(blob := path.resolve().name)
    )
