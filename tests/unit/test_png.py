"""Tests of png."""

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngImageFile

from zimage_cache.errors import InvalidRequest
from zimage_cache.metadata import png
from zimage_cache.request import PARAMETERS

FIELDS: dict[str, Any] = {
    "prompt": "a red circle",
    "negative_prompt": "blurry",
    "steps": 8,
    "sampler": "dpmpp_2m",
    "guidance_scale": 4.5,
    "seed": 4294967295,
    "width": 1024,
    "height": 768,
    "model": "turbo",
}
PIXELS = np.random.default_rng(7).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def _file(text: str, *, keyword: str = "parameters", kind: str = "tEXt") -> bytes:
    """Make a picture as another tool writes it, with Pillow's own defaults."""
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt(keyword, text)
    else:
        info.add_text(keyword, text, zip=kind == "zTXt")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def written(fields: dict[str, Any], version: str = "1") -> str:
    """Return the A1111 text for *fields*, with the other parameters at their defaults."""
    values = {name: row.default for name, row in PARAMETERS.items()} | fields
    return png.parameters_text(values, model=fields["model"], version=version)


def _with_chunk(kind: bytes, body: bytes, *, crc_off_by: int = 0) -> bytes:
    """Put a chunk of our own behind the header of a healthy picture."""
    crc = (zlib.crc32(kind + body) + crc_off_by) & 0xFFFFFFFF
    whole = _file("x")
    return whole[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc) + whole[33:]


@pytest.mark.parametrize("shape", [(16, 16, 3), (64, 64, 3), (16, 2048, 3), (208, 96, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat", "gradient"])
def test_pixels_are_bit_exact(shape, kind):
    """What is decoded is what was encoded, every bit of it."""
    rng = np.random.default_rng(1)
    pixels = {
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "flat": np.full(shape, 255, np.uint8),
        "gradient": np.broadcast_to(np.arange(shape[1], dtype=np.uint8)[None, :, None], shape),
    }[kind]

    with Image.open(io.BytesIO(png.encode(pixels, {"k": "v"}))) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), pixels)


def test_encoding_is_deterministic():
    """The same pixels and text give the same bytes: digests can be compared."""
    assert png.encode(PIXELS, {"k": "红"}) == png.encode(PIXELS.copy(), {"k": "红"})


def test_run_lengths_are_used():
    """A photograph-like picture is no larger than with Pillow's default, which takes many times as long."""
    x, y = np.meshgrid(np.linspace(0, 9, 256), np.linspace(0, 7, 256))
    smooth = 127 + 100 * np.sin(x)[..., None] * np.cos(y)[..., None] * np.ones(3)
    pixels = np.clip(smooth + np.random.default_rng(3).normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    default = io.BytesIO()
    Image.fromarray(pixels).save(default, "PNG")
    fast = io.BytesIO()
    Image.fromarray(pixels).save(fast, "PNG", compress_level=1)

    size = len(png.encode(pixels, {}))

    assert size < 1.02 * default.tell()
    assert size < 0.97 * fast.tell()


@pytest.mark.parametrize("value", ["plain", "café", "红色的圆", "a\nb", "🦊", "", " ", "x" * 70_000, "a\0b"])
def test_text_comes_back(value):
    """Latin-1, Chinese, emoji, line breaks, nothing, very long: every text chunk comes back as it was."""
    with Image.open(io.BytesIO(png.encode(PIXELS, {"parameters": value, "zimage": "{}"}))) as picture:
        assert picture.info == {"parameters": value, "zimage": "{}"}


def test_other_tools_read_it_without_us():
    """Pillow alone finds the text under its keyword, Chinese in an iTXt chunk, ASCII in a tEXt chunk."""
    content = png.encode(PIXELS, {"parameters": "红", "plain": "red"})

    with Image.open(io.BytesIO(content)) as picture:
        assert isinstance(picture, PngImageFile)
        assert picture.text == {"parameters": "红", "plain": "red"}
    assert (content.count(b"iTXt"), content.count(b"tEXt")) == (1, 1)


def test_parameters_text_is_what_a1111_writes():
    """Prompt, negative prompt, then the settings in one line, under A1111's names."""
    assert written(FIELDS, "zimage 0.1.0") == (
        "a red circle\n"
        "Negative prompt: blurry\n"
        "Steps: 8, Sampler: DPM++ 2M, CFG scale: 4.5, Seed: 4294967295, Size: 1024x768, Model: turbo, "
        "Version: zimage 0.1.0"
    )


PROMPTS = [
    "a red circle",
    "line one\nline two\n\nline four",
    'quotes "inside", commas, colons: all three',
    "Steps: 20, a prompt that begins like settings",
    "steps up a hill, Size: large, Seed: of an apple",
    "a sign that says Negative prompt: none",
    "first\nNegative prompt: as a line of the prompt",
    "红色的圆，蓝色背景",
    "(masterpiece:1.2), [a|b], {red|blue}, <lora:x:0.8>",
    "\\backslash \\n ${alert(1)} `tick`",
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("negative_prompt", ["", "blurry, low quality", "two\nlines: really", "Steps: 3"])
def test_our_own_parameters_come_back(prompt, negative_prompt):
    """From our A1111 text alone, every field comes back, whatever the prompts contain."""
    fields = {**FIELDS, "prompt": prompt, "negative_prompt": negative_prompt}
    text = written(fields, "zimage, 0.1.0: beta")

    assert png.describe(png.encode(PIXELS, {"parameters": text})).parameters == fields


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda t: t.strip() == t != ""))
@settings(max_examples=200)
def test_any_prompt_comes_back(prompt):
    """Any text without outer blanks survives writing and reading as a prompt."""
    fields = {**FIELDS, "prompt": prompt}
    text = written(fields)

    assert png.describe(png.encode(PIXELS, {"parameters": text})).parameters["prompt"] == prompt


@pytest.mark.parametrize("sampler", ["euler", "unipc", "dpmpp_2m", "heun"])
def test_samplers_have_their_own_names(sampler):
    """Each of our samplers goes out under A1111's name and comes back under ours."""
    text = written({**FIELDS, "sampler": sampler})

    assert f"Sampler: {sampler}" not in text
    assert png.describe(_file(text)).parameters["sampler"] == sampler


A1111 = {
    "no negative prompt": (
        "a fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5",
        {"prompt": "a fox", "negative_prompt": "", "steps": 20, "sampler": "euler", "guidance_scale": 7.0, "seed": 1}
        | {"width": 512, "height": 512, "model": "v1-5"},
    ),
    "quoted values with commas": (
        'a fox\nNegative prompt: bad\nSteps: 30, Sampler: Heun, Lora: "add: 1f, \\"2e\\"", Seed: 5, Model: "x, y: z"',
        {"prompt": "a fox", "negative_prompt": "bad", "steps": 30, "sampler": "heun", "seed": 5, "model": "x, y: z"},
    ),
    "many lines": (
        "one\ntwo, Steps: of stone\n\nfour\nNegative prompt: five\nsix\nSteps: 8, Seed: 3, Size: 640x960",
        {"prompt": "one\ntwo, Steps: of stone\n\nfour", "negative_prompt": "five\nsix", "steps": 8, "seed": 3}
        | {"width": 640, "height": 960},
    ),
    "foreign sampler and nonsense numbers": (
        "a fox\nSteps: many, Sampler: Euler a, CFG scale: nan, Seed: 12, Size: 9x, Denoising strength: 0.4",
        {"prompt": "a fox", "negative_prompt": "", "seed": 12},
    ),
    "no settings": (
        "just a prompt, with: one colon",
        {"prompt": "just a prompt, with: one colon", "negative_prompt": ""},
    ),
    "unclosed quote": (
        'a fox\nSteps: 8, Seed: 3, Model: "x, Version: 1',
        {"prompt": "a fox", "negative_prompt": "", "steps": 8, "seed": 3, "model": '"x'},
    ),
    "only settings": ("Steps: 8, Seed: 3, Size: 64x64", None),
    "empty": ("", {}),
    "blank": (" \n ", {}),
}


@pytest.mark.parametrize(("text", "expected"), A1111.values(), ids=A1111)
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
def test_a1111_files_are_read(text, expected, kind):
    """Files as A1111 writes them give our fields; what we have no field for, or is no number, is left out."""
    if expected is None:
        expected = {"prompt": "", "negative_prompt": "", "steps": 8, "seed": 3, "width": 64, "height": 64}

    assert png.describe(_file(text, kind=kind)).parameters == expected


def test_chinese_in_a1111_files():
    """A1111 writes what is not Latin-1 as iTXt: Chinese and emoji come through."""
    text = "红色的狐狸🦊，雪地\nNegative prompt: 模糊\nSteps: 8, Seed: 3, Size: 64x64"

    found = png.describe(_file(text, kind="iTXt")).parameters

    assert (found["prompt"], found["negative_prompt"]) == ("红色的狐狸🦊，雪地", "模糊")


def test_our_chunk_wins():
    """With our own JSON in the file the A1111 text is not consulted: it has the request as it was asked."""
    ours = json.dumps({"request": {"prompt": " exact \n", "style": "ink", "seed": -1}, "seed": 77, "key": "0" * 64})

    found = png.describe(
        png.encode(PIXELS, {"parameters": "other\nSteps: 1, Seed: 1, Size: 8x8", "zimage": ours})
    ).parameters

    assert found == {"prompt": " exact \n", "style": "ink", "seed": 77}


@pytest.mark.parametrize("foreign", ["", "{", "7", "null", "[]", '{"request": 7}', '{"request": null}', "[" * 100_000])
def test_foreign_zimage_chunk_is_ignored(foreign):
    """Something else under our keyword does not hide the A1111 text, and crashes nothing."""
    text = written(FIELDS)

    assert png.describe(png.encode(PIXELS, {"parameters": text, "zimage": foreign})).parameters == FIELDS


BAD = {
    "empty": b"",
    "text": b"hello",
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(100),
    "signature only": b"\x89PNG\r\n\x1a\n",
    "truncated in the header": _file("x")[:20],
    "truncated in the text": _file("x" * 1000)[:200],
    "wrong checksum": _with_chunk(b"tEXt", b"k\0v", crc_off_by=1),
    "bomb in zTXt": _with_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50 * 2**20))),
    "bomb in iTXt": _with_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(50 * 2**20))),
    "chunk of 2 GiB": _file("x")[:33] + b"\x7f\xff\xff\xfftEXtk\0v",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_files_are_invalid_requests(content):
    """Every invalid upload raises one error that names the field, without a crash and without gigabytes of memory."""
    with pytest.raises(InvalidRequest, match="must be a PNG") as caught:
        png.describe(content)

    assert caught.value.field == "file"


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=300)
def test_garbage_never_crashes(garbage, at):
    """A file overwritten at any place is either still readable or an `InvalidRequest`."""
    whole = _file("a fox\nSteps: 8, Seed: 3, Size: 64x64", kind="zTXt")
    content = whole[:at] + garbage + whole[at + len(garbage) :]
    try:
        found = png.describe(content).parameters
    except InvalidRequest:
        return
    assert isinstance(found, dict)


def test_huge_pictures_are_read_without_decoding():
    """A header that claims 60000 x 60000 pixels costs nothing: only the text is looked at."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    head = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    content = head + _file("a fox\nSteps: 8, Seed: 3, Size: 64x64")[33:]

    assert png.describe(content).parameters["seed"] == 3


@pytest.mark.parametrize(
    ("number", "size", "told"),
    [(png.MAX_CHUNKS, 0, "200 chunks"), (1, png.MAX_HEAD_BYTES, "4194304 bytes"), (1, 2**32 - 1, "4194304 bytes")],
)
def test_the_head_is_bounded(number, size, told):
    """Very many chunks, or very large ones, are no head of a picture: refused before anything reads them."""
    chunk = struct.pack(">I", size) + b"abCd" + bytes(min(size, png.MAX_HEAD_BYTES)) + bytes(4)
    with pytest.raises(InvalidRequest, match=told):
        png.describe(_file("a fox")[:33] + chunk * number + _file("a fox")[33:])


def test_text_without_end_is_not_looked_at():
    """A text far longer than any tool writes says nothing; the picture is one all the same."""
    longest = png.MAX_TEXT_CHARACTERS
    assert png.describe(_file("x" * longest)).parameters["prompt"] == "x" * longest
    assert png.describe(_file("x" * (longest + 1))).parameters == {}
