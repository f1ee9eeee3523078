"""A model's content has one name, computed once."""

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from zimage_cache.errors import Cancelled, ModelCorrupt
from zimage_cache.models.progress import ByteProgress
from zimage_cache.models.revision import content_revision, sha256_of
from zimage_cache.models.store import INDEX, demo_folder


class CountingHash:
    """Hashes, and remembers of which files it was asked; safe from several threads."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> str:
        with self._lock:
            self.names.append(path.name)
        return sha256_of(path)


@pytest.fixture
def model(tmp_path):
    return copy_to(tmp_path / "model")


@pytest.fixture
def memo(tmp_path):
    return tmp_path / "memos" / "hashes.json"


def copy_to(folder: Path) -> Path:
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_revision_is_the_hash_of_the_manifest(model, memo):
    """One line a file, "<sha256>  <relative path>", sorted by path: it can be computed with shell commands."""
    paths = ["model_index.json", *(f"{d.name}/{f.name}" for d in model.iterdir() if d.is_dir() for f in d.iterdir())]
    manifest = "".join(f"{hashlib.sha256((model / p).read_bytes()).hexdigest()}  {p}\n" for p in sorted(paths))
    assert content_revision(model, memo) == hashlib.sha256(manifest.encode()).hexdigest()


def test_two_copies_share_a_revision(model, memo, tmp_path):
    """The same weights from either hub have one name: where they lie, and what lies beside them, is left out."""
    other = copy_to(tmp_path / "hub" / "models--a--b" / "snapshots" / "0123")
    (other / "README.md").write_text("another card")
    (other / "configuration.json").write_text("{}")
    (other / ".msc").write_text("bookkeeping")
    (other / "vae" / ".gitattributes").write_text("bookkeeping")
    (other / "assets").mkdir()
    (other / "assets" / "sample.png").write_bytes(b"png")
    assert content_revision(other, memo) == content_revision(model, memo)


def test_the_demo_s_revision_stays(memo):
    """Keys of pictures that are stored today begin with this revision."""
    expected = "174f546868a0d0e54970a78c3ec320a532db13155c5cf7d5de1878ab576ddb47"
    assert content_revision(demo_folder(), memo) == expected


LEFT_BEHIND = [
    "transformer/Thumbs.db",
    "text_encoder/desktop.ini",
    "transformer/config.json:Zone.Identifier",
    "transformer/diffusion_pytorch_model.safetensors:com.apple.quarantine:$DATA.json",
    "vae/.DS_Store",
    "vae/._config.json",
    "transformer/._diffusion_pytorch_model.safetensors",
    "transformer/README.md",
    "transformer/.gitattributes",
    "tokenizer/.lock",
    "tokenizer/.~lock.tokenizer.json",
    "tokenizer/~$config.json",
    "tokenizer/tokenizer.json~",
    "tokenizer/#tokenizer.json#",
    "transformer/config.json.lock",
    "transformer/config.json.metadata",
    "transformer/diffusion_pytorch_model.safetensors.incomplete",
    "transformer/diffusion_pytorch_model.safetensors.aria2",
    "transformer/diffusion_pytorch_model.safetensors.crdownload",
    "transformer/diffusion_pytorch_model.bin",
    "scheduler/.ipynb_checkpoints/scheduler_config-checkpoint.json",
    "scheduler/.cache/huggingface/download/scheduler_config.json",
    "transformer/@eaDir/config.json@SynoEAStream",
    "transformer/backup/config.json",
    "transformer/backup/diffusion_pytorch_model.safetensors",
    "tokenizer/additional_chat_templates/~$rag.jinja",
    ".mdl",
    ".msc",
    ".mv",
    "._____temp/transformer/config.json",
    "configuration.json",
    "assets/notes.txt",
    "__MACOSX/transformer/config.json",
]


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_other_programs_leave_changes_nothing(model, memo, name):
    """File managers, editors, archivers, synchronisers and the hubs' clients put files beside the weights."""
    before = content_revision(model, memo)
    path = model / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left here")
    assert content_revision(model, memo) == before


@pytest.mark.parametrize("target", ["self", ".", "..", "nowhere"])
def test_links_that_lead_nowhere_or_around_change_nothing(model, memo, target):
    """A link to itself, to its own folder, to the one above, and to nothing, under a name that would be read."""
    before = content_revision(model, memo)
    link = model / "transformer" / "extra.json"
    link.symlink_to(link if target == "self" else target)
    assert content_revision(model, memo) == before


READ = [
    "transformer/diffusion_pytorch_model.fp16.safetensors",
    "transformer/DIFFUSION_PYTORCH_MODEL.SAFETENSORS",
    "text_encoder/generation_config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.model",
    "tokenizer/additional_chat_templates/rag.jinja",
]


@pytest.mark.parametrize("name", READ)
def test_what_a_loader_can_read_changes_the_revision(model, memo, name):
    """Variants, upper case (the same file on some file systems), vocabularies, and templates of the tokenizer."""
    before = content_revision(model, memo)
    path = model / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("read")
    assert content_revision(model, memo) != before


@pytest.mark.parametrize(("part", "stem"), [("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")])
def test_weights_below_a_subfolder_belong_to_the_content(model, memo, part, stem):
    """An index may name weights in a subfolder: a swap of one is another model."""
    single = model / part / f"{stem}.safetensors"
    (model / part / "parts").mkdir()
    shard = single.rename(model / part / "parts" / ".first.safetensors")
    index = {"weight_map": {"a": "parts/.first.safetensors"}}
    (model / part / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    before = content_revision(model, memo)
    flip_a_bit(shard)
    assert content_revision(model, memo) != before


def test_a_component_that_is_gone_is_named(model, memo):
    """A folder removed under a running server is a model error, not another exception."""
    shutil.rmtree(model / "scheduler")
    with pytest.raises(ModelCorrupt, match="scheduler"):
        content_revision(model, memo)


def test_linked_files_have_their_content_s_revision(model, memo, tmp_path):
    """Hugging Face's links to blobs are followed; the names are those in the folder."""
    linked = tmp_path / "linked"
    for path in [path for path in model.rglob("*") if path.is_file()]:
        place = linked / path.relative_to(model)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    assert content_revision(linked, memo) == content_revision(model, memo)


@pytest.mark.parametrize(
    "name", ["vae/diffusion_pytorch_model.safetensors", "tokenizer/chat_template.jinja", "model_index.json"]
)
def test_a_swapped_file_changes_the_revision(model, memo, name):
    """One bit in any file of the model is another model, though path, size and inode stay."""
    before = content_revision(model, memo)
    path = model / name
    if path.suffix == ".json":
        path.write_text(path.read_text() + " ")
    else:
        flip_a_bit(path)
    assert content_revision(model, memo) != before


def test_a_renamed_file_changes_the_revision(model, memo):
    """Names belong to the content."""
    before = content_revision(model, memo)
    (model / "tokenizer" / "chat_template.jinja").rename(model / "tokenizer" / "template.jinja")
    assert content_revision(model, memo) != before


def test_files_are_hashed_once(model, memo):
    """The second start reads nothing but the memo; a touched file alone is hashed again."""
    count = CountingHash()
    first = content_revision(model, memo, count)
    assert len(count.names) == len([path for path in model.rglob("*") if path.is_file() and path.parent != model]) + 1
    count.names.clear()
    assert content_revision(model, memo, count) == first
    assert count.names == []
    flip_a_bit(model / "vae" / "diffusion_pytorch_model.safetensors")
    content_revision(model, memo, count)
    assert count.names == ["diffusion_pytorch_model.safetensors"]


def test_models_share_a_memo(model, memo, tmp_path):
    """Learning another model's hashes forgets none of the first's."""
    count = CountingHash()
    content_revision(model, memo, count)
    content_revision(copy_to(tmp_path / "other"), memo, count)
    count.names.clear()
    content_revision(model, memo, count)
    assert count.names == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"PATH": 1}', b'{"PATH": [[1, 2, 3], "ab"]}', b'{"PATH": [[1], []]}'],
)
def test_a_damaged_memo_costs_hashing_again(model, memo, damage):
    """Whatever the memo holds, the revision is right, and the next start remembers again."""
    expected = content_revision(model, memo)
    memo.write_bytes(damage.replace(b"PATH", str(model / "model_index.json").encode()))
    count = CountingHash()
    assert content_revision(model, memo, count) == expected
    assert count.names != []
    count.names.clear()
    assert content_revision(model, memo, count) == expected
    assert count.names == []


def test_a_memo_that_cannot_be_written_is_one_warning(model, tmp_path, caplog):
    """Hashes are a convenience: the revision is right without a place to remember it."""
    (tmp_path / "file").write_text("in the way")
    memo = tmp_path / "file" / "hashes.json"
    assert content_revision(model, memo) == content_revision(model, tmp_path / "hashes.json")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_memo_is_replaced_whole(model, memo):
    """No half-written memo and no leftover beside it."""
    content_revision(model, memo)
    assert [path.name for path in memo.parent.iterdir()] == ["hashes.json"]
    assert all(len(entry) == 2 for entry in json.loads(memo.read_text()).values())


def test_an_unreadable_file_is_named(model, memo):
    """A file deleted while it is hashed is a model error that names it, not another exception."""

    def vanish(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    with pytest.raises(ModelCorrupt, match=r"cannot read .*No such file"):
        content_revision(model, memo, vanish)


def test_what_was_hashed_before_it_was_stopped_is_remembered(model, memo):
    """Stopped half-way, the next time reads only the rest."""
    files = [path for path in model.rglob("*") if path.is_file() and (path.parent != model or path.name == INDEX)]
    last = max(files, key=lambda path: path.stat().st_size)
    through, read = threading.Semaphore(0), []

    def stop_at_the_last(path: Path) -> str:
        if path == last:
            for _ in range(len(files) - 1):
                assert through.acquire(timeout=60)
            raise Cancelled("as_said", text="stopped")
        digest = sha256_of(path)
        through.release()
        return digest

    def count(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    with pytest.raises(Cancelled):
        content_revision(model, memo, stop_at_the_last)
    content_revision(model, memo, count)
    assert read == [last]


def test_hashing_stops_within_a_block(model, memo):
    """Asked after each block: no further one is read once the answer is yes."""
    told: list[ByteProgress] = []
    with pytest.raises(Cancelled):
        content_revision(model, memo, on_progress=told.append, stopped=lambda: len(told) >= 3)
    assert len(told) < 3 + 4  # each of four threads may have called `stopped` before the third report
    assert sum(progress.done > 0 for progress in told) == len(told)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_memo_is_as_open_as_the_user_wants(model, memo, mask, mode):
    """Its permissions are what the umask says: others who share a workspace need not hash again."""
    before = os.umask(mask)
    try:
        content_revision(model, memo)
    finally:
        os.umask(before)
    assert memo.stat().st_mode & 0o777 == mode
    assert [path.name for path in memo.parent.iterdir() if memo.name in path.name] == [memo.name]
