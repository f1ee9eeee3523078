"""Who draws: each model's identity, found out once."""

import asyncio

from zimage_cache.errors import GeneratorLoading, ModelCorrupt, ModelMissing
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Status
from zimage_cache.service.pool import Pool
from zimage_cache.service.worker import Worker

IDENTITY_SECONDS = 10.0


class Identities:
    """The identities of models, by their names.

    Threads: the event loop's only. Files are hashed in a thread of our own.
    """

    def __init__(self) -> None:
        self._known: dict[str, GeneratorIdentity] = {}
        self._thread = Pool(1, "identity")

    def close(self) -> None:
        """Stop. Naming a model reads all of it: whoever made the generators tells them to stop."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def known(self, model: str) -> GeneratorIdentity | None:
        """Return who draws *model*, if that was found out already."""
        return self._known.get(model)

    async def of(self, worker: Worker, *, patient: bool) -> GeneratorIdentity:
        """Find out who draws. The first time may take a while (the files are hashed); then it is known for good.

        Raises:
            GeneratorLoading: It takes longer than the impatient wait, or the model is just being fetched.
            ModelMissing, ModelCorrupt: There is nothing to hash, and nothing on its way.
        """
        name = worker.generator.profile.name
        while name not in self._known:
            asking = asyncio.get_running_loop().run_in_executor(self._thread, worker.generator.identity)
            try:
                limit = None if patient else IDENTITY_SECONDS
                self._known[name] = await asyncio.wait_for(asyncio.shield(asking), limit)
            except TimeoutError:
                raise loading(worker) from None
            except (ModelMissing, ModelCorrupt):  # half here, while it is being fetched
                # Before its worker says "loading", a preload has that in mind already.
                if worker.state.status is not Status.LOADING and not worker.preloading:
                    raise
                if not patient:
                    raise loading(worker) from None
                await asyncio.sleep(1)
        return self._known[name]


def loading(worker: Worker) -> GeneratorLoading:
    """Say to the impatient what the model is busy with."""
    phase = worker.state.phase or "starting"
    return GeneratorLoading(f"{worker.generator.profile.title} is loading ({phase}); try again in a few seconds")
