"""What a tool says that it made a picture from, and how much of it a request of this program can express.

Readers say what they found in the tool's own terms; `taken` translates it. Values that a request would refuse are left
out, and so is everything that has no field: each is named in a note.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.request import PARAMETERS, ImageRequest, Sampler
from zimage_cache.validation import shown


class Tool(StrEnum):
    """The program that wrote a picture's parameters into the file."""

    ZIMAGE = "zimage"
    A1111 = "a1111"
    COMFYUI = "comfyui"
    SWARMUI = "swarmui"
    FOOOCUS = "fooocus"
    INVOKEAI = "invokeai"
    NOVELAI = "novelai"
    DRAWTHINGS = "drawthings"
    EASYDIFFUSION = "easydiffusion"
    MFLUX = "mflux"
    TENSORART = "tensorart"
    CIVITAI = "civitai"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Claims:
    """What one tool's texts say.

    Attributes:
        tool: The program that wrote them.
        fields: The tool's values by the names of fields of a request; missing ones are not known. Instead of
            `guidance_scale`, which is guidance as this program counts it, there may be `cfg`, where 1 means none.
            `schedule` names the distances of noise levels.
        others: Further settings by the tool's names.
        notes: What could not be read, and why.
    """

    tool: Tool
    fields: Mapping[str, Any]
    others: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Message, ...] = ()


_SIDES: Final = frozenset({"width", "height"})
_FIELDS: Final = frozenset(ImageRequest.model_fields) | {"model"}
_INTEGER: Final = re.compile(r"[+-]?\d{1,400}")
_DECIMAL: Final = re.compile(r"[+-]?\d{0,20}\.\d{0,30}(?:[eE][+-]?\d{1,3})?")
_DIGITS: Final = 10  # after the point, of a guidance: 1.1 - 1 is not quite 0.1
_LARGEST_CFG: Final = 1e6
# Names of samplers without case, blanks and signs. What follows may be the name of a schedule.
_SAMPLERS: Final = MappingProxyType(
    {
        "euler": Sampler.EULER,
        "flowmatcheulerdiscretescheduler": Sampler.EULER,
        "eulerdiscretescheduler": Sampler.EULER,
        "unipc": Sampler.UNIPC,
        "unipcbh2": Sampler.UNIPC,
        "unipcmultistepscheduler": Sampler.UNIPC,
        "dpmpp2m": Sampler.DPMPP_2M,
        "dpmsolvermultistepscheduler": Sampler.DPMPP_2M,
        "heun": Sampler.HEUN,
        "flowmatchheundiscretescheduler": Sampler.HEUN,
    }
)
# Schedules like the only one here are no loss, others are named in a note.
_LIKE_OURS: Final = frozenset(
    {"", "simple", "normal", "discrete", "flowmatch", "trailing", "sgmuniform", "uniform", "automatic"}
    | {"flowmatcheulerdiscretescheduler"}
)
_SCHEDULES: Final = _LIKE_OURS | {
    *("karras", "k", "exponential", "polyexponential", "beta", "beta57", "bongtangent", "ays", "gits", "aysgits"),
    *("ddimuniform", "linearquadratic", "kloptimal", "turbo", "alignyoursteps", "smoothstep", "lcm", "substep"),
}
# Settings that do not change pixels, or that only name a file.
_NO_SETTING: Final = re.compile(
    r"hash|version|date|time|^(?:app|user|backend|software|source|title|comment|index|pipeline|operations|parser|generation_mode)$"
)
_UNSET: Final = ("", 0, False, "None", "none", "False")
_MOST_OTHERS: Final = 12
_LONGEST_OTHER: Final = 60


def taken(claims: Claims) -> tuple[dict[str, Any], tuple[Message, ...]]:
    """Return the fields that a request can have, and notes about everything else.

    In this program's own claims, names of styles and samplers stay that only another version knows.
    """
    own = claims.tool is Tool.ZIMAGE
    given = {name: _plain(name, value) for name, value in claims.fields.items() if (name, value) != ("prompt", "")}
    others = dict(claims.others)
    notes = [*claims.notes, *_counted_our_way(given)]
    if not own:
        _name_our_way(given, others)
    kept: dict[str, Any] = {}
    for name in filter(_FIELDS.__contains__, given):
        refusal = _refusal(name, given[name], own=own)
        if refusal is None:
            kept[name] = given[name]
        else:
            notes.append(Message("note_refused", field=name, reason=refusal))
    if len(alone := kept.keys() & _SIDES) == 1:  # one side of a size without the other gives another shape
        name = alone.pop()
        notes.append(Message("note_refused", field=name, reason=Message("side_alone", got=shown(kept.pop(name)))))
    return kept, (*notes, *_about_others(others))


def encodable(text: str) -> str:
    """Replace lone surrogates, which no database and no answer can hold."""
    return text.encode("utf-8", "replace").decode()


def without_schedule(name: str) -> tuple[Sampler | None, str]:
    """Split a sampler's name, in whichever spelling, into our sampler, None where there is none, and its schedule."""
    squeezed = _squeezed(name)
    for spelling in (squeezed, squeezed.removeprefix("k")):
        for theirs, ours in _SAMPLERS.items():
            rest = spelling.removeprefix(theirs)
            if spelling.startswith(theirs) and rest in _SCHEDULES:
                return ours, rest
    return None, ""


def is_our_schedule(name: str) -> bool:
    """Tell whether a schedule's name, in whichever spelling, means the distances of noise levels that are used here."""
    return _squeezed(name) in _LIKE_OURS


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p"))


def _plain(name: str, value: object) -> object:
    """Convert a text of digits where a number belongs; make other texts encodable."""
    if not isinstance(value, str):
        return value
    if name != "cfg" and (name not in PARAMETERS or PARAMETERS[name].kind is str):
        return encodable(value)
    text = value.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) and any(map(str.isdigit, text)) else encodable(value)


def _counted_our_way(given: dict[str, Any]) -> Iterator[Message]:
    """Replace `cfg` by `guidance_scale`. Some tools write 0 for none, too; no picture is made with less than 1."""
    if "cfg" not in given:
        return
    cfg = given.pop("cfg")
    given["guidance_scale"] = cfg
    if isinstance(cfg, int | float) and not isinstance(cfg, bool) and abs(cfg) <= _LARGEST_CFG:
        given["guidance_scale"] = round(float(cfg) - 1, _DIGITS) if cfg else 0.0
        if cfg not in {0, 1}:
            yield Message("note_cfg", cfg=f"{cfg:g}", guidance=f"{given['guidance_scale']:g}")


def _name_our_way(given: dict[str, Any], others: dict[str, Any]) -> None:
    """Replace the sampler's name by ours, where it has one; a schedule of another kind becomes one of *others*."""
    schedule = given.pop("schedule", None)
    if isinstance(given.get("sampler"), str):
        sampler, own_schedule = without_schedule(given["sampler"])
        given["sampler"] = str(sampler or given["sampler"])
        schedule = own_schedule or schedule
    if isinstance(schedule, str) and not is_our_schedule(schedule):
        others["schedule"] = schedule


def _refusal(name: str, value: object, *, own: bool) -> Message | None:
    """Return the rule that a request with this value would break; None: there is none."""
    if value is None and name != "prompt":
        return None
    if name == "model" or (own and name in {"style", "sampler"}):
        return None if isinstance(value, str) else Message("not_text", got=shown(value))
    # -1 stands for a seed that the tool chose and did not write down.
    if name == "seed" and isinstance(value, int | float) and value < 0:
        return Message("at_least", least=0, got=shown(value))
    try:
        ImageRequest.parse({"prompt": "x", name: value})
    except InvalidRequest as error:
        return error.reason
    return None


def _about_others(others: Mapping[str, Any]) -> Iterator[Message]:
    settings = [
        f"{encodable(name)[:_LONGEST_OTHER]}: {encodable(str(value))[:_LONGEST_OTHER]}"
        for name, value in others.items()
        if isinstance(value, str | int | float) and value not in _UNSET and not _NO_SETTING.search(name.lower())
    ]
    if len(settings) > _MOST_OTHERS:
        settings[_MOST_OTHERS:] = [f"+{len(settings) - _MOST_OTHERS}"]
    if settings:
        yield Message("note_others", settings=tuple(settings))
