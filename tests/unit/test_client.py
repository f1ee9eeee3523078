"""The command line's side of our HTTP API: the server's words, or one line of our own."""

import base64
import json
from collections.abc import Callable

import httpx
import pytest

from tests.waiting import replace_time
from zimage_cache.cli import client
from zimage_cache.cli.client import Client
from zimage_cache.errors import ServerError
from zimage_cache.servers import local_url

URL = "http://127.0.0.1:7860"
ANSWER = {"images": [{"image_url": "/images/x.png?v=1"}], "duration": 0.5, "warnings": []}
REFUSAL = {"error": {"code": "queue_full", "message": "the queue is full; ask again", "request_id": "r"}}


class Server:
    """Answers from a list, one request each, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def make_client(server: Callable[[httpx.Request], httpx.Response], **options) -> Client:
    return Client(URL, transport=httpx.MockTransport(server), **options)


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """Let no time pass between two looks, and tell how long each nap would have been."""
    taken: list[float] = []
    replace_time(monkeypatch, [client], sleep=taken.append)
    return taken


def test_generate_sends_the_body_and_returns_the_answer():
    """What is asked arrives as it is, and the answer comes back as it is."""
    server = Server(httpx.Response(200, json=ANSWER))

    assert make_client(server).generate({"prompt": "红 🦊", "n": 2}) == ANSWER
    [request] = server.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/generate")
    assert json.loads(request.content) == {"prompt": "红 🦊", "n": 2}


@pytest.mark.parametrize("status", [404, 422, 503, 507])
def test_a_refusal_is_reported_in_the_servers_words(status):
    """The server knows best what to do."""
    with pytest.raises(ServerError, match=r"^the queue is full; ask again$"):
        make_client(Server(httpx.Response(status, json=REFUSAL))).generate({})


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(500, json=["no"]),
        httpx.Response(404, json={"error": "no"}),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(302, headers={"Location": "/login"}),
        httpx.Response(200, json={"status": "ok"}),
        httpx.Response(200, json=[]),
        httpx.Response(200, text="<html>hello</html>"),
        httpx.ConnectError("Connection refused"),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("garbage"),
    ],
    ids=lambda answer: str(answer)[:40],
)
def test_anything_else_is_one_line_with_the_address(answer):
    """Other programs on the port, proxies, and a port without a listener."""
    with pytest.raises(ServerError) as raised:
        make_client(Server(answer)).generate({})

    assert str(raised.value).startswith(URL)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) > len(URL) + 5


def test_a_password_that_is_missing():
    """The server's words, and the flags that help."""
    with pytest.raises(ServerError, match=r"^the queue is full; ask again; sign in with --auth user:password or"):
        make_client(Server(httpx.Response(401, json=REFUSAL))).generate({})


def test_a_picture_is_its_bytes():
    """The file written is the file stored."""
    server = Server(httpx.Response(200, content=b"\x89PNG\0"))

    assert make_client(server).picture("/images/x.png?v=1") == b"\x89PNG\0"
    assert str(server.requests[0].url) == f"{URL}/images/x.png?v=1"


@pytest.mark.parametrize(
    ("base", "image_url", "asked"),
    [
        ("/zimage", "/zimage/images/x.png?v=1", "/zimage/images/x.png?v=1"),
        ("/图", "/%E5%9B%BE/images/x.png?v=1", "/%E5%9B%BE/images/x.png?v=1"),
        ("/%E5%9B%BE/", "/%E5%9B%BE/images/x.png", "/%E5%9B%BE/images/x.png"),
        ("/user/ann%40x/proxy", "/user/ann@x/proxy/images/x.png", "/user/ann%40x/proxy/images/x.png"),
        ("/im", "/images/x.png?v=1", "/im/images/x.png?v=1"),
        ("/proxy/7860", "/images/x.png", "/proxy/7860/images/x.png"),
    ],
)
def test_a_picture_below_a_path(base, image_url, asked):
    """The path counts once, encoded or not in the given address, also where the server was not told of it."""
    server = Server(httpx.Response(200, content=b"\x89PNG"))
    Client(f"http://h{base}", transport=httpx.MockTransport(server)).picture(image_url)
    assert str(server.requests[0].url) == f"http://h{asked}"


def test_a_picture_that_is_gone():
    """An eviction between answer and fetch is an ordinary error, not a traceback."""
    with pytest.raises(ServerError, match=r"answers HTTP 410$"):
        make_client(Server(httpx.Response(410))).picture("/images/x.png")


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (httpx.Response(200, json={"status": "loading"}), {"status": "loading"}),
        (httpx.Response(503, json={"status": "error"}), {"status": "error"}),
        (httpx.Response(200, json={"hello": 1}), None),
        (httpx.Response(200, json=["status"]), None),
        (httpx.Response(200, text="up"), None),
        (httpx.ConnectError("no"), None),
        (httpx.ReadTimeout("no"), None),
    ],
)
def test_health_tells_our_server_from_anything_else(answer, health):
    """Without a server, or with another program on the port, the command draws in its own process."""
    assert make_client(Server(answer)).health() == health


def test_waiting_until_ready(naps):
    """A server that is still to start, then loads, then is ready: three looks, two naps."""
    loading = httpx.Response(503, json={"status": "loading", "phase": "checking files"})
    server = Server(httpx.ConnectError("Connection refused"), loading, httpx.Response(200, json={"status": "healthy"}))

    make_client(server).wait_until_ready(60)

    assert [request.url.path for request in server.requests] == ["/ready"] * 3
    assert len(naps) == 2


def test_a_server_that_never_is_ready(naps):
    """After the time limit the error has the server's last state; no pause exceeds the limit."""
    loading = httpx.Response(503, json={"status": "loading", "phase": "loading weights"})

    with pytest.raises(ServerError, match=r"is not ready after 0 s: loading, loading weights$"):
        make_client(lambda _request: loading).wait_until_ready(0)
    assert naps == []


def test_no_server_until_the_end(naps):
    """The error has the reason of the last attempt."""
    with pytest.raises(ServerError, match=r"is not ready after 0 s: Connection refused$"):
        make_client(Server(httpx.ConnectError("Connection refused"))).wait_until_ready(0)
    assert naps == []


def test_a_server_in_error_is_not_waited_for(naps):
    """What needs a person does not get better by waiting half an hour."""
    broken = httpx.Response(503, json={"status": "error", "phase": "", "detail": "vae is missing; fetch it"})

    with pytest.raises(ServerError, match=r"is not ready: error, vae is missing; fetch it$"):
        make_client(Server(broken)).wait_until_ready(1800)
    assert naps == []


def test_a_batch_request_says_so():
    """An ordinary one says nothing."""
    server = Server(httpx.Response(200, json=ANSWER), httpx.Response(200, json=ANSWER))
    client = make_client(server)
    for batch in (True, False):
        client.generate({}, batch=batch)
    assert [request.headers.get("X-Priority") for request in server.requests] == ["batch", None]


def test_credentials_go_along():
    """A server that asks for a password gets it, with every call."""
    server = Server(httpx.Response(200, json=ANSWER), httpx.Response(200, json={"status": "healthy"}))
    client = make_client(server, credentials=("ann", "a:b"))
    client.generate({})
    client.health()

    token = base64.b64encode(b"ann:a:b").decode()
    assert [request.headers["Authorization"] for request in server.requests] == [f"Basic {token}"] * 2


def test_without_credentials_nothing_is_sent():
    """Nor is anything from a `.netrc` or a proxy variable."""
    server = Server(httpx.Response(200, json=ANSWER))
    make_client(server).generate({})

    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(("seconds", "read"), [(5.0, 5.0), (None, None)])
def test_the_limit_of_an_answer(seconds, read):
    """A first picture may take minutes; connecting may not."""
    server = Server(httpx.Response(200, json=ANSWER))
    make_client(server, seconds=seconds).generate({})

    limits = server.requests[0].extensions["timeout"]
    assert limits["read"] == read
    assert limits["connect"] == 2.0


@pytest.mark.parametrize("url", ["", "localhost:7860", "ftp://x", "127.0.0.1", "http://[::1", "http://x:port"])
def test_what_is_no_address(url):
    """A mistyped `--url` is one line."""
    with pytest.raises(ServerError, match="address") as raised:
        Client(url)

    assert "\n" not in str(raised.value)


def test_the_overview_is_that_of_our_own_servers():
    """The answer of `/cache/stats` is returned; refusals, other programs and no answer are errors."""
    overview = {"this_process": {"misses": 1}}
    server = Server(httpx.Response(200, json=overview))

    assert make_client(server).overview() == overview
    assert server.requests[0].url.path == "/cache/stats"
    for answer in (httpx.Response(401, json=REFUSAL), httpx.Response(200, text="hi"), httpx.ConnectError("refused")):
        with pytest.raises(ServerError):
            make_client(Server(answer)).overview()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("0.0.0.0", "http://127.0.0.1:7860"),
        ("::", "http://[::1]:7860"),
        ("::1", "http://[::1]:7860"),
        ("gallery.example", "http://gallery.example:7860"),
    ],
)
def test_a_listening_address_becomes_one_to_ask(host, url):
    """Where a server listens everywhere, this machine asks it on loopback; IPv6 has its brackets."""
    assert local_url(host, 7860) == url
