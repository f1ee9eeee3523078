"""Scores of a model: how often a classifier finds the contents of the prompts in its pictures."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from captions import PRESETS, caption
from diffusers import ZImagePipeline
from judge import Judge, agreement, answers, load_judge, reliability
from PIL import Image
from scene import Scene, Thing, any_scene
from shards import RenderOrder, combination, combinations
from sheets import contact_sheets, draw, tiled
from words import COLOURS, LOOKS

OLD_SHAPES = ("circle", "square", "triangle", "star")
Counts = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Exam:
    """What to measure, and how the pictures are drawn."""

    model: Path
    out: Path
    judge: Path
    prompts: int = 96
    guidance: float = 1.0
    steps: int = 8
    only_shapes: bool = False


def single_things(count: int, seed: int) -> list[Scene]:
    """Choose scenes in flat illustration with things of one kind."""
    rng, scenes = random.Random(f"test {seed}"), list[Scene]()
    while len(scenes) < count:
        scene = any_scene(rng, (128, 128), styled=0)
        if scene.thing and not scene.other:
            scenes.append(scene)
    return scenes


def plain_shapes(count: int) -> list[Scene]:
    """Choose coloured shapes on plain backgrounds."""
    rng, scenes = random.Random("shapes"), []
    for i in range(count):
        colour, backdrop = rng.sample([name for name in COLOURS if name != "pink"], 2)
        scenes.append(Scene((128, 128), thing=Thing(OLD_SHAPES[i % 4], colour), backdrop=backdrop))
    return scenes


def _shape_prompt(scene: Scene) -> str:
    assert scene.thing  # noqa: S101 - as chosen above
    return f"a {scene.thing.colour} {scene.thing.kind} on a {scene.backdrop} background"


class Scorer:
    """Draws prompts and classifies the pictures."""

    def __init__(self, exam: Exam, pipe: ZImagePipeline, judge: Judge) -> None:
        self.exam, self.pipe, self.judge = exam, pipe, judge

    def score(self, scenes: list[Scene], prompts: list[str], seed: int) -> tuple[Counts, Counter[str]]:
        """Count right answers for each question, and right things by their kind."""
        pictures = draw(self.pipe, prompts, seed=seed, guidance=self.exam.guidance, steps=self.exam.steps)
        said, truth = self.judge.ask(pictures), [answers(scene) for scene in scenes]
        things = Counter(b["thing"] for a, b in zip(said, truth, strict=True) if a["thing"] == b["thing"])
        return agreement(said, truth), things

    def languages(self) -> Iterator[tuple[str, Counts]]:
        """Score prompts that name everything, in both languages; then things by their kind."""
        scenes = single_things(self.exam.prompts, 1)
        found: Counter[str] = Counter()
        for language in ("en", "zh"):
            rng = random.Random(f"words {language}")
            prompts = [caption(scene, rng, language=language, full=True, plain=True) for scene in scenes]
            counts, things = self.score(scenes, prompts, seed=900)
            found += things
            yield language, counts
        asked = Counter(scene.thing.kind for scene in scenes if scene.thing)
        yield "by thing", {kind: (found[kind], 2 * asked[kind]) for kind in sorted(asked)}

    def looks(self) -> Iterator[tuple[str, Counts]]:
        """Score the styles, in the words of the page's presets."""
        rng = random.Random("looks")
        for look in LOOKS:
            scenes = [replace(scene, look=look) for scene in single_things(max(1, self.exam.prompts // 12), 3)]
            texts = [caption(scene, rng, language="en", full=True, plain=True) for scene in scenes]
            prompts = [PRESETS[look]["prompt"].replace("{prompt}", text) for text in texts]
            yield look, {q: n for q, n in self.score(scenes, prompts, seed=300)[0].items() if q in {"look", "thing"}}

    def shapes(self) -> Iterator[tuple[str, Counts]]:
        """Score plain shapes on plain backgrounds."""
        scenes = plain_shapes(max(1, self.exam.prompts // 2))
        yield "plain shapes", self.score(scenes, [_shape_prompt(scene) for scene in scenes], seed=500)[0]


def unseen(count: int, orders: Sequence[RenderOrder]) -> list[tuple[Scene, str]]:
    """Choose scenes with things whose combinations no order has, a quarter of them styled, and their captions."""
    seen: set[Scene] = set().union(*map(combinations, orders))
    rng, found = random.Random("unseen"), list[tuple[Scene, str]]()
    while len(found) < count:
        scene = any_scene(rng, (128, 128), styled=0.25)
        if scene.thing and not scene.other and combination(scene) not in seen:
            text = caption(scene, rng, language=rng.choice(("en", "en", "zh")), full=True, plain=True)
            look = PRESETS[scene.look]["prompt"].replace("{prompt}", text) if scene.look else text
            found.append((scene, look))
    return found


def contact_sheet(model: Path, orders: Sequence[RenderOrder], guidance: float) -> tuple[Image.Image, list[str]]:
    """Draw 64 scenes that were not trained on, one picture each, none chosen; also returns the prompts."""
    pipe = ZImagePipeline.from_pretrained(model, local_files_only=True, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    prompts = [prompt for _, prompt in unseen(64, orders)]
    return tiled(draw(pipe, prompts, seed=6000, guidance=guidance), 8), prompts


def _line(name: str, counts: Counts) -> str:
    return f"{name}: " + ", ".join(f"{q} {right}/{of}" for q, (right, of) in counts.items() if of)


def _speed(pipe: ZImagePipeline, guidance: float) -> Iterator[str]:
    for width, height in ((128, 128), (192, 128), (256, 256)):
        best = float("inf")
        for i in range(4):  # the first one warms up
            started = time.perf_counter()
            draw(pipe, ["a red house in the snow at night"], (width, height), seed=i, guidance=guidance)
            best = min(best, time.perf_counter() - started)
        yield f"{width}x{height}: {best:.2f} s"


def evaluate(exam: Exam) -> None:
    """Print the scores, and draw the contact sheets into the folder `out`."""
    exam.out.mkdir(parents=True, exist_ok=True)
    pipe = ZImagePipeline.from_pretrained(exam.model, local_files_only=True, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    judge = load_judge(exam.judge, 12_000)
    scorer = Scorer(exam, pipe, judge)
    print(_line("judge on renders", reliability(judge)), flush=True)
    groups = [scorer.shapes()] if exam.only_shapes else [scorer.languages(), scorer.shapes(), scorer.looks()]
    for group in groups:
        for name, counts in group:
            print(_line(name, counts), flush=True)
    print("speed:", ", ".join(_speed(pipe, exam.guidance)), flush=True)
    if not exam.only_shapes:
        for name, sheet in contact_sheets(pipe):
            sheet.save(exam.out / f"{name}.png")
