"""What the text encoder made of earlier prompts: the same bits without asking it, or moving it onto the card.

A prompt of 50 tokens is 256 KB of embeddings and, at 512x512, 3.5 % of a picture's work; the gain is the 8 GB
of text encoder that need not come back to the card.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

import torch

MAX_BYTES: Final = 128 * 2**20
# So many texts of Turbo's size fill the bytes above. Those of a small model would go on arriving for hours, each a
# small block of memory between the large ones of a picture, which then cannot be given back.
MAX_TEXTS: Final = 512


class TextKey(NamedTuple):
    """All that determines a text's embeddings within one model: its number format, the cut, the text."""

    weights: str
    max_sequence_length: int
    text: str


class Embeddings:
    """An LRU of embeddings in main memory, bounded by bytes and by number.

    Args:
        max_bytes: Most bytes of embeddings kept; a text larger than all of it is not kept.
        max_texts: Most texts kept.

    Threads: the worker's only.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_texts: int = MAX_TEXTS) -> None:
        self._max_bytes = max_bytes
        self._max_texts = max_texts
        self._texts: OrderedDict[TextKey, torch.Tensor] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def get(self, key: TextKey) -> torch.Tensor | None:
        """Return what was put, in main memory, shape (tokens, width), or None."""
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
        return found

    def put(self, key: TextKey, embeddings: torch.Tensor) -> None:
        """Keep a copy of *embeddings*, dropping what was not used for longest."""
        if key in self._texts or embeddings.nbytes > self._max_bytes:
            return
        # A copy of its own: the encoder's answer may be a view into its whole padded output.
        self._texts[key] = embeddings.to("cpu", copy=True)
        self.bytes += embeddings.nbytes
        while self.bytes > self._max_bytes or len(self._texts) > self._max_texts:
            self.bytes -= self._texts.popitem(last=False)[1].nbytes
