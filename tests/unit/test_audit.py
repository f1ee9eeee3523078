"""`audit`: entries are drawn again from their own records, and their pixels compared."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from tests.factories import recipe
from zimage_cache.entry import Entry
from zimage_cache.errors import ModelMissing, OutOfMemory
from zimage_cache.fingerprint import canonical_text, key_of
from zimage_cache.generator.fake import FAKE_IDENTITY, FakeGenerator
from zimage_cache.metadata import png
from zimage_cache.service.audit import Verdict, audit, recipe_in

RECIPE = recipe(prompt="a 红 circle", height=80, seed=0, sampler="heun", shift=2.5, max_sequence_length=256)


def drawn(seed: int = 0, *, identity=FAKE_IDENTITY, text: str = "", pixels=None, salt: str = "") -> Entry:
    """Make the entry the fake generator makes; *text* is metadata, *pixels* replace its own."""
    recipe = replace(RECIPE, seed=seed)
    drawing = FakeGenerator().generate(recipe, lambda _: None, lambda: False)
    return Entry.of(
        png.encode(drawing.pixels if pixels is None else pixels, {"parameters": text}),
        recipe=recipe,
        identity=identity,
        created=datetime(2026, 11, 21, tzinfo=UTC),
        gpu_seconds=1.0,
        request={"prompt": recipe.prompt, "seed": seed},
        versions={},
        salt=salt,
    )


def verdicts(entries: list[Entry], generator: FakeGenerator, sample: int = 0) -> list[tuple[Verdict, str]]:
    """Audit *entries*, and give verdicts with their details."""
    stored = {entry.record.key: entry for entry in entries}
    return [(audited.verdict, audited.detail) for audited in audit(list(stored), stored.get, generator, sample)]


def test_the_same_pixels_are_identical():
    """Other metadata, or another compression, is no drift: pixels are compared."""
    entry = drawn(text="written by another version")
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn(1).png)) as picture:
        picture.save(buffer, "PNG", compress_level=9)
    packed = replace(drawn(1), png=buffer.getvalue())
    assert packed.png != drawn(1).png
    assert verdicts([entry, packed], FakeGenerator()) == [(Verdict.IDENTICAL, "")] * 2


def test_a_salted_picture_is_drawn_again():
    """The pictures that a server keeps apart by user are audited like all others."""
    assert verdicts([drawn(salt="5a17")], FakeGenerator()) == [(Verdict.IDENTICAL, "")]


def test_one_other_pixel_is_drift():
    """A single channel that differs by one is found, and said."""
    pixels = FakeGenerator().generate(RECIPE, lambda _: None, lambda: False).pixels.copy()
    pixels[3, 5, 1] ^= 1
    ((verdict, detail),) = verdicts([drawn(pixels=pixels)], FakeGenerator())
    assert verdict is Verdict.DRIFTED
    assert detail == "1 of 5120 pixels differ, by up to 1 of 255"


def explained(entry: Entry, generator: FakeGenerator, versions: dict[str, str]) -> str:
    """Audit one entry that has drifted, and give the explanation."""
    (audited,) = audit([entry.record.key], lambda _key: entry, generator, 0, versions)
    assert audited.verdict is Verdict.DRIFTED
    return audited.explanation


def drifted(**versions: str) -> Entry:
    """Make an entry with other pixels, recorded with *versions*."""
    entry = drawn(pixels=np.zeros((80, 64, 3), np.uint8))
    return replace(entry, record=entry.record.model_copy(update={"versions": versions}))


def test_drift_is_explained_by_what_has_changed_since():
    """Software and machine, each with then and now; what was not recorded then explains nothing."""
    entry = drifted(torch="2.12.0", transformers="5.23.0", device="NVIDIA H100", pillow="11")
    generator = FakeGenerator(versions={"device": "NVIDIA H200", "cudnn": "92000"})
    told = explained(entry, generator, {"torch": "2.13.0+cu130", "transformers": "5.23.0", "pillow": "12"})
    assert told == "drawn with torch 2.12.0, now 2.13.0+cu130; device NVIDIA H100, now NVIDIA H200"


def test_drift_of_a_device_that_varies_by_itself_is_told_apart():
    """Nothing has changed since, but two drawings in a row differ: it is drawn once more to find out."""

    class Varying(FakeGenerator):
        def generate(self, recipe, on_step, cancelled):
            drawing = super().generate(recipe, on_step, cancelled)
            return replace(drawing, pixels=drawing.pixels ^ np.uint8(len(self.recipes) == 2))

    told = explained(drifted(torch="2.13.0"), Varying(), {"torch": "2.13.0"})
    assert told.startswith("of two drawings now 5120 of 5120 pixels differ, by up to 1 of 255: kernels are not")


def test_drift_without_an_explanation_says_so():
    """The file, or code that no version tells of, is left."""
    told = explained(drifted(torch="2.13.0"), FakeGenerator(), {"torch": "2.13.0"})
    assert told == "everything recorded with it is unchanged"


def test_another_size_is_drift():
    """A picture of another shape is no crash."""
    ((verdict, detail),) = verdicts([drawn(pixels=np.zeros((32, 48, 3), np.uint8))], FakeGenerator())
    assert (verdict, detail) == (Verdict.DRIFTED, "48x32 pixels stored, 64x80 drawn")


def test_other_generators_pictures_are_skipped_undrawn():
    """What another model, precision or version drew cannot be judged here, and costs no drawing."""
    generator = FakeGenerator()
    others = [drawn(i, identity=replace(FAKE_IDENTITY, **{name: "x"})) for i, name in enumerate(("model", "precision"))]
    assert [verdict for verdict, _ in verdicts(others, generator)] == [Verdict.SKIPPED] * 2
    assert generator.recipes == []


def test_the_sample_counts_what_was_drawn():
    """Skipped ones do not use the sample up, and nothing is drawn beyond it; 0 draws all."""
    entries = [drawn(0, identity=replace(FAKE_IDENTITY, model="x")), *map(drawn, range(1, 5))]
    generator = FakeGenerator()
    assert [verdict for verdict, _ in verdicts(entries, generator, 2)] == [
        Verdict.SKIPPED,
        Verdict.IDENTICAL,
        Verdict.IDENTICAL,
    ]
    assert len(generator.recipes) == 2
    assert len(verdicts(entries, FakeGenerator())) == 5


def test_the_recipe_comes_whole_from_the_record():
    """Every field that made the pixels is read back from the text that was hashed."""
    assert recipe_in(drawn(7).record) == replace(RECIPE, seed=7)


def test_what_a_later_version_stored_is_skipped():
    """A parameter this version does not know is no reason to call the picture drifted."""
    entry = drawn()
    canonical = canonical_text(RECIPE, FAKE_IDENTITY).replace('"shift"', '"new":1,"shift"')
    record = entry.record.model_copy(update={"canonical": canonical, "key": key_of(canonical)})
    ((verdict, _),) = verdicts([replace(entry, record=record)], FakeGenerator())
    assert verdict is Verdict.SKIPPED


def test_one_that_cannot_be_drawn_does_not_end_the_audit():
    """Out of memory on one entry, or a retry under another plan, skips that one only."""

    def burst(recipe, _evaluation):
        if recipe.seed == 0:
            raise OutOfMemory("as_said", text="too big")

    found = verdicts([drawn(0), drawn(1)], FakeGenerator(before_step=burst))
    assert [verdict for verdict, _ in found] == [Verdict.SKIPPED, Verdict.IDENTICAL]
    smaller = FakeGenerator(draws_as=replace(FAKE_IDENTITY, precision="smaller"))
    assert [verdict for verdict, _ in verdicts([drawn(0)], smaller)] == [Verdict.SKIPPED]


def test_entries_that_are_gone_are_left_out():
    """What was evicted since the list was made is neither verdict nor crash."""
    assert list(audit(["a" * 64], lambda _key: None, FakeGenerator(), 0)) == []


def test_without_a_model_nothing_is_audited():
    """That there is nothing to draw with is said at once, not once an entry."""

    class Missing(FakeGenerator):
        def identity(self):
            raise ModelMissing("as_said", text="fetch it first")

    with pytest.raises(ModelMissing):
        list(audit([], lambda _key: None, Missing(), 0))
