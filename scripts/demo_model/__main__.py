"""Make the embedded demo model: `python scripts/demo_model COMMAND`.

render    draw training pictures with all processors
tokenizer learn the vocabulary
vae       train the autoencoder further
train     train the text encoder and the transformer for a given time
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


@main.command()
@click.argument("base", type=folder)
def tokenizer(base: Path) -> None:
    """Learn the vocabulary; writes BASE/tokenizer."""
    import tokens  # noqa: PLC0415 - each command loads only what it needs

    tokens.build(base / "tokenizer")


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.option("--pictures", default=200_000, show_default=True)
@click.option("--seconds", default=3600.0, show_default=True, help="Stop after this time.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--captions", default=12, show_default=True, help="Captions for each picture.")
@click.option("--seed", default=1, show_default=True)
def render(base: Path, data: Path, pictures: int, seconds: float, processes: int, captions: int, seed: int) -> None:
    """Draw training pictures into DATA, captions in the tokens of BASE/tokenizer."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # each process works alone on its pictures
    import shards  # noqa: PLC0415

    seconds -= time.time() - STARTED
    count = shards.render(
        data, base / "tokenizer", pictures=pictures, seconds=seconds, processes=processes, captions=captions, seed=seed
    )
    print(f"rendered {count} pictures in {time.time() - STARTED:.0f} s", flush=True)


def _device(name: str) -> "torch.device":
    import torch  # noqa: PLC0415

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.option("--seconds", default=600.0, show_default=True)
@click.option("--batch", default=96, show_default=True, help="Pictures of 128x128 in a step.")
@click.option("--device", default="auto", show_default=True)
def vae(base: Path, data: Path, seconds: float, batch: int, device: str) -> None:
    """Train the VAE of BASE further on the pictures in DATA; writes DATA/vae."""
    import autoencoder  # noqa: PLC0415

    seconds -= time.time() - STARTED
    autoencoder.improve(base, data, seconds=seconds, batch=batch, device=_device(device))


@main.command()
@click.argument("base", type=folder)
@click.argument("data", type=folder)
@click.argument("out", type=folder)
@click.option("--model", type=folder, help="Where the pipeline is written; OUT/model by default.")
@click.option(
    "--seconds", default=3600.0, show_default=True, help="All the time there is, from the start to the sheets."
)
@click.option("--batch", default=1024, show_default=True, help="Pictures of 128x128 in a step.")
@click.option("--device", default="auto", show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--only-prepare", is_flag=True, help="Encode and compile, then stop.")
def train(
    base: Path,
    data: Path,
    out: Path,
    model: Path | None,
    seconds: float,
    batch: int,
    device: str,
    compiled: bool,
    seed: int,
    only_prepare: bool,
) -> None:
    """Train on the pictures in DATA; writes a pipeline, OUT/model.tar, OUT/state.pt and sheets."""
    import train as training  # noqa: PLC0415

    plan = training.Plan(data, base, out, model or out / "model", STARTED + seconds, batch, compiled, seed)
    (training.prepare if only_prepare else training.train)(plan, _device(device))


if __name__ == "__main__":
    main()
