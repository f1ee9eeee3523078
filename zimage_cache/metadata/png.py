"""Writes and reads PNG files with the parameters the picture was made from; also reads files of other tools.

Works on plain mappings of parameter names to values, independent of recipes and records.
"""

import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from zimage_cache import foreign_json
from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata.comfyui import read_workflow
from zimage_cache.request import PARAMETERS, Parameter

# Keywords of the text chunks.
A1111 = "parameters"
ZIMAGE = "zimage"
COMFYUI = "prompt"
_NEGATIVE = "Negative prompt:"
# Always written, in A1111's order: other tools find the line of settings by its beginning, "Steps: ". Other parameters
# are written where they differ from their defaults, so that a later one changes no text of pictures without it.
_ORDER = ("Steps", "Sampler", "CFG scale", "Seed")
_NAMED = {row.a1111: name for name, row in PARAMETERS.items() if row.a1111}
# The parameters that A1111 has: its names, and ours.
_SETTINGS = {theirs: _NAMED[theirs] for theirs in (*_ORDER, *_NAMED)}
# `Name: value` or `Name: "value, quoted as JSON"`, up to the next comma; the third group is empty where a quotation is
# not closed. No character is matched twice, so matching takes linear time.
_SETTING = re.compile(r'([^,:]*+)(?::\s*+("(?:[^"\\]++|\\.)*+("?+))?+([^,]*+))?+(?:,|$)')
_UNQUOTED = re.compile(r"([^,:]*+)(?::\s*+()()([^,]*+))?+(?:,|$)")
_NAME = re.compile(r"\w[\w \-/]{0,60}")
_KEY = re.compile(r"[0-9a-f]{64}")
_LARGEST = 2**63 - 1
# Limits of a file's head: tools write only a few chunks. Longer text chunks are ignored.
MAX_CHUNKS = 200
MAX_HEAD_BYTES = 2**22
MAX_TEXT_CHARACTERS = 2**19
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IDAT", b"IEND")
# The last line is read as settings if it has at least this many: fewer may be part of the prompt.
_FEWEST_SETTINGS = 3
_LONGEST_SETTINGS = 2**15


def encode(pixels: NDArray[np.uint8], text: Mapping[str, str]) -> bytes:
    """Encode a picture, without loss.

    Compression level 1 with run-length encoding takes a fifth of the time of Pillow's default and gives files of about
    the same size.

    Args:
        pixels: RGB, shape (height, width, 3).
        text: Text chunks by keyword; Latin-1 goes into tEXt, everything else into iTXt.
    """
    info = PngImagePlugin.PngInfo()
    for keyword, value in text.items():
        info.add_text(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info, compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def parameters_text(values: Mapping[str, Any], *, model: str, version: str) -> str:
    """Return the `parameters` chunk in the format of A1111, which many tools read.

    Args:
        values: All parameters by name.
        model: The model's name.
        version: Of this program.
    """
    prompt, negative_prompt = values["prompt"], values["negative_prompt"]
    shown = {theirs: (PARAMETERS[ours], values[ours]) for theirs, ours in _SETTINGS.items()}
    settings = {
        **{
            name: _written(row, value) for name, (row, value) in shown.items() if name in _ORDER or value != row.default
        },
        "Size": f"{values['width']}x{values['height']}",
        "Model": model,
        "Version": version,
    }
    lines = [prompt]
    # Written also when empty if the prompt has a line that begins like this: the last such line is the negative prompt.
    if negative_prompt or any(line.startswith(_NEGATIVE) for line in prompt.split("\n")):
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items()))
    return "\n".join(lines)


class Tool(StrEnum):
    """The program that wrote a picture's parameters into the file."""

    ZIMAGE = "zimage"
    A1111 = "a1111"
    COMFYUI = "comfyui"


@dataclass(frozen=True, slots=True)
class Description:
    """The metadata of a file, not validated, but of plain types and encodable as UTF-8.

    `parameters` have the names of request fields, and are strings, finite numbers or None; empty when the file has
    none (`tool` is None then). `key`, `model` and `created` are from files of this program. `width` and `height` are in
    pixels, from the header.
    """

    parameters: dict[str, Any]
    tool: Tool | None
    key: str | None
    model: str | None
    width: int
    height: int
    created: datetime | None = None


def describe(file: bytes | IO[bytes]) -> Description:
    """Read a picture's head; of an open file no more than the head is read.

    This program's own chunk takes precedence over A1111's, and that over ComfyUI's.

    Raises:
        InvalidRequest: The file is no PNG, or its head is damaged.
        OSError: An open file cannot be read.
    """
    text, (width, height) = _head(file)
    document = _document(text.get(ZIMAGE, ""))
    claims: dict[Tool, dict[str, Any]] = {
        Tool.ZIMAGE: _ours(document),
        Tool.A1111: _a1111(text.get(A1111, "")),
        Tool.COMFYUI: read_workflow(text.get(COMFYUI, "")),
    }
    tool = next((tool for tool, fields in claims.items() if fields), None)
    fields = dict(_plain(claims[tool])) if tool else {}
    ours = document if tool is Tool.ZIMAGE else {}
    key, generator = ours.get("key"), ours.get("generator")
    named = generator.get("model") if isinstance(generator, dict) else fields.get("model")
    return Description(
        fields,
        tool,
        key if isinstance(key, str) and _KEY.fullmatch(key) else None,
        _encodable(named) if isinstance(named, str) else None,
        width,
        height,
        _moment(ours.get("created")),
    )


def _moment(claim: object) -> datetime | None:
    """Read a time with its offset from UTC; None for everything else."""
    if not isinstance(claim, str):
        return None
    try:
        moment = datetime.fromisoformat(claim)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _head(file: bytes | IO[bytes]) -> tuple[dict[str, str], tuple[int, int]]:
    opened = io.BytesIO(file) if isinstance(file, bytes) else file
    _require_few_chunks(opened)
    try:
        # Not `Image.open`: it refuses pictures with huge dimensions, but no pixels are decoded here.
        with PngImagePlugin.PngImageFile(opened) as picture:
            text = {str(name): value for name, value in picture.info.items() if isinstance(value, str)}
            return {name: value for name, value in text.items() if len(value) <= MAX_TEXT_CHARACTERS}, picture.size
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        got = Message("bytes", count=len(file)) if isinstance(file, bytes) else Message("another_file")
        raise InvalidRequest("png_head_damaged", field="file", got=got, error=error) from None


def _require_few_chunks(opened: IO[bytes]) -> None:
    """Check the number and the bytes of the chunks before the pixels, without reading them: Pillow reads them all.

    Raises:
        InvalidRequest: There are too many.
    """
    begin = opened.tell()
    if opened.read(len(_SIGNATURE)) == _SIGNATURE:
        for _ in range(MAX_CHUNKS):
            head = opened.read(8)
            if len(head) < 8 or head[4:] in _PIXELS:  # noqa: PLR2004 - a length and a name, four bytes each
                break
            if opened.seek(int.from_bytes(head[:4]) + 4, io.SEEK_CUR) - begin > MAX_HEAD_BYTES:  # with its checksum
                raise InvalidRequest("png_head_too_large", field="file", most=MAX_HEAD_BYTES)
        else:
            raise InvalidRequest("png_too_many_chunks", field="file", most=MAX_CHUNKS)
    opened.seek(begin)


def _document(text: str) -> dict[str, Any]:
    try:
        document = foreign_json.parse(text)
    except InvalidRequest:
        return {}
    return document if isinstance(document, dict) else {}


def _ours(document: Mapping[str, Any]) -> dict[str, Any]:
    request = document.get("request")
    if not isinstance(request, dict):
        return {}  # no chunk, or one of another program
    return {**request, "seed": document.get("seed", request.get("seed"))}


def _plain(claims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Leave out values that forms and databases cannot hold: nested ones, NaN, huge integers; replace surrogates."""
    for name, value in claims.items():
        match value:
            case str():
                yield _encodable(name), _encodable(value)
            case int() if abs(value) > _LARGEST:
                continue
            case float() if not math.isfinite(value):
                continue
            case int() | float() | None:
                yield _encodable(name), value


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _a1111(text: str) -> dict[str, Any]:
    *lines, last = text.strip().split("\n")
    settings = dict(_settings(last)) if len(last) <= _LONGEST_SETTINGS else {}
    if len(settings) < _FEWEST_SETTINGS:
        lines, settings = [*lines, last], {}
    prompt, negative_prompt = _prompts(lines)
    fields = {"prompt": prompt, "negative_prompt": negative_prompt, **dict(_fields(settings))}
    return fields if prompt or settings else {}


def _settings(line: str) -> Iterator[tuple[str, str]]:
    pattern, at = _SETTING, 0
    while at < len(line) and (setting := pattern.match(line, at)):
        name, quoted, closed, rest = setting.groups(default="")
        if quoted and not closed:
            # After one unclosed quotation every later quotation mark is text too.
            pattern = _UNQUOTED
            continue
        at = setting.end()
        if _NAME.fullmatch(name.strip()):
            yield name.strip(), _unquoted(quoted + rest)


def _prompts(lines: list[str]) -> tuple[str, str]:
    """Split into prompt and negative prompt at the last line that begins a negative prompt."""
    starts = [number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)]
    if not starts:
        return "\n".join(lines).strip(), ""
    negative = "\n".join(lines[starts[-1] :]).removeprefix(_NEGATIVE)
    return "\n".join(lines[: starts[-1]]).strip(), negative.strip()


def _fields(settings: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Convert settings that are request fields; others, and invalid values, are left out."""
    for theirs, ours in _SETTINGS.items():
        value = _read(PARAMETERS[ours], settings.get(theirs, ""))
        if value is not None:
            yield ours, value
    if size := re.fullmatch(r"(\d{1,6})x(\d{1,6})", settings.get("Size", "")):
        yield "width", int(size[1])
        yield "height", int(size[2])
    if model := settings.get("Model"):
        yield "model", model


def _written(row: Parameter, value: object) -> str:
    """Return a value as A1111 writes it: of a choice, its label."""
    return dict(row.choices).get(str(value), str(value))


def _read(row: Parameter, text: str) -> object:
    """Convert a value that A1111 wrote; None: it is missing or not valid."""
    if not text:
        return None
    if row.choices:
        return next((value for value, label in row.choices if label == text), None)
    try:
        value = row.kind(text)
    except ValueError:
        return None
    return value if isinstance(value, str) or math.isfinite(value) else None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ',:\n"') else value


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value
