"""The scenes of `docs/scenes.md`, each over the real application: if one of these breaks, the page lies."""

import logging
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

from tests.waiting import wait_until
from zimage_cache import compose
from zimage_cache.cache.check import check
from zimage_cache.cli import main as cli
from zimage_cache.entry import Entry
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.metadata import png
from zimage_cache.request import ImageRequest
from zimage_cache.service.resolve import resolve
from zimage_cache.settings import Settings, load

ROOT = Path(__file__).parents[2]


class Scene:
    """The service that `zimage serve` builds from flags, with a fake generator, for a `House`."""

    def __init__(self, flags: dict[str, str], stack: ExitStack) -> None:
        self.settings: Settings = load(flags)[0]
        self.generator = FakeGenerator()
        self.service, running = compose.make_service(self.settings, self.generator)
        self._stack = stack
        stack.enter_context(running())

    def close(self) -> None:
        self._stack.close()

    @property
    def drawn(self) -> list[int]:
        """The seeds of all pictures drawn."""
        return [recipe.seed for recipe in self.generator.recipes]

    @property
    def stored(self) -> set[str]:
        return {path.stem for path in (self.settings.cache_folder / "keys").glob("*.json")}

    @property
    def copies(self) -> int:
        return len(list(self.settings.output_folder.glob("*.png")))


@pytest.fixture
def house_class(house) -> type:
    """Give what serves an application, for studios of another make."""
    return type(house)


@pytest.fixture
def scene(tmp_path, monkeypatch, house_class) -> Iterator[Callable[..., Any]]:
    """Give a maker of served scenes on one workspace, from flags as one gives them on the command line."""
    for variable in ("DISABLE_CACHE", "ZIMAGE_NO_CACHE", "ZIMAGE_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    houses: list[Any] = []

    def make(**flags: str) -> Any:
        made = Scene({"workspace": str(tmp_path), "cache_min_free": "0", **flags}, ExitStack())
        houses.append(house_class(made))
        return houses[-1]

    yield make
    for house in houses:
        house.close()
    assert check(tmp_path / "cache") == []


def sources(answer: Any) -> list[str]:
    return [image["source"] for image in answer.json()["images"]]


def test_exploration(scene):
    """A resident model and drawn seeds: every picture is new, none is looked up, and each is found under its seed."""
    house = scene()
    answers = [house.generate(seed=-1) for _ in range(4)]
    assert [sources(answer) for answer in answers] == [["generated"]] * 4
    assert {answer.headers["x-cache"] for answer in answers} == {"miss"}
    seeds = [answer.json()["images"][0]["seed"] for answer in answers]
    assert len(set(seeds)) == 4
    assert house.studio.drawn == seeds
    assert house.studio.generator.loads == 1
    house.stored()
    assert house.image(seed=seeds[0])["source"] == "memory"


def test_batch(scene):
    """A fixed seed and 1 to 8 pictures: the second time all are hits, also after a restart, and nothing is drawn."""
    house = scene()
    first = {n: house.generate(seed=100 * n, n=n).json()["images"] for n in range(1, 9)}
    house.stored()
    drawn = list(house.studio.drawn)
    assert sorted(drawn) == [100 * n + i for n in first for i in range(n)]
    restarted = scene()
    for n, images in first.items():
        again = house.generate(seed=100 * n, n=n)
        assert sources(again) == ["memory"] * n
        assert [image["key"] for image in again.json()["images"]] == [image["key"] for image in images]
        assert sources(restarted.generate(seed=100 * n, n=n)) == ["disk"] * n
    assert house.studio.drawn == drawn
    assert restarted.studio.drawn == []


def test_a_b_comparison(scene):
    """The same seeds with one thing changed: only the changed half is drawn, and more pictures cost the new ones."""
    house = scene()
    house.generate(seed=7, n=4, steps=4)
    house.stored()
    assert sources(house.generate(seed=7, n=4, steps=6)) == ["generated"] * 4
    house.stored()
    for steps in (4, 6):
        assert sources(house.generate(seed=7, n=4, steps=steps)) == ["memory"] * 4
    assert sources(house.generate(seed=7, n=6, steps=4)) == ["memory"] * 4 + ["generated"] * 2
    assert len(house.studio.drawn) == 10


def aged(house: Any, seed: int, age: timedelta) -> str:
    """Store what the generator would draw, as if it had been drawn *age* ago; give its key."""
    request = ImageRequest(prompt="a red circle", width=64, height=64, steps=4, seed=seed)
    generator = house.studio.generator
    (picture,) = resolve(request, generator.profile)
    entry = Entry.of(
        png.encode(np.zeros((64, 64, 3), np.uint8), {}),
        recipe=picture.recipe,
        identity=generator.identity(),
        created=datetime.now(UTC) - age,
        gpu_seconds=1.0,
        request=picture.request,
        versions={},
    )
    cache = compose.make_cache(house.studio.settings)  # as another process would
    assert cache.put(entry)
    cache.close()
    return entry.record.key


def test_production_ttl(scene):
    """`--cache-ttl 24h`: a picture of 25 hours ago is drawn again, one of 23 hours ago is not; pinned ones stay."""
    house = scene(cache_ttl="24h")
    aged(house, 1, timedelta(hours=25))
    aged(house, 2, timedelta(hours=23))
    kept = aged(house, 3, timedelta(hours=25))
    assert house.client.post(f"/cache/{kept}/pin").status_code == 200
    assert house.image(seed=1)["source"] == "generated"
    assert house.image(seed=2)["cached"]
    assert house.image(seed=3)["cached"]
    assert house.studio.drawn == [1]


def test_production_entries(scene):
    """`--cache-max-entries`: however many are asked for, no more than that are kept, and the last one is among them."""
    house = scene(cache_max_entries="5")
    images = []
    for seed in range(12):
        images.append(house.image(seed=seed)["key"])
        house.stored()
    assert len(house.studio.stored) == 5
    assert images[-1] in house.studio.stored
    stats = house.client.get("/cache/stats").json()
    assert (stats["now"]["disk_entries"], stats["this_process"]["evictions"]) == (5, 7)


def test_production_health_and_warm_up(scene):
    """A load balancer asks `/ready`; the warm-up draws without a trace in cache, copies or history."""
    house = scene(cache_ttl="24h", cache_max_entries="1000")
    wait_until(lambda: house.client.get("/ready").status_code == 200)
    assert house.client.get("/health").json()["status"] == "healthy"
    result = click.testing.CliRunner().invoke(cli.main, ["warmup", "--url", str(house.client.base_url), "--json"])
    assert result.exit_code == 0, result.output
    house.stored()
    assert (house.studio.stored, house.studio.copies) == (set(), 0)
    assert house.client.get("/cache/stats").json()["this_process"]["bypasses"] == 1


def test_disable_cache(scene, monkeypatch):
    """`DISABLE_CACHE=1`: every picture is drawn and kept in `output_image/`, once; none is stored or looked up."""
    monkeypatch.setenv("DISABLE_CACHE", "1")
    house = scene()
    answers = [house.generate(), house.generate(), house.generate(seed=8)]
    assert [sources(answer) for answer in answers] == [["generated"]] * 3
    assert {answer.headers["x-cache"] for answer in answers} == {"bypass"}
    assert house.stored() == set()
    assert house.studio.copies == 2
    monkeypatch.setenv("DISABLE_CACHE", "0")
    assert scene().studio.settings.caching


def test_debug(scene):
    """`--debug`: the cache is bypassed, and the log has the level DEBUG."""
    loggers = [logging.getLogger(name) for name in (None, "zimage_cache", "uvicorn")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    house = scene(debug="1")
    try:
        compose.configure_logging(house.studio.settings)
        assert logging.getLogger("zimage_cache").isEnabledFor(logging.DEBUG)
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers = handlers
    assert [house.image()["source"] for _ in range(2)] == ["generated"] * 2
    assert house.studio.stored == set()


# How many commands of ours each page shows: one that is misspelt is taken for a foreign one, and would be missing.
COMMANDS = {
    "README.md": 3,
    "CONTRIBUTING.md": 1,
    "docs/README.zh-CN.md": 3,
    "docs/operations.md": 14,
    "docs/prompts.md": 1,
    "docs/reference.zh-CN.md": 15,
    "docs/scenes.md": 11,
    "docs/troubleshooting.md": 5,
}


@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_of_the_pages_is_one(page, monkeypatch, tmp_path):
    """What a reader copies from these pages is understood: each flag, each value, each setting."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    understood = [line for line in lines if _understood(line)]
    assert len(understood) == COMMANDS[page], understood


def _understood(line: str) -> bool:
    """Parse a line that starts one of our commands; other lines are none of this test's business."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[:2] == ["python", "app.py"] or words[:2] == ["bash", "scripts/start_app.sh"]:
        command, arguments = cli.serve_command, words[2:]
    elif words and words[0] in {"zimage", ".venv/bin/zimage"}:
        command, arguments = cli.main, words[1:]
        while isinstance(command, click.Group):
            command, arguments = command.commands[arguments[0]], arguments[1:]
    else:
        return False
    context = command.make_context("zimage", arguments)
    load({name: context.params[name] for name in Settings.model_fields if context.params[name] not in {None, ()}})
    return True
