"""What stays in memory of a miss: nothing, once every bound is reached."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1200)]
WORKER = Path(__file__).with_name("memory_worker.py")
ROOT = Path(__file__).parents[2]


def test_a_miss_leaves_nothing_behind(tmp_path, rounds):
    """Misses of new prompts, as requests and as jobs: after a warm-up the number of objects stays what it is.

    In a process of its own: what other tests leave running makes and drops objects at any time.
    """
    count = rounds(500)
    command = [sys.executable, str(WORKER), str(tmp_path), str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

    first, second, third, fourth = seen["objects"]
    # Between these two there are two rounds of 2 * count pictures: one object kept of each would be 4 * count more.
    assert min(third, fourth) - min(first, second) < count
    assert max(seen["entries"]) <= 20
