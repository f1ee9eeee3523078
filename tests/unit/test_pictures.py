"""`picture_response`: one PNG as an HTTP answer. Over the wire: `tests/e2e/test_images.py`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from zimage_cache.web.api.pictures import image_url, picture_response


def test_the_address_carries_the_digest(entry):
    """A replaced picture has another address, so that browsers may keep each for good."""
    one, other = entry(1), entry(1, look=1)
    assert one.record.key == other.record.key
    assert image_url(one.record.key, one) == f"/images/{one.record.key}.png?v={one.record.digest[:8]}"
    assert image_url(one.record.key, one) != image_url(one.record.key, other)
    assert image_url("token", one).startswith("/images/token.png?v=")


@pytest.mark.parametrize(
    ("version", "private", "control"),
    [
        ("right", False, "public, max-age=31536000, immutable"),
        ("right", True, "private, max-age=31536000, immutable"),
        ("wrong", False, "public, no-cache"),
        (None, True, "private, no-cache"),
    ],
)
def test_which_caches_may_keep_it(entry, version, private, control):
    """Immutable only under the right digest, and never in shared caches where there is a password."""
    picture = entry(1)
    v = picture.record.digest[:8] if version == "right" else version
    assert (
        picture_response(picture.record.key, picture, Headers(), v, private=private).headers["cache-control"] == control
    )


def test_what_is_not_stored_is_not_cached(entry):
    """Under a token, a picture stays out of every browser's and proxy's cache, whatever its address says."""
    picture = entry(1)
    answer = picture_response("0" * 32, picture, Headers(), picture.record.digest[:8], private=False)
    assert answer.headers["cache-control"] == "no-store"


def test_not_modified_carries_no_bytes(entry):
    """304 has the validators and no body, also where a range is asked for."""
    picture = entry(1)
    headers = Headers({"If-None-Match": f'"{picture.record.digest}"', "Range": "bytes=0-1"})
    answer = picture_response(picture.record.key, picture, headers, None, private=False)
    assert (answer.status_code, answer.body) == (304, b"")
    assert answer.headers["etag"] == f'"{picture.record.digest}"'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a plain function
@given(first=st.none() | st.integers(0, 20000), last=st.none() | st.integers(0, 20000))
def test_any_range_is_its_slice(entry, first, last):
    """Whatever one range asks for: exactly those bytes, 416 beyond the end, or the whole where it makes no sense."""
    picture = entry(1)
    png = picture.png
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = picture_response(picture.record.key, picture, Headers({"Range": asked}), None, private=False)
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert (answer.status_code, answer.body) == (200, png)
    elif first is None and last:
        assert (answer.status_code, answer.body) == (206, png[-last:])
    elif first is not None and first < len(png):
        assert (answer.status_code, answer.body) == (206, png[first : len(png) if last is None else last + 1])
    else:
        assert (answer.status_code, answer.body) == (416, b"")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.text(st.characters(max_codepoint=255), max_size=40))
def test_no_header_breaks_it(entry, header):
    """Any text as Range, If-Range or If-None-Match: an answer, never an exception."""
    headers = Headers({"Range": header, "If-Range": header, "If-None-Match": header})
    assert picture_response(entry(1).record.key, entry(1), headers, header, private=False).status_code in {
        200,
        206,
        304,
        416,
    }
