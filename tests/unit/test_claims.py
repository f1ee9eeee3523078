"""`claims`: what another tool says is translated; what a request would refuse is left out and named."""

import math

import pytest

from zimage_cache.i18n.messages import CHINESE, Message
from zimage_cache.metadata.claims import Claims, Tool, taken, without_schedule
from zimage_cache.request import ImageRequest


def claims(tool: Tool = Tool.COMFYUI, **fields: object) -> Claims:
    return Claims(tool, fields)


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1, "7", 8.0, " 9 "])
def test_seeds_that_exist_here(seed):
    """Seeds are integers, however a tool writes them."""
    assert taken(claims(seed=seed)) == ({"seed": int(seed)}, ())


@pytest.mark.parametrize(
    "seed", [2**32, 986230221987112, 2**64 - 1, str(2**64 - 1), -1, "-1", 1.5, 10**300, math.nan, True, [1], "x", "²"]
)
def test_seeds_that_a_request_refuses(seed):
    """No other seed takes the place of one that does not exist here: it is left out, and named with all its digits."""
    fields, (note,) = taken(claims(prompt="a fox", seed=seed))
    assert fields == {"prompt": "a fox"}
    assert str(note).startswith("seed: not taken over, it ")
    if seed == 2**64 - 1:
        assert str(note).endswith("at most 4294967295, got 18446744073709551615")
        assert note.text(CHINESE) == "种子：未采用，不能大于 4294967295，实际为 18446744073709551615"


REFUSED_CFG: tuple[object, ...] = (30, 0.5, -7, math.inf, math.nan, 10**400, "nan", {}, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("steps", value) for value in (0, 51, 8.5, "many", None, [8], -8)],
        *[("width", value) for value in (0, 48, 1000, 4096, "wide", 64.5)],
        *[("cfg", value) for value in REFUSED_CFG],
        *[("shift", value) for value in (0, 21, "auto", math.nan)],
        *[("sampler", value) for value in ("Euler a", "euler_ancestral", "res_multistep", "dpmpp_2m_sde", 7, "k_")],
        *[("prompt", value) for value in (" ", "x" * 8001, 7, ["a"])],
        ("negative_prompt", "x" * 8001),
    ],
)
def test_values_that_a_request_refuses(field, value):
    """Whatever is offered is accepted by `/generate`: each refused value is left out and named, the others stay."""
    fields, notes = taken(claims(**{"seed": 42, "height": 512, "prompt": "a fox", field: value}))
    name = "guidance_scale" if field == "cfg" else field
    ImageRequest.parse({"prompt": "a fox"} | fields)
    assert fields.get(name) is None
    assert (value is None) or any(str(note).startswith(f"{name}: not taken over") for note in notes)


def test_one_side_of_a_size_is_none():
    """A width without its height would give another shape; both are named."""
    assert taken(claims(width=512))[0] == {}
    kept, notes = taken(claims(width=512, height=1000))
    assert kept == {}
    assert [note.params["field"] for note in notes] == ["height", "width"]
    assert taken(claims(width="512", height=768))[0] == {"width": 512, "height": 768}


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("Euler", "euler", ""),
        ("k_euler", "euler", ""),
        ("euler discrete", "euler", "discrete"),
        ("euler_simple", "euler", "simple"),
        ("Euler FlowMatch", "euler", "flowmatch"),
        ("FlowMatchEulerDiscreteScheduler", "euler", ""),
        ("DPM++ 2M", "dpmpp_2m", ""),
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("dpm++2m karras", "dpmpp_2m", "karras"),
        ("dpmpp_2m_k", "dpmpp_2m", "k"),
        ("k_dpmpp_2m", "dpmpp_2m", ""),
        ("DPM++ 2M Trailing", "dpmpp_2m", "trailing"),
        ("uni_pc", "unipc", ""),
        ("uni_pc_bh2", "unipc", ""),
        ("UniPC Trailing", "unipc", "trailing"),
        ("heun", "heun", ""),
        ("Heun", "heun", ""),
        *[
            (name, None, "")
            for name in ("Euler a", "euler_a", "Euler Ancestral Karras", "k_euler_ancestral", "heunpp2")
        ],
        *[(name, None, "") for name in ("DPM++ 2M SDE", "dpmpp_2m_sde_gpu", "DPM++ 2M SDE Karras", "dpmpp_2m_cfg_pp")],
        *[(name, None, "") for name in ("Heun Flow XY", "LCM", "DDIM", "unipc_snr", "dpmpp_3m", "", "红", "DPM2 a")],
    ],
)
def test_names_of_samplers(name, sampler, schedule):
    """Each tool spells the same sampler in its way; one of another kind is not mistaken for it."""
    assert without_schedule(name) == (sampler, schedule)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sampler": "DPM++ 2M Karras"}, "karras"),
        ({"sampler": "euler", "schedule": "Karras"}, "Karras"),
        ({"sampler": "euler", "schedule": "simple"}, None),
        ({"sampler": "euler", "schedule": "SGM Uniform"}, None),
        ({"schedule": "FlowMatchEulerDiscreteScheduler"}, None),
        ({"schedule": "bong_tangent"}, "bong_tangent"),
        ({"schedule": 7}, None),
    ],
)
def test_schedules(fields, named):
    """A schedule of another kind than the only one here is named."""
    notes = taken(claims(**fields))[1]
    assert [str(note).rpartition("schedule: ")[2] for note in notes] == ([named] if named else [])


def test_guidance_is_explained():
    """The number shown is not the one of the other tool, so a note says both; 1 and 0 need no word."""
    assert [str(note) for note in taken(claims(cfg=7.5))[1]] == [
        "CFG scale 7.5 of other tools is guidance 6.5 here: there 1 means none, here 0 does"
    ]
    assert taken(claims(cfg=1)) == taken(claims(cfg=0)) == taken(claims(cfg="1.0")) == ({"guidance_scale": 0.0}, ())


def test_other_settings_are_named_shortly():
    """A tool with very many settings, or very long ones, does not fill the panel."""
    others = {f"setting {number}": "x" * 500 for number in range(40)}
    (note,) = taken(Claims(Tool.NOVELAI, {}, others))[1]
    assert "setting 11: xxx" in str(note)
    assert str(note).endswith("; +28")
    assert len(str(note)) < 2000


def test_notes_of_the_reader_come_first():
    """They are about the whole file."""
    note = Message("note_no_sampler")
    assert taken(Claims(Tool.COMFYUI, {"seed": -5}, notes=(note,)))[1][0] == note


def test_texts_are_encodable():
    """Lone surrogates, which JSON can hold and no database can, are replaced."""
    assert taken(claims(prompt="a \ud800 fox", model="\udfff"))[0] == {"prompt": "a ? fox", "model": "?"}


def test_own_names_of_another_version_stay():
    """A file of this program may name a style or sampler that only a later version has; numbers are checked."""
    fields = {"prompt": "x", "style": "later", "sampler": "later", "seed": 2**40, "shift": None, "evil": 1}
    found, notes = taken(claims(Tool.ZIMAGE, **fields))
    assert found == {"prompt": "x", "style": "later", "sampler": "later", "shift": None}
    assert len(notes) == 1
