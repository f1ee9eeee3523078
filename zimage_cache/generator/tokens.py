"""How many tokens a model makes of a text, by its own tokenizer, without its weights.

Imports nothing of transformers before it is asked: that takes seconds.
"""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zimage_cache.errors import ModelCorrupt, ModelMissing

# Held while a library is imported that others import too: two threads in one circle of imports are let past each
# other by Python, and one of them then finds a module half made.
IMPORTING: Final = threading.Lock()
_log = logging.getLogger(__name__)


def count_tokens(tokenizer: Any, text: str) -> int:  # noqa: ANN401 - transformers loads classes by their names
    """Count the tokens the pipeline makes of *text*, its chat template included, before it cuts them."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    return len(tokenizer(chat).input_ids)


class TokenCounter:
    """A tokenizer of its own, read when first needed: the pipeline's changes its settings while it draws.

    Safe from any thread; one counts at a time.

    Args:
        locate: Returns the model's folder, or raises `ModelMissing` or `ModelCorrupt`. May block.
    """

    def __init__(self, locate: Callable[[], Path]) -> None:
        self._locate = locate
        self._counting = threading.Lock()  # guards all below; a fast tokenizer is no more than one thread's, either
        self._tokenizer: Any = None
        self._complained = False

    def count(self, text: str) -> int | None:
        """Count as `count_tokens`; None while there is no tokenizer that can be read. The first call takes seconds."""
        with self._counting:
            if self._tokenizer is None:
                self._tokenizer = self._read()
            return None if self._tokenizer is None else count_tokens(self._tokenizer, text)

    def _read(self) -> Any:  # noqa: ANN401 - see above
        try:
            return _read(self._locate())
        except (ModelMissing, ModelCorrupt):
            return None
        except Exception:  # noqa: BLE001 - whatever a damaged file makes a library raise; drawing will tell, if it must
            if not self._complained:
                _log.exception("prompts are not counted: the model's tokenizer cannot be read")
            self._complained = True
            return None


def _read(folder: Path) -> Any:  # noqa: ANN401 - see above
    """Read the tokenizer as the pipeline does: by the class its index names."""
    _, name = json.loads((folder / "model_index.json").read_text("utf-8"))["tokenizer"]
    with IMPORTING:
        import transformers  # noqa: PLC0415 - see the head of this module

        return getattr(transformers, name).from_pretrained(folder / "tokenizer", local_files_only=True)
