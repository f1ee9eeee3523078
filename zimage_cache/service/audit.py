"""Proof that stored pictures are what would be drawn today: draw some again, and compare the pixels.

Run it in a process of its own, as `zimage cache audit` does: what earlier pictures left behind in a process may be the
very fault that it is to find.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image

from zimage_cache.entry import Entry, Record
from zimage_cache.errors import GeneratorError
from zimage_cache.fingerprint import canonical_text
from zimage_cache.generator.protocol import Drawing, ImageGenerator, Pixels
from zimage_cache.request import Recipe

_ONLY_WRITING: Final = frozenset({"pillow"})


class Verdict(StrEnum):
    """What drawing an entry again showed: the same pixels, others, or nothing, because it could not be drawn here."""

    IDENTICAL = "identical"
    DRIFTED = "drifted"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Audited:
    """One entry's verdict, with what differs or why it was skipped; of drift, also what could explain it."""

    key: str
    verdict: Verdict
    detail: str = ""
    explanation: str = ""


def audit(
    keys: Iterable[str],
    peek: Callable[[str], Entry | None],
    generator: ImageGenerator,
    sample: int,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Audited]:
    """Draw up to *sample* of the entries again, one by one, in the calling thread; loads the model.

    Args:
        keys: In the order to try; those that are gone by their turn are left out.
        peek: Returns a verified entry without counting or touching it.
        generator: Only entries of its own identity can be compared: others are skipped, and drawn no picture for.
        sample: Entries to draw; 0 = all.
        versions: Names and versions of the software now, as in records.

    Raises:
        ModelMissing, ModelCorrupt: There is nothing to draw with.
    """
    generator.identity()
    drawn = 0
    for entry in filter(None, map(peek, keys)):
        audited = _audited(entry, generator, versions)
        yield audited
        drawn += audited.verdict is not Verdict.SKIPPED
        if sample and drawn >= sample:
            return


def _audited(entry: Entry, generator: ImageGenerator, versions: Mapping[str, str]) -> Audited:
    record = entry.record
    if record.generator != generator.identity():
        return Audited(record.key, Verdict.SKIPPED, f"drawn by {_who(record)}")
    recipe = recipe_in(record)
    if recipe is None:
        return Audited(record.key, Verdict.SKIPPED, "asks for something this version does not know")
    try:
        drawing = _draw(recipe, generator)
    except GeneratorError as error:
        return Audited(record.key, Verdict.SKIPPED, f"cannot be drawn now: {error}")
    if drawing.identity != record.generator:
        return Audited(record.key, Verdict.SKIPPED, f"is drawn with {drawing.identity.precision} now")
    difference = _difference(_pixels(entry.png), drawing.pixels)
    if not difference:
        return Audited(record.key, Verdict.IDENTICAL)
    explanation = _varying(recipe, drawing, generator) or _changed(record, {**versions, **drawing.versions})
    return Audited(record.key, Verdict.DRIFTED, difference, explanation)


def _draw(recipe: Recipe, generator: ImageGenerator) -> Drawing:
    return generator.generate(recipe, lambda _step: None, lambda: False)


def _varying(recipe: Recipe, drawing: Drawing, generator: ImageGenerator) -> str:
    """Draw once more; say so where that differs, too. The prompt's embeddings are those of the first drawing."""
    with suppress(GeneratorError):
        if difference := _difference(drawing.pixels, _draw(recipe, generator).pixels):
            return f"of two drawings now {difference}: kernels are not deterministic here"
    return ""


def _changed(record: Record, versions: Mapping[str, str]) -> str:
    """Say what has changed since the picture was drawn, of what draws and is named by no key."""
    then = record.versions
    drawing = [name for name in versions if name not in _ONLY_WRITING]
    changed = [
        f"{name} {then[name]}, now {versions[name]}" for name in drawing if then.get(name) not in {None, versions[name]}
    ]
    return f"drawn with {'; '.join(changed)}" if changed else "everything recorded with it is unchanged"


def recipe_in(record: Record) -> Recipe | None:
    """Read the recipe back from the text that was hashed; None when that says more than this version understands."""
    try:
        document = json.loads(record.canonical)
        recipe, salt = Recipe(**document["params"]), document.get("salt", "")
    except (KeyError, TypeError, ValueError):
        return None
    return recipe if canonical_text(recipe, record.generator, salt) == record.canonical else None


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
