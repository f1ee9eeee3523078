"""Several users of one server: what each may see and do, over HTTP."""

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from tests.factories import authentication, picture_entry
from tests.waiting import wait_until
from zimage_cache.accounts.limits import Attempts, Rate
from zimage_cache.accounts.salts import read_salts
from zimage_cache.accounts.sessions import Sessions
from zimage_cache.accounts.source import UserSource
from zimage_cache.accounts.users import Account, UserFile, Users, hashed, key_digest
from zimage_cache.cache.check import check
from zimage_cache.fingerprint import fingerprint
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.web.authentication import Authentication

from .conftest import picture

KEY = "k" * 32
LINES = ("ann:of ann", f"ben:{hashed('of ben')}", f"bot:sha256${key_digest(KEY)}")
ANN, BEN, BOT = ("ann", "of ann"), ("ben", "of ben"), {"Authorization": f"Bearer {KEY}"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Answered without an account: status alone, and what signs in.
OPEN = {"/health", "/ready", "/login", "/logout", "/favicon.ico"}
ADMINISTRATORS = re.compile(r"/cache/.*|/models/.*/(load|unload)")


@pytest.fixture(scope="module")
def shared(studio_class, tmp_path_factory, house) -> Iterator[Any]:
    """A server with an administrator, a user, and a program."""
    folder = tmp_path_factory.mktemp("shared")
    studio = studio_class(folder, FakeGenerator())
    studio.start()
    made = type(house)(studio, authentication=authentication(folder, *LINES))
    yield made
    made.close()


def routes(of: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield method and path of every route, those of mounted applications too."""
    for route in of:
        if isinstance(route, Mount):
            yield from routes(route.routes, prefix + route.path)
        elif router := getattr(route, "original_router", None):  # FastAPI includes routers without copying their routes
            yield from routes(router.routes, prefix)
        elif isinstance(route, APIRoute | Route):
            path = re.sub(r"\{[^}]*\}", "0" * 64, prefix + route.path)
            yield from ((method, path) for method in sorted(route.methods or {"GET"}))


def all_routes(house: Any) -> list[tuple[str, str]]:
    app = house.server.config.app
    found = list(dict.fromkeys(routes(app.routes)))
    assert len(found) > 50
    return found


def signed_in(house: Any, name: str, password: str) -> dict[str, str]:
    """Sign in as a browser does; give the header of its cookie."""
    form = str(httpx.QueryParams({"name": name, "password": password, "next": "/"})).encode()
    answer = house.raw("POST", "/login", form, FORM)
    assert answer.status == 303
    # The name of the cookie has the port in `Host`, which `raw` does not send.
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Host": "localhost"}


def test_every_route_needs_an_account(shared):
    """All that the framework lists, Gradio's routes among them; the open ones tell no more than the status."""
    for method, path in all_routes(shared):
        answer = shared.raw(method, path)
        if path in OPEN and (method, path) != ("POST", "/login"):
            assert answer.status != 401
        else:
            assert (method, path, answer.status) == (method, path, 401)
    assert set(json.loads(shared.raw("GET", "/health").body)) == {"status", "timestamp"}


def test_what_administrators_alone_may_do(shared, expect_error):
    """Cache and models; ordinary accounts get 403, whatever the way they sign in."""
    cookie = signed_in(shared, *BEN)
    seen = 0
    for method, path in all_routes(shared):
        if ADMINISTRATORS.fullmatch(path) and shared.raw(method, path, headers=cookie).status != 405:
            seen += 1
            for headers in (cookie, BOT):
                answer = shared.raw(method, path, headers=headers)
                assert (method, path, answer.status) == (method, path, 403)
    assert seen >= 8
    assert shared.client.get("/cache/stats", auth=ANN).status_code == 200
    expect_error(shared.client.post("/models/none/load", auth=ANN), 404, "not_found")
    assert shared.client.get("/models", auth=BEN).status_code == 200


def test_who_one_is(shared):
    """By each way of signing in."""
    for given, expected in (
        ({"auth": ANN}, {"name": "ann", "administrator": True}),
        ({"auth": BEN}, {"name": "ben", "administrator": False}),
        ({"headers": BOT}, {"name": "bot", "administrator": False}),
        ({"headers": signed_in(shared, *BEN)}, {"name": "ben", "administrator": False}),
    ):
        assert shared.client.get("/me", **given).json() == expected


def test_a_known_picture_is_everyones_and_the_history_is_not(shared, expect_error):
    """The second user gets it from memory by the same address; it is listed for the first alone."""
    ask = picture(prompt="known to both")
    first = shared.client.post("/generate", json=ask, auth=BEN).json()["images"][0]
    second = shared.client.post("/generate", json=ask, headers=BOT).json()["images"][0]
    assert (first["source"], second["source"]) == ("generated", "memory")
    assert shared.client.get(second["image_url"], headers=BOT).status_code == 200
    (own,) = [
        each
        for each in shared.client.get("/history", auth=BEN).json()["pictures"]
        if each["parameters"]["prompt"] == "known to both"
    ]
    address = own["image_url"].partition("?")[0]
    for others in ({"auth": ANN}, {"headers": BOT}):
        listed = shared.client.get("/history", **others).json()["pictures"]
        assert "known to both" not in {each["parameters"].get("prompt") for each in listed}
        similar = shared.client.get("/history", params={"similar": "known to both"}, **others).json()["pictures"]
        assert similar == []
        for method, path in (
            ("GET", address),
            ("GET", address.replace(".png", "/thumbnail.webp")),
            ("DELETE", address.removesuffix(".png")),
        ):
            expect_error(shared.client.request(method, path, **others), 404, "not_found")
    assert shared.client.get(address, auth=BEN).status_code == 200
    assert shared.client.delete(address.removesuffix(".png"), auth=BEN).status_code == 204


def test_a_private_cache_keeps_pictures_apart(studio_class, tmp_path, house, expect_error):
    """Each user draws it once; no request or look-up tells of another's, whose key cannot be computed either."""
    salts = read_salts(tmp_path / "cache_salt")
    studio = studio_class(tmp_path, FakeGenerator(), salt=salts.of)
    studio.start()
    apart = type(house)(studio, authentication=authentication(tmp_path, *LINES))
    try:
        ask = picture(prompt="known to one")
        looked = [
            apart.client.post(path, json=ask, auth=auth).json()["images"][0]
            for auth in (BEN, ANN)
            for path in ("/lookup", "/generate", "/generate", "/lookup")
        ]
        assert [each.get("source", each.get("cached")) for each in looked] == [False, "generated", "memory", True] * 2
        assert len({each["key"] for each in looked}) == 2
        key = fingerprint(studio.generator.recipes[-1], studio.generator.identity())
        expect_error(apart.client.get(f"/images/{key}.png", auth=ANN), 404, "not_found")
        assert check(tmp_path / "cache") == []
    finally:
        apart.close()


def test_a_batch_request_comes_after_the_others(shared, gate):
    """`X-Priority: batch` waits, also where the other request arrives later."""
    generator = shared.studio.generator
    drawn = len(generator.recipes)
    door = generator.before_step = gate(1)
    try:
        for prompt, level in (("first", "interactive"), ("batch", "batch"), ("later", "interactive")):
            headers = BOT | {"X-Priority": level}
            assert shared.client.post("/jobs", json=picture(prompt=prompt), headers=headers).status_code == 202
        wait_until(lambda: shared.studio.service.queued == 2)
    finally:
        door.open()
        generator.before_step = lambda _recipe, _evaluation: None
    wait_until(lambda: len(generator.recipes) == drawn + 3)
    assert [recipe.prompt for recipe in generator.recipes[drawn:]] == ["first", "later", "batch"]


def test_a_job_is_its_owners(shared, gate, expect_error):
    """Others cannot see, follow or cancel it, with its id in their hands."""
    door = shared.studio.generator.before_step = gate(1)
    try:
        job = shared.client.post("/jobs", json=picture(prompt="of ben"), auth=BEN).json()["id"]
        for others in ({"auth": ANN}, {"headers": BOT}):
            for method, path in (("GET", f"/jobs/{job}"), ("GET", f"/jobs/{job}/events"), ("DELETE", f"/jobs/{job}")):
                expect_error(shared.client.request(method, path, **others), 404, "not_found")
            told = shared.client.get("/jobs/events", params={"ids": job}, **others).text
            assert "event: gone" in told
            assert "event: state" not in told
        assert shared.client.get(f"/jobs/{job}", auth=BEN).json()["state"] in {"queued", "running"}
    finally:
        door.open()
        shared.studio.generator.before_step = lambda _recipe, _evaluation: None
    wait_until(lambda: shared.client.get(f"/jobs/{job}", auth=BEN).json()["state"] == "done")


def test_an_unstored_picture_is_its_owners(shared, expect_error):
    """Its address has a random token, which is not enough."""
    ask = picture(prompt="leaves no trace", cache="bypass")
    url = shared.client.post("/generate", json=ask, auth=BEN).json()["images"][0]["image_url"]
    thumbnail = url.partition("?")[0].replace(".png", "/thumbnail.webp")
    for path in (url, thumbnail):
        assert shared.client.get(path, auth=BEN).status_code == 200
        for others in ({"auth": ANN}, {"headers": BOT}):
            expect_error(shared.client.get(path, **others), 404, "not_found")


def test_old_pictures_belong_to_the_administrators(shared):
    """Those of a time without users, and files that were put into the folder."""
    path = shared.studio.service.history.add(picture_entry())
    seen = {
        name: path.name in {each["name"] for each in listed}
        for name, listed in (
            (auth[0], shared.client.get("/history", auth=auth).json()["pictures"]) for auth in (ANN, BEN)
        )
    }
    assert seen == {"ann": True, "ben": False}


def test_private_answers_are_stored_nowhere(shared):
    """Neither by proxies nor by browsers, but for pictures, which the browser of the account may keep."""
    for path in ("/history", "/me", "/models", "/", "/cache/stats"):
        assert shared.client.get(path, auth=ANN).headers["cache-control"] == "no-store"
    image = shared.client.post("/generate", json=picture(prompt="kept"), auth=ANN).json()["images"][0]
    assert shared.client.get(image["image_url"], auth=ANN).headers["cache-control"].startswith("private, max-age")


def test_five_hundred_wrong_passwords(studio_class, tmp_path, house, caplog):
    """A few are verified, the others refused with the time to wait, and the log has lines for those few alone."""
    studio = studio_class(tmp_path, FakeGenerator())
    studio.start()
    users = UserSource(None, LINES)
    guarded = type(house)(
        studio, authentication=Authentication(users, Sessions(tmp_path / "zimage.sqlite3"), Attempts(5, 50))
    )
    try:
        guarded.client.get("/me", auth=ANN).raise_for_status()  # proven before: not slowed down
        answers = [guarded.client.get("/me", auth=("ann", f"wrong {i}")) for i in range(500)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:4] == [401] * 4
        assert statuses.count(429) > 400
        slowed = next(answer for answer in answers if answer.status_code == 429)
        assert slowed.json()["error"]["code"] == "rate_limited"
        assert int(slowed.headers["retry-after"]) >= 1
        assert guarded.client.get("/me", auth=ANN).status_code == 200
        assert guarded.client.get("/me", headers=BOT).status_code == 200
    finally:
        guarded.close()
    assert "wrong" not in caplog.text
    assert caplog.text.count("sign_in_failed") == statuses.count(401)


def test_requests_for_pictures_are_bounded(studio_class, tmp_path, house, expect_error):
    """Each account has a rate of its own; what is no request for a picture is not counted."""
    studio = studio_class(tmp_path, FakeGenerator())
    studio.start()
    bounded = type(house)(studio, authentication=authentication(tmp_path, *LINES), rate=Rate(3, 3600))
    try:
        for path in ("/generate", "/jobs", "/generate"):
            assert bounded.client.post(path, json=picture(), auth=BEN).is_success
        for path in ("/generate", "/jobs"):
            refused = bounded.client.post(path, json=picture(), auth=BEN)
            expect_error(refused, 429, "rate_limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 1200
        assert bounded.client.post("/generate", json=picture(), headers=BOT).is_success
        assert bounded.client.post("/lookup", json=picture(), auth=BEN).is_success
    finally:
        bounded.close()


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("/", "/"),
        ("/?lang=en#prompt=a&seed=1", "/?lang=en#prompt=a&seed=1"),
        ("/history", "/history"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/" + "a" * 20_000, "/"),
        ("//[", "/"),
        ("//a\u2100b", "/"),
        ("/a\r\nSet-Cookie: x=y", "/a%0D%0ASet-Cookie:%20x=y"),
        ("\x01//evil.example", "/"),
    ],
)
def test_a_sign_in_leads_to_this_server(shared, target, leads):
    """A link that signs people in cannot send them elsewhere."""
    form = str(httpx.QueryParams({"name": "ann", "password": "of ann", "next": target})).encode()
    answer = shared.raw("POST", "/login", form, FORM)
    assert (answer.status, answer.headers["location"]) == (303, leads)
    assert "x=y" not in answer.headers["set-cookie"]


def test_names_are_shown_as_text(shared):
    """What was typed as a name, and the address, are escaped on the page that shows them again."""
    evil = '"><script>alert(1)</script>'
    form = str(httpx.QueryParams({"name": evil, "password": "x", "next": f"/?{evil}"})).encode()
    answer = shared.raw("POST", "/login", form, FORM)
    assert answer.status == 401
    assert b"<script>alert" not in answer.body
    assert b"&quot;&gt;&lt;script&gt;alert(1)" in answer.body
    opened = shared.raw("GET", "/%22%3E%3Cscript%3Ealert(1)?%3Cscript%3E", headers={"Accept": "text/html"})
    assert opened.status == 401
    assert b"<script>alert" not in opened.body
    assert "script-src 'sha256-" in opened.headers["content-security-policy"]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"&" * 100_000, b"name=" + b"a" * 100_000, b"name=ann&password="])
def test_a_form_that_is_none(shared, body):
    """It signs no one in, and nothing fails."""
    assert shared.raw("POST", "/login", body, FORM).status == 401


def test_other_sites_sign_no_one_in_or_out(shared, expect_error):
    """Their forms are refused before a password is looked at."""
    form = b"name=ann&password=of+ann"
    for path in ("/login", "/logout"):
        answer = shared.raw("POST", path, form, FORM | {"Origin": "http://evil.example"} | signed_in(shared, *ANN))
        expect_error(answer, 403, "forbidden_origin")


@pytest.mark.parametrize("cookie", ["zimage_session=x", "zimage_session=", "=;=,", "zimage_session=" + "a" * 5000])
def test_a_cookie_that_is_none(shared, cookie):
    """An invalid or old session is none."""
    answer = shared.raw("GET", "/me", headers={"Cookie": cookie})
    assert answer.status == 401
    assert answer.headers["www-authenticate"]


def test_a_sign_out_ends_the_session(shared):
    """Its cookie is removed, and worth nothing any more."""
    cookie = signed_in(shared, *ANN)
    assert shared.raw("GET", "/me", headers=cookie).status == 200
    answer = shared.raw("POST", "/logout", headers=cookie)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert shared.raw("GET", "/me", headers=cookie).status == 401


def test_browsers_see_the_page_and_programs_an_error(shared):
    """Only programs get a challenge that browsers answer by a window of their own."""
    browser = {"Accept": "text/html,*/*", "Accept-Language": "de", "Sec-Fetch-Mode": "navigate"}
    opened = shared.raw("GET", "/", headers=browser)
    assert opened.status == 401
    assert opened.headers["content-type"].startswith("text/html")
    assert opened.headers["www-authenticate"].startswith("Bearer ")
    fetched = shared.raw("GET", "/me", headers={"Accept": "*/*", "Accept-Language": "de"})
    assert (fetched.headers["content-type"], fetched.headers["www-authenticate"][:6]) == ("application/json", "Bearer")
    program = shared.raw("GET", "/me")
    assert program.headers["www-authenticate"].startswith("Basic ")


def test_without_users_there_is_nothing_to_sign_in_to(house):
    """The routes lead to the page, and everyone may do everything."""
    assert house.raw("GET", "/login").headers["location"] == "/"
    assert house.raw("POST", "/login", b"name=a&password=b", FORM).headers["location"] == "/"
    assert house.client.get("/me").json() == {"name": "", "administrator": True}


@pytest.fixture
def file(tmp_path) -> UserFile:
    made = UserFile(tmp_path / "users.txt")
    made.put("ann", "first secret")
    return made


@pytest.fixture
def served(studio_class, tmp_path, house, file) -> Iterator[Callable[..., Any]]:
    """Start servers one after the other on one workspace, whose users are those of a file."""
    made: list[Any] = []

    def start(attempts: Attempts | None = None, **options: Any) -> Any:
        studio = studio_class(tmp_path, FakeGenerator())
        studio.start()
        source = UserSource(file.path)
        made.append(
            type(house)(
                studio,
                authentication=Authentication(source, Sessions(tmp_path / "zimage.sqlite3"), attempts),
                **options,
            )
        )
        made[-1].users = source
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_restart_signs_no_one_out(served, file):
    """A session goes on in the next process, with a password in plain text too, and whatever else was changed."""
    file.path.write_text("eve:plain\n" + file.path.read_text())
    first = served()
    cookies = [signed_in(first, "ann", "first secret"), signed_in(first, "eve", "plain")]
    file.put("ben", "another one")
    second = served()
    assert [second.raw("GET", "/me", headers=cookie).status for cookie in cookies] == [200, 200]


def test_a_new_password_ends_what_the_old_one_began(served, file):
    """Sessions, and programs that send it, within a second or two."""
    server = served(Attempts(10**6, 10**6))
    cookie, old = signed_in(server, "ann", "first secret"), ("ann", "first secret")
    assert server.client.get("/me", auth=old).status_code == 200
    file.put("ann", "second secret")
    wait_until(lambda: server.client.get("/me", auth=("ann", "second secret")).status_code == 200)
    assert server.raw("GET", "/me", headers=cookie).status == 401
    assert server.client.get("/me", auth=old).status_code == 401


def test_a_password_that_is_changed_while_it_is_verified(served, file, monkeypatch):
    """The old one was right, but begins nothing that outlives the change."""
    server = served()
    before = server.users.current.get("ann").mark
    verifying, changed = threading.Event(), threading.Event()
    verify = Users.with_password

    def slow(users: Users, name: str, password: str) -> Account | None:
        verifying.set()
        assert changed.wait(30)
        return verify(users, name, password)

    monkeypatch.setattr(Users, "with_password", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(signed_in, server, "ann", "first secret")
        assert verifying.wait(30)
        file.put("ann", "second secret")
        # Requests look at the file, once a second.
        wait_until(lambda: server.raw("GET", "/me").status == 401 and server.users.current.get("ann").mark != before)
        changed.set()
        cookie = answer.result()
    assert server.raw("GET", "/me", headers=cookie).status == 401


def test_requests_that_arrive_together_are_verified_once(served, monkeypatch):
    """A program with many connections is not refused after a restart of the server."""
    server, seen = served(Attempts(3, 3)), Counter[str]()
    verify = Users.with_password

    def counted(users: Users, name: str, password: str) -> Account | None:
        seen[name] += 1
        return verify(users, name, password)

    monkeypatch.setattr(Users, "with_password", counted)
    address = server.client.base_url.join("/me")
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: httpx.get(address, auth=("ann", "first secret")), range(20))
        assert [answer.status_code for answer in answers] == [200] * 20
    assert seen == {"ann": 1}


def test_a_network_of_ipv6_is_one_address(served):
    """One machine owns 2^64 addresses of it."""
    server = served(Attempts(3, 10**6), trusted_proxies=["127.0.0.1"])
    statuses = [
        server.client.get(
            "/me", auth=("ann", f"wrong {i}"), headers={"X-Forwarded-For": f"2001:db8::{i:x}"}
        ).status_code
        for i in range(6)
    ]
    assert statuses == [401] * 3 + [429] * 3


def test_a_session_counts_before_another_header(shared):
    """Proxies that ask for passwords of their own pass them on."""
    cookie = signed_in(shared, *BEN)
    proxys = {"Authorization": "Basic " + base64.b64encode(b"proxy:x").decode()}
    assert json.loads(shared.raw("GET", "/me", headers=cookie | proxys).body)["name"] == "ben"


def test_below_a_path_and_over_tls(served):
    """The cookie belongs to the path, and is sent over TLS alone; the page follows the sign-in."""
    server = served(root_path="/zimage", trusted_proxies=["127.0.0.1"])
    https = FORM | {"X-Forwarded-Proto": "https", "Host": "localhost:8443"}
    assert server.raw("GET", "/zimage").headers["location"] == "/zimage/"
    page = server.raw("GET", "/zimage/?lang=en", headers={"Accept": "text/html", "Host": "localhost"})
    assert b'action="/zimage/login"' in page.body
    assert b'value="/zimage/?lang=en"' in page.body
    answer = server.raw("POST", "/zimage/login", b"name=ann&password=first+secret&next=/zimage/%3Flang%3Den", https)
    assert (answer.status, answer.headers["location"]) == (303, "/zimage/?lang=en")
    name, *parts = answer.headers["set-cookie"].split("; ")
    assert name.startswith("zimage_session_8443=")
    assert {"Path=/zimage/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(parts)


def test_a_sign_out_without_a_session(shared):
    """It leads to the page, as any other: an old tab shows no error."""
    assert shared.raw("POST", "/logout").status == 303


def test_credentials_of_any_form(shared):
    """Nothing but right ones is accepted, and no form of them fails."""
    right = base64.b64encode(b"ann:of ann").decode()
    for given, status in (
        (f"Basic {right}", 200),
        (f"Basic {right}=", 401),
        ("Basic ====", 401),
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), 401),
        ("Basic " + base64.b64encode(b"ann").decode(), 401),
        ("Basic " + base64.b64encode(b":of ann").decode(), 401),
        ("Bearer \xff", 401),
        ("Bearer of ann", 200),
        ("Bearer of ben", 401),
        ("Bearer ", 401),
    ):
        assert (given, shared.raw("GET", "/me", headers={"Authorization": given}).status) == (given, status)
