"""Proof that stored pictures are what would be drawn today: draw some again, and compare the pixels."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image

from zimage_cache.entry import Entry, Record
from zimage_cache.errors import GeneratorError
from zimage_cache.fingerprint import canonical_text
from zimage_cache.generator.protocol import ImageGenerator, Pixels
from zimage_cache.request import Recipe


class Verdict(StrEnum):
    """What drawing an entry again showed: the same pixels, others, or nothing, because it could not be drawn here."""

    IDENTICAL = "identical"
    DRIFTED = "drifted"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Audited:
    """One entry's verdict, with what differs or why it was skipped."""

    key: str
    verdict: Verdict
    detail: str = ""


def audit(
    keys: Iterable[str], peek: Callable[[str], Entry | None], generator: ImageGenerator, sample: int
) -> Iterator[Audited]:
    """Draw up to *sample* of the entries again, one by one, in the calling thread; loads the model.

    Args:
        keys: In the order to try; those that are gone by their turn are left out.
        peek: Returns a verified entry without counting or touching it.
        generator: Only entries of its own identity can be compared: others are skipped, and drawn no picture for.
        sample: Entries to draw; 0 = all.

    Raises:
        ModelMissing, ModelCorrupt: There is nothing to draw with.
    """
    generator.identity()
    drawn = 0
    for entry in filter(None, map(peek, keys)):
        audited = _audited(entry, generator)
        yield audited
        drawn += audited.verdict is not Verdict.SKIPPED
        if sample and drawn >= sample:
            return


def _audited(entry: Entry, generator: ImageGenerator) -> Audited:
    record = entry.record
    if record.generator != generator.identity():
        return Audited(record.key, Verdict.SKIPPED, f"drawn by {_who(record)}")
    recipe = recipe_in(record)
    if recipe is None:
        return Audited(record.key, Verdict.SKIPPED, "asks for something this version does not know")
    try:
        drawing = generator.generate(recipe, lambda _step: None, lambda: False)
    except GeneratorError as error:
        return Audited(record.key, Verdict.SKIPPED, f"cannot be drawn now: {error}")
    if drawing.identity != record.generator:
        return Audited(record.key, Verdict.SKIPPED, f"is drawn with {drawing.identity.precision} now")
    difference = _difference(_pixels(entry.png), drawing.pixels)
    return Audited(record.key, Verdict.DRIFTED if difference else Verdict.IDENTICAL, difference)


def recipe_in(record: Record) -> Recipe | None:
    """Read the recipe back from the text that was hashed; None when that says more than this version understands."""
    try:
        recipe = Recipe(**json.loads(record.canonical)["params"])
    except (KeyError, TypeError, ValueError):
        return None
    return recipe if canonical_text(recipe, record.generator) == record.canonical else None


def _difference(stored: Pixels, drawn: Pixels) -> str:
    """Say how two pictures differ; nothing when they do not."""
    if stored.shape != drawn.shape:
        return f"{stored.shape[1]}x{stored.shape[0]} pixels stored, {drawn.shape[1]}x{drawn.shape[0]} drawn"
    distance = np.abs(stored.astype(np.int16) - drawn)
    if not distance.any():
        return ""
    changed = distance.max(axis=2) > 0
    return f"{changed.sum()} of {changed.size} pixels differ, by up to {distance.max()} of 255"


def _pixels(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def _who(record: Record) -> str:
    identity = record.generator
    return f"{identity.model} {identity.revision[:12]}, {identity.precision}, {identity.runtime}"
