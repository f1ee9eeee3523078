"""Joins the page's modules into one script, and its style sheets into one: few requests, and no build step.

The files are standard modules and style sheets, which editors, linters and Node read as they are. Imports are named
(`import { a, b } from "./file.js";`), exports stand before a declaration, and the import of a style sheet is a line of
its own. Other forms are refused.
"""

import re
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from importlib.resources import files
from posixpath import dirname, join, normpath
from typing import Final

_IMPORT: Final = re.compile(r'^import (?:(?P<names>\{[\w\s,]*+\}) from )?"(?P<path>\.[^"]++)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_OTHER: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_SHEET: Final = re.compile(r'^@import "(?P<path>[^"]+)";\n', re.MULTILINE)
# Comments that are whole lines; those inside a line are left.
_COMMENT: Final = re.compile(r"^[ \t]*+(?://.*+|/\*(?:[^*]|\*(?!/))*\*/)[ \t]*+\n", re.MULTILINE)


def source(path: str) -> str:
    """Return the text of a file of the page, by its path below `web/page/`."""
    return files("zimage_cache.web.page").joinpath(path).read_text("utf-8")


def script(entry: str) -> str:
    """Return one script that does what the module *entry* and those it imports do."""
    modules = dict(_reached(entry))
    graph = {path: [there for there, _ in _imports(path, text)] for path, text in modules.items()}
    ordered = TopologicalSorter(graph).static_order()
    return "const modules = {};\n" + "".join(_module(path, modules[path]) for path in ordered)


def style_sheet(entry: str) -> str:
    """Return one style sheet with the text of those that *entry* imports in their places."""
    joined = _SHEET.sub(lambda found: source(normpath(join(dirname(entry), found["path"]))), source(entry))
    return _COMMENT.sub("", joined)


def _reached(entry: str) -> Iterator[tuple[str, str]]:
    found, open_ = {entry}, [entry]
    while open_:
        path = open_.pop()
        text = source(path)
        yield path, text
        new = {there for there, _ in _imports(path, text)} - found
        found |= new
        open_ += sorted(new)


def _imports(path: str, text: str) -> Iterable[tuple[str, str]]:
    """List the paths of the modules that the module at *path* imports, each with the names in braces."""
    return [(normpath(join(dirname(path), one["path"])), one["names"] or "") for one in _IMPORT.finditer(text)]


def _module(path: str, text: str) -> str:
    """Return a module as a call of a function, which has the module's scope and returns its exports."""
    taken = [f'const {names} = modules["{there}"];\n' for there, names in _imports(path, text) if names]
    body = _EXPORT.sub("", _IMPORT.sub("", _COMMENT.sub("", text)))
    if other := _OTHER.search(body):
        raise ValueError(f"{path}: not a form of import or export that can be joined: {other[0]}")
    given = ", ".join(_EXPORT.findall(text))
    return f'// {path}\nmodules["{path}"] = (() => {{\n{"".join(taken)}{body}return {{ {given} }};\n}})();\n'
