"""The contents of the cache: `Record`, the JSON in `keys/`, and `Entry`, a record with its PNG bytes."""

import builtins
import hashlib
import math
import operator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from zimage_cache.errors import CorruptEntry
from zimage_cache.fingerprint import GeneratorIdentity, canonical_text, key_of
from zimage_cache.i18n.messages import Message, message_of
from zimage_cache.request import Recipe


class Source(StrEnum):
    """Where a picture came from: a tier, a run of this request, or (shared) a run that another request had started.

    The word of a tier stands here alone: answers, statistics and metrics are made from this list.
    """

    MEMORY = "memory"
    DISK = "disk"
    GENERATED = "generated"
    SHARED = "shared"

    @property
    def cached(self) -> bool:
        """Whether it is a tier."""
        return self is not Source.GENERATED and self is not Source.SHARED


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _optional(value: object, validate: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - of the field's type
    """Return nothing for another form of the field, because `Record.warnings` is enough."""
    try:
        return validate(value)
    except ValidationError:
        return ()


class Record(BaseModel):
    """The metadata of a stored picture.

    `canonical` is the exact text whose SHA-256 is `key`; `digest` is the SHA-256 of the PNG, `bytes` its size;
    `request` is the request with its concrete seed; `warning_rules` are the `warnings` as documents of messages.
    Fields that a later version adds are ignored on reading.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    key: Sha256
    canonical: str
    digest: Sha256
    bytes: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    created: AwareDatetime
    gpu_seconds: Annotated[float, Field(ge=0)]
    request: dict[str, Any]
    generator: GeneratorIdentity
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
    warning_rules: Annotated[
        tuple[Any, ...], Field(strict=False, exclude_if=operator.not_), WrapValidator(_optional)
    ] = ()

    @field_validator("request")
    @classmethod
    def _concrete(cls, request: dict[str, Any]) -> dict[str, Any]:
        """Require an integer seed, and only values that JSON can represent, because answers contain both."""
        if type(request.get("seed")) is not int:
            raise ValueError("should hold its concrete seed")
        if any(isinstance(value, float) and not math.isfinite(value) for value in request.values()):
            raise ValueError("should hold finite numbers")
        return request

    @classmethod
    def from_json(cls, text: str | builtins.bytes) -> Self:
        """Parse a file of `keys/`.

        Raises:
            CorruptEntry: The text is no record, or its key is not the fingerprint of its canonical text.
        """
        try:
            record = cls.model_validate_json(text)
            expected = key_of(record.canonical)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise CorruptEntry(": ".join(("record", *map(str, first["loc"]), first["msg"]))) from None
        if record.key != expected:
            raise CorruptEntry("record: its key is not the fingerprint of its canonical text")
        return record

    @property
    def warning_messages(self) -> tuple[Message, ...]:
        """The warnings in every language, those of another version of this program in English alone."""
        pairs = zip_longest(self.warnings, self.warning_rules[: len(self.warnings)])
        return tuple(message_of(rule) or Message("as_said", text=text) for text, rule in pairs)

    def to_json(self) -> str:
        """Return the text for `keys/`: one field per line, suited for diff and grep."""
        return self.model_dump_json(indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored picture: its record and its PNG bytes."""

    record: Record
    png: bytes

    @classmethod
    def of(
        cls,
        png: bytes,
        *,
        recipe: Recipe,
        identity: GeneratorIdentity,
        created: datetime,
        gpu_seconds: float,
        request: dict[str, Any],
        versions: dict[str, str],
        warnings: tuple[Message, ...] = (),
        salt: str = "",
    ) -> Self:
        """Make the entry of a newly drawn picture; *request* holds its concrete seed."""
        canonical = canonical_text(recipe, identity, salt)
        record = Record(
            key=key_of(canonical),
            canonical=canonical,
            digest=hashlib.sha256(png).hexdigest(),
            bytes=len(png),
            width=recipe.width,
            height=recipe.height,
            created=created,
            gpu_seconds=gpu_seconds,
            request=request,
            generator=identity,
            versions=versions,
            warnings=tuple(map(str, warnings)),
            warning_rules=tuple(warning.document() for warning in warnings),
        )
        return cls(record, png)

    def verify(self) -> None:
        """Compare the bytes with the record.

        Raises:
            CorruptEntry: The size or the SHA-256 differs from the record.
        """
        if len(self.png) != self.record.bytes:
            raise CorruptEntry(f"image: {len(self.png)} bytes, its record says {self.record.bytes}")
        if hashlib.sha256(self.png).hexdigest() != self.record.digest:
            raise CorruptEntry("image: its SHA-256 is not the one in its record")


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry found in the cache, and its tier; of one that another process has just stored, `Source.SHARED`."""

    entry: Entry
    source: Source
