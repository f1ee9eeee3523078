"""`Flights`: who shares a run, who may end it, and how many are pending; every change under one lock."""

import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.factories import picture_entry, plan
from zimage_cache.entry import Hit, Source
from zimage_cache.errors import Cancelled, GenerationFailed, OutOfMemory, QueueFull
from zimage_cache.generator.protocol import Step
from zimage_cache.service.flights import Flights, Phase, Run, RunResult, Seat

ENTRY = picture_entry()


@pytest.fixture
def flights() -> Flights:
    return Flights()


def test_the_first_leads_and_the_rest_share(flights):
    """One run per key: the first request starts it, later ones join it."""
    seats = [flights.join([plan()])[0] for _ in range(3)]
    assert [seat.leads for seat in seats] == [True, False, False]
    assert {seat.run for seat in seats} == {seats[0].run}
    assert flights.join([plan("b")])[0].run is not seats[0].run
    assert flights.pending == 2


def test_the_leader_may_leave(flights, entry):
    """The run belongs to all its requests: when the leader leaves, the others still get the picture."""
    leader, other = flights.join([plan()])[0], flights.join([plan()])[0]
    assert not flights.leave(leader)
    assert not other.run.cancelled.is_set()
    flights.start(other.run, 0.0)
    flights.drawn(other.run)
    flights.resolve(other.run, entry(1))
    assert other.run.future.result(0) == RunResult(entry(1), Source.GENERATED)


def test_whose_a_shared_picture_is(flights, entry):
    """Of the first of those who want it kept and wait for it until it is drawn."""
    plans = [plan(owner="ann", keep=False), plan(owner="ben"), plan(owner="eve"), plan(owner="ben")]
    watching, ben, eve, again = (flights.join([each])[0] for each in plans)
    run = watching.run
    assert run.owners == ["ben", "eve", "ben"]
    flights.leave(watching)
    flights.leave(ben)
    assert run.owners[0] == "eve"
    flights.start(run, 0.0)
    flights.drawn(run)
    flights.resolve(run, entry(1))
    for seat in (eve, again):  # each has its answer
        flights.leave(seat)
    assert run.owners[0] == "eve"


def test_the_last_one_who_waits_is_the_owner(flights):
    """Also after it left: a picture that is drawn in spite of that is someone's."""
    ann, ben = (flights.join([plan(owner=owner)])[0] for owner in ("ann", "ben"))
    flights.start(ann.run, 0.0)
    flights.leave(ann)
    flights.leave(ben)
    assert ann.run.owners == ["ben"]


@pytest.mark.parametrize("drawing", [False, True])
def test_the_last_to_leave_cancels(flights, drawing):
    """At zero waiters a run is cancelled and off the map at once: the next request starts a new one."""
    seats = [flights.join([plan()])[0] for _ in range(2)]
    run = seats[0].run
    if drawing:
        flights.start(run, 0.0)
    assert [flights.leave(seat) for seat in seats] == [False, True]
    assert run.cancelled.is_set()
    assert flights.pending == 0
    newcomer = flights.join([plan()])[0]
    assert newcomer.leads
    assert newcomer.run is not run
    assert not flights.start(run, 0.0)
    assert not newcomer.run.cancelled.is_set()


def test_leaving_twice_counts_once(flights):
    """Giving a seat back twice does not free another request's place."""
    first, _second = flights.join([plan()])[0], flights.join([plan()])[0]
    flights.leave(first)
    assert not flights.leave(first)
    assert not first.run.cancelled.is_set()
    assert first.run.waiters == 1


def test_what_is_drawn_is_finished(flights, entry):
    """Once pixels exist, leaving cancels nothing: the picture is encoded and stored in any case."""
    seat = flights.join([plan()])[0]
    flights.start(seat.run, 0.0)
    flights.drawn(seat.run)
    assert not flights.leave(seat)
    assert not seat.run.cancelled.is_set()
    assert flights.resolve(seat.run, entry(1))


def test_a_run_may_begin_anew_once(flights):
    """Given back by a card that broke, it waits as at its beginning, counts as pending, and no second time."""
    (seat,) = flights.join([plan()])
    run = seat.run
    assert not flights.restart(run)  # it had not begun
    flights.start(run, 1.0)
    run.step, run.began, run.preview = Step(1, 2), 1.0, b"half"
    assert flights.restart(run)
    assert (run.phase, run.started, run.step, run.began, run.preview) == (Phase.WAITING, None, None, None, None)
    assert flights.pending == 1
    assert flights.start(run, 2.0)
    assert not flights.restart(run)
    flights.leave(seat)
    assert not flights.restart(run)


def test_a_picture_drawn_in_spite_of_a_cancel_is_stored(flights, entry):
    """The last leaves in the very last step: the pixels are there, so they are kept, and nothing counts twice."""
    seat = flights.join([plan()])[0]
    flights.start(seat.run, 0.0)
    flights.leave(seat)
    newcomer = flights.join([plan()])[0]
    flights.drawn(seat.run)
    assert flights.resolve(seat.run, entry(1))
    flights.stored(seat.run)
    assert flights.pending == 1
    assert flights.join([plan()])[0].run is newcomer.run


def test_the_run_stays_until_it_is_stored(flights, entry):
    """Between the answer and the end of the write, a second request still shares; after it, the cache answers."""
    seat = flights.join([plan()])[0]
    flights.start(seat.run, 0.0)
    flights.drawn(seat.run)
    assert flights.resolve(seat.run, entry(1))
    late = flights.join([plan()])[0]
    assert late.run is seat.run
    assert late.run.future.result(0).entry == entry(1)
    flights.stored(seat.run)
    assert flights.join([plan()])[0].leads


def test_an_answered_run_is_too_old_for_a_fresh_picture(flights, entry):
    """A refresh that comes while the picture just handed out is being written gets a run of its own."""
    seat = flights.join([plan()])[0]
    flights.start(seat.run, 0.0)
    flights.drawn(seat.run)
    flights.resolve(seat.run, entry(1))
    fresh = flights.join([plan(fresh=True)])[0]
    assert fresh.leads
    flights.stored(seat.run)
    assert flights.join([plan()])[0].run is fresh.run
    assert flights.pending == 1


def test_idle_is_when_everything_is_stored(flights, entry):
    """Also what was answered and left the map to a fresh run: until both are stored, and then at once, it waits."""
    assert flights.idle(0)
    answered = flights.join([plan()])[0].run
    flights.start(answered, 0.0)
    flights.drawn(answered)
    flights.resolve(answered, entry(1))
    fresh = flights.join([plan(fresh=True)])[0].run
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(flights.idle, 60)
        flights.fail(fresh, OutOfMemory("as_said", text="no"))
        assert flights.runs == {}
        assert not flights.idle(0)
        assert not waiting.done()
        flights.stored(answered)
        assert waiting.result(60)


def test_what_is_answered_can_be_waited_for(flights, entry):
    """Until it is stored, also where it left the map to a fresh run; not for runs that are not answered yet."""
    flights.join([plan("waiting")])
    assert flights.stored_by(0)
    answered = flights.join([plan()])[0].run
    flights.start(answered, 0.0)
    flights.drawn(answered)
    assert flights.stored_by(0)
    flights.resolve(answered, entry(1))
    flights.join([plan(fresh=True)])
    assert not flights.stored_by(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(flights.stored_by, 60)
        assert not waiting.done()
        flights.stored(answered)
        assert waiting.result(60)


def test_a_found_result_ends_the_run(flights, entry):
    """The leader's second look-up finds it: all requests get it, with its tier, and nothing is drawn."""
    leader, other = flights.join([plan()])[0], flights.join([plan()])[0]
    assert flights.found(leader.run, Hit(entry(1), Source.DISK))
    assert other.run.future.result(0) == RunResult(entry(1), Source.DISK)
    assert flights.pending == 0
    assert not flights.start(leader.run, 0.0)
    assert flights.join([plan()])[0].leads


@pytest.mark.parametrize("keep", [True, False])
def test_a_refresh_on_board_ignores_what_is_found(flights, entry, keep):
    """A request that needs a new picture gets one, also when it joined one that accepts a stored picture."""
    leader = flights.join([plan()])[0]
    flights.join([plan(fresh=True, keep=keep)])
    assert not flights.found(leader.run, Hit(entry(1), Source.DISK))
    assert not leader.run.future.done()
    assert flights.start(leader.run, 0.0)


def test_nothing_is_found_for_a_run_without_waiters(flights, entry):
    """A look that ends after the last waiter left ends nothing else."""
    seat = flights.join([plan()])[0]
    flights.leave(seat)
    newcomer = flights.join([plan()])[0]
    assert not flights.found(seat.run, Hit(entry(1), Source.DISK))
    assert not newcomer.run.future.done()
    assert flights.pending == 1


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_any_request_that_wants_it_stored_gets_it_stored(flights, entry, order):
    """A bypass and a normal ask on one run, in either order: it is stored."""
    for keep in order:
        seat = flights.join([plan(keep=keep)])[0]
    assert flights.resolve(seat.run, entry(1))


def test_no_request_wants_it_stored(flights, entry):
    """A run of bypasses alone is over when it is resolved: no `land` is owed, the next ask starts anew."""
    seat = flights.join([plan(keep=False)])[0]
    flights.start(seat.run, 0.0)
    flights.drawn(seat.run)
    assert not flights.resolve(seat.run, entry(1))
    assert flights.join([plan()])[0].leads


def test_an_error_reaches_all_waiters_once(flights):
    """All waiting requests get the error; the next request starts a new run."""
    seats = [flights.join([plan()])[0] for _ in range(3)]
    flights.start(seats[0].run, 0.0)
    error = OutOfMemory("as_said", text="too large")
    flights.fail(seats[0].run, error)
    assert [seat.run.future.exception(0) for seat in seats] == [error] * 3
    assert flights.pending == 0
    newcomer = flights.join([plan()])[0]
    assert newcomer.leads
    assert not newcomer.run.future.done()


def test_no_request_can_cancel_the_future(flights):
    """The shared future cannot be cancelled: one request's end does not affect the others."""
    seat = flights.join([plan()])[0]
    assert not seat.run.future.cancel()
    assert not seat.run.future.cancelled()


def test_all_or_nothing():
    """All n runs are admitted whole or refused, and a refusal leaves no trace."""
    small = Flights(capacity=3)
    mine = small.join([plan("a")])[0]
    with pytest.raises(QueueFull, match=r"holds 3 pictures, 1 are in it and this request needs 3 more"):
        small.join([plan("a"), plan("b"), plan("c"), plan("d")])
    assert small.pending == 1
    assert mine.run.waiters == 1
    assert small.join([plan("b")])[0].leads


def test_one_user_never_fills_the_queue():
    """Who asks for all there is leaves room for the next; what is drawn or left gives the room back to its user."""
    flights = Flights(capacity=8)
    mine = flights.join([plan(key, user="ann") for key in "abcdef"])
    assert (flights.room("ann"), flights.room("bob")) == (0, 2)
    with pytest.raises(QueueFull, match="of the free places 0 are for one asker"):
        flights.join([plan("g", user="ann")])
    assert flights.join([plan("h", user="bob")])[0].leads
    flights.start(mine[0].run, 0.0)
    flights.drawn(mine[0].run)
    flights.leave(mine[1])
    assert flights.room("ann") == 1


def test_batch_runs_hold_half_of_the_places():
    """The other half is for requests that people wait for; a run that one of these joins is no batch run any more."""
    flights = Flights(16)

    def ask(key: object, user: object, *, batch: bool = False) -> Seat:
        return flights.join([plan(str(key), user=str(user), batch=batch)])[0]

    seats = [ask(number, number, batch=True) for number in range(8)]
    with pytest.raises(QueueFull):
        ask("one more", "ann", batch=True)
    ask(0, "ann")  # joins the first one
    late = ask("one more", "ann", batch=True)
    with pytest.raises(QueueFull):
        ask("another", "ben", batch=True)
    for seat in (late, seats[1]):
        flights.leave(seat)
    flights.start(seats[2].run, 0.0)
    flights.drawn(seats[2].run)
    for number in range(3):
        ask(f"again {number}", number, batch=True)
    assert flights.pending == 9
    for number in range(7):
        ask(f"interactive {number}", f"person {number}")
    with pytest.raises(QueueFull):
        ask("full", "zoe")


def test_shared_runs_count_for_no_user():
    """Who joins another user's run takes no place of their own, and the run stays that user's."""
    flights = Flights(capacity=8)
    flights.join([plan(key, user="ann") for key in "abc"])
    flights.join([plan(key, user="bob") for key in "abc"])
    assert (flights.room("ann"), flights.room("bob")) == (3, 4)


def test_sharing_needs_no_room():
    """A full queue accepts every request for a picture that is already in it."""
    full = Flights(capacity=2)
    full.join([plan("a"), plan("b")])
    assert not any(seat.leads for seat in full.join([plan("b"), plan("a")]))
    with pytest.raises(QueueFull):
        full.join([plan("c")])


def test_encoding_holds_no_place():
    """The queue counts what waits for or holds a generator: a picture being encoded makes room for the next."""
    small = Flights(capacity=1)
    seat = small.join([plan("a")])[0]
    small.start(seat.run, 0.0)
    with pytest.raises(QueueFull):
        small.join([plan("b")])
    small.drawn(seat.run)
    assert small.join([plan("b")])[0].leads


def test_the_same_key_twice_in_one_ask_is_one_run():
    """Two plans of one key need one place and share one run."""
    small = Flights(capacity=1)
    first, second = small.join([plan("a"), plan("a")])
    assert first.run is second.run
    assert small.pending == 1


def test_closing_reaches_all_waiters(flights, entry):
    """Closing cancels runs that are not being drawn, finishes the others, and accepts no more requests."""
    waiting, drawing, drawn = (flights.join([plan(key)])[0] for key in "abc")
    flights.start(drawing.run, 0.0)
    flights.start(drawn.run, 0.0)
    flights.drawn(drawn.run)
    error = Cancelled("as_said", text="stopping")
    flights.close(error)
    for seat in (waiting, drawing):
        assert seat.run.cancelled.is_set()
        assert seat.run.future.exception(0) is error
    assert flights.pending == 0
    assert flights.resolve(drawn.run, entry(1))
    assert drawn.run.future.result(0).entry == entry(1)
    with pytest.raises(Cancelled, match="stopping"):
        flights.join([plan("d")])


def test_a_worker_that_finishes_after_the_close_changes_no_answer(flights, entry):
    """After an error for the waiting requests, a picture finished later is stored, and the future is not set twice."""
    seat = flights.join([plan()])[0]
    flights.start(seat.run, 0.0)
    flights.close(Cancelled("as_said", text="stopping"))
    flights.drawn(seat.run)
    assert flights.resolve(seat.run, entry(1))
    flights.stored(seat.run)
    assert isinstance(seat.run.future.exception(0), Cancelled)
    assert flights.pending == 0


def test_a_foreign_exception_becomes_ours(flights, caplog):
    """Every exception in a thread ends the run with an error without internals; the log has them."""
    seat = flights.join([plan()])[0]
    with caplog.at_level(logging.ERROR), flights.failing(seat.run):
        raise ZeroDivisionError("secret detail")
    error = seat.run.future.exception(0)
    assert isinstance(error, GenerationFailed)
    assert "secret" not in str(error)
    assert "ZeroDivisionError: secret detail" in caplog.text


class Traffic(RuleBasedStateMachine):
    """Any order of joins, leaves and a worker's steps, against a model of plain sets."""

    capacity = 4

    def __init__(self):
        super().__init__()
        self.flights = Flights(self.capacity)
        self.numbers = count()
        self.seats = {}
        self.on_map = {}
        self.fresh = set()
        self.keep = set()
        self.waiters = {}

    def runs(self, *phases: Phase) -> list[Run]:
        return [run for run in self.waiters if run.phase in phases]

    @property
    def unfinished(self) -> set[Run]:
        return {run for run in self.on_map.values() if run.phase in {Phase.WAITING, Phase.DRAWING}}

    def over(self, run: Run) -> None:
        if self.on_map.get(run.plan.key) is run:
            del self.on_map[run.plan.key]

    @rule(keys=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3), fresh=st.booleans(), keep=st.booleans())
    def join(self, keys, fresh, keep):
        too_old = {key for key in keys if fresh and key in self.on_map and self.on_map[key].future.done()}
        needed = len(set(keys) - self.on_map.keys() | too_old)
        room = self.capacity - len(self.unfinished)
        plans = [plan(key, fresh=fresh, keep=keep) for key in keys]
        if needed > room:
            with pytest.raises(QueueFull):
                self.flights.join(plans)
            return
        for key in too_old:
            del self.on_map[key]
        for key, seat in zip(keys, self.flights.join(plans), strict=True):
            assert seat.leads == (key not in self.on_map)
            assert self.on_map.setdefault(key, seat.run) is seat.run
            self.waiters[seat.run] = self.waiters.get(seat.run, 0) + 1
            self.fresh |= {seat.run} if fresh else set()
            self.keep |= {seat.run} if keep else set()
            self.seats[next(self.numbers)] = seat

    @precondition(lambda self: self.seats)
    @rule(data=st.data(), again=st.booleans())
    def leave(self, data, again):
        seat = self.seats.pop(data.draw(st.sampled_from(sorted(self.seats))))
        run = seat.run
        self.waiters[run] -= 1
        cancels = not self.waiters[run] and run in self.unfinished
        assert self.flights.leave(seat) == cancels
        assert run.cancelled.is_set() == (cancels or run.cancelled.is_set())
        if cancels:
            self.over(run)
        if again:
            assert not self.flights.leave(seat)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def start(self, data):
        run = data.draw(st.sampled_from(list(self.waiters)))
        assert self.flights.start(run, 0.0) == (run.phase is Phase.DRAWING and run.started == 0.0)
        run.started = None

    @precondition(lambda self: self.runs(Phase.DRAWING, Phase.OVER))
    @rule(data=st.data())
    def drawn(self, data):
        run = data.draw(st.sampled_from(self.runs(Phase.DRAWING, Phase.OVER)))
        self.flights.drawn(run)

    @precondition(lambda self: self.runs(Phase.DRAWN))
    @rule(data=st.data(), entry=st.just(RunResult(ENTRY, Source.GENERATED)))
    def resolve(self, data, entry):
        run = data.draw(st.sampled_from(self.runs(Phase.DRAWN)))
        assert self.flights.resolve(run, entry.entry) == (run in self.keep)
        assert run.future.done()
        if run not in self.keep:
            self.over(run)

    @precondition(lambda self: any(run.future.done() for run in self.runs(Phase.DRAWN)))
    @rule(data=st.data())
    def land(self, data):
        run = data.draw(st.sampled_from([run for run in self.runs(Phase.DRAWN) if run.future.done()]))
        self.flights.stored(run)
        self.over(run)

    @precondition(lambda self: self.runs(Phase.WAITING))
    @rule(data=st.data())
    def find(self, data):
        run = data.draw(st.sampled_from(self.runs(Phase.WAITING)))
        assert self.flights.found(run, Hit(ENTRY, Source.DISK)) == (run not in self.fresh)
        if run not in self.fresh:
            assert run.future.result(0) == RunResult(ENTRY, Source.DISK)
            self.over(run)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def fail(self, data):
        run = data.draw(st.sampled_from(list(self.waiters)))
        self.flights.fail(run, GenerationFailed("as_said", text="no"))
        assert run.future.done()
        self.over(run)

    @invariant()
    def counts_are_exact(self):
        assert self.flights.pending == len(self.unfinished) <= self.capacity
        assert self.flights.runs == self.on_map
        assert self.flights.idle(0) == all(run.phase is Phase.OVER for run in self.waiters)
        assert all(run.waiters == waiters for run, waiters in self.waiters.items())
        assert all(run.phase is not Phase.OVER for run in self.on_map.values())

    @invariant()
    def only_the_deserted_are_cancelled(self):
        for run, waiters in self.waiters.items():
            assert not (run.cancelled.is_set() and waiters)


class TestTraffic(Traffic.TestCase):  # type: ignore[misc, valid-type]  # hypothesis makes the class at run time
    """After any sequence: one run per key, an exact pending count, and no run cancelled while a request waits."""

    settings = settings(max_examples=150, stateful_step_count=40)
