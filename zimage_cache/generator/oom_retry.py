"""Retries a picture that ran out of memory under a plan that needs less, and remembers which plan fits which size.

Imports no torch; it draws with a `LoadedPipeline`, or with a test double.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.device import Device
from zimage_cache.generator.plan import DevicePlan, smaller_plan
from zimage_cache.generator.protocol import Pixels, Step
from zimage_cache.i18n.messages import Message
from zimage_cache.request import Recipe

_log = logging.getLogger(__name__)

SizeAndGuidance = tuple[int, int, bool]


class DrawnPicture(NamedTuple):
    """A pipeline's result: pixels, seconds on the device, and the plan that was used."""

    pixels: Pixels
    seconds: float
    plan: DevicePlan


class Draws(Protocol):
    """A pipeline that can draw under a given plan."""

    def draw(
        self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool], plan: DevicePlan
    ) -> DrawnPicture:
        """Draw *recipe* under *plan*; when `OutOfMemory` is raised, the picture's memory has been freed."""


class PlanBook:
    """Which plan fits each picture size in this process, and the precisions that pictures of it were drawn in.

    Args:
        plan: The plan of every size that has not run out of memory.
        device: The device whose memory is limited.

    Threads: one worker thread writes; any thread may call `precisions`, which does single dictionary look-ups.
    """

    def __init__(self, plan: DevicePlan, device: Device) -> None:
        self.plan = plan
        self.device = device
        self._plans: dict[SizeAndGuidance, DevicePlan] = {}
        self._drawn: dict[SizeAndGuidance, tuple[str, ...]] = {}
        self._largest: tuple[int, int] | None = None

    def plan_for(self, recipe: Recipe) -> DevicePlan:
        """Return the plan *recipe* is drawn under now: a size that ran out of memory keeps the plan that fitted."""
        return self._plans.get(_size(recipe), self.plan)

    def settle(self, recipe: Recipe, plan: DevicePlan) -> None:
        """Set the plan for pictures of this size."""
        self._plans[_size(recipe)] = plan

    def note(self, recipe: Recipe, plan: DevicePlan) -> None:
        """Record that *recipe* was drawn under *plan*."""
        size = _size(recipe)
        known = self._drawn.get(size, ())
        if plan.precision not in known:
            self._drawn[size] = (*known, plan.precision)
        if self._largest is None or recipe.width * recipe.height > self._largest[0] * self._largest[1]:
            self._largest = recipe.width, recipe.height

    def precisions(self, recipe: Recipe) -> tuple[str, ...]:
        """List the precisions pictures of this size may be stored under, the one that would draw it now first."""
        now = self.plan_for(recipe).precision
        return tuple(dict.fromkeys((now, self.plan.precision, *self._drawn.get(_size(recipe), ()))))

    def does_not_fit(self, recipe: Recipe, plan: DevicePlan) -> OutOfMemory:
        """Return the error for a picture that fits under no plan; the message names a size that does fit."""
        asked = f"{recipe.width}x{recipe.height}"
        smaller = self._largest is not None and self._largest[0] * self._largest[1] < recipe.width * recipe.height
        remedies = [Message("half_of_it")]
        if smaller and self._largest:
            remedies = [Message("size_that_fits", size=f"{self._largest[0]}x{self._largest[1]}")]
        if recipe.guidance_scale:
            remedies.append(Message("no_guidance"))
        if plan.offload != "group" and self.device.total_bytes is not None:
            remedies.append(Message("group_offload"))
        return OutOfMemory(
            "does_not_fit", device=self.device.name, size=asked, precision=plan.precision, remedies=tuple(remedies)
        )


def draw_with_oom_retry(
    pipeline: Draws, book: PlanBook, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]
) -> tuple[DrawnPicture, tuple[Message, ...]]:
    """Draw under the plan of this size; out of memory, retry once under the next smaller one.

    Returns:
        The picture, and warnings for the client.

    Raises:
        OutOfMemory: The retry ran out too, or there is no smaller plan; the message names a size that fits.
        GeneratorError: Whatever else the pipeline raises.
    """
    plan = book.plan_for(recipe)
    picture = _try(pipeline, recipe, on_step, cancelled, plan)
    # Outside of any `except`: a handled exception would keep the frames of the first attempt, and its tensors, alive.
    if picture is None:
        smaller = smaller_plan(plan, book.device)
        if smaller is None:
            raise book.does_not_fit(recipe, plan)
        _log.warning(
            "out_of_memory size=%dx%d plan=%s/%s retry=%s/%s",
            *(recipe.width, recipe.height, plan.precision, plan.offload, smaller.precision, smaller.offload),
        )
        plan = smaller
        picture = _try(pipeline, recipe, on_step, cancelled, plan)
        if picture is None:
            raise book.does_not_fit(recipe, plan)
        book.settle(recipe, plan)
    book.note(recipe, picture.plan)
    return picture, _warnings(book, plan, picture.plan)


def _try(
    pipeline: Draws,
    recipe: Recipe,
    on_step: Callable[[Step], None],
    cancelled: Callable[[], bool],
    plan: DevicePlan,
) -> DrawnPicture | None:
    try:
        return pipeline.draw(recipe, on_step, cancelled, plan)
    except OutOfMemory:
        return None


def _warnings(book: PlanBook, plan: DevicePlan, drawn: DevicePlan) -> tuple[Message, ...]:
    said = []
    if plan != book.plan:
        said.append(Message("smaller_plan", precision=plan.precision, offload=plan.offload))
    if drawn.vae_float32 and not plan.vae_float32:
        said.append(Message("decoder_overflowed", dtype=plan.dtype))
    return tuple(said)


def _size(recipe: Recipe) -> SizeAndGuidance:
    """Return what determines a picture's memory: width, height, and whether guidance doubles the batch."""
    return recipe.width, recipe.height, recipe.guidance_scale > 0
