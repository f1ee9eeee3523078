"""What most tests need one of: a recipe, a generator, a plan, a request, an entry. Tests name what matters to them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from zimage_cache.accounts.limits import Attempts
from zimage_cache.accounts.sessions import Sessions
from zimage_cache.accounts.source import UserSource
from zimage_cache.entry import Entry
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.fake import FAKE_IDENTITY, FAKE_PROFILE, FakeGenerator
from zimage_cache.metadata import png
from zimage_cache.request import PARAMETERS, ImageRequest, Recipe
from zimage_cache.service.resolve import Plan
from zimage_cache.web.authentication import Authentication

T = TypeVar("T")


def present(found: T | None) -> T:
    """Return what was found; fails the test where nothing was."""
    assert found is not None
    return found


def recipe(**changes: Any) -> Recipe:
    """Make a recipe of 64 pixels squared in two steps without guidance, with *changes*."""
    fields: dict[str, Any] = {
        "prompt": "a red circle",
        "width": 64,
        "height": 64,
        "seed": 1,
        "steps": 2,
        "guidance_scale": 0.0,
    }
    return Recipe(**fields | changes)


def another(name: str, value: object) -> Any:
    """Return a valid value of the parameter *name* other than *value*."""
    row = PARAMETERS[name]
    if row.choices:
        return next(choice for choice, _ in row.choices if choice != value)
    if row.kind is str:
        return f"{value}, another"
    return row.kind(row.maximum if value != row.maximum else row.minimum)


def identity(model: str = "fake", precision: str = "uint8") -> GeneratorIdentity:
    """Make the identity of a fake generator."""
    return replace(FAKE_IDENTITY, model=model, precision=precision)


def fake(name: str, **options: Any) -> FakeGenerator:
    """Make a fake generator of another name, and of that identity."""
    return FakeGenerator(profile=replace(FAKE_PROFILE, name=name), identity_=identity(name), **options)


def plan(key: str = "a", **changes: Any) -> Plan:
    """Make the plan of one request for *key*: a stored or a new picture, which is stored; with *changes*."""
    fields: dict[str, Any] = {
        "model": "fake",
        "recipe": recipe(),
        "identity": identity(),
        "request": {},
        "user": "",
        "owner": "",
        "fresh": False,
        "keep": True,
    }
    return Plan(key=key, **fields | changes)


def authentication(folder: Path, *lines: str) -> Authentication:
    """Make what identifies the senders of requests, by lines of a file of users; its sessions are in *folder*.

    Attempts to sign in are not slowed down.
    """
    return Authentication(UserSource(None, lines), Sessions(folder / "zimage.sqlite3"), Attempts(10**6, 10**6))


def asked(seed: float = 7, **fields: Any) -> ImageRequest:
    """Make a request for a picture of 64 pixels squared in four steps."""
    return ImageRequest.parse({"prompt": "a red circle", "seed": seed, "width": 64, "height": 64, "steps": 4, **fields})


def picture_entry(seed: int = 0, *, side: int = 64, look: int = 0, prompt: str = "a 红 circle") -> Entry:
    """Make an entry of *side* pixels squared; *look* changes the pixels, and nothing else."""
    pixels = np.random.default_rng([seed, look]).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Entry.of(
        png.encode(pixels, {}),
        recipe=recipe(prompt=prompt, width=side, height=side, steps=8, seed=seed),
        identity=identity(),
        created=datetime(2026, 11, 21, tzinfo=UTC),
        gpu_seconds=1.5,
        request={"prompt": prompt, "seed": seed},
        versions={},
    )
