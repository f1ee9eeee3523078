"""Whatever a hub's client raises becomes one line with a remedy."""

import errno
import re
import ssl

import pytest

from zimage_cache.models.hubs import NotFetched, reason


def wrapped(cause: BaseException) -> Exception:
    error = RuntimeError("MaxRetryError\nlong story")
    error.__cause__ = cause
    return error


class SeveralFailed(Exception):
    """As ModelScope's client raises it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("1 of 2 file(s) failed")
        self.failed_files = {"vae/x.safetensors": cause}


def certificate(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


@pytest.mark.parametrize("dress", [lambda error: error, wrapped, SeveralFailed, lambda e: SeveralFailed(wrapped(e))])
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk became full; make room"),
        (OSError(errno.EROFS, "Read-only file system", "/models"), "/models cannot be written; choose another folder"),
        (certificate("certificate is not yet valid"), r"certificate is not yet valid\); check this machine's clock"),
        (NotFetched("as_said", text="the disk of /x is too full"), "^the disk of /x is too full$"),
    ],
)
def test_a_cause_with_a_remedy_is_reported_however_deep_it_is(dress, cause, words):
    """A full disk, a read-only folder, a wrong clock: the remedy comes first, in any client's wrapping."""
    told = str(reason(dress(cause)))
    assert re.search(words, told)
    assert "\n" not in told


def test_any_other_cause_is_reported_by_its_first_line():
    """Of several failed files the first is named."""
    assert str(reason(RuntimeError("first\nsecond"))) == "first"
    assert str(reason(RuntimeError())) == "RuntimeError"
    assert str(reason(SeveralFailed(ValueError("bad size")))) == "vae/x.safetensors: bad size"


def test_a_circle_of_causes_ends():
    """Exceptions that name each other do not hang the download."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert str(reason(first)) == "a"
