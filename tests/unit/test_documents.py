"""`documents`: the objects of each tool are recognised by their meaning, and read under this program's names."""

import json
from typing import Any

import pytest

from tests.pictures import exif_with, jpeg_with, png_of, png_with, text_chunk, user_comment, webp_with, xmp_with
from zimage_cache.metadata.claims import Tool
from zimage_cache.metadata.description import describe

WANTED = {"prompt": "a fox", "negative_prompt": "bad", "seed": 42, "steps": 8, "width": 832, "height": 1216}
SWARMUI = {
    "sui_image_params": {
        "prompt": "a fox",
        "negativeprompt": "bad",
        "model": "z_image_turbo",
        "seed": 42,
        "steps": "8",
        "cfgscale": 1.0,
        "aspectratio": "Custom",
        "width": 832,
        "height": 1216,
        "sampler": "euler",
        "scheduler": "simple",
        "sigmashift": 3,
        "swarm_version": "0.9.7.4",
    },
    "sui_extra_data": {"date": "2026-01-03", "prep_time": "1 sec"},
    "sui_models": [{"name": "z_image_turbo.safetensors", "param": "model"}],
}
FOOOCUS = {
    "prompt": "a fox",
    "negative_prompt": "bad",
    "full_prompt": ["a fox", "a fox, best"],
    "styles": "['Fooocus V2']",
    "seed": "42",
    "steps": 8,
    "resolution": "(832, 1216)",
    "guidance_scale": 4.0,
    "sampler": "dpmpp_2m",
    "scheduler": "karras",
    "base_model": "juggernaut",
    "version": "Fooocus v2.5.5",
}
RUINED = {
    "Prompt": "a fox",
    "Negative": "bad",
    "steps": 8,
    "cfg": 8,
    "width": 832,
    "height": 1216,
    "seed": 42,
    "sampler_name": "heun",
    "scheduler": "normal",
    "base_model_name": "x.safetensors",
    "denoise": None,
    "software": "RuinedFooocus",
}
INVOKEAI = {
    "generation_mode": "z_image_txt2img",
    "positive_prompt": "a fox",
    "negative_prompt": "bad",
    "width": 832,
    "height": 1216,
    "seed": 42,
    "cfg_scale": 1.0,
    "steps": 8,
    "scheduler": "heun",
    "model": {"key": "k", "name": "Z-Image Turbo", "base": "z-image"},
    "z_image_shift": "auto",
    "app_version": "6.11.0",
}
INVOKEAI_2 = {
    "model_weights": "stable-diffusion-1.5",
    "app_version": "v2.3.5",
    "image": {
        "prompt": [{"prompt": "a fox [bad]", "weight": 1.0}],
        "steps": 8,
        "cfg_scale": 7.5,
        "seed": 42,
        "width": 832,
        "height": 1216,
        "sampler": "k_heun",
        "type": "txt2img",
    },
}
NOVELAI = {
    "prompt": "a fox",
    "steps": 8,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "seed": 42,
    "noise_schedule": "karras",
    "sampler": "k_euler",
    "uc": "bad",
    "v4_prompt": {"caption": {"base_caption": "a fox"}},
}
DRAWTHINGS = {
    "c": "a fox",
    "uc": "bad",
    "seed": 42,
    "steps": 8,
    "scale": 1,
    "size": "832x1216",
    "sampler": "UniPC Trailing",
    "shift": 3,
    "model": "z_image_turbo_1.0_q8p.ckpt",
    "strength": 1,
    "v2": {"steps": 9, "seed": 1},
}
EASYDIFFUSION = {
    "prompt": "a fox",
    "negative_prompt": "bad",
    "seed": 42,
    "use_stable_diffusion_model": "C:\\models\\sd-v1-5",
    "sampler_name": "euler",
    "width": 832,
    "height": 1216,
    "num_inference_steps": 8,
    "guidance_scale": 7.5,
}
EASYDIFFUSION_TEXT = {
    "Prompt": "a fox",
    "Negative Prompt": "bad",
    "Seed": "42",
    "Stable Diffusion model": "sd-v1-5",
    "Sampler": "euler",
    "Width": "832",
    "Height": "1216",
    "Steps": "8",
    "Guidance Scale": "7.5",
}
MFLUX = {
    "mflux_version": "0.18.0",
    "model": "Tongyi-MAI/Z-Image-Turbo",
    "base_model": "None",
    "seed": 42,
    "steps": 8,
    "guidance": None,
    "height": 1216,
    "width": 832,
    "quantize": 8,
    "prompt": "a fox",
    "negative_prompt": "bad",
}
TENSORART = {
    "prompt": "a fox",
    "negativePrompt": "bad",
    "width": 832,
    "height": 1216,
    "steps": 8,
    "cfgScale": 7,
    "seed": "42",
    "baseModel": {"modelFileName": "WAI-16", "hash": "A5"},
}
CIVITAI = {
    "prompt": "a fox",
    "negativePrompt": "bad",
    "cfgScale": 5,
    "sampler": "Euler",
    "steps": 8,
    "seed": 42,
    "width": 832,
    "height": 1216,
}
SPACE = {
    "prompt": "a fox",
    "negative_prompt": "bad",
    "resolution": "832 x 1216",
    "guidance_scale": 5.5,
    "num_inference_steps": 8,
    "seed": 42,
    "sampler": "DPM++ 2M Karras",
    "Model": "WAI",
    "use_upscaler": None,
}
STABILITY_MATRIX = {
    "PositivePrompt": "a fox",
    "NegativePrompt": "bad",
    "Steps": 8,
    "CfgScale": 5,
    "Seed": 42,
    "Height": 1216,
    "Width": 832,
    "Sampler": "Euler",
    "ModelName": "wai",
}

CASES: dict[str, tuple[dict[str, str], Tool, dict[str, Any]]] = {
    "SwarmUI": (
        {"parameters": json.dumps(SWARMUI, indent=2)},
        Tool.SWARMUI,
        {"guidance_scale": 0.0, "sampler": "euler", "shift": 3, "model": "z_image_turbo"},
    ),
    "SwarmUI beside the graph it ran": (
        {"parameters": json.dumps(SWARMUI), "prompt": '{"1": {"class_type": "KSampler", "inputs": {"seed": 1}}}'},
        Tool.SWARMUI,
        {"guidance_scale": 0.0, "sampler": "euler", "shift": 3, "model": "z_image_turbo"},
    ),
    "Fooocus": (
        {"fooocus_scheme": "fooocus", "parameters": json.dumps(FOOOCUS)},
        Tool.FOOOCUS,
        {"guidance_scale": 3.0, "sampler": "dpmpp_2m", "model": "juggernaut"},
    ),
    "RuinedFooocus": (
        {"parameters": json.dumps(RUINED)},
        Tool.FOOOCUS,
        {"guidance_scale": 7.0, "sampler": "heun", "model": "x.safetensors"},
    ),
    "InvokeAI": (
        {"invokeai_metadata": json.dumps(INVOKEAI), "invokeai_graph": '{"id": "g", "nodes": {}}'},
        Tool.INVOKEAI,
        {"guidance_scale": 0.0, "sampler": "heun", "model": "Z-Image Turbo"},
    ),
    "InvokeAI 2": (
        {"sd-metadata": json.dumps(INVOKEAI_2), "Dream": '"a fox [bad]" -s 8'},
        Tool.INVOKEAI,
        {"guidance_scale": 6.5, "sampler": "heun"},
    ),
    "NovelAI": (
        {"Software": "NovelAI", "Description": "a fox", "Comment": json.dumps(NOVELAI)},
        Tool.NOVELAI,
        {"guidance_scale": 4.0, "sampler": "euler"},
    ),
    "NovelAI of 2022": (
        {
            "Software": "NovelAI",
            "Description": "a fox",
            "Comment": json.dumps({name: value for name, value in NOVELAI.items() if "prompt" not in name}),
        },
        Tool.NOVELAI,
        {"guidance_scale": 4.0, "sampler": "euler"},
    ),
    "Easy Diffusion": (
        {name: str(value) for name, value in EASYDIFFUSION.items()},
        Tool.EASYDIFFUSION,
        {"guidance_scale": 6.5, "sampler": "euler", "model": "C:\\models\\sd-v1-5"},
    ),
    "Easy Diffusion with labels": (
        EASYDIFFUSION_TEXT,
        Tool.EASYDIFFUSION,
        {"guidance_scale": 6.5, "sampler": "euler", "model": "sd-v1-5"},
    ),
    "TensorArt": (
        {"generation_data": json.dumps(TENSORART) + "\0"},
        Tool.TENSORART,
        {"guidance_scale": 6.0, "model": "WAI-16"},
    ),
    "Civitai": (
        {"extraMetadata": json.dumps(CIVITAI)},
        Tool.CIVITAI,
        {"guidance_scale": 4.0, "sampler": "euler"},
    ),
    "a Space of Hugging Face": (
        {"parameters": json.dumps(SPACE)},
        Tool.OTHER,
        {"guidance_scale": 4.5, "sampler": "dpmpp_2m", "model": "WAI"},
    ),
    "Stability Matrix without its other texts": (
        {"parameters-json": json.dumps(STABILITY_MATRIX), "smproj": '{"Version": 2}'},
        Tool.OTHER,
        {"guidance_scale": 4.0, "sampler": "euler", "model": "wai"},
    ),
    "another program around this model": (
        {"metadata": json.dumps(SPACE | {"Model": "Tongyi-MAI/Z-Image", "guidance_scale": 3.5})},
        Tool.OTHER,
        {"guidance_scale": 3.5, "sampler": "dpmpp_2m", "model": "Tongyi-MAI/Z-Image"},
    ),
}


@pytest.mark.parametrize(("texts", "tool", "more"), CASES.values(), ids=CASES)
def test_objects_in_png(texts, tool, more):
    """Each tool's object is recognised and read; no prompt is the object itself."""
    found = describe(png_with(texts))
    assert (found.tool, found.parameters) == (tool, WANTED | more)


@pytest.mark.parametrize("make", [jpeg_with, webp_with])
@pytest.mark.parametrize(
    ("document", "encoding", "tool"),
    [
        (SWARMUI, "utf-16-le", Tool.SWARMUI),
        (FOOOCUS, "utf-8", Tool.FOOOCUS),
        (EASYDIFFUSION, "utf-16-be", Tool.EASYDIFFUSION),
        (MFLUX, "utf-8", Tool.MFLUX),
        ({"Comment": json.dumps(NOVELAI), "Software": "NovelAI"}, "utf-8", Tool.NOVELAI),
        ({"23": {"class_type": "Note", "inputs": {}}, "extraMetadata": json.dumps(CIVITAI)}, "utf-16-be", Tool.CIVITAI),
        ({"generation_data": json.dumps(TENSORART)}, "utf-8", Tool.TENSORART),
    ],
)
def test_objects_in_jpeg_and_webp(make, document, encoding, tool):
    """Where there is one text only, tools write their object, or all their texts as one object, into it."""
    found = describe(make(exif_with({0x9286: user_comment(json.dumps(document), encoding)})))
    assert (found.tool, found.parameters["prompt"], found.parameters["seed"]) == (tool, "a fox", 42)
    assert (found.parameters["width"], found.parameters["height"]) == (832, 1216)


def test_draw_things():
    """Its object is in XMP, beside words of its own."""
    packet = xmp_with(
        {"xmp:CreatorTool": "Draw Things", "exif:UserComment": json.dumps(DRAWTHINGS), "dc:description": "x"}
    )
    found = describe(png_of(behind=[text_chunk("XML:com.adobe.xmp", packet, "iTXt")]))
    more = {"guidance_scale": 0.0, "sampler": "unipc", "shift": 3, "model": "z_image_turbo_1.0_q8p.ckpt"}
    assert (found.tool, found.parameters) == (Tool.DRAWTHINGS, WANTED | more)


@pytest.mark.parametrize(
    ("model", "guidance", "expected"),
    [
        ("Tongyi-MAI/Z-Image-Turbo", None, 0.0),
        ("Tongyi-MAI/Z-Image-Turbo", 0.0, 0.0),
        ("Tongyi-MAI/Z-Image", 1.0, 0.0),
        ("Tongyi-MAI/Z-Image", 4.0, 4.0),
        ("black-forest-labs/FLUX.1-dev", 3.5, None),
    ],
)
def test_guidance_of_mflux(model, guidance, expected):
    """It counts like here for this model, with none below 1; for FLUX the number means something else."""
    document = MFLUX | {"model": model, "guidance": guidance}
    found = describe(jpeg_with(exif_with({0x9286: user_comment(json.dumps(document), "utf-8")})))
    assert found.parameters.get("guidance_scale") == expected
    assert any("guidance: 3.5" in str(note) for note in found.notes) == (expected is None)


@pytest.mark.parametrize(
    "document",
    [
        {"prompt": "a fox"},
        {"prompt": "a fox", "seed": 1},
        {"seed": 1, "steps": 2, "cfg": 3},
        {"nodes": [], "links": []},
        {"sui_image_params": None},
        [],
        7,
    ],
)
def test_other_objects_say_nothing(document):
    """A text or a number alone may belong to anything."""
    found = describe(png_with({"thing": json.dumps(document)}))
    assert found.parameters == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": ' + "[" * 100_000,
        '{"prompt": "x"' + ', "a": [1]' * 200_000 + "}",
        '{"prompt": "x", "seed": ' + "1" * 10_000 + "}",
        '{"prompt": "x", ',
        '{"prompt": NaN, "seed": Infinity, "steps": 8}',
        json.dumps({"prompt": {"a": 1}, "seed": [1], "steps": {}, "size": {}, "model": {"x": 1}, "uc": 1, "c": 1}),
    ],
    ids=["deep", "many signs", "many digits", "cut", "no numbers", "other types"],
)
def test_damaged_and_hostile_objects(text):
    """They are named, or their values are; none is taken for a prompt, and none crashes anything."""
    found = describe(png_with({"parameters": text}))
    assert "{" not in found.parameters.get("prompt", "")
    assert found.notes
