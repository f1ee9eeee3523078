"""Detects weights that a model's configuration asks for and its files lack, from the warnings of the libraries.

diffusers and transformers initialise missing weights at random, log a warning and continue. A text encoder loaded that
way draws pictures that do not follow the prompt, stored under the identity of the intact model. Neither library has an
option that raises an error instead, so their warnings are read while a model is loaded.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zimage_cache.i18n.messages import Message

_SIGN: Final = "newly initialized"
_PLACE: Final = re.compile(r"(?:checkpoint at|from:)\s*+(?:\x1b\[[\d;]*+m)?+\s*+(\S[^\n]*+)")
_LIBRARIES: Final = ("diffusers", "transformers")


class MissingWeights(logging.Handler):
    """Records the component folders below *folder* whose weight files lack weights that their configuration names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = str(folder)
        self.folders: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record the folder that a warning about missing weights names."""
        text = record.getMessage()
        if _SIGN in text and self._folder in text:  # another model may be loading at the same time
            place = _PLACE.search(text)
            self.folders.append(place[1].partition(" and are newly")[0].strip() if place else self._folder)

    @property
    def message(self) -> Message | None:
        """Names the first folder and the remedy; None when no weights are missing."""
        return Message("weights_missing", folder=self.folders[0]) if self.folders else None


@contextmanager
def recording_missing_weights(folder: Path) -> Iterator[MissingWeights]:
    """Read the log records of both libraries while the model in *folder* is loaded."""
    missing = MissingWeights(folder)
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    for logger in loggers:
        logger.addHandler(missing)
    try:
        yield missing
    finally:
        for logger in loggers:
            logger.removeHandler(missing)
