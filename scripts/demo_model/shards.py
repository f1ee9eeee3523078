"""Renders training pictures with all processors into files of 256 pictures of one size, each with several captions."""

import os
import random
import time
from dataclasses import dataclass, replace
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from captions import caption
from numpy.typing import NDArray
from picture import drawn
from scene import SIZES, Scene, any_scene
from tokens import Encoder

LONGEST = 64  # tokens of a caption; longer ones are dropped (length 0)
IN_SHARD = 256
CELL = 8  # pixels along the side of one latent
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class RenderOrder:
    """What to render, and into which folder."""

    folder: Path
    tokenizer: Path
    pictures: int
    deadline: float  # seconds since the epoch
    captions: int  # for each picture
    seed: int
    square: bool = False  # all pictures 128x128
    styled: float = 0.42  # share of the pictures that have another look


def render(order: RenderOrder, processes: int) -> int:
    """Draw the ordered number of pictures, or as many as fit before the deadline; return how many were drawn."""
    order.folder.mkdir(parents=True, exist_ok=True)
    tasks = [(order, number) for number in range(-(-order.pictures // IN_SHARD))]
    if processes == 1:
        return sum(map(_shard, tasks))
    with get_context("spawn").Pool(processes) as pool:
        return sum(pool.imap_unordered(_shard, tasks))


def _shard(task: tuple[RenderOrder, int]) -> int:
    """Draw one file of pictures; after the deadline, or where the file exists already, do nothing."""
    order, number = task
    path = order.folder / f"{number:06d}.npz"
    if time.time() > order.deadline or path.exists():
        return 0
    scenes, rng = scenes_of(order, number)
    drawings = [drawn(scene, rng, 2 if max(scene.size) > 192 else 3) for scene in scenes]  # noqa: PLR2004 - pixels
    tokens, lengths = _captions(scenes, rng, Encoder(order.tokenizer), order.captions)
    pixels = np.stack([np.asarray(picture) for picture, _ in drawings])
    things = np.stack([np.asarray(mask.reduce(CELL)) for _, mask in drawings])
    _write(path, {"pixels": pixels, "things": things, "tokens": tokens, "lengths": lengths})
    return len(scenes)


def scenes_of(order: RenderOrder, number: int) -> tuple[list[Scene], random.Random]:
    """Choose the scenes of one file; also returns the source of randomness for drawing and describing them."""
    rng = random.Random(f"{order.seed} {number}")
    size = (128, 128) if order.square else _size(number)
    return [any_scene(rng, size, order.styled) for _ in range(IN_SHARD)], rng


def combinations(order: RenderOrder) -> set[Scene]:
    """Return what an order combines: its scenes without their sizes and the sun, the moon, stars and clouds."""
    numbers = range(-(-order.pictures // IN_SHARD))
    return {combination(scene) for number in numbers for scene in scenes_of(order, number)[0]}


def combination(scene: Scene) -> Scene:
    """Return a scene without its size and what else is in its sky."""
    return replace(scene, size=(0, 0), extras=())


def _size(number: int) -> tuple[int, int]:
    """Return the size of the pictures of a file: each size gets its share of every few files in a row."""
    spread = number * GOLDEN % 1  # a sequence whose every stretch is spread evenly over 0..1
    return next(size for size, until in zip(SIZES, accumulate(SIZES.values()), strict=True) if spread < until)


def _captions(
    scenes: list[Scene], rng: random.Random, encoder: Encoder, each: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return several captions of each scene as tokens; a caption that is too long has length 0."""
    tokens = np.zeros((len(scenes), each, LONGEST), np.uint16)
    lengths = np.zeros((len(scenes), each), np.uint8)
    for i, scene in enumerate(scenes):
        for j, ids in enumerate(encoder([caption(scene, rng) for _ in range(each)])):
            if len(ids) <= LONGEST:
                tokens[i, j, : len(ids)], lengths[i, j] = ids, len(ids)
    return tokens, lengths


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """Write a file by an atomic rename."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)
