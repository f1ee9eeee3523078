"""A model's limits and defaults (`ModelProfile`), a request (`ImageRequest`), what determines pixels (`Recipe`)."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from zimage_cache.errors import InvalidRequest
from zimage_cache.normal_form import nfc
from zimage_cache.validation import invalid_request

MAX_TEXT = 8000
MAX_SEED = 2**32 - 1
MAX_PICTURES = 8


class Sampler(StrEnum):
    """The samplers, all of which are deterministic for a seed."""

    EULER = "euler"
    UNIPC = "unipc"
    DPMPP_2M = "dpmpp_2m"
    HEUN = "heun"


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
Side = Annotated[int, Field(strict=True, ge=64, le=2048, multiple_of=16), as_integer]
Steps = Annotated[int, Field(strict=True, ge=1, le=50), as_integer]
Guidance = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=20), as_number]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """A model's defaults and limits: sizes in pixels, steps in sampler steps."""

    name: str
    title: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    min_side: int
    max_side: int
    note: str = ""
    examples: tuple[str, ...] = ()
    weights_bytes: int = 20_500_000_000  # in bfloat16: decides which weights stay in GPU memory


class ImageRequest(BaseModel):
    """A request for one picture; `None` means the default of the model's profile.

    Sizes are pixels, multiples of 16 in 64..2048. `steps` are sampler steps. A `seed` of -1 means a random one.
    Unknown fields, a field beside its alias, and wrong types are errors; nothing is clamped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ALIASES: ClassVar[dict[str, str]] = {"num_inference_steps": "steps", "cfg_scale": "guidance_scale"}

    prompt: Annotated[
        Text,
        Field(
            min_length=1,
            examples=["a large red circle on a blue background"],
            description="What to draw, 1..8000 characters, taken as they are.",
            json_schema_extra={"pattern": r"[^\s\x1c-\x1f\x85]"},  # not blank
        ),
    ]
    negative_prompt: Annotated[Text, Field(description="What to avoid; acts only with a guidance scale above 0.")] = ""
    width: Annotated[Side | None, Field(description="Pixels, a multiple of 16; default: the model's.")] = None
    height: Annotated[Side | None, Field(description="Pixels, a multiple of 16; default: the model's.")] = None
    steps: Annotated[Steps | None, Field(description="Solver steps, 1..50; default: the model's.")] = None
    guidance_scale: Annotated[
        Guidance | None, Field(description="How closely to follow the prompt, 0..20; default: the model's.")
    ] = None
    seed: Annotated[
        int, Field(strict=True, ge=-1, le=MAX_SEED, description="0..4294967295; -1 draws one."), as_integer
    ] = -1
    sampler: Annotated[Sampler, Field(description="Solver.")] = Sampler.EULER
    shift: Annotated[
        float,
        Field(strict=True, allow_inf_nan=False, ge=0.1, le=20, description="Shift of the noise schedule, 0.1..20."),
        as_number,
    ] = 3.0
    style: Annotated[
        Annotated[str, Field(strict=True, max_length=100)] | None, Field(description="Name of a style preset.")
    ] = None
    max_sequence_length: Annotated[
        int,
        Field(strict=True, ge=64, le=1024, description="Most tokens of the prompt that are read, 64..1024."),
        as_integer,
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
class Recipe:
    """All that determines the pixels beside the generator, in canonical form: requests for equal pixels are equal.

    Text is NFC, numbers are floats without a negative zero, and a negative prompt without guidance is empty.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    sampler: str
    shift: float
    max_sequence_length: int

    def __post_init__(self) -> None:
        canonical = {
            "prompt": nfc(self.prompt),
            "negative_prompt": nfc(self.negative_prompt) if self.guidance_scale else "",
            "guidance_scale": float(self.guidance_scale) + 0.0,
            "shift": float(self.shift) + 0.0,
            "sampler": str(self.sampler),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)

    @property
    def evaluations(self) -> int:
        """How often the transformer runs: once per step; with Heun twice per step, but once in the last."""
        return 2 * self.steps - 1 if self.sampler == Sampler.HEUN else self.steps
