"""When no thread can be started, requests that need none are served, and others are refused with a short error."""

import logging
import threading

import pytest


@pytest.fixture
def no_new_threads(monkeypatch):
    """Give a switch after which no thread can be started."""

    def refuse(*_args, **_kwargs):
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(threading, "_start_new_thread", refuse)


def test_pictures_need_no_new_thread(serve, no_new_threads):
    """Hits from memory and disk, misses, look-ups, pictures and jobs are answered by threads that are there."""
    first = serve()
    first.image(seed=1)
    first.close()
    house = serve()
    house.client.get("/health")
    no_new_threads()

    assert [house.image(seed=1)["source"] for _ in range(2)] == ["disk", "memory"]
    made = house.image(seed=2)
    assert made["source"] == "generated"
    assert house.client.get(made["image_url"]).status_code == 200
    assert house.client.get(f"/images/{made['key']}/thumbnail.webp").status_code == 200
    assert house.client.post("/lookup", json={"prompt": "x", "seed": 3}).status_code == 200
    assert house.client.post("/prompt-info", json={"prompt": "x"}).status_code == 200
    ask = {"prompt": "x", "seed": 4, "width": 64, "height": 64}
    assert house.client.post("/jobs", json=ask).status_code == 202
    assert house.client.get("/history").status_code == 200
    assert [house.client.get(path).status_code for path in ("/health", "/ready")] == [200, 200]


def test_what_needs_one_is_refused_in_few_words(serve, no_new_threads, expect_error, caplog):
    """503 `overloaded`, that waiting may help, and one line in the log without a traceback."""
    house = serve()
    house.client.get("/health")
    no_new_threads()
    with caplog.at_level(logging.WARNING):
        refused = house.client.get("/cache/stats")
    expect_error(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    (record,) = caplog.records
    assert record.exc_info is None
