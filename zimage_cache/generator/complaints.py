"""What diffusers and transformers only log, and is fatal here: weights a model asks for that its files lack.

Both libraries then make the missing ones up at random, warn, and go on: a text encoder loaded like that draws pictures
of something else, for ever, under a good name. There is no switch that makes them raise.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SIGN: Final = "newly initialized"
_PLACE: Final = re.compile(r"(?:checkpoint at|from:)\s*+(?:\x1b\[[\d;]*+m)?+\s*+(\S[^\n]*+)")
_LIBRARIES: Final = ("diffusers", "transformers")


class Complaints(logging.Handler):
    """Collects the components of the model in *folder* whose weights do not fit their settings."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = str(folder)
        self.folders: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the folder a warning names, if it is of this kind."""
        text = record.getMessage()
        if _SIGN in text and self._folder in text:  # not of another model that loads at the same time
            place = _PLACE.search(text)
            self.folders.append(place[1].partition(" and are newly")[0].strip() if place else self._folder)

    @property
    def told(self) -> str:
        """One line with the remedy; empty when there was none."""
        if not self.folders:
            return ""
        return (
            f"model: the weights in {self.folders[0]} are not all that its config.json asks for: another model's, or "
            "incomplete; compare with `zimage model verify`, or fetch the model again (`zimage model download`)"
        )


@contextmanager
def listening(folder: Path) -> Iterator[Complaints]:
    """Listen to both libraries while the model in *folder* is loaded."""
    complaints = Complaints(folder)
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    for logger in loggers:
        logger.addHandler(complaints)
    try:
        yield complaints
    finally:
        for logger in loggers:
            logger.removeHandler(complaints)
