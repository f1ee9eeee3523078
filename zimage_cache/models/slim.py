"""A copy of a model whose transformer is stored in the precision it is drawn with: a start reads half the bytes.

Z-Image ships its transformer as float32, 24.6 GB, which every load casts to 12.3 GB of bfloat16. The copy holds those
12.3 GB; its other files are links to the source. A model's revision is always that of the source, never of the copy.
Casting tensor by tensor gives the same bits as the loader's own cast.

Imports torch, so this module is imported only by a load.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from zimage_cache.atomic import flush
from zimage_cache.i18n.messages import Message
from zimage_cache.models.progress import Meter, OnProgress, ignore_progress
from zimage_cache.models.store import INDEX, components, readable_files

_log = logging.getLogger(__name__)
_PART: Final = "transformer"
_SEAL: Final = "complete.json"  # written last: the source's revision, the precision, and the stamps of the files
_SPARE: Final = 2**30


def slim_copy(
    source: Path, place: Path, revision: str, precision: str, on_progress: OnProgress = ignore_progress
) -> Path:
    """Return the folder to load: the copy in *place*, made when missing, or *source* where no copy can be made.

    Blocks the first time while the transformer is read and written, later for milliseconds. Every written tensor is
    read back and compared before the copy is used.

    Args:
        source: The complete model.
        place: The copy's folder.
        revision: The source's revision: a copy made from another one is replaced.
        precision: torch's name of the precision: "bfloat16" or "float16".
        on_progress: Receives the bytes converted.
    """
    seal = {"revision": revision, "precision": precision}
    if _is_sealed(place, seal):
        return place
    try:
        shards = _shards(source)
        size = sum(path.stat().st_size for path in shards)
        if not shards or not _is_float32(shards[0]):
            return source
        place.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(place.parent).free < size // 2 + _SPARE:
            _log.warning("no %s copy of %s: the disk of %s is too full", precision, source, place)
            return source
        _make(source, place, shards, seal, Meter(Message("saving_copy", precision=precision), size, on_progress))
    except (OSError, SafetensorError) as error:
        _log.warning("no %s copy of %s: %s", precision, source, error)
        return source
    return place


def _shards(folder: Path) -> list[Path]:
    return [path for path in readable_files(folder / _PART) if path.suffix == ".safetensors"]


def _is_float32(path: Path) -> bool:
    with safe_open(path, framework="np") as file:
        return any(file.get_slice(name).get_dtype() == "F32" for name in file.keys())  # noqa: SIM118 - no mapping


def _is_sealed(place: Path, seal: Mapping[str, str]) -> bool:
    """Return whether *place* is a finished copy of this revision whose files have not changed since."""
    try:
        sealed = json.loads((place / _SEAL).read_bytes())
    except (OSError, ValueError):
        return False
    whole = all((place / name).exists() for name in (INDEX, _PART, "text_encoder", "vae"))  # the links' targets exist
    return whole and sealed == {**seal, "files": _stamps(place)}


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Return size and modification time of each weight file, to detect changed files."""
    stats = {path.name: path.stat() for path in _shards(folder)}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in stats.items()}


def _make(source: Path, place: Path, shards: list[Path], seal: Mapping[str, str], meter: Meter) -> None:
    """Build the copy beside *place*, verify it, and rename it to *place*.

    Raises:
        OSError: It cannot be written, or other bytes are read back than were written.
    """
    building = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        (building / _PART).mkdir(parents=True)
        shutil.copyfile(source / INDEX, building / INDEX)
        for name in components(source):
            if name != _PART:
                (building / name).symlink_to((source / name).resolve())
        for path in readable_files(source / _PART):
            if path.suffix == ".json":
                shutil.copyfile(path, building / _PART / path.name)
        for path in shards:
            _convert(path, building / _PART / path.name, getattr(torch, seal["precision"]))
            meter.add(path.stat().st_size)
        (building / _SEAL).write_text(json.dumps({**seal, "files": _stamps(building)}))
        shutil.rmtree(place, ignore_errors=True)
        building.rename(place)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _convert(path: Path, target: Path, dtype: torch.dtype) -> None:
    tensors: dict[str, Any] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            tensors[name] = file.get_tensor(name).to(dtype)
    save_file(tensors, target, metadata={"format": "pt"})
    flush(target)
    with safe_open(target, framework="pt") as file:
        if not all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items()):
            raise OSError(f"{target} reads back as something else than was written; check its disk")
