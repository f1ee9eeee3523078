"""The one way to a picture: resolve, fingerprint, look up, and only for a miss, once for all requests, draw."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from zimage_cache.cache.cache import AnyCache
from zimage_cache.entry import Entry
from zimage_cache.errors import Cancelled, InvalidRequest, NotCached, TimedOut
from zimage_cache.faults import Faults
from zimage_cache.fingerprint import GeneratorIdentity, fingerprint
from zimage_cache.generator.protocol import GeneratorState, ImageGenerator
from zimage_cache.history import History
from zimage_cache.i18n.messages import Message
from zimage_cache.pool import Pool
from zimage_cache.request import CacheMode, ImageRequest, ModelProfile, Recipe
from zimage_cache.request_id import current_request_id
from zimage_cache.service.encodings import Encodings
from zimage_cache.service.finish import Finisher
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.forecast import Forecast
from zimage_cache.service.job import Job, Outcome, Part
from zimage_cache.service.launch import DrawingRights, Launcher
from zimage_cache.service.lookup import Finder, Known
from zimage_cache.service.model import Model
from zimage_cache.service.prompts import Prompts
from zimage_cache.service.resolve import RANDOM_SEED, Plan, Resolved, make_random_seed, resolve
from zimage_cache.service.retries import Retries, pinned_seed
from zimage_cache.service.statistics import Lifetime, Statistics

_ENCODERS = 2
_STOP_SECONDS = 20.0
_LOAD_SECONDS = 1.0


class Sender(TypedDict, total=False):
    """Who sends a request; `ImageService.ask` says what each of them is."""

    user: str
    account: str
    batch: bool


class AskOptions(Sender, total=False):
    """How a request is answered, beside what it asks for; `ImageService.ask` says what each of them is."""

    n: int
    cache: CacheMode
    model: str | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is stored of a request, and the GPU-seconds the rest would take (None: none of its kind drawn yet)."""

    pictures: list[Known]
    eta_seconds: float | None


class ImageService:
    """Answers requests for pictures, from the cache or the generators.

    Args:
        generators: By the name requests call them; the first is the default.
        cache: Where results are stored. `NoCache`: nowhere, and `output_image/` is still written.
        history: Gets a copy of every picture; public, for the routes that list it.
        queue_size: Runs that may wait for or hold a generator; 0 = no limit. One user gets a part of them only.
        request_timeout: Seconds `render` waits; 0 = no limit.
        versions: Names and versions of the software, for the records.
        preload: Load the default model at `start`.
        peers: The same models on further devices, by the same names.
        database: Where the lifetime statistics, and how long pictures take, are kept; None = nowhere.
        wildcards: The folder of the files that `prompts` takes wildcards from; None = there are none.
        faults: Where trouble stands while it lasts; the cache and the history have the same.
        salt: Returns the salt that keeps an account's pictures apart from those of others; None = all share them.

    Threads: coroutines run on one event loop. Disk reads go to reader threads, drawing to one worker a
    generator, encoding and writing to encoder threads; nothing in the loop ever waits for them.
    """

    def __init__(
        self,
        generators: Mapping[str, ImageGenerator],
        cache: AnyCache,
        history: History,
        *,
        queue_size: int = 32,
        request_timeout: float = 300.0,
        versions: Mapping[str, str] | None = None,
        preload: bool = False,
        peers: Mapping[str, Sequence[ImageGenerator]] | None = None,
        database: Path | None = None,
        wildcards: Path | None = None,
        faults: Faults | None = None,
        salt: Callable[[str], str] | None = None,
    ) -> None:
        self.default_model = next(iter(generators))
        self.history, self.cache, self.faults = history, cache, faults or Faults()
        self.prompts = Prompts(wildcards, self._model)
        self._timeout = request_timeout or None
        self._salt = salt or (lambda _account: "")
        self._forecast = Forecast({name: each.state.device or "" for name, each in generators.items()}, database)
        lifetime = None if database is None else Lifetime(database)
        self.statistics = Statistics(lifetime, cache.counts, beside=self._forecast.flush, faults=self.faults)
        self._finder = Finder(cache)
        self.encodings = Encodings()
        self._retries = Retries()
        self._rights = DrawingRights(cache.generation)
        self._flights = Flights(queue_size, self._rights.over)
        self._launcher = Launcher(self._flights, self._rights, self._finder)
        self._encoders = Pool(_ENCODERS, "encoder")
        finisher = Finisher(
            self._flights, self._finder.shelf, self._forecast, self.statistics, cache, history, versions or {}
        )
        drawing = self._flights, self._encoders, finisher.finish
        self._models: dict[str, Model] = {}
        for name, generator in generators.items():
            loads = preload and name == self.default_model
            self._models[name] = Model(generator, *drawing, preload=loads, peers=(peers or {}).get(name, ()))

    def start(self) -> None:
        """Start the models' threads; the default model begins to load."""
        if not self.cache.enabled:
            self.faults.begin("cache_off", Message("cache_off"))
        self._forecast.recall()
        for model in self._models.values():
            model.start()
        self._rights.start()
        self.statistics.start()
        self.faults.start()

    def close(self) -> None:
        """Cancel what is not drawn yet, and store what is."""
        self._flights.close(Cancelled("stopping"))
        for model in self._models.values():
            # A picture may still finish; a load that has not by now is not worth waiting for.
            model.stop(_STOP_SECONDS if model.drawing else _LOAD_SECONDS)
        self._launcher.close()
        self._encoders.shutdown()
        for model in self._models.values():
            model.close()
        self._finder.close()
        self.encodings.close()
        self.prompts.close()
        self._rights.close()
        self.faults.close()
        self.statistics.close()

    @property
    def models(self) -> list[str]:
        """The names requests may use, the default first."""
        return list(self._models)

    @property
    def caching(self) -> bool:
        """Whether results are looked up and stored at all."""
        return self.cache.enabled

    @property
    def queue_depth(self) -> int:
        """Pictures that wait for or hold a generator."""
        return self._flights.pending

    @property
    def queued(self) -> int:
        """Pictures in the models' queues: ready to be drawn, and not taken up yet."""
        return sum(len(model.queue) for model in self._models.values())

    @property
    def runs(self) -> list[Run]:
        """The runs under way at this moment, to look at: queued, being drawn, or being stored."""
        return list(self._flights.runs.values())

    def idle(self, seconds: float | None = None) -> bool:
        """Wait until nothing is under way: what was drawn is stored, the rest given up. Blocks; not for an event loop.

        Returns:
            Whether that came within *seconds*; None = as long as it takes.
        """
        return self._flights.idle(seconds)

    def stored_by(self, seconds: float) -> bool:
        """Wait until every picture that has been answered by now is stored. Blocks, like `idle`.

        Returns:
            Whether that came within *seconds*.
        """
        return self._flights.stored_by(seconds)

    def profile(self, model: str | None = None) -> ModelProfile:
        """Return what *model* (None = the default) is asked for by default and can do."""
        return self._model(model).profile

    def identity(self, model: str | None = None) -> GeneratorIdentity | None:
        """Return what names the pictures of *model* (None = the default); None until its files have been hashed."""
        return self._model(model).known_identity

    def state(self, model: str | None = None) -> GeneratorState:
        """Return the state of *model* (None = the default), that of the best of its devices."""
        return self._model(model).state

    def devices(self, model: str | None = None) -> list[GeneratorState]:
        """Return the state of *model* (None = the default) on each of its devices, the first one first."""
        return self._model(model).states

    def room(self, user: str) -> int | None:
        """Return how many pictures *user* may add to the queue now; None = without limit."""
        return self._flights.room(user)

    def ready(self, model: str | None = None, *, user: str = "") -> bool:
        """Tell whether a miss of *user* would be accepted now: asleep and waking up count, for a request waits."""
        return self.room(user) != 0 and self._model(model).accepts

    def load(self, model: str) -> None:
        """Begin to bring *model* into memory, fetching it if need be; its state tells how it goes.

        Called on the event loop; a load under way is not begun twice.
        """
        self._model(model).begin_load()

    async def unload(self, model: str) -> None:
        """Free the memory of *model*, waiting for the picture it draws; the next request wakes it."""
        await self._model(model).unload()

    async def render(self, request: ImageRequest, **options: Unpack[AskOptions]) -> list[Outcome]:
        """Answer a request, waiting for it.

        Raises:
            ZImageError: Whatever `ask` raises, or a run failed, or `TimedOut`.
        """
        return await self.wait(await self.ask(request, **options))

    async def wait(self, job: Job) -> list[Outcome]:
        """Wait for a job as long as a request may.

        Raises:
            ZImageError: A run failed, or `TimedOut`.
        """
        try:
            return await job.outcomes(self._timeout)
        except TimeoutError:
            raise TimedOut("waited", seconds=self._timeout) from None

    async def ask(
        self,
        request: ImageRequest,
        *,
        n: int = 1,
        cache: CacheMode = CacheMode.USE,
        model: str | None = None,
        user: str = "",
        account: str = "",
        batch: bool = False,
        idempotency_key: str | None = None,
        patient: bool = False,
    ) -> Job:
        """Look everything up, queue what is missing, and return a ticket at once.

        Args:
            request: The picture.
            n: How many, with seeds counting up from the request's.
            cache: How to use the cache.
            model: Which generator; None = the default.
            user: Whose turn it is in the queue.
            account: Whose idempotency key it is, and whose new and unstored pictures; callers without one are all the
                same.
            batch: Whether it is drawn after the requests that people wait for.
            idempotency_key: Fixes the random seed, so that a retry is the same picture.
            patient: Wait in the queue during the first load instead of being refused.

        Raises:
            InvalidRequest: The request breaks a rule, or its idempotency key was used for another one.
            NotCached: `cache` is `only` and not all of it is stored.
            GeneratorLoading, ModelMissing, ModelCorrupt, QueueFull: Nothing can be drawn now.
        """
        started = time.monotonic()
        drawer = self._model(model)
        bypassed = cache is CacheMode.BYPASS or not self.caching
        random = request.seed == RANDOM_SEED and idempotency_key is None
        seed = make_random_seed() if idempotency_key is None else pinned_seed(account, idempotency_key)
        pictures = resolve(request, drawer.profile, n=n, random_seed=seed)
        if idempotency_key is not None:
            asked = f"{request.model_dump_json()} n={n} cache={cache} model={drawer.name}"
            self._retries.require_same(account, idempotency_key, asked)
        identity = await drawer.identity(patient=patient)
        fresh = random or bypassed or cache == CacheMode.REFRESH
        keep = cache is not CacheMode.BYPASS
        common = partial(_plan, model=drawer, identity=identity, fresh=fresh, keep=keep, batch=batch)
        plan = partial(common, user=user, owner=account, salt=self._salt(account))
        plans = list(map(plan, pictures))
        parts = await self._parts(plans, drawer, cache, patient=patient)
        return Job(
            parts,
            model=drawer,
            forecast=self._forecast,
            statistics=self.statistics,
            lay=partial(self._finder.shelf.lay, account=account) if bypassed else None,
            started=started,
        )

    async def lookup(self, request: ImageRequest, *, n: int = 1, model: str | None = None, account: str = "") -> Lookup:
        """Tell what is stored of a request and what the rest would cost; nothing is counted or touched."""
        drawer = self._model(model)
        pictures = resolve(request, drawer.profile, n=n)
        if request.seed == RANDOM_SEED:
            known = [Known(None, None) for _ in pictures]
        else:
            identity = await drawer.identity(patient=False)
            keys = partial(_keys, model=drawer, identity=identity, salt=self._salt(account))
            known = await self._finder.known([keys(picture.recipe) for picture in pictures])
        missing = [p.recipe for p, k in zip(pictures, known, strict=True) if k.entry is None]
        return Lookup(known, self._forecast.cost(drawer, missing))

    async def picture(self, name: str, account: str = "") -> Entry | None:
        """Return the entry called *name* (a key, or the token of an unstored picture), if *account* may see it."""
        return await self._finder.entry(name, account)

    def delete(self, key: str) -> bool:
        """Remove the picture of *key*, stored or waiting to be stored, pinned or not; blocks for the disk.

        Returns:
            Whether there was one.

        Raises:
            CacheUnavailable: The disk refuses.
        """
        waiting = self._finder.shelf.get(key)
        if waiting is not None:
            self._finder.shelf.drop(key, waiting)
        return self.cache.delete(key) or waiting is not None

    def pin(self, key: str) -> bool:
        """Keep the picture of *key*, stored or waiting to be stored, until it is deleted; blocks for the disk.

        Returns:
            Whether there is one.

        Raises:
            CacheUnavailable: The disk refuses.
        """
        return self.cache.pin(key, self._finder.shelf.get(key))

    async def thumbnail(self, name: str, account: str = "") -> bytes | None:
        """Return a small WebP of the picture called *name* (see `picture`)."""
        return await self._finder.thumbnail(name, account)

    def _model(self, model: str | None) -> Model:
        try:
            return self._models[self.default_model if model is None else model]
        except KeyError:
            raise InvalidRequest("unknown_model", field="model", got=model, offered=tuple(self._models)) from None

    async def _parts(self, plans: Sequence[Plan], model: Model, cache: CacheMode, *, patient: bool) -> list[Part]:
        hits = await self._finder.get([plan for plan in plans if not plan.fresh])
        missing = [plan for plan in plans if plan.key not in hits]
        if not missing:
            return [hits[plan.key] for plan in plans]
        if cache is CacheMode.ONLY:
            raise NotCached("not_cached", missing=len(missing), all=len(plans))
        if model.preloading and not patient:
            raise model.loading()
        seats = dict(zip((plan.key for plan in missing), self._launcher.seats(missing, model), strict=True))
        return [hits.get(plan.key) or seats[plan.key] for plan in plans]


def _plan(
    picture: Resolved,
    *,
    model: Model,
    identity: GeneratorIdentity,
    user: str,
    owner: str,
    salt: str,
    fresh: bool,
    keep: bool,
    batch: bool,
) -> Plan:
    key, *others = _keys(picture.recipe, model, identity, salt)
    return Plan(
        key=key,
        model=model.name,
        recipe=picture.recipe,
        identity=identity,
        request=picture.request,
        user=user,
        owner=owner,
        fresh=fresh,
        keep=keep,
        batch=batch,
        salt=salt,
        request_id=current_request_id(),
        others=tuple(others),
    )


def _keys(recipe: Recipe, model: Model, identity: GeneratorIdentity, salt: str) -> tuple[str, ...]:
    """Name the keys under which this process may have stored *recipe*'s picture, *identity*'s, the usual one, first."""
    others = (other for other in model.identities(recipe) if other != identity)
    return tuple(fingerprint(recipe, each, salt) for each in (identity, *others))
