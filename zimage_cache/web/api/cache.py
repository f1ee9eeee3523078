"""The routes for administration of the cache: statistics, list, prune, delete, pin."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, create_model

from zimage_cache.cache.cache import Held
from zimage_cache.cache.index import Listed
from zimage_cache.request import Integer, Number, as_integer
from zimage_cache.service.service import ImageService
from zimage_cache.service.statistics import Counts, overview
from zimage_cache.units import bytes_in, seconds_in
from zimage_cache.validation import invalid_request
from zimage_cache.web.api.accounts import require_administrator
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.body import json_body
from zimage_cache.web.errors import WITH_BODY, Refused, answers
from zimage_cache.web.root_path import address

MOST_LISTED: Final = 500
MOST_SOUGHT: Final = 1000  # characters of a query: a search takes time in proportion to them and to each prompt
_LISTED: Final = 50
_CURSOR: Final = r"^[0-9]{1,12}(\.[0-9]{1,17})?~[0-9a-f]{64}$"
_Key = Annotated[str, Path(description="The 64 hex digits of a stored picture.")]


def _from_text(read: Any, kind: str, unit: str) -> tuple[BeforeValidator, WithJsonSchema]:  # noqa: ANN401 - of `units`
    text = {"type": "string", "pattern": rf"^\d{{1,15}}(\.\d{{1,9}})?\s*{unit}$"}
    return (
        BeforeValidator(lambda value: read(value) if isinstance(value, str) else value),
        WithJsonSchema({"anyOf": [{"type": kind, "minimum": 0}, text]}),
    )


_Seconds = Annotated[Annotated[Number, Field(ge=0)], *_from_text(seconds_in, "number", "[smhd]?")]
_Bytes = Annotated[Annotated[Integer, Field(ge=0)], *_from_text(bytes_in, "integer", "([kKmMgGtT][iI]?[bB]|[bB]?)")]
_Entries = Annotated[int, Field(strict=True, ge=0), as_integer]

_COUNTS: Final[dict[str, Any]] = {each.name: (each.type, ...) for each in fields(Counts)}
Span = create_model("Span", __doc__=Counts.__doc__, since=(datetime, ...), hit_ratio=(float | None, ...), **_COUNTS)


class Stats(BaseModel):
    """The answer of `/cache/stats`: present contents, lifetime counts of all processes, and counts of this process."""

    database: str | None
    now: Held
    lifetime: Span  # type: ignore[valid-type]  # made of the names of `Counts`
    this_process: Span  # type: ignore[valid-type]  # likewise


class StoredPicture(BaseModel):
    """One stored picture; sizes are bytes and pixels, `frequency` counts how often it was drawn or served."""

    key: str
    prompt: str
    seed: int
    width: int
    height: int
    model: str
    created: datetime
    age_seconds: float
    bytes: int
    gpu_seconds: float
    frequency: int
    pinned: bool
    image_url: str
    thumbnail_url: str


class StoredPictures(BaseModel):
    """The answer of `/cache/entries`; `cursor` requests the next page, null on the last."""

    entries: list[StoredPicture]
    cursor: str | None


class PruneBody(BaseModel):
    """What to remove: pictures older than a limit, then those of least worth down to a size and a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    older_than: Annotated[_Seconds | None, Field(description="Seconds, or text such as 7d.", examples=["7d"])] = None
    to_bytes: Annotated[_Bytes | None, Field(description="Bytes, or text such as 1GiB.", examples=["1GiB"])] = None
    max_entries: Annotated[_Entries | None, Field(description="Pictures that may be left.")] = None
    dry_run: Annotated[bool, Field(strict=True, description="Only tell what would go.")] = False

    @classmethod
    def parse(cls, given: object) -> Self:
        """Validate what arrived from outside.

        Raises:
            InvalidRequest: Names the field, the rule and the value got.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise invalid_request(error) from None


class PrunedAnswer(BaseModel):
    """The answer of `/cache/prune`: what was removed, or with `dry_run` would have been."""

    entries: int
    bytes: int
    dry_run: bool


class Deleted(BaseModel):
    """The answer of `DELETE /cache/{key}`."""

    key: str
    deleted: bool = True


class Pinned(BaseModel):
    """The answer of `/cache/{key}/pin` and `/unpin`."""

    key: str
    pinned: bool


def add_cache_api(app: FastAPI, service: ImageService) -> None:
    """Add the routes below `/cache/` to *app*, and a 405 for every other method on them."""
    # Fixed paths first, with their 405: `DELETE /cache/stats` must not be read as deleting the key "stats".
    for add in (_add_overview, _add_entry):
        administrators = [Depends(require_administrator)]
        router = APIRouter(prefix="/cache", tags=["cache"], dependencies=administrators)
        add(router, service)
        add_routes(app, router)


# None of these routes is a coroutine: FastAPI runs them in threads, where they may block for the disk.


def _add_overview(router: APIRouter, service: ImageService) -> None:
    @router.get("/stats")
    def stats() -> Stats:
        """Return the statistics of the cache: contents, lifetime counts, and counts since this process started."""
        return Stats.model_validate(overview(service.cache.held(), service.statistics))

    @router.get("/entries", responses=answers(422))
    def entries(
        query: Annotated[str, Query(max_length=MOST_SOUGHT, description="Part of the prompt.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = _LISTED,
        cursor: Annotated[str | None, Query(pattern=_CURSOR, description="Of the page before.")] = None,
    ) -> StoredPictures:
        """List stored pictures, newest first."""
        page = service.cache.entries(query, limit, cursor)
        now = datetime.now(UTC)
        return StoredPictures(entries=[_stored(listed, now) for listed in page.items], cursor=page.cursor)

    @router.post("/prune", responses=answers(*WITH_BODY), openapi_extra=_prune_schema())
    def prune(body: Annotated[PruneBody, Depends(_prune_body)]) -> PrunedAnswer:
        """Remove old pictures, then those of least worth down to a size and a number, pinned ones never."""
        pruned = service.cache.prune(
            older_than=body.older_than, to_bytes=body.to_bytes, to_entries=body.max_entries, dry_run=body.dry_run
        )
        return PrunedAnswer(entries=pruned.entries, bytes=pruned.bytes, dry_run=body.dry_run)


def _add_entry(router: APIRouter, service: ImageService) -> None:
    @router.get("/{key}", responses=answers(404, 405, 422))
    def entry(key: _Key) -> StoredPicture:
        """Return one stored picture as in the list; nothing is counted or touched."""
        listed = service.cache.show(key)
        if listed is None:
            raise _missing(key)
        return _stored(listed, datetime.now(UTC))

    @router.delete("/{key}", responses=answers(404, 405, 422))
    def delete(key: _Key) -> Deleted:
        """Remove a stored picture, pinned or not; copies in `output_image/` stay."""
        _require(there=service.delete(key), key=key)
        return Deleted(key=key)

    @router.post("/{key}/pin", responses=answers(404, 405, 413, 422))
    def pin(key: _Key) -> Pinned:
        """Keep a stored picture until it is deleted by name."""
        _require(there=service.pin(key), key=key)
        return Pinned(key=key, pinned=True)

    @router.post("/{key}/unpin", responses=answers(404, 405, 413, 422))
    def unpin(key: _Key) -> Pinned:
        """Let a stored picture go like any other."""
        _require(there=service.cache.show(key) is not None, key=key)
        service.cache.unpin(key)
        return Pinned(key=key, pinned=False)


async def _prune_body(request: Request) -> PruneBody:
    return PruneBody.parse(await json_body(request))


def _prune_schema() -> dict[str, Any]:
    """Return the OpenAPI schema of the body; FastAPI has none, because `_prune_body` reads the body itself."""
    schema = PruneBody.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _require(*, there: bool, key: str) -> None:
    if not there:
        raise _missing(key)


def _missing(key: str) -> Refused:
    return Refused("not_found", "no_such_entry", name=key[:80])


def _stored(listed: Listed, now: datetime) -> StoredPicture:
    created = datetime.fromtimestamp(listed.created, UTC)
    return StoredPicture(
        key=listed.key,
        prompt=listed.prompt,
        seed=listed.seed,
        width=listed.width,
        height=listed.height,
        model=listed.model,
        created=created,
        # The age must not be negative after the clock was set back.
        age_seconds=max(0.0, (now - created).total_seconds()),
        bytes=listed.bytes,
        gpu_seconds=listed.gpu_seconds,
        frequency=listed.frequency,
        pinned=listed.pinned,
        image_url=address(f"/images/{listed.key}.png"),
        thumbnail_url=address(f"/images/{listed.key}/thumbnail.webp"),
    )
