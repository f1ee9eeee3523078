"""A request in OpenAI's form: its fields, what of them counts here, and errors in its terms."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from zimage_cache.errors import InvalidRequest
from zimage_cache.metadata.encodings import QUALITY
from zimage_cache.request import as_integer
from zimage_cache.web.body import GenerateBody

# Fields of OpenAI's that cannot change a picture here.
_IGNORED: Final = frozenset({"quality", "moderation", "user", "input_fidelity"})
_THEIR_STYLES: Final = ("vivid", "natural")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


class ImagesBody(GenerateBody):
    """A request in OpenAI's form; beside its fields, those of `/generate` count. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="allow")

    size: Annotated[str, Field(strict=True, max_length=11, description="`auto`, or WIDTHxHEIGHT in pixels.")] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[
        int, Field(strict=True, ge=0, le=100, description="Quality of JPEG and WebP."), as_integer
    ] = QUALITY
    background: Literal["auto", "opaque", "transparent"] = "auto"
    stream: Annotated[bool, Field(strict=True)] = False
    partial_images: Annotated[int, Field(strict=True, ge=0, le=3), as_integer] = 0

    @property
    def suffix(self) -> str:
        """The suffix of a file of the wanted format."""
        return {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}[self.output_format]

    @property
    def encoding_quality(self) -> int:
        """The quality of the wanted encoding, 1..100."""
        return max(1, self.output_compression)


def parsed(fields: object) -> tuple[ImagesBody, list[str]]:
    """Parse a request; also returns the names of its fields that have no effect.

    Raises:
        InvalidRequest: It breaks a rule; names the field.
    """
    if not isinstance(fields, dict):
        return ImagesBody.parse(fields), []
    theirs = {name: value for name, value in fields.items() if _is_theirs(name, value)}
    own = {name: value for name, value in fields.items() if name not in theirs}
    sides = _sides(fields.get("size"))
    if twice := next((name for name in sides if own.get(name) is not None), None):
        raise InvalidRequest("given_twice", field=twice, alias="size")
    body = ImagesBody.parse(own | sides)
    if body.background == "transparent":
        raise InvalidRequest("transparent", field="background")
    # `auto` asks for nothing.
    ignored = [name for name, value in theirs.items() if value is not None and value != "auto"]
    return body, ignored + list(body.model_extra or ())


def _is_theirs(name: str, value: object) -> bool:
    """Return whether a field is one of OpenAI's that changes nothing here."""
    return name in _IGNORED or (name == "style" and value in _THEIR_STYLES)


def _sides(size: object) -> dict[str, int]:
    """Return width and height in pixels; nothing for `auto`, and for what is no text.

    Raises:
        InvalidRequest: It is neither `auto` nor a size.
    """
    if not isinstance(size, str) or size == "auto":
        return {}
    match = _SIZE.fullmatch(size)
    if match is None:
        raise InvalidRequest("size_form", field="size", got=size)
    return {"width": int(match[1]), "height": int(match[2])}


@contextmanager
def naming_size(fields: object) -> Iterator[None]:
    """Let errors about a side name the field `size`, where that was given."""
    try:
        yield
    except InvalidRequest as error:
        if error.field in {"width", "height"} and isinstance(fields, dict) and error.field not in fields:
            raise InvalidRequest.of(error.reason, field="size") from None
        raise
