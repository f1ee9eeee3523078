"""What people are told about the cache: entries without their pictures, and what a clean-up took. Plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One stored entry, as lists show it.

    Args:
        key: Its fingerprint.
        prompt: As asked.
        created: Seconds since 1970.
        bytes: Of record, picture and thumbnail together.
        gpu_seconds: What drawing it took.
        frequency: How often it was drawn or served, as far as is remembered.
        pinned: Whether it stays until somebody deletes it by name.
        seed: Of the picture.
        width: In pixels.
        height: In pixels.
        model: Which drew it.
    """

    key: str
    prompt: str
    created: float
    bytes: int
    gpu_seconds: float
    frequency: int
    pinned: bool
    seed: int
    width: int
    height: int
    model: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list, newest first; `cursor` asks for the next one, None on the last."""

    items: list[Listed]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a clean-up removed, or would: entries, and the bytes of all their files."""

    entries: int
    bytes: int
