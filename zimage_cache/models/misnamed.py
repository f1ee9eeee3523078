"""What a value of `--model` is that names no model: an address, a single file, a path of Windows. Asks no network."""

import re
from pathlib import Path, PureWindowsPath
from typing import Final
from urllib.parse import unquote, urlsplit

from zimage_cache.models.store import INDEX

# Both hubs' rule for repository ids.
REPO_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*+/[\w.-]*\w", re.ASCII)
_FILES: Final = frozenset(
    {".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".pkl", ".onnx", ".json", ".zip", ".tar", ".7z"}
)
_WHOLE: Final = (
    "the folder of a whole model as diffusers saves it (model_index.json beside transformer, text_encoder, tokenizer, "
    "vae and scheduler), a repository id such as Tongyi-MAI/Z-Image-Turbo, or turbo"
)
_HOST: Final = re.compile(r"[\w-]++\.[\w.-]++/[^/]++/", re.ASCII)
_HUBS: Final = re.compile(r"(?:^|[.-])(?:hf|huggingface|modelscope)[.-]", re.ASCII | re.IGNORECASE)
_SCHEMES_OF_HUBS: Final = frozenset({"hf", "huggingface", "ms", "modelscope"})
_PARTS_OF_APIS: Final = frozenset({"api", "v1", "models"})
_OTHER_PAGES: Final = frozenset({"spaces", "studios", "datasets", "collections"})
_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]|.*\\", re.ASCII | re.DOTALL)
_LONGEST: Final = 200


def what_it_is(name: str) -> str | None:
    """Return a sentence that says what *name* is and what to name instead; None when it may name a model."""
    name = name.strip()
    if address := _address(name):
        return _of_address(*address)
    if Path(name.replace("\\", "/")).suffix.lower() in _FILES or _is_file(name):
        return _of_file(name)
    return _of_windows(name) if _WINDOWS.match(name) else None


def _address(name: str) -> tuple[str, str, str] | None:
    """Return scheme, host and path of an address, without passwords and tokens; None for anything else."""
    if name.startswith("git@"):
        name = "ssh://" + name.replace(":", "/", 1)
    elif _HOST.match(name):
        name = "https://" + name
    if "://" not in name:
        return None
    try:
        parts = urlsplit(name)
    except ValueError:
        return "", "", ""
    return parts.scheme, parts.netloc.rpartition("@")[2], parts.path


def _of_address(scheme: str, host: str, path: str) -> str:
    shown = f"{scheme}://{host}{path}"[:_LONGEST]
    if scheme == "file":
        return f"{shown!r} is an address; name the path: {unquote(path)}"
    repo_id = _repository(scheme, host, path)
    if Path(path).suffix.lower() in _FILES:
        of = f" of {repo_id}" if repo_id else ""
        return f"{shown!r} is the address of a single file{of}, which cannot be loaded; name {_WHOLE}"
    if repo_id:
        return f"{shown!r} is an address; name its repository id: --model {repo_id}"
    return f"{shown!r} is an address; name a repository id such as Tongyi-MAI/Z-Image-Turbo"


def _repository(scheme: str, host: str, path: str) -> str | None:
    """Read the repository id out of the address of a hub's page, file or interface; other sites have no such ids."""
    if scheme not in _SCHEMES_OF_HUBS and not _HUBS.search(host):
        return None
    words = [word for word in f"{host if scheme in _SCHEMES_OF_HUBS else ''}/{path}".split("/") if word]
    while words and words[0] in _PARTS_OF_APIS:
        words = words[1:]
    repo_id = "/".join(words[:2]).removesuffix(".git")
    return repo_id if REPO_ID.fullmatch(repo_id) and words[0] not in _OTHER_PAGES else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long, not to be looked at, no such user, a null byte
        return False


def _of_file(name: str) -> str:
    try:
        folders = Path(name).expanduser().absolute().parents
        whole = next((folder for folder in folders if (folder / INDEX).is_file()), None)
    except (OSError, RuntimeError, ValueError):
        whole = None
    if whole:
        return f"{name[:_LONGEST]!r} is a single file of a model; name the model's folder: --model {whole}"
    return f"{name[:_LONGEST]!r} is a single file, which cannot be loaded; name {_WHOLE}"


def _of_windows(name: str) -> str:
    """Name the same folder as WSL does: drives are below /mnt, and the share `wsl$` has its own root."""
    path = PureWindowsPath(name)
    below = "/".join(part for part in path.parts if part != path.anchor)
    drive = path.drive.rstrip(":").lower()
    if len(drive) == 1:
        below = f"/mnt/{drive}/{below}"
    elif drive.startswith("\\\\wsl"):
        below = f"/{below}"
    elif drive:
        return f"{name[:_LONGEST]!r} is a path of Windows; mount that share, and name the folder it is mounted on"
    return f"{name[:_LONGEST]!r} is a path of Windows; in WSL the same folder is {below}"
