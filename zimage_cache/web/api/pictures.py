"""A stored picture as an HTTP answer: its bytes, or another encoding of it, with ETag, ranges and cache headers."""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from zimage_cache.entry import Entry
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.encodings import QUALITY
from zimage_cache.web.root_path import address

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
# The OpenAPI description of routes that send pictures.
FILES: Final[dict[str, dict[int | str, dict[str, Any]]]] = {
    kind: {
        200: {"content": {kind: _BYTES}},
        206: {"description": "The bytes asked for.", "content": {kind: _BYTES}},
        304: {"description": "The client's copy is current."},
        416: {"description": "There are no such bytes."},
    }
    for kind in MediaType
}
PNG: Final = FILES[MediaType.PNG]
WEBP: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/webp": _BYTES}}}
_YEAR: Final = 31_536_000


def image_url(name: str, entry: Entry, suffix: str = ".png", quality: int = QUALITY) -> str:
    """Return the path of a picture; because of the digest in it, browsers may cache the bytes permanently."""
    lossy = f"&q={quality}" if quality != QUALITY and suffix != ".png" else ""
    return address(f"/images/{name}{suffix}?v={entry.record.digest[:8]}{lossy}")


def picture_response(
    name: str, entry: Entry, headers: Mapping[str, str], version: str | None, *, private: bool
) -> Response:
    """Answer GET or HEAD of one PNG.

    Args:
        name: The name in the URL: its key, or the token of a picture that is not stored.
        entry: The picture.
        headers: The request's: `If-None-Match`, `Range` and `If-Range` count.
        version: The parameter `v` of the URL.
        private: Whether only the client's own browser, and no proxy, may cache it.
    """
    answer = picture_headers(name, entry, version, private=private)
    return file_response(entry.png, headers, answer)


def picture_headers(
    name: str, entry: Entry, version: str | None, *, private: bool, suffix: str = ".png", quality: int = 0
) -> dict[str, str]:
    """Return the headers of a picture, whose encodings have an `ETag` each; see `picture_response`."""
    file = f"zimage_{entry.record.key[:8]}_{entry.record.request['seed']}{suffix}"
    return {
        "ETag": f'"{entry.record.digest}{f"{suffix}{quality}" if quality else ""}"',
        "Cache-Control": _cache_control(name, entry, version, private=private),
        "Content-Disposition": f'inline; filename="{file}"',
    }


def file_response(
    file: bytes, headers: Mapping[str, str], answer: Mapping[str, str], media_type: str = "image/png"
) -> Response:
    """Answer with a picture's file (200), a part of it (206), or that the client's copy is current (304).

    Args:
        file: The whole file.
        headers: The request's: `If-None-Match`, `Range` and `If-Range` count.
        answer: The headers to send, including an `ETag`.
        media_type: Of the file.
    """
    if (current := unchanged(headers, answer)) is not None:
        return current
    etag, answer = answer["ETag"], {**answer, "Accept-Ranges": "bytes"}
    size = len(file)
    span = _span(headers.get("range", ""), size) if headers.get("if-range", etag) == etag else None
    if span is None:
        return Response(file, media_type=media_type, headers=answer)
    start, end = span
    if start >= end:
        return Response(status_code=416, headers=answer | {"Content-Range": f"bytes */{size}"})
    answer["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(file[start:end], 206, answer, media_type)


def unchanged(headers: Mapping[str, str], answer: Mapping[str, str]) -> Response | None:
    """Answer that the client's copy is current (304); None where it is not."""
    if _matches(headers.get("if-none-match", ""), answer["ETag"]):
        return Response(status_code=304, headers={**answer, "Accept-Ranges": "bytes"})
    return None


def _cache_control(name: str, entry: Entry, version: str | None, *, private: bool) -> str:
    if name != entry.record.key:
        return "no-store"
    return cache_control(current=version == entry.record.digest[:8], private=private)


def cache_control(*, current: bool, private: bool) -> str:
    """Return a header that lets browsers cache a picture permanently if its URL has the *current* version."""
    scope = "private" if private else "public"
    # A URL without the digest, or with that of a replaced picture, must be validated at each use.
    return f"{scope}, max-age={_YEAR}, immutable" if current else f"{scope}, no-cache"


def _matches(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Parse one byte range to [start, end); None = send everything (no range, several, or an invalid one)."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
