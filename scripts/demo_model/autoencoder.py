"""Trains the VAE further: pictures to 16 numbers for each 8x8 pixels and back.

The loss is the mean absolute error of the pixels and of their differences (for crisp edges), with a little squared
error. Before decoding, the latents get noise of random strength: so the decoder straightens small errors of the
transformer. The posterior's variance is not trained; latents are the means.
"""

import copy
import math
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from muon import Muon
from torch import Tensor, nn

RATE, ADAM_RATE, NOISE = 0.012, 1.5e-3, 0.3
AT_MOST = 90  # files of pictures, about 1.2 GB


def improve(base: Path, data: Path, *, seconds: float, batch: int, device: torch.device) -> None:
    """Train the VAE of BASE on the pictures of DATA for a while; write DATA/vae if it got better."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    begun = time.time()
    vae = AutoencoderKL.from_pretrained(base / "vae", local_files_only=True).to(device).train()
    pools = _pictures(data, device)
    held_out = {size: pool[-len(pool) // 16 :][:64] for size, pool in pools.items()}
    before = _quality(vae, held_out)
    print(f"vae before: {before:.2f} dB, loaded in {time.time() - begun:.0f} s", flush=True)
    averaged = _train(vae, pools, begun + seconds, batch)
    after = _quality(averaged, held_out)
    print(f"vae after: {after:.2f} dB", flush=True)
    if after > before:
        averaged.save_pretrained(data / "vae.part")
        for latents in data.glob("*.npy"):
            latents.unlink()
        shutil.rmtree(data / "vae", ignore_errors=True)
        (data / "vae.part").rename(data / "vae")


def _pictures(data: Path, device: torch.device) -> dict[tuple[int, ...], Tensor]:
    """Load pictures by size, as bytes."""
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
    edges = sum(d.abs().mean() for d in _differences(error))
    spread = (z.pow(2).mean() - 1).relu() + 0.5 * z.mean((0, 2, 3)).pow(2).mean()
    return error.abs().mean() + 0.5 * edges + error.pow(2).mean() + 0.02 * spread


@torch.no_grad()
def _quality(vae: AutoencoderKL, held_out: dict[tuple[int, ...], Tensor]) -> float:
    """Measure the mean signal to noise ratio of pictures that were not trained on, in decibels."""
    errors = []
    for pixels in held_out.values():
        for part in pixels.split(16):
            x = _floats(part)
            errors += (vae.decoder(vae.encoder(x)[:, :16]).clamp(-1, 1) - x).pow(2).mean((1, 2, 3)).tolist()
    return 10 * math.log10(4 / (sum(errors) / len(errors)))


def _train(vae: AutoencoderKL, pools: dict[tuple[int, ...], Tensor], deadline: float, batch: int) -> AutoencoderKL:
    kernels = [p for p in vae.parameters() if p.ndim == 4 and min(p.shape[:2]) > 3]  # noqa: PLR2004
    known = {id(p) for p in kernels}
    muon = Muon(kernels, lr=RATE, weight_decay=0.0)
    rest = [p for p in vae.parameters() if id(p) not in known]
    adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    averaged = copy.deepcopy(vae).requires_grad_(requires_grad=False)
    params, copies = list(vae.parameters()), list(averaged.parameters())
    rng, begun, step, seen = random.Random(0), time.time(), 0, 0
    sizes = list(pools)
    weights = [len(pools[size]) for size in sizes]
    while (now := time.time()) < deadline:
        left = (deadline - now) / (deadline - begun)
        rate = min(1, (step + 1) / 40) * max(0.01, left)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = RATE * rate, ADAM_RATE * rate
        size = rng.choices(sizes, weights)[0]
        pool = pools[size]
        count = max(1, batch * 128 * 128 // (size[0] * size[1]))
        loss = _loss(vae, _floats(pool[torch.randint(len(pool) - len(pool) // 16, (count,), device=pool.device)]))
        vae.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        muon.step()
        adam.step()
        step, seen = step + 1, seen + count
        with torch.no_grad():
            torch._foreach_lerp_(copies, params, 1 - min(0.99, step / (step + 10)))
        if step % 20 == 0:
            value = loss.item()  # waits for the device
            if step % 100 == 0:
                print(
                    f"vae step {step} seen {seen} loss {value:.4f} {seen / (time.time() - begun):.0f} pictures/s",
                    flush=True,
                )
    return averaged.eval()
