"""Host names, networks and paths as people write them in settings, each in one form; and sets of names."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import idna

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL}){{0,126}}")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*+://")
_PORT: Final = re.compile(r"(.+):\d{1,5}")
_NOT_IN_PATHS: Final = re.compile(r'[\x00-\x20\x7f?#\\<>"]|(?:^|/)\.{1,2}(?:/|$)|//')
_IN_NETWORKS: Final = re.compile(r"[\[\]]|%[^/\]]*+")
_MAPPED_BITS: Final = 96  # which stand before an IPv4 address inside IPv6
EVERY_NAME: Final = "*"


def host_name(text: str) -> str:
    """Return the name in *text*, which may have a scheme and a port: lower case, international names as in DNS.

    `*` means every name, and `*.example.com` every name that ends so. IPv6 literals may stand in brackets.

    Raises:
        ValueError: There is a path, a user, or something that is no name.
    """
    rest = _SCHEME.sub("", text.strip().lower(), count=1).removesuffix("/")
    if rest == EVERY_NAME or is_address(rest):
        return rest
    if "/" in rest:
        raise ValueError("should be a name without a path; the path is set by --root-path")
    named = _PORT.fullmatch(rest)
    name = _in_dns((named[1] if named else rest).removesuffix("."))
    literal = name.removeprefix("[").removesuffix("]")
    if is_address(literal):
        return literal
    if not _NAME.fullmatch(name):
        raise ValueError("should be a name such as img.example.com or *.example.com")
    return name


def _in_dns(name: str) -> str:
    if name.isascii():
        return name
    star = "*." if name.startswith("*.") else ""
    try:
        return star + idna.encode(name.removeprefix(star), uts46=True).decode()
    except idna.IDNAError:
        return name


class HostNames:
    """A set of names in the form of `host_name`, with stars."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = frozenset(names)
        self._ends = tuple(name.removeprefix("*") for name in self._exact if name.startswith("*."))

    def __contains__(self, name: str) -> bool:
        known = name.lower().removesuffix(".")
        return known in self._exact or known.endswith(self._ends) or EVERY_NAME in self._exact


def ip_address(text: str) -> IPAddress | None:
    """Return the address in *text*, whose zone is ignored; IPv4 inside IPv6 is IPv4. None: there is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_of(host: str) -> str:
    """Return the client that *host* is an address of: itself, or of IPv6 its /64 network, which one machine may own."""
    address = ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address) if address else host


def is_address(text: str) -> bool:
    """Return whether *text* is an IPv4 or IPv6 address."""
    return ip_address(text) is not None


def network(text: str) -> str:
    """Return the network in *text*, an address or a network such as 10.0.0.0/8; IPv4 inside IPv6 is IPv4.

    IPv6 addresses may have brackets, and a zone, which is ignored.

    Raises:
        ValueError: It is neither.
    """
    try:
        given = ipaddress.ip_network(_IN_NETWORKS.sub("", text.strip()), strict=False)
    except ValueError:
        raise ValueError("should be an address or a network such as 10.0.0.0/8") from None
    mapped = getattr(given.network_address, "ipv4_mapped", None)
    return f"{mapped}/{given.prefixlen - _MAPPED_BITS}" if mapped and given.prefixlen >= _MAPPED_BITS else str(given)


def root_path(text: str) -> str:
    """Return the path in *text*, decoded, with a slash at its start and none at its end; "" for the root itself.

    Raises:
        ValueError: It has parts that are not of a path.
    """
    path = unquote(text.strip()).strip("/")
    if _SCHEME.match(path) or _NOT_IN_PATHS.search(path):
        raise ValueError("should be a path such as /zimage")
    return f"/{path}" if path else ""
