"""The routes below `/cache/`: what they answer, what they refuse, and that none of them waits in the event loop."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.factories import asked
from zimage_cache.cache.cache import Held
from zimage_cache.cache.disk import Pruned
from zimage_cache.cache.index import Listing
from zimage_cache.request import ImageRequest
from zimage_cache.web.api.cache import add_cache_api
from zimage_cache.web.errors import add_error_responses
from zimage_cache.web.middleware import Guard

pytestmark = pytest.mark.anyio
KEY = "ab" * 32
CHANGES = [("DELETE", "/cache/{}"), ("POST", "/cache/{}/pin"), ("POST", "/cache/{}/unpin")]


def client_of(service: Any) -> httpx.AsyncClient:
    app = FastAPI()
    add_error_responses(app)
    add_cache_api(app, service)
    app.add_middleware(Guard, checks=[])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://x")


@pytest.fixture
async def house(studio) -> Any:
    """Return a service under test that stores each picture before it answers."""
    made = studio()
    drawn = made.service.render

    async def render(request: ImageRequest) -> str:
        (outcome,) = await drawn(request)
        await made.idle()
        return outcome.entry.record.key

    made.draw = render
    return made


@pytest.fixture
async def client(house) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(house.service) as made:
        yield made


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """Check that an answer is an error of our one shape, and give its message."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("field")) == (status, code, field)
    return error["message"]


async def test_entries_are_listed_newest_first_with_all_that_lists_show(house, client):
    """Each stored picture is one entry with its metadata and working URLs."""
    old = await house.draw(asked(1, prompt="a 红 circle ${x} <b>"))
    new = await house.draw(asked(2))
    answer = (await client.get("/cache/entries")).json()
    assert [entry["key"] for entry in answer["entries"]] == [new, old]
    assert answer["cursor"] is None
    entry = answer["entries"][1]
    assert entry["prompt"] == "a 红 circle ${x} <b>"
    assert (entry["seed"], entry["width"], entry["height"], entry["pinned"]) == (1, 64, 64, False)
    assert entry["bytes"] > 0
    assert entry["age_seconds"] >= 0
    assert entry["image_url"] == f"/images/{old}.png"
    assert entry["thumbnail_url"] == f"/images/{old}/thumbnail.webp"


async def test_one_entry_is_described_as_in_lists(house, client):
    """Asked for by its key, an entry says what the list says, its pin included; being asked for counts nothing."""
    key = await house.draw(asked(1))
    await client.post(f"/cache/{key}/pin")
    for _ in range(2):
        entry = (await client.get(f"/cache/{key}")).json()
        listed = (await client.get("/cache/entries")).json()["entries"][0]
        assert {**entry, "age_seconds": 0} == {**listed, "age_seconds": 0}
        assert entry["pinned"] is True


async def test_pages_go_through_everything_once(house, client):
    """Following the cursor gives every entry once, in the order of one long page."""
    for seed in range(5):
        await house.draw(asked(seed))
    whole = [entry["key"] for entry in (await client.get("/cache/entries")).json()["entries"]]
    paged, cursor = [], None
    while True:
        parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/cache/entries", params=parameters)).json()
        assert len(page["entries"]) <= 2
        paged += [entry["key"] for entry in page["entries"]]
        if (cursor := page["cursor"]) is None:
            break
    assert paged == whole
    assert len(set(paged)) == 5


async def test_a_query_finds_prompts(house, client):
    """Only pictures whose prompt has the words are listed; what SQL means by % and _ is text here."""
    red, sale = await house.draw(asked(1, prompt="a Red circle")), await house.draw(asked(2, prompt="100% off"))
    for query, found in (("red", [red]), ("circle a", [red]), ("0%", [sale]), ("%", [sale]), ("_", []), ("'", [])):
        answer = (await client.get("/cache/entries", params={"query": query})).json()
        assert [entry["key"] for entry in answer["entries"]] == found, query


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"query": "x" * 8001}, "query"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "x" * 201}, "cursor"),
    ],
)
async def test_bad_parameters_are_named(house, client, parameters, field):
    """What breaks a rule is refused with the name of the culprit; nothing is clamped."""
    await house.draw(asked(1))
    message = refused(await client.get("/cache/entries", params=parameters), 422, "invalid_request", field)
    assert field in message


async def test_a_deleted_picture_is_gone_but_not_its_copy(house, client):
    """Deleting takes the entry from both tiers, once; what people own in `output_image/` stays."""
    key = await house.draw(asked(1))
    assert (await client.delete(f"/cache/{key}")).json() == {"key": key, "deleted": True}
    assert await house.service.picture(key) is None
    assert house.stored == set()
    assert len(house.copies) == 1
    refused(await client.delete(f"/cache/{key}"), 404, "not_found")


async def test_pins_keep_until_deleted_by_name(house, client):
    """A pinned picture survives every clean-up; pinning and unpinning twice is no error; deleting works anyway."""
    kept, other = await house.draw(asked(1)), await house.draw(asked(2))
    for _ in range(2):
        assert (await client.post(f"/cache/{kept}/pin")).json() == {"key": kept, "pinned": True}
    assert (await client.get("/cache/stats")).json()["now"]["pinned"] == 1
    pruned = (await client.post("/cache/prune", json={"to_bytes": 0})).json()
    assert (pruned["entries"], pruned["dry_run"]) == (1, False)
    assert house.stored == {kept}
    for _ in range(2):
        assert (await client.post(f"/cache/{kept}/unpin")).json() == {"key": kept, "pinned": False}
    await client.post(f"/cache/{kept}/pin")
    await client.delete(f"/cache/{kept}")
    assert house.stored == set()
    assert other not in house.stored


@pytest.mark.parametrize(
    "body", [{"older_than": 0}, {"older_than": "0s"}, {"to_bytes": "0GiB"}, {"to_bytes": 0.0}, {"max_entries": 0}]
)
async def test_a_dry_run_only_tells(house, client, body):
    """A dry run says what would go, in entries and bytes, and the same prune then takes just that."""
    await house.draw(asked(1))
    would = (await client.post("/cache/prune", json={**body, "dry_run": True})).json()
    assert would["entries"] == 1
    assert len(house.stored) == 1
    assert (await client.post("/cache/prune", json=body)).json() == {**would, "dry_run": False}
    assert house.stored == set()


async def test_prune_keeps_so_many_pictures(house, client):
    """`max_entries` is how many pictures are left, whatever their size."""
    for seed in (1, 2, 3):
        await house.draw(asked(seed))
    assert (await client.post("/cache/prune", json={"max_entries": 2})).json()["entries"] == 1
    assert len(house.stored) == 2


async def test_prune_takes_only_what_is_asked(house, client):
    """Young pictures and a size that is not exceeded leave everything in its place; so do nulls."""
    await house.draw(asked(1))
    for body in (
        {},
        {"older_than": "7d"},
        {"to_bytes": "1GiB"},
        {"older_than": None, "to_bytes": None},
        {"max_entries": 1},
        {"max_entries": None},
    ):
        assert (await client.post("/cache/prune", json=body)).json()["entries"] == 0
    assert len(house.stored) == 1


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"older_than": "1w"}, "older_than", "a duration such as"),
        ({"older_than": -1}, "older_than", "at least 0, got -1"),
        ({"older_than": True}, "older_than", "got true"),
        ({"older_than": []}, "older_than", "got a list"),
        ({"to_bytes": "1XB"}, "to_bytes", "a size such as"),
        ({"to_bytes": -5}, "to_bytes", "at least 0, got -5"),
        ({"to_bytes": 1.5}, "to_bytes", "got 1.5"),
        ({"to_bytes": False}, "to_bytes", "got false"),
        ({"max_entries": -1}, "max_entries", "at least 0, got -1"),
        ({"max_entries": "many"}, "max_entries", 'got "many"'),
        ({"max_entries": True}, "max_entries", "got true"),
        ({"dry_run": "yes"}, "dry_run", 'got "yes"'),
        ({"dry_run": 1}, "dry_run", "got 1"),
        ({"dryrun": True}, "dryrun", "dryrun"),
        ([], None, "body"),
    ],
)
async def test_bad_prunes_are_named(house, client, body, field, words):
    """A misspelt or impossible clean-up removes nothing and says which field, which rule, which value."""
    await house.draw(asked(1))
    assert words in refused(await client.post("/cache/prune", json=body), 422, "invalid_request", field)
    assert len(house.stored) == 1


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        ("{}", "text/plain", 415, "unsupported_media_type"),
        ("{", "application/json", 422, "invalid_request"),
        ("", "application/json", 422, "invalid_request"),
    ],
)
async def test_a_prune_is_json(client, content, kind, status, code):
    """What is not JSON, or does not say so, is refused."""
    refused(await client.post("/cache/prune", content=content, headers={"Content-Type": kind}), status, code)


@pytest.mark.parametrize(("method", "path"), [*CHANGES, ("GET", "/cache/{}")])
@pytest.mark.parametrize("key", [KEY, KEY.upper(), KEY[:-1], KEY + "0", "g" * 64, "..%2F..%2Fx", "x" * 900, "%F0"])
async def test_unknown_keys_are_not_found(client, method, path, key):
    """A key that is stored nowhere, or is none, is a 404 whatever it looks like."""
    message = refused(await client.request(method, path.format(key)), 404, "not_found")
    assert len(message) < 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/cache/stats", "GET, HEAD"),
        ("DELETE", "/cache/stats", "GET, HEAD"),
        ("DELETE", "/cache/entries", "GET, HEAD"),
        ("GET", "/cache/prune", "POST"),
        ("DELETE", "/cache/prune", "POST"),
        ("PUT", f"/cache/{KEY}", "DELETE, GET, HEAD"),
        ("GET", f"/cache/{KEY}/pin", "POST"),
        ("DELETE", f"/cache/{KEY}/unpin", "POST"),
    ],
)
async def test_other_methods_are_refused(client, method, path, allow):
    """A wrong method is a 405 that says which is right; the fixed names are no keys."""
    answer = await client.request(method, path)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


async def test_without_a_cache_there_is_nothing(studio):
    """With the cache switched off, lists are empty, clean-ups find nothing, and statistics still tell."""
    made = studio(caching=False)
    await made.service.render(asked(1))
    async with client_of(made.service) as client:
        assert (await client.get("/cache/entries")).json() == {"entries": [], "cursor": None}
        assert (await client.post("/cache/prune", json={"to_bytes": 0})).json()["entries"] == 0
        stats = (await client.get("/cache/stats")).json()
        assert stats["now"]["disk_entries"] == 0
        assert stats["this_process"]["bypasses"] == 1
        for method, path in [*CHANGES, ("GET", "/cache/{}")]:
            refused(await client.request(method, path.format(KEY)), 404, "not_found")


class Slow:
    """A cache that remembers which thread it was called in."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __getattr__(self, name: str) -> Any:
        answers = {"held": Held(), "entries": Listing([], None), "prune": Pruned(0, 0)}

        def answer(*_arguments: object, **_options: object) -> Any:
            self.threads.append(threading.get_ident())
            return answers.get(name, True)

        return answer


async def test_no_route_waits_in_the_event_loop(house):
    """Everything that may wait for the disk does so in other threads than the loop's."""
    slow = Slow()
    house.service.cache = slow
    async with client_of(house.service) as client:
        answers = [
            await client.get("/cache/stats"),
            await client.get("/cache/entries"),
            await client.post("/cache/prune", json={}),
            *[await client.request(method, path.format(KEY)) for method, path in CHANGES],
        ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(slow.threads) == 7  # unpinning looks first
    assert threading.get_ident() not in slow.threads


async def test_every_route_is_described(client):
    """OpenAPI describes each route with the schema of its answer, and the body of `/cache/prune`."""
    document = (await client.get("/openapi.json")).json()
    paths = {path: set(methods) for path, methods in document["paths"].items()}
    assert paths == {
        "/cache/stats": {"get"},
        "/cache/entries": {"get"},
        "/cache/prune": {"post"},
        "/cache/{key}": {"delete", "get"},
        "/cache/{key}/pin": {"post"},
        "/cache/{key}/unpin": {"post"},
    }
    body = document["paths"]["/cache/prune"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"older_than", "to_bytes", "max_entries", "dry_run"}
    for methods in document["paths"].values():
        for described in methods.values():
            assert described["responses"]["200"]["content"]["application/json"]["schema"]
    assert "hits_memory" in document["components"]["schemas"]["Span"]["properties"]
