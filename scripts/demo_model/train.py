"""Trains the text encoder and the transformer by flow matching, for a given time.

Rectified flow (Liu, Gong and Liu 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747): mix a picture and
noise, x = (1 - s) picture + s noise, and learn the direction picture - noise from x, s and the caption. The noise
levels s are those of sampling: uniform, then shifted by 3 (Esser et al. 2024, arXiv 2403.03206). A share of the
captions says nothing about the picture, so that guidance can be used (Ho and Salimans 2022, arXiv 2207.12598).
"""

import itertools
import math
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import latents
import torch
from captions import NEGATIVES
from diffusers import AutoencoderKL
from latents import Batch, Bucket
from learner import Learner
from network import CELL, pipeline
from parallel import Group
from sheets import contact_sheets
from tokens import Encoder
from torch import Tensor
from words import taught

SHIFT = 3.0
EMPTY = 0.12  # share of captions of the shorter length that are replaced by uninformative ones
ON_THINGS = 2.0  # how much more the error counts where a thing is; without it the background is most of the loss
WARM_UP = 100


@dataclass(frozen=True)
class TrainingPlan:
    """What to train with, and until when (in seconds since the epoch)."""

    data: Path
    base: Path  # holds vae/ and tokenizer/
    out: Path
    deadline: float
    batch: int  # pictures of 128x128 in a step of one process
    compiled: bool
    start: Path | None = None  # a state.pt to go on from
    rate: float = 1.0  # of the usual learning rates
    hold: float = 0.35  # share of the time before the learning rate begins to fall to zero
    every: float = 600.0  # seconds between two saves
    seed: int = 0
    reserve: float = 15.0  # seconds kept for the last save and the sheets


def say(*words: object) -> None:
    """Print a line of the log with the time."""
    print(time.strftime("%H:%M:%S"), *words, flush=True)


class Trainer:
    """Passes batches to the learner, and saves the trained weights."""

    def __init__(self, plan: TrainingPlan, device: torch.device, group: Group) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.device, self.group = plan, device, group
        self.rng = random.Random(plan.seed)  # the same in all processes: they take the same bucket
        self.encoder = Encoder(plan.base / "tokenizer")
        self.learner = Learner(self.encoder.size, device, compiled=plan.compiled)
        if plan.start:
            self.learner.load(plan.start)
        self._load_data()
        torch.manual_seed(plan.seed + 1000 * group.rank + self.learner.steps)

    def _load_data(self) -> None:
        """Encode the pictures that are not encoded yet, and load all of them onto the device."""
        self.vae = AutoencoderKL.from_pretrained(self.plan.base / "vae", local_files_only=True).to(self.device).eval()
        if self.group.first:
            latents.encode(self.plan.data, self.vae, self.device)
        self.group.wait()
        self.buckets = latents.load(self.plan.data, self.device)
        if not self.buckets:
            raise SystemExit(f"no pictures in {self.plan.data}")
        self.mean, self.deviation = latents.moments(self.buckets)
        # Without the path that it was read from, which would be saved with it.
        self.vae.register_to_config(shift_factor=self.mean, scaling_factor=1 / self.deviation, _name_or_path="")
        texts = [ids for ids in self.encoder(["", *NEGATIVES]) if len(ids) <= CELL]
        self.nothing, self.nothing_mask = (t.to(self.device) for t in latents.padded(texts, CELL))
        self.batches = latents.batch_sizes(self.buckets, self.plan.batch)
        sizes = {bucket.size: len(bucket.latents) for bucket in self.buckets}
        say("pictures", sum(sizes.values()), sizes, f"mean {self.mean:.4f} deviation {self.deviation:.4f}")

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error of the predicted direction, weighted by where the things are."""
        tokens, mask = self._with_empty(batch.tokens, batch.mask) if batch.tokens.shape[1] == CELL else batch.captions
        picture = (batch.latents - self.mean) / self.deviation
        noise, level = torch.randn_like(picture), self._levels(len(picture))
        s = level[:, None, None, None]
        out = self.learner.model((1 - s) * picture + s * noise, 1 - level, tokens, mask)
        weight = 1 + ON_THINGS * batch.things[:, None]
        return ((out - (picture - noise)).pow(2) * weight).mean() / weight.mean()

    @torch.no_grad()
    def heed(self) -> float:
        """Return how much larger the loss is with captions of other pictures: 0 if the model ignores the prompt."""
        batch, losses = self.buckets[0].sample(self.batches[0]), []
        for one in (batch, replace(batch, tokens=batch.tokens.roll(1, 0), mask=batch.mask.roll(1, 0))):
            with torch.random.fork_rng():
                torch.manual_seed(self.learner.steps)  # the same noise for both
                losses.append(float(self.loss(one)))
        return losses[1] - losses[0]

    def _levels(self, count: int) -> Tensor:
        """Draw noise levels between 0 and 1, spread evenly over the batch."""
        even = (torch.rand(count, device=self.device) + torch.arange(count, device=self.device)) / count
        return SHIFT * even / (1 + (SHIFT - 1) * even)

    def _with_empty(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Replace a share of the captions by uninformative ones: mostly empty, else a preset's negative words."""
        count = len(tokens)
        chosen = torch.randint(len(self.nothing), (count,), device=self.device)
        chosen = chosen * (torch.rand(count, device=self.device) < 0.3)  # noqa: PLR2004 - a share
        swap = (torch.rand(count, device=self.device) < EMPTY)[:, None]
        return torch.where(swap, self.nothing[chosen], tokens), torch.where(swap, self.nothing_mask[chosen], mask)

    def _rate(self, progress: float, count: int) -> float:
        """Return the share of the learning rate to use: rising at first, constant, then falling to zero."""
        fall = min(1.0, (1 - progress) / max(1e-9, 1 - self.plan.hold))
        return self.plan.rate * min(1, count / WARM_UP) * max(0.005, fall)

    def step(self, bucket: Bucket, size: int, rate: float) -> float:
        """Train on one batch; return its loss, the mean of all processes."""
        loss = self.loss(bucket.sample(size))
        self.learner.zero_grad()
        loss.backward()
        value = self.group.average(self.learner.params, loss.detach())
        if math.isfinite(value):
            self.learner.step(rate, size * self.group.size)
        else:
            say("the loss is no number: back to the averaged weights")
            self.learner.back_to_average()
        return value

    def run(self) -> None:
        """Train until the deadline."""
        begun = saved = time.time()
        end = max(begun + 1, self.plan.deadline - self.plan.reserve)
        losses: list[float] = []
        for count in itertools.count(1):
            progress = self.group.agreed((time.time() - begun) / (end - begun))
            if progress >= 1:
                break
            which = latents.pick(self.buckets, self.batches, self.rng)
            losses.append(self.step(self.buckets[which], self.batches[which], self._rate(progress, count)))
            if self.group.first and count % 50 == 0:
                self._report(losses, (time.time() - begun) / count)
                losses = []
            if self.group.first and time.time() - saved > self.plan.every:
                self.save()
                saved = time.time()
        if self.group.first:
            self.save()

    def _report(self, losses: list[float], seconds: float) -> None:
        mean, learner = sum(losses) / len(losses), self.learner
        say(f"step {learner.steps} seen {learner.seen} loss {mean:.4f} heed {self.heed():.4f} {seconds:.2f} s/step")

    def save(self) -> None:
        """Write the averaged model in bfloat16, the state to go on from, and contact sheets."""
        self.plan.out.mkdir(parents=True, exist_ok=True)
        self.learner.save(self.plan.out / "state.pt")
        tokenizer = self.plan.base / "tokenizer"
        transformer, text_encoder, vae = self.learner.halved(self.vae)
        pipeline(transformer, text_encoder, vae, tokenizer).save_pretrained(self.plan.out / "model")
        (self.plan.out / "model" / "words.txt").write_text("\n".join(taught()) + "\n", encoding="utf-8")
        transformer, text_encoder = self.learner.averaged
        pipe = pipeline(transformer, text_encoder, self.vae, tokenizer)
        for name, sheet in contact_sheets(pipe, self.plan.deadline):
            sheet.save(self.plan.out / f"{name}.png")
        say("saved at step", self.learner.steps)


def train(plan: TrainingPlan, device: torch.device, group: Group) -> None:
    """Train, save, and draw sheets."""
    Trainer(plan, device, group).run()
