"""New processes with hostile variables: each draws under the same key the same pixels, or both differ."""

import pytest

from tests.identities import HOSTILE, audited, workspace_with_a_picture
from zimage_cache.generator.processor import this_processor

HARMLESS = {"MKL_NUM_THREADS": "1", "MKL_DYNAMIC": "FALSE", "HF_ENABLE_PARALLEL_LOADING": "1"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return workspace_with_a_picture(tmp_path_factory.mktemp("workspace"), "cpu")


def test_hostile_variables_change_neither_key_nor_pixels(workspace):
    """All together: the picture of a process without them is found under their key, and drawn again alike."""
    document, log = audited(workspace, "cpu", HOSTILE)
    assert (document["identical"], document["skipped"]) == (1, 0)
    (line,) = [line for line in log.splitlines() if "ignored" in line]
    assert line.endswith(", ".join(HOSTILE))


def test_each_hostile_variable_alone(workspace, rounds):
    """Two may cancel each other's effect. One of them, or all with `--full`."""
    for name in sorted(HOSTILE)[: rounds(len(HOSTILE))]:
        document, log = audited(workspace, "cpu", {name: HOSTILE[name]})
        assert document["identical"] == 1, name
        assert f"no key names them: {name}" in log


def test_harmless_variables_change_neither_key_nor_pixels(workspace):
    """They are left as they are."""
    document, log = audited(workspace, "cpu", HARMLESS)
    assert (document["identical"], document["skipped"]) == (1, 0)
    assert "ignored" not in log


@pytest.mark.parametrize(
    ("name", "value"), [("ATEN_CPU_CAPABILITY", "default"), ("OMP_NUM_THREADS", str(this_processor({}).threads + 1))]
)
def test_what_a_machine_may_need_changes_the_key(workspace, name, value):
    """It changes pixels too: what was drawn without it is not found, and not compared."""
    document, _ = audited(workspace, "cpu", {name: value})
    assert (document["identical"], document["drifted"], document["skipped"]) == (0, 0, 1)
