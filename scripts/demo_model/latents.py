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
AT_ONCE = 32 * 128 * 128  # pixels encoded at once


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


@dataclass(frozen=True)
class Batch:
    """Latents, where in them the things are (0..1), and captions as tokens with a mask."""

    latents: Tensor
    things: Tensor
    tokens: Tensor
    mask: Tensor

    @property
    def captions(self) -> tuple[Tensor, Tensor]:
        """The tokens and their mask."""
        return self.tokens, self.mask


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size with captions of one padded length."""

    size: tuple[int, int]
    length: int
    share: float
    latents: Tensor
    things: Tensor
    tokens: Tensor
    lengths: Tensor
    pairs: Tensor  # which picture, which of its captions

    def sample(self, count: int) -> Batch:
        """Draw pictures with captions at random."""
        chosen = self.pairs[torch.randint(len(self.pairs), (count,), device=self.pairs.device)].long()
        picture, which = chosen.unbind(1)
        mask = torch.arange(self.length, device=chosen.device) < self.lengths[picture, which].long()[:, None]
        tokens = self.tokens[picture, which, : self.length].long()
        return Batch(self.latents[picture].float(), self.things[picture].float() / 255, tokens, mask)


def load(folder: Path, device: torch.device) -> list[Bucket]:
    """Put all encoded shards on the device, sorted into buckets."""
    shards: dict[tuple[int, int], list[tuple[NDArray[np.generic], ...]]] = {}
    with ThreadPoolExecutor(8) as pool:
        for arrays in pool.map(_shard, sorted(folder.glob("*.npy"))):
            height, width = arrays[0].shape[2:]
            shards.setdefault((width * 8, height * 8), []).append(arrays)
    buckets = []
    for size, parts in shards.items():
        columns = (torch.from_numpy(np.concatenate(column)).to(device) for column in zip(*parts, strict=True))
        latents, things, tokens, lengths = columns
        for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
            pairs = ((lengths > low) & (lengths <= high)).nonzero().to(torch.int32)
            share = SIZES.get(size, 0) * len(pairs) / max(1, int((lengths > 0).sum()))
            if len(pairs):
                buckets.append(Bucket(size, high, share, latents, things, tokens, lengths, pairs))
    return buckets


def _shard(path: Path) -> tuple[NDArray[np.generic], ...]:
    with np.load(path.with_suffix(".npz")) as shard:
        return np.load(path), shard["things"], shard["tokens"].astype(np.int16), shard["lengths"]


def moments(buckets: list[Bucket]) -> tuple[float, float]:
    """Return the mean and the standard deviation of all latents."""
    every = torch.cat([bucket.latents[:2000].float().flatten() for bucket in buckets])
    return float(every.mean()), float(every.std())


def padded(texts: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return token ids padded to one length, and the mask of those that are not padding."""
    tokens = torch.tensor([ids + [0] * (length - len(ids)) for ids in texts])
    return tokens, torch.arange(length) < torch.tensor([[len(ids)] for ids in texts])


def batch_sizes(buckets: list[Bucket], batch: int) -> list[int]:
    """Choose a batch size for each bucket, so that every step works on about as many tokens."""
    tokens = [-(-b.size[0] * b.size[1] // 256 // 32) * 32 + b.length for b in buckets]
    return [max(1, round(batch * 96 / n)) for n in tokens]


def pick(buckets: list[Bucket], batches: list[int], rng: random.Random) -> int:
    """Choose a bucket so that each gets its share of the samples, whatever its batch size."""
    return rng.choices(range(len(buckets)), [b.share / n for b, n in zip(buckets, batches, strict=True)])[0]
