"""The memory of prompts read: exact, least recently used first out, bounded by bytes and by number."""

import pytest
import torch

from tests.factories import present
from zimage_cache.generator.embeddings import Embeddings, TextKey

KEY = TextKey("bfloat16", 512, "a red circle")


def embeddings_of(number, tokens=10):
    return torch.full((tokens, 64), number, dtype=torch.bfloat16)  # 1280 bytes for 10 tokens


def key(text):
    return KEY._replace(text=str(text))


def test_what_was_put_comes_back_bit_by_bit():
    """In main memory, and a copy: whatever becomes of the encoder's own tensor."""
    kept = Embeddings()
    original = torch.randn(5, 64, dtype=torch.bfloat16)
    expected = original.clone()
    kept.put(KEY, original)
    original.zero_()
    found = present(kept.get(KEY))
    assert found.device.type == "cpu"
    assert torch.equal(found, expected)


@pytest.mark.parametrize("change", [{"weights": "float32"}, {"max_sequence_length": 64}, {"text": "a red circle "}])
def test_everything_that_matters_is_in_the_key(change):
    """Another number format, cut or text is another entry."""
    kept = Embeddings()
    kept.put(KEY, embeddings_of(1))
    assert kept.get(KEY._replace(**change)) is None


def test_bytes_are_the_bound_and_the_least_used_goes_first():
    """Three fit; the least recently used one is dropped; the count of bytes is exact."""
    kept = Embeddings(max_bytes=3 * 1280)
    for number in range(3):
        kept.put(key(number), embeddings_of(number))
    kept.get(key(0))
    kept.put(key(3), embeddings_of(3))
    assert [kept.get(key(number)) is not None for number in range(4)] == [True, False, True, True]
    assert (kept.bytes, len(kept)) == (3 * 1280, 3)


def test_number_is_a_bound_too():
    """Texts of a small model take few bytes each: their number is bounded, so that memory stops growing soon."""
    kept = Embeddings(max_texts=3)
    for number in range(10):
        kept.put(key(number), embeddings_of(number))
    assert [number for number in range(10) if kept.get(key(number)) is not None] == [7, 8, 9]
    assert (kept.bytes, len(kept)) == (3 * 1280, 3)


def test_a_view_does_not_keep_its_whole_behind_it():
    """The encoder answers with a view into its padded output: only the part that counts stays in memory."""
    kept = Embeddings()
    kept.put(KEY, embeddings_of(1, tokens=512)[:10])
    assert present(kept.get(KEY)).untyped_storage().nbytes() == kept.bytes == 1280


def test_what_is_larger_than_everything_is_not_kept():
    """Nor does it push the others out."""
    kept = Embeddings(max_bytes=2000)
    kept.put(key(1), embeddings_of(1))
    kept.put(key(2), embeddings_of(2, tokens=100))
    assert kept.get(key(2)) is None
    assert kept.get(key(1)) is not None


def test_putting_twice_counts_once():
    """Two pictures of one prompt."""
    kept = Embeddings()
    kept.put(KEY, embeddings_of(1))
    kept.put(KEY, embeddings_of(1))
    assert (kept.bytes, len(kept)) == (1280, 1)
