"""The translations of the server's messages, without a browser."""

import re

from zimage_cache.web.page.strings import messages

HOLE = re.compile(r"\{(\w+)(?::(\w+))?\}")


def test_holes_are_the_same_in_both_languages():
    """Every placeholder of the English message is in the Chinese one, once."""
    for en, zh in messages():
        assert sorted(name for name, _ in HOLE.findall(en)) == sorted(re.findall(r"\{(\w+)\}", zh)), en


def test_every_hole_is_of_a_known_kind():
    """The page has a translation function for each kind of placeholder."""
    assert {kind for en, _ in messages() for _, kind in HOLE.findall(en)} == {"", "word", "field", "told", "any"}


def test_no_message_is_there_twice():
    """A second translation of the same message would never be used."""
    patterns = [HOLE.sub("{}", en) for en, _ in messages()]
    assert len(patterns) == len(set(patterns)) > 150


def test_no_message_is_nothing_but_a_hole():
    """A pattern that matches every message would hide later ones."""
    assert all(re.search("[A-Za-z]", HOLE.sub("", en)) or "{rule:told}" in en for en, _ in messages())
