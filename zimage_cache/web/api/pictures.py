"""A stored picture as an HTTP answer: its own bytes, never re-encoded, with ETag, ranges and immutability."""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from zimage_cache.entry import Entry

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
# How OpenAPI is told of routes that send pictures.
PNG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": _BYTES}},
    206: {"description": "The bytes asked for.", "content": {"image/png": _BYTES}},
    304: {"description": "The asker has it."},
    416: {"description": "There are no such bytes."},
}
WEBP: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/webp": _BYTES}}}
_YEAR: Final = 31_536_000


def image_url(name: str, entry: Entry) -> str:
    """Return the path of a picture; the digest in it lets browsers keep the bytes for good."""
    return f"/images/{name}.png?v={entry.record.digest[:8]}"


def picture_response(
    name: str, entry: Entry, headers: Mapping[str, str], version: str | None, *, private: bool
) -> Response:
    """Answer GET or HEAD of one PNG.

    Args:
        name: What it was asked for by: its key, or the token of a picture that is to leave no trace.
        entry: The picture.
        headers: The request's: `If-None-Match`, `Range` and `If-Range` count.
        version: The `v` the asker's URL carries.
        private: Whether only the asker's own browser may keep it.
    """
    answer = {
        "ETag": f'"{entry.record.digest}"',
        "Cache-Control": _cache_control(name, entry, version, private=private),
        "Content-Disposition": f'inline; filename="zimage_{entry.record.key[:8]}_{entry.record.request["seed"]}.png"',
    }
    return png_response(entry.png, headers, answer)


def png_response(png: bytes, headers: Mapping[str, str], answer: Mapping[str, str]) -> Response:
    """Answer with a PNG, a part of it, or the news that the asker has it.

    Args:
        png: The whole file.
        headers: The request's: `If-None-Match`, `Range` and `If-Range` count.
        answer: The headers to send, an `ETag` among them.
    """
    etag, answer = answer["ETag"], {**answer, "Accept-Ranges": "bytes"}
    if _matches(headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=answer)
    size = len(png)
    span = _span(headers.get("range", ""), size) if headers.get("if-range", etag) == etag else None
    if span is None:
        return Response(png, media_type="image/png", headers=answer)
    start, end = span
    if start >= end:
        return Response(status_code=416, headers=answer | {"Content-Range": f"bytes */{size}"})
    answer["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(png[start:end], 206, answer, "image/png")


def _cache_control(name: str, entry: Entry, version: str | None, *, private: bool) -> str:
    if name != entry.record.key:
        return "no-store"
    return cache_control(current=version == entry.record.digest[:8], private=private)


def cache_control(*, current: bool, private: bool) -> str:
    """Let browsers keep a picture for good where its address carries its *current* version."""
    scope = "private" if private else "public"
    # An address without the digest, or with that of a picture since replaced, must be asked about again.
    return f"{scope}, max-age={_YEAR}, immutable" if current else f"{scope}, no-cache"


def _matches(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Read one byte range as [start, end); None = send everything (none asked, several, or nonsense)."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
