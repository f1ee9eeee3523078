"""The encoding of an answer is the best that the client accepts."""

import gzip

import brotli
import pytest

from zimage_cache.web.page.compression import FAST, SMALL, headers, preferred

BODY = b"the same words again and again, " * 100
DECODE = {"br": brotli.decompress, "gzip": gzip.decompress, "identity": bytes}


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("", "identity"),
        ("identity", "identity"),
        ("*", "identity"),
        ("br;q=0, gzip", "gzip"),
        ("gzip;q=0.5, br;q=0", "gzip"),
    ],
)
def test_the_best_that_is_accepted(accepted: str, encoding: str):
    """Brotli before gzip before none; what the client refuses, or does not name, is not sent."""
    assert preferred(accepted) == encoding


@pytest.mark.parametrize("encoding", DECODE)
def test_bodies_are_the_same_in_every_encoding(encoding: str):
    """Both ways to compress can be undone, and are named in the headers."""
    for compress in (SMALL[encoding], FAST[encoding]):
        assert DECODE[encoding](compress(BODY)) == BODY
    assert headers(encoding).get("Content-Encoding", "identity") == encoding
    assert headers(encoding)["Vary"] == "Accept-Encoding"
