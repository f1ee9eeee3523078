"""What a picture says that it was made from: finds its texts, whichever tool wrote them, and reads them."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from zimage_cache import foreign_json
from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata import a1111, comfyui, documents
from zimage_cache.metadata.claims import Claims, Tool, encodable, taken
from zimage_cache.metadata.container import Container, MediaType, read_container
from zimage_cache.metadata.png import ZIMAGE

_KEY: Final = re.compile(r"[0-9a-f]{64}")
# Objects within objects that tools write where a format has room for one text only, or around the settings.
_NESTED: Final = frozenset(
    {"prompt", "workflow", "comment", "parameters", "extrametadata", "generation_data", "sui_image_params", "image"}
    | {"invokeai_metadata", "metadata", "meta", "usercomment"}
)
_DEEPEST: Final = 3
_LOOKED_AT: Final = 20  # characters
_LONGEST_NAME: Final = 40
_MOST_SIGNS: Final = 200_000  # of JSON: a graph of 5,000 nodes
_MOST_DOCUMENTS: Final = 100
_MOST_NOTES: Final = 20
_BY_NODE: Final = "ComfyUI"


@dataclass(frozen=True, slots=True)
class Description:
    """The metadata of a file.

    Attributes:
        parameters: By the names of request fields, strings, numbers in the range of a request, or None; empty when the
            file has none.
        tool: The program that wrote them; None: no text of the file was recognised.
        notes: What was not taken over, and why.
        key: From files of this program.
        model: The name of the model.
        media_type: Of the file, by its first bytes.
        width: In pixels, from the header, as is the height.
    """

    parameters: dict[str, Any]
    tool: Tool | None
    notes: tuple[Message, ...]
    key: str | None
    model: str | None
    media_type: MediaType
    width: int
    height: int


def describe(file: bytes | IO[bytes]) -> Description:
    """Read a picture's texts; no pixels are decoded.

    Of several tools the first counts: this program, tools that write objects, A1111 and its relatives, ComfyUI.

    Raises:
        InvalidRequest: The file is no PNG, JPEG or WebP, or is damaged before its pixels.
        OSError: An open file cannot be read.
    """
    found = read_container(file)
    objects, trouble = _objects(found.texts)
    every = list(_every_claim(found.texts, objects))
    claims = next((each for each in every if each.fields), every[0] if every else None)
    parameters, notes = taken(claims) if claims else ({}, ())
    if not parameters:
        notes = (*notes, *trouble, *_about_long_texts(found))
    own = objects.get(ZIMAGE, {}) if claims and claims.tool is Tool.ZIMAGE else {}
    key, generator = own.get("key"), own.get("generator")
    model = generator.get("model") if isinstance(generator, Mapping) else parameters.get("model")
    return Description(
        parameters,
        claims.tool if claims else None,
        notes[:_MOST_NOTES],
        key if isinstance(key, str) and _KEY.fullmatch(key) else None,
        encodable(model) if isinstance(model, str) else None,
        found.media_type,
        found.width,
        found.height,
    )


def _every_claim(texts: Mapping[str, str], objects: Mapping[str, documents.Document]) -> Iterator[Claims]:
    if own := _own(objects.get(ZIMAGE, {})):
        yield own
    read = documents.read(objects)
    yield from (each for each in read if each.tool not in documents.AFTER_COMFYUI)
    text, graph = a1111.read(texts), comfyui.read(objects)
    # Nodes that write such a text take it from inputs of their own, which may have been left as they were.
    by_node = text is not None and text.others.get("Version") == _BY_NODE
    whole = graph is not None and graph.fields.keys() >= {"prompt", "seed"}
    yield from filter(None, [graph, text] if by_node and whole else [text, graph])
    yield from (each for each in read if each.tool in documents.AFTER_COMFYUI)


def _own(document: documents.Document) -> Claims | None:
    request = document.get("request")
    if not isinstance(request, dict):
        return None  # no chunk, or one of another program
    return Claims(Tool.ZIMAGE, {**request, "seed": document.get("seed", request.get("seed"))})


def _objects(texts: Mapping[str, str]) -> tuple[dict[str, documents.Document], list[Message]]:
    """Parse every text that is a JSON object, and objects within them, by their names; all texts are one more object.

    Also return notes about texts that begin like an object and are none.
    """
    objects: dict[str, documents.Document] = {}
    trouble: list[Message] = []
    waiting: deque[tuple[str, object, int]] = deque(
        (name, text, 1)
        for name, text in texts.items()
        if text.lstrip()[:1] == "{" and not (name == "workflow" and "prompt" in texts)  # the same graph, for the editor
    )
    while waiting and len(objects) < _MOST_DOCUMENTS:
        name, value, depth = waiting.popleft()
        document = _parsed(name, value, trouble) if isinstance(value, str) else value
        if not isinstance(document, dict):
            continue
        objects.setdefault(name, document)
        inner = document.items() if depth < _DEEPEST else ()
        waiting += [(each.lower(), nested, depth + 1) for each, nested in inner if each.lower() in _NESTED]
    return objects | {"": texts}, trouble


def _parsed(name: str, text: str, trouble: list[Message]) -> object:
    try:
        return foreign_json.parse(text.strip("\0 \t\r\n"), most=_MOST_SIGNS)
    except InvalidRequest as error:
        if '"' in text[:_LOOKED_AT]:  # {red|blue} is a prompt
            trouble.append(Message("note_unreadable", name=encodable(name)[:_LONGEST_NAME], reason=error.reason))
        return None


def _about_long_texts(found: Container) -> Iterator[Message]:
    for name in dict.fromkeys(found.too_long):
        yield Message("note_text_too_long", name=encodable(name)[:_LONGEST_NAME])
