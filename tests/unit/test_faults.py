"""Persistent faults: reported once with their start, and removed at their end."""

import errno
import threading

import pytest

from tests.waiting import no_thread_left
from zimage_cache.faults import Faults, can_be_written, cause_of
from zimage_cache.i18n.messages import Message

WORDS = Message("as_said", text="words")


def test_a_fault_stands_from_its_first_sign_to_its_end():
    """Met again it stays the same one; ended it is gone, and another one stays."""
    faults = Faults()
    faults.begin("a", WORDS)
    (first,) = faults.standing
    faults.begin("a", Message("as_said", text="other words"))
    faults.begin("b", WORDS)
    assert [fault.code for fault in faults.standing] == ["a", "b"]
    assert faults.standing[0] is first
    faults.end("a", "c")
    assert [fault.code for fault in faults.standing] == ["b"]


def test_a_test_ends_it():
    """The test runs repeatedly while the fault lasts, and not after; an `OSError` means that it lasts."""
    answers = iter([False, OSError(errno.EROFS, "no"), True])

    def over():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    faults = Faults()
    faults.begin("a", WORDS, over)
    faults.begin("b", WORDS)
    for left in (2, 2, 1, 1):
        faults.retest()
        assert len(faults.standing) == left


def test_the_thread_makes_the_tests():
    """In its own thread, which stops at once, also while a fault lasts."""
    faults, tested = Faults(seconds=0.001), threading.Event()

    def test() -> bool:
        tested.set()
        return False

    with no_thread_left(""):
        faults.start()
        faults.begin("a", WORDS, test)
        assert tested.wait(60)
        faults.close()


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "read_only"),
        (errno.EACCES, "read_only"),
        (errno.EIO, "unwritable"),
        (None, "unwritable"),
    ],
)
def test_causes(number, cause):
    """What people would call it."""
    assert cause_of(OSError(number, "words") if number else None) == cause


def test_the_probe_leaves_nothing(tmp_path):
    """A folder that can be written is as before; one that is not there is no."""
    assert can_be_written(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        can_be_written(tmp_path / "none")
