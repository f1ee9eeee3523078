"""`python app.py` with variables set for other programs: it starts and draws, or one line names the variable."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories import present
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
# A user who is a number alone: Python imports this module at its start.
NO_USER = """
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
"""
FOREIGN = {
    "ALL_PROXY": "socks5://127.0.0.1:7890",
    "all_proxy": "socks://127.0.0.1:7890/",
    "HTTP_PROXY": "127.0.0.1:7890",
    "https_proxy": "http://127.0.0.1:not-a-port",
    "NO_PROXY": "localhost,[::1]",
    "no_proxy": "localhost,fe80::/10,::1/128",
    "SSL_CERT_FILE": "/nowhere/ca.pem",
    "SSLKEYLOGFILE": "/nowhere/keys.log",
    "GRADIO_SERVER_PORT": "auto",
    "GRADIO_NUM_PORTS": "many",
    "GRADIO_TEMP_DIR": "/proc/nowhere",
    "GRADIO_ROOT_PATH": "/elsewhere",
    "GRADIO_ANALYTICS_MAX_EVENTS": "all",
    "GRADIO_DEFAULT_CONCURRENCY_LIMIT": "none at all",
    "WEB_CONCURRENCY": "auto",
    "HF_HOME": "/proc/nowhere",
    "MODELSCOPE_CACHE": "/proc/nowhere",
    "HF_HUB_CACHE": "",
    "TMPDIR": "/nowhere",
    "MPLCONFIGDIR": "/proc/nowhere",
    "OMP_NUM_THREADS": "all",
    "TRANSFORMERS_VERBOSITY": "loud",
    "LANG": "xx_XX.unknown",
    "LC_ALL": "xx_XX.unknown",
    "COLUMNS": "wide",
}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment without a home and a user, and with *more*."""
    (folder / "sitecustomize.py").write_text(NO_USER)
    dropped = ("ZIMAGE_", "HOME", "USER", "LOGNAME", "LNAME", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))} | more


def test_it_starts_and_draws_whatever_is_set(tmp_path):
    """Proxies it cannot use, variables of other Gradio programs, missing files, no home, no user: a picture comes."""
    workspace = tmp_path / "w"
    command = [sys.executable, "app.py", "--model", "demo", "--device", "cpu", "--port", "0"]
    with subprocess.Popen(
        [*command, "--workspace", str(workspace)],
        cwd=ROOT,
        env=environment(tmp_path, **FOREIGN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            url = present(server.stdout).readline().removeprefix("Running on local URL: ").strip()
            assert url.startswith("http://127.0.0.1:"), server.communicate()
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                wait_until(lambda: client.get("/health").json()["status"] == "healthy")
                body = {"prompt": "a red circle", "seed": 5, "width": 64, "height": 64, "steps": 1}
                assert client.post("/generate", json=body).json()["images"][0]["source"] == "generated"
                assert "/elsewhere" not in client.get("/").text
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=60)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ((), {}, "--workspace"),
        (("--workspace", "~/w"), {}, "--workspace"),
        (("--workspace", "WORKSPACE"), {"HF_HUB_ETAG_TIMEOUT": "soon"}, "HF_HUB_ETAG_TIMEOUT"),
        (("--workspace", "WORKSPACE"), {"ZIMAGE_CACHE_DIR": "~/c"}, "ZIMAGE_CACHE_DIR"),
        (("--workspace", "FILE"), {}, "--workspace"),
        ((), {"HOME": "/proc/nowhere"}, "--workspace"),
    ],
)
def test_what_stops_it_is_one_line(tmp_path, arguments, variables, named):
    """A home that is needed and missing or not writable, a workspace that is a file, a value no library understands."""
    (tmp_path / "file").touch()
    places = {"WORKSPACE": str(tmp_path / "w"), "FILE": str(tmp_path / "file")}
    command = [sys.executable, "app.py", "--model", "demo", "--device", "cpu", "--port", "0"]
    ended = subprocess.run(
        [*command, *(places.get(word, word) for word in arguments)],
        cwd=ROOT,
        env=environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"zimage: {named}: ")
