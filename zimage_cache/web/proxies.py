"""What trusted proxies tell of a request: who sent it, and the scheme, name and port under which it was asked."""

import ipaddress
import logging
from collections.abc import Iterable, Iterator
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from zimage_cache.addresses import IPAddress, ip_address

_log = logging.getLogger(__name__)
_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")
# Others that Gradio, or something else behind the guard, might believe.
_DROPPED: Final = frozenset(name.encode() for name in (*_FORWARDED, "forwarded", "x-forwarded-prefix", "x-real-ip"))
_USUAL_PORTS: Final = {"http": "80", "https": "443"}


class Proxies:
    """Applies the headers of trusted proxies to requests, and removes those of all others.

    The rule: where the connection comes from a trusted address, the client is the last address in `X-Forwarded-For`
    that is not trusted; scheme, name and port are the last ones of `X-Forwarded-Proto`, `-Host` and `-Port`, because
    the nearest proxy writes at the end. Everything before that could be written by the client.

    Args:
        trusted: Their addresses, as networks.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ipaddress.ip_network(each) for each in trusted]
        self._told = False

    def applied(self, scope: Scope) -> Scope:
        """Return *scope* as the proxies saw it; without their headers, which are not to be believed behind this."""
        kept = [header for header in scope["headers"] if header[0] not in _DROPPED]
        if len(kept) == len(scope["headers"]):
            return scope
        headers = Headers(scope=scope)
        given = {name: _listed(headers, name) for name in _FORWARDED}
        peer = (scope.get("client") or ("", 0))[0]
        if not self._trusts(peer):
            self._tell(peer, given)
            return {**scope, "headers": kept}
        scheme = next((each for each in reversed(given["x-forwarded-proto"]) if each in _USUAL_PORTS), scope["scheme"])
        if host := _asked_host(given, headers.get("host", ""), scheme):
            kept = [(b"host", host.encode("latin-1")), *(header for header in kept if header[0] != b"host")]
        client = self._client(peer, given["x-forwarded-for"])
        return {**scope, "scheme": scheme, "client": (client, 0), "headers": kept}

    def _client(self, peer: str, chain: list[str]) -> str:
        client = peer
        for text in reversed(chain):
            address = _address(text)
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)

    def _tell(self, peer: str, given: dict[str, list[str]]) -> None:
        """Log the first time: the usual cause is a proxy that the operator forgot to name."""
        if self._told or not any(given.values()):
            return
        self._told = True
        remedy = f"if this is your proxy: --trusted-proxy {_address(peer) or peer}"
        _log.warning("forwarded_ignored peer=%s remedy=%r", peer, remedy)


def _asked_host(given: dict[str, list[str]], host: str, scheme: str) -> str:
    """Return name and port that the client asked for."""
    named: str = next(reversed(given["x-forwarded-host"]), host)
    port = next(reversed(given["x-forwarded-port"]), "")
    has_port = named.rpartition(":")[2].isdecimal() and not named.endswith("]")
    if has_port or not port.isdecimal() or port == _USUAL_PORTS[scheme]:
        return named
    return f"{named}:{port}"


def _listed(headers: Headers, name: str) -> list[str]:
    """Return the values of a header that may stand several times, with several values each."""
    return list(filter(None, (each.strip() for line in headers.getlist(name) for each in line.split(","))))


def _address(text: str) -> IPAddress | None:
    """Return the address in *text*; one port behind it is ignored."""
    return next((address for each in _without_port(text) if (address := ip_address(each))), None)


def _without_port(text: str) -> Iterator[str]:
    yield text
    yield text.rpartition(":")[0].removeprefix("[").removesuffix("]")
    yield text.removeprefix("[").removesuffix("]")
