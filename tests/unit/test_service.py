"""`ImageService`: DESIGN section 3, sentence by sentence, on an event loop with a fake generator."""

import asyncio
import gc
import io
import logging
import os
import threading
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image

from tests.factories import asked, fake, identity
from tests.waiting import Clock, until
from zimage_cache.cache.cache import NoCache
from zimage_cache.entry import Source
from zimage_cache.errors import (
    Cancelled,
    GenerationFailed,
    GeneratorLoading,
    InvalidRequest,
    ModelCorrupt,
    ModelMissing,
    NotCached,
    OutOfMemory,
    QueueFull,
    TimedOut,
)
from zimage_cache.fingerprint import fingerprint
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.history import History
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata import png
from zimage_cache.request import MAX_SEED, CacheMode, ImageRequest
from zimage_cache.service import lookup
from zimage_cache.service import model as model_module
from zimage_cache.service import service as service_module
from zimage_cache.service.lookup import Shelf
from zimage_cache.service.queue import FairQueue
from zimage_cache.service.resolve import resolve

pytestmark = pytest.mark.anyio


async def sources(service, *requests, **options) -> list[Source]:
    return [outcome.source for request in requests for outcome in await service.render(request, **options)]


def drawn_seeds(studio) -> list[int]:
    return [recipe.seed for recipe in studio.generator.recipes]


def hold_puts(studio) -> threading.Event:
    """Make the cache's writes wait until the event is set."""
    released, put = threading.Event(), studio.cache.put

    def held(entry):
        assert released.wait(60)
        return put(entry)

    studio.cache.put = held
    return released


def hold_encoding(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Make the encoding of pictures tell by one event that it was reached, and wait for another."""
    reached, released, encode = threading.Event(), threading.Event(), png.encode

    def held(pixels, text):
        reached.set()
        assert released.wait(60)
        return encode(pixels, text)

    monkeypatch.setattr(png, "encode", held)
    return reached, released


def failing_at(seed: int, error: Exception):
    def before_step(recipe, _evaluation):
        if recipe.seed == seed:
            raise error

    return before_step


# Where a picture comes from


async def test_miss_then_memory_then_disk_after_a_restart(studio):
    """The GPU once; after that memory; after a restart disk, and then memory again. Always the same bytes."""
    first = studio()
    outcomes = [(await first.service.render(asked()))[0] for _ in range(2)]
    first.close()
    second = studio()
    outcomes += [(await second.service.render(asked()))[0] for _ in range(2)]
    assert [o.source for o in outcomes] == [Source.GENERATED, Source.MEMORY, Source.DISK, Source.MEMORY]
    assert [o.cached for o in outcomes] == [False, True, True, True]
    assert len({o.entry.png for o in outcomes}) == 1
    assert (len(first.generator.recipes), len(second.generator.recipes)) == (1, 0)
    assert second.generator.loads == 0
    gpu_seconds = outcomes[0].entry.record.gpu_seconds
    assert [o.seconds_saved for o in outcomes] == [0.0, gpu_seconds, gpu_seconds, gpu_seconds]
    assert gpu_seconds > 0


async def test_the_picture_is_the_generators_bit_for_bit(studio):
    """Encoding loses nothing, and the record describes what was drawn."""
    made = studio()
    (outcome,) = await made.service.render(asked(prompt="ein roter Kreis 红", style="ink"))
    recipe = made.generator.recipes[0]
    drawing = FakeGenerator().generate(recipe, lambda _: None, lambda: False)
    with Image.open(io.BytesIO(outcome.entry.png)) as picture:
        assert np.array_equal(np.asarray(picture), drawing.pixels)
    record = outcome.entry.record
    assert record.key == outcome.name == fingerprint(recipe, made.generator.identity())
    assert (record.width, record.height, record.request["seed"]) == (64, 64, 7)
    assert record.request["prompt"] == "ein roter Kreis 红"
    assert recipe.prompt != record.request["prompt"]


async def test_a_deletion_elsewhere_counts_at_once(studio):
    """When the record on disk is removed, the copy in memory is not served any more, and the picture is drawn again."""
    made = studio()
    (outcome,) = await made.service.render(asked())
    await made.idle()
    (made.root / "cache" / "keys" / f"{outcome.name}.json").unlink()
    with pytest.raises(NotCached):
        await made.service.render(asked(), cache=CacheMode.ONLY)
    assert await sources(made.service, asked()) == [Source.GENERATED]
    await made.idle()
    assert made.stored == {outcome.name}


async def test_a_deletion_reaches_what_is_not_stored(studio, monkeypatch):
    """A picture that could not be written is deleted as well, and is not served afterwards."""
    made = studio()
    monkeypatch.setattr(made.cache, "put", lambda _entry: False)
    (drawn,) = await made.service.render(asked())
    await made.idle()
    key = drawn.entry.record.key
    assert await made.service.picture(key) is not None
    assert made.service.delete(key)
    assert await made.service.picture(key) is None
    assert not made.service.delete(key)


async def test_each_model_has_a_worker_of_its_own(tmp_path, gate):
    """Two models draw at the same time, the first is the default, and neither finds the other's pictures."""
    door = gate()
    one, other = [fake(name, before_step=door) for name in ("one", "other")]
    service = service_module.ImageService({"one": one, "other": other}, NoCache(), History(tmp_path))
    service.start()
    jobs = [await service.ask(asked(), model=model) for model in (None, "other", "one")]
    await door.arrival()
    await door.arrival()
    assert (service.models, service.default_model) == (["one", "other"], "one")
    door.open()
    keys = [(await job.outcomes())[0].entry.record.key for job in jobs]
    await asyncio.to_thread(service.close)
    assert keys[0] == keys[2] != keys[1]


async def test_equal_asks_share_a_key_however_they_are_written(studio):
    """NFD and NFC, 7 and 7.0, a default written out: one picture, paid once."""
    made = studio()
    assert await sources(
        made.service,
        asked(prompt="caf\u00e9"),
        asked(prompt="cafe\u0301"),
        asked(prompt="caf\u00e9", seed=7.0, negative_prompt="ignored at guidance 0", sampler="euler", shift=3),
    ) == [Source.GENERATED, Source.MEMORY, Source.MEMORY]


async def test_32_at_once_cost_one_generation(studio, gate):
    """32 identical asks at the same moment: one run, one answer `generated`, 31 `shared`, one copy for people."""
    door = gate()
    made = studio(door)
    asks = [asyncio.ensure_future(made.service.render(asked())) for _ in range(32)]
    await door.arrival()
    await until(lambda: [run.waiters for run in made.service.runs] == [32])
    door.open()
    outcomes = [outcome for (outcome,) in await asyncio.gather(*asks)]
    assert Counter(o.source for o in outcomes) == {Source.GENERATED: 1, Source.SHARED: 31}
    assert len(made.generator.recipes) == 1
    assert len({o.entry.png for o in outcomes}) == 1
    assert all((o.seconds_saved > 0) == (o.source is Source.SHARED) for o in outcomes)
    made.close()
    assert len(made.copies) == 1


async def test_the_leader_looks_once_more(studio):
    """Stored between the first look and the start of the run: found by the second look, nothing is drawn."""
    made = studio()
    [outcome] = await made.service.render(asked())
    await made.idle()
    # The right to draw it is given back a moment later; until then the next one waits as if for another process.
    (await until(lambda: made.cache.generation(outcome.entry.record.key))).release()
    made.memory.clear()  # memory is looked at apart, before
    get, looks = made.cache.get, []

    def blind_once(key):
        looks.append(key)
        return get(key) if len(looks) > 1 else None

    made.cache.get = blind_once
    assert await sources(made.service, asked()) == [Source.DISK]
    assert len(looks) == 2
    assert len(made.generator.recipes) == 1


async def test_a_refresh_that_joins_overrules_the_second_look(studio):
    """The leader's second look finds something while a refresh is on board: drawn anew, for both."""
    made = studio()
    await made.service.render(asked())
    await made.idle()
    made.memory.clear()  # memory is looked at apart, before
    get, looking, answer = made.cache.get, threading.Event(), threading.Event()

    def held(key):
        if looking.is_set():
            assert answer.wait(60)
            return get(key)
        looking.set()
        return None

    made.cache.get = held
    first = asyncio.ensure_future(made.service.render(asked()))
    await until(lambda: made.service.queue_depth)
    second = await made.service.ask(asked(), cache=CacheMode.REFRESH)
    answer.set()
    assert [o.source for o in (*await first, *await second.outcomes())] == [Source.GENERATED, Source.SHARED]
    assert len(made.generator.recipes) == 2


# n pictures


async def test_n_pictures_generate_only_what_is_missing(studio):
    """Partial hits: of seeds 1..4, those known come from memory and only the others are drawn, in order."""
    made = studio()
    await sources(made.service, asked(2), asked(4))
    outcomes = await made.service.render(asked(1), n=4)
    assert [o.entry.record.request["seed"] for o in outcomes] == [1, 2, 3, 4]
    assert [o.source for o in outcomes] == [Source.GENERATED, Source.MEMORY, Source.GENERATED, Source.MEMORY]
    assert drawn_seeds(made) == [2, 4, 1, 3]


async def test_n_pictures_are_n_single_calls(studio):
    """n=3 equals three calls with the seeds counting up, over the end of the range too: same keys, no new runs."""
    made = studio()
    batch = await made.service.render(asked(MAX_SEED), n=3)
    singles = [(await made.service.render(asked(seed)))[0] for seed in (MAX_SEED, 0, 1)]
    assert [o.entry.record.key for o in batch] == [o.entry.record.key for o in singles]
    assert [o.entry.png for o in batch] == [o.entry.png for o in singles]
    assert len(made.generator.recipes) == 3


async def test_if_one_of_n_fails_the_call_fails_and_the_finished_stay(studio):
    """The first is drawn, the second fails: the call fails, the first is stored, the third is not drawn."""
    made = studio(failing_at(2, OutOfMemory("as_said", text="too large")))
    with pytest.raises(OutOfMemory, match="too large"):
        await made.service.render(asked(1), n=3)
    await made.idle()
    assert await sources(made.service, asked(1), cache=CacheMode.ONLY) == [Source.MEMORY]
    with pytest.raises(NotCached):
        await made.service.render(asked(2), cache=CacheMode.ONLY)


async def test_n_is_admitted_whole_or_refused(studio, gate):
    """No room for all of n: refused, and nothing of it stays in the queue; what is shared needs no room."""
    door = gate()
    made = studio(door, queue_size=3)
    first = await made.service.ask(asked(1), n=2)
    with pytest.raises(QueueFull, match="holds 3 pictures, 2 are in it and this request needs 2 more"):
        await made.service.ask(asked(3), n=2)
    assert made.service.queue_depth == 2
    shared = await made.service.ask(asked(1), n=3)
    door.open()
    assert [o.source for o in await shared.outcomes()] == [Source.SHARED, Source.SHARED, Source.GENERATED]
    await first.outcomes()
    assert sorted(drawn_seeds(made)) == [1, 2, 3]


async def test_one_client_does_not_fill_the_queue_for_others(studio, gate):
    """Batches until it is refused: another user is ready and drawn, this one is neither; then there is room again."""
    door = gate()
    made = studio(door)
    jobs = [await made.service.ask(asked(seed), n=8, user="ann") for seed in (0, 100)]
    with pytest.raises(QueueFull, match="for one asker"):
        await made.service.ask(asked(200), n=8, user="ann")
    jobs.append(await made.service.ask(asked(300), n=5, user="ann"))
    assert not made.service.ready(user="ann")
    for user, seed, n in (("bob", 400, 8), ("cat", 500, 2), ("dan", 600, 1)):
        assert made.service.ready(user=user)
        jobs.append(await made.service.ask(asked(seed), n=n, user=user))
    door.open()
    for job in jobs:
        await job.outcomes()
    assert made.service.ready(user="ann")


async def test_users_take_turns(studio, gate):
    """One user's batch delays another user's picture by one turn; a batch is drawn in the order of its seeds."""
    door = gate(only={0})
    made = studio(door)
    jobs = [await made.service.ask(asked(0), user="zoe")]
    await door.arrival()
    for request, n, user in ((asked(1), 4, "ann"), (asked(11), 2, "bob")):
        jobs.append(await made.service.ask(request, n=n, user=user))
    await until(lambda: made.service.queued == 6)
    door.open()
    for job in jobs:
        await job.outcomes()
    assert drawn_seeds(made) == [0, 1, 11, 2, 12, 3, 4]


async def test_batch_requests_are_drawn_last(studio, gate):
    """Also after an interactive request that comes later; a picture of a batch that such a request joins goes first."""
    door = gate(only={0})
    made = studio(door)
    jobs = [await made.service.ask(asked(0), user="zoe")]
    await door.arrival()
    jobs.append(await made.service.ask(asked(1), n=4, user="ann", batch=True))
    await until(lambda: made.service.queued == 4)
    jobs.append(await made.service.ask(asked(11), user="bob"))
    await until(lambda: made.service.queued == 5)
    jobs.append(await made.service.ask(asked(4), user="bob"))  # the last one of the batch
    door.open()
    for job in jobs:
        await job.outcomes()
    assert drawn_seeds(made) == [0, 11, 4, 1, 2, 3]


async def test_a_batch_run_that_is_joined_before_it_is_queued_goes_first(studio, gate, monkeypatch):
    """An interactive request that joins between two looks at the run counts, whenever it comes."""
    door = gate(only={0})
    made = studio(door)
    jobs = [await made.service.ask(asked(0), user="zoe")]
    await door.arrival()
    put, queueing, go_on = FairQueue.put, threading.Event(), threading.Event()

    def held(*given, **options):
        queueing.set()
        assert go_on.wait(60)
        put(*given, **options)

    monkeypatch.setattr(FairQueue, "put", held)
    jobs.append(await made.service.ask(asked(1), user="ann", batch=True))
    await asyncio.to_thread(queueing.wait, 60)  # it is about to be queued as a batch one
    jobs.append(await made.service.ask(asked(1), user="bob"))
    monkeypatch.setattr(FairQueue, "put", put)
    go_on.set()
    await until(lambda: made.service.queued == 1)
    jobs.append(await made.service.ask(asked(2), user="ann", batch=True))
    jobs.append(await made.service.ask(asked(3), user="cat"))
    await until(lambda: made.service.queued == 3)
    door.open()
    for job in jobs:
        await job.outcomes()
    assert drawn_seeds(made) == [0, 1, 3, 2]


async def test_accounts_with_salts_do_not_share(studio):
    """Each draws once and finds its own again; look-ups tell an account of its own pictures alone."""
    made = studio(salt=lambda account: account)
    for account in ("ann", "ben", ""):
        for source in (Source.GENERATED, Source.MEMORY):
            assert await sources(made.service, asked(), account=account) == [source]
    await made.idle()
    assert len(made.generator.recipes) == 3
    assert len({outcome.entry.record.key for outcome in await made.service.render(asked(), account="ann")}) == 1
    found = {
        account: (await made.service.lookup(asked(), account=account)).pictures[0].entry is not None
        for account in ("ann", "ben", "cat")
    }
    assert found == {"ann": True, "ben": True, "cat": False}


async def test_one_at_a_time(studio):
    """A pipeline is not thread-safe: whatever is asked at once, one picture is drawn at a time."""
    made = studio(generator=FakeGenerator(seconds=0.005))
    await asyncio.gather(*(made.service.render(asked(seed), n=4) for seed in range(0, 24, 4)))
    assert len(made.generator.recipes) == 24
    assert made.generator.most_at_once == 1


# Seeds


async def test_a_drawn_seed_is_never_answered_from_the_cache(studio, monkeypatch):
    """Even when the drawn seed happens to be stored, it is drawn; and it is found again under that seed."""
    made = studio()
    await made.service.render(asked(7))
    monkeypatch.setattr(service_module, "make_random_seed", lambda: 7)
    (outcome,) = await made.service.render(asked(-1))
    assert outcome.source is Source.GENERATED
    assert outcome.entry.record.request["seed"] == 7
    assert drawn_seeds(made) == [7, 7]
    assert await sources(made.service, asked(7)) == [Source.MEMORY]


async def test_drawn_seeds_differ_and_are_stored(studio):
    """Two asks for a drawn seed: two pictures, each found again under its seed."""
    made = studio()
    first, second = [(await made.service.render(asked(-1)))[0] for _ in range(2)]
    seeds = [outcome.entry.record.request["seed"] for outcome in (first, second)]
    assert seeds[0] != seeds[1]
    assert await sources(made.service, *map(asked, seeds), cache=CacheMode.ONLY) == [Source.MEMORY] * 2


async def test_an_idempotency_key_pins_the_drawn_seed(studio):
    """A retry is the same picture, also after a restart and from another address; another key or account is not."""
    first = studio()
    (one,) = await first.service.render(asked(-1), user="10.0.0.1", account="ann", idempotency_key="k")
    first.close()
    second = studio()
    (again,) = await second.service.render(asked(-1), user="::1", account="ann", idempotency_key="k")
    assert again.source is Source.DISK
    assert again.entry.record.key == one.entry.record.key
    others = [
        (await second.service.render(asked(-1), account=account, idempotency_key=key))[0]
        for account, key in (("ann", "l"), ("bob", "k"), ("", "k"))
    ]
    assert [o.source for o in others] == [Source.GENERATED] * 3
    assert len({o.entry.record.request["seed"] for o in (one, *others)}) == 4


async def test_an_idempotency_key_is_of_one_request(studio):
    """The same key with anything of a request changed is refused; a request that breaks a rule does not use it up."""
    service = studio().service
    with pytest.raises(InvalidRequest, match="model"):
        await service.render(asked(-1), model="other", idempotency_key="k")
    await service.render(asked(-1), idempotency_key="k")
    for other, options in ((asked(5), {}), (asked(-1), {"n": 2}), (asked(-1), {"cache": CacheMode.REFRESH})):
        with pytest.raises(InvalidRequest, match="another request") as refused:
            await service.render(other, idempotency_key="k", **options)
        assert refused.value.field == "idempotency-key"
    assert await sources(service, asked(-1), idempotency_key="k") == [Source.MEMORY]
    assert await sources(service, asked(5), idempotency_key="k", account="ann") == [Source.GENERATED]


# Cache modes


async def test_refresh_draws_anew_and_replaces(studio):
    """The stored picture is not looked at; the new one takes its place in both tiers."""
    made = studio()
    (old,) = await made.service.render(asked())
    (new,) = await made.service.render(asked(), cache=CacheMode.REFRESH)
    assert new.source is Source.GENERATED
    assert len(made.generator.recipes) == 2
    await made.idle()
    (now,) = await made.service.render(asked())
    assert now.entry.record.created == new.entry.record.created > old.entry.record.created
    made.close()
    assert studio().cache.get(new.name).entry == new.entry


async def test_bypass_leaves_no_trace(studio):
    """Nothing in the cache, nothing in `output_image/`; the picture is handed out under a random token."""
    made = studio()
    (first,) = await made.service.render(asked(), cache=CacheMode.BYPASS)
    (second,) = await made.service.render(asked(), cache=CacheMode.BYPASS)
    assert [first.source, second.source] == [Source.GENERATED] * 2
    assert len({first.name, second.name, first.entry.record.key}) == 3
    assert await made.service.picture(first.name) is first.entry
    assert await made.service.picture(first.entry.record.key) is None
    made.close()
    assert [path for path in made.root.rglob("*") if path.is_file()] == []
    assert made.cache.held().memory_entries == 0


async def test_bypass_ignores_what_is_stored_and_leaves_it_alone(studio):
    """A bypass draws even what is stored, and the stored one stays as it is."""
    made = studio()
    (stored,) = await made.service.render(asked())
    (outcome,) = await made.service.render(asked(), cache=CacheMode.BYPASS)
    assert outcome.source is Source.GENERATED
    assert (await made.service.picture(stored.name)) == stored.entry
    assert outcome.entry.record.created > stored.entry.record.created


async def test_a_token_lives_ten_minutes(studio, monkeypatch):
    """An unstored picture is within reach for ten minutes, no longer."""
    clock = Clock()
    monkeypatch.setattr(lookup, "Shelf", partial(Shelf, clock=clock))
    made = studio()
    (outcome,) = await made.service.render(asked(), cache=CacheMode.BYPASS)
    clock.now += 599
    assert await made.service.picture(outcome.name) is outcome.entry
    clock.now += 1
    assert await made.service.picture(outcome.name) is None


@pytest.mark.parametrize(
    "order",
    [(CacheMode.BYPASS, CacheMode.USE), (CacheMode.USE, CacheMode.BYPASS), (CacheMode.REFRESH, CacheMode.BYPASS)],
)
async def test_if_any_request_wants_it_stored_it_is(studio, gate, order):
    """A bypass request and another one on one run: one generation, stored, and the bypass request has its own token."""
    door = gate()
    made = studio(door)
    jobs = [await made.service.ask(asked(), cache=mode) for mode in order]
    door.open()
    outcomes = {mode: (await job.outcomes())[0] for mode, job in zip(order, jobs, strict=True)}
    key = outcomes[CacheMode.BYPASS].entry.record.key
    assert outcomes[CacheMode.BYPASS].name != key
    assert len(made.generator.recipes) == 1
    made.close()
    assert made.stored == {key}
    assert len(made.copies) == 1


async def test_only_is_all_or_nothing_and_never_generates(studio):
    """One of three missing: refused. All there: answered. Nothing is ever drawn or queued for it."""
    made = studio()
    await sources(made.service, asked(1), asked(3))
    with pytest.raises(NotCached, match="1 of 3"):
        await made.service.render(asked(1), n=3, cache=CacheMode.ONLY)
    with pytest.raises(NotCached):
        await made.service.render(asked(-1), cache=CacheMode.ONLY)
    assert drawn_seeds(made) == [1, 3]
    await made.service.render(asked(2))
    assert await sources(made.service, asked(1), n=3, cache=CacheMode.ONLY) == [Source.MEMORY] * 3


async def test_with_the_cache_off_people_still_get_their_copies(studio):
    """Nothing is looked up or stored, every ask draws; `output_image/` has the picture; it goes out under tokens."""
    made = studio(caching=False)
    (first,) = await made.service.render(asked())
    (second,) = await made.service.render(asked())
    assert [first.source, second.source] == [Source.GENERATED] * 2
    assert first.name != second.name
    assert first.entry.record.key not in {first.name, second.name}
    assert await made.service.picture(second.name) is second.entry
    assert [known.entry for known in (await made.service.lookup(asked())).pictures] == [None]
    await made.idle()  # until then a picture that is being written has a thumbnail
    assert await made.service.thumbnail(first.entry.record.key) is None
    made.close()
    assert first.entry.png == second.entry.png
    assert made.copies == [first.entry.png]
    assert not (made.root / "cache").exists()


async def test_one_copy_for_people_a_generation_none_a_hit(studio):
    """`output_image/` has each picture once, named by time and key, with the stored bytes; hits add none."""
    made = studio()
    outcomes = [(await made.service.render(asked(), cache=mode))[0] for mode in ("use", "use", "refresh", "use")]
    made.close()
    assert outcomes[2].source is Source.GENERATED
    assert made.copies == [outcomes[0].entry.png] == [outcomes[2].entry.png]
    names = sorted(path.name for path in (made.root / "output_image").iterdir())
    key8 = outcomes[0].name[:8]
    assert all(name.startswith("image_2") and key8 in name and name.endswith(".png") for name in names)


async def test_an_output_folder_out_of_reach_loses_no_picture(studio, caplog):
    """People may even put a file in the folder's place: one warning, and the picture all the same."""
    made = studio()
    (made.root / "output_image").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert await sources(made.service, asked()) == [Source.GENERATED]
        made.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(made.stored) == 1


# Between the picture and the disk


async def test_waiters_do_not_wait_for_the_disk(studio):
    """The answer comes when the PNG is encoded; until it is written the shelf has it, and who asks meanwhile shares."""
    made = studio()
    released = hold_puts(made)
    (first,) = await made.service.render(asked())
    assert made.stored == set()
    assert await made.service.picture(first.name) is first.entry
    (second,) = await made.service.render(asked(), cache=CacheMode.ONLY)
    assert second.source is Source.MEMORY
    assert second.entry is first.entry
    assert (await made.service.lookup(asked())).pictures[0].entry is first.entry
    released.set()
    made.close()
    assert made.stored == {first.name}
    assert len(made.generator.recipes) == 1


@pytest.mark.parametrize("mode", [CacheMode.REFRESH, CacheMode.BYPASS])
async def test_what_was_just_handed_out_is_not_fresh(studio, mode):
    """A refresh or bypass that comes while the answered picture is being written is drawn anew all the same."""
    made = studio()
    released = hold_puts(made)
    assert await sources(made.service, asked()) == [Source.GENERATED]
    assert await sources(made.service, asked(), cache=mode) == [Source.GENERATED]
    assert len(made.generator.recipes) == 2
    released.set()


async def test_a_second_request_between_picture_and_answer_shares(studio, monkeypatch):
    """Who joins while the picture is being encoded waited for it: the same run, the same picture."""
    made = studio()
    encoding, released = hold_encoding(monkeypatch)
    first = asyncio.ensure_future(made.service.render(asked()))
    await until(encoding.is_set)
    second = await made.service.ask(asked())
    released.set()
    assert [o.source for o in (*await first, *await second.outcomes())] == [Source.GENERATED, Source.SHARED]
    assert len(made.generator.recipes) == 1


async def test_idle_is_when_the_answered_picture_is_stored(studio):
    """The answer comes before the write: until that is done the service is not idle, and its run is to be seen."""
    made = studio()
    released = hold_puts(made)
    (outcome,) = await made.service.render(asked())
    assert [run.plan.key for run in made.service.runs] == [outcome.name]
    assert not made.service.idle(0)
    released.set()
    assert await asyncio.to_thread(made.service.idle, 60)
    assert (made.service.runs, made.stored) == ([], {outcome.name})


async def test_the_next_run_is_drawn_beside_the_writing(studio):
    """While one picture is still being written, the generator has the next ones."""
    made = studio()
    released = hold_puts(made)
    assert await sources(made.service, asked(1), asked(2)) == [Source.GENERATED] * 2
    assert made.stored == set()
    released.set()


async def test_a_failed_write_still_returns_the_picture(studio, caplog):
    """The disk refuses: the picture is answered, its address works, people get their copy, one warning is logged."""
    made = studio()
    (made.root / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        (outcome,) = await made.service.render(asked())
        assert outcome.source is Source.GENERATED
        assert (await made.service.picture(outcome.name)) == outcome.entry
        assert await sources(made.service, asked()) == [Source.MEMORY]
        made.close()
    warnings = [record.getMessage().partition("]")[0] for record in caplog.records]
    assert warnings
    assert len(warnings) == len(set(warnings))
    assert made.copies == [outcome.entry.png]
    (made.root / "cache").unlink()


async def test_a_picture_can_be_pinned_before_it_is_stored(studio, monkeypatch):
    """It was handed out, and is on its way to the disk: the pin writes it, and the write that follows keeps the pin."""
    made = studio()
    really, may_go_on = made.cache.put, threading.Event()
    monkeypatch.setattr(made.cache, "put", lambda entry: may_go_on.wait(60) and really(entry))
    (outcome,) = await made.service.render(asked())
    try:
        assert made.stored == set()
        assert await asyncio.to_thread(made.service.pin, outcome.name)
        assert made.stored == {outcome.name}
    finally:
        may_go_on.set()
    made.close()
    assert [(each.key, each.pinned) for each in made.cache.entries().items] == [(outcome.name, True)]
    assert not made.service.pin("0" * 64)


async def test_stored_under_the_identity_that_drew_it(studio):
    """A retry under another plan drew it: stored under that identity, never under the one that was asked."""
    other = identity(precision="uint8+tiling")
    made = studio(generator=FakeGenerator(draws_as=other))
    (outcome,) = await made.service.render(asked())
    recipe = made.generator.recipes[0]
    assert outcome.name == fingerprint(recipe, other) != fingerprint(recipe, made.generator.identity())
    assert outcome.entry.record.generator == other
    made.close()
    assert made.stored == {outcome.name}


async def test_what_another_plan_drew_is_found_again(studio):
    """While this process knows of that plan its pictures are hits, for look-ups too; other sizes are as before."""
    other = identity(precision="uint8+tiling")
    made = studio(generator=FakeGenerator(draws_as=other))
    (drawn,) = await made.service.render(asked())
    await made.idle()
    (again,) = await made.service.render(asked())
    assert (again.cached, again.name, again.entry.png) == (True, drawn.name, drawn.entry.png)
    assert await sources(made.service, asked(), cache=CacheMode.ONLY) == [Source.MEMORY]
    lookup = await made.service.lookup(asked(), n=2)
    assert [known.entry is not None for known in lookup.pictures] == [True, False]
    assert lookup.pictures[0].key == drawn.name
    assert len(made.generator.recipes) == 1
    with pytest.raises(NotCached):
        await made.service.render(asked(width=128), cache=CacheMode.ONLY)
    made.close()
    # Another process, with more memory free, knows of no other plan and draws it as usual.
    fresh = studio()
    assert await sources(fresh.service, asked()) == [Source.GENERATED]


async def test_the_usual_picture_is_found_first(studio):
    """Where a picture is stored both ways, the usual identity's is the answer."""
    other = identity(precision="uint8+tiling")
    usual = studio()
    (first,) = await usual.service.render(asked())
    usual.close()
    made = studio(generator=FakeGenerator(draws_as=other))
    await made.service.render(asked(), cache=CacheMode.REFRESH)
    await made.idle()
    (answer,) = await made.service.render(asked())
    assert (answer.name, answer.entry.record.generator) == (first.name, made.generator.identity())


async def test_warnings_travel_with_the_entry(studio):
    """What the generator warned of is said again with every hit, after a restart too."""
    first = studio(generator=FakeGenerator(warnings=(Message("decoder_overflowed", dtype="float16"),)))
    await first.service.render(asked())
    first.close()
    (outcome,) = await studio().service.render(asked())
    assert outcome.source is Source.DISK
    assert outcome.entry.record.warning_messages == (Message("decoder_overflowed", dtype="float16"),)
    assert outcome.entry.record.warnings[0].startswith("decoder: float16 overflowed")


# Who leaves, and what goes wrong


async def test_the_leader_may_go(studio, gate):
    """The run is independent of the first request: its task is cancelled, the other request gets the picture."""
    door = gate()
    made = studio(door)
    leader = asyncio.ensure_future(made.service.render(asked()))
    await door.arrival()
    other = asyncio.ensure_future(made.service.render(asked()))
    (run,) = made.service.runs
    await until(lambda: run.waiters == 2)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert run.waiters == 1
    door.open()
    assert [o.source for o in await other] == [Source.SHARED]
    assert len(made.generator.recipes) == 1


async def test_the_last_to_go_stops_the_run_within_one_step(studio, gate):
    """Without waiting requests no further step is drawn, nothing is stored, and the next request gets a new run."""
    door = gate()
    made = studio(door)
    asking = asyncio.ensure_future(made.service.render(asked()))
    await door.arrival()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    newcomer = asyncio.ensure_future(made.service.render(asked()))
    await until(lambda: made.service.queue_depth == 1)
    door.open()
    assert [o.source for o in await newcomer] == [Source.GENERATED]
    assert door.steps == [(7, 1), (7, 1), (7, 2), (7, 3), (7, 4)]


async def test_a_run_without_waiters_in_the_queue_is_not_drawn(studio, gate):
    """A queued run without waiting requests leaves the queue before it is drawn."""
    door = gate(only={1})
    made = studio(door, queue_size=2)
    first = asyncio.ensure_future(made.service.render(asked(1)))
    await door.arrival()
    deserted = await made.service.ask(asked(2))
    await until(lambda: made.service.queued == 1)
    deserted.leave()
    second = await made.service.ask(asked(3))
    await until(lambda: made.service.queued == 1)
    assert second.progress().ahead == 1
    door.open()
    await asyncio.gather(first, second.outcomes())
    assert drawn_seeds(made) == [1, 3]


async def test_what_is_drawn_is_stored_even_without_waiters(studio, monkeypatch):
    """Once pixels exist the picture is encoded and stored: the next ask finds it."""
    made = studio()
    encoding, released = hold_encoding(monkeypatch)
    job = await made.service.ask(asked())
    await until(encoding.is_set)
    job.leave()
    released.set()
    await made.idle()
    assert await sources(made.service, asked()) == [Source.MEMORY]
    assert len(made.generator.recipes) == 1


async def test_a_timeout_of_one_job_touches_no_other(studio, gate):
    """One request times out, the other still gets its picture from the same run."""
    door = gate()
    made = studio(door)
    hasty, patient = [await made.service.ask(asked()) for _ in range(2)]
    with pytest.raises(TimeoutError):
        await hasty.outcomes(0.01)
    waiting = asyncio.ensure_future(patient.outcomes())
    await asyncio.sleep(0)
    door.open()
    assert [o.source for o in await waiting] == [Source.SHARED]


async def test_a_request_waits_as_long_as_it_may(studio, gate):
    """After the time limit: `TimedOut`, and a run without other waiting requests is cancelled."""
    door = gate()
    made = studio(door, request_timeout=0.05)
    with pytest.raises(TimedOut, match=r"waited 0\.05 s"):
        await made.service.render(asked())
    assert made.service.queue_depth == 0
    door.open()
    made.close()
    assert made.stored == set()


async def test_all_waiters_get_the_error_and_later_requests_do_not(studio, gate):
    """A failing run fails all who wait for it, once; the next ask is drawn as if nothing had happened."""
    door = gate()
    trouble = [OutOfMemory("as_said", text="the card is full")]

    def before_step(recipe, evaluation):
        door(recipe, evaluation)
        if trouble:
            raise trouble.pop()

    made = studio(before_step)
    jobs = [await made.service.ask(asked()) for _ in range(5)]
    waiting = [asyncio.ensure_future(job.outcomes()) for job in jobs]
    await door.arrival()
    door.open()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [OutOfMemory] * 5
    assert made.service.queue_depth == 0
    assert await sources(made.service, asked()) == [Source.GENERATED]


async def test_a_foreign_exception_fails_one_request(studio, caplog):
    """The generator raises something of its own: `GenerationFailed` without its words, which only the log has."""
    made = studio(failing_at(1, ZeroDivisionError("secret detail")))
    with caplog.at_level(logging.ERROR), pytest.raises(GenerationFailed) as caught:
        await made.service.render(asked(1))
    assert "secret" not in str(caught.value)
    assert "ZeroDivisionError: secret detail" in caplog.text
    assert await sources(made.service, asked(2)) == [Source.GENERATED]


async def test_pixels_that_are_no_picture_fail_one_request(studio, caplog):
    """What cannot be encoded is an error of that run; nothing is stored, and the encoders live on."""

    class Broken(FakeGenerator):
        def generate(self, recipe, on_step, cancelled):
            drawing = super().generate(recipe, on_step, cancelled)
            if recipe.seed == 1:
                object.__setattr__(drawing, "pixels", drawing.pixels.astype(float))
            return drawing

    made = studio(generator=Broken())
    with caplog.at_level(logging.ERROR), pytest.raises(GenerationFailed):
        await made.service.render(asked(1))
    assert await sources(made.service, asked(2), asked(3), asked(4)) == [Source.GENERATED] * 3
    made.close()
    assert len(made.stored) == 3


@pytest.mark.parametrize(
    ("request_", "options", "field"),
    [
        (asked(), {"model": "nope"}, "model"),
        (asked(), {"n": 9}, "n"),
        (asked(style="nope"), {}, "style"),
        (asked(width=64, height=2048, negative_prompt="x" * 8000, style="ink"), {}, "negative_prompt"),
    ],
)
async def test_bad_requests_name_the_field(studio, request_, options, field):
    """A request that breaks a rule reaches neither queue nor generator, by either door."""
    made = studio()
    for door in (made.service.render, made.service.lookup):
        with pytest.raises(InvalidRequest) as caught:
            await door(request_, **options)
        assert caught.value.field == field
    assert made.generator.recipes == []


# Look-ups and progress


async def test_a_lookup_leaves_no_trace(studio):
    """It counts no hit, promotes nothing into memory, touches no file; a seed still to be drawn has no key."""
    first = studio()
    (outcome,) = await first.service.render(asked())
    first.close()
    image = first.root / "cache" / "images" / f"{outcome.name}.png"
    os.utime(image, (1e9, 1e9))
    second = studio(start=False)
    second.service.start()
    second.disk.scan()
    before = second.cache.held(), second.cache.counts()
    found = await second.service.lookup(asked(), n=2)
    assert [known.entry for known in found.pictures] == [outcome.entry, None]
    assert found.pictures[1].key == fingerprint_of(asked(8), second)
    assert [known.key for known in (await second.service.lookup(asked(-1), n=2)).pictures] == [None, None]
    assert await second.service.picture(outcome.name) == outcome.entry
    assert (second.cache.held(), second.cache.counts()) == before
    assert image.stat().st_mtime == 1e9
    assert await sources(second.service, asked()) == [Source.DISK]
    assert image.stat().st_mtime > 1e9
    second.service.close()


def fingerprint_of(request: ImageRequest, studio) -> str:
    resolved = resolve(request, studio.generator.profile)
    return fingerprint(resolved[0].recipe, studio.generator.identity())


async def test_a_lookup_tells_what_the_rest_would_cost(studio):
    """GPU-seconds of what is missing, at the pace of the last picture of its kind; None before there is one."""
    made = studio()
    assert (await made.service.lookup(asked(), n=3)).eta_seconds is None
    (outcome,) = await made.service.render(asked())
    gpu_seconds = outcome.entry.record.gpu_seconds
    assert (await made.service.lookup(asked(), n=3)).eta_seconds == pytest.approx(2 * gpu_seconds)
    assert (await made.service.lookup(asked())).eta_seconds == 0
    assert (await made.service.lookup(asked(8, steps=8))).eta_seconds == pytest.approx(2 * gpu_seconds)
    assert (await made.service.lookup(asked(-1))).eta_seconds == pytest.approx(gpu_seconds)


async def test_progress_from_the_queue_to_the_end(studio, gate):
    """Position, phase, step and ETA are right in each state: first in the queue, behind another, half drawn, done."""
    door = gate(evaluation=3)
    made = studio(door)
    door.open()
    (known,) = await made.service.render(asked(99))
    cost = known.entry.record.gpu_seconds
    made.generator.before_step = door = gate(evaluation=3)
    drawing = await made.service.ask(asked(1), user="ann")
    await door.arrival()
    batch = await made.service.ask(asked(11), n=2, user="bob")
    single = await made.service.ask(asked(21), user="cat")
    await until(lambda: made.service.queued == 3)

    now = drawing.progress()
    assert (now.phase, now.ahead, now.step, now.steps, now.done, now.n) == ("drawing", 0, 2, 4, 0, 1)
    assert now.eta_seconds == pytest.approx(cost / 2)
    now = batch.progress()
    assert (now.phase, now.ahead, now.step, now.done, now.n) == ("queued", 1, 0, 0, 2)
    # bob, cat, bob: cat's picture comes before bob's second.
    assert now.eta_seconds == pytest.approx(cost * 3.5)
    now = single.progress()
    assert (now.phase, now.ahead, now.done) == ("queued", 2, 0)
    assert now.eta_seconds == pytest.approx(cost * 2.5)

    door.open()
    for job in (drawing, batch, single):
        await job.outcomes()
        now = job.progress()
        assert (now.phase, now.done, now.eta_seconds) == ("finishing", len(job.parts), 0.0)
    (hit,) = [await made.service.ask(asked(1))]
    assert hit.progress().phase == "finishing"


async def test_phases_from_the_prompt_to_the_pixels(studio):
    """Reading the prompt, drawing, decoding: each phase is reported while it lasts."""
    seen, held = [], {phase: (threading.Event(), threading.Event()) for phase in ("encoding", "drawing", "decoding")}

    class Slow(FakeGenerator):
        def generate(self, recipe, on_step, cancelled):
            def stand(phase):
                arrived, go = held[phase]
                arrived.set()
                assert go.wait(60)

            def listen(step):
                on_step(step)
                if step.evaluation in {1, step.evaluations}:
                    stand("drawing" if step.evaluation == 1 else "decoding")

            stand("encoding")
            return super().generate(recipe, listen, cancelled)

    made = studio(generator=Slow())
    job = await made.service.ask(asked())
    for phase, (arrived, go) in held.items():
        await asyncio.to_thread(arrived.wait, 60)
        now = job.progress()
        seen.append((now.phase, now.step))
        assert now.phase == phase
        go.set()
    await job.outcomes()
    assert seen == [("encoding", 0), ("drawing", 1), ("decoding", 4)]


async def test_watched_jobs_have_previews(studio, gate):
    """A watched job's progress has the preview; for a job that is not watched none is made."""
    door = gate(evaluation=3)
    made = studio(generator=FakeGenerator(preview=b"small", before_step=door))
    unwatched = await made.service.ask(asked(1))
    await door.arrival()
    assert (unwatched.progress().preview, made.generator.previews) == (None, 0)
    watched = await made.service.ask(asked(2))
    watched.watch()
    door.open()
    await unwatched.outcomes()
    await watched.outcomes()
    assert made.generator.previews == 4


async def test_two_devices_halve_the_wait(studio, gate):
    """With two of them busy, two waiting pictures end together: the estimate says so, and both draw."""
    door, peer = gate(evaluation=3), FakeGenerator()
    made = studio(peers={"fake": [peer]}, preload=True)
    await until(lambda: peer.loads)
    (known,) = await made.service.render(asked(99))
    cost = known.entry.record.gpu_seconds
    for generator in (made.generator, peer):
        generator.before_step = door
    drawing = await made.service.ask(asked(1), n=2)
    await door.arrival()
    await door.arrival()
    waiting = await made.service.ask(asked(11), n=2)
    await until(lambda: made.service.queued == 2)
    assert drawing.progress().eta_seconds == pytest.approx(cost / 2)
    now = waiting.progress()
    assert (now.phase, now.ahead) == ("queued", 2)
    assert now.eta_seconds == pytest.approx(cost * 1.5)
    door.open()
    await drawing.outcomes()
    await waiting.outcomes()
    assert {len(made.generator.recipes) + len(peer.recipes)} == {5}
    assert peer.most_at_once == made.generator.most_at_once == 1


async def test_a_restart_knows_how_long_pictures_take(studio, tmp_path):
    """What one process learnt, the next one estimates with, from its first request on."""
    first = studio(database=tmp_path / "zimage.sqlite3")
    (known,) = await first.service.render(asked(1))
    first.close()
    second = studio(database=tmp_path / "zimage.sqlite3")
    looked = await second.service.lookup(asked(2))
    assert looked.eta_seconds == pytest.approx(known.entry.record.gpu_seconds)


async def test_the_first_of_its_kind_is_measured_while_it_is_drawn(studio, gate):
    """Without a remembered pace: no guess while it waits, and one from its own steps while it is drawn."""
    door = gate(evaluation=3)
    made = studio(door)
    drawing, waiting = await made.service.ask(asked(1)), await made.service.ask(asked(2))
    await door.arrival()
    started = drawing.pending[0].began
    before = time.monotonic() - started
    eta = drawing.progress().eta_seconds
    assert before <= eta <= time.monotonic() - started
    assert waiting.progress().eta_seconds is None
    drawing.leave()
    waiting.leave()


async def test_a_picture_being_encoded_is_finishing(studio, monkeypatch):
    """Pixels exist, the PNG does not yet: neither queued nor drawing."""
    made = studio()
    encoding, released = hold_encoding(monkeypatch)
    job = await made.service.ask(asked())
    await until(encoding.is_set)
    now = job.progress()
    assert (now.phase, now.done, now.eta_seconds) == ("finishing", 0, 0.0)
    released.set()
    await job.outcomes()


# Loading


class Loading(FakeGenerator):
    """A generator that loads for as long as the test wants."""

    def __init__(self, error: Exception | None = None):
        super().__init__(state=GeneratorState(Status.LOADING, phase=Message("loading_weights"), share=0.5))
        self.ready = threading.Event()
        self.error = error

    def load(self):
        assert self.ready.wait(60)
        if self.error is not None:
            self.state = GeneratorState(Status.ERROR, detail=Message("as_said", text=str(self.error)))
            raise self.error
        super().load()


async def test_hits_are_served_while_the_model_loads(studio):
    """During the first load a miss is refused at once, unless the request waits; hits are served."""
    first = studio()
    await first.service.render(asked(1))
    first.close()
    generator = Loading()
    made = studio(generator=generator, preload=True)
    assert await sources(made.service, asked(1)) == [Source.DISK]
    with pytest.raises(GeneratorLoading, match="loading weights"):
        await made.service.render(asked(2))
    with pytest.raises(GeneratorLoading):
        await made.service.render(asked(1), n=2)
    assert made.service.queue_depth == 0
    job = await made.service.ask(asked(2), patient=True)
    now = job.progress()
    assert (now.phase, now.detail, now.eta_seconds) == ("loading", Message("loading_weights"), None)
    generator.ready.set()
    assert [o.source for o in await job.outcomes()] == [Source.GENERATED]
    assert await sources(made.service, asked(3)) == [Source.GENERATED]


async def test_a_failed_load_leaves_a_server_that_serves_hits(studio, caplog):
    """After a failed load hits are served, a miss raises its error, and after a repair the next request loads again."""
    first = studio()
    await first.service.render(asked(1))
    first.close()
    generator = Loading(ModelCorrupt("as_said", text="transformer/x.safetensors is truncated; run zimage model verify"))
    generator.ready.set()
    with caplog.at_level(logging.WARNING):
        made = studio(generator=generator, preload=True)
        await until(lambda: generator.state.status is Status.ERROR)
    assert await sources(made.service, asked(1)) == [Source.DISK]
    with pytest.raises(ModelCorrupt, match="truncated"):
        await made.service.render(asked(2))
    generator.error = None
    assert await sources(made.service, asked(3)) == [Source.GENERATED]


async def test_a_foreign_exception_while_loading_spares_the_worker(studio, caplog):
    """Whatever the load raises, the worker lives on and the next ask tries again."""
    generator = Loading(RuntimeError("driver gone"))
    generator.ready.set()
    with caplog.at_level(logging.ERROR):
        made = studio(generator=generator, preload=True)
        await until(lambda: "driver gone" in caplog.text)
    generator.error = None
    job = await made.service.ask(asked(3), patient=True)
    assert [outcome.source for outcome in await job.outcomes()] == [Source.GENERATED]


class Nameless(FakeGenerator):
    """A generator whose model is not on this disk yet."""

    there = False
    asks = 0

    def identity(self):
        self.asks += 1
        if not self.there:
            raise ModelMissing("as_said", text="turbo is not on this disk; fetch it with zimage model download")
        return super().identity()


async def test_a_model_that_is_not_there_has_no_identity(studio):
    """Nothing can be looked up or drawn without one; once it is there, it is asked for once and for all."""
    made = studio(generator=Nameless())
    for door in (made.service.render, made.service.lookup, partial(made.service.ask, patient=True)):
        with pytest.raises(ModelMissing, match="zimage model download"):
            await door(asked())
    made.generator.there = True
    asks = made.generator.asks
    assert await sources(made.service, asked(), asked()) == [Source.GENERATED, Source.MEMORY]
    assert made.generator.asks == asks + 1


async def test_a_model_that_is_on_its_way_is_loading(studio):
    """During a download: `loading` for requests that do not wait; the others wait and get their picture."""
    made = studio(generator=Nameless(state=GeneratorState(Status.LOADING, phase=Message("fetching"))))
    with pytest.raises(GeneratorLoading, match="fetching"):
        await made.service.render(asked())
    patient = asyncio.ensure_future(made.service.ask(asked(), patient=True))
    await until(lambda: made.generator.asks >= 2)
    made.generator.there = True
    assert [o.source for o in await (await patient).outcomes()] == [Source.GENERATED]


async def test_a_slow_identity_is_loading(studio, monkeypatch):
    """Hashing the files may take minutes: the hasty are told so, and served as soon as it is done."""
    monkeypatch.setattr(model_module, "IDENTITY_SECONDS", 0.01)
    hashed = threading.Event()

    class Hashing(FakeGenerator):
        def identity(self):
            assert hashed.wait(60)
            return super().identity()

    made = studio(generator=Hashing())
    with pytest.raises(GeneratorLoading):
        await made.service.lookup(asked())
    hashed.set()
    monkeypatch.undo()
    assert await sources(made.service, asked()) == [Source.GENERATED]


# The end


async def test_closing_stores_what_is_drawn_and_cancels_the_rest(studio, gate):
    """One is being written, one drawn, one queued: the first is stored, the requests of the others get an error."""
    door = gate(only={2})
    made = studio(door)
    released = hold_puts(made)
    (drawn,) = await made.service.render(asked(1))
    drawing = asyncio.ensure_future(made.service.render(asked(2)))
    await door.arrival()
    queued = asyncio.ensure_future(made.service.render(asked(3)))
    await until(lambda: made.service.queue_depth == 2)
    closing = asyncio.ensure_future(asyncio.to_thread(made.service.close))
    for asking in (drawing, queued):
        with pytest.raises(Cancelled, match="stopping"):
            await asking
    with pytest.raises(Cancelled, match="stopping"):
        await made.service.render(asked(4))
    door.open()
    released.set()
    await closing
    assert made.stored == {drawn.name}
    assert drawn_seeds(made) == [1, 2]


async def test_nothing_is_left_behind(studio, gate, caplog):
    """After hits, misses, failures, timeouts and cancellations: no thread, no task, no unseen exception stays."""
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    door = gate(only={5})
    made = studio(door)

    def before_step(recipe, evaluation):
        if recipe.seed == 4:
            raise OutOfMemory("as_said", text="no")
        door(recipe, evaluation)

    made.generator.before_step = before_step
    await sources(made.service, asked(1), asked(1))
    await asyncio.gather(*(made.service.render(asked(3), n=2) for _ in range(3)), return_exceptions=True)
    stuck = [asyncio.ensure_future(made.service.render(asked(5))) for _ in range(3)]
    await door.arrival()
    for asking in stuck:
        asking.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    with pytest.raises(TimeoutError):
        await (await made.service.ask(asked(6))).outcomes(0.001)
    door.open()
    await asyncio.to_thread(made.close)
    gc.collect()
    await asyncio.sleep(0)
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert {name for name in left if not name.startswith("asyncio")} == set()
    assert asyncio.all_tasks() == tasks
    assert [record for record in caplog.records if record.name in {"asyncio", "concurrent.futures"}] == []


async def test_prompts_are_not_logged(studio, caplog):
    """One line a picture with key, source and milliseconds; what people write stays theirs."""
    made = studio()
    with caplog.at_level(logging.INFO):
        await sources(made.service, asked(prompt="my secret dream"), asked(prompt="my secret dream"))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("zimage_cache")]
    assert [line.split()[2] for line in lines if line.startswith("picture ")] == ["source=generated", "source=memory"]
    assert "secret" not in caplog.text
