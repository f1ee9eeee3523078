"""Verifying names every file that is not what its hub offered, and only those."""

import hashlib
import shutil
from pathlib import Path

import pytest

from zimage_cache.models import revision, store
from zimage_cache.models import verify as verify_module
from zimage_cache.models.hubs import HubFile
from zimage_cache.models.manifest import linked_hashes
from zimage_cache.models.progress import ByteProgress
from zimage_cache.models.store import Problem, demo_folder, file_problems
from zimage_cache.models.verify import verify

VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return folder


@pytest.fixture
def offered(copy):
    return [
        HubFile(path.relative_to(copy).as_posix(), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(copy.rglob("*"))
        if path.is_file()
    ]


def named(found, folder) -> dict[str, str]:
    return {finding.file.relative_to(folder).as_posix(): str(finding.problem) for finding in found}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_copy_has_no_findings(copy, offered):
    """And every hashed byte was read: the last progress report is complete."""
    told: list[ByteProgress] = []
    assert verify(copy, offered, told.append) == []
    assert told[-1].done == told[-1].total == sum(file.size for file in offered)


def test_every_damaged_file_is_named_once(copy, offered):
    """Missing, cut off, too long, one bit wrong: each with its kind; the healthy files are not mentioned."""
    (copy / "model_index.json").write_text("{")
    (copy / "vae" / "config.json").unlink()
    weights = copy / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with (copy / "tokenizer" / "chat_template.jinja").open("a") as file:
        file.write(" ")
    flip(copy / VAE)
    assert named(verify(copy, offered), copy) == {
        "model_index.json": "corrupt",
        "text_encoder/model.safetensors": "truncated",
        "tokenizer/chat_template.jinja": "corrupt",
        "vae/config.json": "missing",
        VAE: "corrupt",
    }


def test_without_hashes_sizes_and_structure_count(copy, offered):
    """A flipped bit needs a hash to be seen; everything else does not."""
    flip(copy / VAE)
    assert verify(copy, [HubFile(file.path, file.size) for file in offered]) == []
    assert verify(copy) == []
    (copy / VAE).write_bytes((copy / VAE).read_bytes()[:-1])
    assert named(verify(copy), copy) == {VAE: "truncated"}


def test_findings_list_everything_not_only_the_first(copy):
    """Two files are lost: both are named in one go."""
    (copy / VAE).unlink()
    (copy / "scheduler" / "scheduler_config.json").unlink()
    assert named(file_problems(copy), copy) == {VAE: "missing", "scheduler/scheduler_config.json": "missing"}


def test_a_pickle_in_place_of_weights_is_refused(copy):
    """It is named as what it is, with the way out; nothing of it is opened."""
    (copy / VAE).rename(copy / "vae" / "diffusion_pytorch_model.bin")
    (finding,) = file_problems(copy)
    assert finding.problem is Problem.REFUSED
    assert "get the model as safetensors" in finding.detail


def test_a_file_the_system_refuses_is_reported_as_that(copy, offered, monkeypatch):
    """Permissions and dying disks are no damage to fetch again: the line says what to check."""

    def refuse(path, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "safe_open", refuse)
    monkeypatch.setattr(verify_module, "sha256_of", refuse)
    found = verify(copy, offered)
    assert {finding.problem for finding in found} == {Problem.UNREADABLE}
    assert len(found) == len(offered)
    assert all("check its permissions" in finding.detail for finding in found)


def test_blobs_named_by_their_hash_are_evidence(copy, tmp_path):
    """Hugging Face's layout contains the hashes of large files, so no manifest or network is needed."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    weights = copy / VAE
    blob = blobs / revision.sha256_of(weights)
    weights.rename(blob)
    weights.symlink_to(blob)
    assert [file.path for file in linked_hashes(copy)] == [VAE]
    assert verify(copy, linked_hashes(copy)) == []
    flip(blob)
    assert named(verify(copy, linked_hashes(copy)), copy) == {VAE: "corrupt"}
