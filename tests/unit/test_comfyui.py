"""`comfyui` and `graph`: parameters are found by inputs and links, whichever nodes a graph has."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import png_with
from zimage_cache.metadata import comfyui
from zimage_cache.metadata.claims import Claims, Tool, taken
from zimage_cache.metadata.description import describe

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def read(graph: Any) -> Claims:
    found = comfyui.read({"prompt": graph})
    assert found is not None
    return found


def fields(graph: Graph) -> dict[str, Any]:
    return taken(read(graph))[0]


def notes(graph: Graph) -> str:
    return "\n".join(map(str, taken(read(graph))[1]))


SIMPLE: Graph = {
    "3": node(
        "KSampler",
        seed=42,
        steps=9,
        cfg=1,
        sampler_name="dpmpp_2m",
        scheduler="simple",
        denoise=1,
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
    "seed": 42,
    "steps": 9,
    "guidance_scale": 0.0,
    "width": 1024,
    "height": 768,
    "shift": 3,
    "sampler": "dpmpp_2m",
    "model": "z_image_turbo_bf16.safetensors",
}


def changed(name: str, /, **inputs: Any) -> Graph:
    """Return the simple graph with other inputs of one node; None removes one."""
    kept = {key: value for key, value in (SIMPLE[name]["inputs"] | inputs).items() if value is not None}
    return SIMPLE | {name: node(SIMPLE[name]["class_type"], **kept)}


def with_text(**nodes: Any) -> Graph:
    """Return the simple graph whose prompt comes from the node `a` of *nodes*."""
    return changed("6", text=["a", 0]) | nodes


def test_an_ordinary_graph():
    """Prompts, seed, steps, guidance, size, shift and sampler are found from the sampler's inputs."""
    assert (fields(SIMPLE), notes(SIMPLE)) == (FOUND, "")


CUSTOM: Graph = SIMPLE | {
    "3": node(
        "SamplerCustomAdvanced",
        noise=["25", 0],
        guider=["22", 0],
        sampler=["16", 0],
        sigmas=["17", 0],
        latent_image=["5", 0],
    ),
    "25": node("RandomNoise", noise_seed=42),
    "22": node("CFGGuider", model=["11", 0], positive=["6", 0], negative=["7", 0], cfg=1),
    "16": node("KSamplerSelect", sampler_name="dpmpp_2m"),
    "17": node("BasicScheduler", scheduler="simple", steps=9, denoise=1, model=["11", 0]),
}


def test_a_sampler_of_parts():
    """Seed, steps, guidance and sampler are found behind the nodes that hold them."""
    assert (fields(CUSTOM), notes(CUSTOM)) == (FOUND, "")


def test_a_guider_without_guidance():
    """One text and no number: nothing is guided, and there is no negative prompt."""
    graph = CUSTOM | {"22": node("BasicGuider", model=["11", 0], conditioning=["30", 0])}
    graph |= {"30": node("FluxGuidance", guidance=3.5, conditioning=["6", 0])}
    assert fields(graph) == {name: value for name, value in FOUND.items() if name != "negative_prompt"}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ClownsharKSampler_Beta", {"eta": 0.5, "bongmath": True, "steps_to_run": -1}),
        ("KSampler (Efficient)", {"preview_method": "auto", "vae_decode": "true"}),
        (
            "SamplerCustom",
            {"add_noise": True, "sampler": ["16", 0], "sampler_name": None, "noise_seed": 42, "seed": None},
        ),
        ("SwarmKSampler", {"noise_seed": 42, "seed": None, "var_seed": 7, "start_at_step": 0, "end_at_step": 10000}),
        ("KSamplerAdvanced", {"noise_seed": 42, "seed": None, "add_noise": "enable", "end_at_step": 9}),
        ("我的采样器", {"latent_image": None, "latent": ["5", 0]}),
    ],
)
def test_samplers_of_other_classes(kind, inputs):
    """A node is a sampler by its inputs, whatever its class is called."""
    graph = changed("3", **inputs) | {"16": node("KSamplerSelect", sampler_name="dpmpp_2m")}
    assert fields(graph | {"3": node(kind, **graph["3"]["inputs"])}) == FOUND


def test_a_sampler_without_guidance_and_name():
    """ZSampler Turbo has neither a negative text nor a number: it draws without guidance."""
    sampler = node("ZSamplerTurbo //X", seed=42, steps=9, model=["11", 0], positive=["6", 0], latent_input=["5", 0])
    expected = {name: value for name, value in FOUND.items() if name not in {"negative_prompt", "sampler"}}
    assert fields(SIMPLE | {"3": sampler}) == expected


def test_several_guidances():
    """A guider with two numbers of its own has none that counts here: they are named."""
    inputs = {
        "model": ["11", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "cfg_conds": 5.0,
        "cfg_cond2_negative": 4.0,
    }
    graph = CUSTOM | {"22": node("DualCFGGuider", **inputs)}
    assert "guidance_scale" not in fields(graph)
    assert notes(graph).endswith("settings here: cfg_conds: 5.0; cfg_cond2_negative: 4.0")


def test_everything_in_one_node():
    """A node that wraps a whole pipeline has texts and size itself; its guidance may count in either way."""
    sampler = node("ZImageGenerate", seed=42, steps=9, prompt="a fox", negative_prompt="", width=512, height=768)
    found = fields({"1": sampler | {"inputs": sampler["inputs"] | {"guidance_scale": 2.0, "model": "x"}}})
    assert found == {"prompt": "a fox", "negative_prompt": "", "seed": 42, "steps": 9, "width": 512, "height": 768}


def test_bundles():
    """Where texts, size and numbers travel through one link, they are found upstream."""
    graph = {
        "1": node("easy fullLoader", positive="a fox", negative="bad", empty_latent_width=512, empty_latent_height=640),
        "2": node("easy preSampling", seed=42, steps=9, cfg=1, sampler_name="euler", scheduler="simple", pipe=["1", 0]),
        "3": node("easy kSampler", pipe=["2", 0]),
    }
    expected = {"prompt": "a fox", "negative_prompt": "bad", "seed": 42, "steps": 9, "sampler": "euler"}
    assert fields(graph) == expected | {"guidance_scale": 0.0, "width": 512, "height": 640}


def test_a_loader_with_both_texts():
    """A link into a node with two sides leads to the side it came from."""
    loader = node("Efficient Loader", positive="a fox", negative="bad", empty_latent_width=512, empty_latent_height=640)
    graph = changed("3", positive=["1", 1], negative=["1", 2], latent_image=["1", 3]) | {"1": loader}
    found = fields(graph)
    assert (found["prompt"], found["negative_prompt"], found["width"], found["height"]) == ("a fox", "bad", 512, 640)
    control = node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1, image=["9", 0])
    found = fields(changed("3", positive=["8", 0], negative=["8", 1]) | {"8": control})
    assert (found["prompt"], found["negative_prompt"]) == ("a fox 红", "blurry")


TEXTS: dict[str, tuple[Graph, str]] = {
    "a primitive": ({"a": node("PrimitiveStringMultiline", value="a fox")}, "a fox"),
    "a reroute": ({"a": node("Reroute (rgthree)", **{"": ["b", 0]}), "b": node("String", text="a fox")}, "a fox"),
    "a display": ({"a": node("PreviewAny", source=["b", 0]), "b": node("X", prompt="a fox")}, "a fox"),
    "names with capitals": ({"a": node("DF_Text_Box", Text="a fox")}, "a fox"),
    "two joined texts": (
        {"a": node("StringConcatenate", string_a="masterpiece", string_b="a fox", delimiter=", ")},
        "masterpiece, a fox",
    ),
    "joined links": (
        {
            "a": node("CR Text Concatenate", text1=["b", 0], text2=["c", 0], separator="\\n"),
            "b": node("CR Text", text="a fox"),
            "c": node("StringConcatenate", string_a="in", string_b="snow", delimiter=" "),
        },
        "a fox\nin snow",
    ),
    "many joined texts in their order": (
        {
            "a": node(
                "JoinStringMulti", inputcount=11, delimiter=" ", **{f"string_{n}": f"s{n}" for n in range(11, 0, -1)}
            )
        },
        "s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11",
    ),
    "empty ones among them": (
        {
            "a": node(
                "Text Concatenate", text_a="a fox", text_b="", text_c="snow", delimiter=", ", clean_whitespace="true"
            )
        },
        "a fox, snow",
    ),
    "appended": (
        {"a": node("StringFunction|pysssss", action="append", tidy_tags="yes", text_a="a", text_b="b")},
        "a, b",
    ),
    "the chosen text": ({"a": node("CR Text Input Switch", Input=2, text1="no", text2="a fox")}, "a fox"),
    "a chosen link": (
        {"a": node("ImpactSwitch", select=["n", 0], input1=["b", 0], input2=["c", 0], sel_mode=False)}
        | {"n": node("PrimitiveInt", value=2), "b": node("X", text="no"), "c": node("X", text="a fox")},
        "a fox",
    ),
    "the first that is there": (
        {"a": node("Any Switch (rgthree)", any_01=["gone", 0], any_02=["b", 0]), "b": node("X", text="a fox")},
        "a fox",
    ),
    "either side of a switch": (
        {"a": node("ComfySwitchNode", switch=["s", 0], on_true=["b", 0], on_false="a fox")}
        | {"s": node("PrimitiveBoolean", value=False), "b": node("X", text="no")},
        "a fox",
    ),
    "a wildcard that was filled in": (
        {"a": node("ImpactWildcardProcessor", wildcard_text="__x__", populated_text="a fox", mode="populate", seed=7)},
        "a fox",
    ),
    "a shown text": (
        {
            "a": node("ShowText|pysssss", text=["b", 0], text_0="a fox"),
            "b": node("LLM", prompt="Write!", temperature=1),
        },
        "a fox",
    ),
}


@pytest.mark.parametrize(("nodes", "expected"), TEXTS.values(), ids=TEXTS)
def test_texts_from_other_nodes(nodes, expected):
    """A prompt is found through primitives, reroutes and switches, and joined as its nodes join it."""
    assert fields(with_text(**nodes)) == FOUND | {"prompt": expected}


UNKNOWN: dict[str, Graph] = {
    "a language model": {"a": node("OllamaGenerate", prompt="Describe a fox", system="You are…", temperature=0.7)},
    "ComfyUI's own": {"a": node("TextGenerate", clip=["4", 1], prompt="Enhance: a fox", max_length=256)},
    "a replacement": {"a": node("StringReplace", string="a cat", find="cat", replace="fox")},
    "a part of a text": {"a": node("StringSubstring", string="a fox in snow", start=0, end=5)},
    "another case": {"a": node("CaseConverter", string="a fox", mode="UPPERCASE")},
    "a replaced part": {"a": node("StringFunction|pysssss", action="replace", text_a="a", text_b="b", text_c="c")},
    "a switch without its value": {"a": node("ComfySwitchNode", switch=["gone", 0], on_true="a", on_false="b")},
    "a choice without its number": {"a": node("ImpactSwitch", select=["gone", 0], input1="a", input2="b")},
    "a file": {"a": node("LoadTextFile", path="x.txt", line=3)},
    "a caption of a picture": {"a": node("Florence2Run", image=["9", 0], task="caption", max_new_tokens=1024)},
    "two texts for two outputs": {"a": node("Two Prompts", prompt_1="a fox", prompt_2="bad")},
    "a part that is unknown": {"a": node("StringConcatenate", string_a=["b", 0], string_b="x", delimiter="")}
    | {"b": node("OllamaGenerate", prompt="x", temperature=1)},
    "a circle": {"a": node("Reroute", x=["b", 0]), "b": node("Reroute", x=["a", 0])},
}


@pytest.mark.parametrize("nodes", UNKNOWN.values(), ids=UNKNOWN)
def test_texts_that_are_not_in_the_file(nodes):
    """A text that a node made while it ran is left out, never guessed or empty, and the node is named."""
    graph = with_text(**nodes)
    assert fields(graph) == {name: value for name, value in FOUND.items() if name != "prompt"}
    assert notes(graph).startswith("prompt: made by the node “")


def test_texts_that_grow_without_end():
    """Texts joined with themselves double with each node: the search ends."""
    doubling = {
        f"n{at}": node("StringConcatenate", string_a=[f"n{at + 1}", 0], string_b=[f"n{at + 1}", 0], delimiter="")
        for at in range(60)
    }
    graph = changed("6", text=["n0", 0]) | doubling | {"n60": node("String", text="x" * 100)}
    assert "prompt" not in fields(graph)
    assert "prompt: made by the node" in notes(graph)


def test_zeroed_conditioning_is_no_negative_prompt():
    """A negative input made of the zeroed prompt says nothing; the prompt is not taken for it."""
    assert fields(SIMPLE | {"7": node("ConditioningZeroOut", conditioning=["6", 0])}) == FOUND | {"negative_prompt": ""}


@pytest.mark.parametrize(
    "combining",
    [
        node("ConditioningConcat", conditioning_to=["6", 0], conditioning_from=["7", 0]),
        node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["7", 0]),
        node("ConditioningAverage", conditioning_to=["6", 0], conditioning_from=["7", 0], conditioning_to_strength=0.5),
    ],
)
def test_combined_conditionings(combining):
    """Both texts are taken over, and a note says that the graph did more than to join them."""
    graph = changed("3", positive=["8", 0]) | {"8": combining}
    assert fields(graph)["prompt"] == "a fox 红 \nblurry"
    assert "joins 2 texts" in notes(graph)


@pytest.mark.parametrize(
    "passing",
    [
        node("ConditioningSetTimestepRange", conditioning=["6", 0], start=0.0, end=0.5),
        node("ReferenceLatent", conditioning=["6", 0], latent=["5", 0]),
        node("unCLIPConditioning", conditioning=["6", 0], strength=1, clip_vision_output=["9", 0]),
        node("CLIPTextEncodeSDXL", text_g="a fox 红", text_l="fox", width=1024, height=1024, clip=["4", 1]),
        node("CLIPTextEncodeSD3", clip_l="a fox 红", clip_g="", t5xxl="", clip=["4", 1]),
        node("CLIPTextEncodeFlux", clip_l="fox", t5xxl="a fox 红", guidance=3.5, clip=["4", 1]),
        node("BNK_CLIPTextEncodeAdvanced", text="a fox 红", token_normalization="none", clip=["4", 1]),
        node("TextEncodeZImageOmni", prompt="a fox 红", clip=["4", 1], vae=["4", 2], image1=["9", 0]),
    ],
)
def test_other_conditionings(passing):
    """Texts pass through nodes that do something else to the conditioning."""
    assert fields(changed("3", positive=["8", 0]) | {"8": passing}) == FOUND


NUMBERS: dict[str, tuple[Graph, Any]] = {
    "Seed (rgthree)": ({"s": node("Seed (rgthree)", seed=42)}, 42),
    "a primitive": ({"s": node("PrimitiveInt", value=42)}, 42),
    "another name": ({"s": node("Int Literal", int=42)}, 42),
    "a reroute": ({"s": node("Reroute", x=["t", 0]), "t": node("easy seed", seed=42)}, 42),
    "one of several numbers": ({"s": node("Input Parameters", seed=42, steps=3, cfg=5.0)}, 42),
    "arithmetic": ({"s": node("MathExpression|pysssss", expression="a*2", a=["t", 0]), "t": node("X", value=21)}, None),
    "a random number": ({"s": node("RandomNumber", minimum=0, maximum=9)}, None),
    "a circle": ({"s": node("X", seed=["s", 0])}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("nodes", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_linked_numbers(nodes, expected):
    """A number is followed to the node that holds it; one that a node computes is left out."""
    assert fields(changed("3", seed=["s", 0]) | nodes).get("seed") == expected


@pytest.mark.parametrize("seed", [986230221987112, 2**64 - 1, 2**32, -1, 1.5, True, "many", 10**400])
def test_seeds_that_do_not_exist_here(seed):
    """ComfyUI's seeds go to 2^64 - 1: what is no seed here is left out and named."""
    graph = changed("3", seed=seed)
    assert fields(graph) == {name: value for name, value in FOUND.items() if name != "seed"}
    assert "seed: not taken over" in notes(graph) or seed is True


RATIO = {"5": node("EmptyLatentImage", width=["r", 0], height=["r", 1], batch_size=1)}
SIZES: dict[str, tuple[Graph, tuple[int, int] | None]] = {
    "linked sides": (RATIO | {"r": node("Size", width=512, height=640)}, (512, 640)),
    "a preset": ({"5": node("Empty Latent", dimensions="1216 x 832   (landscape)", clip_scale=1.5)}, (1216, 832)),
    "a preset turned": ({"5": node("Empty Latent", dimensions="832 x 1216", invert=True)}, None),
    "a ratio": (RATIO | {"r": node("Aspect Ratio", width=1024, height=1024, aspect_ratio="16:9")}, None),
    "a ratio that is off": (
        RATIO | {"r": node("Aspect Ratio", width=512, height=640, aspect_ratio="custom", upscale_factor=1)},
        (512, 640),
    ),
    "another picture": (
        {"5": node("VAEEncode", pixels=["i", 0], vae=["4", 2]), "i": node("LoadImage", image="x.png")},
        None,
    ),
    "a latent passed on": (
        {"5": node("LatentBatchSeedBehavior", samples=["l", 0], seed_behavior="fixed")}
        | {"l": node("EmptyLatentImage", width=512, height=640, batch_size=1)},
        (512, 640),
    ),
    "a latent made larger": (
        {"5": node("LatentUpscaleBy", samples=["l", 0], scale_by=1.5, upscale_method="bilinear")}
        | {"l": node("EmptyLatentImage", width=512, height=640, batch_size=1)},
        None,
    ),
}


@pytest.mark.parametrize(("nodes", "expected"), SIZES.values(), ids=SIZES)
def test_sizes(nodes, expected):
    """The size is that of the empty latent picture; one that is computed is left out, and why is said."""
    found = fields(SIMPLE | nodes)
    assert (found.get("width"), found.get("height")) == (expected or (None, None))
    assert bool(notes(SIMPLE | nodes)) == (expected is None)


def test_the_first_of_several_passes():
    """The sampler that works on an empty picture counts, wherever it stands in the file."""
    second = node(
        "KSampler", **SIMPLE["3"]["inputs"] | {"seed": 7, "steps": 5, "denoise": 0.4, "latent_image": ["9", 0]}
    )
    graph = {"1": second} | SIMPLE | {"9": node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)}
    assert fields(graph) == FOUND
    assert notes(graph) == "Drawn in 2 passes; the settings are those of the first"


def test_what_has_no_field_is_named():
    """LoRAs, another schedule, a strength and a part of the steps change the picture, and have no field."""
    graph = changed("3", model=["20", 0], scheduler="karras", denoise=0.5, start_at_step=3, end_at_step=7) | {
        "20": node("LoraLoaderModelOnly", lora_name="ink.safetensors", strength_model=0.8, model=["21", 0]),
        "21": node("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": "b", "strength": 1}, model=["22", 0]),
        "22": node("Power Lora Loader (rgthree)", lora_1={"on": False, "lora": "off"}, model=["11", 0]),
    }
    assert fields(graph) == FOUND
    expected = "denoise: 0.5; start_at_step: 3; end_at_step: 7; LoRA: ink.safetensors, b; schedule: karras"
    assert notes(graph).endswith(f"settings here: {expected}")


@pytest.mark.parametrize(
    "sigmas", [node("ManualSigmas", sigmas="1, 0.5, 0"), node("SplitSigmas", sigmas=["17", 0], step=4)]
)
def test_steps_of_changed_noise_levels(sigmas):
    """Noise levels that are written down, or cut, have another number of steps than a scheduler was told."""
    graph = CUSTOM | {"3": node("X", **CUSTOM["3"]["inputs"] | {"sigmas": ["18", 0]}), "18": sigmas}
    assert "steps" not in fields(graph)
    assert "steps: made by the node" in notes(graph)


def test_noise_levels_count_before_steps():
    """A sampler with both takes the noise levels it is given; it may run a part of them only."""
    sampler = SIMPLE["3"]["inputs"] | {"steps": 30, "steps_to_run": 4, "sigmas": ["17", 0]}
    graph = SIMPLE | {"3": node("ClownsharKSampler_Beta", **sampler), "17": CUSTOM["17"]}
    assert fields(graph) == FOUND
    assert notes(graph).endswith("settings here: steps_to_run: 4")


def test_samplers_that_name_themselves():
    """A node for one sampler is not offered here by its class; a linked name is followed."""
    own = CUSTOM | {"16": node("SamplerEulerAncestral", eta=1.0, s_noise=1.0)}
    assert "sampler" not in fields(own)
    assert "SamplerEulerAncestral" in notes(own)
    assert fields(changed("3", sampler_name=["n", 0]) | {"n": node("X", sampler_name="heun")})["sampler"] == "heun"


@pytest.mark.parametrize(
    "document",
    [
        {"1": 7},
        {"1": {"class_type": "KSampler"}},
        {"prompt": "a fox", "seed": 7},
        {},
    ],
)
def test_what_is_no_graph(document):
    """Other objects under the same name are nothing, not an error."""
    assert comfyui.read({"prompt": document}) is None


@pytest.mark.parametrize(
    "graph",
    [
        {"1": node("Note", text="x")},
        {"1": node("KSampler")},
        {"1": node("KSampler", positive=["1", 0], negative=[], model=[[], 0])},
        {"1": node("UpscaleModelLoader", model_name="x"), "2": node("SaveImage", images=["1", 0])},
    ],
)
def test_graphs_without_a_sampler(graph):
    """A graph that draws nothing from a prompt is said to be one."""
    assert (fields(graph), notes(graph)) == ({}, "No node of the ComfyUI graph draws a picture from a prompt")


@pytest.mark.parametrize("number", [10, 300, 5000])
def test_large_graphs_and_circles(number):
    """Reading ends, whatever is linked to whatever."""
    circle = {str(at): node("KSampler", seed=1, steps=1, positive=[str((at + 1) % number), 0]) for at in range(number)}
    assert "prompt" not in fields(circle)
    broad = {name: ["0", 0] for name in ("text", "prompt", "string", "value", "conditioning", "positive", "model")}
    assert "prompt" not in fields({str(at): node("X", seed=1, steps=1, **broad) for at in range(number)})


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "2", "KSampler"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(st.sampled_from(["1", "2", "3"]), st.just(0)).map(list),
    max_leaves=5,
)
NAMES = [
    *("positive", "negative", "model", "noise", "guider", "seed", "steps", "text", "latent_image", "conditioning"),
    *("sigmas", "sampler", "width", "height", "cfg", "text_a", "text_b", "select", "input1", "input2", "delimiter"),
    *("on_true", "on_false", "switch", "conditioning_to", "conditioning_from", "any_1", "any_2", "shift", "lora_1", ""),
]
NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["KSampler", "X"]),
        "inputs": st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
    }
)


@given(st.dictionaries(st.sampled_from(["1", "2", "3"]), NODES, min_size=1, max_size=3))
@settings(max_examples=300)
def test_any_graph_is_read(graph):
    """Whatever is linked to whatever, reading ends and gives plain fields."""
    assert all(isinstance(value, str | int | float) for value in fields(graph).values())


def test_a_whole_file():
    """A1111's text counts before the graph, unless a node wrote it, which may have been left as it was."""
    text = {"prompt": json.dumps(SIMPLE), "workflow": '{"nodes": [], "links": []}'}
    found = describe(png_with(text))
    assert (found.parameters, found.tool, found.model) == (FOUND, Tool.COMFYUI, FOUND["model"])
    line = "a\nSteps: 1, Seed: 2, Size: 64x64"
    assert describe(png_with(text | {"parameters": line})).tool is Tool.A1111
    assert describe(png_with(text | {"parameters": f"{line}, Version: ComfyUI"})).tool is Tool.COMFYUI


def test_only_the_editors_graph():
    """Its widgets have no names: it is recognised, and nothing is guessed from it."""
    found = describe(png_with({"workflow": '{"nodes": [{"id": 1, "widgets_values": [42]}], "links": []}'}))
    assert (found.parameters, found.tool, len(found.notes)) == ({}, Tool.COMFYUI, 1)


def test_a_graph_of_thousands_of_nodes():
    """Large graphs are read; one that is too large is named, and its size is not the fault of the file."""
    more = {f"n{at}": node("CLIPTextEncode", text="x", clip=["4", 1]) for at in range(3000)}
    assert describe(png_with({"prompt": json.dumps(SIMPLE | more), "workflow": "{" * 9000})).parameters == FOUND
    more = {f"n{at}": node("CLIPTextEncode", text="x", clip=["4", 1]) for at in range(50_000)}
    found = describe(png_with({"prompt": json.dumps(SIMPLE | more)}))
    assert found.parameters == {}
    assert "The text “prompt” cannot be read: it holds more than 200000" in str(found.notes[0])
