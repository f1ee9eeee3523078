"""Rendered pictures as latents of the VAE, on the training device, with their captions."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from scene import SIZES
from torch import Tensor

LENGTHS = (32, 64)  # captions are padded to one of these, as the transformer does
AT_ONCE = 64 * 128 * 128 * 8  # pixels encoded at once


def encode(folder: Path, vae: AutoencoderKL, device: torch.device) -> None:
    """Write the latents of every shard beside it, unless they are there already."""
    todo = [path for path in sorted(folder.glob("*.npz")) if not path.with_suffix(".npy").exists()]
    with ThreadPoolExecutor(4) as pool:
        for path, pixels in zip(todo, _ahead(pool, todo), strict=True):
            latents = torch.cat([_latents(vae, part, device) for part in _parts(pixels)])
            part = path.with_suffix(".latents")
            with part.open("wb") as file:
                np.save(file, latents.cpu().numpy())
            part.replace(path.with_suffix(".npy"))


def _ahead(pool: ThreadPoolExecutor, paths: list[Path]) -> Iterator[NDArray[np.uint8]]:
    """Read files in the background, a few ahead of the one in use."""
    waiting = [pool.submit(_pixels, path) for path in paths[:8]]
    for path in [*paths[8:], *[None] * len(waiting)]:
        yield waiting.pop(0).result()
        if path:
            waiting.append(pool.submit(_pixels, path))


def _pixels(path: Path) -> NDArray[np.uint8]:
    with np.load(path) as shard:
        pixels: NDArray[np.uint8] = shard["pixels"]
    return pixels


def _parts(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    count = max(1, AT_ONCE // (pixels.shape[1] * pixels.shape[2]))
    return [pixels[i : i + count] for i in range(0, len(pixels), count)]


@torch.no_grad()
def _latents(vae: AutoencoderKL, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Encode pictures to the means of their latents, neither shifted nor scaled."""
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.autocast(device.type, dtype=torch.bfloat16):
        return vae.encoder(x)[:, :16].to(torch.float16)


@dataclass
class Bucket:
    """Pictures of one size with captions of one padded length."""

    size: tuple[int, int]
    length: int
    share: float
    latents: Tensor
    tokens: Tensor
    lengths: Tensor
    pairs: Tensor  # which picture, which of its captions

    def sample(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw latents, tokens and their mask at random."""
        chosen = self.pairs[torch.randint(len(self.pairs), (count,), device=self.pairs.device)].long()
        picture, which = chosen.unbind(1)
        mask = torch.arange(self.length, device=chosen.device) < self.lengths[picture, which].long()[:, None]
        return self.latents[picture].float(), self.tokens[picture, which, : self.length].long(), mask


def load(folder: Path, device: torch.device) -> list[Bucket]:
    """Put all encoded shards on the device, sorted into buckets."""
    shards: dict[tuple[int, int], list[tuple[NDArray[np.generic], ...]]] = {}
    with ThreadPoolExecutor(8) as pool:
        for latents, tokens, lengths in pool.map(_shard, sorted(folder.glob("*.npy"))):
            size = (latents.shape[3] * 8, latents.shape[2] * 8)
            shards.setdefault(size, []).append((latents, tokens, lengths))
    buckets = []
    for size, parts in shards.items():
        arrays = (np.concatenate(column) for column in zip(*parts, strict=True))
        latents, tokens, lengths = (torch.from_numpy(array).to(device) for array in arrays)
        tokens = tokens.to(torch.int16)
        for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
            pairs = ((lengths > low) & (lengths <= high)).nonzero().to(torch.int32)
            share = SIZES.get(size, 0) * len(pairs) / max(1, int((lengths > 0).sum()))
            if len(pairs):
                buckets.append(Bucket(size, high, share, latents, tokens, lengths, pairs))
    return buckets


def _shard(path: Path) -> tuple[NDArray[np.generic], ...]:
    with np.load(path.with_suffix(".npz")) as shard:
        return np.load(path), shard["tokens"].astype(np.int16), shard["lengths"]


def moments(buckets: list[Bucket]) -> tuple[float, float]:
    """Return the mean and the standard deviation of all latents."""
    every = torch.cat([bucket.latents[:2000].float().flatten() for bucket in buckets])
    return float(every.mean()), float(every.std())


def pick(buckets: list[Bucket], batches: list[int], rng: random.Random) -> int:
    """Choose a bucket so that each gets its share of the samples, whatever its batch size."""
    return rng.choices(range(len(buckets)), [b.share / n for b, n in zip(buckets, batches, strict=True)])[0]
