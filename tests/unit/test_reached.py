"""Where a command looks for a server, and in which order."""

from contextlib import ExitStack
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from zimage_cache import servers
from zimage_cache.cli import reached
from zimage_cache.cli.options import Loaded, with_settings
from zimage_cache.cli.reached import Place, answering, places
from zimage_cache.servers import ServerAddress
from zimage_cache.settings import Settings

USUAL = "http://127.0.0.1:7860"


@pytest.fixture
def running(monkeypatch, tmp_path):
    """Give a function that says which servers run on the workspace, the one started last first."""

    def say(*urls: str) -> Settings:
        found = [
            ServerAddress(
                url=url,
                host="0.0.0.0",
                port=int(url.rpartition(":")[2]),
                root_path="",
                pid=1,
                started="2026-11-27T00:00:00+00:00",
                version="1",
            )
            for url in urls
        ]
        monkeypatch.setattr(reached, "running", lambda _folder: found)
        return Settings.model_validate({"workspace": tmp_path})

    return say


def test_without_any_the_port_of_the_settings(running):
    """A server of an earlier version, or of another workspace, may be there."""
    assert places(running()) == [Place(USUAL)]


def test_servers_of_the_workspace_come_first(running):
    """The one started last first, the port of the settings last."""
    settings = running("http://127.0.0.1:9", "http://[::1]:8")
    assert places(settings) == [
        Place("http://127.0.0.1:9", of_workspace=True),
        Place("http://[::1]:8", of_workspace=True),
        Place(USUAL),
    ]


def test_the_port_of_the_settings_decides_between_them(running):
    """A server of the workspace on that port is the one that is meant, and is not named twice."""
    settings = running("http://127.0.0.1:9", USUAL)
    assert places(settings) == [Place(USUAL, of_workspace=True), Place("http://127.0.0.1:9", of_workspace=True)]


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (["--port", "7000"], "http://127.0.0.1:7000"),
        (["--host", "::1"], "http://[::1]:7860"),
        (["--host", "0.0.0.0", "--port", "1"], "http://127.0.0.1:1"),
        ([], None),
    ],
)
def test_flags_win(running, monkeypatch, flags, where):
    """A host or a port on the command line names the server; one in the environment does not."""
    running("http://127.0.0.1:9")
    monkeypatch.setenv("ZIMAGE_HOST", "127.0.0.1")
    found: list[Place] = []

    @click.command()
    @with_settings
    def command(loaded: Loaded) -> None:
        found.extend(places(loaded[0]))

    assert CliRunner().invoke(command, flags).exit_code == 0
    assert found == (
        [Place("http://127.0.0.1:9", of_workspace=True), Place(USUAL)] if where is None else [Place(where)]
    )


def test_an_address_wins_over_all(running):
    """`--url` alone is asked, and returned even if it does not answer: asking it says why."""
    settings = running("http://127.0.0.1:9")
    assert places(settings, "http://127.0.0.1:2") == [Place("http://127.0.0.1:2")]
    found = answering(settings, "http://127.0.0.1:2")
    assert found is not None
    assert (found[0].url, found[1]) == ("http://127.0.0.1:2", {})


def test_one_that_does_not_answer_is_told(running, capsys):
    """Its file says that it runs; the next one is asked."""
    settings = running("http://127.0.0.1:2")
    assert answering(settings.model_copy(update={"port": 1})) is None
    assert capsys.readouterr().err == "zimage: the server at http://127.0.0.1:2 runs, but does not answer\n"
    assert answering(settings.model_copy(update={"port": 1}), quietly=True) is None
    assert capsys.readouterr().err == ""


def test_the_folder_of_the_workspace(tmp_path):
    """Servers are looked for in the workspace, wherever the cache is."""
    settings = Settings.model_validate({"workspace": tmp_path, "cache_dir": Path("/elsewhere")})
    address = servers.address_of_this_process("0.0.0.0", 7001, version="1")
    with ExitStack() as stack:
        stack.enter_context(servers.announced(tmp_path / "servers", address))
        assert places(settings)[0] == Place("http://127.0.0.1:7001", of_workspace=True)
