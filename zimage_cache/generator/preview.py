"""Previews of unfinished pictures, in 0.1 ms per step: a linear map from latents to colours.

Raw latents look like noise until the end; the model's estimate of the clean picture, `latents - sigma * noise_pred`,
shows it from the first evaluation on. Decoding that with the VAE would cost a tenth of a picture each time.

The factors of the Flux VAE, which Z-Image uses, are those ComfyUI publishes (`comfy/latent_formats.py`, class `Flux`,
`latent_rgb_factors` and `latent_rgb_factors_bias`). Those of the demo model's VAE were fitted by
`scripts/fit_preview.py`.
"""

import io
from dataclasses import dataclass
from typing import Any, Final

import torch
from PIL import Image

MAX_SIDE: Final = 256
_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Factors:
    """Colours -1..1 as a linear map of 16 latent channels: 16 rows of (red, green, blue), and an offset."""

    rows: tuple[tuple[float, float, float], ...]
    bias: tuple[float, float, float]


FLUX: Final = Factors(
    rows=(
        (-0.0346, 0.0244, 0.0681),
        (0.0034, 0.0210, 0.0687),
        (0.0275, -0.0668, -0.0433),
        (-0.0174, 0.0160, 0.0617),
        (0.0859, 0.0721, 0.0329),
        (0.0004, 0.0383, 0.0115),
        (0.0405, 0.0861, 0.0915),
        (-0.0236, -0.0185, -0.0259),
        (-0.0245, 0.0250, 0.1180),
        (0.1008, 0.0755, -0.0421),
        (-0.0515, 0.0201, 0.0011),
        (0.0428, -0.0012, -0.0036),
        (0.0817, 0.0765, 0.0749),
        (-0.1264, -0.0522, -0.1103),
        (-0.0280, -0.0881, -0.0499),
        (-0.1262, -0.0982, -0.0778),
    ),
    bias=(-0.0329, -0.0718, -0.0851),
)
DEMO: Final = Factors(
    rows=(
        (0.0975, -0.0406, 0.1211),
        (0.2828, 0.0490, -0.0949),
        (0.0599, -0.0397, 0.0700),
        (0.1189, 0.0302, 0.0626),
        (-0.0383, 0.0579, 0.1001),
        (-0.0228, -0.0542, 0.0150),
        (-0.0808, -0.1870, -0.2097),
        (0.0253, 0.0143, -0.0881),
        (0.0741, -0.0150, -0.0198),
        (-0.0121, 0.0628, 0.0599),
        (-0.0984, -0.1297, -0.0289),
        (0.0714, 0.0291, 0.0117),
        (0.0240, 0.0651, -0.0337),
        (-0.1213, -0.0306, 0.0826),
        (0.0178, -0.0042, -0.1064),
        (-0.0088, 0.1159, 0.0338),
    ),
    bias=(0.1251, 0.0136, 0.0158),
)
# Keyed by the decoder's channel widths, which identify the VAE; its configuration holds no name.
_KNOWN: Final = {(128, 256, 512, 512): FLUX, (16, 24, 48, 64): DEMO}


def factors_for(vae_config: Any) -> Factors | None:  # noqa: ANN401 - diffusers' configurations have no type
    """Return the factors of a VAE; None for an unknown one, which has no previews."""
    return _KNOWN.get(tuple(vae_config.block_out_channels))


def preview(clean: torch.Tensor, factors: Factors) -> bytes:
    """Encode an estimate of the clean latents as a JPEG of an eighth of the picture's size, at most `MAX_SIDE`.

    Args:
        clean: Estimated clean latents, shape (16, height / 8, width / 8), on any device.
        factors: The VAE's.
    """
    rows = clean.new_tensor(factors.rows)
    colours = torch.einsum("chw,cr->hwr", clean, rows) + clean.new_tensor(factors.bias)
    levels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    image = Image.fromarray(levels)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    # No chroma subsampling: the demo model's previews are only 16 pixels wide.
    image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()
