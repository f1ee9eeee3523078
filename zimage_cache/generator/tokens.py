"""Counts a model's tokens of a text with its own tokenizer, without its weights.

transformers is imported at the first count, because that takes seconds.
"""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zimage_cache.errors import ModelCorrupt, ModelMissing

# Held while torch, diffusers or transformers is imported: two threads that import modules of one import cycle at the
# same time may see a partially initialised module.
IMPORTING: Final = threading.Lock()
_log = logging.getLogger(__name__)


def count_tokens(tokenizer: Any, text: str) -> int:  # noqa: ANN401 - transformers loads classes by their names
    """Count the pipeline's tokens of *text*, its chat template included, before truncation."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    return len(tokenizer(chat).input_ids)


class TokenCounter:
    """A separate tokenizer, read when first needed: the pipeline changes the settings of its own while it draws.

    Safe from any thread; one thread counts at a time.

    Args:
        locate: Returns the model's folder, or raises `ModelMissing` or `ModelCorrupt`. May block.
    """

    def __init__(self, locate: Callable[[], Path]) -> None:
        self._locate = locate
        self._counting = threading.Lock()  # guards all below; fast tokenizers are not thread-safe either
        self._tokenizer: Any = None
        self._complained = False

    def count(self, text: str) -> int | None:
        """As `count_tokens`; None while no tokenizer can be read. The first call takes seconds."""
        with self._counting:
            if self._tokenizer is None:
                self._tokenizer = self._read()
            return None if self._tokenizer is None else count_tokens(self._tokenizer, text)

    def _read(self) -> Any:  # noqa: ANN401 - see above
        try:
            return _read(self._locate())
        except (ModelMissing, ModelCorrupt):
            return None
        except Exception:  # noqa: BLE001 - a damaged file may raise anything; loading the model reports it
            if not self._complained:
                _log.exception("prompts are not counted: the model's tokenizer cannot be read")
            self._complained = True
            return None


def _read(folder: Path) -> Any:  # noqa: ANN401 - see above
    """Read the tokenizer as the pipeline does: with the class named in the model's index."""
    _, name = json.loads((folder / "model_index.json").read_bytes())["tokenizer"]
    with IMPORTING:
        import transformers  # noqa: PLC0415 - see the head of this module

        return getattr(transformers, name).from_pretrained(folder / "tokenizer", local_files_only=True)
