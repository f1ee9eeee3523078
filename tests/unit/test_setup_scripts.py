"""The scripts that set the project up and start it, in a copy of their own whose path has spaces and an accent.

No network and no real set-up: `python3` is a stand-in that writes down its calls and, asked for an environment, makes a
folder that looks like one. PATH holds nothing but stand-ins and the tools that the scripts may count on.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import present
from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
TOOLS = ["bash", "cat", "dirname", "env", "find", "head", "id", "ln", "ls", "mkdir", "readlink", "rm", "sleep"]
START, TESTS = "scripts/start_app.sh", "scripts/run_tests.sh"

# Has pip where it has a library of its own version beside it, as an interpreter in an environment does.
PYTHON = r"""#!/usr/bin/env bash
case $* in
*'import pip'*) [ -d "${0%/*}/../lib/VERSION" ]; exit ;;
*flock*) exec "$REAL_PYTHON" "$@" ;;
-c*) exec "$REAL_PYTHON" -c "import sys; sys.version_info = tuple(map(int, 'VERSION'.split('.')))
sys._base_executable = '$0'; sys.modules.update(dict.fromkeys('${MISSING:-}'.split()))
$2" ;;
-V) echo Python VERSION; exit ;;
esac
echo "$*" >>"$CALLS"
case $* in
'-m venv '*) mkdir -p "$3/bin" "$3/lib/VERSION" && : >"$3/pyvenv.cfg" && ln -s "$0" "$3/bin/python" ;;
'-m pip '*) until [ -z "${GATE:-}" ] || [ -e "$GATE" ]; do sleep 0.01; done; exit "${PIP_STATUS:-0}" ;;
'-m pytest '*) echo "browser required: ${ZIMAGE_REQUIRE_BROWSER:-no}"; exit "${PYTEST_STATUS:-0}" ;;
*) until [ -z "${APP_GATE:-}" ] || [ -e "$APP_GATE" ]; do sleep 0.01; done ;;
esac
"""


class Tree:
    """A copy of the project's scripts, and the machine they see."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.log = folder, folder / "bin", folder / "calls.log"
        self.root = folder / "a place with é"
        self.venv = self.root / ".venv"
        self.started: list[subprocess.Popen[str]] = []

    def command(self, name: str, text: str) -> Path:
        """Puts a command of that name on PATH."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str) -> Path:
        """Puts an interpreter of that name and version on PATH."""
        return self.command(name, PYTHON.replace("VERSION", version))

    def start(self, script: str | Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Starts a script from outside the tree, as the leader of a process group."""
        given = {"PATH": str(self.bin), "LC_ALL": "C.UTF-8", "OSTYPE": "linux-gnu", "HOSTTYPE": "x86_64"}
        given |= {"CALLS": str(self.log), "REAL_PYTHON": sys.executable}
        process = subprocess.Popen(
            [str(self.bin / "bash"), str(self.root / script), *arguments],
            cwd=self.bin,
            env=given | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, script: str | Path, *arguments: str, **variables: str) -> tuple[int, str]:
        """Exit status and everything that the script printed."""
        process = self.start(script, *arguments, **variables)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def calls(self) -> list[str]:
        """The calls of the stand-ins since the last read."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def kinds(self) -> list[str]:
        """Likewise, but only what was called: venv, pip, pytest or the app."""
        return [re.sub(r"^-m (\w+) .*|.*/(app)\.py.*", r"\1\2", line) for line in self.calls()]

    def pip_runs(self) -> bool:
        return self.log.exists() and "-m pip" in self.log.read_text(encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    for name in (START, TESTS, "scripts/_setup.sh", ".ci/run"):
        (made.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, made.root / name)
    for name in ("pyproject.toml", "constraints.txt", "app.py"):
        (made.root / name).write_text(f"# {name}\n", encoding="utf-8")
    made.bin.mkdir()
    for tool in TOOLS:
        (made.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"these tests need {tool}"))
    made.python("python3", "3.12")
    yield made
    for process in made.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def ready(tree: Tree) -> Tree:
    """A tree that was set up for the app."""
    assert tree.run(START)[0] == 0
    tree.calls()
    return tree


class TestPython:
    """Which interpreter is taken. A refusal is one line with a remedy, and status 2."""

    @pytest.mark.parametrize(
        ("version", "variables", "words"),
        [
            ("3.9", {}, "3.11 or newer is needed; python3 is Python 3.9."),
            ("", {}, "python3 is missing"),
            ("3.12", {"PYTHON": "/no/where"}, "/no/where is missing"),
            ("3.12", {"MISSING": "ensurepip"}, "apt install python3-venv"),
            ("3.12", {"OSTYPE": "msys"}, "WSL"),
            ("3.12", {"ZIMAGE_VENV": "/dev/null/venv"}, "ZIMAGE_VENV"),
        ],
    )
    def test_refusal(self, tree: Tree, version: str, variables: dict[str, str], words: str) -> None:
        """An old Python, none, one without venv, a Windows shell, a folder that cannot be written."""
        tree.python("python3", version)
        if not version:
            (tree.bin / "python3").unlink()

        status, output = tree.run(START, **variables)

        assert (status, output.count("\n")) == (2, 1), output
        assert words in output
        assert tree.calls() == []

    def test_next_candidate(self, tree: Tree) -> None:
        """A command that fails when started counts as absent, an old one is passed over, python3.12 is taken."""
        tree.command("python3.13", "exit 127")
        tree.python("python3", "3.10")
        tree.python("python3.12", "3.12")

        assert tree.run(START)[0] == 0
        assert (tree.venv / "bin/python").readlink() == tree.bin / "python3.12"

    def test_variables(self, tree: Tree) -> None:
        """PYTHON and a relative ZIMAGE_VENV say with what and where to build; PYTHON is not needed after that."""
        other = tree.python("other python", "3.13")
        (tree.bin / "python3").unlink()
        tree.run(START, ZIMAGE_VENV="../else where", PYTHON=str(other))

        assert tree.run(TESTS, ZIMAGE_VENV="../else where")[0] == 0
        assert (tree.folder / "else where/bin/python").readlink() == other
        assert not tree.venv.exists()


class TestSetUp:
    def test_first_start(self, tree: Tree) -> None:
        """A first start installs under the constraints, by pip's own settings, and passes the flags to the app."""
        assert tree.run(START, "--port", "a b")[0] == 0
        assert tree.calls() == [
            f"-m venv {tree.venv}",
            "-m pip install --disable-pip-version-check --editable . --constraint constraints.txt",
            f"{tree.root}/app.py --port a b",
        ]

    def test_later_start(self, ready: Tree) -> None:
        """When nothing changed, nothing is installed or said; so also through links, one of them relative."""
        (ready.root / "relative").symlink_to(START)
        (ready.bin / "link").symlink_to(ready.root / "relative")

        assert ready.run(ready.bin / "link") == (0, f"Starting {ready.root}/app.py\n")
        assert ready.kinds() == ["app"]

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_changed(self, ready: Tree, name: str) -> None:
        """A change of either file is installed once, into the environment that is there."""
        (ready.root / name).write_text("# changed\n", encoding="utf-8")

        ready.run(START)
        ready.run(START)

        assert ready.kinds() == ["pip", "app", "app"]

    def test_extra(self, ready: Tree) -> None:
        """The test extra is added to what the app needs, and the app finds everything there."""
        ready.run(TESTS)
        assert "--editable .[test] --constraint constraints.txt" in ready.calls()[0]
        ready.run(START)
        ready.run(TESTS)
        assert ready.kinds() == ["app", "pytest"]

    @pytest.mark.parametrize("event", ["moved", "interpreter replaced", "interpreter gone"])
    def test_made_again(self, tree: Tree, event: str) -> None:
        """A folder that was moved, and an interpreter of another version or that is gone, need a new environment."""
        tree.run(START, PYTHON=str(tree.python("python3.11", "3.11")))
        (tree.venv / "old").touch()
        if event == "moved":
            tree.root = tree.root.rename(tree.folder / "moved")
        elif event == "interpreter replaced":
            tree.python("python3.11", "3.13")
        else:
            (tree.bin / "python3.11").unlink()
        tree.calls()

        assert tree.run(START)[0] == 0
        assert tree.kinds() == ["venv", "pip", "app"]
        assert not (tree.root / ".venv/old").exists()

    def test_foreign_folder(self, ready: Tree) -> None:
        """A folder with other things, be it a Python of its own, is refused and left as it was: it may be a mistake."""
        (ready.venv / "pyvenv.cfg").unlink()
        shutil.rmtree(ready.venv / ".zimage")

        status, output = ready.run(START)

        assert (status, output.count("\n"), ready.calls()) == (2, 1, [])
        assert {path.name for path in ready.venv.iterdir()} == {"bin", "lib"}

    def test_environment_made_by_hand(self, ready: Tree) -> None:
        """An environment that the user made is installed into and never emptied, not even after a failure."""
        shutil.rmtree(ready.venv / ".zimage")

        assert ready.run(START, PIP_STATUS="1")[0] == 1
        assert ready.run(START)[0] == 0
        assert ready.kinds() == ["pip", "pip", "app"]

    @pytest.mark.parametrize(
        ("variables", "driver", "shown"),
        [
            ({}, False, True),
            ({}, True, False),
            ({"PIP_EXTRA_INDEX_URL": "address"}, False, False),
            ({"HOSTTYPE": "aarch64"}, False, False),
            ({"OSTYPE": "darwin23", "HOSTTYPE": "x86_64"}, False, False),
        ],
    )
    def test_cpu_build(self, tree: Tree, variables: dict[str, str], driver: bool, shown: bool) -> None:
        """PyTorch's CPU build is pointed out before gigabytes of CUDA are fetched in vain, and only then."""
        if driver:
            tree.command("nvidia-smi", "")

        status, output = tree.run(START, **variables)

        assert (status, "PIP_EXTRA_INDEX_URL" in output) == (0, shown)


class TestTrouble:
    def test_failed_install(self, ready: Tree) -> None:
        """After a failed update no app is started, and the next start makes the environment again."""
        (ready.root / "constraints.txt").write_text("# changed\n", encoding="utf-8")

        status, output = ready.run(START, PIP_STATUS="1")

        assert (status, ready.kinds()) == (1, ["pip"])
        assert "Start again" in output.splitlines()[-1]
        assert ready.run(START)[0] == 0
        assert ready.kinds() == ["venv", "pip", "app"]

    def test_killed(self, tree: Tree) -> None:
        """A set-up that was killed is neither trusted nor waited for: the next start does it again."""
        with tree.start(START, GATE="/never") as process:
            wait_until(tree.pip_runs)
            os.killpg(process.pid, signal.SIGKILL)
        tree.calls()

        assert tree.run(START)[0] == 0
        assert tree.kinds() == ["venv", "pip", "app"]

    def test_two_starts_at_once(self, tree: Tree) -> None:
        """Of two starts in a fresh folder one installs; the other waits for it, and both start the app."""
        gate = tree.bin / "gate"
        first = tree.start(START, GATE=str(gate))
        wait_until(tree.pip_runs)
        second = tree.start(START)
        said = present(second.stdout).readline()
        gate.touch()
        for start in (first, second):
            start.communicate(timeout=30)

        assert (first.returncode, second.returncode) == (0, 0)
        assert "this one waits" in said
        assert tree.kinds() == ["venv", "pip", "app", "app"]

    def test_lock_ends_with_the_set_up(self, tree: Tree) -> None:
        """The running app does not keep the lock: another set-up beside it goes on."""
        gate = tree.bin / "gate"
        app = tree.start(START, APP_GATE=str(gate))
        wait_until((tree.venv / ".zimage/app").exists)
        status, _ = tree.run(TESTS)
        running = app.poll() is None
        gate.touch()
        app.communicate(timeout=30)

        assert (status, running, app.returncode) == (0, True, 0)


class TestRunTests:
    WORKERS = "-m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder"

    @pytest.mark.parametrize(
        ("script", "arguments", "called"),
        [
            (TESTS, [], WORKERS),
            (".ci/run", [], WORKERS),
            (TESTS, ["--full"], f"{WORKERS} --full"),
            (TESTS, ["--full", "-k", "a or b"], "-m pytest --full -k a or b"),
            (TESTS, ["tests/unit/test_a.py"], "-m pytest tests/unit/test_a.py"),
        ],
    )
    def test_arguments(self, tree: Tree, script: str, arguments: list[str], called: str) -> None:
        """Everything is shared among processes, a part is run in one; pytest ends the run with its own status."""
        status, output = tree.run(script, *arguments, PYTEST_STATUS="5")

        assert (status, tree.calls()[-1].rstrip()) == (5, called)
        assert output.endswith("browser required: no\n")

    @pytest.mark.parametrize(
        ("variables", "called", "last"),
        [
            (
                {"CI": "true", "THERE": "chromium nginx-light"},
                ["update", "fonts-noto-cjk", "pytest"],
                "browser required: 1",
            ),
            ({"CI": "true", "THERE": "chromium fonts-noto-cjk nginx-light"}, ["pytest"], "browser required: 1"),
            ({"CI": "true", "APT_STATUS": "1"}, ["update"], "could not install chromium fonts-noto-cjk nginx-light;"),
            ({}, ["pytest"], "browser required: no"),
        ],
    )
    def test_system_packages(self, tree: Tree, variables: dict[str, str], called: list[str], last: str) -> None:
        """With CI=true alone, missing Debian packages are installed without questions; failing that ends the run."""
        tree.command("id", "echo 0")
        tree.command("dpkg-query", '[[ ${THERE:-} == *"${!#}"* ]] && printf "install ok installed"')
        tree.command("apt-get", 'echo "$DEBIAN_FRONTEND $*" >>"$CALLS"; exit "${APT_STATUS:-0}"')

        status, output = tree.run(TESTS, **variables)

        shown = {
            "update": "noninteractive update -qq",
            "fonts-noto-cjk": "noninteractive install -qq -y --no-install-recommends fonts-noto-cjk",
            "pytest": self.WORKERS,
        }
        assert [line.rstrip() for line in tree.calls()[2:]] == [shown[name] for name in called]
        assert status == ("pytest" not in called)
        assert last in output.splitlines()[-1]


def test_every_requirement_is_pinned() -> None:
    """constraints.txt holds exact versions alone, one for every requirement of the app and its test extra."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]

    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin)] == []
    assert {plain_name(name) for name in wanted} - {plain_name(pin) for pin in pins} == set()


def plain_name(requirement: str) -> str:
    """`My_Package[extra]>=1` -> `my-package`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()
