"""`POST /png-info`: what a picture says of itself; bounded, stored nowhere."""

import json

import numpy as np
import pytest

from tests.pictures import A_FOX, exif_with, jpeg_with, png_of, text_chunk, user_comment, webp_with
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.metadata import png
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.encodings import encoded
from zimage_cache.models.profiles import TURBO

PIXELS = np.zeros((16, 16, 3), np.uint8)
HEADERS = {"Content-Type": "image/png"}
LIMIT = 20 * 2**20


def info(house, content, kind="image/png", **headers):
    answer = house.client.post("/png-info", content=content, headers={"Content-Type": kind} | headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_our_own_picture(house):
    """Every field it was asked with comes back, and the address of the picture the cache still has."""
    asked = {"prompt": "told by a file 红", "seed": 5, "steps": 3, "sampler": "heun", "shift": 2.5}
    image = house.image(**asked)
    house.stored()
    content = house.client.get(image["image_url"]).content

    found = info(house, content)

    assert found["parameters"] | asked == found["parameters"]
    assert (found["source"], found["cached"], found["image_url"]) == ("zimage", True, image["image_url"])


def test_our_own_picture_that_is_no_longer_stored(house):
    """A picture that is not in the cache any more still has its parameters."""
    document = {"request": {"prompt": "gone", "seed": 1}, "seed": 1, "key": "0" * 64}
    found = info(house, png.encode(PIXELS, {"zimage": json.dumps(document)}))
    assert found == {
        "parameters": {"prompt": "gone", "seed": 1},
        "source": "zimage",
        "notes": [],
        "cached": False,
        "image_url": None,
    }


@pytest.mark.parametrize(
    ("text", "source", "parameters"),
    [
        (
            {"parameters": "a fox\nNegative prompt: bad\nSteps: 8, Seed: 3, Size: 64x64"},
            "a1111",
            {"prompt": "a fox", "negative_prompt": "bad", "steps": 8, "seed": 3, "width": 64, "height": 64},
        ),
        (
            {"prompt": json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 4, "steps": 9, "cfg": 1.5}}})},
            "comfyui",
            {"seed": 4, "steps": 9, "guidance_scale": 0.5},
        ),
        ({}, None, {}),
        ({"zimage": '{"request": {"prompt": "x", "evil": "<b>", "seed": 1}}'}, "zimage", {"prompt": "x", "seed": 1}),
    ],
)
def test_pictures_of_others(house, text, source, parameters):
    """A1111's and ComfyUI's parameters under our names, nothing where a file is silent, no field that we have not."""
    found = info(house, png.encode(PIXELS, text))
    del found["notes"]
    assert found == {"parameters": parameters, "source": source, "cached": False, "image_url": None}


@pytest.mark.parametrize("content", [b"", b"no PNG", b"\xff\xd8\xff\xe0" + bytes(99), png.encode(PIXELS, {})[:20]])
def test_what_is_no_png(house, expect_error, content):
    """Any other body is refused with 422 and names the field."""
    answer = house.client.post("/png-info", content=content, headers=HEADERS)
    expect_error(answer, 422, "invalid_request", "file")


@pytest.mark.parametrize(
    ("kind", "make"),
    [("image/png", png_of), ("image/jpeg", jpeg_with), ("image/webp", webp_with), ("image/png", webp_with)],
)
def test_kinds_of_files(house, kind, make):
    """PNG, JPEG and WebP are read by their bytes, whichever of the three the request says."""
    exif = exif_with({0x9286: user_comment(A_FOX)})
    content = png_of(behind=[text_chunk("parameters", A_FOX)]) if make is png_of else make(exif)
    found = info(house, content, kind)
    assert (found["source"], found["parameters"]["seed"], found["parameters"]["guidance_scale"]) == ("a1111", 42, 0)
    assert found["notes"] == ["Drawn by the model “x”, which this server does not offer"]


@pytest.fixture(scope="module")
def house_of_turbo(open_house):
    """Give a server that offers the model turbo, too."""
    with open_house(others=[FakeGenerator(profile=TURBO)]) as house:
        yield house


@pytest.mark.parametrize("model", ["Tongyi-MAI/Z-Image-Turbo", "turbo"])
@pytest.mark.parametrize("kind", list(MediaType))
def test_our_own_texts_for_other_tools(house_of_turbo, kind, model):
    """The model of a picture that another format or tool kept without our chunk is offered by its name here."""
    text = {"parameters": f"a fox\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 3, Model: {model}, Version: zimage 1"}
    found = info(house_of_turbo, encoded(png.encode(PIXELS, text), kind), kind)
    assert (found["parameters"]["model"], found["notes"]) == ("turbo", [])


@pytest.mark.parametrize("seed", [986230221987112, 2**64 - 1, 42])
def test_what_is_told_is_accepted(house, seed):
    """The parameters of another tool's picture are a request: what would be refused is in the notes, in words."""
    line = f"a told fox\nSteps: 99, Sampler: Euler a, CFG scale: 1, Seed: {seed}, Size: 1000x1000, Model: other"
    found = info(house, png.encode(PIXELS, {"parameters": line}), **{"Accept-Language": "zh"})
    answer = house.client.post("/lookup", json=found["parameters"])
    assert answer.status_code == 200, answer.text
    assert found["parameters"].get("seed") == (seed if seed == 42 else None)
    words = "\n".join(found["notes"])
    assert "未采用" in words
    assert (str(seed) in words) == (seed != 42)
    for refused in ("99", "Euler a", "1000", "other"):
        assert refused in words


@pytest.mark.parametrize("kind", [None, "application/json", "image/gif", "multipart/form-data; boundary=x"])
def test_other_types(house, expect_error, kind):
    """Only what says that it is a picture of these kinds is read."""
    answer = house.raw("POST", "/png-info", png.encode(PIXELS, {}), {"Content-Type": kind} if kind else {})
    expect_error(answer, 415, "unsupported_media_type")


def test_large_pictures_pass_and_larger_ones_do_not(house, expect_error):
    """20 MiB are read here, a byte more is not; everywhere else the limit of JSON holds."""
    whole = png.encode(PIXELS, {"parameters": "a fox\nSteps: 8, Seed: 3, Size: 64x64"})
    assert info(house, whole.ljust(LIMIT, b"\0"))["parameters"]["seed"] == 3
    too_large = house.raw("POST", "/png-info", b"", HEADERS | {"Content-Length": str(LIMIT + 1)})
    assert str(LIMIT) in expect_error(too_large, 413, "too_large")
    elsewhere = house.raw("POST", "/generate", b"", {"Content-Length": str(2**20 + 1)})
    assert str(2**20) in expect_error(elsewhere, 413, "too_large")


def test_nothing_is_kept(house):
    """Reading a file leaves no file behind."""
    before = sorted(house.studio.root.rglob("*"))
    info(house, png.encode(PIXELS, {"parameters": "a fox\nSteps: 8, Seed: 3, Size: 64x64"}))
    assert sorted(house.studio.root.rglob("*")) == before
