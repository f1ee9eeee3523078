"""schemathesis sends valid and invalid requests generated from `/openapi.json`, and checks the answers against it."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.web.errors import STATUS

ROOT = Path(__file__).resolve().parents[2]
ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}


def test_it_says_what_is_answered(serve, request, tmp_path):
    """All checks hold: statuses, types, headers and shapes as described, the valid taken, the invalid refused.

    200 cases, the same each time; 2000 with `--full`, others each time.
    """
    full = request.config.getoption("--full")
    # Small pictures: their number is what counts.
    house = serve(generator=FakeGenerator(profile=replace(FAKE_PROFILE, max_side=128)), queue_size=0)
    how = ["--max-examples=60"] if full else ["--max-examples=8", "--phases=examples,fuzzing,stateful", "--seed=1"]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{house.port}/openapi.json"),
            *("--checks=all", "--continue-on-failure", "--no-shrink", "--no-color", *how),
        ],
        cwd=tmp_path,  # it keeps what it tried beside it
        env=os.environ
        | {"PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = "\n".join(line[:500] for line in run.stdout.splitlines())
    assert run.returncode == 0, told
    (cases,) = re.findall(r"(\d+) generated", run.stdout)
    assert int(cases) >= (2000 if full else 200)


def test_every_error_is_described_in_our_shape(house):
    """Each route names the errors it may answer, and none in a shape that is not ours."""
    paths = house.client.get("/openapi.json").json()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    assert len(operations) > 20
    for operation in operations:
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"400", "401", "403", "500", "503"} <= errors.keys()
        errors.pop("416", None)  # has no body
        for status, answer in errors.items():
            if "Health" not in str(answer):
                assert answer["content"] == {"application/json": {"schema": ERROR}}, operation["operationId"]
                assert int(status) in {400, *STATUS.values()}
    assert {"413", "415", "422"} <= paths["/png-info"]["post"]["responses"].keys()
    assert {"404", "504", "507"} <= paths["/generate"]["post"]["responses"].keys()
    assert "HTTPValidationError" not in str(paths)
