"""`description`: which of a file's texts counts, and what is said about the others."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.pictures import A_FOX, exif_with, jpeg_with, png_of, png_with, text_chunk, user_comment, webp_with
from zimage_cache.metadata import png
from zimage_cache.metadata.claims import Tool
from zimage_cache.metadata.container import MediaType
from zimage_cache.metadata.description import describe
from zimage_cache.metadata.texts import MAX_TEXT_BYTES

PIXELS = np.zeros((16, 24, 3), np.uint8)
OWN = {
    "request": {"prompt": " exact \n", "style": "ink", "seed": -1, "guidance_scale": 2.5},
    "seed": 77,
    "key": "0" * 64,
}


def own(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)


def test_our_chunk_wins():
    """It has the request as it was asked, and guidance as it counts here, so the A1111 text is not consulted."""
    text = "other\nSteps: 1, Seed: 1, CFG scale: 3.5, Size: 64x64"
    found = describe(png.encode(PIXELS, {"parameters": text, "zimage": own(OWN)}))
    assert found.parameters == {"prompt": " exact \n", "style": "ink", "seed": 77, "guidance_scale": 2.5}
    assert (found.tool, found.key, found.media_type, found.width, found.height) == (
        Tool.ZIMAGE,
        "0" * 64,
        MediaType.PNG,
        24,
        16,
    )


def test_our_chunk_behind_the_pixels():
    """Another program may have moved it."""
    found = describe(png_of(behind=[text_chunk("zimage", own(OWN))]))
    assert (found.tool, found.parameters["seed"]) == (Tool.ZIMAGE, 77)


@pytest.mark.parametrize("prompt", ["café Ã©", "红🦊", "plain", 'a "sign"'])
@pytest.mark.parametrize("latin", [True, False])
def test_prompts_of_every_version(prompt, latin):
    """Older versions wrote Latin-1 into tEXt; what looks like UTF-8 in it comes back as it was."""
    text = own({"request": {"prompt": prompt, "seed": 1}, "seed": 1})
    content = png_with({"zimage": text}) if latin else png.encode(PIXELS, {"zimage": text})
    assert describe(content).parameters["prompt"] == prompt


@pytest.mark.parametrize(
    "foreign", ["", "{", "7", "null", "[]", '{"request": 7}', '{"request": null}', "[" * 100_000, '{"request": {']
)
def test_foreign_zimage_chunk_is_ignored(foreign):
    """Something else under this program's keyword does not hide the A1111 text, and crashes nothing."""
    found = describe(png.encode(PIXELS, {"parameters": A_FOX, "zimage": foreign}))
    assert (found.tool, found.parameters["seed"], found.key) == (Tool.A1111, 42, None)


@pytest.mark.parametrize("key", [None, 7, "", "x" * 64, "0" * 63, ["0" * 64]])
def test_keys_are_checked(key):
    """Only 64 hexadecimal digits name a stored picture."""
    assert describe(png.encode(PIXELS, {"zimage": own(OWN | {"key": key})})).key is None


@pytest.mark.parametrize("make", [jpeg_with, webp_with])
def test_a_picture_converted_by_another_program(make):
    """The A1111 text of this program in EXIF, as A1111's own conversion keeps it, counts like any other."""
    found = describe(make(exif_with({0x9286: user_comment(A_FOX.replace("CFG scale: 1", "CFG scale: 3.5"))})))
    assert (found.parameters["prompt"], found.parameters["guidance_scale"]) == ("a fox", 2.5)
    assert found.model == "x"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_photograph(kind):
    """A picture with a comment and the tags of a camera is no picture of a tool."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x010E], exif[0x0131] = "Canon", "EOS 5D", "On the beach: sun, sea", "x 1.0"
    Image.new("RGB", (24, 16)).save(file, kind, exif=exif)
    found = describe(file.getvalue())
    assert (found.parameters, found.tool, found.notes) == ({}, None, ())


def test_a_text_that_is_too_long():
    """It is named where nothing else was found, and does not hide what was."""
    long = text_chunk("prompt", bytes(MAX_TEXT_BYTES + 1))
    assert str(describe(png_of([long])).notes[0]) == "The text “prompt” is too long to be read"
    assert describe(png_of([long], [text_chunk("parameters", A_FOX)])).parameters["seed"] == 42


def test_a_prompt_that_begins_with_braces():
    """It is no damaged object: people write {red|blue}."""
    found = describe(png_with({"parameters": "{red|blue} fox"}))
    assert (found.parameters["prompt"], found.notes) == ("{red|blue} fox", ())


def test_objects_within_objects_end():
    """Texts within texts are looked at a few times only."""
    text = own({"prompt": "a fox", "seed": 1, "steps": 2})
    for _ in range(10):
        text = own({"comment": text})
    assert describe(png_with({"comment": text})).parameters == {}
