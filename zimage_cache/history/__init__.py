"""`output_image/`: one PNG per generation, which users may edit, move and delete, and the index of these files."""

from zimage_cache.history.history import History, Page
from zimage_cache.history.picture import Picture

__all__ = ["History", "Page", "Picture"]
