"""`Proxies`: whose forwarded headers count, and what they change."""

import logging

import pytest
from starlette.datastructures import Headers

from zimage_cache.addresses import network
from zimage_cache.web.proxies import Proxies

NGINX = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-forwarded-host": "img.example.com"}


def seen(trusted, headers, peer="127.0.0.1"):
    """Return client, scheme, name asked for, and the names of all headers of a request through `Proxies`."""
    raw = [(name.encode(), text.encode()) for name, text in {"host": "127.0.0.1:7860", **headers}.items()]
    scope = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": raw}
    applied = Proxies(trusted).applied(scope)
    given = Headers(scope=applied)
    return applied["client"][0], applied["scheme"], given["host"], set(given)


def test_trusted_proxies_count():
    """Address, scheme and name are those that the client used; the headers themselves are gone."""
    assert seen(["127.0.0.1/32"], NGINX) == ("203.0.113.7", "https", "img.example.com", {"host"})


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"], ["::1/128"]])
def test_others_do_not_count(trusted, caplog):
    """Also on a loopback address; the log says once which setting would make them count."""
    with caplog.at_level(logging.WARNING):
        assert seen(trusted, NGINX) == ("127.0.0.1", "http", "127.0.0.1:7860", {"host"})
    assert "--trusted-proxy 127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "2001:db8::7", "::ffff:192.168.1.1"]
)
def test_the_setting_that_the_log_names_works(peer, caplog):
    """Also for IPv4 addresses as a socket for both versions shows them, and for link-local ones with their zone."""
    seen([], NGINX, peer)
    named = caplog.text.rpartition("--trusted-proxy ")[2].strip().strip("'")
    assert seen([network(named)], NGINX, peer)[0] == "203.0.113.7"


def test_requests_without_a_proxy_are_unchanged():
    """Nothing is copied or logged for them."""
    scope = {"type": "http", "scheme": "http", "client": ("127.0.0.1", 5), "headers": [(b"host", b"a")]}
    assert Proxies(["127.0.0.1/32"]).applied(scope) is scope


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),  # the first one was written by the client
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7 , 10.0.0.2,10.0.0.3", "203.0.113.7"),
        ("10.0.0.2", "10.0.0.2"),
        ("unknown, 10.0.0.2", "10.0.0.2"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.2", "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(chain, client):
    """What stands before it could be written by the client itself."""
    assert seen(["127.0.0.1/32", "10.0.0.0/8"], {"x-forwarded-for": chain})[0] == client


@pytest.mark.parametrize(
    ("headers", "scheme", "host"),
    [
        ({"x-forwarded-host": "evil.example, img.example.com"}, "http", "img.example.com"),
        ({"x-forwarded-proto": "https", "x-forwarded-port": "8443"}, "https", "127.0.0.1:7860"),
        ({"host": "a.example", "x-forwarded-proto": "https", "x-forwarded-port": "8443"}, "https", "a.example:8443"),
        ({"host": "a.example", "x-forwarded-proto": "https", "x-forwarded-port": "443"}, "https", "a.example"),
        ({"host": "[::1]", "x-forwarded-port": "8080"}, "http", "[::1]:8080"),
        ({"host": "a.example", "x-forwarded-port": "x"}, "http", "a.example"),
        ({"x-forwarded-proto": "gopher"}, "http", "127.0.0.1:7860"),
        ({"x-forwarded-proto": "http,https"}, "https", "127.0.0.1:7860"),
    ],
)
def test_scheme_name_and_port(headers, scheme, host):
    """The last ones count, those of the nearest proxy; the usual port of the scheme is not written."""
    assert seen(["127.0.0.1/32"], headers)[1:3] == (scheme, host)


@pytest.mark.parametrize("peer", ["::ffff:127.0.0.1", "127.0.0.1"])
def test_proxies_on_a_socket_for_both_families(peer):
    """IPv4 addresses arrive there inside IPv6."""
    assert seen(["127.0.0.1/32"], NGINX, peer)[0] == "203.0.113.7"


def test_headers_that_nothing_here_reads_are_removed():
    """Gradio, or a library behind it, might believe them."""
    given = {"forwarded": "for=6.6.6.6;host=evil.example", "x-real-ip": "6.6.6.6", "x-forwarded-prefix": "/evil"}
    for trusted in ([], ["127.0.0.1/32"]):
        assert seen(trusted, given) == ("127.0.0.1", "http", "127.0.0.1:7860", {"host"})
