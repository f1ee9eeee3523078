"""Reads parameters from JSON objects, as most tools but A1111 and ComfyUI write them.

The tools differ in the names of their settings less than in anything else, so one table of names serves all of them. A
tool is recognised by the names that only it writes.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from zimage_cache.metadata.claims import Claims, Tool

Document = Mapping[str, Any]
_Keys = frozenset[str]

_OF_EASYDIFFUSION: Final = ("usestablediffusionmodel", "stablediffusionmodel")
# Names of settings without case, blanks and signs, by names of fields of `Claims`; of several the first counts.
_NAMES: Final = MappingProxyType(
    {
        "prompt": ("prompt", "positiveprompt", "positive", "c"),
        "negative_prompt": ("negativeprompt", "negative", "uc"),
        "seed": ("seed", "noiseseed"),
        "steps": ("steps", "numinferencesteps"),
        "cfg": ("cfgscale", "cfg", "guidancescale", "scale"),
        "width": ("width",),
        "height": ("height",),
        "sampler": ("sampler", "samplername", "comfyuisampler"),
        "schedule": ("schedule", "scheduler", "schedulername", "noiseschedule"),
        "shift": ("shift", "sigmashift", "zimageshift"),
        "model": ("model", "basemodel", "basemodelname", "modelname", *_OF_EASYDIFFUSION),
    }
)
_SIZES: Final = ("size", "resolution", "dimensions")
_SIZE: Final = re.compile(r"\(?(\d{1,6})[^\d]{1,4}(\d{1,6})\)?")
_READ: Final = frozenset(name for names in _NAMES.values() for name in names) | {*_SIZES, "mfluxversion"}
# A setting that may hold what an unknown object is recognised by.
_NUMBERS: Final = (_NAMES["seed"], _NAMES["steps"], _NAMES["cfg"])
_MODEL_NAMES: Final = ("name", "modelFileName", "model_name")
_Z_IMAGE: Final = "zimage"


def _maker(document: Document) -> str:
    return f"{document.get('version')} {document.get('software')}".lower()


# How each tool's object is recognised: by the name under which it stands, the names in it, or one of its texts.
_TOOLS: Final[tuple[tuple[Tool, Callable[[str, _Keys, Document], bool]], ...]] = (
    (Tool.SWARMUI, lambda name, keys, _: name == "sui_image_params" or "swarmversion" in keys),
    (Tool.TENSORART, lambda name, _, __: name == "generation_data"),
    (Tool.CIVITAI, lambda name, _, __: name == "extrametadata"),
    (Tool.INVOKEAI, lambda name, keys, _: name == "invokeai_metadata" or {"positiveprompt", "appversion"} <= keys),
    (Tool.INVOKEAI, lambda name, keys, _: name == "image" and {"prompt", "cfgscale", "sampler"} <= keys),
    (Tool.DRAWTHINGS, lambda _, keys, __: {"c", "uc"} <= keys),
    (Tool.NOVELAI, lambda _, keys, __: {"uc", "scale", "steps"} <= keys),
    (Tool.EASYDIFFUSION, lambda _, keys, __: not keys.isdisjoint(_OF_EASYDIFFUSION)),
    (Tool.MFLUX, lambda _, keys, __: "mfluxversion" in keys),
    (Tool.FOOOCUS, lambda _, keys, it: {"prompt", "basemodel"} <= keys or "fooocus" in _maker(it)),
    (Tool.OTHER, lambda _, keys, __: not keys.isdisjoint(_NAMES["prompt"]) and _has_numbers(keys)),
)
# Sites that draw with ComfyUI also write its graph, which has more.
AFTER_COMFYUI: Final = frozenset({Tool.TENSORART, Tool.CIVITAI, Tool.OTHER})


def read(documents: Mapping[str, Document]) -> list[Claims]:
    """Read every object that is recognised, in the order of the table of tools."""
    found: list[tuple[int, Claims]] = []
    for name, document in documents.items():
        squeezed = {_squeezed(key): value for key, value in document.items()}
        keys = frozenset(squeezed)
        place = next((n for n, (_, recognises) in enumerate(_TOOLS) if recognises(name, keys, document)), None)
        if place is not None:
            found.append((place, _claims(_TOOLS[place][0], squeezed, document, documents)))
    return [claims for _, claims in sorted(found, key=lambda each: each[0])]


def _has_numbers(keys: _Keys) -> bool:
    return sum(not keys.isdisjoint(names) for names in _NUMBERS) > 1


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _claims(tool: Tool, squeezed: Document, document: Document, documents: Mapping[str, Document]) -> Claims:
    fields = {
        field: value for field, names in _NAMES.items() for value in [_first(squeezed, names)] if value is not None
    }
    fields |= _size(squeezed)
    fields |= {name: _text(fields[name]) for name in ("prompt", "negative_prompt") if name in fields}
    if isinstance(fields.get("model"), Mapping):
        fields["model"] = _first(fields["model"], _MODEL_NAMES)
    adapted = _ADAPTED.get(tool)
    if adapted:
        adapted(fields, squeezed, documents)
    read = _READ | {"guidance"} if "guidance_scale" in fields else _READ
    others = {name: value for name, value in document.items() if _squeezed(name) not in read}
    return Claims(tool, {name: value for name, value in fields.items() if value is not None}, others)


def _first(document: Document, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - of JSON
    return next((document[name] for name in names if document.get(name) is not None), None)


def _size(squeezed: Document) -> dict[str, int]:
    given = _first(squeezed, _SIZES)
    text = "x".join(map(str, given)) if isinstance(given, list) and len(given) == 2 else str(given)  # noqa: PLR2004
    found = _SIZE.fullmatch(text)
    return {"width": int(found[1]), "height": int(found[2])} if found else {}


def _text(value: object) -> object:
    """Join a prompt of several parts, as older versions of InvokeAI write it."""
    if not isinstance(value, list):
        return value.strip() if isinstance(value, str) else value
    parts = [each.get("prompt") if isinstance(each, Mapping) else each for each in value]
    return ", ".join(part for part in parts if isinstance(part, str)) or None


# ---- what only one tool does ----


def _of_invokeai(fields: dict[str, Any], squeezed: Document, _: object) -> None:
    """Its scheduler is the sampler. Older versions write the negative prompt in brackets behind the prompt."""
    fields["sampler"] = fields.get("sampler") or fields.pop("schedule", None)
    if not isinstance(fields.get("shift"), int | float):
        fields.pop("shift", None)  # "auto"
    prompt = fields.get("prompt")
    if "negative_prompt" not in fields and isinstance(prompt, str) and "positiveprompt" not in squeezed:
        fields["prompt"] = re.sub(r"\[[^\[\]]*\]", "", prompt).strip()
        fields["negative_prompt"] = ", ".join(re.findall(r"\[([^\[\]]*)\]", prompt))


def _of_novelai(fields: dict[str, Any], _: object, documents: Mapping[str, Document]) -> None:
    """Its first versions write the prompt into a text of its own."""
    fields.setdefault("prompt", documents.get("", {}).get("description"))


def _of_mflux(fields: dict[str, Any], squeezed: Document, _: object) -> None:
    """Its guidance counts like ours for this model, but none below 1; for FLUX it is no such guidance."""
    guidance = squeezed.get("guidance")
    if _Z_IMAGE in _squeezed(str(fields.get("model"))):
        fields["guidance_scale"] = guidance if isinstance(guidance, int | float) and guidance > 1 else 0.0


def _of_others(fields: dict[str, Any], _: object, __: object) -> None:
    """Programs around diffusers write the pipeline's own number, which counts like ours for this model."""
    if _Z_IMAGE in _squeezed(str(fields.get("model"))) and "cfg" in fields:
        fields["guidance_scale"] = fields.pop("cfg")


_ADAPTED: Final[Mapping[Tool, Callable[[dict[str, Any], Document, Mapping[str, Document]], None]]] = MappingProxyType(
    {
        Tool.INVOKEAI: _of_invokeai,
        Tool.NOVELAI: _of_novelai,
        Tool.MFLUX: _of_mflux,
        Tool.OTHER: _of_others,
    }
)
