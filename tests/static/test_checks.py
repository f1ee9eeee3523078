"""Formatting, lint, types and import rules, beside the tests instead of before them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = {
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
    "ruff check": ["ruff", "check", "--quiet", "."],
    "mypy": ["mypy"],
    "lint-imports": ["lint-imports"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_check(name: str):
    """The tool finds nothing; its own words are the failure's."""
    tool, *arguments = CHECKS[name]
    executable = shutil.which(tool, path=Path(sys.executable).parent)
    assert executable, f"{tool} is not installed beside {sys.executable}"
    found = subprocess.run([executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"\n{found.stdout}{found.stderr}"


def test_no_test_replaces_a_clock_of_the_whole_process():
    """Tests use `replace_time`: servers in other threads share the module `time`, and stop when its clock jumps."""
    replaced = re.compile(r'setattr\((?:time, "|"time\.)')
    assert [path.name for path in (ROOT / "tests").rglob("*.py") if replaced.search(path.read_text())] == []
