"""The exception tree: what the docstring draws, what the web can answer."""

import inspect
import re
from typing import Any

from zimage_cache import errors
from zimage_cache.web.errors import STATUS

# Told on a terminal or in a log, never as an answer of our own raising.
NEVER_SENT = {
    "internal_error",
    "invalid_settings",
    "server_error",
    "cache_error",
    "corrupt_entry",
    "cache_write_failed",
}
CLASSES: list[Any] = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
]


def drawn_tree() -> dict[str, str | None]:
    """Read the docstring's drawing: each class and the class it hangs under."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (inspect.getdoc(errors) or "").splitlines():
        if node := re.match(r"(?P<branch>[\s│├└─]*)(?P<name>[A-Z]\w+)(\s{2,}|$)", line):
            depth = len(node["branch"])
            while path and path[-1][0] >= depth:
                path.pop()
            parents[node["name"]] = path[-1][1] if path else None
            path.append((depth, node["name"]))
    return parents


def test_the_drawing_is_the_tree():
    """The module's docstring shows every class under its real base, and no other."""
    real = {kind.__name__: kind.__base__.__name__ if kind.__base__ in CLASSES else None for kind in CLASSES}

    assert drawn_tree() == real


def test_every_error_has_an_http_status_or_is_never_sent():
    """Every error class that can reach the web has an explicit status."""
    codes = {kind.code for kind in CLASSES}

    assert codes - NEVER_SENT == codes & STATUS.keys()
    assert codes >= NEVER_SENT


def test_siblings_have_codes_of_their_own():
    """Classes with the same base have different codes; only a base class may share its code with a subclass."""
    for kind in CLASSES:
        codes = [child.code for child in CLASSES if child.__base__ is kind]

        assert len(codes) == len(set(codes)), kind


def test_every_class_says_what_it_means():
    """The docstring is what a reader of a traceback finds."""
    assert [kind for kind in CLASSES if not kind.__doc__ or kind.__doc__ == kind.__base__.__doc__] == []


def test_an_invalid_request_names_its_field():
    """Pages mark the field that is to blame."""
    assert errors.InvalidRequest("seed: no", "seed").field == "seed"
    assert errors.InvalidRequest("no").field is None
