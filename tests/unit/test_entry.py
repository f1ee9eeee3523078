"""Records are read as they were written, and other files are not read as records."""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import recipe
from zimage_cache.entry import Entry, Record
from zimage_cache.errors import CorruptEntry
from zimage_cache.fingerprint import GeneratorIdentity, canonical_text, fingerprint, key_of
from zimage_cache.i18n.messages import Message
from zimage_cache.request import ImageRequest

IDENTITY = GeneratorIdentity("model", "revision", "float32", "diffusers")
RECIPE = recipe(prompt="一只 red 🦊", height=128, steps=8, seed=7)
PNG = b"\x89PNG and so on"
ENTRY = Entry.of(
    PNG,
    recipe=RECIPE,
    identity=IDENTITY,
    created=datetime(2026, 11, 21, 1, 2, 3, 456789, tzinfo=UTC),
    gpu_seconds=1.25,
    request=ImageRequest(prompt="一只 red 🦊", seed=7).model_dump(mode="json"),
    versions={"torch": "2.13.0"},
    warnings=(Message("decoder_overflowed", dtype="float16"),),
)
TEXT = ENTRY.record.to_json()
FIELDS = json.loads(TEXT)
SHA = "0" * 64
WRONG = {
    "key": [None, 5, "", "x", SHA[1:], SHA.replace("0", "A"), SHA, SHA + "\n", [SHA]],
    "canonical": [None, 5, "", "{}", FIELDS["canonical"] + " ", [], {}],
    "digest": [None, 5, "", SHA[1:], "Z" * 64, [], {}],
    "bytes": [None, "13", 0, -1, 1.5, True, math.nan, math.inf, [], {}],
    "width": [None, "64", 0, -1, 1.5, True, math.nan, [], {}],
    "height": [None, "64", 0, -1, 1.5, True, -math.inf, [], {}],
    "created": [None, 5, "yesterday", "2026-11-21T00:00:00", "2026-13-01T00:00:00Z", True, math.nan, [], {}],
    "gpu_seconds": [None, "1", -0.1, True, math.nan, math.inf, [], {}],
    "request": [None, 5, "{}", [], {}, {"seed": None}, {"seed": "7"}, {"seed": True}, {"seed": 7, "shift": math.nan}],
    "generator": [None, 5, "model", [], {}, {"model": "m"}, FIELDS["generator"] | {"runtime": 5}],
    "versions": [None, 5, "2", [], {"torch": 2}],
    "warnings": [None, 5, "warning", {}, [5]],
}
GARBAGE = {
    "empty": b"",
    "zeroed": b"\0" * 4096,
    "truncated": TEXT.encode()[:-20],
    "doubled": (TEXT + TEXT).encode(),
    "not UTF-8": TEXT.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "cut in a letter": TEXT.encode().replace("🦊".encode(), "🦊".encode()[:2]),
    "null": b"null",
    "list": b"[]",
    "text": b'"record"',
    "picture": PNG,
    "deep": b"[" * 100_000,
    "deep inside": TEXT.replace('"steps": null', '"steps": ' + "[" * 5000 + "]" * 5000).encode(),
    "endless number": TEXT.replace(f'"bytes": {len(PNG)}', '"bytes": ' + "9" * 5000).encode(),
    "lone surrogate": TEXT.replace("🦊", "\\ud83e").encode(),
}


def test_the_text_is_the_record():
    """What is written is read back equal, byte for byte, as people's eyes and `grep` expect it."""
    assert Record.from_json(TEXT) == Record.from_json(TEXT.encode()) == ENTRY.record
    assert Record.from_json(TEXT).to_json() == TEXT
    assert TEXT.endswith("}\n")
    assert "一只 red 🦊" in TEXT


def test_the_fields_are_the_contracts():
    """Other programs read these files."""
    assert list(FIELDS) == [
        "key",
        "canonical",
        "digest",
        "bytes",
        "width",
        "height",
        "created",
        "gpu_seconds",
        "request",
        "generator",
        "versions",
        "warnings",
        "warning_rules",
    ]
    assert FIELDS["key"] == fingerprint(RECIPE, IDENTITY) == key_of(FIELDS["canonical"])
    assert FIELDS["canonical"] == canonical_text(RECIPE, IDENTITY)
    assert FIELDS["digest"] == hashlib.sha256(PNG).hexdigest()
    assert FIELDS["bytes"] == len(PNG)
    assert (FIELDS["width"], FIELDS["height"]) == (64, 128)
    assert FIELDS["created"] == "2026-11-21T01:02:03.456789Z"
    assert FIELDS["generator"] == {
        "model": "model",
        "revision": "revision",
        "precision": "float32",
        "runtime": "diffusers",
    }


@given(
    st.text(min_size=1),
    st.floats(0, 1e6),
    st.datetimes(timezones=st.just(UTC)) | st.datetimes(timezones=st.just(timezone(timedelta(hours=8)))),
)
def test_any_record_makes_the_round_trip(prompt, gpu_seconds, created):
    """Whatever people type and machines measure survives the disk."""
    entry = Entry.of(
        PNG,
        recipe=RECIPE,
        identity=IDENTITY,
        created=created,
        gpu_seconds=gpu_seconds,
        request={"prompt": prompt, "seed": 7},
        versions={prompt: prompt},
    )

    assert Record.from_json(entry.record.to_json().encode()) == entry.record


def test_fields_of_a_later_version_are_ignored():
    """An older version reads what a newer one wrote."""
    later = FIELDS | {"tags": ["x"], "generator": FIELDS["generator"] | {"lora": "y"}}
    without_warnings = {name: value for name, value in FIELDS.items() if not name.startswith("warning")}

    assert Record.from_json(json.dumps(later)) == ENTRY.record
    assert Record.from_json(json.dumps(without_warnings)).warnings == ()


def test_warnings_are_english_text_and_messages():
    """Tools read the text; answers take the rule, so that they can be in another language."""
    assert FIELDS["warnings"] == ["decoder: float16 overflowed, so the picture was decoded in float32"]
    assert FIELDS["warning_rules"] == [{"rule": "decoder_overflowed", "params": {"dtype": "float16"}}]
    assert ENTRY.record.warning_messages == (Message("decoder_overflowed", dtype="float16"),)


@pytest.mark.parametrize(
    "rules",
    [
        *(None, [], 5, "warning", {}, [5], [None, None]),
        [{"rule": "of_a_later_version", "params": {}}],
        [{"rule": "decoder_overflowed", "params": {}}],
        [{"rule": "waited", "params": {"seconds": 10**400}}],
    ],
    ids=repr,
)
def test_warnings_of_another_version_stay_english(rules):
    """A record without rules, or with rules that this version does not know, still has its warnings."""
    fields = {name: value for name, value in FIELDS.items() if name != "warning_rules"}
    record = Record.from_json(json.dumps(fields | ({} if rules is None else {"warning_rules": rules})))
    [message] = record.warning_messages
    assert message.text("zh") == message.text("en") == FIELDS["warnings"][0]


def test_a_record_without_warnings_has_no_field_for_them():
    """The files of most pictures are as they were before the rules of warnings were stored."""
    record = ENTRY.record.model_copy(update={"warnings": (), "warning_rules": ()})
    assert "warning_rules" not in record.to_json()
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.startswith("warning")])
def test_a_missing_field_is_corrupt(name):
    """A record is whole or no record, and the reason says what it lacks."""
    with pytest.raises(CorruptEntry, match=f"^record: {name}: Field required$"):
        Record.from_json(json.dumps({field: value for field, value in FIELDS.items() if field != name}))


def test_every_field_has_wrong_values_here():
    """A new field joins the test below."""
    assert WRONG.keys() | {"warning_rules"} == Record.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_corrupt(name, value):
    """No type is guessed and no value bent: what we did not write, we do not serve."""
    with pytest.raises(CorruptEntry, match=r"^record: ") as raised:
        Record.from_json(json.dumps(FIELDS | {name: value}))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_corrupt(garbage):
    """Any other content raises `CorruptEntry` with one line."""
    assert garbage != TEXT.encode()
    with pytest.raises(CorruptEntry, match=r"^record: ") as raised:
        Record.from_json(garbage)

    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_corrupt(noise):
    """No noise is ever taken for a record."""
    with pytest.raises(CorruptEntry):
        Record.from_json(noise)


@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_fingerprint_or_the_text_is_noticed(position, bit):
    """Key and canonical text vouch for each other: no single flipped bit makes a record answer another question."""
    flipped = bytearray(TEXT.encode())
    flipped[position] ^= 1 << bit
    try:
        record = Record.from_json(bytes(flipped))
    except CorruptEntry:
        return

    assert (record.key, record.canonical) == (ENTRY.record.key, ENTRY.record.canonical)


def test_a_healthy_entry_verifies():
    """Bytes that are what the record promises pass."""
    ENTRY.verify()


@pytest.mark.parametrize("png", [b"", PNG[:-1], PNG + b"x"])
def test_another_size_is_corrupt(png):
    """Truncated and grown pictures are caught without hashing."""
    with pytest.raises(CorruptEntry, match=f"image: {len(png)} bytes, its record says {len(PNG)}"):
        Entry(ENTRY.record, png).verify()


def test_other_bytes_of_the_same_size_are_corrupt():
    """A flipped bit in a picture is caught."""
    with pytest.raises(CorruptEntry, match="SHA-256"):
        Entry(ENTRY.record, PNG[:-1] + bytes([PNG[-1] ^ 1])).verify()


def test_an_entry_is_frozen():
    """A stored picture stays what its key says."""
    with pytest.raises(AttributeError):
        ENTRY.png = b""  # type: ignore[misc]  # what is tested
