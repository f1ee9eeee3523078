"""Renders training pictures with all processors into files of 256 pictures of one size, each with several captions."""

import os
import random
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from captions import caption
from numpy.typing import NDArray
from picture import drawn
from scene import SIZES, any_scene
from tokens import Encoder

LONGEST = 64  # tokens of a caption; longer ones are dropped (length 0)
IN_SHARD = 256


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    folder: Path
    tokenizer: Path
    captions: int
    seed: int
    deadline: float


def render(
    folder: Path, tokenizer: Path, *, pictures: int, seconds: float, processes: int, captions: int, seed: int
) -> int:
    """Draw `pictures` pictures, or as many as there are seconds for; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(folder, tokenizer, captions, seed, time.time() + seconds)
    tasks = [(job, number) for number in range(-(-pictures // IN_SHARD))]
    done = 0
    with get_context("fork").Pool(processes) as pool:
        for drawn_now in pool.imap_unordered(_shard, tasks):
            done += drawn_now
            if drawn_now and done % (40 * IN_SHARD) == 0:
                print(f"rendered {done}, {job.deadline - time.time():.0f} s left", flush=True)
    return done


def _shard(task: tuple[Job, int]) -> int:
    """Draw one file of pictures; past the deadline, or where the file is there already, do nothing."""
    job, number = task
    path = job.folder / f"{number:06d}.npz"
    if time.time() > job.deadline or path.exists():
        return 0
    rng = random.Random(f"{job.seed} {number}")
    size = rng.choices(list(SIZES), list(SIZES.values()))[0]
    count = IN_SHARD if size[0] * size[1] <= 192 * 128 else IN_SHARD // 4
    encoder = Encoder(job.tokenizer)
    pixels = np.empty((count, size[1], size[0], 3), np.uint8)
    tokens = np.zeros((count, job.captions, LONGEST), np.uint16)
    lengths = np.zeros((count, job.captions), np.uint8)
    for i in range(count):
        scene = any_scene(rng, size)
        pixels[i] = drawn(scene, rng, 2 if max(size) > 192 else 3)  # noqa: PLR2004 - pixels
        for j, ids in enumerate(encoder([caption(scene, rng) for _ in range(job.captions)])):
            if len(ids) <= LONGEST:
                tokens[i, j, : len(ids)], lengths[i, j] = ids, len(ids)
    _write(path, pixels=pixels, tokens=tokens, lengths=lengths)
    return count


def _write(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write a file that is either complete or not there."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)
