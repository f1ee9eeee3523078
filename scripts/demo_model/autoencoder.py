"""Trains the VAE: pictures to 16 numbers for each 8x8 pixels and back.

The loss is the mean absolute error of the pixels and of their differences (for crisp edges), with a little squared
error. Before decoding, the latents get noise of random strength: so the decoder straightens small errors of the
transformer. The posterior's variance is not trained; latents are the means.
"""

import copy
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from muon import Muon
from torch import Tensor, nn

RATE, ADAM_RATE, NOISE = 0.012, 1.5e-3, 0.3
AT_MOST = 90  # files of pictures, about 1.2 GB
Pools = dict[tuple[int, ...], Tensor]  # pictures by size, as bytes


def new_vae() -> AutoencoderKL:
    """Make the VAE: the class of the real model, eight times smaller sides, 16 channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=1024,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def improve(folder: Path, data: Path, *, deadline: float, batch: int, device: torch.device) -> None:
    """Train the VAE in a folder, or a new one, on the pictures of DATA; save it if it got better."""
    torch.manual_seed(0)
    old = folder.exists()
    vae = AutoencoderKL.from_pretrained(folder, local_files_only=True) if old else new_vae()
    pools = _pictures(data, device)
    held_out = {size: pool[-len(pool) // 16 :][:64] for size, pool in pools.items()}
    before = _quality(vae.to(device), held_out) if old else -math.inf
    averaged = _train(vae.train(), pools, deadline, batch)
    after = _quality(averaged, held_out)
    print(f"vae before: {before:.2f} dB, after: {after:.2f} dB", flush=True)
    if after > before:
        averaged.save_pretrained(folder)
        for latents in data.glob("*.npy"):  # they are those of the VAE before
            latents.unlink()


def _pictures(data: Path, device: torch.device) -> Pools:
    """Load pictures by size."""
    pools: dict[tuple[int, ...], list[Tensor]] = {}
    for path in sorted(data.glob("*.npz"))[:AT_MOST]:
        with np.load(path) as shard:
            pixels = torch.from_numpy(shard["pixels"])
        pools.setdefault(tuple(pixels.shape[1:3]), []).append(pixels)
    return {size: torch.cat(parts).to(device).permute(0, 3, 1, 2) for size, parts in pools.items()}


def _floats(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def _loss(vae: AutoencoderKL, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        z = vae.encoder(x)[:, :16].float()
        noise = NOISE * torch.rand(len(x), 1, 1, 1, device=x.device) * torch.randn_like(z)
        error = vae.decoder(z + noise).float() - x
    edges = torch.stack([d.abs().mean() for d in _differences(error)]).sum()
    spread = (z.pow(2).mean() - 1).relu() + 0.5 * z.mean((0, 2, 3)).pow(2).mean()
    return error.abs().mean() + 0.5 * edges + error.pow(2).mean() + 0.02 * spread


@torch.no_grad()
def _quality(vae: AutoencoderKL, held_out: Pools) -> float:
    """Measure the mean signal to noise ratio of pictures that were not trained on, in decibels."""
    errors: list[float] = []
    for pixels in held_out.values():
        for part in pixels.split(16):
            x = _floats(part)
            errors += (vae.decoder(vae.encoder(x)[:, :16]).clamp(-1, 1) - x).pow(2).mean((1, 2, 3)).tolist()
    return 10 * math.log10(4 / (sum(errors) / len(errors)))


class _Optimizer:
    """Muon for the kernels of the convolutions, AdamW for the rest, and the average of the weights."""

    def __init__(self, vae: AutoencoderKL) -> None:
        kernels = [p for p in vae.parameters() if p.ndim == 4 and min(p.shape[:2]) > 3]  # noqa: PLR2004
        known = {id(p) for p in kernels}
        rest = [p for p in vae.parameters() if id(p) not in known]
        self.muon = Muon(kernels, lr=RATE, weight_decay=0.0)
        self.adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        self.averaged = copy.deepcopy(vae).requires_grad_(requires_grad=False).eval()
        self.params, self.copies = list(vae.parameters()), list(self.averaged.parameters())
        self.steps = 0

    def step(self, loss: Tensor, left: float) -> None:
        """Take one step; the learning rate falls with the share of the time that is left."""
        for param in self.params:
            param.grad = None
        loss.backward()
        self.steps += 1
        rate = min(1, self.steps / 40) * max(0.01, left)
        self.muon.param_groups[0]["lr"], self.adam.param_groups[0]["lr"] = RATE * rate, ADAM_RATE * rate
        nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.muon.step()
        self.adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.copies, self.params, 1 - min(0.99, self.steps / (self.steps + 10)))


def _train(vae: AutoencoderKL, pools: Pools, deadline: float, batch: int) -> AutoencoderKL:
    optimizer, rng, begun = _Optimizer(vae), random.Random(0), time.time()
    sizes = list(pools)
    while optimizer.steps == 0 or time.time() < deadline:
        size = rng.choices(sizes, [len(pools[size]) for size in sizes])[0]
        pool, count = pools[size], max(1, batch * 128 * 128 // (size[0] * size[1]))
        picked = torch.randint(max(1, len(pool) - len(pool) // 16), (count,), device=pool.device)
        loss = _loss(vae, _floats(pool[picked]))
        optimizer.step(loss, (deadline - time.time()) / (deadline - begun))
        if optimizer.steps % 100 == 0:
            print(f"vae step {optimizer.steps} loss {loss.item():.4f} {time.time() - begun:.0f} s", flush=True)
    return optimizer.averaged
