"""Variables that are set for other programs stop nothing here, and where one does, the error names it."""

import os
import subprocess
import sys

import pytest

from zimage_cache.environment import for_clients, hidden, loading_libraries, of_connections, proxies
from zimage_cache.errors import SettingsError, UsageError


def test_variables_of_proxies_are_known_in_either_case():
    """Only those that are set: an empty one means that there is no proxy."""
    environ = {
        "http_proxy": "a",
        "HTTPS_PROXY": "b",
        "All_Proxy": "c",
        "ALL_PROXY": "",
        "NO_PROXY": "d",
        "X_PROXY": "e",
    }
    assert proxies(environ) == {"http_proxy": "a", "HTTPS_PROXY": "b", "All_Proxy": "c"}


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"http_proxy": "h", "HTTPS_PROXY": "s", "all_proxy": "socks5://x:1", "ALL_PROXY": "socks5://x:1"}, False),
        ({"http_proxy": "h", "https_proxy": "", "all_proxy": "socks5://x:1"}, True),
        ({"https_proxy": "s", "all_proxy": "socks5://x:1"}, True),
        ({"all_proxy": "http://x:1"}, True),
    ],
)
def test_a_proxy_that_would_never_be_used_is_left_out(environ, kept):
    """ALL_PROXY is for what has no variable of its own; the others stay as they are."""
    given = for_clients(environ)
    assert ("all_proxy" in given) is kept
    assert ("ALL_PROXY" in given) is (kept and "ALL_PROXY" in environ)
    assert environ.items() - given.items() <= {("all_proxy", "socks5://x:1"), ("ALL_PROXY", "socks5://x:1")}


@pytest.mark.parametrize(
    ("environ", "first"),
    [({}, ""), ({"NO_PROXY": "a.b"}, "a.b,"), ({"no_proxy": "c"}, "c,"), ({"no_proxy": "c", "NO_PROXY": "a.b"}, "c,")],
)
def test_this_machine_is_reached_without_a_proxy(environ, first):
    """Added to what the user wrote, of which the variable in lower case counts first, as everywhere."""
    given = for_clients(environ)
    assert given["no_proxy"] == given["NO_PROXY"] == f"{first}localhost,127.0.0.1,::1"


def test_hidden_variables_come_back(monkeypatch):
    """After an error too; a variable that is not set is no matter."""
    monkeypatch.setenv("ALL_PROXY", "x")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(KeyError), hidden(["ALL_PROXY", "no_proxy"]):
        os.environ["ALL_PROXY"]
    assert os.environ["ALL_PROXY"] == "x"
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize(
    ("variable", "error"),
    [
        ("TQDM_MININTERVAL", ValueError("could not convert string to float: 'soon'")),
        ("SOME_FILE", FileNotFoundError(2, "No such file or directory", "soon")),
        ("SOME_MODE", RuntimeError("first line\n'soon' is not a valid mode")),
    ],
)
def test_a_value_that_a_library_quotes_names_its_variable(monkeypatch, variable, error):
    """One line: the variable, what the library said, what to do."""
    monkeypatch.setenv(variable, "soon")
    with (
        pytest.raises(SettingsError, match=rf"^{variable}: .*{type(error).__name__}.*unset it$") as caught,
        loading_libraries(),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_the_innermost_cause_is_told(monkeypatch):
    """Libraries that import lazily wrap what went wrong."""
    monkeypatch.setenv("SOME_MODE", "soon")
    with pytest.raises(SettingsError, match=r"^SOME_MODE: .*KeyError: 'soon'"), loading_libraries():
        raise RuntimeError("Failed to import; look up") from KeyError("soon")


def test_without_a_variable_the_reason_is_told():
    """A library that is broken for another reason, or says nothing at all."""
    with (
        pytest.raises(SettingsError, match=r"ModuleNotFoundError: No module named 'x'.*--log-level debug"),
        loading_libraries(),
    ):
        raise ModuleNotFoundError("No module named 'x'")
    with pytest.raises(SettingsError, match="ImportError: "), loading_libraries():
        raise ImportError


def test_errors_of_this_program_stay_what_they_are():
    """They are one line already."""
    with pytest.raises(UsageError), loading_libraries():
        raise UsageError("as it is")


VALUES = {
    "ALL_PROXY": "socks5://127.0.0.1:7890",
    "all_proxy": "socks://127.0.0.1:7890/",
    "HTTP_PROXY": "socks5h://127.0.0.1:7890",
    "https_proxy": "socks4://127.0.0.1:7890",
    "HTTPS_PROXY": "http://127.0.0.1:not-a-port",
    "http_proxy": "::1",
    "no_proxy": "localhost,[::1],::1/128,fe80::/10",
    "NO_PROXY": "[",
    "SSL_CERT_FILE": "/nowhere/ca.pem",
    "SSL_CERT_DIR": "/nowhere",
    "SSLKEYLOGFILE": "/nowhere/keys.log",
}


@pytest.mark.parametrize("library", ["httpx", "gradio.processing_utils"])
def test_clients_are_made_whatever_the_variables_are(library):
    """Of the installed versions: one client made while the variables are hidden, and those that Gradio makes."""
    code = f"""
import importlib, os
from zimage_cache.environment import hidden, of_connections
with hidden(of_connections(os.environ)):
    importlib.import_module({library!r})
    import httpx
    httpx.Client().close()
    httpx.AsyncClient()
assert set({list(VALUES)}) <= set(os.environ)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | VALUES, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_other_variables_are_not_hidden():
    """Libraries get all variables but those of connections."""
    assert set(of_connections(VALUES | {"PATH": "x", "FTP_PROXY": "y"})) == set(VALUES)
