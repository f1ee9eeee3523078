"""A workspace of version 0.1, as it was before the packages were moved, is read as it was written."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.waiting import wait_until
from zimage_cache.cache.check import check
from zimage_cache.compose import make_service
from zimage_cache.entry import Record
from zimage_cache.fingerprint import fingerprint
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.models.profiles import DEMO
from zimage_cache.service.audit import recipe_in
from zimage_cache.settings import Settings
from zimage_cache.web.app import create_app

# Written by commit 79d0414 with its demo model: a square, two of a style with a solver and a negative prompt, and one
# with a warning; the square is pinned, has a thumbnail, and was asked for twice.
OLD = Path(__file__).parents[1] / "data" / "workspace_0.1"
RECORDS = [Record.from_json(path.read_bytes()) for path in sorted((OLD / "cache" / "keys").iterdir())]
SQUARE = next(record for record in RECORDS if record.request["seed"] == 42)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Copy the old workspace, and tell its history where it lies now."""
    copied = tmp_path / "workspace"
    shutil.copytree(OLD, copied)
    with sqlite3.connect(copied / "zimage.sqlite3") as database:
        database.execute("UPDATE history_pictures SET folder = ?", (str(copied / "output_image"),))
    database.close()
    return copied


@pytest.fixture
def generator() -> FakeGenerator:
    """Make a generator with the identity of the model that drew the pictures."""
    return FakeGenerator(profile=DEMO, identity_=SQUARE.generator)


@pytest.fixture
def client(workspace: Path, generator: FakeGenerator) -> Iterator[TestClient]:
    service, running = make_service(Settings.model_validate({"workspace": workspace}), generator)
    with TestClient(create_app(service, running), base_url="http://localhost") as client:
        yield client
    assert check(workspace / "cache") == []


def test_every_picture_is_a_hit(client: TestClient, generator: FakeGenerator):
    """The same requests give the same bytes; nothing is drawn."""
    for record in RECORDS:
        answer = client.post("/generate", json=record.request)
        assert answer.headers["X-Cache"] == "hit-disk"
        (image,) = answer.json()["images"]
        assert image["key"] == record.key
        assert client.get(image["image_url"]).content == (OLD / "cache" / "images" / f"{record.key}.png").read_bytes()
        assert len(answer.json()["warnings"]) == len(record.warnings)
    assert generator.recipes == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.key[:8])
def test_the_key_is_computed_from_the_record(record: Record):
    """Recipe and identity of the record give its key."""
    recipe = recipe_in(record)
    assert recipe is not None
    assert fingerprint(recipe, record.generator) == record.key


def test_pins_and_statistics_stay(client: TestClient):
    """What was pinned is, and the counters of the old version are counted on."""
    assert client.get(f"/cache/{SQUARE.key}").json()["pinned"] is True
    assert sum(entry["pinned"] for entry in client.get("/cache/entries").json()["entries"]) == 1
    stats = client.get("/cache/stats").json()
    assert (stats["now"]["disk_entries"], stats["now"]["pinned"]) == (len(RECORDS), 1)
    assert (stats["lifetime"]["misses"], stats["lifetime"]["hits_memory"], stats["lifetime"]["writes"]) == (4, 1, 4)


def test_the_history_keeps_its_pictures(client: TestClient):
    """All pictures, under their old numbers, with their settings, found by words."""
    wait_until(lambda: len(client.get("/history").json()["pictures"]) == len(RECORDS))
    shown: dict[str, dict[str, Any]] = {each["key"]: each for each in client.get("/history").json()["pictures"]}
    assert {each["id"] for each in shown.values()} == {1, 2, 3, 4}
    for record in RECORDS:
        asked = {name: value for name, value in record.request.items() if value is not None}
        assert shown[record.key]["parameters"].items() >= asked.items()
        assert client.get(f"/history/{shown[record.key]['id']}.png").status_code == 200
    found = client.get("/history", params={"query": "红色圆形"}).json()["pictures"]
    assert {each["parameters"]["seed"] for each in found} == {7, 8}


def test_the_settings_are_read_from_a_file(client: TestClient):
    """`/png-info` reads the settings of an old file, and finds its picture in the cache."""
    content = next((OLD / "output_image").glob("*_b4839ebe.png")).read_bytes()
    found = client.post("/png-info", content=content, headers={"Content-Type": "image/png"}).json()
    assert (found["source"], found["cached"]) == ("zimage", True)
    assert SQUARE.key in found["image_url"]
    assert found["parameters"] == SQUARE.request


def test_a_new_picture_goes_beside_the_old_ones(client: TestClient, generator: FakeGenerator, workspace: Path):
    """The old folder takes new pictures."""
    answer = client.post("/generate", json=SQUARE.request | {"seed": 43})
    assert answer.headers["X-Cache"] == "miss"
    assert [recipe.seed for recipe in generator.recipes] == [43]
    wait_until(lambda: len(list((workspace / "cache" / "keys").iterdir())) == len(RECORDS) + 1)
