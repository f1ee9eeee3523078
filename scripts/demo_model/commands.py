"""The commands of `python scripts/demo_model`, which trains the embedded demo model.

tokenizer learn the vocabulary
render    draw training pictures
vae       train the autoencoder, from nothing or further
train     train the text encoder and the transformer for a given time
sheet     draw 64 scenes that were not trained on
evaluate  score a model and draw contact sheets
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

STARTED = time.time()

import click  # noqa: E402 - the clock runs from the first line

if TYPE_CHECKING:
    import torch


@click.group(help=__doc__)
def main() -> None:
    """Choose a command."""


folder = click.Path(path_type=Path, file_okay=False)
file = click.Path(path_type=Path, dir_okay=False)


@main.command()
@click.argument("base", type=folder)
def tokenizer(base: Path) -> None:
    """Learn the vocabulary; writes BASE/tokenizer."""
    import tokens  # noqa: PLC0415 - each command loads only what it needs

    tokens.build(base / "tokenizer")


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.option("--pictures", default=20_000, show_default=True)
@click.option("--seconds", default=3600.0, show_default=True, help="Stop after this time.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--captions", default=16, show_default=True, help="Captions for each picture.")
@click.option("--seed", default=1, show_default=True)
@click.option("--square", is_flag=True, help="Only 128x128.")
@click.option("--styled", default=0.42, show_default=True, help="Share of the pictures in another look.")
def render(
    *,
    base: Path,
    data: Path,
    pictures: int,
    seconds: float,
    processes: int,
    captions: int,
    seed: int,
    square: bool,
    styled: float,
) -> None:
    """Draw training pictures into DATA, captions in the tokens of BASE/tokenizer."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # each process works alone on its pictures
    from shards import RenderOrder, render  # noqa: PLC0415

    order = RenderOrder(data, base / "tokenizer", pictures, STARTED + seconds, captions, seed, square, styled)
    print(f"rendered {render(order, processes)} pictures in {time.time() - STARTED:.0f} s", flush=True)


def _device(name: str) -> "torch.device":
    import torch  # noqa: PLC0415

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.option("--seconds", default=600.0, show_default=True)
@click.option("--batch", default=32, show_default=True, help="Pictures of 128x128 in a step.")
@click.option("--device", default="auto", show_default=True)
def vae(*, base: Path, data: Path, seconds: float, batch: int, device: str) -> None:
    """Train the VAE on the pictures in DATA: that of BASE, or a new one where there is none; writes BASE/vae."""
    import autoencoder  # noqa: PLC0415

    autoencoder.improve(base / "vae", data, deadline=STARTED + seconds, batch=batch, device=_device(device))


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.argument("out", type=folder)
@click.option("--seconds", default=3600.0, show_default=True, help="From the start to the last sheet.")
@click.option("--batch", default=32, show_default=True, help="Pictures of 128x128 in a step of one process.")
@click.option("--device", default="auto", show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, show_default=True)
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="A state.pt to go on from.")
@click.option("--rate", default=1.0, show_default=True, help="Share of the usual learning rates.")
@click.option("--hold", default=0.35, show_default=True, help="Share of the time before the rate begins to fall.")
@click.option("--every", default=600.0, show_default=True, help="Seconds between two saves.")
@click.option("--seed", default=0, show_default=True)
@click.option("--processes", default=1, show_default=True, help="Processes of one thread that train together.")
def train(
    *,
    base: Path,
    data: Path,
    out: Path,
    seconds: float,
    batch: int,
    device: str,
    compiled: bool,
    start: Path | None,
    rate: float,
    hold: float,
    every: float,
    seed: int,
    processes: int,
) -> None:
    """Train on the pictures in DATA; writes OUT/model (the pipeline), OUT/state.pt and contact sheets."""
    from parallel import together  # noqa: PLC0415
    from train import TrainingPlan, train  # noqa: PLC0415

    out.mkdir(parents=True, exist_ok=True)
    plan = TrainingPlan(data, base, out, STARTED + seconds, batch, compiled, start, rate, hold, every, seed)
    together(processes, out / "meeting", train, plan, _device(device))


@main.command()
@click.argument("model", type=folder)
@click.argument("picture", type=file)
@click.option("--rendered", multiple=True, metavar="SEED:PICTURES:STYLED", help="A render whose scenes are left out.")
@click.option("--guidance", default=1.0, show_default=True)
def sheet(*, model: Path, picture: Path, rendered: tuple[str, ...], guidance: float) -> None:
    """Draw 64 scenes that no render has into one PICTURE, a PNG with a palette; prints their prompts."""
    from evaluate import contact_sheet  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415
    from shards import RenderOrder  # noqa: PLC0415

    orders = []
    for text in rendered:
        seed, pictures, styled = text.split(":")
        nowhere = Path()
        orders.append(RenderOrder(nowhere, nowhere, int(pictures), 0, 1, int(seed), styled=float(styled)))
    drawn, prompts = contact_sheet(model, orders, guidance)
    drawn.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(*prompts, sep="\n")


@main.command()
@click.argument("model", type=folder)
@click.argument("out", type=folder)
@click.option("--judge", type=file, help="Where the judge is kept; OUT/judge.pt by default.")
@click.option("--prompts", default=96, show_default=True, help="Prompts in each language.")
@click.option("--guidance", default=1.0, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--only-shapes", is_flag=True, help="Only coloured shapes on plain backgrounds.")
def evaluate(
    *, model: Path, out: Path, judge: Path | None, prompts: int, guidance: float, steps: int, only_shapes: bool
) -> None:
    """Score the pipeline in MODEL; draws contact sheets into OUT."""
    from evaluate import Exam, evaluate  # noqa: PLC0415

    evaluate(Exam(model, out, judge or out / "judge.pt", prompts, guidance, steps, only_shapes))
