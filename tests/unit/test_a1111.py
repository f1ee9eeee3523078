"""`a1111`: what this program writes comes back, and what A1111 and its relatives write is read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import png_with
from zimage_cache.metadata import a1111
from zimage_cache.metadata.claims import Claims, taken
from zimage_cache.metadata.description import describe
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


def written(fields: dict[str, Any], version: str = "1") -> str:
    """Return the A1111 text for *fields*, with the other parameters at their defaults."""
    values = {name: row.default for name, row in PARAMETERS.items()} | fields
    return a1111.parameters_text(values, model=fields["model"], version=version)


def read(text: str, name: str = "parameters") -> Claims:
    found = a1111.read({name: text})
    assert found is not None
    return found


def parameters(text: str) -> dict[str, Any]:
    return taken(read(text))[0]


def test_parameters_text_is_what_a1111_writes():
    """Prompt, negative prompt, then the settings in one line, under A1111's names."""
    assert written(FIELDS, "0.2.0") == (
        "a red circle\n"
        "Negative prompt: blurry\n"
        "Steps: 8, Sampler: DPM++ 2M, CFG scale: 5.5, Seed: 4294967295, Size: 1024x768, Model: turbo, "
        "Version: zimage 0.2.0"
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
    text = written(fields, "0.2.0, of today: beta")

    assert parameters(text) == fields


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda t: t.strip() == t != ""))
@settings(max_examples=200)
def test_any_prompt_comes_back(prompt):
    """Any text without outer blanks survives writing and reading as a prompt; line ends of Windows become ordinary."""
    fields = {**FIELDS, "prompt": prompt}
    assert parameters(written(fields))["prompt"] == prompt.replace("\r\n", "\n")


@pytest.mark.parametrize("sampler", ["euler", "unipc", "dpmpp_2m", "heun"])
def test_samplers_have_their_own_names(sampler):
    """Each of our samplers goes out under A1111's name and comes back under ours."""
    text = written({**FIELDS, "sampler": sampler})

    assert f"Sampler: {sampler}" not in text
    assert parameters(text)["sampler"] == sampler


GUIDANCES = [0.0, 0.1, 1.0, 1.1, 3.6, 4.5, 6.6, 19.9, 20.0]


@pytest.mark.parametrize("guidance", GUIDANCES)
def test_guidance_is_written_as_other_tools_count_it(guidance):
    """None is 0 here and 1 there; every guidance comes back exactly."""
    text = written({**FIELDS, "guidance_scale": guidance})
    assert f"CFG scale: {guidance + 1:.10g}," in text
    assert parameters(text)["guidance_scale"] == guidance


@pytest.mark.parametrize(
    ("settings", "guidance"),
    [
        ("CFG scale: 1, Version: v1.10.1", 0.0),
        ("CFG scale: 0, Version: v1.10.1", 0.0),
        ("CFG scale: 0.0", 0.0),
        ("CFG Scale: 8.0, Version: ComfyUI", 7.0),
        ("CFG scale: 1.000000, Guidance: 3.500000, Version: stable-diffusion.cpp", 0.0),
        ("CFG scale: 1, Distilled CFG Scale: 9, Version: f2.0.1v1.10.1", 0.0),
        ("CFG scale: 4.0, Version: 0.1.0", 4.0),
        ("CFG scale: 0.0, Version: 0.1.0", 0.0),
        ("CFG scale: 4, App: SD.Next, Pipeline: ZImagePipeline", 4),
        ("CFG scale: 4, App: SD.Next, Pipeline: FluxPipeline", 3.0),
        ("CFG scale: 0.5", None),
        ("CFG scale: 30", None),
        ("CFG scale: nan", None),
        ("CFG scale: -7", None),
    ],
)
def test_guidance_of_other_tools(settings, guidance):
    """1 and 0 mean none; the first version of this program and SD.Next for this model write the pipeline's number."""
    fields, notes = taken(read(f"a fox\nSteps: 8, Seed: 3, {settings}"))
    assert fields.get("guidance_scale") == guidance
    assert any("guidance_scale" in str(note) for note in notes) == (guidance is None)


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "no negative prompt": (
        "a fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5",
        {"prompt": "a fox", "negative_prompt": "", "steps": 20, "sampler": "euler", "guidance_scale": 6.0, "seed": 1}
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
    "only settings": (
        "Steps: 8, Seed: 3, Size: 64x64",
        {"negative_prompt": "", "steps": 8, "seed": 3, "width": 64, "height": 64},
    ),
    "lines of Dynamic Prompts behind the settings": (
        (
            "a fox\nNegative prompt: bad\nSteps: 8, Sampler: Euler, Seed: 42, Size: 128x128\n"
            "Template: {red|blue} fox, lens: 50mm, iso: 100, Steps: 9\nNegative Template: bad"
        ),
        {"prompt": "a fox", "negative_prompt": "bad", "steps": 8, "sampler": "euler", "seed": 42}
        | {"width": 128, "height": 128},
    ),
    "a template of several lines": (
        "a fox\nSteps: 8, Seed: 42, Size: 128x128\nTemplate: {red|\nblue} fox\nin snow",
        {"prompt": "a fox", "negative_prompt": "", "steps": 8, "seed": 42, "width": 128, "height": 128},
    ),
    "templates of SD.Next before the settings": (
        (
            "a fox\nNegative prompt: bad\nTemplate: __animal__\nNegative template: {bad|worse}\n"
            "Steps: 8, Size: 128x128, Sampler: UniPC FlowMatch, Seed: 42, CFG scale: 6, App: SD.Next, Version: 56a8aea"
        ),
        {"prompt": "a fox", "negative_prompt": "bad", "steps": 8, "sampler": "unipc", "seed": 42}
        | {"guidance_scale": 5.0, "width": 128, "height": 128},
    ),
    "a quotation with line breaks and commas": (
        'a fox\nSteps: 8, Seed: 42, Hires prompt: "one, Seed: 1,\ntwo", Size: 128x96, Sampler: Heun',
        {"prompt": "a fox", "negative_prompt": "", "steps": 8, "seed": 42, "sampler": "heun"}
        | {"width": 128, "height": 96},
    ),
    "a quotation with escapes": (
        'a fox\nSteps: 8, Hires prompt: "a \\"sign\\": Seed: 5,\\nSteps: 2", Seed: 42, Sampler: Euler',
        {"prompt": "a fox", "negative_prompt": "", "steps": 8, "seed": 42, "sampler": "euler"},
    ),
    "resources of Civitai as JSON": (
        (
            "a fox\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 5, Seed: 42, Size: 832x1216, Clip skip: 2, "
            'Civitai resources: [{"type":"checkpoint","modelName":"X, Seed: 7, Steps: 2"},{"weight":0.8}], Model: y'
        ),
        {
            "prompt": "a fox",
            "negative_prompt": "",
            "steps": 25,
            "sampler": "dpmpp_2m",
            "guidance_scale": 4.0,
            "seed": 42,
        }
        | {"width": 832, "height": 1216, "model": "y"},
    ),
    "stable-diffusion.cpp": (
        (
            "a fox\nNegative prompt: bad\nSteps: 8, CFG scale: 1.000000, Guidance: 3.500000, Eta: inf, Seed: 42, "
            "Size: 1024x768, Model: , RNG: cuda, Sampler: euler discrete, TE: qwen.safetensors, Unet: zit.gguf, "
            'VAE: ae.sft, Version: stable-diffusion.cpp, SDCPP: {"seed":7,"steps":2,"prompt":"Steps: 9, Seed: 8"}'
        ),
        {"prompt": "a fox", "negative_prompt": "bad", "steps": 8, "guidance_scale": 0.0, "seed": 42}
        | {"width": 1024, "height": 768, "sampler": "euler", "model": "zit.gguf"},
    ),
    "skipped layers of stable-diffusion.cpp": (
        "a fox\nSteps: 8, CFG scale: 2.0, SLG scale: 2.5, Skip layers: [7, 8, 9, ], Seed: 42, Size: 64x64",
        {"prompt": "a fox", "negative_prompt": "", "steps": 8, "guidance_scale": 1.0, "seed": 42}
        | {"width": 64, "height": 64},
    ),
    "Krita, which always writes a negative prompt": (
        (
            "a fox <lora:x:0.8>\nNegative prompt: \nSteps: 8, Sampler: Euler - euler, CFG scale: 0.0, Seed: 42, "
            "Size: 512x768, Model hash: unknown, Model: z_image_turbo"
        ),
        {"prompt": "a fox <lora:x:0.8>", "negative_prompt": "", "steps": 8, "guidance_scale": 0.0, "seed": 42}
        | {"width": 512, "height": 768, "model": "z_image_turbo"},
    ),
    "Forge Neo with the shift": (
        (
            "a fox\nSteps: 9, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Shift: 9, Seed: 42, "
            "Size: 1024x1024, Model: zit, Version: neo-2.28"
        ),
        {"prompt": "a fox", "negative_prompt": "", "steps": 9, "sampler": "euler", "guidance_scale": 0.0, "shift": 9}
        | {"seed": 42, "width": 1024, "height": 1024, "model": "zit"},
    ),
    "Windows line breaks": (
        "a fox\r\nNegative prompt: bad\r\nSteps: 8, Seed: 42, Size: 64x64\r\n",
        {"prompt": "a fox", "negative_prompt": "bad", "steps": 8, "seed": 42, "width": 64, "height": 64},
    ),
    "a prompt that is JSON": (
        '{"subject": "a fox"}\nSteps: 8, Seed: 42, Size: 64x64',
        {"prompt": '{"subject": "a fox"}', "negative_prompt": "", "steps": 8, "seed": 42, "width": 64, "height": 64},
    ),
    "settings in another order": (
        "a fox\nSeed: 42, Steps: 8, Size: 64 x 64, Sampler: Euler",
        {
            "prompt": "a fox",
            "negative_prompt": "",
            "steps": 8,
            "seed": 42,
            "width": 64,
            "height": 64,
            "sampler": "euler",
        },
    ),
    "a whole text pasted as the prompt": (
        "a cat\nSteps: 1, Seed: 1, Size: 8x8, Model: old\nNegative prompt: bad\nSteps: 8, Seed: 42, Size: 64x64",
        {"prompt": "a cat\nSteps: 1, Seed: 1, Size: 8x8, Model: old", "negative_prompt": "bad", "steps": 8, "seed": 42}
        | {"width": 64, "height": 64},
    ),
}


@pytest.mark.parametrize(("text", "expected"), OTHERS.values(), ids=OTHERS)
def test_texts_of_a1111_and_its_relatives(text, expected):
    """The fields that a request has are found, whatever stands around them; what is no such number is left out."""
    assert parameters(text) == expected


@pytest.mark.parametrize("text", ["", " \n ", '{"sui_image_params": {}}', '{"a": 1}'])
def test_texts_that_are_none(text):
    """Nothing, and an object of another tool, are no prompt."""
    assert a1111.read({"parameters": text}) is None


@pytest.mark.parametrize("name", ["usercomment", "comment", "description", "exif 0x010e"])
def test_the_same_text_under_another_name(name):
    """A text with a line of settings is read wherever it stands; without one it is a comment."""
    assert taken(read("a fox\nSteps: 8, Seed: 3, Size: 64x64", name))[0]["seed"] == 3
    assert a1111.read({name: "a holiday in May: sun, sea, sand"}) is None


def test_settings_without_a_field_are_named():
    """A note lists what a request cannot say, but not versions and hashes."""
    text = "a fox\nSteps: 8, Seed: 3, Size: 64x64, Clip skip: 2, Model hash: ab, Schedule type: Karras, Version: v1"
    (note,) = taken(read(f"{text}\nTemplate: {{red|blue}} fox"))[1]
    assert str(note).endswith("settings here: Clip skip: 2; Template: {red|blue} fox; schedule: Karras")


def test_a_text_from_a_whole_file():
    """The reader says whose text it is."""
    found = describe(png_with({"parameters": "a\nSteps: 1, Seed: 2, Size: 64x64"}))
    assert (found.parameters["seed"], found.tool, found.media_type) == (2, "a1111", "image/png")


OLD = sorted((Path(__file__).parents[1] / "data" / "workspace_0.1" / "output_image").glob("*.png"))


@pytest.mark.parametrize("file", OLD, ids=[file.stem for file in OLD])
def test_pictures_of_the_first_version(file):
    """Their text has this program's own number as `CFG scale`: with and without their other chunk it is the same."""
    whole = describe(file.read_bytes())
    with Image.open(file) as picture:
        alone = describe(png_with({"parameters": picture.info["parameters"]}))
    assert (whole.tool, alone.tool) == ("zimage", "a1111")
    for name in ("guidance_scale", "seed", "steps", "width", "height", "sampler"):
        assert alone.parameters[name] == whole.parameters[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a fox\nNegative prompt: bad\nSteps: 8, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x128",
            {"Prompt": "a fox", "Negative prompt": "bad", "Sampler": "Euler a", "Size-1": "64", "Size-2": "128"},
        ),
        (
            'two\nlines\nSteps: 20, Seed: 1, Lora hashes: "a: 1, b: 2", Model: x',
            {"Prompt": "two\nlines", "Negative prompt": "", "Lora hashes": "a: 1, b: 2", "Model": "x"},
        ),
        (
            "a\nSteps: 20, Seed: 1, Size: large, Version: v1.10.1",
            {"Prompt": "a", "Steps": "20", "Seed": "1", "Version": "v1.10.1"},
        ),
        ("no settings at all", {"Prompt": "no settings at all", "Negative prompt": ""}),
        ("Steps: 8, Seed: 2, Size: 64x64", {"Prompt": "", "Seed": "2", "Size-1": "64"}),
        ("", {"Prompt": "", "Negative prompt": ""}),
    ],
)
def test_names_of_its_own_api(text, expected):
    """Prompts, every setting under its own name, and the two sides of the size in place of `Size`."""
    found = a1111.by_their_names(text)
    assert found | expected == found
    assert "Size" not in found
