"""Connections that come slowly, in great number, or not to the point: each ends, and nothing else waits for them.

Patience is a fraction of a second here. That time passed is seen by a connection that ends, never by sleeping.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories import present
from tests.waiting import wait_until
from zimage_cache.web.connections import ConnectionBounds, ConnectionPhase
from zimage_cache.web.middleware import max_body_bytes

ROOT = Path(__file__).resolve().parents[2]
HASTY = ConnectionBounds(head_seconds=0.2, body_seconds=0.2, body_rate=2**30, answer_seconds=0.2)
HEAD = b"POST /png-info HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def connect(house, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", house.port), timeout=60, source_address=(source, 0))


def last_words(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    connection.close()
    return said


def answered(connection: socket.socket) -> bool:
    """Read one answer of `/health`, whole."""
    said = b""
    while not said.endswith(b"}"):
        said += connection.recv(65536)
    return said.startswith(b"HTTP/1.1 200")


def sweep(house) -> None:
    """Wait until connections that take too long have been looked for."""
    assert last_words(connect(house)) == b""


def error(said: bytes) -> tuple[int, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", None),
        (b"GET /health HTTP/1.1\r\nHost: local", (408, "timed_out")),
        (HEAD + b"Content-Length: 100\r\n\r\nhalf", (408, "timed_out")),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", (408, "timed_out")),
    ],
    ids=["silence", "half a head", "half a body", "half a body in pieces"],
)
def test_what_does_not_come_is_not_waited_for(serve, sent, answer):
    """A connection whose request stays away ends: with a word where a request had begun."""
    house = serve(web={"bounds": HASTY})
    with connect(house) as connection:
        connection.sendall(sent)
        said = last_words(connection)
    assert (error(said) if said else None) == answer
    wait_until(lambda: len(house.server.connections) == 0)


def test_drops_do_not_keep_a_connection_alive(serve):
    """One more byte of the head now and then gives no more time: the head as a whole has its bound."""
    house = serve(web={"bounds": HASTY})
    with connect(house) as connection:

        def has_ended() -> bool:
            try:
                connection.sendall(b"G")
            except OSError:
                return True
            return False

        wait_until(has_ended)


def test_between_two_requests_there_is_more_time(serve):
    """A kept connection outlives those that wait for a first head, by more than clients and proxies keep theirs."""
    house = serve(web={"bounds": HASTY})
    with connect(house) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answered(connection)
            sweep(house)
            sweep(house)
        assert len(house.server.connections.of(ConnectionPhase.IDLE)) == 1
        # nginx and the load balancers of clouds keep connections for 60 s.
        assert house.server.config.timeout_keep_alive == HASTY.idle_seconds > 60
        connection.sendall(b"GET /health HT")  # from here on, the limit of a head counts
        assert error(last_words(connection)) == (408, "timed_out")


def test_an_idle_connection_ends(serve):
    """A connection that is not used any more is closed."""
    house = serve(web={"bounds": ConnectionBounds(idle_seconds=1)})
    with connect(house) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(connection)
        assert last_words(connection) == b""


def test_a_body_on_its_way_has_time(serve):
    """Each part of a body that arrives is worth more time, so that a large one may take long."""
    house = serve(web={"bounds": ConnectionBounds(head_seconds=0.2, body_seconds=0.2, body_rate=1)})
    with connect(house) as connection:
        connection.sendall(HEAD + b"Content-Length: 101\r\nConnection: close\r\n\r\n" + b"x" * 100)
        sweep(house)
        connection.sendall(b"x")
        assert error(last_words(connection)) == (422, "invalid_request")


def test_a_slow_line_is_no_attack():
    """Who sends the largest picture at 20 kB/s, the upstream of a weak mobile line, is not cut off."""
    bounds = ConnectionBounds()
    largest = max_body_bytes({"path": "/png-info"})
    assert bounds.body_seconds + largest / bounds.body_rate > largest / 20_000


def test_waiting_requests_are_never_cut(serve, gate):
    """A picture may take longer than these time limits: requests for it wait, and so do event streams."""
    gate = gate()
    house = serve(gate, web={"bounds": HASTY})
    job = house.client.post("/jobs", json={"prompt": "x", "width": 64, "height": 64}).json()
    gate.wait()
    asking = house.ask_and_hold(seed=8)
    with house.client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        sweep(house)
        sweep(house)
        gate.open()
        assert '"done"' in "".join(lines)
    assert asking.getresponse().status == 200
    asking.close()


def test_answers_that_are_not_taken(serve):
    """A client that asks for much and reads nothing holds its connection, and what was written to it, for a while."""
    house = serve(web={"bounds": HASTY})
    assert 100 * len(house.raw("GET", "/openapi.json").body) > 2**23  # more than the system takes off the server
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", house.port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        wait_until(lambda: len(house.server.connections) >= 1)
        sweep(house)
        wait_until(lambda: len(house.server.connections) == 0)


def test_silent_ones_make_room(serve):
    """Where there are too many, the one that has been silent longest goes, and the newest is answered."""
    house = serve(web={"bounds": ConnectionBounds(connections=5)})
    silent = [connect(house) for _ in range(5)]
    wait_until(lambda: len(house.server.connections) == 5)
    assert house.raw("GET", "/health").status == 200
    assert last_words(silent[0]) == b""
    silent[1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert last_words(silent[1]).startswith(b"HTTP/1.1 200")
    for connection in silent:
        connection.close()


def test_idle_ones_make_room_first(serve):
    """A connection between two requests goes before one whose first request may be on its way."""
    house = serve(web={"bounds": ConnectionBounds(connections=2)})
    with connect(house) as silent, connect(house) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(idle)
        wait_until(lambda: len(house.server.connections) == 2)
        assert house.raw("GET", "/health").status == 200
        assert last_words(idle) == b""
        silent.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert last_words(silent).startswith(b"HTTP/1.1 200")


def test_half_bodies_make_room(serve):
    """Where none is silent, the body that has been arriving longest goes."""
    house = serve(web={"bounds": ConnectionBounds(connections=3)})
    halves = [connect(house) for _ in range(3)]
    for half in halves:
        half.sendall(HEAD + b"Content-Length: 100\r\n\r\nhalf")
    wait_until(lambda: len(house.server.connections.of(ConnectionPhase.BODY)) == 3)
    assert house.raw("GET", "/health").status == 200
    assert last_words(halves[0]) == b""
    for half in halves:
        half.close()


def test_one_address_leaves_room_for_others(serve, gate):
    """Where all wait for answers, one more of their address is refused in words; another address gets a place."""
    house = serve(gate := gate(), web={"bounds": ConnectionBounds(connections=3)})
    waiting = [house.ask_and_hold(seed=seed) for seed in range(3)]
    wait_until(lambda: len(house.server.connections.of(ConnectionPhase.ANSWER)) == 3)
    refused = last_words(connect(house))
    assert error(refused) == (503, "busy")
    assert b"Retry-After" in refused
    with connect(house, "127.0.0.2") as other:
        other.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert last_words(other).startswith(b"HTTP/1.1 200")
    gate.open()
    with pytest.raises(OSError, match=r"."):
        waiting[0].getresponse()
    assert [asking.getresponse().status for asking in waiting[1:]] == [200, 200]
    for asking in waiting:
        asking.close()


def test_a_body_in_tiny_pieces_is_refused(house):
    """Each piece costs the server the same, whatever is in it."""
    with connect(house) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000)
        assert error(last_words(connection)) == (400, "bad_request")


def test_a_body_in_small_pieces_is_read(house):
    """Programs that send line by line are no attack."""
    with connect(house) as connection:
        pieces = b"".join(b"200\r\n" + b"x" * 512 + b"\r\n" for _ in range(1500))
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + pieces + b"0\r\n\r\n")
        assert error(last_words(connection)) == (422, "invalid_request")


@pytest.mark.parametrize(
    "head",
    [b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 40_000, b"GET /" + b"x" * 200_000, b"\0\1\2\r\n\r\n", b"GET\r\n\r\n"],
)
def test_heads_that_are_none(house, head):
    """Too many headers, too long an address, no HTTP at all: one short answer in our shape, then the end."""
    with connect(house) as connection:
        connection.sendall(head)
        assert error(last_words(connection)) == (400, "bad_request")


def test_uploads_held_open_cost_a_bounded_number_of_bytes(serve):
    """Many large uploads that never end: the oldest go, in words, and who really sends a picture is served."""
    house = serve()
    held = [connect(house) for _ in range(5)]
    for upload in held:
        upload.sendall(HEAD + b"Content-Length: 20000000\r\n\r\n" + b"x" * 19_000_000)
    for upload in held[:2]:
        said = b""
        while b"}}" not in said:
            said += upload.recv(65536)
        assert error(said) == (503, "busy")
        assert b"retry-after: 5" in said.lower()
    png = house.client.get(house.image()["image_url"]).content
    answer = house.client.post("/png-info", content=png, headers={"Content-Type": "image/png"})
    assert answer.json()["source"] == "zimage"
    large = house.client.post("/png-info", content=png + bytes(19_000_000), headers={"Content-Type": "image/png"})
    assert large.json()["source"] == "zimage"
    for upload in held:
        upload.close()


@pytest.mark.parametrize("limit", [64, 256])
def test_few_open_files(tmp_path, limit):
    """Where few open files are allowed, more silent connections than that keep no other out, and log a few lines."""
    command = [sys.executable, "app.py", "--workspace", str(tmp_path), "--port", "0", "--model", "demo"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_")}
    shell = ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash", *command, "--no-preload"]
    server = subprocess.Popen(
        shell, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = present(server.stdout).readline().partition(": ")[2].strip()
        port = int(url.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * limit)]
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        for connection in silent:
            connection.close()
    finally:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
    assert "out of system resource" not in err
    assert err.count("\n") < 20, err


def test_the_soft_bound_on_open_files_is_raised():
    """The usual soft bound, a thousand, is far below the hard one."""
    code = (
        "import resource; from zimage_cache.web.server import raise_open_files; room = raise_open_files();"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); assert soft == hard == 900; print(room)"
    )
    shell = ["bash", "-c", 'ulimit -S -n 300; ulimit -H -n 900; exec "$@"', "bash", sys.executable, "-c", code]
    assert subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "644\n"
