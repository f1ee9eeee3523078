"""Presets are words around a prompt, in two languages."""

import unicodedata

import pytest

from zimage_cache.errors import InvalidRequest
from zimage_cache.prompts.styles import style, styles
from zimage_cache.request import MAX_TEXT

ALL = pytest.mark.parametrize("preset", styles().values(), ids=lambda preset: preset.name)


def test_there_is_a_choice():
    """At least twelve presets ship."""
    assert len(styles()) >= 12


@ALL
def test_the_prompt_goes_in_once(preset):
    """A prompt is neither lost nor doubled."""
    assert preset.prompt.count("{prompt}") == 1
    assert "{prompt}" not in preset.negative_prompt


@ALL
def test_names_in_both_languages(preset):
    """Every style has a label in each language of the page."""
    assert preset.en.isascii()
    assert preset.en.strip() == preset.en != ""
    assert any(unicodedata.name(letter).startswith("CJK UNIFIED IDEOGRAPH") for letter in preset.zh)


@pytest.mark.parametrize("language", ["name", "en", "zh"])
def test_no_two_presets_look_alike(language):
    """Names and labels are unique."""
    labels = [getattr(preset, language) for preset in styles().values()]

    assert len(set(labels)) == len(labels)


@ALL
def test_words_are_canonical_and_short(preset):
    """The words themselves leave room for a prompt, and mean the same before and after normalisation."""
    assert unicodedata.is_normalized("NFC", preset.prompt + preset.negative_prompt)
    assert len(preset.prompt) + len(preset.negative_prompt) < MAX_TEXT / 10


@pytest.mark.parametrize("prompt", ["{}", "{prompt}", "{0!r}", "a {red|blue} ball", "100 % {", r"\1 \g<0>"])
@ALL
def test_braces_are_the_persons_own(preset, prompt):
    """What looks like a placeholder in a prompt stays as it is."""
    before, after = preset.prompt.split("{prompt}")

    assert preset.apply(prompt, "")[0] == before + prompt + after


@ALL
def test_negative_words_are_added_to_the_persons(preset):
    """A preset never drops what the person does not want to see."""
    assert preset.apply("a", "rain")[1].startswith("rain")
    assert preset.apply("a", "rain")[1].endswith(preset.negative_prompt)
    assert preset.apply("a", "")[1] == preset.negative_prompt


def test_looked_up_by_name():
    """Requests name presets."""
    assert style("ink").zh == "水墨画"


@pytest.mark.parametrize("name", ["", "Ink", "no such", "\ud800"])
def test_an_unknown_name_is_reported_with_the_choice(name):
    """The message lists what there is, in plain ASCII up to the name's own letters."""
    with pytest.raises(InvalidRequest, match="one of photo, cinematic") as raised:
        style(name)

    assert raised.value.field == "style"
    assert str(raised.value).isascii()
