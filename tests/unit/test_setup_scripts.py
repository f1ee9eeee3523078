"""The shell scripts of the README, in a copy of their own whose path has spaces and an accent.

No network and no real set-up: `python3` is a stand-in that writes down how it was called and, asked for an
environment, makes a folder that looks like one. PATH holds nothing but the stand-ins and the few tools the scripts
may count on, so that a machine's own interpreters and drivers decide nothing here.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
TOOLS = {"awk", "bash", "cat", "chmod", "cmp", "cp", "curl", "df", "dirname", "env", "find", "grep", "head", "id", "ln"}
TOOLS |= {"ls", "mkdir", "mv", "readlink", "rm", "sed", "sleep", "touch"}

PYTHON = r"""#!/usr/bin/env bash
case $1 in
-c)
  case $2 in
    *flock*) exec "$REAL_PYTHON" "$@" ;;
    *ensurepip*) echo VERSION; [ -z "${STUB_BARE:-}" ]; exit ;;
    *:2*) version=VERSION; echo "${version%.*}"; exit ;;
    *) echo VERSION; exit ;;
  esac ;;
-m) echo "$2 $3 ${*:4}" >>"$STUB_LOG" ;;
*) echo "python $*" >>"$STUB_LOG"; exit ;;
esac
case "$2 $3" in
'venv '*)
  version=VERSION
  mkdir -p "$3/bin" "$3/lib/python${version%.*}"
  touch "$3/pyvenv.cfg"
  ln -s "$STUB_PYTHON" "$3/bin/python" ;;
'pip config') printf '%s\n' "${STUB_PIP_CONFIG:-}" ;;
'pip install')
  [ -z "${STUB_SECONDS:-}" ] || sleep "$STUB_SECONDS"
  while [ "$1" != --log ]; do shift; done
  echo "${STUB_PIP_LOG:-}" >>"$2"
  exit "${STUB_PIP_EXIT:-0}" ;;
'pytest '*) echo "browser required: ${ZIMAGE_REQUIRE_BROWSER:-no}"; exit "${STUB_PYTEST_EXIT:-0}" ;;
esac
"""


@dataclass
class Tree:
    """A copy of the project's scripts, and the world they see."""

    root: Path
    bin: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def stand_in(self, name: str, text: str) -> Path:
        """Puts a command of that name on PATH."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def python(self, name: str, version: str) -> Path:
        """Puts an interpreter of that name and version on PATH."""
        return self.stand_in(name, PYTHON.replace("VERSION", version))

    def variables(self, more: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "LC_ALL": "C.UTF-8",
            "OSTYPE": "linux-gnu",
            "HOSTTYPE": "x86_64",
            "STUB_LOG": str(self.log),
            "STUB_PYTHON": str(self.bin / "python3"),
            "REAL_PYTHON": sys.executable,
            **self.environment,
            **more,
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """`bash` with the arguments, from outside the tree, as the leader of a group of its own."""
        return subprocess.Popen(
            [str(self.bin / "bash"), *arguments],
            cwd=self.bin,
            env=self.variables(more),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, **more: str) -> tuple[int, str]:
        """Exit status and everything that the script printed."""
        with self.start(str(self.root / script), *arguments, **more) as process:
            output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def calls(self) -> list[str]:
        """The calls of the stand-in programs since the last read."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def installs(self) -> list[str]:
        return [line for line in self.calls() if line.startswith("pip install")]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "a place with é"
    shutil.copytree(PROJECT / "scripts", root / "scripts")
    shutil.copytree(PROJECT / ".ci", root / ".ci")
    for name in ("pyproject.toml", "constraints.txt", "app.py"):
        (root / name).write_text(f"# {name}\n", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"these tests need {tool}"
        (tmp_path / "bin" / tool).symlink_to(found)
    made = Tree(root, tmp_path / "bin", tmp_path / "calls.log")
    made.python("python3", "3.12.4")
    return made


class TestFindingPython:
    def test_too_old(self, tree: Tree) -> None:
        """An old Python is refused with one line: what is needed, what was found, what to do; nothing is made."""
        tree.python("python3", "3.9.18")

        status, output = tree.run("scripts/start_app.sh")

        assert (status, output.count("\n")) == (2, 1)
        assert "3.11 or newer" in output
        assert "python3 is 3.9.18" in output
        assert "PYTHON=" in output
        assert not (tree.venv / "bin").exists()

    def test_absent(self, tree: Tree) -> None:
        """No Python at all is said as such."""
        (tree.bin / "python3").unlink()

        status, output = tree.run("scripts/start_app.sh")

        assert (status, output.count("\n")) == (2, 1)
        assert "found: none" in output

    def test_next_candidate(self, tree: Tree) -> None:
        """A shim that fails when started counts as absent, an old one is passed over; python3.12 is found behind."""
        tree.stand_in("python3.13", "#!/usr/bin/env bash\necho 'shim: no version set' >&2\nexit 127\n")
        tree.python("python3", "3.10.1")
        tree.environment["STUB_PYTHON"] = str(tree.python("python3.12", "3.12.1"))

        status, _ = tree.run("scripts/start_app.sh")

        assert status == 0
        assert (tree.venv / "bin" / "python").readlink() == tree.bin / "python3.12"

    def test_without_venv(self, tree: Tree) -> None:
        """Debian's Python without its venv package is distinguished from an old one, and the package is named."""
        status, output = tree.run("scripts/start_app.sh", STUB_BARE="1")

        assert (status, output.count("\n")) == (2, 1)
        assert "python3.12-venv" in output

    def test_python_variable_wins(self, tree: Tree, tmp_path: Path) -> None:
        """PYTHON decides, also about an environment that exists; one that does not run is named in the refusal."""
        assert tree.run("scripts/start_app.sh")[0] == 0
        other = tree.python("other python", "3.13.2")

        assert tree.run("scripts/start_app.sh", PYTHON=str(other), STUB_PYTHON=str(other))[0] == 0
        assert (tree.venv / "lib" / "python3.13").is_dir()
        assert not (tree.venv / "lib" / "python3.12").exists()

        status, output = tree.run("scripts/start_app.sh", PYTHON=str(tmp_path / "nowhere"))
        assert status == 2
        assert f"PYTHON={tmp_path / 'nowhere'}" in output

    def test_windows(self, tree: Tree) -> None:
        """Under a Windows shell the way out is named: WSL."""
        status, output = tree.run("scripts/start_app.sh", OSTYPE="msys")

        assert (status, output.count("\n")) == (2, 1)
        assert "WSL" in output


class TestSetUp:
    def test_first_start(self, tree: Tree) -> None:
        """A first start makes the environment, installs under the constraints, and passes the flags to the app."""
        status, output = tree.run("scripts/start_app.sh", "--port", "a b")

        assert status == 0
        assert "To fetch" in output
        venv, _, install, app = tree.calls()
        assert venv.startswith(f"venv {tree.venv}")
        assert install.endswith("--editable . --constraint constraints.txt")
        assert app == f"python {tree.root}/app.py --port a b"

    def test_second_start(self, tree: Tree) -> None:
        """When nothing changed, the app is the only thing that is started, and nothing is announced."""
        tree.run("scripts/start_app.sh")
        tree.calls()

        status, output = tree.run("scripts/start_app.sh")

        assert (status, tree.calls()) == (0, [f"python {tree.root}/app.py"])
        assert output == f"Starting {tree.root}/app.py\n"

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_changed(self, tree: Tree, name: str) -> None:
        """A change of either file is installed once, into the environment that is there."""
        tree.run("scripts/start_app.sh")
        tree.calls()
        (tree.root / name).write_text("# changed\n", encoding="utf-8")

        tree.run("scripts/start_app.sh")
        tree.run("scripts/start_app.sh")

        calls = tree.calls()
        assert len([line for line in calls if line.startswith("pip install")]) == 1
        assert not [line for line in calls if line.startswith("venv")]

    def test_extra(self, tree: Tree) -> None:
        """The test extra is added to what the app needs; the app then finds everything there."""
        tree.run("scripts/start_app.sh")
        tree.calls()

        tree.run("scripts/run_tests.sh")
        assert [line.split("--editable ")[1] for line in tree.installs()] == [".[test] --constraint constraints.txt"]

        tree.run("scripts/start_app.sh")
        tree.run("scripts/run_tests.sh")
        assert tree.installs() == []

    def test_through_a_link(self, tree: Tree, tmp_path: Path) -> None:
        """A chain of links, one of them relative, leads to the same environment."""
        (tree.root / "here").symlink_to("scripts/start_app.sh")
        (tmp_path / "link").symlink_to(tree.root / "here")

        with tree.start(str(tmp_path / "link")) as process:
            process.communicate(timeout=30)

        assert process.returncode == 0
        assert tree.calls()[-1] == f"python {tree.root}/app.py"

    def test_place_of_ones_own(self, tree: Tree, tmp_path: Path) -> None:
        """ZIMAGE_VENV moves the environment, also as a path relative to the current folder."""
        tree.run("scripts/start_app.sh", ZIMAGE_VENV="../else where")

        assert (tmp_path / "else where" / "bin" / "python").exists()
        assert not tree.venv.exists()

    def test_moved_tree(self, tree: Tree, tmp_path: Path) -> None:
        """An environment holds absolute paths: in a tree that was moved or copied it is made again."""
        tree.run("scripts/start_app.sh")
        tree.calls()
        tree.root = tree.root.rename(tmp_path / "moved")

        tree.run("scripts/start_app.sh")

        assert [line.split()[0] for line in tree.calls()] == ["venv", "pip", "pip", "python"]

    def test_interpreter_gone(self, tree: Tree) -> None:
        """When the interpreter behind the environment is gone or replaced, the environment is made again."""
        tree.environment["STUB_PYTHON"] = str(tree.python("python3.11", "3.11.9"))
        tree.run("scripts/start_app.sh")
        (tree.bin / "python3.11").unlink()
        tree.calls()

        status, _ = tree.run("scripts/start_app.sh", STUB_PYTHON=str(tree.bin / "python3"))

        assert status == 0
        assert tree.calls()[0].startswith("venv ")

    def test_foreign_folder(self, tree: Tree, tmp_path: Path) -> None:
        """A folder with other things in it is refused and left as it was: ZIMAGE_VENV may be a mistake."""
        home = tmp_path / "home"
        home.mkdir()
        (home / "letter.txt").write_text("dear", encoding="utf-8")

        status, output = tree.run("scripts/start_app.sh", ZIMAGE_VENV=str(home))

        assert (status, output.count("\n")) == (2, 1)
        assert "ZIMAGE_VENV" in output
        assert [path.name for path in home.iterdir()] == ["letter.txt"]

    def test_environment_made_by_hand(self, tree: Tree) -> None:
        """A .venv that the user made is installed into and never emptied, not even after a failure."""
        (tree.venv / "bin").mkdir(parents=True)
        (tree.venv / "pyvenv.cfg").touch()
        (tree.venv / "bin" / "python").symlink_to(tree.bin / "python3")
        (tree.venv / "theirs").touch()

        assert tree.run("scripts/start_app.sh", STUB_PIP_EXIT="1")[0] == 1
        assert tree.run("scripts/start_app.sh")[0] == 0

        assert not [line for line in tree.calls() if line.startswith("venv")]
        assert (tree.venv / "theirs").exists()

    def test_unsuitable_environment_made_by_hand(self, tree: Tree) -> None:
        """A .venv that the user made with an old Python is refused with a remedy, not replaced."""
        (tree.venv / "bin").mkdir(parents=True)
        (tree.venv / "pyvenv.cfg").touch()
        (tree.venv / "bin" / "python").symlink_to(tree.python("python3.9", "3.9.1"))

        status, output = tree.run("scripts/start_app.sh")

        assert (status, output.count("\n")) == (2, 1)
        assert "Remove it" in output
        assert (tree.venv / "bin" / "python").is_symlink()


class TestTrouble:
    def test_failed_install(self, tree: Tree) -> None:
        """A failed install starts no app and is not taken for a good environment: the next start makes it anew."""
        status, output = tree.run("scripts/start_app.sh", STUB_PIP_EXIT="1")

        assert status == 1
        assert "pip.log" in output.splitlines()[-1]
        assert not [line for line in tree.calls() if line.startswith("python")]

        assert tree.run("scripts/start_app.sh")[0] == 0
        assert [line.split()[0] for line in tree.calls()] == ["venv", "pip", "pip", "python"]

    def test_failed_update(self, tree: Tree) -> None:
        """After a failed update the environment is made anew, even for the very files it once was right for."""
        tree.run("scripts/start_app.sh")
        text = (tree.root / "constraints.txt").read_text(encoding="utf-8")
        (tree.root / "constraints.txt").write_text("# changed\n", encoding="utf-8")
        assert tree.run("scripts/start_app.sh", STUB_PIP_EXIT="1")[0] == 1
        (tree.root / "constraints.txt").write_text(text, encoding="utf-8")
        tree.calls()

        assert tree.run("scripts/start_app.sh")[0] == 0
        assert [line.split()[0] for line in tree.calls()] == ["venv", "pip", "pip", "python"]

    @pytest.mark.parametrize(
        ("log", "words"),
        [
            ("OSError: [Errno 28] No space left on device", "The disk is full"),
            ("NewConnectionError: Failed to establish a new connection", "Check the network"),
            ("ResolutionImpossible", "The set-up failed"),
        ],
    )
    def test_reasons(self, tree: Tree, log: str, words: str) -> None:
        """A full disk and a missing network are recognised in pip's log, and the last line says what to do."""
        _, output = tree.run("scripts/start_app.sh", STUB_PIP_EXIT="1", STUB_PIP_LOG=log)

        assert words in output.splitlines()[-1]
        assert "tart again" in output.splitlines()[-1]

    def test_little_room(self, tree: Tree) -> None:
        """Little free disk is said before anything is fetched, and recognised when pip could not even log it."""
        name = "file system with spaces"
        line = f"Filesystem 1024-blocks Used Available Capacity Mounted on\\n{name} 9000 9000 1000 99%% /a b\\n"
        tree.stand_in("df", f"#!/usr/bin/env bash\nprintf '{line}'\n")

        _, output = tree.run("scripts/start_app.sh", STUB_PIP_EXIT="1")

        assert f"Only 1 MB are free in the file system of {tree.venv}" in output
        assert "The disk is full: 1 MB free" in output.splitlines()[-1]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_interrupted(self, tree: Tree, number: signal.Signals) -> None:
        """Ctrl+C and a kill in the middle of an install leave nothing that the next start would trust or wait for."""
        take_signals = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
        command = f'exec "$REAL_PYTHON" -c "{take_signals}" "$BASH" "$0"'
        script = str(tree.root / "scripts" / "start_app.sh")
        with tree.start("-c", command, script, STUB_SECONDS="20") as process:
            wait_until(lambda: "pip install" in (tree.log.read_text(encoding="utf-8") if tree.log.exists() else ""))
            os.killpg(process.pid, number)
            output, _ = process.communicate(timeout=30)
        tree.calls()

        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert ("Interrupted." in output) == (number == signal.SIGINT)
        assert tree.run("scripts/start_app.sh")[0] == 0
        assert [line.split()[0] for line in tree.calls()] == ["venv", "pip", "pip", "python"]

    def test_two_starts_at_once(self, tree: Tree) -> None:
        """Of several starts on a fresh tree one installs; the others wait for it and then start the app."""
        script = str(tree.root / "scripts" / "start_app.sh")
        starts = [tree.start(script, STUB_SECONDS="0.3") for _ in range(3)]
        for start in starts:
            start.communicate(timeout=30)

        assert [start.returncode for start in starts] == [0, 0, 0]
        kinds = [" ".join(line.split()[:2]) for line in tree.calls()]
        assert kinds.count("pip install") == 1
        assert kinds.count(f"python {str(tree.root).split()[0]}") == 3

    def test_lock_ends_with_the_set_up(self, tree: Tree) -> None:
        """The running app does not keep the lock: a second set-up beside it does not wait."""
        tree.stand_in(
            "python3", PYTHON.replace("VERSION", "3.12.4").replace('"python $*" >>"$STUB_LOG"', "&& sleep 20")
        )
        script = str(tree.root / "scripts" / "start_app.sh")
        with tree.start(script) as app:
            wait_until((tree.venv / ".zimage" / "app").exists)
            (tree.root / "constraints.txt").write_text("# changed\n", encoding="utf-8")
            status, output = tree.run("scripts/run_tests.sh")
            still_running = app.poll() is None
            os.killpg(app.pid, signal.SIGKILL)
            app.communicate()

        assert (status, still_running) == (0, True)
        assert "waiting" not in output


class TestPip:
    def test_settings_are_pips_own(self, tree: Tree) -> None:
        """No option of ours overrides where pip looks; constraints are all that is added."""
        tree.run("scripts/start_app.sh")

        (install,) = tree.installs()
        assert re.findall(r"--[a-z-]+", install) == [
            "--disable-pip-version-check",
            "--log",
            "--editable",
            "--constraint",
        ]

    @pytest.mark.parametrize(
        ("driver", "config", "machine", "shown"),
        [
            ("no", "", "linux-gnu x86_64", True),
            ("no", "global.timeout='180'", "linux-gnu x86_64", True),
            ("yes", "", "linux-gnu x86_64", False),
            ("no", ":env:.find-links='wheels'", "linux-gnu x86_64", False),
            ("no", ":env:.extra-index-url='u'", "linux-gnu x86_64", False),
            ("no", "global.index-url='u'", "linux-gnu x86_64", False),
            ("no", "", "linux-gnu aarch64", False),
            ("no", "", "darwin23 arm64", False),
        ],
    )
    def test_cpu_build(self, tree: Tree, driver: str, config: str, machine: str, shown: bool) -> None:
        """PyTorch's CPU build is pointed out before gigabytes of CUDA are fetched in vain, and only then."""
        system, architecture = machine.split()
        source = f'. "{tree.root}/scripts/_setup.sh"; has_nvidia_driver() {{ [ {driver} = yes ]; }}; set_up app'
        variables = {"STUB_PIP_CONFIG": config, "OSTYPE": system, "HOSTTYPE": architecture}
        with tree.start("-euo", "pipefail", "-c", source, **variables) as process:
            output, _ = process.communicate(timeout=30)

        assert process.returncode == 0
        assert ("PIP_EXTRA_INDEX_URL" in output) == shown
        assert "To fetch" in output
        assert len(tree.installs()) == 1

    def test_driver_is_seen(self, tree: Tree) -> None:
        """A command nvidia-smi is sign enough of a driver."""
        tree.stand_in("nvidia-smi", "#!/usr/bin/env bash\n")

        _, output = tree.run("scripts/start_app.sh")

        assert "PIP_EXTRA_INDEX_URL" not in output


class TestRunTests:
    WORKERS = "pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder"

    @pytest.mark.parametrize(
        ("arguments", "called"),
        [
            ((), WORKERS),
            (("--full",), f"{WORKERS} --full"),
            (("--full", "-k", "a or b"), "pytest --full -k a or b"),
            (("tests/unit/test_a.py",), "pytest tests/unit/test_a.py"),
        ],
    )
    def test_arguments(self, tree: Tree, arguments: tuple[str, ...], called: str) -> None:
        """Everything is shared among processes, a part is run in one; pytest ends the run with its own status."""
        status, output = tree.run("scripts/run_tests.sh", *arguments, STUB_PYTEST_EXIT="5")

        assert [line.rstrip() for line in tree.calls() if not line.startswith(("pip", "venv"))] == [called]
        assert status == 5
        assert output.endswith("browser required: no\n")

    def test_ci_runs_the_same(self, tree: Tree) -> None:
        """.ci/run is run_tests.sh without arguments, and ends with its status."""
        status, _ = tree.run(".ci/run", STUB_PYTEST_EXIT="3")

        assert (status, tree.calls()[-1].rstrip()) == (3, self.WORKERS)


class TestSystemPackages:
    @pytest.fixture
    def debian(self, tree: Tree) -> Tree:
        """A root user on Debian; packages named in INSTALLED are there."""
        tree.stand_in("id", "#!/usr/bin/env bash\necho 0\n")
        tree.stand_in(
            "dpkg-query",
            '#!/usr/bin/env bash\n[[ ${INSTALLED:-} == *"${!#}"* ]] && printf "install ok installed"\n',
        )
        tree.stand_in(
            "apt-get",
            '#!/usr/bin/env bash\necho "apt-get $DEBIAN_FRONTEND $*" >>"$STUB_LOG"\nexit "${STUB_APT_EXIT:-0}"\n',
        )
        return tree

    @pytest.mark.parametrize(
        ("installed", "asked"),
        [("", "chromium fonts-noto-cjk"), ("chromium", "fonts-noto-cjk"), ("chromium fonts-noto-cjk", None)],
    )
    def test_ci(self, debian: Tree, installed: str, asked: str | None) -> None:
        """With CI=true what is missing is installed without questions, and the tests may not do without a browser."""
        status, output = debian.run("scripts/run_tests.sh", CI="true", INSTALLED=installed)

        assert status == 0
        assert output.endswith("browser required: 1\n")
        calls = [line for line in debian.calls() if line.startswith("apt-get")]
        install = f"apt-get noninteractive install -qq -y --no-install-recommends {asked}"
        assert calls == (["apt-get noninteractive update -qq", install] if asked else [])

    def test_elsewhere(self, debian: Tree) -> None:
        """Without CI=true no system package is touched."""
        debian.run("scripts/run_tests.sh")
        debian.run("scripts/start_app.sh", CI="true")

        assert not [line for line in debian.calls() if line.startswith("apt-get")]

    def test_failure(self, debian: Tree) -> None:
        """When the packages cannot be had, the run ends there and says which."""
        status, output = debian.run("scripts/run_tests.sh", CI="true", STUB_APT_EXIT="100")

        assert status == 1
        assert "could not install chromium fonts-noto-cjk" in output.splitlines()[-1]
        assert not [line for line in debian.calls() if line.startswith("pytest")]


class TestConstraints:
    def test_every_requirement_is_pinned(self) -> None:
        """The page holds exact versions and nothing else, one for every requirement of the app and its test extra."""
        lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = project["dependencies"] + project["optional-dependencies"]["test"]

        assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin)] == []
        assert {plain_name(name) for name in wanted} - {plain_name(pin) for pin in pins} == set()


class TestHealthCheck:
    def test_healthy(self, tree: Tree, server: "Server") -> None:
        """A healthy server: warmed, then drawn anew, then answered from the cache; both times and their ratio."""
        status, output = tree.run("scripts/health_check.sh", server.url + "/")

        assert status == 0
        assert re.fullmatch(r"\S+ is healthy\ncold +[\d.]+ s\ncached +[\d.]+ s \(memory\)\nratio +[\d.]+\n", output)
        assert [request["cache"] for request in server.requests] == ["use", "bypass", "use"]
        assert len({json.dumps({**request, "cache": ""}, sort_keys=True) for request in server.requests}) == 1
        assert {(request["width"], request["height"]) for request in server.requests} == {(256, 256)}
        assert server.requests[0]["seed"] >= 0

    @pytest.mark.parametrize(
        ("code", "health", "reason"),
        [
            (200, '{"status": "error", "detail": "out of disk"}', "out of disk"),
            (200, '{"status": "loading", "detail": "weights, 40 %"}', "loading, weights, 40 %"),
            (200, '{"status": null}', "no JSON with a status"),
            (200, "<html>another program</html>", "no JSON with a status"),
            (500, '{"error": {"message": "broken"}}', "500"),
        ],
    )
    def test_unhealthy(self, tree: Tree, server: "Server", code: int, health: str, reason: str) -> None:
        """An unhealthy, loading or foreign server is refused with its reason and asked for no picture."""
        server.health = (code, health)

        status, output = tree.run("scripts/health_check.sh", server.url)

        assert (status, output.count("\n")) == (1, 1)
        assert reason in output
        assert server.requests == []

    def test_unreachable(self, tree: Tree) -> None:
        """Where no server listens, the error states that."""
        status, output = tree.run("scripts/health_check.sh", "http://127.0.0.1:1")

        assert (status, output.count("\n")) == (1, 1)
        assert output.startswith("http://127.0.0.1:1 cannot be reached: ")

    def test_generation_fails(self, tree: Tree, server: "Server") -> None:
        """A server that is healthy by its own account but draws nothing is not: status and message are printed."""
        server.answer = (507, '{"error": {"code": "out_of_memory", "message": "8 GB are too few"}}')

        status, output = tree.run("scripts/health_check.sh", server.url)

        assert status == 1
        assert "/generate answers 507, 8 GB are too few" in output.splitlines()[-1]

    def test_cache_off(self, tree: Tree, server: "Server") -> None:
        """A server without a cache is healthy; it is said, and no ratio made up."""
        server.cached = False

        status, output = tree.run("scripts/health_check.sh", server.url)

        assert status == 0
        assert "ratio" not in output
        assert "switched off" in output

    def test_password(self, tree: Tree, server: "Server") -> None:
        """ZIMAGE_AUTH is sent with every request, quotes and backslashes included."""
        tree.run("scripts/health_check.sh", server.url, ZIMAGE_AUTH='me:pass"w\\ord')

        assert server.credentials == ["Basic bWU6cGFzcyJ3XG9yZA=="] * 4

    def test_proxy_is_not_asked(self, tree: Tree, server: "Server") -> None:
        """A proxy in the environment is not asked for a server on this machine."""
        status, _ = tree.run("scripts/health_check.sh", server.url, http_proxy="http://127.0.0.1:1")

        assert status == 0


@dataclass
class Server:
    """As much of the HTTP contract as the health check asks for, and what it was asked."""

    url: str
    health: tuple[int, str] = (200, '{"status": "healthy", "detail": null}')
    answer: tuple[int, str] | None = None
    cached: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)

    def generate(self, request: dict[str, Any]) -> tuple[int, str]:
        self.requests.append(request)
        known = self.cached and request["cache"] == "use" and len(self.requests) > 1
        source = "memory" if known else "generated"
        return self.answer or (200, json.dumps({"images": [{"source": source, "cached": known}], "duration": 0.1}))


@pytest.fixture
def server(tree: Tree) -> Iterator[Server]:
    tree.stand_in("python3", f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(served.health)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(served.generate(json.loads(body)))

        def reply(self, answer: tuple[int, str]) -> None:
            served.credentials.append(self.headers["Authorization"])
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        served = Server(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        listening.shutdown()
        thread.join()


def plain_name(requirement: str) -> str:
    """`My_Package[extra]>=1` -> `my-package`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()
