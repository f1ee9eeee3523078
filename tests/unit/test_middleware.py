"""`Guard` and its checks around a tiny application. Around the real one: `tests/e2e/test_edge.py`."""

import asyncio
import base64
import json
import socket

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from tests.factories import authentication
from zimage_cache.accounts.users import Account
from zimage_cache.web.bodies import release_body
from zimage_cache.web.errors import Refused
from zimage_cache.web.middleware import (
    Guard,
    body_size,
    checks,
    host_rule,
    origin_rule,
)

pytestmark = pytest.mark.anyio


async def nothing_comes():
    raise AssertionError("nothing was to be received")


async def nothing_goes(_message):
    raise AssertionError("nothing was to be sent")


async def echo(_scope, receive, send):
    """Answer with what was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": body})


async def ask(app, *pieces: bytes, path="/", method="POST", **headers: str):
    """Send one request through *app*; give status, headers and body."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    arriving, sent = iter([*messages, {"type": "http.request", "body": b""}]), []

    async def receive():
        return next(arriving)

    async def send(message):
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    await app(scope, receive, send)
    start, *rest = sent
    assert [message.get("more_body", False) for message in rest] == [True] * (len(rest) - 1) + [False]
    return start["status"], Headers(raw=start["headers"]), b"".join(message.get("body", b"") for message in rest)


async def test_bodies_are_bounded_as_they_arrive():
    """A body that lied about its length is cut off at the bound with 413; one of exactly the bound passes."""
    guard = Guard(echo, [], max_body_bytes=10)
    status, _, body = await ask(guard, b"12345", b"67890")
    assert (status, body) == (200, b"1234567890")
    status, _, body = await ask(guard, b"12345", b"678901")
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("bounds", [{"max_body_bytes": 10}, {"max_arriving_bytes": 10}])
async def test_a_body_that_goes_too_far_ends_an_answer_that_has_begun(bounds):
    """Such as a stream that looks whether its client is still there: the answer just ends, no second one begins."""

    async def app(_scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await receive()

    status, _, body = await ask(Guard(app, [], **bounds), b"123456", b"123456")
    assert (status, body) == (200, b"")


async def test_checks_run_in_order_and_the_first_refusal_counts():
    """The application never sees what a check refused."""
    reached = []

    async def app(scope, _receive, _send):
        reached.append(scope)

    first, second = Refused("forbidden", "other_site"), Refused("not_found", "nothing_here")
    refusals = [lambda *_: None, lambda *_: first, lambda *_: second]
    status, headers, body = await ask(Guard(app, refusals), x_request_id="mine")
    assert status == 403
    assert json.loads(body)["error"] == {
        "code": "forbidden",
        "message": "requests from other web sites are not answered",
        "rule": "other_site",
        "params": {},
        "request_id": "mine",
    }
    assert headers["x-request-id"] == "mine"
    assert reached == []


@pytest.mark.parametrize(("sent", "status"), [(0, 503), (1, 200), (2, 200), (3, 200)])
async def test_a_stopping_server_ends_a_request_quietly(sent, status):
    """Requests cancelled by a stopping server end normally: a stream ends, a waiting request gets an error."""
    answer = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"half", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]

    async def app(_scope, _receive, send):
        for message in answer[:sent]:
            await send(message)
        raise asyncio.CancelledError

    got, _, body = await ask(Guard(app, []))
    assert got == status
    assert (b'"cancelled"' in body) == (sent == 0)


async def test_start_and_stop_pass():
    """The lifespan is no request."""
    seen = []

    async def app(scope, _receive, _send):
        seen.append(scope)

    await Guard(app, [lambda *_: Refused("forbidden", "other_site")])({"type": "lifespan"}, nothing_comes, nothing_goes)
    assert seen == [{"type": "lifespan"}]


@pytest.mark.parametrize("kind", ["websocket", "webtransport"])
async def test_what_is_not_http_is_closed(kind):
    """WebSocket is not supported: connections are closed without any check."""
    reached, sent = [], []

    async def app(scope, _receive, _send):
        reached.append(scope)

    async def send(message):
        sent.append(message)

    await Guard(app, [])({"type": kind, "path": "/", "headers": []}, nothing_comes, send)
    assert (reached, sent) == ([], [{"type": "websocket.close", "code": 1008}])


async def test_bodies_together_are_bounded():
    """The body that has been arriving longest goes for a new one, in words, and what it held is free again."""
    guard, more = Guard(echo, [], max_arriving_bytes=10), asyncio.Event()

    async def upload(size, *, ends):
        arriving = iter([{"type": "http.request", "body": b"x" * size, "more_body": not ends}])
        sent = []

        async def receive():
            if message := next(arriving, None):
                return message
            await more.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await guard({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
        return sent[0]["status"]

    async with asyncio.timeout(60):
        slow = [asyncio.create_task(upload(4, ends=False)) for _ in range(2)]
        while guard.bodies.held < 8:  # noqa: ASYNC110 - bytes have no event
            await asyncio.sleep(0)
        assert await upload(6, ends=True) == 200
        assert await slow[0] == 503
        more.set()
        assert await slow[1] == 200
        assert await upload(11, ends=True) == 503
    assert guard.bodies.held == 0


async def test_requests_without_bodies_do_not_make_room_for_bodies():
    """A picture that is being sent, and a job that is being followed, outlast any number of bodies."""
    more = asyncio.Event()

    async def app(scope, receive, send):
        if scope["method"] == "GET":
            await more.wait()
        await echo(scope, receive, send)

    guard = Guard(app, [], max_arriving_bytes=10)
    async with asyncio.timeout(60):
        download = asyncio.create_task(ask(guard, method="GET"))
        await asyncio.sleep(0)
        assert (await ask(guard, b"x" * 6, b"x" * 5))[0] == 503
        more.set()
        assert (await download)[0] == 200


async def test_bodies_of_the_greediest_address_go():
    """Who holds many bytes makes room, not who has been sending few for longer, nor a request without a body."""
    guard, more = Guard(echo, [], max_arriving_bytes=10), asyncio.Event()

    async def upload(size, address):
        arriving = iter([{"type": "http.request", "body": b"x" * size, "more_body": True}])
        sent = []

        async def receive():
            if message := next(arriving, None):
                return message
            await more.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": (address, 1)}
        await guard(scope, receive, send)
        return sent[0]["status"]

    async with asyncio.timeout(60):
        asking = []
        for held, (size, address) in enumerate([(0, "greedy"), (3, "honest"), (3, "greedy"), (3, "greedy")]):
            asking.append(asyncio.create_task(upload(size, address)))
            while guard.bodies.held < 3 * held:  # noqa: ASYNC110 - bytes have no event
                await asyncio.sleep(0)
        asking.append(asyncio.create_task(upload(3, "greedy")))
        assert await asking[2] == 503
        more.set()
        assert [await asking[nth] for nth in (0, 1, 3, 4)] == [200] * 4


async def test_a_body_counts_until_it_is_parsed():
    """What waits for a picture no longer holds the bytes it was asked for with."""
    counted = []

    async def app(scope, receive, send):
        await receive()
        counted.append(guard.bodies.held)
        release_body(scope)
        counted.append(guard.bodies.held)
        await echo(scope, receive, send)

    guard = Guard(app, [])
    assert (await ask(guard, b"12345"))[0] == 200
    assert counted == [5, 0]


async def test_answers_are_handed_over_in_pieces():
    """A client that does not read holds one piece of a picture in memory, not all of it."""
    answer = bytes(range(256)) * 4096
    sent = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def send(message):
        sent.append(message)

    await Guard(app, [])({"type": "http", "method": "GET", "path": "/", "headers": []}, nothing_comes, send)
    pieces = [message["body"] for message in sent[1:]]
    assert b"".join(pieces) == answer
    assert [len(piece) for piece in pieces] == [2**18] * 4
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * 3 + [False]


async def test_pages_get_a_policy():
    """HTML answers forbid loading from other sites and framing by other sites."""
    _, headers, _ = await ask(Guard(echo, []), b"x")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("length", "fits"), [("0", True), ("1048576", True), ("1048577", False), ("-1", False), ("²", False)]
)
def test_announced_lengths(length, fits):
    """One MiB at most; what is no number is refused as well."""
    assert (body_size({"path": "/generate"}, Headers({"content-length": length})) is None) == fits


@pytest.mark.parametrize(
    ("host", "origin", "fine"),
    [
        ("127.0.0.1:7860", "https://img.example.com", False),
        ("localhost:7860", None, True),
        ("localhost:7860", "http://localhost:7860", True),
        ("localhost:7860", "https://LOCALHOST:7860", True),
        ("localhost:7860", "http://localhost", False),
        ("localhost:7860", "null", False),
        ("localhost:7860", "", False),
        ("localhost:7860", "http://[", False),
        ("localhost:7860", "localhost:7860", False),
    ],
)
def test_origins(host, origin, fine):
    """A write comes from our own page or from no page; reads may come from anywhere."""
    headers = Headers({"host": host} | ({} if origin is None else {"origin": origin}))
    rule = origin_rule(())
    assert (rule({"method": "POST"}, headers) is None) == fine
    assert (rule({"method": "DELETE"}, headers) is None) == fine
    assert rule({"method": "GET"}, headers) is None


@pytest.mark.parametrize(
    ("origin", "rule"),
    [
        ("null", "nameless_origin"),
        ("file://", "nameless_origin"),
        ("chrome-extension://abcdef", "nameless_origin"),
        ("moz-extension://1b-2c", "nameless_origin"),
        ("http://[", "nameless_origin"),
        ("http://img.example", "other_origin"),
        ("HTTPS://img.example:8443", "other_origin"),
    ],
)
def test_what_is_said_about_a_page(origin, rule):
    """A setting is advised only for a page that has a name to give it."""
    refusal = origin_rule(())({"method": "POST"}, Headers({"host": "localhost:7860", "origin": origin}))
    assert refusal is not None
    assert refusal.reason.rule == rule


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "img.example.com", "img.example.com:8443"])
@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("https://img.example.com", True),
        ("https://IMG.example.com:8443", True),
        ("http://a.b.example.org", True),
        ("https://example.org", False),
        ("https://ximg.example.com", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_allowed_names(host, origin, fine):
    """A proxy may change name and port in `Host`: the operator's names count at every port."""
    rule = origin_rule(["img.example.com", "*.example.org"])
    assert (rule({"method": "POST"}, Headers({"host": host, "origin": origin})) is None) == fine


@pytest.mark.parametrize(
    ("site", "origin", "fine"),
    [
        ("same-origin", "http://127.0.0.1:8131", True),
        ("same-origin", "http://192.168.1.5:8080", True),
        ("same-origin", "https://localhost", True),
        ("same-origin", "https://evil.example", False),  # its name leads here
        ("same-origin", "null", False),
        ("same-site", "http://127.0.0.1:7860", False),
        ("cross-site", "http://127.0.0.1:7860", False),
        ("none", "http://127.0.0.1:8131", False),
    ],
)
def test_what_browsers_say_of_the_page(site, origin, fine):
    """Behind a proxy that changes `Host` the browser's word is enough for a name that is this server's anyway."""
    headers = Headers({"host": "127.0.0.1:7860", "origin": origin, "sec-fetch-site": site})
    assert (origin_rule(())({"method": "POST"}, headers) is None) == fine


def test_every_name_is_no_leave_for_other_sites():
    """With `*`, pages of every name that leads here may write, but only with the browser's word or the same address."""
    rule = origin_rule(["*"])

    def answers(**headers: str) -> bool:
        return (
            rule({"method": "POST"}, Headers({name.replace("_", "-"): text for name, text in headers.items()})) is None
        )

    assert answers(host="a.example", origin="http://a.example")
    assert answers(host="127.0.0.1", origin="http://a.example", sec_fetch_site="same-origin")
    assert not answers(host="127.0.0.1", origin="http://a.example")
    assert not answers(host="127.0.0.1", origin="null", sec_fetch_site="same-origin")


def test_refused_pages_are_told_what_was_compared():
    """The message has both addresses and the setting that helps."""
    refusal = origin_rule(())({"method": "POST"}, Headers({"host": "127.0.0.1", "origin": "https://img.example.com"}))
    assert refusal is not None
    for word in ("https://img.example.com", "127.0.0.1", "--allowed-host img.example.com", "proxy"):
        assert word in str(refusal)


@pytest.mark.parametrize(
    ("allowed", "hosts"),
    [
        ("gallery.example", {"gallery.example": True, "Gallery.Example.": True, "x.gallery.example": False}),
        ("*.gallery.example", {"x.gallery.example": True, "a.x.gallery.example:8443": True, "gallery.example": False}),
        ("*", {"anything": True}),
        ("other", {"[fe80::1]:80": True, "": False, "10.0.0.1": True, socket.gethostname(): True}),
    ],
)
def test_hosts_are_ours_or_addresses(allowed, hosts):
    """Names are compared whole and without regard to case; a star stands for one or more names before the rest."""
    rule = host_rule([allowed])
    assert {host: rule({}, Headers({"host": host})) is None for host in hosts} == hosts


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        ("Basic " + base64.b64encode("ann:pä".encode()).decode(), True),
        ("basic  " + base64.b64encode("ann:pä".encode()).decode(), True),
        ("Bearer " + "pä".encode().decode("latin-1"), True),
        ("Bearer pä", False),
        ("Bearer ", False),
        ("Basic ", False),
        ("", False),
        ("Token " + "pä".encode().decode("latin-1"), False),
    ],
)
async def test_credentials(given, fine, tmp_path):
    """Both schemes are accepted, in any case; other requests see only the status of the server."""
    seen = []

    async def app(scope, _receive, send):
        seen.append(scope.get("account"))
        await Response()(scope, _receive, send)

    guard = Guard(app, [], authentication=authentication(tmp_path, "ann:pä"))
    assert (await ask(guard, authorization=given))[0] == (200 if fine else 401)
    assert (await ask(guard, path="/health", authorization=given))[0] == 200
    ann = Account("ann", administrator=True)
    assert seen == ([ann, ann] if fine else [None])


async def test_passwords_are_asked_for_last(tmp_path):
    """A foreign page or name learns nothing about passwords."""
    guard = Guard(reached_by_none, checks([]), authentication=authentication(tmp_path, "ann:x"))
    for host, status in (("evil.example", 403), ("localhost", 401)):
        assert (await ask(guard, host=host))[0] == status


async def reached_by_none(*_: object) -> None:
    raise AssertionError
