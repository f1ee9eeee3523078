"""Fetching from both hubs by their own clients, against a server with their HTTP interfaces and their failures."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from tests import flockless
from tests.factories import present
from zimage_cache import process_lock
from zimage_cache.errors import Cancelled, ModelMissing, SettingsError
from zimage_cache.i18n.messages import Message
from zimage_cache.models.download import Downloader
from zimage_cache.models.hubs import PATTERNS, SOURCES
from zimage_cache.models.manifest import manifest_path, read_manifest
from zimage_cache.models.progress import ByteProgress
from zimage_cache.models.store import check_folder, copies, demo_folder
from zimage_cache.models.verify import verify
from zimage_cache.process_lock import ProcessLock

BIG = "transformer/diffusion_pytorch_model.safetensors"
SMALL = "vae/config.json"
both = pytest.mark.parametrize("source", list(SOURCES))


class Site:
    """A fake hub for each source, an empty root, and a downloader between them; records the progress reports."""

    def __init__(self, folder: Path, serving, stack: ExitStack, root: Path) -> None:
        self.hub = stack.enter_context(serving(folder))
        self.root = root
        self.told: list[ByteProgress] = []

    def downloader(self, source: str | None = None, **options) -> Downloader:
        environ = {
            **os.environ,
            "MODELSCOPE_ENDPOINT": self.hub.url,
            "HF_ENDPOINT": self.hub.url,
            "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "NO_PROXY": "127.0.0.1",
        } | options.pop("environ", {})
        return Downloader(
            model_cache=self.root,
            source=source,
            on_progress=options.pop("on_progress", self.told.append),
            environ=environ,
            **options,
        )


@pytest.fixture
def site(tmp_path, serving):
    folder = tmp_path / "offered"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with ExitStack() as stack:
        yield Site(folder, serving, stack, tmp_path / "model cache")


@both
def test_a_fresh_download_is_whole(site, repo, source):
    """Every file arrives with its bits, where the hub's own client would look for it; no pickle, no code."""
    folder = site.downloader(source).download(repo)
    check_folder(folder)
    assert verify(folder, present(read_manifest(repo, site.root)).files) == []
    assert list(copies(repo, [site.root])) == [folder]
    assert not [path for path in site.root.rglob("*.bin") if path.is_file()]
    assert not any("pytorch_model.bin" in asked for asked in site.hub.asked)


@both
def test_progress_is_bytes_of_bytes(site, repo, source):
    """Progress reports the bytes on the disk, and ends with the total."""
    site.downloader(source).download(repo)
    fetching = [p for p in site.told if p.phase == Message("fetching")]
    total = sum(site.hub.size(name) for name in site.hub.names() if any(Path(name).match(p) for p in PATTERNS))
    assert (fetching[-1].done, fetching[-1].total, fetching[-1].share) == (total, total, 1.0)
    assert [p.done for p in fetching] == sorted(p.done for p in fetching)
    assert site.told[0].phase == Message("asking_hub", hub=source)


@pytest.mark.parametrize(
    ("source", "answer"),
    [("modelscope", "ENOLCK"), ("modelscope", "ENOSYS"), ("huggingface", "ENOLCK"), ("huggingface", "EOPNOTSUPP")],
)
def test_without_flock(site, repo, monkeypatch, source, answer):
    """On a file system that refuses `flock`, to the hubs' clients too, a model arrives whole; two do not fetch it."""
    flockless.refuse(monkeypatch, answer)
    monkeypatch.setattr(process_lock, "SETTLING_SECONDS", 0.0)
    environ = flockless.environment(site.root.parent / "site", site.root, answer)
    folder = site.downloader(source, environ={"PYTHONPATH": environ["PYTHONPATH"]}).download(repo)
    check_folder(folder)
    lock = ProcessLock(manifest_path(repo, site.root).with_suffix(".lock"))
    assert lock.acquire()
    with pytest.raises(Cancelled):
        site.downloader(source, cancelled=lambda: True).download(repo)
    lock.release()


@both
def test_a_complete_copy_needs_no_network(site, repo, source):
    """The second download is instant: not one request."""
    first = site.downloader(source).download(repo)
    site.hub.asked.clear()
    sent = site.hub.bytes_sent
    assert site.downloader(source, environ={"HF_ENDPOINT": "http://127.0.0.1:1"}).download(repo) == first
    assert (site.hub.asked, site.hub.bytes_sent) == ([], sent)


@both
def test_a_hub_that_breaks_off_in_a_file_is_reported(site, repo, trouble, source):
    """One line says so; the next download fetches nothing again that was finished."""
    site.hub.troubles[BIG] = trouble(cut_at=4_000_000)
    with pytest.raises(ModelMissing, match=source) as caught:
        site.downloader(source).download(repo)
    assert "\n" not in str(caught.value)
    assert "what has arrived is kept" in str(caught.value)
    site.hub.troubles.clear()
    site.hub.asked.clear()
    folder = site.downloader(source).download(repo)
    assert verify(folder, present(read_manifest(repo, site.root)).files) == []
    assert [asked.partition("@")[0] for asked in site.hub.asked] == [BIG]
    # ModelScope's client resumes an interrupted file; Hugging Face's starts that one file again.
    assert (int(site.hub.asked[0].partition("@")[2]) > 0) is (source == "modelscope")


def test_what_a_killed_client_left_is_swept(site, repo):
    """Half files in Hugging Face's layout, which its client never resumes, do not pile up; files in use stay."""
    blobs = site.root / "hub" / f"models--{repo.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    left, used = blobs / "aa.1234.incomplete", blobs / "bb.1234.incomplete"
    for path in (left, used):
        path.write_bytes(b"half")
    lock = site.root / "hub" / ".locks" / blobs.parent.name / "bb.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        site.downloader("huggingface").download(repo)
    assert (left.exists(), used.exists()) == (False, True)


@both
def test_a_damaged_file_is_not_kept(site, repo, trouble, source):
    """Bits that differ from the hub's own hash are found whichever client fetched them, named, and fetched again."""
    site.hub.troubles[BIG] = trouble(flip=True)
    with pytest.raises(ModelMissing, match=r"diffusion_pytorch_model\.safetensors"):
        site.downloader(source).download(repo)
    assert not [p for p in site.root.rglob("diffusion_pytorch_model.safetensors") if "transformer" in str(p)]
    site.hub.troubles.clear()
    folder = site.downloader(source).download(repo)
    assert verify(folder, present(read_manifest(repo, site.root)).files) == []


@both
def test_a_file_the_hub_lacks_is_named(site, repo, source):
    """A repository that is no whole pipeline is not used, and the missing file is named."""
    site.hub.lost.add(SMALL)
    with pytest.raises(ModelMissing, match=r"vae/config\.json is missing"):
        site.downloader(source).download(repo)


@both
def test_an_unknown_id_is_reported(site, source):
    """404 is one line with the id, and leaves nothing behind that looks like a copy."""
    with pytest.raises(ModelMissing, match="no-one/nothing") as caught:
        site.downloader(source).download("no-one/nothing")
    assert "\n" not in str(caught.value)
    assert list(copies("no-one/nothing", [site.root])) == []


def test_the_second_hub_steps_in(site, repo, caplog):
    """ModelScope is asked first; when it does not answer, Hugging Face delivers and the log says why."""
    folder = site.downloader(environ={"MODELSCOPE_ENDPOINT": "http://127.0.0.1:1"}).download(repo)
    assert "models--" in str(folder)
    assert [p.phase.params["hub"] for p in site.told if p.phase.rule == "asking_hub"] == ["modelscope", "huggingface"]
    assert f"modelscope did not deliver {repo}" in caplog.text


def test_without_a_network_every_reason_is_reported(site, repo):
    """One line names the model, each hub, and what to do."""
    nowhere = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:1", "HF_ENDPOINT": "http://127.0.0.1:1"}
    with pytest.raises(ModelMissing) as caught:
        site.downloader(environ=nowhere).download(repo)
    message = str(caught.value)
    assert "\n" not in message
    for part in (repo, "modelscope: ", "huggingface: ", "check the network", "--model PATH"):
        assert part in message


NOWHERE = "http://127.0.0.1:1"


@both
def test_a_good_proxy_is_used(site, repo, source):
    """A hub that only the proxy reaches is fetched from, though a SOCKS proxy is set for all else, as many do."""
    there = {"HF_ENDPOINT": "http://hub.invalid", "MODELSCOPE_ENDPOINT": "http://hub.invalid"}
    proxies = {"http_proxy": site.hub.url, "https_proxy": NOWHERE, "all_proxy": "socks5://127.0.0.1:1"}
    check_folder(site.downloader(source, environ=there | proxies).download(repo))


@both
def test_a_hub_on_this_machine_is_reached_without_a_proxy(site, repo, source):
    """A mirror on this machine is never asked for through a proxy, whatever the user excludes."""
    proxies = {"HTTP_PROXY": NOWHERE, "ALL_PROXY": NOWHERE, "NO_PROXY": "", "no_proxy": "example.com,fe80::/10"}
    check_folder(site.downloader(source, environ=proxies).download(repo))


@both
@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ({"http_proxy": NOWHERE}, "the proxy that http_proxy names: check it"),
        ({"HTTP_PROXY": "http://127.0.0.1:99999"}, "the proxy that HTTP_PROXY names: check it"),
        ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY names a SOCKS proxy"),
        ({"all_proxy": "socks://127.0.0.1:1/"}, "all_proxy names a SOCKS proxy"),
    ],
)
def test_a_bad_proxy_is_named(site, repo, source, proxy, words):
    """The error names the variable, in one line."""
    there = {"HF_ENDPOINT": "http://hub.invalid", "MODELSCOPE_ENDPOINT": "http://hub.invalid"}
    with pytest.raises(ModelMissing, match=words) as caught:
        site.downloader(source, environ=there | proxy).download(repo)
    assert "\n" not in str(caught.value)


@both
def test_a_disk_that_is_too_small_is_reported_before_the_first_byte(site, repo, source):
    """The listing's sizes against what is free: nothing is fetched that cannot fit."""
    site.hub.sizes[BIG] = 10**15
    with pytest.raises(ModelMissing, match=r"too full: .* GiB are still to fetch and .* GiB are free.*--model-cache"):
        site.downloader(source).download(repo)
    assert site.hub.bytes_sent == 0


def test_cancelling_ends_the_client_and_keeps_what_arrived(site, repo, trouble):
    """A server that stops does not wait for the download: the client is ended within one tick."""
    site.hub.troubles[BIG] = trouble(hold=True)
    arrived = threading.Event()

    def on_progress(progress: ByteProgress) -> None:
        if progress.done:
            arrived.set()

    with pytest.raises(Cancelled, match="what has arrived is kept"):
        site.downloader("modelscope", on_progress=on_progress, cancelled=arrived.is_set).download(repo)
    site.hub.let_go.set()
    assert any(path.is_file() for path in (site.root / "models").rglob("*"))


def test_the_client_ends_with_its_parent(site, repo, trouble, tmp_path):
    """A killed server leaves no download running behind its back."""
    site.hub.troubles[BIG] = trouble(hold=True)
    order = {"source": "modelscope", "repo_id": repo, "model_cache": str(tmp_path / "mc"), "only": []}
    environ = {**os.environ, "MODELSCOPE_ENDPOINT": site.hub.url}
    command = [sys.executable, "-m", "zimage_cache.models.hubs", json.dumps(order)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
    ) as child:
        assert b"listing" in present(child.stdout).readline()
        present(child.stdin).close()
        assert child.wait(60) == 1
        site.hub.let_go.set()


def test_others_wait_for_the_one_that_downloads(site, repo):
    """Of two downloads at once, one fetches, the other reports that it waits, and gets the same folder."""
    lock = FileLock(manifest_path(repo, site.root).with_suffix(".lock"), thread_local=False)
    Path(lock.lock_file).parent.mkdir(parents=True)
    waiting = threading.Event()

    def on_progress(progress: ByteProgress) -> None:
        if progress.phase == Message("waiting_for_process"):
            waiting.set()

    found: list[Path] = []
    with lock:
        thread = threading.Thread(
            target=lambda: found.append(site.downloader("modelscope", on_progress=on_progress).download(repo))
        )
        thread.start()
        assert waiting.wait(60)
        shutil.copytree(site.hub.folder, site.root / "models" / repo.replace("/", "--") / "snapshots" / "master")
    thread.join()
    assert list(copies(repo, [site.root])) == found
    assert site.hub.bytes_sent == 0


@both
def test_repair_fetches_only_what_is_damaged(site, repo, source):
    """A flipped bit, a lost and a cut-off file: three files come again, the rest is not touched."""
    downloader = site.downloader(source)
    folder = downloader.download(repo)
    files = present(read_manifest(repo, site.root)).files
    big, vae = (folder / BIG).resolve(), (folder / "vae" / "diffusion_pytorch_model.safetensors").resolve()
    big.write_bytes(big.read_bytes()[:-1] + b"x")
    vae.write_bytes(vae.read_bytes()[:-1000])
    (folder / SMALL).unlink()
    wrong = verify(folder, files)
    assert {f.file.relative_to(folder).as_posix(): str(f.problem) for f in wrong} == {
        BIG: "corrupt",
        SMALL: "missing",
        "vae/diffusion_pytorch_model.safetensors": "truncated",
    }
    site.hub.asked.clear()
    downloader.repair(repo, folder, wrong)
    fetched = {asked.partition("@")[0] for asked in site.hub.asked}
    # Hugging Face's client links a missing name to the blob it still has.
    assert fetched | {SMALL} == {BIG, SMALL, "vae/diffusion_pytorch_model.safetensors"}
    assert verify(folder, files) == []


@both
def test_a_plain_folder_is_repaired_where_it_lies(site, repo, source, tmp_path):
    """A copy in no hub's layout gets its file repaired in place."""
    folder = tmp_path / "my copy"
    shutil.copytree(site.hub.folder, folder, ignore=shutil.ignore_patterns("*.bin"))
    (folder / BIG).unlink()
    downloader = site.downloader(source)
    files = [f for f in downloader.listing(repo) if f.path != "pytorch_model.bin"]
    downloader.repair(repo, folder, verify(folder, files))
    assert verify(folder, files) == []
    assert {asked.partition("@")[0] for asked in site.hub.asked} == {BIG}


def test_a_root_that_cannot_be_written_is_reported(site, repo):
    """One line with the folder and the way out; no request."""
    site.root.write_text("in the way")
    with pytest.raises(ModelMissing, match=r"model cache cannot be written .*--model-cache"):
        site.downloader("modelscope").download(repo)
    assert site.hub.asked == []


def test_an_unknown_source_is_refused(tmp_path):
    """Named with the choices and the value got."""
    with pytest.raises(SettingsError, match="modelscope, huggingface, got 'ftp'"):
        Downloader(model_cache=tmp_path, source="ftp")


def test_modelscope_goes_first():
    """The order of the table is the order of asking."""
    assert list(SOURCES) == ["modelscope", "huggingface"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "pipeline.py", "assets/sample.png"])
def test_no_pickle_and_no_code_is_fetched(name):
    """What can run code when opened never reaches the disk."""
    assert not any(Path(name).match(pattern) for pattern in PATTERNS)
