"""`zimage model …`, against a fake hub: exit statuses, words, JSON, and what it does to the disk."""

import json
import os
import shutil
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from zimage_cache.cli import models as cli_model
from zimage_cache.cli import reached
from zimage_cache.cli.client import Client
from zimage_cache.cli.main import main
from zimage_cache.models.store import demo_folder
from zimage_cache.settings import Settings

VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path) -> Path:
    """A machine with no model and no settings: nothing of this one's is found or changed."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ZIMAGE_{name.upper()}", raising=False)
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "OMP_WAIT_POLICY", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZIMAGE_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(bare, serving, monkeypatch):
    folder = bare / "offered"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    with serving(folder) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("MODELSCOPE_DOWNLOAD_MAX_RETRIES", "0")
        yield hub


def zimage(*arguments: str) -> Result:
    os.environ.pop("HF_HUB_OFFLINE", None)  # what an earlier `--offline` in this process left
    return CliRunner().invoke(main, ["model", *arguments])


def document(*arguments: str, status: int = 0) -> dict:
    result = zimage(*arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_model_s_life(hub, repo, bare, source):
    """Missing, fetched, found, verified, damaged, named, repaired, removed: each command reports the state."""
    flags = ["--source", source]
    assert zimage("path", repo).exit_code == 1
    folder = Path(document("download", repo, *flags)["folder"])
    assert document("path", repo)["folder"] == str(folder)
    assert folder.is_relative_to(bare / "w" / "model_cache")
    listed = {each["name"]: each["state"] for each in document("list", "--model", repo)["models"]}
    assert listed == {"turbo": "missing", "base": "missing", "demo": "complete", repo: "complete"}
    told = document("verify", repo, "--offline")
    assert told["findings"] == []
    assert "manifest" in told["compared_with"]

    weights = (folder / VAE).resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    (folder / "model_index.json").unlink()
    found = document("verify", repo, "--offline", status=1)["findings"]
    assert {each["file"]: each["problem"] for each in found} == {"model_index.json": "missing", VAE: "corrupt"}
    words = zimage("verify", repo, "--offline")
    assert (words.exit_code, len(words.stdout.splitlines())) == (1, 2)

    hub.asked.clear()
    mended = document("verify", repo, "--repair", *flags)
    assert (mended["findings"], len(mended["repaired"])) == ([], 2)
    assert {asked.partition("@")[0] for asked in hub.asked} <= {"model_index.json", VAE}

    assert document("remove", repo, "--yes")["bytes"] > 8_000_000
    assert zimage("path", repo).exit_code == 1
    assert not list((bare / "w" / "model_cache").rglob("*.safetensors"))


def test_a_copy_without_a_manifest_is_compared_with_the_hub(hub, repo, bare):
    """A copy that another program downloaded is verified against the hub's list; offline, against its own indexes."""
    shared = bare / "home" / ".cache" / "modelscope" / "models" / repo.replace("/", "--") / "snapshots" / "master"
    shutil.copytree(hub.folder, shared)
    weights = shared / VAE
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    told = document("verify", repo, status=1)
    assert (told["compared_with"], [each["file"] for each in told["findings"]]) == ("what the hub lists", [VAE])
    assert document("verify", repo, "--offline")["compared_with"] == "its own indexes"


def test_a_copy_that_is_not_ours_is_never_removed(repo, bare):
    """Only the folder this program downloads into is its own."""
    shared = bare / "home" / ".cache" / "huggingface" / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / "1"
    shutil.copytree(demo_folder(), shared)
    result = zimage("remove", repo, "--yes")
    assert (result.exit_code, "nothing to remove" in result.stderr) == (1, True)
    assert document("path", repo)["folder"] == str(shared)


def test_removing_asks_first(hub, repo):
    """Thirty gigabytes are not deleted by a slip of the finger."""
    folder = Path(document("download", repo)["folder"])
    assert zimage("remove", repo).exit_code == 1
    assert folder.exists()
    assert hub.asked


def test_a_complete_copy_is_not_fetched_again(hub, repo, bare):
    """`download` with a complete copy anywhere on the disk returns at once, without the network."""
    shared = bare / "team" / "models" / repo.replace(".", "___")
    shutil.copytree(hub.folder, shared)
    os.environ["MODELSCOPE_CACHE"] = str(bare / "team")
    assert document("download", repo, "--model-cache", str(bare / "mine"))["folder"] == str(shared)
    assert hub.asked == []


def test_offline_downloads_nothing(hub, repo):
    """`--offline` is an order."""
    result = zimage("download", repo, "--offline")
    assert (result.exit_code, "--offline" in result.stderr) == (2, True)
    assert hub.asked == []


def test_an_unknown_id_is_one_line(hub):
    """404 from both hubs: one line, status 1."""
    result = zimage("download", "no-one/nothing")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "modelscope: " in result.stderr
    assert "huggingface: " in result.stderr
    assert hub.bytes_sent == 0


def test_a_folder_of_one_s_own_is_verified_but_not_mended(bare):
    """A folder that came from no hub can be checked, but not repaired."""
    folder = bare / "mine"
    shutil.copytree(demo_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    assert document("verify", str(folder))["findings"] == []
    (folder / VAE).write_bytes((folder / VAE).read_bytes()[:-9])
    assert document("verify", str(folder), status=1)["findings"][0]["problem"] == "truncated"
    result = zimage("verify", str(folder), "--repair")
    assert (result.exit_code, "replace it by hand" in result.stderr) == (1, True)
    assert zimage("remove", str(folder), "--yes").exit_code == 2


class Server:
    """A server with one model, which takes a while to load."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.states = ["loading", "loading", "healthy"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.url.path.startswith("/models/other"):
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "no such model here"}})
        status = "sleeping" if request.url.path.endswith("/unload") else self.states.pop(0)
        state = {"name": "turbo", "status": status, "phase": "loading weights", "share": 0.5, "detail": "too small"}
        return httpx.Response(200, json={"models": [state]} if request.method == "GET" else state)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(cli_model, "_POLL_SECONDS", 0)
    transport = httpx.MockTransport(server)
    monkeypatch.setattr(reached, "Client", lambda url, **options: Client(url, transport=transport, **options))
    return server


def test_a_server_is_made_to_load_and_waited_for(server):
    """`load` returns when the model is there; `--no-wait` at once."""
    assert document("load", "turbo")["status"] == "healthy"
    assert server.asked == ["POST /models/turbo/load", "GET /models", "GET /models"]
    server.states = ["loading"]
    assert document("load", "turbo", "--no-wait")["status"] == "loading"


def test_a_load_that_fails_is_status_1_with_its_remedy(server):
    """The server's own words."""
    server.states = ["loading", "error"]
    result = zimage("load", "turbo")
    assert (result.exit_code, result.stderr) == (1, "zimage: too small\n")


def test_a_server_is_made_to_unload(server):
    """And says that the model sleeps."""
    assert document("unload", "turbo")["status"] == "sleeping"
    assert server.asked == ["POST /models/turbo/unload"]
    result = zimage("unload", "other")
    assert (result.exit_code, result.stderr) == (1, "zimage: no such model here\n")
