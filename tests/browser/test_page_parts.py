"""What the page is made of, without a browser."""

import re
from importlib.resources import files

import pytest

from zimage_cache.styles import styles
from zimage_cache.web.page.assets import asset
from zimage_cache.web.page.form import style_choices
from zimage_cache.web.page.strings import LANGUAGES, strings

ASSETS = files("zimage_cache.web.page.assets")
TEMPLATES = tuple(path.name for path in ASSETS.iterdir() if path.name.endswith(".html"))
SCRIPTS = tuple(path.name for path in ASSETS.iterdir() if path.name.endswith(".js"))
STYLES = tuple(path.name for path in ASSETS.iterdir() if path.name.endswith(".css"))


def test_every_word_exists_in_both_languages():
    """No key is shown for want of its word: all that scripts and templates name have one, none of them empty."""
    text = "".join(map(asset, (*TEMPLATES, *SCRIPTS)))
    named = set(re.findall(r'say\("(\w+)"', text)) | set(re.findall(r'data-say="(\w+)"', text))
    assert len(named) > 20
    for language in LANGUAGES:
        assert named <= strings()[language].keys()
        assert all(strings()[language].values())


def test_holes_are_the_same_in_both_languages():
    """A translation names the same {values} as the original."""
    for key, english in strings()["en"].items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", strings()["zh"][key])), key


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_hold_nothing_that_is_evaluated(name: str):
    """Gradio runs templates as JavaScript template literals: ours have no expression, so there is nothing to run."""
    assert not re.search(r"\$\{|\{\{|`|\\", asset(name))


@pytest.mark.parametrize("name", [*TEMPLATES, *SCRIPTS, *STYLES])
def test_assets_name_no_other_host(name: str):
    """Nothing is fetched from outside; the only address is SVG's name for itself."""
    without = re.compile(r"http://www\.w3\.org/2000/svg|^\s*//.*$|[ ;,]// .*$", re.MULTILINE)
    assert "//" not in without.sub("", asset(name))


def test_every_style_is_offered_in_both_languages():
    """The list of styles is the same sixteen in either language, under their own names."""
    for language in LANGUAGES:
        assert [name for _, name in style_choices()[language]] == list(styles())
        assert len(styles()) == 16
