"""The embedded demo model: a tiny, real Z-Image pipeline that draws coloured shapes (see its README)."""

from importlib.resources import files
from pathlib import Path


def demo_folder() -> Path:
    """Return the folder of the embedded model: a complete `ZImagePipeline`, 8.7 MB, never downloaded.

    The package is installed unpacked (torch could not load from a zip either), so its resources are plain files.
    """
    return Path(str(files(__name__)))
