"""The guard in front of our routes, the page and Gradio's routes: names, origins, passwords, headers, methods."""

import base64
import json
import logging
import re
import socket

import gradio
import pytest

from tests.factories import authentication
from tests.waiting import wait_until
from zimage_cache.generator.fake import FakeGenerator

from .conftest import Raw, picture

PAGE, GRADIO = "/", "/theme.css"
ASK = json.dumps({"prompt": "edge", "seed": 1, "width": 64, "height": 64, "steps": 1}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", [PAGE, GRADIO, "/health"])
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:7860",
        "127.0.0.1",
        "127.0.0.1:7860",
        "192.168.1.20:7860",
        "10.0.0.1",
        "203.0.113.9:80",
        "[::1]",
        "[::1]:7860",
        "[2001:db8::7]:443",
        "[fe80::1%25eth0]",
        socket.gethostname(),
        f"{socket.gethostname()}:7860",
        "gallery.example",
        "Gallery.Example:443",
    ],
)
def test_names_this_server_answers_to(house, path, host):
    """Loopback names, this machine's own, any IP literal (so other machines can use it), and names allowed."""
    assert house.raw("GET", path, headers={"Host": host}).status == 200


@pytest.mark.parametrize("path", [PAGE, GRADIO, "/health", "/ready", "/images/x.png", "/no/such"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "gallery.example.evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.1evil",
        "[evil]",
        "[]",
        "",
        ":7860",
        "999.1.1.1",
        "0x7f000001",
        "localhost@evil.example",
        "evil.example#localhost",
        "127.0.0.1, evil.example",
        "localhost:1@evil.example",
        "localhost:x",
        "localhost/",
        "user@localhost",
        "[::1]@evil.example",
        "[::1]x",
        "[127.0.0.1]",
        "[fe80::1%<b>]",
    ],
)
def test_foreign_names(house, expect_error, path, host):
    """A foreign name is how DNS rebinding looks: 403, whatever is asked for, saying how to allow it."""
    assert "--allowed-host" in expect_error(house.raw("GET", path, headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server", "X-Forwarded-Prefix", "Forwarded"])
def test_a_name_that_no_trusted_proxy_passed_on(house, header):
    """Gradio would take it for its own, and pages would load their scripts from there: so it is not told."""
    answer = house.raw("GET", "/", headers={header: "host=evil.example"})
    assert answer.status == 200
    assert b"evil.example" not in answer.body


def test_behind_a_trusted_proxy(serve, expect_error):
    """Name and client are those that the proxy tells: refused like others, allowed like others, each with a turn."""
    web = {"allowed_hosts": ["gallery.example"], "trusted_proxies": ["127.0.0.1/32"]}
    house = serve(web=web, queue_size=8)
    forwarded = {"X-Forwarded-Host": "gallery.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    page = house.raw("GET", "/", headers=forwarded)
    assert page.status == 200
    assert b'"root":"https://gallery.example"' in page.body.replace(b'": "', b'":"')
    refused = house.raw("GET", "/", headers={**forwarded, "X-Forwarded-Host": "evil.example"})
    expect_error(refused, 403, "forbidden")
    own = {**forwarded, "Origin": "https://gallery.example"}
    assert house.generate(own).status_code == 200
    foreign = house.generate({**forwarded, "Origin": "https://evil.example"})
    assert "https://evil.example" in expect_error(foreign, 403, "forbidden_origin")


@pytest.mark.parametrize("before", ["", "/zimage"])
def test_below_a_path(serve, before):
    """The proxy may take the path off or not; every address in an answer has it, and works."""
    house = serve(web={"root_path": "/zimage"})

    def get(path: str) -> Raw:
        return house.raw("GET", f"{before}{path.removeprefix('/zimage')}")

    image = house.client.post(f"{before}/generate", json=picture()).json()["images"][0]
    assert image["image_url"].startswith("/zimage/images/")
    assert get(image["image_url"]).headers["content-type"] == "image/png"
    opened = house.client.post(f"{before}/jobs", json=picture())
    assert opened.json()["images"][0]["image_url"] == image["image_url"]
    assert get(opened.headers["location"]).status == 200
    wait_until(lambda: house.client.get(f"{before}/history").json()["pictures"])
    (listed,) = house.client.get(f"{before}/history").json()["pictures"]
    (entry,) = house.client.get(f"{before}/cache/entries").json()["entries"]
    for address in (listed["image_url"], listed["thumbnail_url"], entry["image_url"], entry["thumbnail_url"]):
        assert address.startswith("/zimage/")
        assert get(address).headers["content-type"].startswith("image/")
    assert get("/").status == get("/theme.css").status == get("/health").status == 200
    assert b'"/zimage/openapi.json' in get("/docs").body.replace(b"'", b'"')
    assert get("/gradio_api/user").status == get("/no/such").status == 404
    assert get("/gradio_api/info").status == get("/config").status == 200


def test_the_path_itself_leads_to_its_slash(serve):
    """The page's own addresses are relative to it."""
    house = serve(web={"root_path": "/zimage"})
    moved = house.raw("GET", "/zimage?x=1")
    assert (moved.status, moved.headers["location"]) == (307, "/zimage/?x=1")
    assert house.raw("GET", "/zimagex").status == 404


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/health", 200),
        ("http://gallery.example:80/health", 200),
        ("HTTP://localhost/health?x=1", 200),
        ("http://localhost", 200),
        ("http://localhost/no/such", 404),
        ("http://localhost/gradio_api/user", 404),
        ("http://evil.example/health", 403),
        ("http://localhost@evil.example/health", 403),
        ("http:///health", 403),
        ("ftp://localhost/health", 404),
        ("*", 404),
    ],
)
def test_whole_addresses_as_targets(house, target, status):
    """HTTP wants servers to take what is sent to proxies; the name in it counts, whatever `Host` says."""
    assert house.raw("GET", target).status == status
    assert house.raw("GET", target, headers={"Host": "evil.example"}).status in {status, 403}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:7860", "Host": "localhost:7860"},
        {"Origin": "https://LOCALHOST", "Host": "localhost"},
        {"Origin": "http://[::1]:7860", "Host": "[::1]:7860"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=repr,
)
def test_our_own_pages_and_programs_may_ask(house, headers):
    """Programs send no Origin; our own page sends the name it was reached by."""
    assert house.raw("POST", "/generate", ASK, JSON | headers).status == 200


@pytest.mark.parametrize("path", ["/generate", "/lookup", "/gradio_api/queue/join", "/gradio_api/run/x", "/no/such"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://["},
        {"Origin": "http://localhost@evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=repr,
)
def test_foreign_pages_may_not_ask(house, expect_error, path, headers):
    """Requests from a page of another site: 403 on every method that is no read, of our routes and Gradio's."""
    drawn = len(house.studio.generator.recipes)
    expect_error(house.raw("POST", path, ASK, JSON | headers), 403, "forbidden_origin")
    assert len(house.studio.generator.recipes) == drawn


@pytest.mark.parametrize("path", [PAGE, GRADIO, "/health", "/generate"])
def test_no_cross_origin_grants(house, path):
    """CORS is closed: no answer, and no preflight, ever allows another origin."""
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        answer = house.raw(method, path, headers=foreign)
        assert not [name for name in answer.headers if name.startswith("access-control-allow-origin")]
        assert answer.headers["x-request-id"]


# Passwords

USER, PASSWORD = "ann", "pa:ss wörd"
OPEN = ["/health", "/ready"]
CLOSED = [
    "/",
    "/theme.css",
    "/config",
    "/openapi.json",
    "/images/x.png",
    "/images/" + "0" * 64 + ".png",
    "/theme.css",
]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def bearer(text: str) -> dict[str, str]:
    # As programs send it: UTF-8 bytes, which the header's own Latin-1 spells differently.
    return {"Authorization": "Bearer " + text.encode().decode("latin-1")}


@pytest.fixture(scope="module")
def locked(studio_class, tmp_path_factory, house):
    """A server that requires a password."""
    folder = tmp_path_factory.mktemp("locked")
    studio = studio_class(folder, FakeGenerator())
    studio.start()
    made = type(house)(studio, authentication=authentication(folder, f"{USER}:{PASSWORD}"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("ann:wrong"),
        basic(f"bob:{PASSWORD}"),
        basic(USER),
        basic(""),
        basic(f"{USER}:{PASSWORD} "),
        bearer("wrong"),
        bearer(""),
        bearer(f"{USER}:{PASSWORD}"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest x"},
        {"Authorization": PASSWORD.encode().decode("latin-1")},
        {"Authorization": ""},
        {"Cookie": "access-token=x"},
    ],
    ids=lambda headers: str(list(headers.values())),
)
@pytest.mark.parametrize("path", CLOSED)
def test_without_the_password_nothing_is_shown(locked, expect_error, path, headers):
    """Page, our routes and Gradio's alike: 401 with a challenge."""
    answer = locked.raw("GET", path, headers=headers)
    expect_error(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("path", ["/generate", "/lookup", "/gradio_api/queue/join"])
def test_without_the_password_nothing_is_drawn(locked, expect_error, path):
    """The same for what is sent."""
    expect_error(locked.raw("POST", path, ASK, JSON), 401, "unauthorized")
    assert locked.studio.generator.recipes == []


@pytest.mark.parametrize("headers", [basic(f"{USER}:{PASSWORD}"), bearer(PASSWORD)], ids=["basic", "bearer"])
@pytest.mark.parametrize("path", ["/", "/theme.css", "/health"])
def test_with_the_password(locked, path, headers):
    """User and password from browsers, the password alone from programs; case of the scheme does not matter."""
    assert locked.raw("GET", path, headers=headers).status == 200
    swapped = {"Authorization": headers["Authorization"].swapcase()[:6] + headers["Authorization"][6:]}
    assert locked.raw("GET", path, headers=swapped).status == 200


@pytest.mark.parametrize("path", OPEN)
def test_health_without_credentials_has_status_and_time_only(locked, path):
    """Open for watchdogs without a password, all of it with one."""
    unauthenticated = json.loads(locked.raw("GET", path).body)
    assert set(unauthenticated) == {"status", "timestamp"}
    friend = json.loads(locked.raw("GET", path, headers=bearer(PASSWORD)).body)
    assert {"status", "timestamp", "model", "device", "phase", "share", "detail", "room", "troubles"} <= set(friend)


def test_pictures_are_private_under_a_password(locked):
    """No shared cache on the way may keep them, with and without the digest."""
    answer = locked.raw("POST", "/generate", ASK, JSON | bearer(PASSWORD))
    url = json.loads(answer.body)["images"][0]["image_url"]
    controls = [locked.raw("GET", path, headers=bearer(PASSWORD)).headers["cache-control"] for path in (url, url[:-11])]
    assert controls == ["private, max-age=31536000, immutable", "private, no-cache"]


# Headers, methods, and what is closed


@pytest.mark.parametrize("path", ["/", "/health", "/gradio_api/info", "/images/x.png", "/no/such", "/theme.css"])
def test_every_answer_is_stamped(house, path):
    """A request id, `nosniff`, a referrer policy; on pages a content policy that keeps everything local."""
    answer = house.raw("GET", path)
    assert re.fullmatch(r"[0-9a-f]{12}", answer.headers["x-request-id"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    policy = answer.headers.get("content-security-policy", "")
    assert ("default-src 'self'" in policy) == answer.headers["content-type"].startswith("text/html")
    assert "http:" not in policy
    assert "https:" not in policy


@pytest.mark.parametrize("name", ["a", "job-17.b_2", "x" * 64])
def test_a_harmless_request_id_is_kept(house, expect_error, name):
    """The caller's own id comes back, in the header and in errors."""
    answer = house.raw("GET", "/images/x.png", headers={"X-Request-Id": name})
    assert answer.headers["x-request-id"] == name
    expect_error(answer, 404, "not_found")


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a;b", "<script>", "é", 'a"b', "a\tb", "${x}"])
def test_another_request_id_is_replaced(house, name):
    """What could forge log lines or markup is not repeated."""
    answer = house.raw("GET", "/health", headers={"X-Request-Id": name})
    assert re.fullmatch(r"[0-9a-f]{12}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/generate", {"POST"}),
        ("/lookup", {"POST"}),
        ("/jobs", {"POST"}),
        ("/jobs/" + "0" * 32, {"GET", "HEAD", "DELETE"}),
        ("/jobs/" + "0" * 32 + "/events", {"GET"}),
        ("/health", {"GET", "HEAD"}),
        ("/ready", {"GET", "HEAD"}),
        ("/images/" + "0" * 64 + ".png", {"GET", "HEAD"}),
        ("/images/" + "0" * 64 + "/thumbnail.webp", {"GET", "HEAD"}),
    ],
)
def test_other_methods(house, expect_error, path, allow):
    """405 in our shape, naming what is allowed, where the page behind us would say 404."""
    for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"} - allow):
        answer = house.raw(method, path)
        assert expect_error(answer, 405, "method_not_allowed").startswith(method)
        assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/no/such", "/nothing.png", "/jobs/", "/jobs/x/y", "/gradio", "/%00", "/generate/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_addresses(house, expect_error, method, path):
    """Left over for the page, which does not know them either: our shape, and where to read what there is."""
    assert "/docs" in expect_error(house.raw(method, path), 404, "not_found")


def test_the_page_takes_no_other_method(house, expect_error):
    """405 in our shape on `/` too."""
    for method in ("POST", "OPTIONS", "TRACE"):
        answer = house.raw(method, "/")
        expect_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/file=http://localhost/",
            "/gradio_api/file=https://example.com/a.png",
            "/gradio_api/file=/etc/x",
        ),
        *("/gradio_api/file/http://localhost/", "/gradio_api//file=http://localhost/", "//gradio_api/file=http://x/"),
        *("/gradio_api/%66ile=http://localhost/", "/gradio_api/proxy=http://localhost/", "/gradio_api/heartbeat/abc"),
        *("/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/process_recording", "/monitoring/summary"),
        *("/gradio_api/queue/status", "/gradio_api/stream/x", "/gradio_api/run/generate", "/gradio_api/call/x"),
        *("/gradio_api/api/generate", "/gradio_api/call/v2/generate", "/gradio_api/openapi.json", "/config/"),
        *(
            "/gradio_api/component_server",
            "/gradio_api/startup-events",
            "/manifest.json",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_gradio_would_offer_and_we_do_not(house, expect_error, method, path):
    """No address is fetched, no file is taken, no session begun: it looks as if it were not there."""
    answer = house.raw(method, path, b"{}" if method == "POST" else b"", JSON)
    if method != "HEAD":
        expect_error(answer, 404, "not_found")
    assert answer.status == 404


def test_the_page_reads_no_file_its_address_names(house):
    """Gradio would look for a stored state by a name in the address."""
    assert 'deep_link_state":"none' in house.client.get("/?deep_link=../../x").text.replace(" ", "")


def test_the_page_has_no_other_address_than_its_own(house):
    """Gradio would take the address for its scripts from a header."""
    answer = house.client.get("/", headers={"X-Gradio-Server": "http://elsewhere.example"})
    assert "elsewhere.example" not in answer.text


@pytest.mark.parametrize("path", ["/assets/" + "a" * 300, "/static/" + "a/" * 4000])
def test_names_that_no_file_can_have(house, expect_error, path):
    """Not there, like any other file that is not; no file system is asked."""
    expect_error(house.raw("GET", path), 404, "not_found")


def test_an_unexpected_exception_on_the_page(house, expect_error, monkeypatch, caplog):
    """An error in Gradio is answered in our shape, too."""

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(gradio.route_utils, "get_root_url", broken)
    with caplog.at_level(logging.ERROR):
        expect_error(house.raw("GET", "/"), 500, "internal_error")
        wait_until(lambda: "ZeroDivisionError" in caplog.text)


def test_monitors_may_ask_for_the_head_alone(house):
    """HEAD is GET without the body, as uptime monitors and proxies send it."""
    answer = house.raw("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/generate", "/no/such", "/"])
def test_large_bodies_reach_nothing(house, expect_error, path):
    """The bound holds in front of everything, announced or not, and leaves no broken connection behind."""
    body = b'{"data": ["' + b"x" * 2**20 + b'"]}'
    expect_error(house.client.post(path, content=body, headers=JSON), 413, "too_large")
    pieces = (body[i : i + 65536] for i in range(0, len(body), 65536))
    assert house.client.post(path, content=pieces, headers=JSON).status_code in {404, 405, 413}
    assert house.client.get("/health").status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999999999999999999999"])
def test_a_length_that_is_none(house, length):
    """Refused without reading; nothing falls over."""
    answer = house.raw("POST", "/generate", headers=JSON | {"Content-Length": length})
    assert answer.status in {400, 413}
    assert house.client.get("/health").status_code == 200


def test_an_unexpected_exception(serve, expect_error, caplog):
    """A bug of ours: 500 in our shape with the request id and all stamps, the traceback in the log alone."""
    house = serve()

    def state(_model=None):
        raise RuntimeError("secret detail")

    house.studio.service.state = state
    with caplog.at_level(logging.ERROR):
        answer = house.raw("GET", "/health", headers={"X-Request-Id": "mine"})
        wait_until(lambda: "secret detail" in caplog.text)
    assert "secret" not in expect_error(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"


def test_every_get_route_answers_head(house):
    """None says 405 and allows HEAD at the same time; streams do not answer it."""
    described = house.client.get("/openapi.json").json()["paths"]
    streams = {path for path in described if path.endswith("/events")}
    gets = [path for path, methods in described.items() if "get" in methods and path not in streams]
    assert len(gets) > 25
    for path in gets:
        answer = house.raw("HEAD", re.sub(r"\{[^}]*\}", "0" * 64, path))
        assert answer.status != 405, path
        assert answer.body == b""
