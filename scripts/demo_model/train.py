"""Trains the text encoder and the transformer by flow matching, for a given time.

Rectified flow (Liu, Gong and Liu 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747): mix a picture and noise,
x = (1 - s) picture + s noise, and learn the direction picture - noise from x, s and the caption. The noise levels s are
those of sampling: uniform, then shifted by 3 (Esser et al. 2024, arXiv 2403.03206). A share of the captions says nothing
about the picture, so that guidance can be used (Ho and Salimans 2022, arXiv 2207.12598).
"""

import copy
import itertools
import random
import tarfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import latents
import torch
from captions import NEGATIVES
from diffusers import AutoencoderKL
from latents import Bucket
from muon import Muon
from network import BF16, CELL, Batched, difference, new_text_encoder, new_transformer, pipeline
from sheets import contact_sheets
from tokens import Encoder
from torch import Tensor, nn

SHIFT = 3.0
EMPTY = 0.12  # share of captions of the shorter length that say nothing
MUON_RATE, ADAM_RATE, WARM_UP = 0.02, 2e-3, 150
HOLD = 0.35  # share of the time before the learning rate begins to fall


@dataclass(frozen=True)
class Plan:
    """What to train with, and until when (in seconds since the epoch)."""

    data: Path
    base: Path  # holds vae/ and tokenizer/
    out: Path
    model: Path  # the folder of the finished pipeline
    deadline: float
    batch: int
    compiled: bool
    seed: int = 0
    reserve: float = 15.0  # seconds kept for the last save and the sheets


def say(*words: object) -> None:
    """Print a line of the log with the time."""
    print(time.strftime("%H:%M:%S"), *words, flush=True)


class Trainer:
    """Holds the networks, their optimizers and their averaged copies."""

    def __init__(self, plan: Plan, device: torch.device):
        torch.manual_seed(plan.seed)
        torch.set_float32_matmul_precision("high")
        self.plan, self.device, self.rng = plan, device, random.Random(plan.seed)
        self.encoder = Encoder(plan.base / "tokenizer")
        improved = plan.data / "vae"
        self.vae_folder = improved if improved.exists() else plan.base / "vae"
        self.vae = AutoencoderKL.from_pretrained(self.vae_folder, local_files_only=True).to(device).eval()
        self.transformer = new_transformer().to(device)
        self.text_encoder = new_text_encoder(self.encoder.tokenizer.get_vocab_size()).to(device)
        self.networks = nn.ModuleList((self.transformer, self.text_encoder))
        self.averaged = copy.deepcopy(self.networks).requires_grad_(requires_grad=False).eval()
        self.model = Batched(self.transformer, self.text_encoder, compiled=plan.compiled)
        self._optimizers()
        self.steps = self.seen = 0

    def _optimizers(self) -> None:
        """Give matrices of the blocks to Muon and all else to AdamW; leave out what the pipeline never uses."""
        unused = tuple(f"1.{name}" for name in (f"layers.{len(self.text_encoder.layers) - 1}.", "norm."))
        self.named = {n: p for n, p in self.networks.named_parameters() if not n.startswith(unused)}
        inner = ("attention.", "feed_forward.", "self_attn.", "mlp.")
        matrices = {n: p for n, p in self.named.items() if p.ndim == 2 and any(k in n for k in inner)}  # noqa: PLR2004
        embedding = [p for n, p in self.named.items() if "embed_tokens" in n]
        self.rest = [p for n, p in self.named.items() if n not in matrices and "embed_tokens" not in n]
        self.muon = Muon(matrices.values(), lr=MUON_RATE)
        groups = [{"params": self.rest, "base": ADAM_RATE}, {"params": embedding, "base": 2 * ADAM_RATE}]
        self.adam = torch.optim.AdamW(groups, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        self.params = list(self.named.values())
        copies = dict(self.averaged.named_parameters())
        self.copies = [copies[name] for name in self.named]

    def load_data(self) -> None:
        """Encode what is not encoded yet, and put all on the device."""
        latents.encode(self.plan.data, self.vae, self.device)
        self.buckets = latents.load(self.plan.data, self.device)
        if not self.buckets:
            raise SystemExit(f"no pictures in {self.plan.data}")
        self.mean, self.deviation = latents.moments(self.buckets)
        self.vae.register_to_config(shift_factor=self.mean, scaling_factor=1 / self.deviation)
        sizes = {bucket.size: len(bucket.latents) for bucket in self.buckets}
        say("pictures", sum(sizes.values()), sizes, f"mean {self.mean:.4f} deviation {self.deviation:.4f}")
        say("buckets", [(b.size, b.length, round(b.share, 3)) for b in self.buckets])
        texts = [ids for ids in self.encoder(["", *NEGATIVES]) if len(ids) <= CELL]
        self.nothing = torch.zeros(len(texts), CELL, dtype=torch.long, device=self.device)
        self.nothing_mask = torch.zeros(len(texts), CELL, dtype=torch.bool, device=self.device)
        for i, ids in enumerate(texts):
            self.nothing[i, : len(ids)] = torch.tensor(ids)
            self.nothing_mask[i, : len(ids)] = True

    def loss(self, bucket: Bucket, batch: int) -> Tensor:
        """Return the mean squared error of the predicted direction on a fresh batch."""
        picture, tokens, mask = bucket.sample(batch)
        if bucket.length == CELL:
            tokens, mask = self._with_empty(tokens, mask)
        picture = (picture - self.mean) / self.deviation
        noise = torch.randn_like(picture)
        even = (torch.rand(batch, device=self.device) + torch.arange(batch, device=self.device)) / batch
        level = SHIFT * even / (1 + (SHIFT - 1) * even)
        s = level[:, None, None, None]
        out = self.model((1 - s) * picture + s * noise, 1 - level, tokens, mask)
        return (out - (picture - noise)).pow(2).mean()

    def _with_empty(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Replace a share of the captions by ones that say nothing: mostly empty, else a preset's negative words."""
        count = len(tokens)
        chosen = torch.randint(len(self.nothing), (count,), device=self.device)
        chosen = chosen * (torch.rand(count, device=self.device) < 0.3)  # noqa: PLR2004 - a share
        swap = (torch.rand(count, device=self.device) < EMPTY)[:, None]
        return torch.where(swap, self.nothing[chosen], tokens), torch.where(swap, self.nothing_mask[chosen], mask)

    def batches(self) -> list[int]:
        """Choose a batch size for each bucket, so that every step works on about as many tokens."""
        tokens = [-(-b.size[0] * b.size[1] // 256 // CELL) * CELL + b.length for b in self.buckets]
        return [max(1, round(self.plan.batch * 96 / n)) for n in tokens]

    def step(self, bucket: Bucket, batch: int, progress: float) -> Tensor:
        """Train on one batch."""
        loss = self.loss(bucket, batch)
        self.networks.zero_grad(set_to_none=True)
        loss.backward()
        fall = max(0.0, min(1.0, (1 - progress) / (1 - HOLD)))
        rate = min(1, (self.steps + 1) / WARM_UP) * max(0.005, fall)
        self.muon.param_groups[0]["lr"] = MUON_RATE * rate
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * rate
        nn.utils.clip_grad_norm_(self.rest, 1.0, foreach=True)
        self.muon.step()
        self.adam.step()
        self.steps += 1
        self.seen += batch
        with torch.no_grad():
            keep = min(0.998, (self.steps + 1) / (self.steps + 20))
            torch._foreach_lerp_(self.copies, self.params, 1 - keep)
        return loss.detach()

    def warm_up(self) -> None:
        """Run every bucket once, which compiles; use smaller batches or no compiler where that fails."""
        while True:
            try:
                started = time.time()
                for bucket, batch in zip(self.buckets, self.batches(), strict=True):
                    self.loss(bucket, batch).backward()
                self.networks.zero_grad(set_to_none=True)
                say(f"warmed up in {time.time() - started:.1f} s, batches", self.batches())
            except torch.OutOfMemoryError:
                if self.plan.batch == 1:
                    raise
                self.plan = replace(self.plan, batch=self.plan.batch // 2)
                say("out of memory: batch", self.plan.batch)
                torch.cuda.empty_cache()
            except Exception as error:
                if not self.plan.compiled:
                    raise
                say("not compiled:", repr(error)[:2000])
                self.plan = replace(self.plan, compiled=False)
                self.model = Batched(self.transformer, self.text_encoder, compiled=False)
            else:
                return

    def run(self) -> None:
        """Train until the deadline; save at half, at three quarters, and at the end."""
        self.warm_up()
        begun = time.time()
        end = max(begun + 1, self.plan.deadline - self.plan.reserve)
        batches, saves, losses = self.batches(), [0.5, 0.75], []
        for count in itertools.count(1):
            progress = (time.time() - begun) / (end - begun)
            if progress >= 1:
                break
            which = latents.pick(self.buckets, batches, self.rng)
            losses.append(self.step(self.buckets[which], batches[which], progress))
            if count % 10 == 0:
                self._check(losses[-10:])
            if count % 100 == 0 or count in {1, 10}:
                pace = self.seen / (time.time() - begun)
                mean = torch.stack(losses).mean().item()
                say(f"step {count} {progress:.1%} seen {self.seen} loss {mean:.4f} {pace:.0f} samples/s")
                losses = []
            if saves and progress > saves[0]:
                saves.pop(0)
                self.save()
        say(f"trained {self.steps} steps, {self.seen} samples in {time.time() - begun:.0f} s")
        self.save()

    def _check(self, losses: list[Tensor]) -> None:
        """Wait for the device. After a loss that is no number, go back to the averaged weights."""
        if torch.stack(losses).isfinite().all():
            return
        say("the loss is no number: back to the averaged weights")
        if not all(p.isfinite().all() for p in self.copies):
            raise SystemExit("the averaged weights are no numbers either")
        with torch.no_grad():
            for param, average in zip(self.params, self.copies, strict=True):
                param.copy_(average)
        self._optimizers()

    def save(self) -> None:
        """Write the averaged model in bfloat16 as a folder and as a tar file, and the weights as they are."""
        started, out = time.time(), self.plan.out
        half = [copy.deepcopy(network).to("cpu", BF16) for network in (*self.averaged, self.vae)]
        pipeline(*half, self.plan.base / "tokenizer").save_pretrained(self.plan.model)
        with tarfile.open(out / "model.tar.part", "w") as tar:
            tar.add(self.plan.model, "model")
        (out / "model.tar.part").replace(out / "model.tar")
        weights = {name: param.detach().to("cpu", BF16) for name, param in self.named.items()}
        torch.save({"weights": weights, "steps": self.steps, "seen": self.seen}, out / "state.pt.part")
        (out / "state.pt.part").replace(out / "state.pt")
        size = sum(path.stat().st_size for path in self.plan.model.rglob("*") if path.is_file())
        say(f"saved {size / 1e6:.2f} MB in {time.time() - started:.1f} s")

    def sheets(self) -> None:
        """Draw the contact sheets with the averaged weights."""
        pipe = pipeline(*self.averaged, self.vae, self.plan.base / "tokenizer")
        for name, sheet in contact_sheets(pipe, self.plan.deadline):
            sheet.save(self.plan.out / f"{name}.png")
            say("drew", name)

    def compare(self) -> None:
        """Check that the batched forward equals the classes' own one, on weights that are not zero."""
        torch.manual_seed(3)
        trial = copy.deepcopy(self.networks)
        for name, param in trial[0].named_parameters():
            if "adaLN" in name or "final_layer" in name:
                nn.init.normal_(param, std=0.1)
        model = Batched(trial[0], trial[1], compiled=False)
        for height, width, length in ((16, 16, 32), (12, 20, 32), (18, 14, 64)):
            x, t = torch.randn(2, 16, height, width, device=self.device), torch.tensor([0.2, 0.7], device=self.device)
            tokens = torch.randint(3, 1000, (2, length), device=self.device)
            mask = torch.arange(length, device=self.device) < torch.tensor(
                [[length - 5], [length - 20]], device=self.device
            )
            say(
                "difference to the classes' own forward:",
                (height, width, length),
                difference(model, x, t, tokens, mask),
            )


def prepare(plan: Plan, device: torch.device) -> None:
    """Do ahead what `train` would do first: encode the pictures, and fill the compiler's cache."""
    trainer = Trainer(replace(plan, batch=32), device)
    trainer.load_data()
    trainer.warm_up()
    trainer.step(trainer.buckets[0], 32, 0)


def train(plan: Plan, device: torch.device) -> None:
    """Train, save, and draw sheets."""
    plan.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(plan, device)
    counts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in zip(("transformer", "text encoder", "vae"), (*trainer.networks, trainer.vae), strict=True)
    }
    say("device", device, "parameters", counts, "vae", trainer.vae_folder)
    try:
        trainer.compare()
    except Exception as error:  # noqa: BLE001 - a check alone; training goes on
        say("the comparison failed:", repr(error)[:500])
    trainer.load_data()
    trainer.run()
    trainer.sheets()
