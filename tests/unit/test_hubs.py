"""Whatever a hub's client raises becomes one line with a remedy."""

import errno
import re
import ssl
from types import SimpleNamespace

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


class Answered(Exception):
    """As both clients raise it: the answer is kept."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.response = SimpleNamespace(status_code=status)


PROXY = {"https_proxy": "http://me:secret@proxy.example:3128"}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        wrapped(TimeoutError("timed out")),
        SeveralFailed(OSError("Tunnel connection failed: 407 Proxy Authentication Required")),
        ValueError("Failed to parse: http://me:secret@proxy.example:3128"),
        certificate("self-signed certificate in certificate chain"),
        Answered(407),
        Answered(403),
        wrapped(Answered(502)),
    ],
)
def test_a_failure_behind_a_proxy_names_the_variable(error):
    """Whatever the client says: its value may have a password, so the name alone is told."""
    told = str(reason(error, PROXY | {"ALL_PROXY": "", "no_proxy": "x"}))
    assert re.search(r"the proxy that https_proxy names: check it, or unset", told)
    assert "secret" not in told
    assert "\n" not in told
    assert "https_proxy names" not in str(reason(error, {"no_proxy": "x"}))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("socks5://127.0.0.1:7890", ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")),
        ("SOCKS5h://127.0.0.1:7890", RuntimeError("Missing dependencies for SOCKS support.")),
        ("socks://127.0.0.1:7890/", wrapped(ValueError("Unknown scheme for proxy URL URL('socks://127.0.0.1:7890/')"))),
        ("socks4a://127.0.0.1:7890", ValueError("Unknown scheme for proxy URL URL('socks4a://127.0.0.1:7890')")),
    ],
)
def test_a_socks_proxy_is_told_to_be_the_reason(value, error):
    """The remedy is another kind of proxy, not the installation of a package."""
    told = str(reason(error, {"ALL_PROXY": value}))
    assert told.startswith("ALL_PROXY names a SOCKS proxy, which cannot be used here; name an HTTP proxy")
    assert "install" not in told


@pytest.mark.parametrize(
    "error",
    [
        Answered(404),
        wrapped(Answered(401)),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system", "/models"),
        NotFetched("as_said", text="the disk of /x is too full"),
    ],
)
def test_a_proxy_is_not_named_where_it_has_no_part(error):
    """What the hub itself answers, and the disk of this machine."""
    assert str(reason(error, PROXY)) == str(reason(error, {}))


def test_a_circle_of_causes_ends():
    """Exceptions that name each other do not hang the download."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert str(reason(first)) == "a"
