"""Out of memory: one retry under a smaller plan, which is kept for that size, with a warning."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import recipe
from zimage_cache.errors import Cancelled, OutOfMemory
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.oom_retry import DrawnPicture, PlanBook, draw_with_oom_retry
from zimage_cache.generator.plan import DevicePlan, Offload

CARD = Device("cuda:0", "RTX 3090", (8, 6), 25_296_044_032)
USUAL = DevicePlan("bfloat16")
SMALLER = DevicePlan("bfloat16", Offload.MODEL, vae_tiling=True)
BIG = recipe(width=2048, height=2048, steps=8)
SMALL = replace(BIG, width=512, height=512)


class FullDevice:
    """A pipeline on a device with so much memory: big pictures fit only under the plans named."""

    def __init__(self, *fitting: DevicePlan, overflows: bool = False):
        self.fitting = fitting
        self.overflows = overflows
        self.tries: list[tuple[int, DevicePlan]] = []

    def draw(self, recipe, _on_step, cancelled, plan):
        self.tries.append((recipe.width, plan))
        if cancelled():
            raise Cancelled("as_said", text="stopped")
        if recipe.width > 512 and plan not in self.fitting:
            raise OutOfMemory("as_said", text="too little memory for this picture")
        drawn = replace(plan, vae_float32=True) if self.overflows else plan
        return DrawnPicture(np.zeros((1, 1, 3), np.uint8), 1.0, drawn)


def ask(device, book, recipe, *, cancelled=False):
    return draw_with_oom_retry(device, book, recipe, lambda _step: None, lambda: cancelled)


def test_what_fits_is_drawn_once_and_says_nothing():
    """The usual way: one try, no warning, one identity."""
    device, book = FullDevice(USUAL), PlanBook(USUAL, CARD)
    picture, told = ask(device, book, BIG)
    assert (picture.plan, told) == (USUAL, ())
    assert device.tries == [(2048, USUAL)]
    assert book.precisions(BIG) == ("bfloat16",)


def test_out_of_memory_is_tried_once_more_with_a_warning(caplog):
    """The picture has a warning and the plan that drew it, and the log names both plans."""
    device, book = FullDevice(SMALLER), PlanBook(USUAL, CARD)
    with caplog.at_level(logging.WARNING):
        picture, [told] = ask(device, book, BIG)
    assert picture.plan == SMALLER
    assert device.tries == [(2048, USUAL), (2048, SMALLER)]
    assert str(told).startswith("memory: drawn as bfloat16+vae-tiling with offload model")
    assert "size=2048x2048 plan=bfloat16/none retry=bfloat16+vae-tiling/model" in caplog.text


def test_the_size_keeps_its_plan_and_others_theirs():
    """The next picture of that size begins under the plan that fitted, still warned; other sizes never notice."""
    device, book = FullDevice(SMALLER), PlanBook(USUAL, CARD)
    ask(device, book, BIG)
    ask(device, book, SMALL)
    _, told = ask(device, book, replace(BIG, seed=2))
    assert device.tries[2:] == [(512, USUAL), (2048, SMALLER)]
    assert len(told) == 1
    assert book.precisions(BIG) == ("bfloat16+vae-tiling", "bfloat16")
    assert book.precisions(SMALL) == ("bfloat16",)
    assert book.precisions(replace(BIG, guidance_scale=1.0)) == ("bfloat16",)


def test_a_second_failure_is_an_error_that_says_what_fits():
    """Two tries, never three; the error names the device, the size, what fitted before and what else to do."""
    device, book = FullDevice(), PlanBook(USUAL, CARD)
    ask(device, book, SMALL)
    with pytest.raises(OutOfMemory) as caught:
        ask(device, book, replace(BIG, guidance_scale=2.0))
    assert len(device.tries) == 3
    assert str(caught.value) == (
        "RTX 3090: too little memory for 2048x2048 as bfloat16+vae-tiling; 512x512 fitted here, or guidance 0, which "
        "halves the work, or start with --offload group"
    )
    assert ask(device, book, SMALL)[0].plan == USUAL


def test_the_last_plan_is_not_tried_twice():
    """Where there is no smaller plan the first failure is the answer."""
    last = DevicePlan("bfloat16", Offload.GROUP, vae_tiling=True)
    device = FullDevice()
    with pytest.raises(OutOfMemory, match=r"try half of it$"):
        ask(device, PlanBook(last, CARD), BIG)
    assert device.tries == [(2048, last)]


def test_the_error_of_a_small_card_and_of_main_memory():
    """On the CPU the remedy is never an offload."""
    with pytest.raises(OutOfMemory) as caught:
        ask(FullDevice(), PlanBook(DevicePlan("float32"), CPU), BIG)
    assert str(caught.value) == "cpu: too little memory for 2048x2048 as float32+vae-tiling; try half of it"


def test_other_errors_are_not_tried_again():
    """A stopped picture stays stopped."""
    device = FullDevice(USUAL)
    with pytest.raises(Cancelled):
        ask(device, PlanBook(USUAL, CARD), BIG, cancelled=True)
    assert len(device.tries) == 1


def test_an_overflow_has_a_warning_and_its_own_identity():
    """A float32 decode is another identity from then on looked up too; the next picture starts as usual."""
    device, book = FullDevice(USUAL, overflows=True), PlanBook(USUAL, CARD)
    picture, [told] = ask(device, book, BIG)
    assert picture.plan.precision == "bfloat16+vae-float32"
    assert str(told) == "decoder: bfloat16 overflowed, so the picture was decoded in float32"
    assert book.precisions(BIG) == ("bfloat16", "bfloat16+vae-float32")
    ask(device, book, BIG)
    assert {plan for _, plan in device.tries} == {USUAL}
