"""The exception tree: what the docstring draws, what the web can answer."""

import inspect
import re
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from zimage_cache import errors
from zimage_cache.models.store import Damaged, Problem, damaged
from zimage_cache.web.errors import STATUS, Refused

# Told on a terminal or in a log, never as an answer of our own raising.
NEVER_SENT = {
    "internal_error",
    "invalid_settings",
    "invalid_arguments",
    "command_failed",
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
    error = errors.InvalidRequest("multiple_of", field="width", step=16, got=100)
    assert (error.field, str(error)) == ("width", "width: should be a multiple of 16, got 100")
    assert (error.reason.rule, error.reason.params) == ("multiple_of", {"step": 16, "got": 100})
    assert error.message.text("zh") == "宽度：应为 16 的倍数，实际为 100"


def test_a_place_is_named_in_place_of_a_field():
    """A body as a whole is no field; a field that it has twice is one, but the message speaks of the body."""
    whole = errors.InvalidRequest("nested_too_deeply", place="body")
    assert (whole.field, str(whole)) == (None, "body: is nested too deeply")
    twice = errors.InvalidRequest("repeated", field="seed", place="body", name="seed")
    assert (twice.field, str(twice)) == ("seed", "body: 'seed' is given twice; send it once")
    assert errors.InvalidRequest("empty").field is None


@pytest.mark.parametrize("kind", [errors.OutOfMemory, Damaged, errors.InvalidRequest, Refused])
def test_every_error_can_be_copied(kind):
    """A job keeps a copy of its error, without the frames of the traceback."""
    made = {
        Damaged: lambda: damaged(Path("x"), Problem.MISSING, "file_missing"),
        Refused: lambda: Refused("not_found", "no_such_job"),
        errors.InvalidRequest: lambda: errors.InvalidRequest("at_most", field="steps", most=50, got=51),
    }
    error = made.get(kind, lambda: kind("out_of_memory"))()
    twin = copy(error)
    assert (type(twin), vars(twin), str(twin)) == (kind, vars(error), str(error))


def test_local_errors_are_plain_text():
    """A terminal and a log read English; braces in such a text are no holes."""
    assert str(errors.SettingsError("--port: {x} is no port")) == "--port: {x} is no port"
