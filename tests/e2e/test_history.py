"""`/history`: one's own pictures over HTTP: listed, searched, fetched, deleted, and nothing else of the disk."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
import pytest
from PIL import Image

from tests.waiting import wait_until
from zimage_cache.history import Page
from zimage_cache.web.connections import ConnectionPhase


@pytest.fixture
def gallery(serve):
    """A separate server with three pictures in its history."""
    house = serve()
    for seed, prompt in [(1, "a red fox"), (2, "红色的圆形"), (3, "a blue ship")]:
        house.image(prompt=prompt, seed=seed)
    house.stored()
    wait_until(lambda: len(listed(house)) == 3)
    return house


def listed(house, **query):
    answer = house.client.get("/history", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["pictures"]


def test_what_was_made_is_listed(gallery):
    """Every picture with its own settings, key and addresses, newest first; a hit adds none."""
    gallery.image(prompt="a red fox", seed=1)
    pictures = listed(gallery)

    assert sorted(each["parameters"]["prompt"] for each in pictures) == ["a blue ship", "a red fox", "红色的圆形"]
    fox = next(each for each in pictures if each["parameters"]["seed"] == 1)
    assert (fox["width"], fox["height"], fox["parameters"]["steps"]) == (64, 64, 4)
    assert fox["key"] in gallery.studio.stored
    file = gallery.studio.root / "output_image" / fox["name"]
    assert gallery.client.get(fox["image_url"]).content == file.read_bytes()


def test_a_picture_that_was_answered_is_listed(gallery, monkeypatch):
    """Its file is written after the answer, on a slow disk long after it: the list waits for it."""
    writing, written = threading.Event(), threading.Event()
    add = gallery.studio.service.history.add

    def slow(entry, owner):
        writing.set()
        assert written.wait(60)
        add(entry, owner)

    monkeypatch.setattr(gallery.studio.service.history, "add", slow)
    gallery.image(prompt="a green owl", seed=4)
    assert writing.wait(60)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listed, gallery, query="owl")
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        written.set()
        (owl,) = waiting.result(60)
    assert owl["parameters"]["seed"] == 4


def test_searching_and_similar(gallery):
    """`query` narrows the list, `similar` suggests; both leave out everything else."""
    assert [each["parameters"]["seed"] for each in listed(gallery, query="红色")] == [2]
    assert [each["parameters"]["seed"] for each in listed(gallery, query="seed:3")] == [3]
    assert [each["parameters"]["seed"] for each in listed(gallery, similar="red foxes")] == [1]
    assert listed(gallery, query="nothing like it") == []


def test_pages(gallery):
    """The cursor leads through all pictures, each once; the last page has none."""
    seen, cursor = [], None
    for _ in range(3):
        answer = gallery.client.get("/history", params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in answer["pictures"]]
        cursor = answer["cursor"]
    assert cursor is None
    assert seen == [each["id"] for each in listed(gallery)]


def test_pictures_and_thumbnails(gallery):
    """The file as it is, with ranges, 304 and HEAD; a WebP; both immutable by their version, private always."""
    (fox,) = listed(gallery, query="fox")
    whole = gallery.client.get(fox["image_url"])
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert whole.headers["content-type"] == "image/png"
    assert fox["name"] in whole.headers["content-disposition"]
    etag = whole.headers["etag"]
    assert gallery.client.get(fox["image_url"], headers={"If-None-Match": etag}).status_code == 304
    assert gallery.client.get(fox["image_url"], headers={"Range": "bytes=0-7"}).content == whole.content[:8]
    assert gallery.client.head(fox["image_url"]).headers["content-length"] == str(len(whole.content))
    bare = gallery.client.get(f"/history/{fox['id']}.png")
    assert bare.headers["cache-control"] == "private, no-cache"
    small = gallery.client.get(fox["thumbnail_url"])
    assert small.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(small.content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 64))


def test_stars(gallery):
    """A pinned picture says so, and is found as starred; without its entry in the cache it is neither."""
    (fox,), (ship,) = listed(gallery, query="fox"), listed(gallery, query="ship")
    assert (fox["cached"], fox["pinned"]) == (True, False)
    for each in (fox, ship):
        gallery.client.post(f"/cache/{each['key']}/pin").raise_for_status()
    answer = gallery.client.get("/history", params={"query": "is:starred", "limit": 1}).json()
    assert (len(answer["pictures"]), answer["total"]) == (1, 2)
    assert {each["key"] for each in listed(gallery) if each["pinned"]} == {fox["key"], ship["key"]}

    gallery.client.post(f"/cache/{ship['key']}/unpin").raise_for_status()
    assert [each["key"] for each in listed(gallery, query="is:starred")] == [fox["key"]]
    (gallery.studio.root / "cache" / "keys" / f"{fox['key']}.json").unlink()  # by hand: the mark stays for a while
    assert listed(gallery, query="is:starred") == []
    (fox,) = listed(gallery, query="fox")
    assert (fox["cached"], fox["pinned"]) == (False, False)
    assert [each["pinned"] for each in listed(gallery, similar="red foxes")] == [False]


def test_drawn_again_with_the_same_result_is_listed_once(gallery):
    """A refresh that gives the same picture stores it in the cache and adds no second file; a hit adds none either."""
    before = sorted(each["name"] for each in listed(gallery))
    for mode in ("refresh", "use", "refresh"):
        gallery.image(prompt="a red fox", seed=1, cache=mode)
        gallery.stored()
    assert sorted(each["name"] for each in listed(gallery)) == before
    (fox,) = listed(gallery, query="fox")
    gallery.client.delete(f"/history/{fox['id']}")
    gallery.image(prompt="a red fox", seed=1, cache="refresh")
    gallery.stored()
    assert len(listed(gallery, query="fox")) == 1


def test_deleting(gallery, expect_error):
    """The file goes, and with it its row; the cache still has the picture; the second time there is nothing."""
    (fox,) = listed(gallery, query="fox")
    answer = gallery.client.delete(f"/history/{fox['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not (gallery.studio.root / "output_image" / fox["name"]).exists()
    assert [each["id"] for each in listed(gallery)].count(fox["id"]) == 0
    for method, path in [("DELETE", ""), ("GET", ".png"), ("GET", "/thumbnail.webp")]:
        expect_error(gallery.client.request(method, f"/history/{fox['id']}{path}"), 404, "not_found")
    assert gallery.image(prompt="a red fox", seed=1)["cached"]


@pytest.mark.parametrize(
    "name",
    [
        *("2025/a.png", "2025/11/27/b.png", "新しい フォルダ/图片.PNG", "50% #1?/a&b=c+d.png", 'it\'s/"so".png'),
        *("-rf/--to.png", "a\nb/c\td.png", "~/$HOME/`x`.png", "x.png/thumbnail.webp/y.png", "<b>/${1}\\n.png"),
    ],
)
def test_pictures_in_folders(gallery, name):
    """Each is listed under its path, and found, fetched, made small and deleted by its number, whatever its name is."""
    (fox,) = listed(gallery, query="fox")
    output = gallery.studio.root / "output_image"
    path = output / name
    path.parent.mkdir(parents=True)
    path.write_bytes((output / fox["name"]).read_bytes())
    # Its name has no moment: it is as old as its file.
    os.utime(path, (datetime.fromisoformat(fox["made"]).timestamp(),) * 2)
    gallery.studio.service.history.reconcile()

    found = next(each for each in listed(gallery, query="fox") if each["name"] != fox["name"])
    assert (found["name"], found["made"], found["parameters"]) == (name, fox["made"], fox["parameters"])
    answer = gallery.client.get(found["image_url"])
    assert answer.content == path.read_bytes()
    assert "/" not in answer.headers["content-disposition"]
    assert gallery.client.get(found["thumbnail_url"]).headers["content-type"] == "image/webp"
    assert gallery.client.delete(f"/history/{found['id']}").status_code == 204
    assert not path.exists()
    assert (output / fox["name"]).exists()
    assert len(listed(gallery)) == 3


def test_the_moment_is_that_of_the_drawing(gallery):
    """What the list says is what the record in the cache says, to the second."""
    (fox,) = listed(gallery, query="fox")
    stored = gallery.client.get(f"/cache/{fox['key']}").json()
    assert fox["made"] == stored["created"].partition(".")[0] + "Z"


def test_a_file_deleted_by_hand(gallery, expect_error):
    """What is gone from the folder is gone from the list, at once."""
    (fox,) = listed(gallery, query="fox")
    (gallery.studio.root / "output_image" / fox["name"]).unlink()
    assert len(listed(gallery)) == 2
    expect_error(gallery.client.get(fox["image_url"]), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/history/0.png",
        "/history/-1.png",
        "/history/x.png",
        "/history/1e3.png",
        "/history/" + "9" * 30 + ".png",
        "/history/" + "9" * 5000 + ".png",
        "/history/999999.png",
        "/history/..%2f..%2fzimage.sqlite3",
        "/history/../zimage.sqlite3.png",
        "/history/%2e%2e/thumbnail.webp",
        "/history/a/b/c",
        "/history/",
    ],
)
def test_addresses_that_lead_nowhere(house, expect_error, path):
    """Unknown numbers, names, traversal: an ordinary 404; file names are never taken from a URL."""
    answer = house.raw("GET", path)
    if path.endswith("../zimage.sqlite3.png"):
        assert answer.status == 404
    else:
        expect_error(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"query": "x" * 1001}, "query"),
        ({"similar": "x" * 8001}, "similar"),
    ],
)
def test_bad_questions(house, expect_error, query, field):
    """Each rule that is broken is a 422 that names its field."""
    expect_error(house.client.get("/history", params=query), 422, "invalid_request", field)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/history", "GET, HEAD"),
        ("DELETE", "/history", "GET, HEAD"),
        ("POST", "/history/1.png", "GET, HEAD"),
        ("GET", "/history/1", "DELETE"),
        ("PUT", "/history/1/thumbnail.webp", "GET, HEAD"),
        ("GET", "/png-info", "POST"),
    ],
)
def test_other_methods(house, expect_error, method, path, allow):
    """Every other method is a 405 that says which are possible."""
    answer = house.raw(method, path)
    expect_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_no_other_site_deletes(gallery, expect_error):
    """A page of another site cannot delete pictures through a visitor's browser."""
    (fox,) = listed(gallery, query="fox")
    answer = gallery.raw("DELETE", f"/history/{fox['id']}", headers={"Origin": "http://evil.example"})
    expect_error(answer, 403, "forbidden_origin")
    assert len(listed(gallery)) == 3


def test_an_index_that_cannot_be_used(gallery, expect_error):
    """Trouble with the index is a 503 of the history alone; pictures are drawn and handed out all the same."""
    database = gallery.studio.root / "zimage.sqlite3"
    database.unlink()
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    database.mkdir()
    expect_error(gallery.client.get("/history"), 503, "history_unavailable")
    assert gallery.image(prompt="another", seed=9)["source"] == "generated"
    assert gallery.client.get("/health").status_code == 200


def test_the_schema_tells_the_routes(house):
    """`/openapi.json` lists the history's routes and what they answer."""
    paths = house.client.get("/openapi.json").json()["paths"]
    assert {
        "/history",
        "/history/{id}.png",
        "/history/{id}/thumbnail.webp",
        "/history/{id}",
        "/png-info",
    } <= paths.keys()
    assert {each["name"] for each in paths["/history"]["get"]["parameters"]} == {"query", "similar", "limit", "cursor"}
    assert paths["/history/{id}"]["delete"]["parameters"][0]["name"] == "id"
    assert list(paths["/png-info"]["post"]["requestBody"]["content"]) == ["image/png", "image/jpeg", "image/webp"]


def test_two_searches_run_at_a_time(serve, monkeypatch):
    """However many ask, the work of two at most slows everything else; the others wait."""
    house, go_on, begun = serve(), threading.Event(), threading.Semaphore(0)

    def slow(*_args, **_kwargs):
        begun.release()
        assert go_on.wait(60)
        return Page([], None, 0)

    monkeypatch.setattr(house.studio.service.history, "page", slow)
    with ThreadPoolExecutor(12) as pool:
        searches = [pool.submit(httpx.get, f"{house.client.base_url}/history", timeout=60) for _ in range(12)]
        assert all(begun.acquire(timeout=60) for _ in range(2))
        wait_until(lambda: len(house.server.connections.of(ConnectionPhase.ANSWER)) == 12)
        try:
            assert not begun.acquire(blocking=False)
        finally:
            go_on.set()
        assert [search.result().status_code for search in searches] == [200] * 12
