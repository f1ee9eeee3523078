"""`Flights` under many real threads that start at one barrier."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.factories import plan
from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.errors import OutOfMemory
from zimage_cache.service.flights import Flights, RunResult, Seat

pytestmark = pytest.mark.stress
THREADS = 64
PLAN = plan()


@pytest.fixture
def herd():
    """Give a function that calls another one in 64 threads at once, with each thread's number."""
    with ThreadPoolExecutor(THREADS) as pool:

        def stampede(call):
            barrier = threading.Barrier(THREADS)

            def one(number):
                barrier.wait(30)
                return call(number)

            return list(pool.map(one, range(THREADS)))

        yield stampede


def draw(flights: Flights, seat: Seat, entry) -> None:
    flights.start(seat.run, 0.0)
    flights.drawn(seat.run)
    flights.resolve(seat.run, entry)
    flights.stored(seat.run)


def test_one_run_for_a_herd(herd, rounds, entry):
    """64 threads ask for one key at the same instant: one of them leads, all get the same picture."""
    for _ in range(rounds(200)):
        flights = Flights(capacity=1)
        seats = herd(lambda _, flights=flights: flights.join([PLAN])[0])
        assert len({seat.run for seat in seats}) == 1
        (leader,) = [seat for seat in seats if seat.leads]
        draw(flights, leader, entry(1))
        assert {id(seat.run.future.result(0).entry) for seat in seats} == {id(leader.run.future.result(0).entry)}
        assert flights.pending == 0


def test_a_failing_leader_fails_all_waiters_and_no_later_run(herd, rounds, entry):
    """All who waited get the error, each newcomer a run of its own herd."""
    for _ in range(rounds(100)):
        flights, error = Flights(), OutOfMemory("as_said", text="no")

        def ask(_, flights=flights, error=error):
            seat = flights.join([PLAN])[0]
            if seat.leads:
                flights.fail(seat.run, error)
            return seat

        seats = herd(ask)
        # Late threads found the map empty and led runs of their own: each failed once, for its own waiters.
        assert all(seat.run.future.exception(30) is error for seat in seats)
        assert flights.pending == 0
        newcomer = flights.join([PLAN])[0]
        draw(flights, newcomer, entry(1))
        assert newcomer.run.future.result(0) == RunResult(entry(1), Source.GENERATED)


def test_all_join_and_leave(herd, rounds):
    """Whatever the order of 64 joins and leaves, each run is cancelled exactly once and nothing stays pending."""
    for _ in range(rounds(200)):
        flights = Flights()

        def pass_by(_, flights=flights):
            seat = flights.join([PLAN])[0]
            return seat.run, flights.leave(seat)

        seen = herd(pass_by)
        cancels = Counter({run: 0 for run, _ in seen})
        cancels.update(run for run, cancelled in seen if cancelled)
        assert set(cancels.values()) == {1}
        assert all(run.cancelled.is_set() for run in cancels)
        assert flights.pending == 0


def test_one_waiter_keeps_the_run_alive(herd, rounds, entry):
    """63 leave while one stays: the run that one sits on is never cancelled."""
    for _ in range(rounds(200)):
        flights = Flights()
        kept = flights.join([PLAN])[0]

        def pass_by(_, flights=flights):
            return flights.leave(flights.join([PLAN])[0])

        assert not any(herd(pass_by))
        draw(flights, kept, entry(1))
        assert kept.run.future.result(0).entry == entry(1)


def test_capacity_holds_under_many_requests(herd, rounds):
    """64 threads want 64 different pictures from a queue of 10: ten get in, and the count is exact."""
    for _ in range(rounds(100)):
        flights = Flights(capacity=10)

        def ask(number, flights=flights):
            try:
                return flights.join([replace(PLAN, key=str(number))])[0]
            except Exception as error:  # noqa: BLE001 - counted below by its type
                return error

        answers = herd(ask)
        kinds = Counter(type(answer).__name__ for answer in answers)
        assert kinds == {"Seat": 10, "QueueFull": 54}
        assert flights.pending == 10


def test_a_leader_that_leaves_cancels_no_other_waiter(herd, rounds, entry):
    """The request that started the run leaves while 63 join: those that stay have a live run, and get the picture."""
    for _ in range(rounds(200)):
        flights = Flights()
        leader = flights.join([PLAN])[0]

        def ask(number, flights=flights, leader=leader):
            if number == 0:
                flights.leave(leader)
                return None
            return flights.join([PLAN])[0]

        seats = [seat for seat in herd(ask) if seat is not None]
        assert not any(seat.run.cancelled.is_set() for seat in seats)
        # Those who came before the leader left share its run, those after share another one.
        for run in {seat.run for seat in seats}:
            draw(flights, Seat(run, leads=False), entry(1))
        assert all(seat.run.future.result(0).entry == entry(1) for seat in seats)
        assert flights.pending == 0


def test_waiters_that_time_out_disturb_no_other(herd, rounds, entry):
    """Half of the requests are cancelled during the run: the others get their picture, once."""
    for _ in range(rounds(100)):
        flights, joined = Flights(), threading.Semaphore(0)
        leader = flights.join([PLAN])[0]

        def ask(number, flights=flights, joined=joined, leader=leader):
            if number == 0:
                for _ in range(THREADS - 1):
                    joined.acquire()
                draw(flights, leader, entry(1))
                return "leader"
            seat = flights.join([PLAN])[0]
            joined.release()
            try:
                return seat.run.future.result(0 if number % 2 else 30).entry == entry(1)
            except TimeoutError:
                return "lost patience"
            finally:
                assert not flights.leave(seat)

        seen = Counter(herd(ask))
        assert seen["leader"] == 1
        assert seen[True] >= THREADS // 2 - 1
        assert seen[True] + seen["lost patience"] == THREADS - 1
        assert flights.pending == 0


def test_one_who_comes_as_the_run_ends(herd, rounds, entry):
    """63 ask at the instant a run is stored and leaves the map: all are answered, and nothing is drawn twice."""
    for _ in range(rounds(200)):
        flights = Flights()
        stored: dict[str, Entry] = {}
        leader = flights.join([PLAN])[0]
        flights.start(leader.run, 0.0)
        flights.drawn(leader.run)
        drawn: list[Any] = []

        def ask(number, flights=flights, stored=stored, leader=leader, drawn=drawn):
            if number == 0:
                flights.resolve(leader.run, entry(1))
                stored["a"] = entry(1)
                flights.stored(leader.run)
                return entry(1)
            if "a" in stored:
                return stored["a"]
            seat = flights.join([PLAN])[0]
            # Who leads looks once more: the picture may have been stored between the look and the join.
            if seat.leads and not ("a" in stored and flights.found(seat.run, Hit(stored["a"], Source.MEMORY))):
                drawn.append(number)
                draw(flights, seat, entry(1))
            return seat.run.future.result(30).entry

        assert all(answer == entry(1) for answer in herd(ask))
        assert drawn == []
        assert flights.pending == 0
