"""`/images/…`: stored bytes as they are, with what browsers need to keep them for good, and nothing else."""

import hashlib
import io
import threading

import pytest
from PIL import Image

from zimage_cache.cache.disk import DiskTier

YEAR = "max-age=31536000"


@pytest.fixture(scope="module")
def shown(house):
    """One stored picture: its address without `v`, its `v`, and its bytes."""
    image = house.image(prompt="shown", seed=77)
    path, _, digest8 = image["image_url"].partition("?v=")
    png = house.client.get(image["image_url"]).content
    assert hashlib.sha256(png).hexdigest()[:8] == digest8
    return path, digest8, png


def test_the_stored_bytes(house, shown):
    """The very bytes on disk, as a PNG, with their digest as ETag and a file name with key and seed."""
    path, _, png = shown
    answer = house.client.get(path)
    key = path.removeprefix("/images/").removesuffix(".png")
    house.stored()
    assert answer.content == png == (house.studio.root / "cache" / "images" / f"{key}.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{hashlib.sha256(png).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == f'inline; filename="zimage_{key[:8]}_77.png"'


@pytest.mark.parametrize("v", [None, "", "00000000", "x" * 2000, "wrong"])
def test_immutable_only_with_the_right_digest(house, shown, v):
    """With the digest in its address a picture never changes; with none or another one it must be asked about."""
    path, digest8, _ = shown
    assert house.client.get(path, params={"v": digest8}).headers["cache-control"] == f"public, {YEAR}, immutable"
    answer = house.client.get(path, params={} if v is None else {"v": v})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other" ,W/{}', "*", "{},"])
def test_not_modified(house, shown, form):
    """304 without a body for a matching ETag, strong or weak, alone or in a list."""
    path, _, png = shown
    etag = f'"{hashlib.sha256(png).hexdigest()}"'
    answer = house.raw("GET", path, headers={"If-None-Match": form.format(etag)})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == etag
    assert "cache-control" in answer.headers


@pytest.mark.parametrize("etag", ['"other"', "", "W/", "x" * 5000])
def test_modified(house, shown, etag):
    """Another tag, or none that makes sense: the whole picture."""
    path, _, png = shown
    answer = house.raw("GET", path, headers={"If-None-Match": etag})
    assert (answer.status, answer.body) == (200, png)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-199", 100, 200),
        ("bytes=-1", -1, None),
        ("bytes=-100", -100, None),
        ("bytes=-999999999", 0, None),
        ("bytes=10-", 10, None),
        ("bytes=10-999999999", 10, None),
        ("bytes=0-", 0, None),
    ],
)
def test_one_range(house, shown, asked, start, end):
    """The first, the middle, the last bytes: 206 with where they lie; the end is cut at the picture's end."""
    path, _, png = shown
    answer = house.raw("GET", path, headers={"Range": asked})
    begin = start % len(png)
    part = png[begin : len(png) if end is None else end]
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(png)}"
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes={size}-", "bytes={size}-{size}", "bytes=-0"])
def test_a_range_beyond_the_end(house, shown, asked):
    """416 with the size, so that the client can send a valid range."""
    path, _, png = shown
    answer = house.raw("GET", path, headers={"Range": asked.format(size=len(png))})
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(png)}")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=5-2",
        "bytes=-",
        "bytes=a-b",
        "bytes",
        "items=0-1",
        "bytes=" + "9" * 5000 + "-",
        "bytes=--1",
    ],
    ids=lambda text: text[:20],
)
def test_several_ranges_or_nonsense(house, shown, asked):
    """Several ranges, and what is no range: the whole picture, never an error."""
    path, _, png = shown
    answer = house.raw("GET", path, headers={"Range": asked})
    assert (answer.status, answer.body) == (200, png)


def test_a_range_of_another_version(house, shown):
    """`If-Range`: a part only if the client's version is current, else the whole file."""
    path, _, png = shown
    etag = f'"{hashlib.sha256(png).hexdigest()}"'
    for tag, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), ("Sat, 21 Nov 2026 00:00:00 GMT", 200)):
        assert house.raw("GET", path, headers={"Range": "bytes=0-9", "If-Range": tag}).status == status


def test_head(house, shown):
    """All headers of the GET, and no body."""
    path, digest8, png = shown
    answer = house.raw("HEAD", f"{path}?v={digest8}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(len(png)))
    assert answer.headers["cache-control"] == f"public, {YEAR}, immutable"
    assert house.raw("HEAD", "/images/" + "0" * 64 + ".png").status == 404


def test_a_thumbnail(house, shown):
    """A WebP of at most 320 pixels a side; none of what is not stored."""
    path, _, _ = shown
    answer = house.client.get(path.removesuffix(".png") + "/thumbnail.webp")
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as small:
        assert (small.format, small.size) == ("WEBP", (64, 64))
    assert house.client.get("/images/" + "0" * 64 + "/thumbnail.webp").status_code == 404


def test_a_thumbnail_of_what_is_not_stored_yet(serve, monkeypatch):
    """A picture is handed out before it is written; so is its thumbnail. One that is never stored has one too."""
    written = threading.Event()
    put = DiskTier.put
    monkeypatch.setattr(DiskTier, "put", lambda *arguments: written.wait(60) and put(*arguments))
    house = serve()
    made = house.image(seed=1)
    assert house.studio.stored == set()
    small = house.client.get(f"/images/{made['key']}/thumbnail.webp")
    written.set()
    assert (small.status_code, small.headers["content-type"]) == (200, "image/webp")
    assert house.stored() == {made["key"]}
    unstored = house.image(seed=2, cache="bypass")["image_url"].partition("?")[0].removesuffix(".png")
    answer = house.client.get(f"{unstored}/thumbnail.webp")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


KEY = "0123456789abcdef" * 4
NAMES = [
    "/images/",
    "/images/.png",
    "/images/..png",
    "/images/../keys/x.png",
    "/images/../../../../etc/passwd",
    "/images/..%2f..%2f..%2fetc%2fpasswd.png",
    "/images/%2e%2e/%2e%2e/etc/passwd",
    "/images/%2e%2e%2fkeys%2f" + KEY + ".png",
    "/images/..%5c..%5cetc%5cpasswd.png",
    "/images//etc/passwd",
    "/images/%2fetc%2fpasswd.png",
    "/images/%00.png",
    "/images/" + KEY + "%00.png",
    "/images/" + KEY + "%0a.png",
    "/images/" + KEY + ".png%00",
    "/images/" + KEY + ".png/",
    "/images/" + KEY + ".json",
    "/images/" + KEY + ".PNG",
    "/images/" + KEY,
    "/images/" + KEY + "/",
    "/images/" + KEY[:-1] + ".png",
    "/images/" + KEY + "0.png",
    "/images/" + KEY.upper() + ".png",
    "/images/" + "g" * 64 + ".png",
    "/images/" + "%EF%BC%90" * 64 + ".png",
    "/images/" + "0" * 31 + ".png",
    "/images/" + "0" * 32 + ".png",
    "/images/" + "A" * 32 + ".png",
    "/images/" + "0" * 20000 + ".png",
    "/images/%ff%fe.png",
    "/images/" + KEY + "/thumbnail.webp",
    "/images/../../etc/thumbnail.webp",
    "/images/..%2f..%2fx/thumbnail.webp",
    "/images/" + KEY.upper() + "/thumbnail.webp",
    "/images/" + KEY + "/thumbnail.webp/x",
    "/images/" + KEY + "/../thumbnail.webp",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:50])
def test_names_that_are_no_picture(house, expect_error, name):
    """Traversal in every spelling, and names almost like keys: 404 in our shape, whatever they point at."""
    answer = house.raw("GET", name)
    assert b"root:" not in answer.body
    expect_error(answer, 404, "not_found")


@pytest.mark.parametrize(
    "name", ["/images/../app.py", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fapp.py"]
)
def test_traversal_beside_images(house, name):
    """Nor does the page behind our routes give away a file."""
    answer = house.raw("GET", name)
    assert answer.status in {400, 403, 404}
    assert b"zimage_cache" not in answer.body
