"""From pixels to a stored picture, beside the GPU: encode, hand out, store, copy. Runs in encoder threads."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from zimage_cache.cache.cache import AnyCache
from zimage_cache.entry import Entry
from zimage_cache.fingerprint import GeneratorIdentity, fingerprint
from zimage_cache.generator.protocol import Drawing
from zimage_cache.history import History
from zimage_cache.metadata import png
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.pace import Pace
from zimage_cache.service.shelf import Shelf


class Finisher:
    """Finishes drawn runs.

    Args:
        cache: Where pictures are stored.
        versions: Names and versions of the software, for the record.
    """

    def __init__(
        self,
        *,
        flights: Flights,
        shelf: Shelf,
        pace: Pace,
        cache: AnyCache,
        history: History,
        versions: Mapping[str, str],
    ) -> None:
        self._flights = flights
        self._shelf = shelf
        self._pace = pace
        self._cache = cache
        self._history = history
        self._versions = dict(versions)

    def finish(self, run: Run, drawing: Drawing) -> None:
        """Encode, resolve the waiters, then store and copy what at least one request wants kept."""
        self._pace.learn(run.plan.model, run.plan.identity, run.plan.recipe, drawing.gpu_seconds)
        entry = self._entry(run, drawing)
        key = entry.record.key
        # The answer names the key before the put below returns; until then, or while it fails, the shelf has it.
        if run.keep:
            self._shelf.put(key, entry)
        if not self._flights.resolve(run, entry):
            return
        self._shelf.put(key, entry)  # again: who wants it kept may have joined just now
        if self._cache.put(entry):
            self._shelf.drop(key, entry)
        self._history.add(entry)
        self._flights.stored(run)

    def _entry(self, run: Run, drawing: Drawing) -> Entry:
        return Entry.of(
            png.encode(drawing.pixels, self._text(run, drawing.identity)),
            recipe=run.plan.recipe,
            identity=drawing.identity,
            created=datetime.now(UTC),
            gpu_seconds=drawing.gpu_seconds,
            request=run.plan.request,
            versions=self._versions,
            warnings=drawing.warnings,
        )

    def _text(self, run: Run, identity: GeneratorIdentity) -> dict[str, str]:
        """Describe a picture inside its own file: for other tools, and whole for this one."""
        recipe = run.plan.recipe
        described = {
            "request": run.plan.request,
            "seed": recipe.seed,
            "generator": asdict(identity),
            "key": fingerprint(recipe, identity),
        }
        version = self._versions.get("zimage", "")
        return {
            png.A1111: png.parameters_text(asdict(recipe), model=identity.model, version=version),
            png.ZIMAGE: json.dumps(described, ensure_ascii=False, sort_keys=True),
        }
