"""`output_image/`: what people made, one PNG a generation, theirs to edit, move and delete, and the index of it."""

from zimage_cache.history.history import History, Page
from zimage_cache.history.picture import Picture, known_fields

__all__ = ["History", "Page", "Picture", "known_fields"]
