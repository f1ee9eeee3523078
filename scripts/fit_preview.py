"""Fit the preview's factors for the demo model's VAE: least squares from latents to the mean colour of 8x8 pixels.

The exact command:

    python scripts/fit_preview.py

Prints the factors as they stand in `zimage_cache/generator/preview.py`, and how much of the colours they explain.
"""

import itertools

import numpy as np
import torch
from diffusers import ZImagePipeline
from numpy.typing import NDArray

from zimage_cache.models.store import demo_folder

SIDE = 128
CELL = 8
STEPS = 4
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SHAPES = ("circle", "square", "triangle", "star")
TIMES = ("by day", "at sunset", "at night", "at dawn")
PLACES = ("in a meadow", "in the mountains", "by the sea", "in the snow", "in the desert")


def main() -> None:
    """Fit and print."""
    latents, colours = samples(prompts())
    factors, explained = fit(latents, colours)
    for row in factors:
        print("(" + ", ".join(f"{value:.4f}" for value in row) + "),")
    print(f"explained: {explained:.3f} of the variance of {len(colours)} cells; the last row is the bias")


def prompts() -> list[str]:
    """List shapes in every pair of colours, and landscapes at every time of the day."""
    pairs = zip(itertools.permutations(COLOURS, 2), itertools.cycle(SHAPES), strict=False)
    landscapes = zip(itertools.product(TIMES, PLACES), itertools.cycle(COLOURS), strict=False)
    plain = [f"a large {a} {shape} on a {b} background" for (a, b), shape in pairs]
    return plain + [f"a {colour} house {place} {time}" for (time, place), colour in landscapes]


def samples(asked: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw pictures; returns latents (cells, 16) and colours -1..1 (cells, 3)."""
    pipeline = ZImagePipeline.from_pretrained(demo_folder(), local_files_only=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = [_sample(pipeline, prompt, seed) for seed, prompt in enumerate(asked)]
    return np.concatenate([latents for latents, _ in drawn]), np.concatenate([colours for _, colours in drawn])


def _sample(pipeline: ZImagePipeline, prompt: str, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with torch.inference_mode():
        latents = pipeline(
            prompt,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
        ).images
        config = pipeline.vae.config
        image = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor, return_dict=False)[0]
    cells = torch.nn.functional.avg_pool2d(image.clamp(-1, 1), CELL)
    return _rows(latents), _rows(cells)


def _rows(maps: torch.Tensor) -> NDArray[np.float64]:
    return maps[0].flatten(1).T.double().numpy()


def fit(latents: NDArray[np.float64], colours: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the least-squares factors, 16 rows and the bias, and the share of the variance they explain."""
    known = np.column_stack([latents, np.ones(len(latents))])
    factors = np.asarray(np.linalg.lstsq(known, colours, rcond=None)[0], np.float64)
    left = ((colours - known @ factors) ** 2).sum()
    return factors, float(1 - left / ((colours - colours.mean(axis=0)) ** 2).sum())


if __name__ == "__main__":
    main()
