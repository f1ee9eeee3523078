"""The page's benchmark runs with small parameters, so that changes which break it are noticed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_page.py"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_the_page_benchmark_prints_its_tables():
    """It stores pictures, shows them on both pages, opens the page, also over a slow line, and says so."""
    command = [sys.executable, str(SCRIPT), "--pictures", "7", "--visits", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    told = run.stdout
    assert re.search(r"bare page +p50 +[\d.]+ ms", told)
    assert re.search(r"our page +p50 +[\d.]+ ms .*x", told)
    assert re.search(r"median [\d.]+ s, slowest", told)
    assert len(re.findall(r"seen +[\d.]+ s, usable +[\d.]+ s, .*, \d+ requests, \d+ kB", told)) == 2
