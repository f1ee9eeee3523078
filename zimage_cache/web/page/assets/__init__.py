"""Files for the browser: scripts, style sheets, templates and translations."""

from importlib.resources import files


def asset(name: str) -> str:
    """Return the text of one file of this folder."""
    return files(__name__).joinpath(name).read_text("utf-8")
