"""A folder with very many entries: serving does not wait until they are counted."""

import hashlib
import json
import time
from pathlib import Path

import pytest

from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.index import NAME
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.memory import MemoryTier

pytestmark = [pytest.mark.stress, pytest.mark.timeout(900)]
PNG = b"not a picture, but its digest is right"


def _fill(root: Path, template, count: int) -> list[str]:
    """Write so many entries by hand; thousands a second, where a commit syncs four times."""
    layout = Layout(root)
    for folder in layout.folders:
        folder.mkdir(parents=True)
    record = json.loads(template.record.to_json())
    record |= {"bytes": len(PNG), "digest": hashlib.sha256(PNG).hexdigest()}
    document = json.loads(record["canonical"])
    keys = []
    for seed in range(count):
        document["params"]["seed"] = record["request"]["seed"] = seed
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        key = hashlib.sha256(text.encode()).hexdigest()
        layout.record(key).write_text(json.dumps(record | {"key": key, "canonical": text}))
        layout.image(key).write_bytes(PNG)
        keys.append(key)
    return keys


@pytest.mark.parametrize("index", ["lost", "kept"])
def test_hits_while_everything_is_counted(tmp_path, entry, rounds, bytes_below, index):
    """From the first moment on every entry is a hit, with and without an index, while the scan is still under way."""
    keys = _fill(tmp_path, entry(1), rounds(30_000))
    if index == "kept":
        first = DiskTier(tmp_path, max_bytes=0)
        first.scan()
        first.close()
        assert (tmp_path / NAME).exists()
    disk = DiskTier(tmp_path, max_bytes=10**12)
    cache = ResultCache(MemoryTier(0), disk)
    begin = time.perf_counter()
    cache.start()

    seconds: list[float] = []
    while not cache.learned or not seconds:
        started = time.perf_counter()
        assert cache.get(keys[len(seconds) * 7919 % len(keys)]) is not None
        seconds.append(time.perf_counter() - started)
        time.sleep(0.002)
    scan = time.perf_counter() - begin
    cache.close()

    assert (len(disk), disk.bytes) == (len(keys), bytes_below(tmp_path))
    print(  # noqa: T201 - the figures are evidence
        f"\n{len(keys)} entries, index {index}: scan {scan:.1f} s, meanwhile {len(seconds)} hits, "
        f"first {seconds[0] * 1000:.2f} ms, median {sorted(seconds)[len(seconds) // 2] * 1000:.2f} ms, "
        f"worst {max(seconds) * 1000:.1f} ms"
    )
    assert check(tmp_path) == []
