"""`comfyui`: parameters read from graphs of nodes, and invalid graphs."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zimage_cache.metadata import png
from zimage_cache.metadata.comfyui import read_workflow


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


SIMPLE = {
    "3": node(
        "KSampler",
        seed=156680208700286,
        steps=9,
        cfg=1,
        sampler_name="dpmpp_2m",
        scheduler="simple",
        model=["11", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    ),
    "5": node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
    "6": node("CLIPTextEncode", text=" a fox 红 ", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
    "11": node("ModelSamplingAuraFlow", shift=3, model=["4", 0]),
    "4": node("UNETLoader", unet_name="z_image_turbo_bf16.safetensors"),
}
FOUND = {
    "prompt": "a fox 红",
    "negative_prompt": "blurry",
    "seed": 156680208700286,
    "steps": 9,
    "guidance_scale": 1.0,
    "width": 1024,
    "height": 768,
    "shift": 3.0,
    "sampler": "dpmpp_2m",
}
CUSTOM = {
    "13": node(
        "SamplerCustomAdvanced",
        noise=["25", 0],
        guider=["22", 0],
        sampler=["16", 0],
        sigmas=["17", 0],
        latent_image=["27", 0],
    ),
    "25": node("RandomNoise", noise_seed=42),
    "22": node("BasicGuider", model=["30", 0], conditioning=["26", 0]),
    "26": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
    "6": node("CLIPTextEncode", text=["9", 0], clip=["11", 0]),
    "9": node("PrimitiveString", value="linked text"),
    "16": node("KSamplerSelect", sampler_name="uni_pc"),
    "17": node("BasicScheduler", scheduler="simple", steps=20, denoise=1, model=["30", 0]),
    "27": node("EmptyLatentImage", width=640, height=960, batch_size=1),
}


def test_an_ordinary_graph():
    """Prompts, seed, steps, guidance, size, shift and sampler are found from the sampler's inputs."""
    assert read_workflow(json.dumps(SIMPLE)) == FOUND


def test_a_custom_sampler():
    """Seed, steps, text and sampler are found behind the nodes that hold them, text also behind a link."""
    found = read_workflow(json.dumps(CUSTOM))
    assert found == {
        "prompt": "linked text",
        "negative_prompt": "",
        "seed": 42,
        "steps": 20,
        "width": 640,
        "height": 960,
        "sampler": "unipc",
    }


def test_zeroed_conditioning_is_no_negative_prompt():
    """A negative input made of the zeroed prompt says nothing; the prompt is not taken for it."""
    graph = SIMPLE | {"7": node("ConditioningZeroOut", conditioning=["6", 0])}
    assert read_workflow(json.dumps(graph)) == FOUND | {"negative_prompt": ""}


def test_unknown_samplers_and_values_that_are_none():
    """What we have no name for, or is no number, is left out."""
    sampler = SIMPLE["3"]["inputs"] | {"sampler_name": "lcm", "steps": "many", "cfg": True, "seed": 1.5}
    found = read_workflow(json.dumps(SIMPLE | {"3": node("KSampler", **sampler)}))
    assert found == {k: v for k, v in FOUND.items() if k not in {"sampler", "steps", "guidance_scale", "seed"}}


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308 * 10])
def test_numbers_that_no_float_holds(value):
    """A number of hundreds of digits is left out like any other that is none; the rest of the graph counts."""
    graph = SIMPLE | {"3": node("KSampler", **SIMPLE["3"]["inputs"] | {"seed": value, "cfg": value})}
    assert read_workflow(json.dumps(graph)) == {k: v for k, v in FOUND.items() if k not in {"guidance_scale", "seed"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a prompt of another tool",
        "[]",
        "7",
        "{}",
        "[" * 100_000,
        '{"1": 7}',
        '{"1": {"class_type": "KSampler"}}',
        '{"1": {"class_type": "KSampler", "inputs": {}}}',
        '{"1": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "negative": [], "model": [[], 0]}}}',
        '{"1": {"class_type": "KSampler", "inputs": {"cfg": NaN, "positive": ["nobody", 0]}}}',
        '{"1": {"class_type": "Note", "inputs": {"text": "x"}}}',
    ],
)
def test_no_graph_or_an_empty_one(text):
    """Other tools' text under the same keyword, circles and loose ends are nothing, not an error."""
    assert read_workflow(text) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "2", "KSampler"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
NAMES = ["positive", "negative", "model", "noise", "guider", "seed", "text", "latent_image", "conditioning"]
NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["KSampler", "SamplerCustomAdvanced", "X"]),
        "inputs": st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    }
)


@given(st.dictionaries(st.sampled_from(["1", "2", "3"]), NODES, max_size=3))
@settings(max_examples=100)
def test_any_graph_is_read(graph):
    """Whatever is linked to whatever, reading ends and gives plain fields."""
    found = read_workflow(json.dumps(graph))
    assert all(isinstance(value, str | int | float) for value in found.values())


def test_a_picture_of_comfyui():
    """The graph counts where neither we nor A1111 left parameters, and the reader says whose they are."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    text = {"prompt": json.dumps(SIMPLE), "workflow": "{}"}
    found = png.describe(png.encode(pixels, text))
    assert (found.parameters, found.tool) == (FOUND, png.Tool.COMFYUI)
    both = png.describe(png.encode(pixels, text | {"parameters": "a\nSteps: 1, Seed: 2, Size: 8x8"}))
    assert (both.parameters["seed"], both.tool) == (2, png.Tool.A1111)
