"""The plan follows from the device alone, and there is always a smaller one until the last."""

import importlib.util
from dataclasses import replace

import pytest

from zimage_cache.errors import SettingsError
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.plan import DevicePlan, Offload, make_plan, smaller_plan, with_less_resident

GB = 10**9
H200 = Device("cuda:0", "H200", (9, 0), 150 * GB)
RTX_4060 = Device("cuda:0", "RTX 4060", (8, 9), 8_585_740_288)


@pytest.fixture(autouse=True)
def torchao(monkeypatch):
    """Pretend that torchao is installed or not; it is, unless a test says otherwise."""

    def installed(yes):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object() if yes else None)

    installed(True)
    return installed


@pytest.mark.parametrize(
    ("device", "expected", "precision"),
    [
        (CPU, DevicePlan("float32"), "float32"),
        (H200, DevicePlan("bfloat16"), "bfloat16"),
        (Device("cuda:0", "RTX 3090", (8, 6), 25_296_044_032), DevicePlan("bfloat16"), "bfloat16"),
        (Device("cuda:0", "RTX 4060 Ti", (8, 9), 17 * GB), DevicePlan("bfloat16", Offload.MODEL), "bfloat16"),
        (Device("cuda:0", "RTX 3060", (8, 6), 12_622_954_496), DevicePlan("bfloat16", Offload.GROUP), "bfloat16"),
        (RTX_4060, DevicePlan("bfloat16", Offload.MODEL, int8=True, vae_tiling=True), "bfloat16+int8wo+vae-tiling"),
        (
            Device("cuda:0", "RTX 2060", (7, 5), 6_200_000_000),
            DevicePlan("float16", Offload.GROUP, int8=True, vae_tiling=True),
            "float16+int8wo+vae-tiling",
        ),
        (Device("cuda:0", "Quadro RTX 8000", (7, 5), 50 * GB), DevicePlan("float16"), "float16"),
        (Device("cuda:0", "Tesla T4", (7, 5), 16 * GB), DevicePlan("float16", Offload.MODEL), "float16"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_plan_fits_the_card(device, expected, precision):
    """Resident from 24 GB, taking turns below, 8 bits and tiles below 12; bfloat16 where the device computes it."""
    plan = make_plan(device)
    assert plan == expected
    assert plan.precision == precision
    assert plan.reason


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_a_precision_asked_for_is_kept(precision):
    """The operator's setting applies on every device, also instead of 8 bits, and the reason names it."""
    assert make_plan(CPU, precision) == DevicePlan(precision)
    small = make_plan(RTX_4060, precision)
    assert (small.dtype, small.int8) == (precision, False)
    assert small.reason.endswith(f"--precision {precision} was asked for")


@pytest.mark.parametrize("offload", Offload)
def test_an_offload_asked_for_is_kept(offload):
    """On any device; it changes no pixel."""
    plan = make_plan(H200, offload=offload)
    assert plan == DevicePlan("bfloat16", offload)
    assert plan.precision == make_plan(H200).precision


def test_int8_can_be_asked_for():
    """Around the number format the device would have had anyway, on devices and on the CPU."""
    assert make_plan(H200, "int8").precision == "bfloat16+int8wo"
    assert make_plan(CPU, "int8").precision == "float32+int8wo"


@pytest.mark.parametrize(("device", "precision"), [(RTX_4060, "auto"), (H200, "int8"), (CPU, "int8")])
def test_int8_without_torchao_is_reported_with_its_remedies(torchao, device, precision):
    """One line naming the device, why, and both ways out: the extra, or an offload that needs no 8 bits."""
    torchao(False)
    with pytest.raises(SettingsError, match=rf"{device.name}.*zimage-cache\[int8\].*--offload group"):
        make_plan(device, precision)
    if device != CPU:
        assert make_plan(RTX_4060, offload="group").int8 is False


def test_a_small_model_fits_every_card(torchao):
    """The demo's few megabytes need neither offload nor torchao."""
    torchao(False)
    assert make_plan(RTX_4060, weights_bytes=10_000_000) == DevicePlan("bfloat16")


@pytest.mark.parametrize("offload", ["model", "group"])
def test_there_is_nothing_to_keep_free_without_a_card(offload):
    """An offload on the CPU is refused rather than ignored."""
    with pytest.raises(SettingsError, match=f"^offload: {offload} needs a GPU"):
        make_plan(CPU, offload=offload)
    assert make_plan(CPU, offload="none") == make_plan(CPU)


@pytest.mark.parametrize("precision", ["", "fp8", "bf16", "FLOAT32"])
def test_an_unknown_precision_is_refused(precision):
    """Named with the rule and the value got."""
    with pytest.raises(SettingsError, match=f"^precision: should be one of auto, .*got '{precision}'"):
        make_plan(CPU, precision)


def test_an_unknown_offload_is_refused():
    """Likewise."""
    with pytest.raises(SettingsError, match=r"^offload: should be one of auto, none, model, group, got 'disk'"):
        make_plan(H200, offload="disk")


@pytest.mark.parametrize("offload", Offload)
@pytest.mark.parametrize("tiling", [False, True])
def test_the_ladder_of_plans_ends(offload, tiling):
    """Each rung decodes in tiles and keeps less on the device or the same, the weights' format never changes."""
    plan = DevicePlan("bfloat16", offload, int8=True, vae_tiling=tiling)
    rungs = [plan]
    while (next_rung := smaller_plan(rungs[-1], H200)) is not None:
        rungs.append(next_rung)
        assert next_rung.vae_tiling
        assert plan.weights == "bfloat16+int8wo"
    places = [list(Offload).index(rung.offload) for rung in rungs]
    assert places == sorted(places)
    assert len(set(rungs)) == len(rungs) <= 3
    assert rungs[-1] == DevicePlan("bfloat16", Offload.GROUP, int8=True, vae_tiling=True)


def test_main_memory_can_only_be_tiled():
    """On the CPU there is nowhere to offload to."""
    assert smaller_plan(DevicePlan("float32"), CPU) == DevicePlan("float32", vae_tiling=True)
    assert smaller_plan(DevicePlan("float32", vae_tiling=True), CPU) is None


def test_weights_that_do_not_fit_are_laid_out_otherwise_not_changed():
    """A load that runs out of memory ends with the same identity: only the offload changes, down to the last."""
    plan = DevicePlan("bfloat16")
    seen = [plan.offload]
    while (smaller := with_less_resident(plan)) is not None:
        assert replace(smaller, offload=plan.offload) == plan
        seen.append(smaller.offload)
        plan = smaller
    assert seen == list(Offload)


def test_the_precision_names_all_that_changes_pixels():
    """Spelled as the contract does, in one fixed order."""
    plan = DevicePlan("float16", int8=True, vae_tiling=True, vae_float32=True)
    assert plan.precision == "float16+int8wo+vae-tiling+vae-float32"
    assert plan.weights == "float16+int8wo"
