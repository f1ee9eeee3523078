"""`/generate`, `/lookup`, `/health` and `/ready` over a real socket."""

import errno
import logging
import os
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.waiting import wait_until
from zimage_cache.errors import ModelMissing, OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message

from .conftest import picture

PICTURE = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(48) as threads:
        yield threads


def test_the_answer_says_where_it_came_from(serve):
    """Generated, then memory, then disk after a restart: fields, header and saved seconds fit each."""
    first = serve()
    answers = [first.generate(), first.generate()]
    first.close()
    answers.append(serve().generate())
    assert [a.headers["x-cache"] for a in answers] == ["miss", "hit-memory", "hit-disk"]
    images = [a.json()["images"][0] for a in answers]
    assert [(i["source"], i["cached"]) for i in images] == [("generated", False), ("memory", True), ("disk", True)]
    assert [i["seconds_saved"] > 0 for i in images] == [False, True, True]
    assert images[0]["age_seconds"] == 0
    assert 0 < images[1]["age_seconds"] < images[2]["age_seconds"]
    fields = {"key", "seed", "source", "cached", "seconds", "seconds_saved", "age_seconds", "image_url"}
    fields |= {"width", "height"}
    assert all(set(image) == fields for image in images)
    assert len({(i["key"], i["image_url"], i["seed"], i["width"], i["height"]) for i in images}) == 1
    assert all(set(a.json()) == {"images", "duration", "warnings"} for a in answers)
    assert all(0 <= i["seconds"] <= a.json()["duration"] for i, a in zip(images, answers, strict=True))


def test_n_pictures_in_one_answer(house):
    """Seeds count up over the end of the range; known ones are hits; the header is about the first."""
    last = 2**32 - 1
    known = house.image(prompt="n pictures", seed=0)
    answer = house.generate(prompt="n pictures", seed=last, n=3)
    images = answer.json()["images"]
    assert [image["seed"] for image in images] == [last, 0, 1]
    assert [image["source"] for image in images] == ["generated", "memory", "generated"]
    assert images[1]["key"] == known["key"]
    assert answer.headers["x-cache"] == "miss"


def test_each_mode_in_the_header(house):
    """Refresh and drawn seeds are misses, bypass is bypass, `only` finds what is there."""
    modes = ["use", "refresh", "bypass", "only"]
    assert [house.generate(prompt="modes", cache=mode).headers["x-cache"] for mode in modes] == [
        "miss",
        "miss",
        "bypass",
        "hit-memory",
    ]
    assert house.generate(prompt="modes", seed=-1).headers["x-cache"] == "miss"


def test_with_the_cache_off_the_header_says_bypass(serve):
    """Nothing is looked up; the picture is fetched under a token."""
    house = serve(caching=False)
    answers = [house.generate() for _ in range(2)]
    assert [a.headers["x-cache"] for a in answers] == ["bypass", "bypass"]
    urls = [a.json()["images"][0]["image_url"] for a in answers]
    assert len(set(urls)) == 2
    assert [house.client.get(url).status_code for url in urls] == [200, 200]


@pytest.mark.parametrize(
    ("accept", "png"),
    [
        ("image/png", True),
        ("IMAGE/PNG;q=1, */*", True),
        ("application/json, image/png", False),
        ("*/*", False),
        ("image/webp", False),
    ],
)
def test_png_on_request(house, accept, png):
    """With `Accept: image/png` the stored bytes come at once, with key and seed beside them; several stay JSON."""
    image = house.image(prompt="png please")
    answer = house.generate({"Accept": accept}, prompt="png please")
    assert answer.headers["content-type"] == ("image/png" if png else "application/json")
    if png:
        assert answer.content == house.client.get(image["image_url"]).content
        assert (answer.headers["x-key"], answer.headers["x-seed"]) == (image["key"], "7")
        assert answer.headers["x-cache"] == "hit-memory"
    assert "images" in house.generate({"Accept": accept}, prompt="png please", n=2).json()


def test_a_bypass_is_fetched_by_a_token_and_nowhere_else(serve, expect_error):
    """Its address carries 32 hex digits, not the key; the key is not found; nothing is on disk."""
    house = serve()
    image = house.image(cache="bypass")
    name = image["image_url"].removeprefix("/images/").partition(".png?v=")[0]
    assert len(name) == 32
    assert house.client.get(image["image_url"]).content.startswith(b"\x89PNG")
    expect_error(house.client.get(f"/images/{image['key']}.png"), 404, "not_found")
    house.close()
    assert [path for path in house.studio.root.rglob("*") if path.is_file()] == []


def test_only_never_generates(house, expect_error):
    """Not all of it stored: 404 `not_cached`; also for a seed still to be drawn."""
    drawn = len(house.studio.generator.recipes)
    for fields in ({"seed": 900}, {"seed": -1}, {"seed": 900, "n": 8}):
        expect_error(house.generate(prompt="only", cache="only", **fields), 404, "not_cached")
    assert len(house.studio.generator.recipes) == drawn


def test_an_idempotency_key_makes_a_retry_the_same_picture(house):
    """Two sends of one request with a drawn seed and a key: one generation, one picture."""
    images = [
        house.generate({"Idempotency-Key": "order-17"}, prompt="retry", seed=-1).json()["images"][0] for _ in range(2)
    ]
    assert images[0]["seed"] == images[1]["seed"] >= 0
    assert [image["source"] for image in images] == ["generated", "memory"]


def test_an_idempotency_key_is_of_one_body(house, expect_error):
    """Another body is refused, on both routes; the order of its fields does not make it another."""
    key = {"Idempotency-Key": "order-18"}
    assert house.generate(key, prompt="one body", seed=-1).status_code == 200
    ordered = dict(reversed(picture(prompt="one body", seed=-1).items()))
    assert house.client.post("/generate", json=ordered, headers=key).json()["images"][0]["source"] == "memory"
    for path in ("/generate", "/jobs"):
        other = picture(prompt="another body", seed=-1)
        refused = house.client.post(path, json=other, headers=key)
        expect_error(refused, 422, "invalid_request", "idempotency-key")


def test_warnings_travel(serve):
    """What the generator warned of is in the answer, once for n pictures, and in every hit."""
    house = serve(generator=FakeGenerator(warnings=(Message("as_said", text="prompt cut at 512 tokens"),)))
    for _ in range(2):
        assert house.generate(n=3).json()["warnings"] == ["prompt cut at 512 tokens"]


def test_32_at_once_are_one_generation(serve, gate, pool):
    """32 identical requests over 32 connections: the generator counts one; one `generated`, 31 `shared`."""
    door = gate()
    house = serve(door)
    asking = [pool.submit(house.generate) for _ in range(32)]
    door.wait()
    (run,) = house.studio.service.runs
    wait_until(lambda: run.waiters == 32)
    door.open()
    answers = [future.result(60) for future in asking]
    assert Counter(a.json()["images"][0]["source"] for a in answers) == {"generated": 1, "shared": 31}
    assert Counter(a.headers["x-cache"] for a in answers) == {"miss": 1, "shared": 31}
    assert len(house.studio.generator.recipes) == 1


def test_nothing_waits_behind_misses(serve, gate, pool):
    """While 40 misses wait, health, hits, look-ups and pictures are answered: all of them before any miss."""
    door = gate()
    door.open()
    house = serve(door, queue_size=64)
    known = house.image(seed=0)
    house.studio.generator.before_step = door = gate()
    misses = [pool.submit(house.generate, seed=seed) for seed in range(1, 41)]
    wait_until(lambda: house.studio.service.queue_depth == 40)
    assert house.client.get("/health").json()["status"] == "healthy"
    assert house.client.get("/ready").status_code == 200
    assert house.image(seed=0)["source"] == "memory"
    assert house.client.get(known["image_url"]).status_code == 200
    assert house.client.get(f"/images/{known['key']}/thumbnail.webp").status_code == 200
    assert house.client.post("/lookup", json={"prompt": "x", "seed": 1}).json()["images"][0]["cached"] is False
    assert not any(miss.done() for miss in misses)
    door.open()
    assert {miss.result(60).json()["images"][0]["source"] for miss in misses} == {"generated"}
    assert house.studio.generator.most_at_once == 1


def test_one_asker_leaves_room_for_the_next(serve, gate, expect_error):
    """Jobs until one is refused: then `/ready` is 503 for this client, but 200 for another, whose miss is accepted."""
    door = gate()
    house = serve(door)
    answers = [house.client.post("/jobs", json=PICTURE | {"n": 8, "seed": 100 * number}) for number in range(4)]
    expect_error(answers[-1], 503, "queue_full")
    while house.client.get("/ready").status_code == 200:
        assert house.client.post("/jobs", json=PICTURE | {"seed": house.studio.service.queue_depth}).status_code == 202
    assert house.client.get("/health").json()["room"] == 0
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=house.client.base_url, transport=transport, timeout=60) as other:
        ready = other.get("/ready")
        assert (ready.status_code, ready.json()["room"]) == (200, 8)
        assert other.post("/jobs", json=PICTURE | {"n": 8, "seed": 9000}).status_code == 202
    door.open()


def test_a_full_queue_says_when_to_come_back(serve, gate, pool, expect_error):
    """503 `queue_full` with Retry-After; n is refused whole; who shares a run needs no room."""
    door = gate()
    house = serve(door, queue_size=2)
    first = pool.submit(house.generate, n=2)
    wait_until(lambda: house.studio.service.queue_depth == 2)
    refused = house.generate(seed=100)
    expect_error(refused, 503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
    shared = pool.submit(house.generate, n=2)
    runs = house.studio.service.runs
    wait_until(lambda: all(run.waiters == 2 for run in runs))
    door.open()
    assert [image["source"] for image in shared.result(60).json()["images"]] == ["shared", "shared"]
    assert first.result(60).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("secret detail"), 500, "generation_failed"),
        (OutOfMemory("as_said", text="1024x1024 needs 9 GiB; ask for a smaller picture"), 507, "out_of_memory"),
    ],
)
def test_a_failure_is_one_requests(serve, expect_error, error, status, code):
    """The generator raises: its error without any traceback; the next request is fine."""

    def before_step(recipe, _evaluation):
        if recipe.seed == 1:
            raise error

    house = serve(before_step)
    message = expect_error(house.generate(seed=1), status, code)
    assert "secret" not in message
    assert "ZeroDivisionError" not in message
    assert house.image(seed=2)["source"] == "generated"


def test_a_wait_ends(serve, gate, expect_error):
    """After the time one request may take: 504 `timed_out`."""
    expect_error(serve(gate(), request_timeout=0.05).generate(), 504, "timed_out")


class Loading(FakeGenerator):
    """Loads for as long as the test wants."""

    def __init__(self):
        super().__init__(state=GeneratorState(Status.LOADING, phase=Message("loading_weights"), share=0.25))
        self.ready = threading.Event()

    def load(self):
        assert self.ready.wait(60)
        super().load()


def test_while_the_model_loads(serve, expect_error):
    """`/health` has phase and share; `/ready` is 503; hits are served; misses get `loading` with Retry-After."""
    first = serve()
    first.image(seed=1)
    first.close()
    generator = Loading()
    house = serve(generator=generator, preload=True)
    health = house.client.get("/health")
    assert health.status_code == 200
    told = {"status": "loading", "model": "fake", "phase": "loading weights", "share": 0.25}
    assert told.items() <= health.json().items()
    assert house.client.get("/ready").status_code == 503
    assert house.client.get("/ready").json()["status"] == "loading"
    assert house.image(seed=1)["source"] == "disk"
    refused = house.generate(seed=2)
    expect_error(refused, 503, "loading")
    assert int(refused.headers["retry-after"]) > 0
    generator.ready.set()
    wait_until(lambda: house.client.get("/ready").status_code == 200)
    assert house.client.get("/health").json()["status"] == "healthy"
    wait_until(lambda: house.generate(seed=2).status_code == 200)


def test_asleep_is_ready(serve):
    """A sleeping model wakes when asked: ready, and the next miss is drawn."""
    house = serve()
    assert house.client.get("/health").json()["status"] == "sleeping"
    assert house.client.get("/ready").status_code == 200
    assert house.image()["source"] == "generated"


def test_a_model_that_is_not_there(serve, expect_error):
    """503 `model_missing`, saying how to get it; nothing is fetched, waiting would not help."""

    class Missing(FakeGenerator):
        def identity(self):
            raise ModelMissing("as_said", text="turbo is not on this disk; fetch it with: zimage model download turbo")

    house = serve(generator=Missing())
    for path in ("/generate", "/lookup"):
        answer = house.client.post(path, json={"prompt": "x", "seed": 1})
        assert "zimage model download" in expect_error(answer, 503, "model_missing")
        assert "retry-after" not in answer.headers


def test_lookup_tells_without_doing(serve):
    """Key, age and address of what is stored, the cost of the rest; nothing is drawn, counted or promoted."""
    first = serve()
    image = first.image()
    first.close()
    house = serve()
    cache = house.studio.cache
    before = cache.counts()["hits_disk"]
    body = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4}
    found = house.client.post("/lookup", json=body | {"seed": 7, "n": 2}).json()
    assert set(found) == {"images", "eta_seconds"}
    assert set(found["images"][0]) == {"key", "cached", "age_seconds", "image_url"}
    assert found["images"][0] == {
        "key": image["key"],
        "cached": True,
        "age_seconds": found["images"][0]["age_seconds"],
        "image_url": image["image_url"],
    }
    assert found["images"][0]["age_seconds"] >= 0
    assert found["images"][1]["cached"] is False
    assert len(found["images"][1]["key"]) == 64
    (drawn,) = house.client.post("/lookup", json=body).json()["images"]
    assert drawn == {"key": None, "cached": False, "age_seconds": None, "image_url": None}
    after = cache.counts()
    assert (after["hits_memory"], after["hits_disk"], cache.held().memory_entries) == (0, 0, 0)
    assert (before, house.studio.generator.recipes) == (0, [])
    assert house.image()["source"] == "disk"


def test_a_client_that_disconnects_stops_the_run_within_a_step(serve, gate):
    """The only waiter closes its connection in the middle: no further step is drawn, nothing is stored."""
    door = gate(evaluation=2, only={7})
    house = serve(door)
    asking = house.ask_and_hold(seed=7)
    door.wait()
    asking.close()
    wait_until(lambda: house.studio.service.queue_depth == 0)
    door.open()
    assert house.image(seed=2)["source"] == "generated"
    assert [step for step in door.steps if step[0] == 7] == [(7, 1), (7, 2)]
    assert len(house.stored()) == 1


def test_a_client_that_disconnects_does_not_affect_others(serve, gate, pool):
    """When another client waits for the same picture, the run continues, and that client gets it."""
    door = gate(evaluation=2)
    house = serve(door)
    leader = house.ask_and_hold()
    door.wait()
    other = pool.submit(house.generate)
    (run,) = house.studio.service.runs
    wait_until(lambda: run.waiters == 2)
    leader.close()
    wait_until(lambda: run.waiters == 1)
    door.open()
    assert other.result(60).json()["images"][0]["source"] == "shared"
    assert door.steps == [(7, step) for step in (1, 2, 3, 4)]


def test_a_client_that_disconnects_frees_its_place_in_the_queue(serve, gate):
    """A queued picture whose client has disconnected is not drawn, and its place in the queue is free."""
    door = gate(only={1})
    house = serve(door, queue_size=2)
    first = house.ask_and_hold(seed=1)
    door.wait()
    second = house.ask_and_hold(seed=2)
    wait_until(lambda: house.studio.service.queue_depth == 2)
    second.close()
    wait_until(lambda: house.studio.service.queue_depth == 1)
    door.open()
    assert house.image(seed=3)["source"] == "generated"
    first.close()
    assert [recipe.seed for recipe in house.studio.generator.recipes] == [1, 3]


def test_a_client_that_disconnects_while_sending_causes_no_error(serve, caplog):
    """A client that disconnects within its body: no error is logged, and the server continues."""
    house = serve()
    with caplog.at_level(logging.WARNING), socket.create_connection(("127.0.0.1", house.port)) as half:
        head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        half.sendall(head + b'Content-Length: 1000\r\n\r\n{"prompt": ')
    assert house.image()["source"] == "generated"
    assert caplog.records == []


def test_health_names_trouble_that_lasts(serve, monkeypatch):
    """A cache that cannot be written and one that is off: in words, since when, and gone when it is over."""
    house = serve()
    assert house.client.get("/health").json()["troubles"] == []
    with monkeypatch.context() as trouble:

        def full(*_args):
            raise OSError(errno.ENOSPC, "No space left on device")

        trouble.setattr(os, "fsync", full)
        assert house.image(seed=1)["source"] == "generated"
        assert house.studio.service.idle(60)
        told = house.client.get("/health").json()["troubles"]
        assert [each["code"] for each in told] == ["cache_disk_full", "history_disk_full"]
        assert "not stored" in told[0]["detail"]
        assert set(told[0]) == {"code", "since", "detail"}
        assert house.client.get("/ready").json()["troubles"] == told
    house.image(seed=2)
    house.stored()
    assert house.client.get("/health").json()["troubles"] == []


def test_health_says_that_the_cache_is_off(serve):
    """Without a fault, `/health` still states why each picture is drawn again."""
    (told,) = serve(caching=False).client.get("/health").json()["troubles"]
    assert told["code"] == "cache_off"
