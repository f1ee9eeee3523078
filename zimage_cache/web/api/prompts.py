"""`/prompt-info`: expands a prompt and counts its tokens; the page uses it during typing, and before drawing."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zimage_cache.request import (
    MAX_SEED,
    ImageRequest,
    SequenceLength,
    StyleName,
    Text,
    as_integer,
)
from zimage_cache.service.service import ImageService
from zimage_cache.validation import invalid_request
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.body import body_schema, json_body
from zimage_cache.web.errors import WITH_BODY, answers
from zimage_cache.web.language import localized

MOST_WILDCARDS: Final = 500


class PromptBody(BaseModel):
    """A prompt, with the fields of a picture request that affect it. Null means the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[Text, Field(examples=["a {red|blue} circle"], description="0..8000 characters.")]
    negative_prompt: Text = ""
    style: Annotated[StyleName | None, Field(description="A preset.")] = None
    seed: Annotated[
        int, Field(strict=True, ge=0, le=MAX_SEED, description="The same one picks the same."), as_integer
    ] = 0
    model: Annotated[str, Field(strict=True, max_length=300)] | None = None
    max_sequence_length: SequenceLength = ImageRequest.model_fields["max_sequence_length"].default

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:  # noqa: ANN401 - whatever a client sent
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None or name == "prompt"}


class PromptInfo(BaseModel):
    """An expanded prompt.

    `prompt` and `negative_prompt` are to be sent to `/generate`: expanded, without the style. `tokens` is the number of
    the model's tokens, its template and the style included: 0 for a blank prompt, null while it is unknown (the
    tokenizer is being read, or is not on this disk). Tokens beyond `limit` have no effect.
    """

    prompt: str
    negative_prompt: str
    expanded: bool
    tokens: int | None
    limit: int
    wildcards: Annotated[list[str], Field(description="The first 500 names, sorted.")]
    notices: Annotated[list[str], Field(description="What may be meant in another way than it is taken.")]


def add_prompt_api(app: FastAPI, service: ImageService) -> None:
    """Add the route to *app*, and a 405 for every other method on it; mount the page afterwards."""
    router = APIRouter()

    @router.post("/prompt-info", responses=answers(*WITH_BODY), openapi_extra=body_schema(service, PromptBody))
    async def prompt_info(request: Request) -> PromptInfo:
        """Expand `{red|blue}` and `__wildcards__`, and count tokens. Draws nothing, stores nothing."""
        body = _parsed(await json_body(request))
        found = await service.prompts.describe(
            body.prompt, body.negative_prompt, style=body.style, seed=body.seed, model=body.model
        )
        return PromptInfo(
            prompt=found.prompt,
            negative_prompt=found.negative_prompt,
            expanded=(found.prompt, found.negative_prompt) != (body.prompt, body.negative_prompt),
            tokens=found.tokens,
            limit=body.max_sequence_length,
            wildcards=found.wildcards[:MOST_WILDCARDS],
            notices=list(map(localized, found.notices)),
        )

    add_routes(app, router)


def _parsed(fields: object) -> PromptBody:
    try:
        return PromptBody.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None
