"""Tests of cache.layout."""

from pathlib import Path

import pytest

from zimage_cache.cache.layout import Layout, is_key, key_in, writer_of
from zimage_cache.errors import CacheError

KEY = "0123456789abcdef" * 4
NO_KEYS = [
    "",
    "../" + KEY[3:],
    "/" + KEY[1:],
    "/etc/passwd",
    KEY[:-1],
    KEY + "0",
    KEY.upper(),
    KEY[:-1] + "g",
    KEY[:-1] + "\0",
    KEY + "\n",
    "\n" + KEY,
    KEY[:-1] + "٣",  # a digit, but no ASCII digit
    KEY[:32] + "/" + KEY[33:],
    KEY + ".json",
    "~" + KEY[1:],
]


@pytest.mark.parametrize("name", NO_KEYS)
def test_only_keys_reach_a_path(name):
    """Nothing but 64 lower-case hex digits becomes part of a path, whichever file is asked for."""
    layout = Layout(Path("cache"))
    askers = [layout.record, layout.image, layout.thumb, layout.files, lambda key: layout.temporary(key, "t")]

    assert not is_key(name)
    for ask in askers:
        with pytest.raises(CacheError, match="64 lower-case hex"):
            ask(name)


@pytest.mark.parametrize("thing", [None, 7, b"0" * 64])
def test_other_types_are_no_keys(thing):
    """Bytes, numbers and nothing are no keys either, and asking is no crash."""
    assert not is_key(thing)


def test_files_lie_where_the_contract_says():
    """The three files of a key have the names that other programs rely on."""
    expected = (Path(f"c/keys/{KEY}.json"), Path(f"c/images/{KEY}.png"), Path(f"c/thumbs/{KEY}.webp"))

    assert Layout(Path("c")).files(KEY) == expected


@pytest.mark.parametrize(("name", "key"), [(f"{KEY}.png", KEY), (f"{KEY}.json", None), (KEY, None), (".png", None)])
def test_foreign_names_are_not_ours(name, key):
    """Only a key with the folder's own ending counts as one of our files."""
    assert key_in(name, ".png") == key


@pytest.mark.parametrize(("name", "key"), [(f"{KEY}.1f", KEY), (KEY, None), (f"{KEY}.", None), ("x.1f", None)])
def test_temporary_files_name_their_writer(name, key):
    """A file name in `tmp/` contains its writer's lock; other files have none."""
    assert writer_of(name) == key
