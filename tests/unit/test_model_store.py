"""Models are found in the contract's order, in every layout, and only whole ones are used."""

import json
import os
import shutil
from pathlib import Path

import pytest

from zimage_cache.errors import ModelCorrupt, ModelMissing
from zimage_cache.models.store import (
    check_folder,
    components,
    copies,
    demo_folder,
    file_problems,
    find_model,
)

REPO = "Tongyi-MAI/Z-Image-Turbo"
DOTTED = "some-one/Z-Image.v1.5"
NEW, HF = "Tongyi-MAI--Z-Image-Turbo", "models--Tongyi-MAI--Z-Image-Turbo"


def copy_to(folder: Path) -> Path:
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return folder


@pytest.fixture
def model(tmp_path):
    """A copy of the demo model, free to be damaged."""
    return copy_to(tmp_path / "model")


def shard(folder: Path, stem: str) -> Path:
    """Turn the single weight file of *folder* into a sharded one with two shards; returns its index."""
    single = folder / f"{stem}.safetensors"
    names = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in names:
        shutil.copy(single, folder / name)
    single.unlink()
    index = folder / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": names[0], "b": names[1], "c": names[0]}}))
    return index


@pytest.mark.parametrize(
    ("repo_id", "place"),
    [
        (REPO, f"models/{NEW}/snapshots/master"),
        (REPO, f"models/{REPO}"),
        (REPO, f"hub/models/{REPO}"),
        (REPO, f"hub/{REPO}"),
        (REPO, REPO),
        (REPO, f"hub/{HF}/snapshots/0123abcd"),
        (REPO, f"{HF}/snapshots/0123abcd"),
        (DOTTED, "models/some-one--Z-Image.v1.5/snapshots/master"),
        (DOTTED, "hub/models/some-one--Z-Image.v1.5/snapshots/master"),
        (DOTTED, "hub/models/some-one/Z-Image___v1___5"),
        (DOTTED, "hub/some-one/Z-Image.v1.5"),
        (DOTTED, "some-one/Z-Image.v1.5"),
    ],
)
def test_every_layout_of_both_hubs_is_found(tmp_path, repo_id, place):
    """ModelScope's new and old layouts (with and without dots written as underscores) and Hugging Face's."""
    folder = copy_to(tmp_path / place)
    assert find_model(repo_id, [tmp_path / "nothing here", tmp_path]) == folder


def test_the_first_complete_copy_is_used(tmp_path):
    """The order of the roots decides among whole copies; a copy that is not whole is passed over."""
    roots = [tmp_path / name for name in ("a", "b", "c")]
    folders = [copy_to(root / REPO) for root in roots]
    assert find_model(REPO, roots) == folders[0]
    (folders[0] / "vae" / "config.json").unlink()
    assert find_model(REPO, roots) == folders[1]


def test_the_snapshot_of_the_branch_comes_first(tmp_path):
    """Among several snapshots the one `refs/main` points to is taken; without it, the newest."""
    snapshots = {name: copy_to(tmp_path / HF / "snapshots" / name) for name in ("aaa", "bbb", "ccc")}
    for age, name in enumerate(("bbb", "aaa", "ccc")):
        os.utime(snapshots[name], (1e9 - age, 1e9 - age))
    assert list(copies(REPO, [tmp_path])) == [snapshots["bbb"], snapshots["aaa"], snapshots["ccc"]]
    (tmp_path / HF / "refs").mkdir()
    (tmp_path / HF / "refs" / "main").write_text("ccc\n")
    assert find_model(REPO, [tmp_path]) == snapshots["ccc"]


def test_what_lies_beside_the_snapshots_hides_no_copy(tmp_path):
    """Links to nothing, links in a circle, hidden folders and files among the snapshots are passed over."""
    snapshots = tmp_path / HF / "snapshots"
    whole = copy_to(snapshots / "0123abcd")
    (snapshots / "gone").symlink_to("nowhere")
    (snapshots / "circle").symlink_to("circle")
    (snapshots / "Thumbs.db").touch()
    (snapshots / ".ipynb_checkpoints").mkdir()
    assert list(copies(REPO, [tmp_path])) == [whole]


def test_a_symlinked_root_of_symlinked_files_is_used_where_it_lies(tmp_path):
    """A team's shared cache behind a link, with Hugging Face's links to blobs inside, needs no copy."""
    snapshot = copy_to(tmp_path / "shared" / HF / "snapshots" / "0123abcd")
    blobs = tmp_path / "shared" / HF / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    assert find_model(REPO, [tmp_path / "link"]) == tmp_path / "link" / HF / "snapshots" / "0123abcd"


def test_searching_writes_nothing(tmp_path):
    """A read-only root is as good as any: neither finding nor checking leaves a file."""
    copy_to(tmp_path / REPO)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    find_model(REPO, [tmp_path])
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_model_that_is_nowhere_is_missing(tmp_path):
    """The message names the model, every place searched, and both remedies."""
    with pytest.raises(ModelMissing) as caught:
        find_model(REPO, [tmp_path / "a", tmp_path / "b"])
    for part in (REPO, str(tmp_path / "a"), str(tmp_path / "b"), "zimage model download", "--model PATH"):
        assert part in str(caught.value)


def test_of_incomplete_copies_the_first_is_named(tmp_path):
    """With no whole copy the error says what the first one lacks, rather than that there is none."""
    for name in ("a", "b"):
        (copy_to(tmp_path / name / REPO) / "vae" / "config.json").unlink()
    with pytest.raises(ModelCorrupt, match=r"config\.json is missing") as caught:
        find_model(REPO, [tmp_path / "a", tmp_path / "b"])
    assert str(tmp_path / "a") in str(caught.value)


def test_a_path_that_is_no_folder_is_missing(tmp_path):
    """A wrong --model PATH is reported as a missing folder."""
    with pytest.raises(ModelMissing, match="there is no folder"):
        check_folder(tmp_path / "nowhere")


def test_the_embedded_model_is_whole():
    """The package ships every file of its demo model."""
    check_folder(demo_folder())


def test_a_sharded_model_is_whole(model):
    """Weights in several files, as the real model has them, are as good as one file."""
    shard(model / "transformer", "diffusion_pytorch_model")
    shard(model / "text_encoder", "model")
    check_folder(model)


def test_of_a_single_file_and_an_index_the_one_that_is_loaded_counts(model):
    """With both in one folder, transformers reads the single file, and diffusers the files that the index names."""
    for part, stem in (("text_encoder", "model"), ("transformer", "diffusion_pytorch_model")):
        index = {"weight_map": {"a": "lost.safetensors"}}
        (model / part / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    assert [problem.file for problem in file_problems(model)] == [model / "transformer" / "lost.safetensors"]


def test_a_vocabulary_in_two_files_is_whole(model):
    """The older form of the tokenizer is accepted."""
    (model / "tokenizer" / "tokenizer.json").rename(model / "tokenizer" / "vocab.json")
    (model / "tokenizer" / "merges.txt").write_text("")
    check_folder(model)


NEEDED = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]


SPLIT = [
    "z_image_turbo_bf16.safetensors",
    "diffusion_models/z_image_turbo_bf16.safetensors",
    "unet/z_image_turbo-Q4_K_M.gguf",
    "models/text_encoders/qwen_3_4b.safetensors",
    "split_files/vae/ae.safetensors",
    "vae/ae.safetensors",
    "checkpoints/old.ckpt",
]


@pytest.mark.parametrize("name", SPLIT)
def test_a_folder_of_single_files_is_called_one(tmp_path, name):
    """ComfyUI's folders, and a hub's repository for them: the line names a file, and what a whole model is."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ModelCorrupt, match=r"single files such as .*model_index\.json beside transformer") as caught:
        check_folder(tmp_path)
    assert name in str(caught.value)
    assert "zimage model download" not in str(caught.value)


def test_a_folder_above_or_below_the_model_s_is_answered_with_it(tmp_path):
    """One component, a folder of models, and a repository in Hugging Face's layout."""
    model = copy_to(tmp_path / HF / "snapshots" / "0123abcd")
    for named in (model / "vae", model.parent, model.parents[1]):
        with pytest.raises(ModelCorrupt, match=f"--model {model}$"):
            check_folder(named)


def test_a_copy_without_its_index_is_incomplete(tmp_path):
    """A download that stopped before the index came is fetched again, and not taken for single files."""
    for name in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(ModelCorrupt, match=r"model_index\.json is missing; fetch"):
        check_folder(tmp_path)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_is_named(model, name):
    """Each file a pipeline needs, when missing, is named with the remedy, before anything is loaded."""
    (model / name).unlink()
    with pytest.raises(ModelCorrupt, match=r"is missing; fetch the model again") as caught:
        check_folder(model)
    assert str(model / name) in str(caught.value)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_cut_off_file_is_named(model, name, keep):
    """A download that stopped half-way, or an empty file, is found without reading gigabytes."""
    path = model / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ModelCorrupt, match="fetch the model again") as caught:
        check_folder(model)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", [name for name in NEEDED if name.endswith(".json")])
def test_a_file_saved_by_an_editor_of_windows_is_named(model, name, encoding):
    """The libraries read plain UTF-8 alone, and would fail while loading: the message says how to save the file."""
    path = model / name
    path.write_bytes(path.read_text("utf-8").encode(encoding))
    with pytest.raises(ModelCorrupt, match="save it as UTF-8 without a byte-order mark") as caught:
        check_folder(model)
    assert str(path) in str(caught.value)


def test_a_weight_file_one_byte_short_is_named(model):
    """The header accounts for every byte."""
    path = model / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelCorrupt, match=r"is cut off: \d+ of \d+ bytes"):
        check_folder(model)


@pytest.mark.parametrize("text", ['{"weight_map": {"a"', '{"weight_map": {}}', '{"weight_map": []}', "[]", "{}"])
def test_a_damaged_shard_index_is_named(model, text):
    """An index that is cut off, or lists nothing, is no index."""
    index = shard(model / "transformer", "diffusion_pytorch_model")
    index.write_text(text)
    with pytest.raises(ModelCorrupt) as caught:
        check_folder(model)
    assert str(index) in str(caught.value)


def test_a_missing_shard_is_named(model):
    """Every file the index lists must be there."""
    index = shard(model / "transformer", "diffusion_pytorch_model")
    lost = index.parent / "diffusion_pytorch_model-00002-of-00002.safetensors"
    lost.unlink()
    with pytest.raises(ModelCorrupt, match="is missing") as caught:
        check_folder(model)
    assert str(lost) in str(caught.value)


def test_a_pickle_is_refused(model):
    """Weights as a pickle are never opened: the message says why, and what to get."""
    weights = model / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelCorrupt, match=r"diffusion_pytorch_model\.bin.*pickle can run code.*safetensors"):
        check_folder(model)


def test_another_kind_of_pipeline_is_refused(model):
    """A folder of another kind of model is refused with its name."""
    index = model / "model_index.json"
    index.write_text(index.read_text().replace("ZImagePipeline", "FluxPipeline"))
    with pytest.raises(ModelCorrupt, match="describes a FluxPipeline"):
        check_folder(model)


@pytest.mark.parametrize("source", [["my_own_code", "Transformer"], [None, None], [], "diffusers"])
def test_a_component_from_elsewhere_is_refused(model, source):
    """A component that is missing, or that would run the folder's own code, is named with the rule."""
    index = model / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"transformer": source}))
    with pytest.raises(ModelCorrupt, match=r"takes its transformer from .*diffusers, transformers"):
        components(model)


def refuse(monkeypatch, name, place):
    """Make the system refuse *place*: permission bits have no effect for root."""
    real = getattr(Path, name)

    def refusing(path, *args, **options):
        if path.is_relative_to(place):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, name, refusing)


def test_a_root_that_may_not_be_entered_is_passed_over(tmp_path, monkeypatch):
    """An unreadable cache of another user does not prevent finding a copy elsewhere."""
    copy_to(tmp_path / "theirs" / REPO)
    mine = copy_to(tmp_path / "mine" / REPO)
    refuse(monkeypatch, "is_dir", tmp_path / "theirs")
    assert find_model(REPO, [tmp_path / "theirs", tmp_path / "mine"]) == mine


@pytest.mark.parametrize("way", ["read_bytes", "exists"])
def test_a_copy_that_may_not_be_read_is_reported(model, monkeypatch, way):
    """The line names the file, the system's reason, and what to check; fetching again is not advised."""
    refuse(monkeypatch, way, model / "vae")
    with pytest.raises(ModelCorrupt, match=r"vae.* cannot be read \(Permission denied\); check its permissions"):
        check_folder(model)
    assert {str(finding.problem) for finding in file_problems(model)} == {"unreadable"}


def test_a_folder_whose_index_may_not_be_looked_at_is_reported(model, monkeypatch):
    """Both checks name it, and neither takes the index for missing."""
    refuse(monkeypatch, "exists", model / "model_index.json")
    with pytest.raises(ModelCorrupt, match=r"model_index\.json cannot be read \(Permission denied\)"):
        check_folder(model)
    assert [str(finding.problem) for finding in file_problems(model)] == ["unreadable"]
