"""Compresses answers in the way that the client prefers. Browsers accept brotli over HTTPS and on one machine only."""

import gzip
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import brotli

# By the name in HTTP: small, for what is compressed once, and fast, for what is compressed for each request.
SMALL: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        "br": lambda body: bytes(brotli.compress(body, quality=11)),
        "gzip": lambda body: gzip.compress(body, 9, mtime=0),
        "identity": bytes,
    }
)
FAST: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        "br": lambda body: bytes(brotli.compress(body, quality=5)),
        "gzip": lambda body: gzip.compress(body, 5, mtime=0),
        "identity": bytes,
    }
)


def preferred(accept_encoding: str) -> str:
    """Return the best of our encodings that a header `Accept-Encoding` names; `identity` where it names none."""
    named = (part.replace(" ", "").lower().partition(";q=") for part in accept_encoding.split(","))
    accepted = {name for name, _, weight in named if not weight or weight.strip("0.")}
    return next((name for name in ("br", "gzip") if name in accepted), "identity")


def headers(encoding: str) -> dict[str, str]:
    """Return the headers of an answer in *encoding*."""
    named = {} if encoding == "identity" else {"Content-Encoding": encoding}
    return {"Vary": "Accept-Encoding", **named}
