"""A smaller copy of the transformer draws the same pictures, bit for bit, and is never trusted blindly."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.factories import recipe
from zimage_cache.generator import pipeline as pipeline_module
from zimage_cache.generator.device import CPU
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.models import slim as slim_module
from zimage_cache.models.profiles import DEMO
from zimage_cache.models.slim import slim_copy
from zimage_cache.models.store import demo_folder

WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"
RECIPE = recipe(prompt="a large red circle on a blue background", guidance_scale=1.0)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    # As Z-Image ships: 32 bits, whose lowest ones show whether a cast rounds differently.
    noise = torch.Generator().manual_seed(1)
    tensors = {name: each.float() for name, each in load_file(folder / WEIGHTS).items()}
    tensors = {name: each + each * torch.randn(each.shape, generator=noise) * 1e-3 for name, each in tensors.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.fixture
def read(monkeypatch):
    """Remember the folders pipelines are read from."""
    folders: list[Path] = []

    class Reading(pipeline_module.LoadedPipeline):
        def __init__(self, folder, *rest, **named) -> None:
            folders.append(folder)
            super().__init__(folder, *rest, **named)

    monkeypatch.setattr(pipeline_module, "LoadedPipeline", Reading)
    return folders


def test_pictures_are_the_same_bits(source, tmp_path, read):
    """Made at the first load, read at every later one; the same pixels under the same name as without it."""
    place = tmp_path / "slim"

    def generator(**options):
        memo = tmp_path / "memo.json"
        return ZImageGenerator(
            DEMO, lambda: source, model="a/b", device=CPU, memo=memo, precision="bfloat16", **options
        )

    def draw(generator):
        drawing = generator.generate(RECIPE, lambda _step: None, lambda: False)
        return drawing.identity, drawing.pixels.tobytes()

    plain = draw(generator())
    assert draw(generator(slim=place)) == plain
    assert draw(generator(slim=place)) == plain
    assert read == [source, place / "a--b-bfloat16", place / "a--b-bfloat16"]


def test_the_copy_is_half_as_large_and_made_once(source, tmp_path):
    """The second call writes nothing; what is not the transformer is not copied at all."""
    place = tmp_path / "slim"
    assert slim_copy(source, place, "r1", "bfloat16") == place
    written = (place / WEIGHTS).stat()
    assert written.st_size < 0.6 * (source / WEIGHTS).stat().st_size
    assert (place / "vae").is_symlink()
    assert slim_copy(source, place, "r1", "bfloat16") == place
    assert (place / WEIGHTS).stat().st_ino == written.st_ino
    assert [path.name for path in place.parent.iterdir() if path.name.startswith(".slim")] == []


@pytest.mark.parametrize("change", ["revision", "touched", "cut", "unsealed"])
def test_a_copy_of_something_else_is_made_anew(source, tmp_path, change):
    """Other content, a file touched or cut since, a copy that was not finished: none of them is loaded."""
    place = tmp_path / "slim"
    slim_copy(source, place, "r1", "bfloat16")
    whole = (place / WEIGHTS).read_bytes()
    if change == "touched":
        (place / WEIGHTS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif change == "cut":
        (place / WEIGHTS).write_bytes(whole[:-9])
    elif change == "unsealed":
        (place / "complete.json").unlink()
    before = (place / WEIGHTS).stat().st_ino
    assert slim_copy(source, place, "r2" if change == "revision" else "r1", "bfloat16") == place
    assert (place / WEIGHTS).stat().st_ino != before
    assert (place / WEIGHTS).read_bytes() == whole


def test_what_other_programs_left_is_not_copied(source, tmp_path):
    """Their files have names like weights and settings, and other content."""
    left = source / "transformer"
    for name in ("._diffusion_pytorch_model.safetensors", "~$config.json", "config.json:Zone.json"):
        (left / name).write_bytes(b"left here")
    (left / "old.json").mkdir()
    place = slim_copy(source, tmp_path / "slim", "r1", "bfloat16")
    assert place == tmp_path / "slim"
    assert sorted(path.name for path in (place / "transformer").iterdir()) == ["config.json", WEIGHTS.name]


def test_a_transformer_that_is_small_already_is_left_alone(source, tmp_path):
    """A model that ships in 16 bits needs no copy."""
    small = slim_copy(source, tmp_path / "slim", "r1", "bfloat16")
    assert slim_copy(small, tmp_path / "again", "r1", "bfloat16") == small
    assert not (tmp_path / "again").exists()


def test_without_room_the_source_is_loaded(source, tmp_path, monkeypatch, caplog):
    """When no copy can be made: one warning, and the source is loaded."""
    monkeypatch.setattr(slim_module, "_SPARE", 2**60)
    assert slim_copy(source, tmp_path / "slim", "r1", "bfloat16") == source
    assert "too full" in caplog.text


def test_a_copy_that_reads_back_wrong_is_not_used(source, tmp_path, monkeypatch, caplog):
    """Every tensor is compared with what was meant to be written; nothing half-done stays."""
    monkeypatch.setattr(torch, "equal", lambda _left, _right: False)
    assert slim_copy(source, tmp_path / "slim", "r1", "bfloat16") == source
    assert "check its disk" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
