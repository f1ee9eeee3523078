"""The page's style sheets: each selector in one of them, no rule without an element, no colour without a use."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from zimage_cache.web.page import bundle

PAGE = Path(bundle.__file__).parent
SHEETS = sorted(path for path in PAGE.glob("**/*.css") if path.name not in {"main.css", "skeleton.css"})
# Repeats selectors of the others for large and for small windows.
LAYOUT = "layout.css"
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
TEXT = re.compile(r"\"[^\"]*\"")
PIECE = re.compile(r"([^{};]*)([{};])")


def rules(sheet: str) -> Iterator[str]:
    """List the complete selectors of a style sheet's rules; nested ones are joined, conditions are left out."""
    outer: list[list[str]] = [[""]]  # selectors of the rules around a place; none inside @keyframes
    for text, end in PIECE.findall(bare(sheet)):
        head = " ".join(text.split())
        if end == "{":
            outer.append(nested(outer[-1], head))
            if not head.startswith("@"):
                yield from outer[-1]
        elif end == "}":
            outer.pop()


def bare(sheet: str) -> str:
    """Return a style sheet without comments, and with empty quoted texts."""
    return TEXT.sub('""', COMMENT.sub("", sheet))


def nested(parents: list[str], head: str) -> list[str]:
    """Return the selectors of a rule with *head* inside one of *parents*."""
    if head.startswith("@"):
        return [] if head.startswith("@keyframes") else parents
    own = [part.strip() for part in re.split(r",(?![^(]*\))", head)]
    joined = (
        part.replace("&", parent) if "&" in part else f"{parent} {part}" for parent, part in product(parents, own)
    )
    return [selector.strip() for selector in joined]


def test_selectors_are_complete():
    """Rules inside rules and conditions are taken apart as browsers do."""
    sheet = '.a { & .b, .c:is(.d, .e) > f { x: url("{;}"); } @media (y) { g { z: 0; } } } .h & { }'
    assert list(rules(sheet)) == [".a", ".a .b", ".a .c:is(.d, .e) > f", ".a g", ".h"]


def test_one_sheet_owns_a_selector():
    """No two style sheets have rules for the same selector, so none overrides another by its place."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path in SHEETS:
        if path.name == LAYOUT:
            continue
        for selector in rules(path.read_text("utf-8")):
            owners[selector].add(path.name)
    common = {".gradio-container.gradio-container", ":root", ".dark"}
    assert {selector: names for selector, names in owners.items() if len(names) > 1 and selector not in common} == {}


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_every_class_is_on_an_element(path: Path):
    """A class with a rule is named by a template, a script or the form, as a whole or by a beginning and an end."""
    users = [*PAGE.glob("*/*.html"), *PAGE.glob("**/*.js"), *PAGE.glob("*.py")]
    text = "".join(user.read_text("utf-8") for user in users)
    named = set(re.findall(r"zi-[\w-]+", text))
    beginnings = {*re.findall(r"(zi-[\w-]*-)\$\{", text), *re.findall(r"(zi-[\w-]*-)\{", text)}
    words = set(re.findall(r"[\"'`]([\w-]+)[\"'`]|\b(\w+): ", text))
    ends = {word for pair in words for word in pair}
    styled = set(re.findall(r"\.(zi-[\w-]+)", bare(path.read_text("utf-8"))))
    made = {name for name in styled for start in beginnings if name.startswith(start) and name[len(start) :] in ends}
    assert styled - named - made == set()


def test_every_variable_has_a_value_and_a_use():
    """A custom property of ours is set in a style sheet or by a script, and used."""
    sheets = "".join(path.read_text("utf-8") for path in SHEETS)
    scripts = "".join(path.read_text("utf-8") for path in (*PAGE.glob("**/*.js"), PAGE / "swatches.py"))
    used = set(re.findall(r"var\((--zi-[\w-]+)", sheets))
    assert used == set(re.findall(r"(--zi-[\w-]+): ", sheets + scripts))
