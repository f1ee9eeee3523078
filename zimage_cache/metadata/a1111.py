"""Writes and reads parameters in the format of A1111, which many tools share.

The prompt, `Negative prompt: …`, and a line of settings that begins with `Steps: `. Relatives of A1111 add settings
whose values are quoted or JSON, and lines behind the settings.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from zimage_cache.metadata.claims import Claims, Tool
from zimage_cache.metadata.png import A1111
from zimage_cache.request import PARAMETERS, Parameter

_NEGATIVE: Final = "Negative prompt:"
_BEGINS: Final = re.compile(r"^[ \t]*+Steps: ", re.MULTILINE)
_SD_NEXT: Final = "SD.Next"
_TEMPLATES: Final = ("template: ", "negative template: ")
# Always written, in A1111's order: other tools find the line of settings by its beginning. Other parameters are written
# where they differ from their defaults, so that a later one changes no text of pictures without it.
_ORDER: Final = ("Steps", "Sampler", "CFG scale", "Seed")
_NAMED: Final = {row.a1111: name for name, row in PARAMETERS.items() if row.a1111}
_SETTINGS: Final = {theirs: _NAMED[theirs] for theirs in (*_ORDER, *_NAMED)}
_PROGRAM: Final = "zimage"
# The only version of this program that wrote its guidance as `CFG scale`, with the same number.
_FORMER: Final = "0.1.0"
# The names of fields of `Claims` by the names of settings in lower case; of two the first counts.
_FIELDS: Final = MappingProxyType(
    {
        "steps": "steps",
        "sampler": "sampler",
        "schedule type": "schedule",
        "scheduler": "schedule",
        "cfg scale": "cfg",
        "seed": "seed",
        "shift": "shift",
        "model": "model",
        "unet": "model",
    }
)
_READ: Final = frozenset({*_FIELDS, "size"})
_SIZE: Final = re.compile(r"(\d{1,6}) ?x ?(\d{1,6})")
# `Name: value` or `Name: "value, quoted as JSON"`, up to the next comma; the third group is empty where a quotation is
# not closed. No character is matched twice, so matching takes linear time.
_SETTING: Final = re.compile(r'([^,:\n]*+)(?::[ \t]*+("[^"\\]*+(?:\\.[^"\\]*+)*+("?+))?+([^,\n]*+))?+(?:,|$|(?=\n))')
_UNQUOTED: Final = re.compile(r"([^,:\n]*+)(?::[ \t]*+()()([^,\n]*+))?+(?:,|$|(?=\n))")
_OBJECT: Final = re.compile(r'\{\s*+"')  # of another tool
_JSON: Final = re.compile(r"[^,:\n]{1,60}:[ \t]*+(?=[\[{])")
_NAME: Final = re.compile(r"\w[\w \-/]{0,60}")
_LABELLED: Final = re.compile(r"(\w[\w \-/]{0,60}): ?(.*)")
# The last line is read as settings if it has at least this many: fewer may be part of the prompt.
_FEWEST_SETTINGS: Final = 3
_LONGEST_SETTINGS: Final = 2**17
_MOST_LINES: Final = 100  # that are tried
_decoder: Final = json.JSONDecoder(strict=False)


def parameters_text(values: Mapping[str, Any], *, model: str, version: str) -> str:
    """Return the `parameters` chunk. Its `CFG scale` is the guidance plus 1, because there 1 means none.

    Args:
        values: All parameters by name.
        model: The model's name.
        version: Of this program.
    """
    prompt, negative_prompt = values["prompt"], values["negative_prompt"]
    shown = {theirs: (PARAMETERS[ours], values[ours]) for theirs, ours in _SETTINGS.items()}
    settings = {
        **{
            name: _written(name, row, value)
            for name, (row, value) in shown.items()
            if name in _ORDER or value != row.default
        },
        "Size": f"{values['width']}x{values['height']}",
        "Model": model,
        "Version": f"{_PROGRAM} {version}",
    }
    lines = [prompt]
    # Written also when empty if the prompt has a line that begins like this: the last such line is the negative prompt.
    if negative_prompt or any(line.startswith(_NEGATIVE) for line in prompt.split("\n")):
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items()))
    return "\n".join(lines)


def read(texts: Mapping[str, str]) -> Claims | None:
    """Read the first text in this format: the chunk of A1111, or any other one that has its line of settings."""
    others = (claims for name, text in texts.items() if name != A1111 and (claims := _claims(text, certain=False)))
    return _claims(texts.get(A1111, ""), certain=True) or next(others, None)


def by_their_names(text: str) -> dict[str, str]:
    """Return the prompts and settings of a text by the names that A1111's own API gives them."""
    head, settings, _ = _parted(text)
    prompt, negative_prompt = _prompts(head, with_templates=False)
    size = _SIZE.fullmatch(settings.pop("Size", ""))
    sides = {"Size-1": size[1], "Size-2": size[2]} if size else {}
    return {"Prompt": prompt, "Negative prompt": negative_prompt} | settings | sides


def _claims(text: str, *, certain: bool) -> Claims | None:
    """Read a text; without a line of settings it is a prompt only where it is *certain* to be one."""
    text = text.replace("\r\n", "\n").rstrip("\0").strip()
    head, settings, behind = _parted(text)
    if not settings and (not certain or not text or _OBJECT.match(text)):
        return None
    known = {name.lower(): value for name, value in reversed([*settings.items()])}
    prompt, negative_prompt = _prompts(head, with_templates=known.get("app") == _SD_NEXT)
    fields = {"prompt": prompt, "negative_prompt": negative_prompt} | dict(_fields(known))
    others = {name: value for name, value in settings.items() if name.lower() not in _READ}
    return Claims(Tool.A1111, fields, others | behind)


def _parted(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Split into the prompts, the settings, and what stands behind them, by the names of its lines."""
    starts = deque((match.start() for match in _BEGINS.finditer(text)), _MOST_LINES)
    for start in reversed(starts):
        settings, end = _settings(text, start)
        if len(settings) >= _FEWEST_SETTINGS:
            labelled = filter(None, map(_LABELLED.fullmatch, text[end:].split("\n")))
            return text[:start], settings, {match[1]: match[2] for match in labelled}
    start = text.rfind("\n") + 1  # some tools begin with another setting, but write nothing behind them
    settings, _ = _settings(text, start)
    if len({name.lower() for name in settings} & _READ) >= _FEWEST_SETTINGS:
        return text[:start], settings, {}
    return text, {}, {}


def _settings(text: str, start: int) -> tuple[dict[str, str], int]:
    """Read settings up to the end of their line, or of a quotation in it; also return where they end.

    Of settings with the same name the first counts: later ones are within the value of another.
    """
    found: dict[str, str] = {}
    line, at = text[start : start + _LONGEST_SETTINGS], 0
    pattern, with_json = _SETTING, True
    while at < len(line) and line[at] != "\n":
        if with_json and (begin := _JSON.match(line, at)):
            end = _json_end(line, begin.end())
            with_json = end > 0  # every failed attempt could take as long as this one
            at = max(at, end)
        setting = pattern.match(line, at)
        if setting is None:
            break
        name, quoted, closed, rest = setting.groups(default="")
        if quoted and not closed:
            pattern = _UNQUOTED  # after one unclosed quotation every later quotation mark is text too
            continue
        at = setting.end()
        if _NAME.fullmatch(name.strip()) and (quoted or rest.strip()):
            found.setdefault(name.strip(), _unquoted(quoted + rest))
    return found, start + at


def _json_end(line: str, begin: int) -> int:
    try:
        return _decoder.raw_decode(line, begin)[1]
    except (ValueError, RecursionError):
        return 0


def _prompts(text: str, *, with_templates: bool) -> tuple[str, str]:
    """Split into prompt and negative prompt at the last line that begins a negative prompt.

    SD.Next writes *with_templates* behind the negative prompt: the prompts before wildcards were replaced.
    """
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)]
    if not starts:
        return text.strip(), ""
    prompt, negative = lines[: starts[-1]], lines[starts[-1] :]
    if with_templates:
        ends = [number for number, line in enumerate(negative) if line.lower().startswith(_TEMPLATES)]
        negative = negative[: ends[0]] if ends else negative
    return "\n".join(prompt).strip(), "\n".join(negative).removeprefix(_NEGATIVE).strip()


def _fields(settings: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for theirs, ours in reversed([*_FIELDS.items()]):
        if theirs in settings:
            yield "guidance_scale" if ours == "cfg" and _counts_like_us(settings) else ours, settings[theirs]
    if size := _SIZE.fullmatch(settings.get("size", "")):
        yield "width", int(size[1])
        yield "height", int(size[2])


def _counts_like_us(settings: Mapping[str, str]) -> bool:
    """Tell whether `CFG scale` is this program's number: in its first version, and with SD.Next's pipeline."""
    return settings.get("version") == _FORMER or settings.get("pipeline", "").startswith("ZImage")


def _written(name: str, row: Parameter, value: object) -> str:
    """Return a value as A1111 writes it: of a choice, its label."""
    if _SETTINGS[name] == "guidance_scale" and isinstance(value, int | float):
        return f"{value + 1:.10g}"
    return dict(row.choices).get(str(value), str(value))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ',:\n"') else value


def _unquoted(value: str) -> str:
    try:
        text = str(_decoder.decode(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value
    return text.encode("utf-8", "replace").decode()  # escapes may be halves of a sign
