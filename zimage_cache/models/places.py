"""Where models are searched: folders of this program, and those in which the hubs' own clients keep them."""

import importlib.util
import os
from pathlib import Path
from typing import Final

from zimage_cache.environment import hidden, loading_libraries

# Of ModelScope's client; the second one is an alias of older versions. Its own code for this takes a second to import.
_MODELSCOPE: Final = ("MODELSCOPE_CACHE", "MS_CACHE_HOME")
_HUGGING_FACE: Final = ("HF_", "HUGGINGFACE_")


def search_roots(model_cache: Path | None, workspace: Path) -> tuple[Path, ...]:
    """List the folders models are searched in, first to last; some may not exist.

    The order is the contract's: `--model-cache`, those that variables of the hubs name, the workspace, the hubs'
    defaults. The variables are read and changed for a moment, so no other thread may use them meanwhile.

    Raises:
        SettingsError: The client of Hugging Face cannot use one of its variables.
    """
    with hidden(name for name in os.environ if name.startswith(_HUGGING_FACE)):
        default = _hugging_face()
    named = [_expanded(text) for name in _MODELSCOPE if (text := os.environ.get(name))]
    named += [place for place in _hugging_face() if place not in default]
    own = [] if model_cache is None else [model_cache]
    caches = _expanded("~/.cache")
    roots = [*own, *named, workspace / "model_cache", caches / "modelscope", *default, caches / "huggingface"]
    return tuple(dict.fromkeys(roots))


def _hugging_face() -> list[Path]:
    """Return the folder in which Hugging Face's client keeps models, as its own code tells, and its home around it.

    The code is run once more for this, in a module of its own: the imported one keeps the values of its first import.
    """
    with loading_libraries():
        found = importlib.util.find_spec("huggingface_hub.constants")
        if found is None or found.loader is None:
            raise ImportError("huggingface_hub has no constants")
        constants = importlib.util.module_from_spec(found)
        found.loader.exec_module(constants)
        home, hub = Path(constants.HF_HOME), Path(constants.HF_HUB_CACHE)
    return [home] if hub == home / "hub" else [hub, home]


def _expanded(text: str) -> Path:
    """Expand `~`; where that is no user of this machine, the path leads nowhere."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - `Path.expanduser` raises an error there
