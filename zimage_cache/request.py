"""A request (`ImageRequest`), what determines pixels (`Recipe`), and the table of parameters (`PARAMETERS`).

A parameter is declared once, as a field of `ImageRequest`; a field of `Recipe` with the same name makes it one that
changes pixels. Key, command line, OpenAPI, page, links and the text in PNG files follow from these two.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.normal_form import nfc
from zimage_cache.prompts.vocabulary import Vocabulary
from zimage_cache.validation import invalid_request

MAX_TEXT = 8000
MAX_SEED = 2**32 - 1
MAX_PICTURES = 8
SIDE_STEP = 16


class Sampler(StrEnum):
    """The samplers, all of which are deterministic for a seed."""

    EULER = "euler"
    UNIPC = "unipc"
    DPMPP_2M = "dpmpp_2m"
    HEUN = "heun"

    @property
    def label(self) -> str:
        """The name that people and other tools use."""
        return _LABELS[self]


_LABELS: Final = MappingProxyType(
    {Sampler.EULER: "Euler", Sampler.UNIPC: "UniPC", Sampler.DPMPP_2M: "DPM++ 2M", Sampler.HEUN: "Heun"}
)


class CacheMode(StrEnum):
    """How one request uses the cache: normally, generate and replace, neither read nor store, never generate."""

    USE = "use"
    REFRESH = "refresh"
    BYPASS = "bypass"
    ONLY = "only"


def _integer(value: object) -> object:
    """Convert 8.0 to 8; other values go unchanged to the strict validation, which accepts no booleans and no text."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> object:
    """Convert integers of any size, so that 10**400 fails the range check instead of overflowing."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return float("inf")
    return value


# These validators come last in each annotation, after its bounds: otherwise the JSON schema would lack the bounds.
as_integer = BeforeValidator(_integer)
as_number = BeforeValidator(_number)
Integer = Annotated[int, Field(strict=True), as_integer]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), as_number]
Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT)]
Prompt = Annotated[
    Text,
    Field(
        min_length=1,
        examples=["a red lighthouse by the sea at sunset"],
        description="What to draw, 1..8000 characters, taken as they are.",
        json_schema_extra={"pattern": r"[^\s\x1c-\x1f\x85]"},  # not blank
    ),
]
StyleName = Annotated[str, Field(strict=True, max_length=100)]
Seed = Annotated[int, Field(strict=True, ge=-1, le=MAX_SEED, description="0..4294967295; -1 draws one."), as_integer]
Side = Annotated[int, Field(strict=True, ge=64, le=2048, multiple_of=SIDE_STEP), as_integer]
Steps = Annotated[int, Field(strict=True, ge=1, le=50), as_integer]
Guidance = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=20), as_number]
Shift = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.1, le=20), as_number]
SequenceLength = Annotated[int, Field(strict=True, ge=64, le=1024), as_integer]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a field of `ImageRequest` adds to its type and range.

    Attributes:
        step: Distance of two values of the page's slider. Fields with one have a generated widget under "Advanced",
            as have choices.
        a1111: Its name in the `parameters` chunk of a PNG.
    """

    step: float | None = None
    a1111: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """A model's defaults and limits: sizes in pixels, steps in sampler steps.

    A parameter with the name of one of these fields has its default here.
    """

    name: str
    title: str | Message  # a message where it is a description, which is translated
    width: int
    height: int
    steps: int
    guidance_scale: float
    min_side: int
    max_side: int
    note: str = ""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # prompts by language
    styles: tuple[str, ...] | None = None  # the presets that have an effect; None = all
    vocabulary: Vocabulary | None = None  # the words it was taught; None = any
    weights_bytes: int = 20_500_000_000  # in bfloat16: decides which weights stay in GPU memory


class ImageRequest(BaseModel):
    """A request for one picture; `None` means the default of the model's profile.

    Sizes are pixels, multiples of 16 in 64..2048. `steps` are sampler steps. A `seed` of -1 means a random one.
    Unknown fields, a field beside its alias, and wrong types are errors; nothing is clamped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ALIASES: ClassVar[dict[str, str]] = {"num_inference_steps": "steps", "cfg_scale": "guidance_scale"}

    prompt: Prompt
    negative_prompt: Annotated[Text, Field(description="What to avoid; acts only with a guidance scale above 0.")] = ""
    style: Annotated[StyleName | None, Field(description="Name of a style preset.")] = None
    width: Annotated[Side | None, Field(description="Pixels, a multiple of 16; default: the model's.")] = None
    height: Annotated[Side | None, Field(description="Pixels, a multiple of 16; default: the model's.")] = None
    seed: Annotated[Seed, Shown(a1111="Seed")] = -1
    steps: Annotated[
        Steps | None,
        Field(description="Solver steps, 1..50; default: the model's."),
        Shown(step=1, a1111="Steps"),
    ] = None
    guidance_scale: Annotated[
        Guidance | None,
        Field(description="How closely to follow the prompt, 0..20; default: the model's."),
        Shown(step=0.1, a1111="CFG scale"),
    ] = None
    sampler: Annotated[Sampler, Field(description="Solver."), Shown(a1111="Sampler")] = Sampler.EULER
    shift: Annotated[Shift, Field(description="Shift of the noise schedule, 0.1..20."), Shown(step=0.1)] = 3.0
    max_sequence_length: Annotated[
        SequenceLength, Field(description="Most tokens of the prompt that are read, 64..1024."), Shown(step=64)
    ] = 512

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, fields: Any) -> Any:  # noqa: ANN401 - whatever a client sent
        """Replace aliases by their names and drop nulls, which mean the default everywhere but in `prompt`."""
        if not isinstance(fields, dict):
            return fields
        spelled: dict[str, object] = {}
        for given, value in fields.items():
            target = cls.ALIASES.get(given) or given
            if target in spelled:
                alias = next(alias for alias, name in cls.ALIASES.items() if name == target)
                raise InvalidRequest("given_twice", field=target, alias=alias)
            spelled[target] = value
        return {name: v for name, v in spelled.items() if v is not None or name == "prompt"}

    @model_validator(mode="after")
    def _not_blank(self) -> Self:
        if not self.prompt.strip():
            raise InvalidRequest("blank", field="prompt")
        return self

    @classmethod
    def parse(cls, fields: object) -> Self:
        """Validate fields received from a client.

        Raises:
            InvalidRequest: The message names the field, the rule and the value received.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_request(error) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A row of the table of parameters: what other modules need to know about one field of a request.

    Attributes:
        kind: `int`, `float` or `str`.
        default: None where the model's profile has it.
        minimum: Of a number, inclusive, as `maximum`.
        choices: Of a text that is one of a few: (value, label) of each.
        step: As in `Shown`, as `a1111`.
    """

    kind: type[int] | type[float] | type[str]
    default: Any
    minimum: float = -math.inf
    maximum: float = math.inf
    choices: tuple[tuple[str, str], ...] = ()
    step: float | None = None
    a1111: str = ""


_KINDS: Final[Mapping[str, Any]] = MappingProxyType({"integer": int, "number": float, "string": str})


def parameters(asked: type[BaseModel]) -> dict[str, Parameter]:
    """Return the rows of all fields of a request, in the order of their declaration."""
    schema = asked.model_json_schema()["properties"]
    return {name: _parameter(field, schema[name]) for name, field in asked.model_fields.items()}


def _parameter(field: FieldInfo, schema: Mapping[str, Any]) -> Parameter:
    rule = schema["anyOf"][0] if "anyOf" in schema else schema
    shown = next((each for each in field.metadata if isinstance(each, Shown)), Shown())
    return Parameter(
        kind=_KINDS[rule.get("type", "string")],  # an enumeration, which is a reference, has no type here
        default=field.default,
        minimum=rule.get("minimum", -math.inf),
        maximum=rule.get("maximum", math.inf),
        choices=_choices(field.annotation),
        step=shown.step,
        a1111=shown.a1111,
    )


def _choices(kind: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - a type
    if not (isinstance(kind, type) and issubclass(kind, StrEnum)):
        return ()
    return tuple((str(member), getattr(member, "label", str(member))) for member in kind)


def _default(name: str) -> Any:  # noqa: ANN401 - of the field's type
    return ImageRequest.model_fields[name].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that determines the pixels beside the generator, in canonical form: requests for equal pixels are equal.

    Text is NFC, numbers are floats without a negative zero, and a negative prompt without guidance is empty.
    Each field has the name of a field of `ImageRequest`; one added after version 1 of the key has that field's default.
    """

    prompt: str
    negative_prompt: str = _default("negative_prompt")
    width: int
    height: int
    seed: int
    steps: int
    guidance_scale: float
    sampler: str = _default("sampler")
    shift: float = _default("shift")
    max_sequence_length: int = _default("max_sequence_length")

    def __post_init__(self) -> None:
        for name in _TEXTS:
            object.__setattr__(self, name, nfc(str(getattr(self, name))))
        for name in _FLOATS:
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)
        if not self.guidance_scale:
            object.__setattr__(self, "negative_prompt", "")

    @property
    def evaluations(self) -> int:
        """How often the transformer runs: once per step; with Heun twice per step, but once in the last."""
        return 2 * self.steps - 1 if self.sampler == Sampler.HEUN else self.steps


_TEXTS: Final = tuple(field.name for field in fields(Recipe) if field.type is str)
_FLOATS: Final = tuple(field.name for field in fields(Recipe) if field.type is float)
_PIXELS: Final = frozenset(field.name for field in fields(Recipe))
# The table of the parameters that change pixels, in the order of their declaration; and those with a default by model.
PARAMETERS: Final = MappingProxyType({name: row for name, row in parameters(ImageRequest).items() if name in _PIXELS})
BY_MODEL: Final = frozenset(field.name for field in fields(ModelProfile)) & _PIXELS
