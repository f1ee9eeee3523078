"""Reads the parameters of a ComfyUI picture from the graph of nodes in its `prompt` text.

The sampler is the node that has a seed, steps and a text; everything else is found from its inputs. What a node
computes while it runs is left out, and the node is named.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from zimage_cache.i18n.messages import Message
from zimage_cache.metadata.claims import Claims, Tool
from zimage_cache.metadata.graph import MAX_HOPS, SAME, SIDES, Graph, Node

# Names of inputs that a sampler has one of each.
_SEEDS: Final = ("seed", "noise_seed", "noise")
_STEPS: Final = ("steps", "sigmas")
_ONLY_SIDE: Final = ("conditioning", "prompt", "text", "text_embeds", "cond")  # of those without two sides
_TEXTS: Final = (*SIDES["positive"], *_ONLY_SIDE, "guider")
_LATENTS: Final = ("latent_image", "latent", "latent_input", "samples", "latents", "optional_latent")
_PIXELS: Final = ("pixels", "image", "images")
_GUIDING: Final = re.compile("cfg|guidance")
_RESIZED: Final = re.compile("scale")
_SIZES: Final = ("dimensions", "resolution", "size", "aspect_ratio")
_SIZE: Final = re.compile(r"(\d{2,5}) ?[x×] ?(\d{2,5})\b.{0,40}")
_MODELS: Final = ("unet_name", "ckpt_name", "model_name", "gguf_name", "model_path", "diffusion_model")
_WHOLE: Final = 0.999  # of a strength: less means that another picture was drawn over
_LONGEST_NAME: Final = 60


def read(documents: Mapping[str, Mapping[str, Any]]) -> Claims | None:
    """Read the first graph; of a file that has only the editor's own one, nothing can be read."""
    for document in documents.values():
        nodes = {name: _node(each) for name, each in document.items() if _is_node(each)}
        if nodes:
            return _Reading(Graph(nodes)).claims()
    if any(isinstance(each.get("nodes"), list) and "links" in each for each in documents.values()):
        return Claims(Tool.COMFYUI, {}, notes=(Message("note_editor_only"),))
    return None


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _node(node: Mapping[str, Any]) -> Node:
    return Node(node["class_type"], {name.lower(): value for name, value in node["inputs"].items()})


class _Reading:
    """One reading of a graph, with its notes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._notes: list[Message] = []

    def claims(self) -> Claims:
        """Read what the first sampler was given: its own inputs, and those of the nodes that lead to it."""
        samplers = self._samplers()
        if not samplers:
            return Claims(Tool.COMFYUI, {}, notes=(Message("note_no_sampler"),))
        if len(samplers) > 1:
            self._notes.append(Message("note_passes", count=len(samplers)))
        sampler = samplers[0]
        guider = self._graph.linked(sampler.inputs.get("guider")) or sampler
        plan, models = self._plan(sampler), list(self._models(guider if "model" in guider.inputs else sampler))
        fields = {
            **self._texts(guider),
            **self._number("seed", sampler.first(_SEEDS)),
            **self._number("steps", plan.inputs["steps"] if plan else None),
            **self._guidance(sampler, guider),
            **self._size(sampler),
            **self._number(
                "shift", next((each.inputs["shift"] for each in [sampler, *models] if "shift" in each.inputs), None)
            ),
            **_known("sampler", (self._graph.name(sampler.inputs.get(name)) for name in ("sampler_name", "sampler"))),
            **_known("schedule", (self._graph.name(each.inputs.get("scheduler")) for each in (plan, sampler) if each)),
            **_known("model", (each.first(_MODELS) for each in models)),
        }
        return Claims(Tool.COMFYUI, fields, dict(_others(sampler, guider, plan, models)), tuple(self._notes))

    def _samplers(self) -> list[Node]:
        """List the samplers, those first that work on nothing that another one made.

        Where no sampler has a text, texts and numbers come bundled through one link.
        """
        planning = {name: node for name, node in self._graph.nodes.items() if node.has(_SEEDS, _STEPS)}
        samplers = {name: node for name, node in planning.items() if node.has(_TEXTS)} or planning
        later = self._graph.later_than(samplers)
        return [samplers[name] for name in sorted(samplers, key=later.__contains__)]

    def _plan(self, sampler: Node) -> Node | None:
        """Find the node with the number of steps: the scheduler that gives the sampler its noise levels, or itself."""
        node: Node | None = self._graph.linked(sampler.inputs.get("sigmas"))
        if node is None:
            return sampler if "steps" in sampler.inputs else None
        for _ in range(MAX_HOPS):
            if node is None or "steps" in node.inputs:
                return node
            passed_on = self._graph.only_link(node) if len(node.inputs) == 1 else None
            if passed_on is None:
                self._note_computed("steps", node.kind)  # it changes the noise levels, or has its own
            node = passed_on
        return None

    def _models(self, start: Node) -> Iterator[Node]:
        node = self._graph.linked(start.inputs.get("model"))
        for _ in range(MAX_HOPS):
            if node is None:
                return
            yield node
            node = self._graph.linked(node.inputs.get("model")) or self._graph.only_link(node)

    def _texts(self, guider: Node) -> dict[str, str]:
        own = (*SIDES["positive"], *_ONLY_SIDE)
        if not guider.has(own):
            guider = self._graph.upstream(guider, SIDES["positive"]) or guider
        found: dict[str, str] = {}
        for field, names, side in (("prompt", own, "positive"), ("negative_prompt", SIDES["negative"], "negative")):
            text = self._graph.text(guider.first(names), side)
            self._note_computed(field, self._graph.unknown if text is None else "")
            found |= {} if text is None else {field: text}
        if self._graph.combined:
            self._notes.append(Message("note_combined", count=self._graph.combined))
        return found

    def _number(self, field: str, value: object) -> dict[str, Any]:
        number = self._graph.number(value, field)
        self._note_computed(field, self._graph.unknown)
        return {} if number is None else {field: number}

    def _note_computed(self, field: str, node: str) -> None:
        if node:
            self._notes.append(Message("note_computed", field=field, node=node[:_LONGEST_NAME]))

    def _guidance(self, sampler: Node, guider: Node) -> dict[str, Any]:
        """Read the guidance. A sampler that takes neither such a number nor a negative text uses none."""
        for node in (guider, sampler):
            if node.has(SAME["cfg"]):
                number = self._graph.number(node.first(SAME["cfg"]), "cfg")
                self._note_computed("guidance_scale", self._graph.unknown)
                return {} if number is None else {"cfg": number}
        names = [*sampler.inputs, *guider.inputs]
        one_side = any(self._graph.linked(guider.inputs.get(name)) for name in ("positive", "conditioning"))
        without = "model" in names and not any("negative" in name or "cfg" in name for name in names)
        return {"guidance_scale": 0.0} if one_side and without else {}

    def _size(self, sampler: Node) -> dict[str, Any]:
        """Read the size of the empty latent picture that leads to the sampler."""
        node: Node | None = sampler
        for _ in range(MAX_HOPS):
            if node is None:
                return {}
            if node.has(["width"], ["height"]) or node.has(["empty_latent_width"], ["empty_latent_height"]):
                return self._size_of(node)
            size = next(filter(None, (_SIZE.fullmatch(str(node.inputs.get(name))) for name in _SIZES)), None)
            if size:
                return self._size_in_words(node, size)
            latent = next(filter(None, (self._graph.linked(node.inputs.get(name)) for name in _LATENTS)), None)
            if latent is None and any(self._graph.linked(node.inputs.get(name)) for name in _PIXELS):
                self._notes.append(Message("note_over_picture"))
                return {}
            if node is not sampler and any(map(_RESIZED.search, node.inputs)):
                break
            node = latent or self._graph.only_link(node)
        self._note_computed("width", node.kind if node else "")
        return {}

    def _size_in_words(self, node: Node, size: re.Match[str]) -> dict[str, Any]:
        if True in (node.inputs.get("invert"), node.inputs.get("swap_dimensions")):
            self._note_computed("width", node.kind)
            return {}
        return {"width": int(size[1]), "height": int(size[2])}

    def _size_of(self, node: Node) -> dict[str, Any]:
        if node.computes_size:
            self._note_computed("width", node.kind)
            return {}
        return {
            **self._number("width", node.first(("width", "empty_latent_width"))),
            **self._number("height", node.first(("height", "empty_latent_height"))),
        }


def _known(field: str, values: Iterable[object]) -> dict[str, str]:
    name = next((value for value in values if isinstance(value, str) and value), None)
    return {} if name is None else {field: name}


def _others(sampler: Node, guider: Node, plan: Node | None, models: Iterable[Node]) -> Iterator[tuple[str, Any]]:
    for name, value in [*sampler.inputs.items(), *guider.inputs.items()]:
        if _GUIDING.search(name) and name not in SAME["cfg"] and isinstance(value, int | float):
            yield name, value
    for node in (sampler, plan):
        strength = node.inputs.get("denoise") if node else None
        if isinstance(strength, int | float) and strength < _WHOLE:
            yield "denoise", strength
    for name, unset in (("start_at_step", 0), ("end_at_step", 10_000), ("steps_to_run", -1)):
        step = sampler.inputs.get(name, unset)
        if isinstance(step, int) and step not in (unset, sampler.inputs.get("steps")):
            yield name, step
    loras = [name for node in models for name in _loras(node)]
    if loras:
        yield "LoRA", ", ".join(loras)


def _loras(node: Node) -> Iterator[str]:
    for name, value in node.inputs.items():
        match value:
            case str() if name.startswith("lora") and "name" in name and value.lower() != "none":
                yield value
            case {"lora": str(lora), "on": True}:
                yield lora
