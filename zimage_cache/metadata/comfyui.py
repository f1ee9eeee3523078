"""Reads the parameters of a ComfyUI picture from the graph of nodes in its `prompt` chunk.

Graphs may hold custom nodes: a node is recognised by its class where that is a known one, else by the names of its
inputs. Parameters that are not found are left out.
"""

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from zimage_cache import foreign_json
from zimage_cache.errors import InvalidRequest

_Node = Mapping[str, Any]
_SAMPLERS: Final = MappingProxyType({"euler": "euler", "uni_pc": "unipc", "dpmpp_2m": "dpmpp_2m", "heun": "heun"})
_SAMPLING: Final = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
_SILENT: Final = "ConditioningZeroOut"  # a node that replaces its text by an empty one
# For each field, the inputs that lead from a sampler to it, and the names its value may have.
_NUMBERS: Final = MappingProxyType(
    {
        "seed": (("seed", "noise_seed", "noise"), ("seed", "noise_seed", "value")),
        "steps": (("steps", "sigmas"), ("steps", "value")),
        "guidance_scale": (("cfg", "guider"), ("cfg", "value")),
        "width": (("latent_image", "samples", "width"), ("width", "value")),
        "height": (("latent_image", "samples", "height"), ("height", "value")),
        "shift": (("model", "guider"), ("shift",)),
    }
)
_WHOLE: Final = frozenset({"seed", "steps", "width", "height"})
_TEXT_NAMES: Final = ("text", "prompt", "text_g", "t5xxl", "clip_l", "string", "value")
_TEXT_LINKS: Final = ("conditioning", "conditioning_1", "conditioning_to", "positive", *_TEXT_NAMES)
_MOST_NODES: Final = 200
_LARGEST: Final = sys.float_info.max


def read_workflow(text: str) -> dict[str, Any]:
    """Return the request fields found from the graph's first sampler; empty when *text* is no such graph."""
    graph = _graph(text)
    sampler = next((node for node in graph.values() if node["class_type"] in _SAMPLING), None)
    if sampler is None:
        return {}
    # The custom sampler refers to its two texts through a guider node.
    guider = _linked(graph, sampler["inputs"].get("guider")) or sampler
    fields: dict[str, Any] = {
        "prompt": _text(graph, guider, "positive") or _text(graph, guider, "conditioning"),
        "negative_prompt": _text(graph, guider, "negative"),
        **dict(_numbers(graph, sampler)),
    }
    name = _first(graph, sampler, ("sampler_name", "sampler"), ("sampler_name",))
    if isinstance(name, str) and name in _SAMPLERS:
        fields["sampler"] = _SAMPLERS[name]
    return fields if fields["prompt"] or "seed" in fields else {}


def _graph(text: str) -> dict[str, _Node]:
    try:
        document = foreign_json.parse(text)
    except InvalidRequest:
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: node for name, node in document.items() if _is_node(node)}


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _numbers(graph: Mapping[str, _Node], sampler: _Node) -> Iterator[tuple[str, int | float]]:
    for field, (links, names) in _NUMBERS.items():
        value = _first(graph, sampler, links, names)
        # Compared, not converted to float, which overflows for integers of hundreds of digits. NaN compares false.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            continue
        if field not in _WHOLE:
            yield field, float(value)
        elif value == int(value):
            yield field, int(value)


def _text(graph: Mapping[str, _Node], node: _Node, name: str) -> str:
    found = _linked(graph, node["inputs"].get(name))
    value = None if found is None else _first(graph, found, _TEXT_LINKS, _TEXT_NAMES)
    return value.strip() if isinstance(value, str) else ""


def _first(graph: Mapping[str, _Node], start: _Node, links: tuple[str, ...], names: tuple[str, ...]) -> object:
    """Return the first plain value named one of *names* on the way from *start* along *links*, nearest nodes first."""
    waiting, seen = deque([start]), 0
    while waiting and seen < _MOST_NODES:  # bounded: a graph may have cycles
        node = waiting.popleft()
        seen += 1
        if node["class_type"] == _SILENT:
            continue
        inputs = node["inputs"]
        for name in names:
            if isinstance(inputs.get(name), str | int | float):
                return inputs[name]
        waiting.extend(filter(None, (_linked(graph, inputs.get(link)) for link in links)))
    return None


def _linked(graph: Mapping[str, _Node], value: object) -> _Node | None:
    """Follow a link, which is written as [node, output]."""
    return graph.get(value[0]) if isinstance(value, list) and value and isinstance(value[0], str) else None
