"""`Forecast`: how long a picture will take, from those drawn. How far jobs are: `test_service`."""

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from tests.factories import recipe
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.service.forecast import Forecast

WHO = GeneratorIdentity("fake", "1", "bfloat16", "torch-2.13.0 cuda-sm_90")
CARD = {"demo": "NVIDIA H200"}

SQUARE = recipe(width=128, height=128, steps=8)


def test_knows_nothing_before_the_first_of_its_kind():
    """No guess is better than a wrong one: another model, size or guidance says nothing about this one."""
    forecast = Forecast()
    forecast.learn("demo", WHO, SQUARE, 4.0)
    assert forecast.guess("turbo", WHO, SQUARE) is None
    assert forecast.guess("demo", WHO, replace(SQUARE, width=256)) is None
    assert forecast.guess("demo", WHO, replace(SQUARE, height=256)) is None
    assert forecast.guess("demo", WHO, replace(SQUARE, guidance_scale=1.0)) is None


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 4.0),
        ({"steps": 16}, 8.0),
        ({"sampler": "heun"}, 7.5),
        ({"sampler": "heun", "steps": 1}, 0.5),
        ({"prompt": "y", "seed": 9, "shift": 1.0}, 4.0),
    ],
)
def test_scales_with_the_evaluations(changes, seconds):
    """Twice the steps take twice as long, and Heun counts its second looks."""
    forecast = Forecast()
    forecast.learn("demo", WHO, SQUARE, 4.0)
    assert forecast.guess("demo", WHO, replace(SQUARE, **changes)) == seconds


def test_the_latest_picture_is_the_measure():
    """A card that got faster or slower is believed at once."""
    forecast = Forecast()
    forecast.learn("demo", WHO, SQUARE, 4.0)
    forecast.learn("demo", WHO, replace(SQUARE, steps=4), 1.0)
    assert forecast.guess("demo", WHO, SQUARE) == 2.0


# Between starts


@pytest.fixture
def database(tmp_path):
    return tmp_path / "workspace" / "zimage.sqlite3"


def learnt(database, **changes) -> Forecast:
    forecast = Forecast(CARD, database)
    forecast.learn("demo", WHO, replace(SQUARE, **changes), 4.0)
    forecast.flush()
    return forecast


def after_a_restart(database, devices=None) -> Forecast:
    forecast = Forecast(devices or CARD, database)
    forecast.recall()
    return forecast


def test_a_restart_forgets_nothing(database):
    """What was drawn before the restart is the measure after it, guided and unguided apart."""
    learnt(database)
    learnt(database, guidance_scale=2.0, steps=4)
    forecast = after_a_restart(database)
    assert forecast.guess("demo", WHO, SQUARE) == 4.0
    assert forecast.guess("demo", WHO, replace(SQUARE, guidance_scale=1.0)) == 8.0
    assert forecast.guess("demo", WHO, replace(SQUARE, width=256)) is None


@pytest.mark.parametrize("field", ["precision", "runtime"])
def test_another_maker_is_another_pace(database, field):
    """Another number format, version or kind of card says nothing about this one."""
    learnt(database)
    assert after_a_restart(database).guess("demo", replace(WHO, **{field: "other"}), SQUARE) is None


def test_another_card_is_another_pace(database):
    """Nor does a card of another name, which the identity may not tell apart."""
    learnt(database)
    assert after_a_restart(database, {"demo": "Tesla T4"}).guess("demo", WHO, SQUARE) is None


def test_what_this_process_learnt_stands(database):
    """The latest picture is the measure: nothing recalled replaces it."""
    learnt(database)
    forecast = Forecast(CARD, database)
    forecast.learn("demo", WHO, SQUARE, 1.0)
    forecast.recall()
    assert forecast.guess("demo", WHO, SQUARE) == 1.0


def test_unknown_is_unknown():
    """Without a known identity there is no estimate."""
    assert Forecast().guess("demo", None, SQUARE) is None


def test_no_database_is_no_trouble(database, caplog):
    """Before the first picture there is none, and recalling makes none."""
    forecast = after_a_restart(database)
    forecast.flush()
    assert not database.exists()
    assert not caplog.records


def test_a_broken_database_is_no_error(database, caplog):
    """Estimates start anew; they are learnt, and kept as soon as that works again."""
    caplog.set_level(logging.INFO)
    database.parent.mkdir()
    database.write_bytes(b"no database at all" * 100)
    forecast = after_a_restart(database)
    assert forecast.guess("demo", WHO, SQUARE) is None
    forecast.learn("demo", WHO, SQUARE, 4.0)
    forecast.flush()
    forecast.flush()
    assert forecast.guess("demo", WHO, SQUARE) == 4.0
    assert [record.levelname for record in caplog.records] == ["INFO"]
    database.unlink()
    forecast.flush()
    assert after_a_restart(database).guess("demo", WHO, SQUARE) == 4.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), "soon", b"x"])
def test_what_is_no_time_is_ignored(database, seconds):
    """With invalid values in the table, an estimate is still a valid time."""
    learnt(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE pace SET seconds = ?", (seconds,))
        connection.commit()
    assert after_a_restart(database).guess("demo", WHO, SQUARE) is None


def test_it_does_not_grow_without_end(database, monkeypatch):
    """The kinds learnt longest ago are forgotten."""
    monkeypatch.setattr("zimage_cache.service.forecast._MOST", 3)
    moments = iter(range(10))
    monkeypatch.setattr("zimage_cache.service.forecast.time.time", lambda: next(moments))
    widths = [64 * number for number in range(1, 6)]
    for width in widths:
        learnt(database, width=width)
    forecast = after_a_restart(database)
    known = [width for width in widths if forecast.guess("demo", WHO, replace(SQUARE, width=width))]
    assert known == widths[-3:]
