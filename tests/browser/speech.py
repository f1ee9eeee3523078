"""Finds the server's messages to users in its source, so that tests cover every new message.

A message is what is handed to one of `_SPEAKING`. Its text is worked out as far as it stands in the source: constants,
f-strings, names assigned in the same function or module, parameters by what their callers give, functions by what they
return. Whatever else stands in it is a hole, filled with a mark.
"""

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import zimage_cache

ROOT: Final = Path(zimage_cache.__file__).parent
# Modules whose messages appear in a terminal only.
_UNHEARD: Final = ("cli", "settings", "client", "compose")
# Errors shown at the start of the program, by other programs, or in the log; never by a running server.
_NEVER_SHOWN: Final = ("SettingsError", "ServerError", "CacheError")
# Calls that receive a message, and in which argument; in addition to every error class of this program.
_SPEAKING: Final = {
    "HTTPException": ((1, "detail"),),
    "Refusal": ((1, "message"),),
    "error_response": ((1, "message"),),
    "GeneratorState": ((1, "phase"), (3, "detail")),
    "Damaged": ((2, "detail"),),
    "NotFetched": ((0, ""),),
    "Meter": ((0, "phase"),),
}
# Phases of a load; the service's `Progress` names phases the page has words for.
_PHASES: Final = {"ByteProgress": ((0, "phase"),)}
# Functions all of whose texts are shown: a picture's warnings, and why a hub did not deliver.
_TELLING: Final = ("warnings", "_warnings", "reason")
_DEEPEST: Final = 12
_MARK: Final = re.compile(r"⟨\d+⟩")
_Within = Callable[[ast.AST], list[str]]
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def mark(number: int) -> str:
    """Return what fills a hole."""
    return f"⟨{number}⟩"


@dataclass(frozen=True)
class Message:
    """Something that may be said, where, and the marks in it; only a mark: what it says cannot be read here."""

    text: str
    place: str

    @property
    def legible(self) -> bool:
        return any(letter.isalpha() for letter in self.text)


@dataclass
class _Module:
    name: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            self.parents |= dict.fromkeys(ast.iter_child_nodes(node), node)

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes that contain *node*, the nearest first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def function(self, node: ast.AST) -> _Function | None:
        return next((each for each in self.around(node) if isinstance(each, _Function)), None)

    def assigned(self, use: ast.Name) -> Iterator[ast.Assign | ast.AugAssign]:
        """Yield what may have given a name its value where it is used, the last first."""
        function = self.function(use)
        given = [
            node
            for node in ast.walk(function or self.tree)
            if isinstance(node, ast.Assign | ast.AugAssign)
            and use.id in _targets(node)
            and node.lineno < use.lineno
            and self.function(node) is function
        ]
        around = set(self.around(use))
        for node in sorted(given, key=lambda each: each.lineno, reverse=True):
            yield node
            if isinstance(node, ast.Assign) and self.parents[node] in around:
                return  # whatever was assigned before is forgotten here

    def constants(self, name: str) -> Iterator[ast.expr]:
        """Yield what the module itself calls *name*."""
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    yield value
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    yield value


class Speech:
    """The source of the whole package, as something that says messages."""

    def __init__(self) -> None:
        self.modules = [
            _Module(path.relative_to(ROOT).with_suffix("").as_posix(), ast.parse(path.read_text()))
            for path in sorted(ROOT.rglob("*.py"))
        ]
        self._marks = itertools.count(1)
        self._calls: dict[str, list[tuple[_Module, ast.Call]]] = {}
        self._functions: dict[str, list[tuple[_Module, _Function]]] = {}
        self._classes: dict[str, ast.ClassDef] = {}
        for module, node in ((each, node) for each in self.modules for node in each.parents):
            match node:
                case ast.Call(func=ast.Name(id=name)):
                    self._calls.setdefault(name, []).append((module, node))
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._functions.setdefault(name, []).append((module, node))
                case ast.ClassDef(name=name):
                    self._classes[name] = node

    def messages(self) -> list[Message]:
        """List everything that may be said."""
        return list(dict.fromkeys(itertools.chain.from_iterable(map(self._said_in, self._heard))))

    @property
    def _heard(self) -> list[_Module]:
        return [module for module in self.modules if not module.name.startswith(_UNHEARD)]

    def _said_in(self, module: _Module) -> Iterator[Message]:
        speaking = dict.fromkeys(self._errors, ((0, "message"),)) | _SPEAKING
        speaking |= _PHASES if module.name.startswith("generator/") else {}
        for node in ast.walk(module.tree):
            function = module.function(node)
            place = f"{module.name}:{function.name if function else ''}"
            told = function is not None and function.name in _TELLING
            arguments: list[ast.AST] = [*_arguments(node, speaking)] if isinstance(node, ast.Call) else []
            if told and (isinstance(node, ast.JoinedStr) or _is_format(node)):
                arguments.append(node)
            if told and isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
                arguments.append(node.value)
            for argument in arguments:
                for text in self._texts(argument, module):
                    if text.strip():
                        yield Message(text, place)

    @cached_property
    def _errors(self) -> list[str]:
        """Name the errors of ours that a running server lets out."""
        parents = {name: [ast.unparse(base) for base in node.bases] for name, node in self._classes.items()}

        def descends(name: str, ancestor: str) -> bool:
            return name == ancestor or any(descends(parent, ancestor) for parent in parents.get(name, ()))

        ours = [name for name in parents if descends(name, "ZImageError")]
        return [name for name in ours if not any(descends(name, unheard) for unheard in _NEVER_SHOWN)]

    # ---- working texts out ----

    def _texts(self, node: ast.AST, module: _Module, depth: int = 0) -> list[str]:
        """List what *node* may be as text; one mark for all that is not known."""

        def within(part: ast.AST) -> list[str]:
            return self._texts(part, module, depth + 1)

        found = _formula(node, within) or self._reference(node, module, within, depth) if depth < _DEEPEST else []
        known = [text for text in dict.fromkeys(found) if not _MARK.fullmatch(text)]
        return known if known and len(known) == len(set(found)) else [*known, mark(next(self._marks))]

    def _reference(self, node: ast.AST, module: _Module, within: _Within, depth: int) -> list[str]:
        """List the possible texts of the name, call or format that *node* is."""
        match node:
            case ast.Name():
                return self._named(node, module, within, depth)
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                return self._member(owner, attribute) or self._returned(attribute, depth, properties=True)
            case ast.Call(func=ast.Name(id=name)):
                return self._returned(name, depth)
            case ast.Call(func=ast.Attribute(value=formula, attr="format"), keywords=keywords):
                values = {keyword.arg: mark(next(self._marks)) for keyword in keywords if keyword.arg}
                return [text.format(**values) for text in within(formula)]
        return []

    def _named(self, name: ast.Name, module: _Module, within: _Within, depth: int) -> list[str]:
        found: list[str] = []
        added = [""]
        for node in module.assigned(name):
            if isinstance(node, ast.AugAssign):
                added = list(map("".join, itertools.product(within(node.value), added)))
            else:
                found += map("".join, itertools.product(within(node.value), added))
        function = module.function(name)
        parameters = [argument.arg for argument in function.args.args] if function else []
        if not found and function and name.id in parameters:
            return self._given(function.name, parameters.index(name.id), name.id, depth)
        return found or [text for value in module.constants(name.id) for text in within(value)]

    def _given(self, function: str, position: int, name: str, depth: int) -> list[str]:
        """List what callers hand to a function of this name as this parameter."""
        return [
            text
            for module, call in self._calls.get(function, ())
            for argument in _arguments(call, {function: ((position, name),)})
            for text in self._texts(argument, module, depth + 1)
        ]

    def _returned(self, name: str, depth: int, *, properties: bool = False) -> list[str]:
        """List what the package's one function (or property) of this name returns."""
        defined = [each for each in self._functions.get(name, ()) if _is_property(each[1]) == properties]
        if len(defined) != 1:
            return []
        [(module, function)] = defined
        returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
        return [text for value in returns for text in self._texts(value, module, depth + 1)]

    def _member(self, owner: str, attribute: str) -> list[str]:
        """List what a class, such as an enumeration, calls by this name."""
        body = self._classes[owner].body if owner in self._classes else []
        return [
            node.value.value
            for node in body
            if isinstance(node, ast.Assign) and attribute in _targets(node) and isinstance(node.value, ast.Constant)
            if isinstance(node.value.value, str)
        ]


def _formula(node: ast.AST, within: _Within) -> list[str]:
    """List what *node* spells out, if it does."""
    match node:
        case ast.Constant(value=str() | int() as value):
            return [str(value)]
        case ast.JoinedStr(values=parts):
            return list(map("".join, itertools.product(*map(within, parts))))
        case ast.FormattedValue(value=value, conversion=conversion):
            return [repr(text) if conversion in {ord("a"), ord("r")} else text for text in within(value)]
        case ast.IfExp() | ast.BoolOp():
            alternatives = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            return [text for each in alternatives for text in within(each)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return list(map("".join, itertools.product(within(left), within(right))))
    return []


def _arguments(call: ast.Call, speaking: dict[str, tuple[tuple[int, str], ...]]) -> Iterator[ast.expr]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    for position, keyword in speaking.get(name, ()):
        named = [each.value for each in call.keywords if each.arg == keyword]
        plain = [] if any(isinstance(each, ast.Starred) for each in call.args) else call.args[position : position + 1]
        yield from (plain or named)


def _targets(node: ast.Assign | ast.AugAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_format(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"


def _is_property(function: _Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "property" for each in function.decorator_list)
