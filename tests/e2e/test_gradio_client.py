"""The named endpoints `/generate`, `/lookup` and `/cache_stats`, by Gradio's own client and by bare requests."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, AuthenticationError

from tests.factories import authentication
from tests.waiting import Clock, wait_until
from zimage_cache.accounts.limits import Rate
from zimage_cache.accounts.users import hashed, key_digest
from zimage_cache.errors import QueueFull
from zimage_cache.request_id import RequestIdFilter
from zimage_cache.service.queue import Shares
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.page import endpoints
from zimage_cache.web.page.calls import MOST_OF_A_USER, MOST_UNREAD, Sessions

ASK: dict[str, Any] = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 4, "seed": 7}
KEY = "k" * 32
LINES = ("ann:of ann", f"ben:{hashed('of ben')}", f"bot:sha256${key_digest(KEY)}")
NAMES = {"/generate", "/lookup", "/cache_stats"}


@pytest.fixture
def connect(tmp_path) -> Iterator[Callable[..., Client]]:
    """Return a function that connects Gradio's client to a server under test; files go below the test's folder."""
    made: list[Client] = []

    def connect(house: Any, path: str = "", **options: Any) -> Client:
        address, folder = f"http://127.0.0.1:{house.port}{path}", tmp_path / "downloads"
        made.append(Client(address, verbose=False, analytics_enabled=False, download_files=folder, **options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def users(serve, tmp_path) -> Any:
    """A server with an administrator (ann), a user (ben), and a program (bot)."""
    return serve(web={"authentication": authentication(tmp_path, *LINES)})


def called(house: Any, name: str, *values: Any, headers: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    """Call an endpoint as Gradio's description for curl says: return the events of its stream."""
    begun = house.client.post(f"/gradio_api/call/{name}", json={"data": values}, headers=headers)
    assert begun.status_code == 200, begun.text
    stream = house.client.get(f"/gradio_api/call/{name}/{begun.json()['event_id']}", headers=headers).text
    return [
        (event.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for event, data in (message.split("\n", 1) for message in stream.strip().split("\n\n"))
    ]


def join(house: Any, **fields: Any) -> httpx.Response:
    ask = {"data": list(values()), "fn_index": 0, "session_hash": "mine"} | fields
    return house.client.post("/gradio_api/queue/join", json=ask)


def values(**fields: Any) -> Iterator[Any]:
    """Yield the values of a request in the order of the endpoints' parameters."""
    asked = ASK | fields
    yield from (asked.get(name) for name in GenerateBody.model_fields)


def test_the_endpoints_are_described(house, connect):
    """`view_api` lists the three with every field of a request, its type, its default, and a text."""
    described = connect(house).view_api(print_info=False, return_format="dict")
    assert described["named_endpoints"].keys() == NAMES
    assert described["unnamed_endpoints"] == {}
    for name in ("/generate", "/lookup"):
        endpoint = described["named_endpoints"][name]
        given = {each["parameter_name"]: each for each in endpoint["parameters"]}
        assert [*given] == [*GenerateBody.model_fields]
        assert [name for name, each in given.items() if not each["parameter_has_default"]] == ["prompt"]
        assert given["prompt"]["python_type"]["type"] == "str"
        assert "int" in given["width"]["python_type"]["type"]
        assert "'heun'" in given["sampler"]["python_type"]["type"]
        assert given["seed"]["parameter_default"] == -1
        assert "what `POST" in endpoint["description"] or "as `POST" in endpoint["description"]
        assert "Pixels, a multiple of 16" in endpoint["description"]
    assert described["named_endpoints"]["/generate"]["returns"][0]["python_type"]["type"] == "list[filepath]"
    assert described["named_endpoints"]["/cache_stats"]["parameters"] == []


def test_the_code_of_the_documentation_works(house, tmp_path, monkeypatch, capsys):
    """The example is executed as it stands, but for the address."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    code = text.partition("## Gradio's clients")[2].partition("```python\n")[2].partition("```")[0]
    exec(code.replace(":7860", f":{house.port}"), {})
    said = capsys.readouterr().out
    assert ".png generated" in said
    assert "'cached': True" in said
    assert "memory_bytes" in said


def test_the_description_has_the_address_of_who_asks(house):
    """Code to copy names the server as its reader does: another one's address would get the reader's password."""
    for host in ("192.0.2.1", "localhost", "gallery.example"):
        headers = {"Host": host, "X-Gradio-Server": "http://evil.example"}
        described = house.client.get("/gradio_api/info", headers=headers).json()
        assert f'Client("http://{host}")' in described["named_endpoints"]["/lookup"]["code_snippets"]["python"]


def test_a_client_below_a_path(serve, connect):
    """Behind a proxy that offers the server below `--root-path`, with the path in the client's address."""
    house = serve(web={"root_path": "/zimage"})
    (file,), answer = connect(house, path="/zimage").predict(**ASK, api_name="/generate")
    assert answer["images"][0]["image_url"].startswith("/zimage/images/")
    assert Path(file).read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_a_local_file_and_comes_from_memory_the_second_time(house, connect):
    """The file has the very bytes that are stored; the answer is that of `POST /generate`, by its own shape."""
    client = connect(house)
    (file,), first = client.predict(**ASK | {"prompt": "twice"}, api_name="/generate")
    (again,), second = client.predict(**ASK | {"prompt": "twice"}, api_name="/generate")
    (image,) = first["images"]
    assert (image["source"], second["images"][0]["source"]) == ("generated", "memory")
    stored = house.client.get(image["image_url"]).content
    assert Path(file).read_bytes() == Path(again).read_bytes() == stored
    assert Path(file).name == f"{image['key']}.png"
    assert first.keys() == house.generate(prompt="twice").json().keys()
    assert image.keys() == house.generate(prompt="twice").json()["images"][0].keys()


def test_several_pictures_and_one_that_is_stored_nowhere(house, connect):
    """A list of files in the order of the seeds; a bypassed picture has a name that only its answer tells."""
    client = connect(house)
    files, answer = client.predict(**ASK | {"n": 3}, api_name="/generate")
    assert [image["seed"] for image in answer["images"]] == [7, 8, 9]
    assert [Path(file).stem for file in files] == [image["key"] for image in answer["images"]]
    (file,), answer = client.predict(**ASK | {"cache": "bypass"}, api_name="/generate")
    assert Path(file).stem != answer["images"][0]["key"]
    assert Path(file).read_bytes().startswith(b"\x89PNG")


def test_a_look_up_draws_nothing(house, connect):
    """It answers as `POST /lookup` does."""
    client, ask = connect(house), ASK | {"prompt": "only looked up"}
    drawn = house.studio.service.statistics.this_process().counts.generated
    found = client.predict(**ask, api_name="/lookup")
    assert found == house.client.post("/lookup", json=ask).json()
    assert [image["cached"] for image in found["images"]] == [False]
    assert house.studio.service.statistics.this_process().counts.generated == drawn


def test_the_statistics_are_those_of_the_route(house, connect):
    """The same numbers under the same names."""
    assert connect(house).predict(api_name="/cache_stats") == house.client.get("/cache/stats").json()


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"width": 65}, "width: should be a multiple of 16"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"seed": 1.5}, "seed"),
        ({"sampler": "none"}, "sampler: should be 'euler'"),
        ({"style": "no such"}, "style"),
        ({"n": 9}, "n: "),
        ({"model": "no such"}, "model"),
        ({"steps": "8"}, "steps"),
        ({"cache": "only", "prompt": "never drawn"}, "not"),
    ],
)
def test_an_error_is_in_words(house, connect, fields, part):
    """The message of the HTTP answer, its code as the title, and no traceback."""
    with pytest.raises(AppError) as caught:
        connect(house).predict(**ASK | fields, api_name="/generate")
    answer = house.client.post("/generate", json=ASK | fields).json()["error"]
    assert part in str(caught.value)
    assert (str(caught.value), caught.value.title) == (answer["message"], answer["code"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance_scale", "1e400"),
        ("guidance_scale", "-1e400"),
        ("seed", "1" + "0" * 400),
        ("prompt", r'"\ud800"'),
        ("prompt", '["a"]'),
        ("prompt", '{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}'),
        ("negative_prompt", '"' + "a" * 8001 + '"'),
    ],
)
def test_odd_values_are_errors_and_no_defaults(house, name, value):
    """What JSON can say and a request cannot have reaches the check as it was sent, and no file is read for it."""
    given = ",".join(value if field == name else json.dumps(ASK.get(field)) for field in GenerateBody.model_fields)
    sent = {"content": f'{{"data": [{given}]}}', "headers": {"Content-Type": "application/json"}}
    event = house.client.post("/gradio_api/call/lookup", **sent).json()["event_id"]
    stream = house.client.get(f"/gradio_api/call/lookup/{event}").text
    assert stream.startswith("event: error")
    assert f"{name}: " in stream
    assert "Traceback" not in stream


def test_an_error_is_in_the_language_of_the_client(house):
    """Gradio executes calls outside of the request, whose language counts all the same."""
    ((event, error),) = called(house, "generate", *values(width=65), headers={"Accept-Language": "zh-CN"})
    assert event == "error"
    assert error["error"] == house.generate({"Accept-Language": "zh-CN"}, width=65).json()["error"]["message"]


def test_a_bug_is_no_traceback(house, monkeypatch, capsys):
    """An unforeseen exception is an error in words; the traceback is in the log alone."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(endpoints, "generated", broken)
    ((event, error),) = called(house, "generate", *values())
    assert (event, error["title"]) == ("error", "internal_error")
    assert "Zero" not in json.dumps(error)
    assert "Traceback" not in capsys.readouterr().err


def test_the_call_of_a_client_without_gradio(house):
    """Two requests: one begins the call, the other is told how it ended; the picture has an address of its own."""
    ((event, (files, answer)),) = called(house, "generate", *values())
    assert event == "complete"
    assert files[0]["url"] == answer["images"][0]["image_url"]
    assert house.client.get(f"/gradio_api/file={files[0]['path']}").content == house.client.get(files[0]["url"]).content


def test_a_call_has_the_id_of_its_request_in_the_log(house, caplog):
    """Its lines are found by the `X-Request-Id` that its client sent."""
    caplog.set_level("INFO", logger="zimage_cache")
    named = RequestIdFilter()
    caplog.handler.addFilter(named)
    called(house, "generate", *values(), headers={"X-Request-Id": "of-the-call"})
    caplog.handler.removeFilter(named)
    lines = [vars(record) for record in caplog.records if record.getMessage().startswith("picture")]
    assert [line["request_id"] for line in lines] == ["of-the-call"]


@pytest.mark.parametrize(
    "fields",
    [
        {"fn_index": 3},
        {"fn_index": -1},
        {"fn_index": "0"},
        {"data": "a red circle"},
        {"data": [0] * 15},
        {"data": None},
    ],
)
def test_what_is_no_call_is_refused(house, expect_error, fields):
    """Only the endpoints can be called: Gradio would call any function of the page by its number."""
    refused = join(house, **fields)
    expect_error(refused, 422, "invalid_request", refused.json()["error"].get("field"))


def test_values_that_are_left_out_are_the_defaults(house):
    """As null is everywhere; without a prompt, the error says what is missing."""
    ask = {"prompt": "a red circle", "seed": 7}
    ((event, (found,)),) = called(house, "lookup", *[ask.get(name) for name in GenerateBody.model_fields][:6])
    assert (event, found) == ("complete", house.client.post("/lookup", json=ask).json())
    ((event, error),) = called(house, "lookup")
    assert event == "error"
    assert "prompt" in error["error"]


@pytest.mark.parametrize("path", ["/gradio_api/queue/data", f"/gradio_api/call/generate/{'0' * 32}"])
def test_a_stream_of_nothing_is_not_found(house, expect_error, path):
    """A call or a session that does not exist: Gradio would begin an answer, and fail."""
    expect_error(house.client.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/generate", "/gradio_api/cancel"])
def test_calls_are_sent(house, expect_error, path):
    """405 for other methods, and for a body that is no JSON its own error."""
    expect_error(house.client.get(path), 405, "method_not_allowed")
    expect_error(house.client.post(path, content=b"data=1"), 415, "unsupported_media_type")
    expect_error(house.client.post("/gradio_api/info", json={}), 405, "method_not_allowed")


def test_names_of_sessions_take_no_memory(house):
    """Gradio would keep each name for ever, however long, with a session of its own."""
    for name in ("a" * 500_000, "红" * 1000, "", "../../x"):
        assert join(house, session_hash=name).status_code == 200
    queue = next(each for each in open_queues() if each.pending_event_ids_session)
    assert {len(name) for name in queue.pending_event_ids_session} <= {32, 64}


def test_a_session_of_which_all_was_read_has_no_stream(house, expect_error):
    """A second reading would wait for ever: nothing can come any more."""
    session = {"session_hash": "read once"}
    assert join(house, **session).status_code == 200
    assert "close_stream" in house.client.get("/gradio_api/queue/data", params=session).text
    expect_error(house.client.get("/gradio_api/queue/data", params=session), 404, "not_found")


class FakeQueue:
    """The tables of Gradio's queue that sessions are in."""

    def __init__(self) -> None:
        self.pending_event_ids_session: dict[str, set[str]] = {}
        self.pending_messages_per_session: dict[str, list[str]] = {}

    def call(self, session: str) -> None:
        self.pending_event_ids_session.setdefault(session, set()).add("event")
        self.pending_messages_per_session.setdefault(session, [])


def test_sessions_of_one_user_leave_room_for_others():
    """One user has a share; what was read, or never is, makes room after a while, and nothing else is forgotten."""
    queue, clock = FakeQueue(), Clock()
    sessions = Sessions(queue, clock)  # type: ignore[arg-type]

    def call(session: str, user: str) -> None:
        sessions.require_room(session, user)
        queue.call(session)

    call("of ann", "ann")
    for number in range(MOST_OF_A_USER):
        call(f"ben {number}", "ben")
    with pytest.raises(QueueFull):
        call("one more", "ben")
    call("ben 0", "ben")  # a session that he has already
    call("second of ann", "ann")
    queue.pending_event_ids_session["ben 1"].clear()  # he has read it
    clock.now += 60
    call("one more", "ben")
    assert "of ann" in queue.pending_event_ids_session
    assert "ben 1" not in queue.pending_messages_per_session
    clock.now += 1000
    call("of cat", "cat")
    assert queue.pending_event_ids_session.keys() == queue.pending_messages_per_session.keys() == {"of cat"}


def test_answers_that_are_not_read_are_bounded(house, expect_error):
    """A session that only calls, and never reads, is refused further calls; one that reads goes on."""
    session = {"session_hash": "never read"}
    while (answer := join(house, **session, data=[])).status_code == 200:
        pass
    expect_error(answer, 503, "queue_full")
    assert house.client.get("/gradio_api/queue/data", params=session).text.count("process_completed") == MOST_UNREAD
    assert join(house, **session).status_code == 200


def open_queues() -> list[Any]:
    import gc  # noqa: PLC0415

    from gradio.queueing import Queue  # noqa: PLC0415

    return [each for each in gc.get_objects() if isinstance(each, Queue)]


def test_the_page_stays_without_endpoints(house):
    """Browsers that open the page load nothing of this, and its own events cannot be called."""
    page = house.client.get("/").text
    assert '"api_name":"generate"' not in page.replace(" ", "")
    assert house.client.get("/?view=api").text.count("cache_stats") > 0
    assert [each["api_name"] for each in house.client.get("/config").json()["dependencies"]] == [
        "generate",
        "lookup",
        "cache_stats",
    ]


def test_a_client_that_cancels_ends_its_run(serve, connect, gate):
    """`Job.cancel` reaches the generator."""
    hold = gate()
    house = serve(hold)
    job = connect(house).submit(**ASK, api_name="/generate")
    hold.wait()
    job.cancel()
    wait_until(lambda: not house.studio.service.runs)
    assert house.studio.service.statistics.this_process().counts.abandoned == 1


def test_a_client_that_disconnects_ends_its_run(serve, gate):
    """The stream of the call is closed: within moments the run has no waiter."""
    hold = gate()
    house = serve(hold)
    event = house.client.post("/gradio_api/call/generate", json={"data": list(values())}).json()["event_id"]
    with house.client.stream("GET", f"/gradio_api/call/generate/{event}"):
        hold.wait()
    wait_until(lambda: house.studio.service.statistics.this_process().counts.abandoned)
    assert not house.studio.service.runs


def test_a_server_that_stops_tells_its_clients(serve, gate):
    """A call under way ends with the server: in words, and without a wait of ten seconds."""
    hold = gate()
    house = serve(hold)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(called(house, "generate", *values())))
    caller.start()
    hold.wait()
    house.studio.close()
    caller.join(60)
    ((event, error),) = answers[0]
    assert (event, error["title"]) == ("error", "cancelled")


def test_hits_do_not_wait_behind_misses(serve, connect, gate):
    """More calls under way than Gradio has threads: a stored picture is answered all the same."""
    hold = gate(only={7})
    house = serve(hold)
    stored = ASK | {"seed": 1}
    house.client.post("/generate", json=stored)
    for _ in range(60):
        assert join(house).status_code == 200
    hold.wait()
    _, answer = connect(house).predict(**stored, api_name="/generate")
    assert answer["images"][0]["cached"]
    hold.open()


def test_calls_are_bounded_for_each_user(serve, monkeypatch, gate):
    """A call too many is refused in words; the others go on."""
    monkeypatch.setattr(endpoints, "Shares", lambda _most: Shares(1))
    hold = gate()
    house = serve(hold)
    join(house)
    hold.wait()
    ((event, error),) = called(house, "lookup", *values())
    assert (event, error["title"]) == ("error", "queue_full")
    hold.open()


def test_the_rate_of_requests_holds_for_calls(serve):
    """`--rate-limit` counts `/generate` here too, and look-ups as little as elsewhere."""
    house = serve(web={"rate": Rate(1, 3600)})
    assert called(house, "generate", *values())[0][0] == "complete"
    ((event, error),) = called(house, "generate", *values())
    assert (event, error["title"]) == ("error", "rate_limited")
    assert called(house, "lookup", *values())[0][0] == "complete"


def test_priorities_and_idempotency_keys_are_headers(serve, gate):
    """A batch call is drawn after the others; an invalid priority is an error; a retry has its first seed."""
    hold = gate(only={7})
    house = serve(hold)
    join(house)
    hold.wait()
    batch = {"X-Priority": "batch"}
    ask = {"fn_index": 0, "session_hash": "mine"}
    house.client.post("/gradio_api/queue/join", json=ask | {"data": list(values(seed=8))}, headers=batch)
    wait_until(lambda: len(house.studio.service.runs) == 2)
    assert [run.batch for run in house.studio.service.runs] == [False, True]
    hold.open()
    ((event, error),) = called(house, "generate", *values(), headers={"X-Priority": "first"})
    assert (event, error["title"]) == ("error", "invalid_request")
    once = {"Idempotency-Key": "once"}
    (_, (_, first)), (_, (_, second)) = (called(house, "generate", *values(seed=-1), headers=once)[0] for _ in "ab")
    assert first["images"][0]["seed"] == second["images"][0]["seed"]


def test_no_credentials_no_endpoints(users, connect):
    """The description, the calls and the pictures need an account."""
    with pytest.raises(AuthenticationError):
        connect(users)
    for path in ("/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/?view=api"):
        assert users.client.get(path).status_code == 401
    assert join(users).status_code == 401


@pytest.mark.parametrize("options", [{"auth": ("ann", "of ann")}, {"headers": {"Authorization": f"Bearer {KEY}"}}])
def test_a_client_signs_in(users, connect, options):
    """With `auth=` as for every application of Gradio's, or with a header; the picture's file needs it too."""
    (file,), _ = connect(users, **options).predict(**ASK, api_name="/generate")
    assert Path(file).read_bytes().startswith(b"\x89PNG")


def test_a_wrong_password_is_refused(users, connect):
    """Gradio's client says so."""
    with pytest.raises(AuthenticationError):
        connect(users, auth=("ann", "wrong"))


def test_an_ordinary_user_gets_no_statistics(users, connect):
    """They are for administrators, as `GET /cache/stats`."""
    with pytest.raises(AppError) as caught:
        connect(users, auth=("ben", "of ben")).predict(api_name="/cache_stats")
    assert caught.value.title == "forbidden"
    assert "now" in connect(users, auth=("ann", "of ann")).predict(api_name="/cache_stats")


def test_the_picture_is_its_users(users, connect):
    """A call is made by the account of its client: an unstored picture is no one else's."""
    files, answer = connect(users, auth=("ben", "of ben")).predict(**ASK | {"cache": "bypass"}, api_name="/generate")
    url = answer["images"][0]["image_url"]
    assert len(files) == 1
    assert users.client.get(url, auth=("ben", "of ben")).status_code == 200
    assert users.client.get(url, auth=("ann", "of ann")).status_code == 404


def test_a_session_is_its_users(users):
    """The same name of a session, used by two users, is two sessions: no one reads another's pictures."""
    ask = {"data": list(values()), "fn_index": 0, "session_hash": "shared name"}
    assert users.client.post("/gradio_api/queue/join", json=ask, auth=("ben", "of ben")).status_code == 200
    stream = "/gradio_api/queue/data?session_hash=shared%20name"
    assert users.client.get(stream, auth=("ann", "of ann")).status_code == 404
    assert "process_completed" in users.client.get(stream, auth=("ben", "of ben")).text
