"""`/images/{key}.jpg` and `.webp`: the stored picture in other formats."""

import io

import pytest
from PIL import Image


@pytest.fixture
def key(house) -> str:
    return house.image(prompt="in other formats", width=96, height=64)["key"]


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "jpeg"), ("webp", "webp")])
def test_another_format(house, key, suffix, kind):
    """The same picture, smaller with less quality; each quality is a resource of its own for caches."""
    drawn = len(house.studio.generator.recipes)
    fine, plain, coarse = (house.client.get(f"/images/{key}.{suffix}{query}") for query in ("?q=100", "", "?q=5"))
    for answer in (fine, plain, coarse):
        assert answer.headers["content-type"] == f"image/{kind}"
        assert answer.headers["content-disposition"].endswith(f'.{suffix}"')
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert (picture.format, picture.size) == (kind.upper(), (96, 64))
    assert len(fine.content) > len(coarse.content)
    assert len({answer.headers["etag"] for answer in (fine, plain, coarse)}) == 3
    assert house.client.get(f"/images/{key}.{suffix}?q=95").headers["etag"] == plain.headers["etag"]
    again = house.client.get(f"/images/{key}.{suffix}", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = house.client.get(f"/images/{key}.{suffix}", headers={"Range": "bytes=2-9"})
    assert (part.status_code, part.content) == (206, plain.content[2:10])
    assert house.client.head(f"/images/{key}.{suffix}").headers["content-length"] == str(len(plain.content))
    assert len(house.studio.generator.recipes) == drawn


def test_an_unstored_picture_in_another_format(house):
    """By its token, as the PNG."""
    url = house.image(prompt="no trace in any format", cache="bypass")["image_url"].partition("?")[0]
    answer = house.client.get(url.replace(".png", ".webp"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("query", ["q=0", "q=101", "q=best", "q=1.5", "q="])
def test_a_quality_that_is_none(house, key, query, expect_error):
    """An error names the parameter."""
    expect_error(house.client.get(f"/images/{key}.jpg?{query}"), 422, "invalid_request", "q")


@pytest.mark.parametrize("name", ["0" * 64 + ".jpg", "KEY.gif", "KEY.JPG", "KEY.jpeg2", "x.webp", "../KEY.jpg", ".jpg"])
def test_names_of_nothing(house, key, name, expect_error):
    """Pictures that are not there, and formats that there are not."""
    expect_error(house.raw("GET", f"/images/{name.replace('KEY', key)}"), 404, "not_found")
