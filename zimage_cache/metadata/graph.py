"""Follows the links of a graph of ComfyUI to the values that its nodes were given.

What a node does is told by the names of its inputs, not by its class, because most graphs have nodes of extensions. A
value that a node makes while it runs is not in the file, and is not guessed. Graphs may have circles and any size, so
the steps of each search are bounded.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

MAX_HOPS: Final = 64  # along links
_MOST_VISITS: Final = 2000  # of nodes, for one text
_LONGEST_TEXT: Final = 2**17
# Names of inputs with the texts of a picture's two sides: what to draw, and what to avoid.
SIDES: Final = MappingProxyType(
    {
        "positive": ("positive", "positive_prompt", "text_positive", "pos", "prompt_positive"),
        "negative": ("negative", "negative_prompt", "text_negative", "neg", "prompt_negative"),
    }
)
# Names of inputs with the same number.
SAME: Final = MappingProxyType({"seed": ("seed", "noise_seed"), "cfg": ("cfg", "cfg_scale")})
# Inputs that hold or lead to a text, in the order in which they count.
_TEXT_INPUTS: Final = (
    *("populated_text", "text", "prompt", "prompt_text", "text_g", "t5xxl", "llama", "clip_l", "string", "value"),
    *("conditioning", "cond", "conditioning_1", "source", "anything", "any", "input", "str", "caption", ""),
)
_NO_TEXT: Final = frozenset({"clip", "model", "vae", "image", "images", "pixels", "latent", "mask", "control_net"})
_EMPTYING: Final = "zeroout"  # in a class: the node replaces its text by an empty one
# Groups of inputs whose names differ in a number or letter at the end: texts to be joined, or a choice.
_NUMBERED: Final = re.compile(r"(.*?)[ _]?(\d{1,3}|[a-h])")
_JOINED: Final = frozenset({"text", "string", "prompt", "str", "part", "line", "conditioning"})
_FIRST_OF: Final = frozenset({"any", "input", "value"})
_CHOOSING: Final = ("select", "index", "selected", "switch_index", "input", "which")
_JOINING: Final = re.compile(r"concat|join|combin|append|merg|compos|function")  # in a class
_DELIMITERS: Final = ("delimiter", "separator", "sep")
_SWITCHES: Final = ("switch", "boolean", "condition")
# Inputs of nodes that make another text of the one they are given.
_REWRITING: Final = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "max_new_tokens", "max_length", "system_prompt"}
    | {"find", "replace", "pattern", "regex_pattern", "regex", "start", "end"}
)
_KEEPING: Final = frozenset({"append", "concat", "join", "both", "populate", "fixed", "reproduce", "true", "false"})
# Inputs that decide a size instead of width and height, and their values while they do not.
_SIZING: Final = re.compile(r"ratio|preset|resolution|orientation|swap|invert|upscale|multipl|megapixel|factor")
_OFF: Final = (False, 1, "custom", "Custom", "None", "none")


class Node(NamedTuple):
    """A node: its class, and its inputs by their names in lower case."""

    kind: str
    inputs: Mapping[str, Any]

    def has(self, *groups: Iterable[str]) -> bool:
        """Tell whether it has an input of each group of names."""
        return all(any(name in self.inputs for name in names) for names in groups)

    def first(self, names: Iterable[str]) -> Any:  # noqa: ANN401 - of JSON
        """Return the first of its inputs with these names; None: it has none."""
        return next((self.inputs[name] for name in names if name in self.inputs), None)

    @property
    def computes_size(self) -> bool:
        """Whether other inputs than width and height decide a size."""
        values = (value for name, value in self.inputs.items() if _SIZING.search(name))
        return any(value not in _OFF for value in values if not isinstance(value, list))

    @property
    def rewrites(self) -> bool:
        """Whether it makes another text of the one it is given, as language models and replacements do."""
        if "conditioning" in self.inputs or "populated_text" in self.inputs:
            return False
        how = self.first(("action", "mode"))
        changes = isinstance(how, str) and how.lower() not in _KEEPING and "clip" not in self.inputs
        return changes or not _REWRITING.isdisjoint(self.inputs)

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Inputs whose names differ in a number or letter at the end, in its order; single ones are no group."""
        groups: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, value in self.inputs.items():
            if (match := _NUMBERED.fullmatch(name)) and isinstance(value, str | list):
                groups[match[1]][match[2]] = value
        if self.has(["conditioning_to"], ["conditioning_from"]):
            groups["conditioning"] = {name: self.inputs[f"conditioning_{name}"] for name in ("to", "from")}
        return {
            stem: {end: group[end] for end in sorted(group, key=lambda end: (len(end), end))}
            for stem, group in groups.items()
            if len(group) > 1
        }


class Graph:
    """The nodes of a graph by their names.

    Attributes:
        unknown: The class of the first node whose value is not in the file, of those that the latest search met.
        combined: How many texts were joined that the graph combines in another way.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self.unknown = ""
        self.combined = 0
        self._visits = 0

    def linked(self, value: object) -> Node | None:
        """Follow a link, which is written as [node, output]."""
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str | int):  # noqa: PLR2004
            return None
        return self.nodes.get(str(value[0]))

    def links(self, node: Node) -> list[Node]:
        """Return the nodes that a node is linked to."""
        return [each for each in map(self.linked, node.inputs.values()) if each]

    def only_link(self, node: Node) -> Node | None:
        """Return the node that a node is linked to; None: there are several, or none."""
        links = self.links(node)
        return links[0] if len(links) == 1 else None

    def later_than(self, names: Iterable[str]) -> set[str]:
        """Name the nodes that use what these nodes made."""
        users: dict[str, list[str]] = defaultdict(list)
        for name, node in self.nodes.items():
            for value in node.inputs.values():
                if self.linked(value):
                    users[str(value[0])].append(name)
        later: set[str] = set()
        waiting = deque(each for name in names for each in users[name])
        while waiting:
            name = waiting.popleft()
            if name not in later:
                later.add(name)
                waiting.extend(users[name])
        return later

    def upstream(self, start: Node, names: Iterable[str]) -> Node | None:
        """Find the nearest node that leads to *start* and has an input with one of these names."""
        waiting, seen = deque(self.links(start)), 0
        while waiting and seen < _MOST_VISITS:
            node = waiting.popleft()
            if node.has(names):
                return node
            seen += 1
            waiting.extend(self.links(node)[:MAX_HOPS])
        return None

    def number(self, value: object, field: str) -> object:
        """Return the number of a field: through nodes that hold it under its name, or hold nothing else."""
        self.unknown = ""
        for _ in range(MAX_HOPS):
            node = self.linked(value)
            if node is None:
                return value if isinstance(value, int | float | str) else None
            inputs = node.inputs
            name = next((name for name in SAME.get(field, (field,)) if name in inputs), None)
            if name and not (field in {"width", "height"} and node.computes_size):
                value = inputs[name]
            elif len(inputs) == 1 or inputs.keys() == {"value", "control_after_generate"}:
                value = inputs.get("value", next(iter(inputs.values())))
            else:
                self.unknown = node.kind
                return None
        return None

    def name(self, value: object) -> str | None:
        """Return a name; of a node that holds none, which is what it names, its class."""
        for _ in range(MAX_HOPS):
            if isinstance(value, str):
                return value
            node = self.linked(value)
            if node is None:
                return None
            texts = [each for each in node.inputs.values() if isinstance(each, str)]
            value = node.inputs.get("sampler_name") or (texts[0] if len(texts) == 1 else node.kind)
        return None

    def text(self, value: object, side: str) -> str | None:
        """Return the text of one of the two sides; None: there is none, or a node makes it."""
        self.unknown, self._visits = "", 0
        text = self._text(value, side, 0)
        return None if text is None else text.strip()

    def _text(self, value: object, side: str, hops: int) -> str | None:
        if isinstance(value, str):
            return value
        node = self.linked(value)
        if node is None:
            return None
        self._visits += 1
        if _EMPTYING in node.kind.lower():
            return ""
        too_far = hops == MAX_HOPS or self._visits > _MOST_VISITS
        text = None if too_far else self._text_of(node, side, hops + 1)
        if text is None or len(text) > _LONGEST_TEXT:
            self.unknown = self.unknown or node.kind
            return None
        return text

    def _text_of(self, node: Node, side: str, hops: int) -> str | None:
        if node.rewrites:
            return _as_text(node.inputs.get("text_0"))  # what a node that shows its text has shown
        if node.has([*SIDES["positive"], *SIDES["negative"]]):
            return self._text(node.first(SIDES[side]), side, hops)
        if node.has(["on_true"], ["on_false"], _SWITCHES):
            chosen = self._flag(node.first(_SWITCHES))
            return None if chosen is None else self._text(node.inputs["on_true" if chosen else "on_false"], side, hops)
        stem = next((stem for stem in node.groups if stem in _JOINED | _FIRST_OF), None)
        if stem:
            return self._text_of_group(node, stem, side, hops)
        return self._text_of_one(node, side, hops)

    def _text_of_one(self, node: Node, side: str, hops: int) -> str | None:
        """Follow the input that holds or leads to the text, by its name or because it is the only one."""
        empty = None
        for name in filter(node.inputs.__contains__, _TEXT_INPUTS):
            text = self._text(node.inputs[name], side, hops)
            if text:
                return text
            empty = empty if text is None else ""
        others = [value for name, value in node.inputs.items() if name not in _NO_TEXT and self.linked(value)]
        text = self._text(others[0], side, hops) if len(others) == 1 and empty is None else None
        alone = next(iter(node.inputs.values())) if len(node.inputs) == 1 else None
        return text or _as_text(node.inputs.get("text_0")) or _as_text(alone) or empty

    def _text_of_group(self, node: Node, stem: str, side: str, hops: int) -> str | None:
        """Join the texts of numbered inputs, or take the one that another input chooses."""
        group = node.groups[stem]
        if node.has(_CHOOSING):
            return self._text(group.get(str(self.number(node.first(_CHOOSING), "index"))), side, hops)
        texts = [self._text(value, side, hops) for value in list(group.values())[:MAX_HOPS]]
        if stem in _FIRST_OF:
            return next((text for text in texts if text is not None), None)
        if None in texts or not (stem == "conditioning" or _JOINING.search(node.kind.lower()) or node.has(_DELIMITERS)):
            return None  # a node with several texts may have several outputs, too
        between = node.first(_DELIMITERS)
        if stem == "conditioning":
            self.combined, between = len(texts), "\n"
        elif not isinstance(between, str):
            between = ", " if node.inputs.get("tidy_tags") == "yes" else ""
        return between.replace("\\n", "\n").join(filter(None, texts))

    def _flag(self, value: object) -> bool | None:
        node = self.linked(value)
        value = node.inputs.get("value") if node else value
        return value if isinstance(value, bool) else None


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else None
