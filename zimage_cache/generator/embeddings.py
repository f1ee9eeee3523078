"""A cache of the text encoder's outputs for earlier prompts: the same bits without running the encoder.

A prompt of 50 tokens is 256 KB of embeddings and, at 512x512, 3.5 % of a picture's work. The main gain is that the
8 GB of text encoder need not be moved back to the GPU.
"""

from typing import Final, NamedTuple

import torch

from zimage_cache.lru import ByteLRU

MAX_BYTES: Final = 128 * 2**20
# This many texts of Turbo's size fill the bytes above. A small model's embeddings are far smaller; without this bound
# thousands of small blocks would fragment the heap, and memory between them could not be returned to the system.
MAX_TEXTS: Final = 512


class TextKey(NamedTuple):
    """All that determines a text's embeddings in one model: number format of the weights, longest sequence, text."""

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
        self._kept: ByteLRU[TextKey, torch.Tensor] = ByteLRU(max_bytes, lambda kept: kept.nbytes, max_texts)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Bytes of all embeddings kept."""
        return self._kept.bytes

    def get(self, key: TextKey) -> torch.Tensor | None:
        """Return the stored embeddings, in main memory, shape (tokens, width), or None."""
        return self._kept.get(key)

    def put(self, key: TextKey, embeddings: torch.Tensor) -> None:
        """Keep a copy of *embeddings*, dropping the least recently used ones."""
        if self._kept.fits(embeddings):
            # A copy, because *embeddings* may be a view into the encoder's whole padded output.
            self._kept.put(key, embeddings.to("cpu", copy=True))
