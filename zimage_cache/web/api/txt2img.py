"""`txt2img` of AUTOMATIC1111's API in this program's terms: the body, the answer, and how a picture differs from it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata import png
from zimage_cache.metadata.claims import is_our_schedule, without_schedule
from zimage_cache.metadata.container import read_container
from zimage_cache.prompts.styles import styles
from zimage_cache.request import (
    MAX_PICTURES,
    ImageRequest,
    Integer,
    ModelProfile,
    Number,
    Prompt,
    Sampler,
    Seed,
    Side,
    StyleName,
    Text,
    as_integer,
)
from zimage_cache.service.job import Outcome
from zimage_cache.validation import invalid_request
from zimage_cache.web.body import json_body

Name = Annotated[str, Field(strict=True, max_length=300)]
Count = Annotated[int, Field(strict=True, ge=1, le=MAX_PICTURES), as_integer]
# A1111's fields without effect here, and the values beside null at which they change no picture in A1111 either.
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = MappingProxyType(
    {
        "alwayson_scripts": ({},),
        "enable_hr": (False,),
        "init_images": ([],),
        "refiner_checkpoint": ("", "None"),
        "restore_faces": (False,),
        "s_churn": (0,),
        "script_name": ("", "None"),
        "seed_resize_from_h": (0, -1),
        "seed_resize_from_w": (0, -1),
        "subseed_strength": (0,),
        "tiling": (False,),
    }
)
_NEUTRAL_SETTINGS: Final[Mapping[str, tuple[object, ...]]] = MappingProxyType(
    {
        "CLIP_stop_at_last_layers": (0, 1),
        "eta_noise_seed_delta": (0,),
        "forge_additional_modules": ([],),
        "sd_vae": ("", "None", "Automatic"),
    }
)
SHORT_HASH: Final = 10  # characters
_DECIMALS: Final = 10  # 1.1 - 1 is not quite 0.1
_MOST_NAMED: Final = 10


class LenientBody(BaseModel):
    """A body as A1111 reads it: null means the default, and unknown fields have no effect."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:  # noqa: ANN401 - whatever a client sent
        return {name: v for name, v in fields.items() if v is not None} if isinstance(fields, dict) else fields

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

    @classmethod
    async def of(cls, request: Request) -> Self:
        """Read and validate the body of a request; a dependency of routes."""
        return cls.parse(await json_body(request))


class OverrideSettings(BaseModel):
    """Settings for one request; others than these have no effect."""

    model_config = ConfigDict(frozen=True, extra="allow")

    sd_model_checkpoint: Annotated[Name | None, Field(description="A name of `GET /sdapi/v1/sd-models`.")] = None
    zimage_exact: Annotated[
        Annotated[bool, Field(strict=True)] | None,
        Field(description="Take `steps` and `cfg_scale` of the request in place of the model's own."),
    ] = None


class Txt2Img(LenientBody):
    """What of A1111's request has an effect here."""

    prompt: Prompt
    negative_prompt: Text = ""
    styles: Annotated[list[StyleName], Field(description="The first preset of this server counts.")] = []
    seed: Seed = -1
    width: Side | None = None
    height: Side | None = None
    steps: Integer | None = None
    cfg_scale: Annotated[Number | None, Field(description="1 means no guidance: `guidance_scale` is one less.")] = None
    sampler_name: Name | None = None
    sampler_index: Annotated[Name | None, Field(description="The older name of `sampler_name`.")] = None
    batch_size: Annotated[Count, Field(description="Times `n_iter`: 1..8 pictures, with seeds counting up.")] = 1
    n_iter: Count = 1
    override_settings: Annotated[OverrideSettings, Field(default_factory=OverrideSettings)]

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if self.n > MAX_PICTURES:
            raise InvalidRequest("times_n_iter", field="batch_size", most=MAX_PICTURES, got=self.n)
        return self

    @property
    def n(self) -> int:
        """How many pictures."""
        return self.batch_size * self.n_iter

    def picture(self) -> ImageRequest:
        """Return the request for one picture.

        Raises:
            InvalidRequest: It breaks a rule of this program; names the field.
        """
        asked = self.model_dump(include={"prompt", "negative_prompt", "seed", "width", "height"})
        if self.override_settings.zimage_exact:
            asked |= {"steps": self.steps, "guidance_scale": self._guidance}
        return ImageRequest.parse(asked | {"style": self._style, "sampler": self._sampler})

    def notes(self, profile: ModelProfile) -> Iterator[Message]:
        """Tell what is drawn otherwise than asked for."""
        asked = (self.steps, profile.steps), (self._guidance, profile.guidance_scale)
        if not self.override_settings.zimage_exact and any(given not in {None, own} for given, own in asked):
            cfg = profile.guidance_scale + 1
            yield Message("sd_own_steps", steps=profile.steps, cfg=cfg, title=profile.title)
        if self._sampler_name and self._sampler is None:
            yield Message("sd_no_sampler", name=self._sampler_name, used=Sampler.EULER.label)
        if unused := [name for name in self.styles if name != self._style]:
            yield Message("sd_unused_styles", names=tuple(unused[:_MOST_NAMED]))
        if ignored := self.ignored:
            yield Message("sd_ignored", fields=tuple(ignored))

    @property
    def ignored(self) -> list[str]:
        """The fields that would have changed pixels of A1111, and have no effect here."""
        fields, settings = self.model_extra or {}, self.override_settings.model_extra or {}
        found = [*_changing(fields, _NEUTRAL), *_changing(settings, _NEUTRAL_SETTINGS)]
        schedules = without_schedule(self._sampler_name)[1], fields.get("scheduler")
        if any(isinstance(each, str) and not is_our_schedule(each) for each in schedules):
            found.append("scheduler")
        return found

    @property
    def _guidance(self) -> float | None:
        return None if self.cfg_scale is None else round(max(0.0, self.cfg_scale - 1), _DECIMALS)

    @property
    def _style(self) -> str | None:
        return next(filter(styles().__contains__, self.styles), None)

    @property
    def _sampler_name(self) -> str:
        return self.sampler_name or self.sampler_index or ""

    @property
    def _sampler(self) -> Sampler | None:
        return without_schedule(self._sampler_name)[0]


def _changing(given: Mapping[str, object], neutral: Mapping[str, tuple[object, ...]]) -> Iterator[str]:
    """Yield the names of *given* values that are not *neutral*."""
    return (name for name, harmless in neutral.items() if given.get(name) is not None and given[name] not in harmless)


class Txt2ImgAnswer(BaseModel):
    """The pictures as PNG files in base64; `info` is a JSON object in a string."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


def infotext(file: bytes) -> str:
    """Return the parameters in a picture as A1111 writes them; an empty text where it has none."""
    return read_container(file).texts.get(png.A1111, "")


def told(body: Txt2Img, outcomes: Sequence[Outcome], model: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return what `info` tells of the pictures: as they were drawn, not as they were asked for."""
    records = [outcome.entry.record for outcome in outcomes]
    first, seeds = records[0], [record.request["seed"] for record in records]
    n, drawn = len(records), first.request
    return {
        "prompt": body.prompt,
        "all_prompts": [body.prompt] * n,
        "negative_prompt": body.negative_prompt,
        "all_negative_prompts": [body.negative_prompt] * n,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": first.width,
        "height": first.height,
        "sampler_name": Sampler(drawn["sampler"]).label,
        "steps": drawn["steps"],
        "cfg_scale": drawn["guidance_scale"] + 1,
        "batch_size": n,
        "styles": list(body.styles),
        "sd_model_name": model,
        "sd_model_hash": first.generator.revision[:SHORT_HASH],
        "index_of_first_image": 0,
        "infotexts": [infotext(outcome.entry.png) for outcome in outcomes],
        "extra_generation_params": {},
        "notes": list(notes),
        "ignored": body.ignored,
    }


def in_base64(file: bytes) -> str:
    """Return the bytes of a file as JSON can hold them."""
    return base64.b64encode(file).decode()
