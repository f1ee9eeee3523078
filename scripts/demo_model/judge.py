"""A small classifier of the contents of pictures; trained on rendered pictures, never on generated ones."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom
from picture import drawn
from PIL import Image
from scene import Scene, any_scene
from torch import Tensor, nn
from words import COLOURS, GROUNDS, LOOKS, OBJECTS, SHAPES, SIDES, TIMES

NONE = "none"
QUESTIONS: dict[str, tuple[str, ...]] = {
    "thing": (NONE, *OBJECTS, *SHAPES),
    "colour": (NONE, *COLOURS),
    "backdrop": (NONE, *COLOURS),
    "time": (NONE, *TIMES),
    "ground": (NONE, *GROUNDS),
    "look": (NONE, *LOOKS),
    "side": (NONE, *SIDES),
    "count": ("0", "1", "2"),
}
RATE, BATCH, HELD_OUT = 2e-3, 64, 500


def answers(scene: Scene) -> dict[str, str]:
    """Return the contents of a scene as answers to `QUESTIONS`."""
    thing = scene.thing
    return {
        "thing": thing.kind if thing else NONE,
        "colour": thing.colour if thing else NONE,
        "backdrop": scene.backdrop or NONE,
        "time": scene.time or NONE,
        "ground": scene.ground or NONE,
        "look": scene.look or NONE,
        "side": thing.side if thing and not scene.twice else NONE,
        "count": "0" if thing is None else "2" if scene.twice else "1",
    }


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.SiLU())


class Judge(nn.Module):
    """Answers all questions about pictures of 128x128."""

    def __init__(self) -> None:
        super().__init__()
        layers = _conv(3, 24, 2, 5), _conv(24, 48, 2), _conv(48, 64), _conv(64, 96, 2), _conv(96, 128, 2)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 64, 256), nn.SiLU())
        self.heads = nn.ModuleDict({question: nn.Linear(256, len(words)) for question, words in QUESTIONS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the logits of each question; pictures from -1 to 1."""
        features = self.body(pictures)
        return {question: head(features) for question, head in self.heads.items()}

    @torch.no_grad()
    def ask(self, pictures: list[Image.Image]) -> list[dict[str, str]]:
        """Classify pictures."""
        logits = self(_pixels(pictures))
        chosen = {question: out.argmax(1).tolist() for question, out in logits.items()}
        return [{q: QUESTIONS[q][picks[i]] for q, picks in chosen.items()} for i in range(len(pictures))]


def _pixels(pictures: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1


def examples(count: int, seed: int, styled: float = 0.42) -> tuple[list[Image.Image], list[dict[str, str]]]:
    """Render scenes with at most one kind of thing, with their right answers."""
    rng = random.Random(f"judge {seed}")
    pictures: list[Image.Image] = []
    said: list[dict[str, str]] = []
    while len(pictures) < count:
        scene = any_scene(rng, (128, 128), styled)
        if scene.other is None:
            pictures.append(drawn(scene, rng)[0])
            said.append(answers(scene))
    return pictures, said


def _blurred(x: Tensor) -> Tensor:
    """Blur a random half of the pictures, and add noise: generated pictures are less crisp than rendered ones."""
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand(len(x), 1, 1, 1) * (torch.rand(len(x), 1, 1, 1) < 0.5)  # noqa: PLR2004 - half
    return x + share * (soft - x) + 0.04 * torch.randn_like(x)


def train_judge(pictures: int, epochs: int = 10, seed: int = 7) -> Judge:
    """Train a judge on freshly rendered pictures."""
    torch.manual_seed(seed)
    judge, (images, said) = Judge(), examples(pictures, seed)
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    y = {q: torch.tensor([words.index(one[q]) for one in said]) for q, words in QUESTIONS.items()}
    optimizer = torch.optim.AdamW(judge.parameters(), RATE, weight_decay=0.02)
    steps = max(1, epochs * pictures // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in range(steps):
        pick = torch.randint(pictures, (BATCH,))
        out = judge(_blurred(x[pick].float() / 127.5 - 1))
        loss = sum(F.cross_entropy(logits, y[q][pick]) for q, logits in out.items())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]  # the sum of no losses would be the number 0
        optimizer.step()
        schedule.step()
    return judge.eval()


def load_judge(path: Path, pictures: int) -> Judge:
    """Load the judge saved at a path; train and save it where there is none."""
    if not path.exists():
        torch.save(train_judge(pictures).state_dict(), path)
    judge = Judge()
    judge.load_state_dict(torch.load(path, weights_only=True))
    return judge.eval()


def agreement(said: list[dict[str, str]], truth: list[dict[str, str]]) -> dict[str, tuple[int, int]]:
    """Count for each question how many answers are right, of those that have one."""
    counts = {}
    for question in QUESTIONS:
        asked = [(a[question], b[question]) for a, b in zip(said, truth, strict=True) if b[question] != NONE]
        counts[question] = (sum(a == b for a, b in asked), len(asked))
    return counts


def reliability(judge: Judge) -> dict[str, tuple[int, int]]:
    """Count how often the judge is right about rendered pictures that it has not seen."""
    pictures, truth = examples(HELD_OUT, seed=-1)
    return agreement(judge.ask(pictures), truth)
