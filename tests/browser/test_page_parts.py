"""What the page is made of, without a browser."""

import re
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from zimage_cache.entry import Source
from zimage_cache.generator.protocol import Status
from zimage_cache.i18n.messages import LANGUAGES, page_words
from zimage_cache.metadata.claims import Tool
from zimage_cache.models.profiles import KNOWN
from zimage_cache.prompts.styles import styles
from zimage_cache.request import CacheMode
from zimage_cache.web.api.jobs import JobState
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.errors import STATUS
from zimage_cache.web.page import bundle
from zimage_cache.web.page.bundle import source
from zimage_cache.web.page.form import style_choices

PAGE = Path(bundle.__file__).parent


def named(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(PAGE).as_posix() for path in PAGE.glob(pattern)))


TEMPLATES = named("*/*.html")
SCRIPTS = named("**/*.js")
STYLES = named("**/*.css")

# What scripts say by a name that the server gave them.
NAMED = {
    *get_args(JobState.model_fields["phase"].annotation),
    *GenerateBody.model_fields,
    *map(str, (*Source, *Status, *Tool)),
    *STATUS,
    *(f"{kind}_{model}" for kind in ("title", "note") for model in KNOWN),
}


def test_every_word_exists_in_both_languages():
    """No key is shown for want of its word: all that scripts and templates name have one, none of them empty."""
    text = "".join(map(source, (*TEMPLATES, *SCRIPTS)))
    said = set(re.findall(r'say\("(\w+)"', text)) | set(re.findall(r'data-say="(\w+)"', text))
    assert len(said) > 20
    for language in LANGUAGES:
        assert said <= page_words()[language].keys()
        assert all(page_words()[language].values())


def test_every_word_is_said():
    """No word outlives its use: each is named in quotes, or put together from a beginning and ends that are."""
    text = "".join(map(source, (*named("*.py"), *TEMPLATES, *SCRIPTS)))
    sign_in = files("zimage_cache.web").joinpath("login.html").read_text("utf-8")
    quoted = set(re.findall(r"[\"'`](\w+)[\"'`]", text)) | set(re.findall(r"\$(\w+)", sign_in)) | NAMED
    beginnings = "|".join(re.findall(r"`(\w+_)\$\{", text))
    ends = "|".join(word for word in quoted if word.startswith("_"))
    assert beginnings
    assert ends
    unsaid = (re.fullmatch(f"(?:{beginnings})?(.+?)(?:{ends})?", key) for key in page_words()["en"].keys() - quoted)
    assert [match[0] for match in unsaid if match and match[1] not in quoted] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_server_tells_by_name_has_words(language: str):
    """The page says every phase, source, state of a model and way to use the cache in words."""
    words = page_words()[language].keys()
    assert set(get_args(JobState.model_fields["phase"].annotation)) <= words
    assert {str(source) for source in Source} <= words
    assert {f"state_{status}" for status in Status} <= words
    assert {f"cache_{mode}" for mode in CacheMode if mode is not CacheMode.ONLY} <= words
    assert {f"tool_{tool}" for tool in Tool} <= words


def test_holes_are_the_same_in_both_languages():
    """A translation names the same {values} as the original."""
    for key, english in page_words()["en"].items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", page_words()["zh"][key])), key


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_hold_no_script(name: str):
    """Templates are static: they have no script, no handler and no place for a value."""
    assert not re.search(r"<script|\son\w+=|javascript:|\$\{|\{\{", source(name))


@pytest.mark.parametrize("name", [*TEMPLATES, *SCRIPTS, *STYLES])
def test_assets_name_no_other_host(name: str):
    """Nothing is fetched from outside; the only address is SVG's name for itself, and comments are no addresses."""
    without = re.compile(r"http://www\.w3\.org/2000/svg|^\s*//.*$|[ ;,]// .*$", re.MULTILINE)
    assert "//" not in without.sub("", source(name))


def test_every_style_is_offered_in_both_languages():
    """The list of styles is the same sixteen in either language, under their own names."""
    for language in LANGUAGES:
        assert [name for _, name in style_choices()[language]] == list(styles())
        assert len(styles()) == 16
