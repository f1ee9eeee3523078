"""What the browser gets: scripts, style, templates and words, as plain files."""

from importlib.resources import files


def asset(name: str) -> str:
    """Return the text of one file of this folder."""
    return files(__name__).joinpath(name).read_text("utf-8")
