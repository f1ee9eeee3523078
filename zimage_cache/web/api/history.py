"""The routes of `output_image/`: list, search, fetch and delete pictures; and `/png-info`, the metadata of a file."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from zimage_cache.history import History, Picture
from zimage_cache.history.search import MAX_QUERY
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata.claims import Tool
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.description import Description, describe
from zimage_cache.models.profiles import name_of
from zimage_cache.request import MAX_TEXT
from zimage_cache.service.service import ImageService
from zimage_cache.web.api.accounts import account_of
from zimage_cache.web.api.pictures import PNG, WEBP, cache_control, file_response, image_url
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.body import read_body
from zimage_cache.web.errors import WITH_BODY, Refused, answers
from zimage_cache.web.language import localized
from zimage_cache.web.root_path import address

MOST_LISTED: Final = 200
_LONGEST_NAME: Final = 120  # of a model
_MOST_SEARCHES: Final = 2  # at the same time
_STORING_SECONDS: Final = 10.0  # a picture is answered before its file is written; a disk that hangs is not waited for
_ID = re.compile(r"[1-9]\d{0,17}")
_PICTURE_BODY: Final = {each: {"schema": {"type": "string", "format": "binary"}} for each in MediaType}


class HistoryPicture(BaseModel):
    """A picture in `output_image/`; `parameters` are the metadata of its file, empty where it has none.

    `cached`: the cache has a picture of the same key; `pinned`: which is kept there until it is deleted by name.
    """

    id: int
    name: str
    made: datetime
    bytes: int
    width: int
    height: int
    key: str | None
    model: str | None
    parameters: dict[str, Any]
    cached: bool
    pinned: bool
    image_url: str
    thumbnail_url: str


class HistoryPage(BaseModel):
    """Pictures, newest first, or the most similar first; `cursor` requests the next ones, null = no more.

    `total` counts those of all pages; null on pages after the first, and for the similar ones.
    """

    pictures: list[HistoryPicture]
    cursor: str | None = None
    total: int | None = None


class PngInfo(BaseModel):
    """The parameters in a picture, and whether the cache still has the picture named in a file of this program.

    `source` is the tool that wrote them; `notes` name what of the file is not in `parameters`, and why.
    """

    parameters: dict[str, Any]
    source: Tool | None
    notes: list[str]
    cached: bool
    image_url: str | None


def add_history_api(app: FastAPI, service: ImageService) -> None:
    """Add the routes to *app*, and a 405 for every other method on them; mount the page afterwards."""
    router = APIRouter()
    _add_listing(router, service)
    _add_pictures(router, service.history)
    _add_png_info(router, service)
    add_routes(app, router)

    @app.get("/history/{rest:path}", include_in_schema=False)
    async def nothing(rest: str) -> Response:
        raise Refused("not_found", "no_such_name", name=rest[:80])


def _add_listing(router: APIRouter, service: ImageService) -> None:
    history = service.history
    # A search in long prompts holds the interpreter lock, in whichever thread it runs, so only a few run at once.
    searching = asyncio.Semaphore(_MOST_SEARCHES)

    @router.get("/history", responses=answers(422, 503))
    async def pictures(
        request: Request,
        query: Annotated[
            str,
            Query(
                max_length=MAX_QUERY,
                description='Words, "several words", seed:42, size:1024x768, model:turbo, key:f93e1a2b, is:starred.',
            ),
        ] = "",
        similar: Annotated[
            str | None, Query(max_length=MAX_TEXT, description="Instead: pictures with prompts like this one.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        cursor: Annotated[str | None, Query(pattern=r"^-?[0-9]{1,15}_[0-9]{1,18}$")] = None,
    ) -> HistoryPage:
        """List your own pictures, newest first, with all that were drawn before; missing files are left out."""
        owners = account_of(request).owners
        if similar is not None:
            async with searching:
                found = await asyncio.to_thread(history.similar, similar, limit=limit, owners=owners)
            return HistoryPage(pictures=await asyncio.to_thread(_shown, found, service))
        if not service.stored_by(0):
            await asyncio.to_thread(service.stored_by, _STORING_SECONDS)
        async with searching:
            starred = service.cache.pinned_keys
            page = await asyncio.to_thread(
                history.page, query, limit=limit, cursor=cursor, owners=owners, starred=starred
            )
        shown = await asyncio.to_thread(_shown, page.pictures, service)
        return HistoryPage(pictures=shown, cursor=page.cursor, total=page.total)


def _add_pictures(router: APIRouter, history: History) -> None:
    @router.get("/history/{id}.png", response_class=Response, responses=PNG | answers(404, 405, 422, 503))
    async def picture(request: Request, id_: Annotated[str, Path(alias="id")], v: str | None = None) -> Response:
        """Send a picture's file as it is now."""
        found = await _found(history, request, id_)
        content = await asyncio.to_thread(history.read, found)
        if content is None:
            raise _missing()
        answer = _headers(found, v) | {"Content-Disposition": f"inline; filename*=UTF-8''{_file_name(found)}"}
        return file_response(content, request.headers, answer)

    @router.get("/history/{id}/thumbnail.webp", response_class=Response, responses=WEBP | answers(404, 405, 422, 503))
    async def thumbnail(request: Request, id_: Annotated[str, Path(alias="id")], v: str | None = None) -> Response:
        """Send a small WebP of a picture."""
        found = await _found(history, request, id_)
        small = await asyncio.to_thread(history.thumbnail, found)
        if small is None:
            raise _missing()
        return Response(small, media_type="image/webp", headers=_headers(found, v))

    @router.delete("/history/{id}", status_code=204, responses=answers(404, 405, 422, 503))
    async def delete(request: Request, id_: Annotated[str, Path(alias="id")]) -> None:
        """Delete a picture from `output_image/`: its file, thumbnail and row. The cache is not touched."""
        await asyncio.to_thread(history.delete, await _found(history, request, id_))


def _add_png_info(router: APIRouter, service: ImageService) -> None:
    @router.post(
        "/png-info",
        responses=answers(*WITH_BODY),
        openapi_extra={"requestBody": {"required": True, "content": _PICTURE_BODY}},
    )
    async def png_info(request: Request) -> PngInfo:
        """Read the parameters of a PNG, JPEG or WebP of this program or another one. At most 20 MiB, not stored."""
        found = await read_body(request, tuple(MediaType), describe)
        entry = await service.picture(found.key) if found.key else None
        parameters, notes = _offered(found, service)
        return PngInfo(
            parameters=parameters,
            source=found.tool,
            notes=list(map(localized, notes)),
            cached=entry is not None,
            image_url=image_url(entry.record.key, entry) if entry else None,
        )


def _offered(found: Description, service: ImageService) -> tuple[dict[str, Any], tuple[Message, ...]]:
    """Give the model of a text that other programs share the name that this server offers it by.

    A model that it does not offer is left out: a request would be refused.
    """
    model = found.parameters.get("model")
    if found.tool is Tool.ZIMAGE or model is None or model in service.models:
        return found.parameters, found.notes
    if (name := name_of(model)) in service.models:
        return found.parameters | {"model": name}, found.notes
    parameters = {name: value for name, value in found.parameters.items() if name != "model"}
    return parameters, (Message("note_model", model=model[:_LONGEST_NAME]), *found.notes)


async def _found(history: History, request: Request, id_: str) -> Picture:
    owners = account_of(request).owners
    found = await asyncio.to_thread(history.get, int(id_), owners) if _ID.fullmatch(id_) else None
    if found is None:
        raise _missing()
    return found


def _missing() -> Refused:
    return Refused("not_found", "not_in_history")


def _shown(pictures: Sequence[Picture], service: ImageService) -> list[HistoryPicture]:
    """Describe pictures; blocks for the cache's disk."""
    marks = service.cache.marks({picture.key for picture in pictures if picture.key})
    return [_described(each, pinned=marks.get(each.key or "")) for each in pictures]


def _described(picture: Picture, *, pinned: bool | None) -> HistoryPicture:
    """Describe one picture; *pinned* is None where the cache has none of its key."""
    version = _version(picture)
    return HistoryPicture(
        id=picture.id,
        name=picture.name,
        made=datetime.fromtimestamp(picture.made, UTC),
        bytes=picture.stamp.size,
        width=picture.width,
        height=picture.height,
        key=picture.key,
        model=picture.model,
        parameters=picture.parameters or {},
        cached=pinned is not None,
        pinned=bool(pinned),
        image_url=address(f"/history/{picture.id}.png?v={version}"),
        thumbnail_url=address(f"/history/{picture.id}/thumbnail.webp?v={version}"),
    )


def _headers(picture: Picture, version: str | None) -> dict[str, str]:
    current = _version(picture)
    return {"ETag": f'"{current}"', "Cache-Control": cache_control(current=version == current, private=True)}


def _version(picture: Picture) -> str:
    return f"{picture.stamp.changed:x}-{picture.stamp.size:x}"


def _file_name(picture: Picture) -> str:
    return quote(picture.name.rpartition("/")[2], safe="")
