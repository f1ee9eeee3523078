"""Which server a command speaks to: the one that a flag names, else one that runs on the workspace."""

import time
from dataclasses import dataclass
from typing import Any, Final

import click
from click.core import ParameterSource

from zimage_cache.cli.client import Client
from zimage_cache.servers import local_url, running
from zimage_cache.settings import Settings

_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """An address at which a server may answer; `of_workspace` means that its file in the workspace says so."""

    url: str
    of_workspace: bool = False

    def client(self, settings: Settings, seconds: float | None = None) -> Client:
        """Return a client; *seconds* is the longest wait for one answer, None = no limit."""
        credentials = settings.credentials()
        key = None if credentials else settings.bearer()
        return Client(self.url, credentials=credentials, key=key, seconds=seconds)


def places(settings: Settings, url: str | None = None) -> list[Place]:
    """Return where to look for a server, best first: at *url*, or the host and port that flags name, and nowhere else.

    Without them, the servers of the workspace, the one on the port of the settings first; then that port itself, where
    a server of another workspace may listen, or one of an earlier version.
    """
    usual = local_url(settings.host, settings.port)
    if _is_named(url):
        return [Place(url or usual)]
    found = sorted(running(settings.servers_folder), key=lambda address: address.port != settings.port)
    urls = list(dict.fromkeys(address.url for address in found))
    return [*(Place(each, of_workspace=True) for each in urls), *([Place(usual)] if usual not in urls else [])]


def answering(
    settings: Settings, url: str | None = None, *, seconds: float | None = None, quietly: bool = False
) -> tuple[Client, dict[str, Any]] | None:
    """Return a client of the first server that answers, and its health; None: there is none.

    A server at *url* is returned in any case, and gives its error when it is asked. A server of the workspace that does
    not answer is told in one line, unless *quietly*.
    """
    for place in places(settings, url):
        client = place.client(settings, seconds)
        health = client.health()
        if health is not None or url is not None:
            return client, health or {}
        client.close()
        if place.of_workspace and not quietly:
            tell(f"the server at {place.url} runs, but does not answer")
    return None


def awaited(settings: Settings, url: str | None, *, wait: float, seconds: float | None) -> Client:
    """Return a client of a server that may still be starting: the first that answers within *wait* seconds."""
    deadline = time.monotonic() + wait
    if _is_named(url):
        return places(settings, url)[0].client(settings, seconds)
    while (found := answering(settings, url, seconds=seconds, quietly=True)) is None:
        if time.monotonic() >= deadline:
            return places(settings, url)[0].client(settings, seconds)
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return found[0]


def tell(words: str) -> None:
    """Tell in one line what is no part of the answer."""
    click.echo(f"zimage: {words}", err=True)


def _is_named(url: str | None) -> bool:
    """Whether the command line names a server."""
    context = click.get_current_context(silent=True)
    given = {context.get_parameter_source(name) for name in ("host", "port")} if context else set()
    return url is not None or ParameterSource.COMMANDLINE in given
