"""The picture while it is drawn: small, cheap, and like what comes of it."""

import importlib.util
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.factories import present
from zimage_cache.generator.preview import DEMO, FLUX, MAX_SIDE, factors_for, preview

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit_preview.py"


def opened(jpeg):
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return image


def script():
    spec = present(importlib.util.spec_from_file_location("fit_preview", SCRIPT))
    module = importlib.util.module_from_spec(spec)
    sys.modules["fit_preview"] = module
    present(spec.loader).exec_module(module)
    return module


@pytest.mark.parametrize(
    ("latents", "size"), [((16, 12), (12, 16)), ((128, 128), (128, 128)), ((512, 256), (128, 256))]
)
def test_a_preview_is_an_eighth_of_the_picture_and_never_large(latents, size):
    """One pixel a latent, at most 256: a few kilobytes."""
    jpeg = preview(torch.randn(16, *latents), FLUX)
    assert opened(jpeg).size == size
    assert max(size) <= MAX_SIDE
    assert len(jpeg) < 100_000


def test_colours_are_the_linear_map():
    """A latent of one channel alone shows that channel's row, mapped from -1..1 to bytes."""
    clean = torch.zeros(16, 8, 8)
    clean[4] = 5.0
    expected = (np.array(FLUX.rows[4]) * 5 + np.array(FLUX.bias)) / 2 + 0.5
    shown = np.asarray(opened(preview(clean, FLUX)))[4, 4]
    assert np.abs(shown - expected * 255).max() <= 4


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_wild_latents_are_clamped(value):
    """The first estimates may be far out: they are bright or dark, never wrapped."""
    shown = np.asarray(opened(preview(torch.full((16, 4, 4), value), FLUX)))
    assert set(np.unique(shown)) <= {0, 1, 2, 253, 254, 255}


def test_only_known_decoders_have_one():
    """The Flux VAE by its widths, the demo's by its own; an unknown one has no factors."""
    assert factors_for(SimpleNamespace(block_out_channels=[128, 256, 512, 512])) is FLUX
    assert factors_for(SimpleNamespace(block_out_channels=[16, 24, 48, 64])) is DEMO
    assert factors_for(SimpleNamespace(block_out_channels=[128, 256, 512])) is None


def test_the_demo_s_factors_are_the_fitted_ones():
    """They explain most of the colours of pictures drawn now, nearly as much as a fit to these very pictures."""
    fitting = script()
    latents, colours = fitting.samples(fitting.prompts()[::6])
    known = np.column_stack([latents, np.ones(len(latents))])
    left = ((colours - known @ np.array([*DEMO.rows, DEMO.bias])) ** 2).sum()
    explained = 1 - left / ((colours - colours.mean(axis=0)) ** 2).sum()
    _, best = fitting.fit(latents, colours)
    assert explained > 0.7
    assert best - explained < 0.1
