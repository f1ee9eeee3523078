"""`/models`: what is offered, what is in memory, and orders to load and to free."""

import threading

import pytest

from tests.waiting import wait_until
from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status


def only(house) -> dict:
    (model,) = house.client.get("/models").json()["models"]
    return model


class Stubborn(FakeGenerator):
    """Cannot be loaded while configured to fail."""

    broken = True

    def load(self) -> None:
        if self.broken:
            error = OutOfMemory("as_said", text="too little memory; close what else uses it")
            self.state = GeneratorState(Status.ERROR, detail=error.message)
            raise error
        super().load()


def test_models_are_listed_with_their_state(serve):
    """The default model, whether it is in memory, and its state."""
    house = serve()
    assert only(house) == {
        "name": "fake",
        "title": "Fake",
        "default": True,
        "resident": False,
        "status": "sleeping",
        "phase": "",
        "share": None,
        "detail": "",
        "device": None,
        "devices": [{"device": None, "status": "sleeping", "phase": "", "detail": ""}],
    }


def test_a_model_is_loaded_and_freed_by_order(serve):
    """`load` answers at once, `unload` when the memory is free; the next picture wakes the model."""
    house = serve()
    assert house.client.post("/models/fake/load").status_code == 202
    wait_until(lambda: only(house)["resident"])
    answer = house.client.post("/models/fake/unload")
    assert (answer.status_code, answer.json()["resident"], answer.json()["status"]) == (200, False, "sleeping")
    assert house.client.get("/ready").status_code == 200
    house.image()
    assert (only(house)["resident"], house.studio.generator.loads) == (True, 2)


def test_a_failed_load_leaves_a_server_that_can_load_again(serve):
    """Hits are served, `/health` names the remedy, `/ready` says no; after another order, it loads."""
    generator = Stubborn()
    generator.broken = False
    house = serve(generator=generator)
    key = house.image()["key"]
    house.stored()
    house.client.post("/models/fake/unload")
    generator.broken = True
    assert house.client.post("/models/fake/load").status_code == 202
    wait_until(lambda: only(house)["status"] == "error")
    assert house.client.get("/health").json()["detail"] == "too little memory; close what else uses it"
    assert house.client.get("/ready").status_code == 503
    hit = house.image()
    assert (hit["key"], hit["cached"]) == (key, True)
    generator.broken = False
    assert house.client.post("/models/fake/load").status_code == 202
    wait_until(lambda: only(house)["resident"])
    assert house.client.get("/ready").status_code == 200


class Waiting(FakeGenerator):
    """Begins to load when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_begin = threading.Event()

    def load(self) -> None:
        assert self.may_begin.wait(60)
        super().load()


def test_a_load_that_has_not_begun_is_loading_already(serve):
    """A request directly after the order sees the model loading."""
    generator = Waiting()
    house = serve(generator=generator)
    answer = house.client.post("/models/fake/load").json()
    assert (answer["status"], answer["phase"]) == ("loading", "waiting for its turn")
    generator.may_begin.set()
    wait_until(lambda: only(house)["resident"])


def test_orders_under_way_are_not_doubled(serve):
    """Ten orders to load are one load."""
    house = serve()
    for _ in range(10):
        house.client.post("/models/fake/load")
    wait_until(lambda: only(house)["resident"])
    assert house.studio.generator.loads == 1


@pytest.mark.parametrize("order", ["load", "unload"])
def test_an_unknown_model_is_not_found(serve, expect_error, order):
    """404 with what there is; nothing is loaded."""
    house = serve()
    message = expect_error(house.client.post(f"/models/turbo/{order}"), 404, "not_found")
    assert "one of fake" in message
    assert house.studio.generator.loads == 0


@pytest.mark.parametrize(("method", "path"), [("POST", "/models"), ("GET", "/models/fake/load"), ("DELETE", "/models")])
def test_other_methods_are_refused(serve, expect_error, method, path):
    """405, where the page behind would say 404."""
    expect_error(serve().client.request(method, path), 405, "method_not_allowed")


def test_every_device_is_listed_and_the_best_one_counts(serve):
    """One broken card of two: the server is healthy and ready, and says which card is broken and why."""
    first, second = Stubborn(), FakeGenerator()
    house = serve(generator=first, peers={"fake": [second]}, preload=True)
    wait_until(lambda: only(house)["resident"])
    broken = {"device": None, "status": "error", "phase": "", "detail": "too little memory; close what else uses it"}
    healthy = {"device": "cpu", "status": "healthy", "phase": "", "detail": ""}
    for told in (house.client.get("/health").json(), only(house)):
        assert told["devices"] == [broken, healthy]
        assert (told["status"], told["device"], told["detail"]) == ("healthy", "cpu", "")
    assert house.client.get("/ready").status_code == 200
    house.image()
    assert len(second.recipes) == 1
