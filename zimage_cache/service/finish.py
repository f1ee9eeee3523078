"""From pixels to a stored picture, beside the GPU: encode, hand out, store, copy. Runs in encoder threads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from zimage_cache.cache.cache import AnyCache
from zimage_cache.entry import Entry
from zimage_cache.fingerprint import GeneratorIdentity, fingerprint
from zimage_cache.generator.protocol import Drawing
from zimage_cache.history import History
from zimage_cache.metadata import a1111, png
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.forecast import Forecast
from zimage_cache.service.lookup import Shelf
from zimage_cache.service.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Finisher:
    """Finishes drawn runs.

    Args:
        flights: Where the waiting requests are.
        shelf: Has each picture until it is stored.
        forecast: Learns from each how long they take.
        statistics: Counts each.
        cache: Where pictures are stored.
        history: Gets a copy of each.
        versions: Names and versions of the software, for the record.
    """

    flights: Flights
    shelf: Shelf
    forecast: Forecast
    statistics: Statistics
    cache: AnyCache
    history: History
    versions: Mapping[str, str]

    def finish(self, run: Run, drawing: Drawing) -> None:
        """Encode, resolve the waiters, then store and copy what at least one request wants kept."""
        self.statistics.drawn(drawing.gpu_seconds)
        self.forecast.learn(run.plan.model, run.plan.identity, run.plan.recipe, drawing.gpu_seconds)
        entry = self._entry(run, drawing)
        key = entry.record.key
        # The answer names the key before the put below returns; until then, or while it fails, the shelf has it.
        if run.keep:
            self.shelf.put(key, entry)
        if not self.flights.resolve(run, entry):
            return
        self.shelf.put(key, entry)  # again: a job that wants it kept may have joined just now
        if self.cache.put(entry):
            self.shelf.drop(key, entry)
        self.history.add(entry, run.owners[0])
        self.flights.stored(run)

    def _entry(self, run: Run, drawing: Drawing) -> Entry:
        return Entry.of(
            png.encode(drawing.pixels, self._text(run, drawing.identity)),
            recipe=run.plan.recipe,
            identity=drawing.identity,
            created=datetime.now(UTC),
            gpu_seconds=drawing.gpu_seconds,
            request=run.plan.request,
            versions={**self.versions, **drawing.versions},
            warnings=drawing.warnings,
            salt=run.plan.salt,
        )

    def _text(self, run: Run, identity: GeneratorIdentity) -> dict[str, str]:
        """Describe a picture inside its own file: for other tools, and whole for this one."""
        recipe = run.plan.recipe
        described = {
            "request": run.plan.request,
            "seed": recipe.seed,
            "generator": asdict(identity),
            "key": fingerprint(recipe, identity, run.plan.salt),
        }
        version = self.versions.get("zimage", "")
        return {
            png.A1111: a1111.parameters_text(asdict(recipe), model=identity.model, version=version),
            png.ZIMAGE: json.dumps(described, ensure_ascii=False, sort_keys=True),
        }
