"""`python app.py` in a process of its own: what it says when it cannot start, when it listens, and how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from zimage_cache.models.store import demo_folder

ROOT = Path(__file__).resolve().parents[2]


def command(*flags: str, workspace: Path) -> list[str]:
    return [sys.executable, "app.py", "--workspace", str(workspace), "--device", "cpu", *flags]


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_")} | more


def refusal(*flags: str, workspace: Path, **variables: str) -> str:
    """Start it, see it fail as promised, and give its one line."""
    ended = subprocess.run(
        command(*flags, workspace=workspace),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    return line


def test_a_port_that_is_taken(tmp_path):
    """A port in use is an error at once, with the remedy; the other program keeps it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal("--port", port, "--model", "demo", workspace=tmp_path)
    assert "--port" in line
    assert port in line
    assert "another" in line


def test_a_workspace_that_cannot_be_written(tmp_path):
    """The folder, why, and what to do."""
    (tmp_path / "file").touch()
    line = refusal("--port", "0", "--model", "demo", workspace=tmp_path / "file" / "deeper")
    assert str(tmp_path / "file" / "deeper") in line
    assert "--workspace" in line


def test_a_model_folder_that_is_not_whole(tmp_path):
    """The file that is missing is named."""
    folder = shutil.copytree(demo_folder(), tmp_path / "model")
    victim = next(folder.rglob("*.safetensors"))
    victim.unlink()
    assert victim.name in refusal("--port", "0", "--model", str(folder), workspace=tmp_path / "ws")


def test_the_large_model_without_cuda(tmp_path):
    """Turbo on a machine without CUDA is refused unless the CPU is insisted on: a picture would take hours."""
    line = refusal("--port", "0", "--model", "turbo", "--device", "auto", workspace=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert "CUDA" in line
    assert "--device cpu" in line


@pytest.mark.parametrize(
    ("flags", "variables", "named"),
    [
        (("--port", "80x"), {}, "--port"),
        (("--cache-max-bytes", "ten"), {}, "--cache-max-bytes"),
        ((), {"ZIMAGE_OFFLINE": "maybe"}, "ZIMAGE_OFFLINE"),
        ((), {"DISABLE_CACHE": "perhaps"}, "DISABLE_CACHE"),
    ],
)
def test_a_setting_that_breaks_a_rule(tmp_path, flags, variables, named):
    """Where it was set, whether as a flag or in the environment, the rule, and the value got."""
    line = refusal(*flags, workspace=tmp_path, **variables)
    assert named in line
    assert (flags[1] if flags else next(iter(variables.values()))) in line


@pytest.fixture
def server(tmp_path):
    """A running server with the demo model; ended by force if the test did not."""
    process = subprocess.Popen(
        command("--port", "0", "--model", "demo", workspace=tmp_path),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_from_the_first_line_to_the_last(server):
    """It says where it listens, answers there while the model loads, and SIGTERM ends it while a browser is there."""
    line = server.stdout.readline()
    match = re.fullmatch(r"Running on local URL: (http://127\.0\.0\.1:\d+)\n", line)
    assert match, line
    with httpx.Client(base_url=match[1], timeout=60) as client:
        assert client.get("/health").json()["status"] in {"loading", "healthy"}
        assert client.get("/").status_code == 200
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=60)
    assert server.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in err
    assert out == ""


def test_streams_report_that_the_server_stops(server):
    """SIGTERM ends jobs before anything is waited for: an open stream gets its last message, and nothing breaks off."""
    url = server.stdout.readline().partition(": ")[2].strip()
    with httpx.Client(base_url=url, timeout=60) as client:
        body = {"prompt": "never to be finished", "width": 512, "height": 512, "steps": 50, "n": 8}
        job = client.post("/jobs", json=body).raise_for_status().json()
        with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            server.send_signal(signal.SIGTERM)
            told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        _, err = server.communicate(timeout=60)
    assert (told[-1]["state"], told[-1]["error"]["message"]) == ("cancelled", "the server is stopping")
    assert "Traceback" not in err
