"""`/jobs` over a real socket: jobs, their event streams, and disconnected clients."""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.waiting import Clock, wait_until
from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.request import Recipe
from zimage_cache.service import service as service_module
from zimage_cache.service import tickets as tickets_module
from zimage_cache.web.api import jobs as jobs_api

COMPACT: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False}
ASK = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4, "seed": 7}
FIELDS = {
    "id",
    "state",
    "phase",
    "detail",
    "position",
    "step",
    "steps",
    "done",
    "n",
    "eta_seconds",
    "preview",
    "images",
    "warnings",
    "duration",
    "error",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Look more often than people could see."""
    monkeypatch.setattr(jobs_api, "_LOOK_SECONDS", 0.005)
    monkeypatch.setattr(tickets_module, "_KEEPER_SECONDS", 0.005)


def opened(house, headers=None, **fields) -> dict:
    """Open a job that must be taken."""
    answer = house.client.post("/jobs", json=ASK | fields, headers=headers)
    assert answer.status_code == 202, answer.text
    state = answer.json()
    assert answer.headers["location"] == f"/jobs/{state['id']}"
    return state


def state_of(house, job: dict) -> dict:
    return house.client.get(f"/jobs/{job['id']}").json()


def ended(house, job: dict) -> dict:
    wait_until(lambda: state_of(house, job)["state"] not in {"queued", "running"})
    return state_of(house, job)


def blocks(stream) -> Iterator[list[str]]:
    """Cut a stream into its blocks, which end with empty lines."""
    block: list[str] = []
    for line in stream.iter_lines():
        if line:
            block.append(line)
        else:
            yield block
            block = []


def messages(stream) -> Iterator[dict]:
    """Read a stream's messages, skipping heartbeats."""
    for block in blocks(stream):
        fields = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
        if fields:
            assert fields["event"] in {"state", "gone"}
            told = json.loads(fields["data"])
            assert fields["event"] == ("state" if "state" in told else "gone")
            yield told


def together(house, *ids: str, quiet: tuple[str, ...] = (), headers: dict[str, str] | None = None):
    """Open one stream of several jobs."""
    return house.client.stream(
        "GET", "/jobs/events", params={"ids": ",".join(ids), "quiet": ",".join(quiet)}, headers=headers
    )


def test_a_ticket_at_once_and_the_picture_later(serve, gate):
    """202 while the generator is held; the state on request; in the end the very answer of `/generate`."""
    door = gate(evaluation=2)
    house = serve(door)
    first = opened(house)
    assert set(first) == FIELDS
    assert len(first["id"]) == 32
    assert (first["images"], first["duration"], first["error"]) == ([None], None, None)
    door.wait()
    running = state_of(house, first)
    assert (running["state"], running["phase"], running["step"], running["steps"]) == ("running", "drawing", 1, 4)
    door.open()
    last = ended(house, first)
    assert (last["state"], last["done"], last["n"], last["error"]) == ("done", 1, 1, None)
    assert last["duration"] > 0
    (image,), again = last["images"], house.image()
    assert (image["source"], image["age_seconds"], again["source"]) == ("generated", 0, "memory")
    same = ("key", "seed", "image_url", "width", "height")
    assert [image[name] for name in same] == [again[name] for name in same]
    assert set(image) == set(again)
    assert house.client.get(image["image_url"]).content.startswith(b"\x89PNG")
    answer = house.client.get(f"/jobs/{first['id']}")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == last


def test_stored_pictures_are_on_the_first_answer(serve, gate):
    """What is known is there at once, in its place, with its age."""
    door = gate(only={8})
    house = serve(door)
    known = house.image(seed=7)
    first = opened(house, n=2)
    assert first["images"][1] is None
    assert (first["images"][0]["key"], first["images"][0]["source"]) == (known["key"], "memory")
    assert first["images"][0]["age_seconds"] > 0
    assert (first["done"], first["n"]) == (1, 2)
    door.open()
    assert [image["source"] for image in ended(house, first)["images"]] == ["memory", "generated"]


def test_a_press_on_what_is_stored_is_answered_by_its_202(serve, monkeypatch):
    """The first answer is the last one, also where the disk takes most of a second to find what is stored."""
    house = serve()
    known = [house.image(seed=seed) for seed in (7, 8)]
    cache = house.studio.service.cache
    get = cache.get

    def slow(key: str):
        time.sleep(0.3)
        return get(key)

    monkeypatch.setattr(cache, "recall", lambda _key: None)
    monkeypatch.setattr(cache, "get", slow)
    state = opened(house, n=2)
    assert (state["state"], state["done"]) == ("done", 2)
    assert [image["key"] for image in state["images"]] == [image["key"] for image in known]


def test_a_miss_is_resolved_and_fingerprinted_once_and_looked_up_twice(serve, monkeypatch):
    """Before its place in the queue is taken, and once more after it is, for what was stored in between."""
    house = serve()
    calls: list[str] = []

    def count(where: object, name: str) -> None:
        original = getattr(where, name)

        def counted(*args, **options):
            calls.append(name)
            return original(*args, **options)

        monkeypatch.setattr(where, name, counted)

    count(service_module, "resolve")
    count(service_module, "fingerprint")
    count(house.studio.service.cache, "get")
    assert ended(house, opened(house, prompt="counted"))["images"][0]["source"] == "generated"
    assert sorted(calls) == ["fingerprint", "get", "get", "resolve"]


def test_the_same_errors_as_generate(serve, gate, expect_error):
    """Errors known at once are ordinary error answers; no job is created."""
    door = gate()
    house = serve(door, queue_size=1)
    opened(house, seed=1)
    ask = house.client.post
    expect_error(ask("/jobs", json=ASK | {"width": 65}), 422, "invalid_request", "width")
    expect_error(ask("/jobs", json=ASK | {"model": "none"}), 422, "invalid_request", "model")
    expect_error(ask("/jobs", json=ASK, headers={"Idempotency-Key": ""}), 422, "invalid_request", "idempotency-key")
    expect_error(ask("/jobs", content=b"{", headers={"Content-Type": "application/json"}), 422, "invalid_request")
    expect_error(ask("/jobs", content=b"{}"), 415, "unsupported_media_type")
    expect_error(ask("/jobs", json=ASK | {"cache": "only"}), 404, "not_cached")
    full = ask("/jobs", json=ASK)
    expect_error(full, 503, "queue_full")
    assert int(full.headers["retry-after"]) > 0


def test_a_later_error_is_the_job_s(serve):
    """The run fails: the state has the error with the id of the request that asked, and no traceback."""

    def before_step(_recipe, _evaluation):
        raise OutOfMemory("as_said", text="64x64 needs 9 GiB; ask for a smaller picture")

    house = serve(before_step)
    last = ended(house, opened(house, {"X-Request-Id": "mine"}))
    assert (last["state"], last["images"]) == ("failed", [None])
    message = "64x64 needs 9 GiB; ask for a smaller picture"
    assert last["error"] == {
        "code": "out_of_memory",
        "message": message,
        "rule": "as_said",
        "params": {"text": message},
        "request_id": "mine",
    }


def test_an_idempotency_key_pins_the_seed(house):
    """Two sends of one ask with a drawn seed and a key are one picture."""
    states = [ended(house, opened(house, {"Idempotency-Key": "job-1"}, prompt="jobs retry", seed=-1)) for _ in range(2)]
    images = [state["images"][0] for state in states]
    assert images[0]["seed"] == images[1]["seed"]
    assert [image["source"] for image in images] == ["generated", "memory"]


def test_the_stream_tells_the_story(serve, gate):
    """Headers for proxies and browsers; one message a change; the preview once; it ends with the job's end."""
    first, last = gate(evaluation=1), gate(evaluation=3)

    def before_step(recipe: Recipe, evaluation: int) -> None:
        first(recipe, evaluation)
        last(recipe, evaluation)

    generator = FakeGenerator(preview=b"small", before_step=before_step)
    house = serve(generator=generator)
    job = opened(house)
    first.wait()
    told: list[Any] = []
    shown: list[Any] = []
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        for message in messages(stream):
            told.append(message)
            shown.append(message.get("preview", shown[-1] if shown else "told in the first message"))
            first.open()
            if message["step"] == 2:
                last.open()
    assert set(told[0]) == FIELDS
    assert {message["id"] for message in told} == {job["id"]}
    assert [message["preview"] for message in told if message.get("preview")] == ["data:image/jpeg;base64,c21hbGw="]
    assert told[-1]["state"] == "done"
    assert (shown[0], shown[-1]) == (None, None)
    assert told[-1]["images"] == state_of(house, job)["images"]
    assert [message["state"] for message in told[:-1]] == ["running"] * (len(told) - 1)


def test_the_stream_of_an_ended_job_is_its_last_message(house):
    """A stream opened late, or again, gets the final state at once."""
    job = opened(house, prompt="late")
    last = ended(house, job)
    for _ in range(2):
        with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
            assert list(blocks(stream)) == [["event: state", f"data: {json.dumps(last, **COMPACT)}", "retry: 1000"]]


def test_a_silent_stream_has_a_heartbeat(serve, gate, monkeypatch):
    """Nothing changes: comments keep the connection open, no message is sent twice."""
    monkeypatch.setattr(jobs_api, "_HEARTBEAT_SECONDS", 0.01)
    door = gate()
    house = serve(door)
    job = opened(house)
    door.wait()
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        story = blocks(stream)
        assert next(story)[0] == "event: state"
        for _ in range(3):
            assert next(story) == [": still here"]
        door.open()
        assert any("event: state" in block for block in story)


def test_several_streams_on_one_job(serve, gate):
    """All of them receive the final state."""
    door = gate(evaluation=2)
    house = serve(door)
    job = opened(house)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(house.client.stream("GET", f"/jobs/{job['id']}/events")) for _ in range(3)]
        door.open()
        assert [list(messages(stream))[-1]["state"] for stream in streams] == ["done"] * 3


def test_a_deleted_job_is_cancelled_and_then_forgotten(serve, gate, expect_error):
    """204; its stream ends, its run within a step; the state says cancelled; a second time it is forgotten."""
    door = gate(evaluation=2, only={7})
    house = serve(door)
    job = opened(house)
    door.wait()
    path = f"/jobs/{job['id']}"
    with house.client.stream("GET", f"{path}/events") as stream:
        story = messages(stream)
        assert next(story)["state"] == "running"
        answer = house.client.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert [message["state"] for message in story][-1] == "cancelled"
    wait_until(lambda: house.studio.service.queue_depth == 0)
    door.open()
    state = house.client.get(path).json()
    assert (state["state"], state["error"]["code"]) == ("cancelled", "cancelled")
    assert house.client.delete(path).status_code == 204
    for answer in (house.client.get(path), house.client.delete(path), house.client.get(f"{path}/events")):
        expect_error(answer, 404, "not_found")
    assert house.image(seed=8)["source"] == "generated"
    assert [step for step in door.steps if step[0] == 7] == [(7, 1), (7, 2)]


def test_a_deleted_job_leaves_others_what_they_share(serve, gate):
    """Another client's job on the same picture continues."""
    door = gate(evaluation=2)
    house = serve(door)
    jobs = [opened(house) for _ in range(2)]
    door.wait()
    house.client.delete(f"/jobs/{jobs[0]['id']}")
    door.open()
    assert ended(house, jobs[1])["images"][0]["source"] == "shared"
    assert state_of(house, jobs[0])["state"] == "cancelled"
    assert len(house.studio.generator.recipes) == 1


def test_a_closed_page_frees_the_generator(serve, gate):
    """After its stream is cut, the run continues for fifteen seconds, and then ends within a step."""
    door, clock = gate(evaluation=2, only={7}), Clock()
    house = serve(door, web={"clock": clock})
    job = opened(house)
    door.wait()
    (run,) = house.studio.service.runs
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        story = messages(stream)  # named, for an iterator that is dropped closes its connection
        assert next(story)["state"] == "running"
        assert run.watchers == 1
    wait_until(lambda: run.watchers == 0)  # the server noticed, without having anything to send
    assert house.studio.service.queue_depth == 1
    clock.now += 15
    wait_until(lambda: house.studio.service.queue_depth == 0)
    assert state_of(house, job)["state"] == "cancelled"
    door.open()
    assert house.image(seed=8)["source"] == "generated"
    assert [step for step in door.steps if step[0] == 7] == [(7, 1), (7, 2)]


def test_a_page_that_comes_back_finds_its_job(serve, gate):
    """With a new stream within the fifteen seconds, the job continues."""
    door, clock = gate(evaluation=2), Clock()
    house = serve(door, web={"clock": clock})
    job = opened(house)
    door.wait()
    (run,) = house.studio.service.runs
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        story = messages(stream)
        next(story)
    wait_until(lambda: run.watchers == 0)
    clock.now += 14
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        story = messages(stream)
        assert next(story)["state"] == "running"
        clock.now += 100
        assert state_of(house, job)["state"] == "running"
        door.open()
        assert list(story)[-1]["state"] == "done"


def test_a_client_that_disconnects_before_the_answer_has_no_job(serve, monkeypatch):
    """A job whose client disconnects before it gets the id is cancelled."""
    answer = tickets_module.Ticket.answer
    monkeypatch.setattr(tickets_module.Ticket, "answer", lambda ticket, _patience: answer(ticket, 3600))
    house = serve()
    asked, given_up = threading.Event(), threading.Event()

    async def never(*_args, **_options):
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            raise

    house.studio.service.ask = never
    connection = HTTPConnection("127.0.0.1", house.port, timeout=60)
    connection.request("POST", "/jobs", json.dumps(ASK), {"Content-Type": "application/json"})
    assert asked.wait(60)
    connection.close()
    assert given_up.wait(60)
    assert house.studio.generator.recipes == []


def test_only_the_client_gets_the_id(serve, caplog):
    """Each is new, none is logged whole, and there is no list of them."""
    house = serve()
    with caplog.at_level(logging.DEBUG):
        jobs = [ended(house, opened(house)) for _ in range(2)]
        with house.client.stream("GET", f"/jobs/{jobs[0]['id']}/events") as stream:
            stream.read()
        house.client.delete(f"/jobs/{jobs[0]['id']}")
    assert jobs[0]["id"] != jobs[1]["id"]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [line for line in ours for job in jobs if job["id"] in line]


def test_the_server_stops_in_the_middle_of_a_stream(serve, gate, caplog):
    """Open jobs and streams hold nothing up, and leave nothing that asyncio would complain of."""
    door = gate(evaluation=2)
    house = serve(door)
    job = opened(house)
    door.wait()
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        story = messages(stream)
        next(story)
        house.stop()
    door.open()
    house.studio.close()
    assert house.studio.service.queue_depth == 0
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_one_stream_of_several_jobs(serve, gate):
    """Each message has its job's id; what has ended is sent once, what is no job's is gone, and the last end is its."""
    doors = {seed: gate(evaluation=2, only={seed}) for seed in (1, 2)}
    house = serve(lambda recipe, evaluation: [door(recipe, evaluation) for door in doors.values()])
    over = ended(house, opened(house, seed=9))
    jobs = {seed: opened(house, seed=seed)["id"] for seed in doors}
    doors[1].wait()
    told: list[dict] = []
    with together(house, *jobs.values(), over["id"], "unknown", over["id"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
        story = messages(stream)
        told += [next(story) for _ in range(4)]
        assert told[0] == {"id": "unknown"}
        assert [state["id"] for state in told[1:]] == [*jobs.values(), over["id"]]
        assert told[3] == over
        doors[1].open()
        doors[2].wait()
        doors[2].open()
        told += story
    last = {state["id"]: state for state in told[1:]}
    assert {name: state["state"] for name, state in last.items()} == dict.fromkeys([*jobs.values(), over["id"]], "done")
    for job in jobs.values():
        states = [state for state in told[1:] if state["id"] == job]
        assert [state["state"] for state in states].count("done") == 1
        assert "preview" in states[0]
        assert states[-1]["images"] == state_of(house, {"id": job})["images"]


def test_quiet_jobs_are_kept_and_told_of_at_their_end(serve, gate):
    """Of a job that is out of sight: its state at the beginning and at the end, no previews, and no end before it."""
    first, last = gate(evaluation=1), gate(evaluation=3)

    def before_step(recipe: Recipe, evaluation: int) -> None:
        first(recipe, evaluation)
        last(recipe, evaluation)

    generator, clock = FakeGenerator(preview=b"small", before_step=before_step), Clock()
    house = serve(generator=generator, web={"clock": clock})
    job = opened(house)["id"]
    first.wait()
    (run,) = house.studio.service.runs
    with together(house, job, quiet=(job, "unknown")) as stream:
        story = messages(stream)
        assert next(story)["state"] == "running"
        assert run.watchers == 0
        first.open()
        last.wait()
        clock.now += 100
        assert state_of(house, {"id": job})["state"] == "running"
        last.open()
        assert [state["state"] for state in story] == ["done"]
    assert generator.previews == 0


def test_a_stream_of_several_that_closes_leaves_each_of_its_jobs(serve, gate):
    """They wait fifteen seconds for a return, as after a stream of their own; one that another stream has goes on."""
    door, clock = gate(evaluation=2), Clock()
    house = serve(door, web={"clock": clock})
    jobs = [opened(house, seed=seed)["id"] for seed in (1, 2, 3)]
    door.wait()
    with together(house, jobs[2]) as other:
        going_on = messages(other)
        next(going_on)
        with together(house, *jobs, quiet=(jobs[1],)) as stream:
            story = messages(stream)
            assert [next(story)["id"] for _ in jobs] == jobs
            clock.now += 100
            assert state_of(house, {"id": jobs[0]})["state"] == "running"
        runs = {run.plan.recipe.seed: run for run in house.studio.service.runs}
        wait_until(lambda: runs[1].watchers == 0)
        clock.now += 15
        wait_until(lambda: house.studio.service.queue_depth == 1)
        states = [state_of(house, {"id": job})["state"] for job in jobs]
        assert states[:2] == ["cancelled", "cancelled"]
        assert states[2] in {"queued", "running"}
        door.open()
        assert list(going_on)[-1]["state"] == "done"


def test_a_stream_of_several_is_bounded(serve, gate, expect_error, monkeypatch):
    """At most 100 ids, and each job counts as one stream; what is refused has no listener."""
    monkeypatch.setattr(tickets_module, "MOST_LISTENERS", 4)
    door = gate(evaluation=2)
    house = serve(door)
    jobs = [opened(house, seed=seed)["id"] for seed in range(4)]
    get = house.client.get
    expect_error(get("/jobs/events"), 422, "invalid_request", "ids")
    expect_error(get("/jobs/events?ids="), 422, "invalid_request", "ids")
    expect_error(get("/jobs/events", params={"ids": ",".join([jobs[0]] * 101)}), 422, "invalid_request", "ids")
    expect_error(get("/jobs/events", params={"ids": ",".join(jobs)}), 503, "queue_full")
    for method in ("POST", "DELETE"):
        expect_error(house.client.request(method, "/jobs/events"), 405, "method_not_allowed")
    # All of the hundred are one job, and were followed by none before.
    with together(house, *[jobs[0]] * 100) as stream:
        assert next(messages(stream))["id"] == jobs[0]
    wait_until(lambda: {run.watchers for run in house.studio.service.runs} == {0})
    door.open()
    with together(house, ",") as stream:
        assert stream.read() == b""


def test_a_stream_is_in_the_language_of_its_reader(serve, gate):
    """The texts of its messages are those of its own `Accept-Language`, whatever the job was asked in."""
    door = gate()
    house = serve(door)
    job = opened(house, {"Accept-Language": "en"})
    house.client.delete(f"/jobs/{job['id']}")
    with together(house, job["id"], headers={"Accept-Language": "zh-CN"}) as stream:
        assert [message["error"]["message"] for message in messages(stream)] == ["已被请求者停止"]


def test_a_stream_may_name_its_language(serve, gate, expect_error):
    """For an `EventSource`, whose header is the browser's: the address counts more; only known ones are accepted."""
    house = serve(gate())
    job = opened(house, {"Accept-Language": "en"})
    house.client.delete(f"/jobs/{job['id']}")
    for language, words in {"zh": "已被请求者停止", "en": "stopped by who asked for it"}.items():
        asked = {"ids": job["id"], "language": language}
        other = {"Accept-Language": {"zh": "en", "en": "zh"}[language]}
        with house.client.stream("GET", "/jobs/events", params=asked, headers=other) as stream:
            assert [message["error"]["message"] for message in messages(stream)] == [words]
    for wrong in ("fr", "", "zh-CN", "ZH", "en,zh"):
        refused = house.client.get("/jobs/events", params={"ids": job["id"], "language": wrong})
        expect_error(refused, 422, "invalid_request", "language")
