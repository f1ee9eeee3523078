"""The scripts that make the demo model: what they draw, what they say about it, and that a model learns from it."""

import importlib
import json
import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.factories import present
from zimage_cache.prompts.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "demo_model"
DEMO = ROOT / "zimage_cache" / "generator" / "demo"
MODULES = "autoencoder captions evaluate judge latents network picture scene shards tokens train words commands"


@pytest.fixture(scope="module")
def demo():
    """The modules of the scripts; they import each other by bare names."""
    sys.path.insert(0, str(SCRIPTS))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES.split()})
    sys.path.remove(str(SCRIPTS))
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


@pytest.fixture
def data(demo, tmp_path, monkeypatch):
    """Eight rendered pictures of 128x128, with captions in the tokens of a small vocabulary."""
    monkeypatch.setattr(demo.shards, "IN_SHARD", 8)
    monkeypatch.setattr(demo.tokens, "SAMPLES", 50)
    demo.tokens.build(tmp_path / "base" / "tokenizer")
    options = ["--pictures", "8", "--processes", "1", "--square"]
    run(demo, "render", tmp_path / "base", tmp_path / "data", *options)
    return tmp_path


def run(demo, *arguments):
    """Run a command and return what it printed."""
    result = CliRunner().invoke(demo.commands.main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def steps(printed):
    return int(present(re.search(r"saved at step (\d+)", printed))[1])


def scenes(demo, count):
    rng = random.Random(3)
    return [demo.scene.any_scene(rng, (128, 128)) for _ in range(count)]


# ---------------------------------------------------------------- pictures and captions


def test_a_seed_repeats_a_picture_and_its_caption(demo):
    """The same seed draws the same pixels and says the same words; another seed does not."""

    def made(seed):
        rng = random.Random(seed)
        scene = demo.scene.any_scene(rng)
        return np.asarray(demo.picture.drawn(scene, rng)[0]).tobytes(), demo.captions.caption(scene, rng)

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_the_mask_covers_what_is_drawn_in_front(demo):
    """Where the mask is black, the picture is the plain background."""
    scene = demo.scene.Scene((128, 128), thing=demo.scene.Thing("star", "red"), backdrop="blue")
    picture, mask = demo.picture.drawn(scene, random.Random(0))
    outside = np.asarray(mask) == 0
    assert 0.5 < outside.mean() < 0.95
    assert (np.asarray(picture)[outside] == demo.words.COLOURS["blue"]).all()


def said(phrases, text):
    return any(re.search(rf"\b{re.escape(phrase)}s?\b", text) for phrase in phrases)


def test_english_captions_name_only_what_is_drawn(demo):
    """A caption names no object, time of the day or ground that is not in the scene."""
    words = demo.words
    for scene in scenes(demo, 300):
        text = demo.captions.caption(scene, random.Random(0), language="en", plain=True)
        kinds = {thing.kind for thing in (scene.thing, scene.other) if thing}
        for kind, names in words.EN_NAME.items():
            stars = kind == "star" and "stars" in scene.extras
            assert kind in kinds or stars or not said(names, text), (kind, text)
        for time, phrases in words.EN_WHEN.items():
            assert time == scene.time or not said(phrases + words.EN_TIME[time], text), (time, text)
        for ground, phrases in words.EN_PLACE.items():
            assert ground == scene.ground or not said(phrases, text), (ground, text)


def test_full_captions_name_everything(demo):
    """A full caption says what thing there is and in what colour, in both languages."""
    words = demo.words
    for scene in (scene for scene in scenes(demo, 200) if scene.thing):
        thing, rng = scene.thing, random.Random(0)
        english = demo.captions.caption(scene, rng, language="en", plain=True, full=True)
        chinese = demo.captions.caption(scene, rng, language="zh", plain=True, full=True)
        plurals = [words.EN_PLURAL.get(name, name) for name in words.EN_NAME[thing.kind]]
        assert said((*words.EN_NAME[thing.kind], *plurals), english)
        assert thing.colour in english
        assert any(name in chinese or name[1:] in chinese for name in words.ZH_NAME[thing.kind])
        assert words.ZH_COLOUR[thing.colour] in chinese


def test_the_words_of_captions_are_taught(demo):
    """No caption without meaningless words contains a word that users are told the model has not learned."""
    vocabulary = Vocabulary(frozenset(demo.words.taught()))
    for scene in scenes(demo, 300):
        for language in ("en", "zh"):
            text = demo.captions.caption(scene, random.Random(1), language=language, plain=True)
            assert vocabulary.divided(text)[1] == [], text


def test_the_demo_has_the_words_that_it_was_taught(demo):
    """The list in the model's folder is the one of the scripts, and holds no meaningless word."""
    listed = (DEMO / "words.txt").read_text(encoding="utf-8").split()
    assert listed == demo.words.taught()
    assert not {"dragon", "beautiful", "masterpiece", "老人"} & {*listed}


def test_every_look_changes_the_picture(demo):
    """Each style draws the same scene as other pixels than flat illustration and than all other styles."""
    thing = demo.scene.Thing("house", "red")
    looks = [None, *demo.words.LOOKS]
    made = [demo.scene.Scene((128, 128), look, thing, time="day", ground="hills") for look in looks]
    assert len({np.asarray(demo.picture.drawn(scene, random.Random(0))[0]).tobytes() for scene in made}) == len(looks)


def test_tokens_give_the_caption_back(demo, data):
    """Decoding the tokens of a caption gives its text inside the chat template, Chinese and unknown words included."""
    encoder = demo.tokens.Encoder(data / "base" / "tokenizer")
    for text in ("a red house at night", "夜晚的雪山，月亮", "xylophone 🦆"):
        (ids,) = encoder([text])
        decoded = encoder.tokenizer.decode(ids, skip_special_tokens=False)
        assert decoded == demo.tokens.BEFORE + text + demo.tokens.AFTER


def test_scenes_of_a_sheet_are_in_no_render(demo):
    """Neither as they are, nor with another size or sky; their captions name everything."""
    order = demo.shards.RenderOrder(Path(), Path(), 512, 0, 1, seed=3)
    rendered = demo.shards.combinations(order)
    drawn = {demo.shards.combination(scene) for number in range(2) for scene in demo.shards.scenes_of(order, number)[0]}
    assert drawn == rendered
    found = demo.evaluate.unseen(40, [order])
    assert len(found) == 40
    assert not {demo.shards.combination(scene) for scene, _ in found} & rendered
    assert any(scene.look for scene, _ in found)
    for scene, text in found:
        assert scene.thing.colour in text.lower() or demo.words.ZH_COLOUR[scene.thing.colour] in text


# ---------------------------------------------------------------- networks


def test_the_batched_forward_equals_the_classes_own(demo):
    """Pictures whose tokens need padding included; the weights that start at zero are drawn at random first."""
    network = demo.network
    torch.manual_seed(3)
    transformer, text_encoder = network.new_transformer().eval(), network.new_text_encoder(300).eval()
    for name, param in transformer.named_parameters():
        if "adaLN" in name or "final_layer" in name:
            torch.nn.init.normal_(param, std=0.1)
    model = network.Batched(transformer, text_encoder, compiled=False)
    for height, width, length in ((16, 16, 32), (18, 14, 64)):
        x, t = torch.randn(2, 16, height, width), torch.tensor([0.2, 0.7])
        mask = torch.arange(length) < torch.tensor([[length - 5], [length - 20]])
        tokens = torch.randint(3, 300, (2, length))
        assert network.difference(model, x, t, tokens, mask) < 0.03  # bfloat16
        changed = model(x, t, tokens.roll(1, 0), mask) - model(x, t, tokens, mask)
        assert changed.abs().max() > 0.01  # the words matter


def test_a_few_steps_lower_the_loss_on_one_batch(demo, data):
    """The learner learns one batch, and training continues from a saved state."""
    encoder = demo.tokens.Encoder(data / "base" / "tokenizer")
    learner_module = importlib.import_module("learner")
    torch.manual_seed(0)
    learner = learner_module.Learner(encoder.size, torch.device("cpu"), compiled=False)
    x, t = torch.randn(2, 16, 8, 8), torch.tensor([0.3, 0.6])
    tokens, mask = demo.latents.padded(encoder(["a red house", "一只猫"]), 32)

    def loss(one):
        return (one.model(x, t, tokens, mask) - x).pow(2).mean()

    first = loss(learner).item()
    for _ in range(3):
        learner.zero_grad()
        loss(learner).backward()
        learner.step(rate=0.5, seen=2)
    assert loss(learner).item() < first
    learner.save(data / "state.pt")
    again = learner_module.Learner(encoder.size, torch.device("cpu"), compiled=False)
    again.load(data / "state.pt")
    assert (again.steps, again.seen) == (3, 6)
    assert loss(again).item() == pytest.approx(loss(learner).item(), rel=1e-3)


# ---------------------------------------------------------------- the commands


def test_a_model_is_made_from_nothing(demo, data, monkeypatch):
    """Autoencoder and training run from rendered pictures to a pipeline that draws, and go on from the state."""
    monkeypatch.setattr(demo.train, "contact_sheets", lambda *_: [])
    run(demo, "vae", data / "base", data / "data", "--seconds", "0", "--batch", "2")
    train = ["train", data / "base", data / "data", data / "out", "--seconds", "0", "--batch", "2"]
    train += ["--no-compile", "--device", "cpu"]
    before = steps(run(demo, *train))
    assert steps(run(demo, *train, "--start", data / "out" / "state.pt")) > before
    pipeline = importlib.import_module("diffusers").ZImagePipeline.from_pretrained(data / "out" / "model")
    (picture,) = importlib.import_module("sheets").draw(pipeline, ["a red house"], steps=2)
    assert picture.size == (128, 128)
    assert folders_named(data / "out" / "model") == []


def folders_named(model: Path) -> list[str]:
    """List the values in a model's settings that are absolute paths: of the machine that made it."""
    settings = [json.loads(path.read_text("utf-8")) for path in model.rglob("*config.json")]
    assert len(settings) >= 4
    return [value for each in settings for value in each.values() if isinstance(value, str) and value.startswith("/")]


def test_the_demo_names_no_folder():
    """Nothing in it says where it was made."""
    assert folders_named(DEMO) == []


def test_a_model_is_scored(demo, tmp_path, monkeypatch):
    """The judge is asked about every prompt, and says how often it is right itself."""
    monkeypatch.setattr(demo.judge, "HELD_OUT", 20)
    torch.save(demo.judge.Judge().state_dict(), tmp_path / "judge.pt")
    printed = run(demo, "evaluate", DEMO, tmp_path, "--only-shapes", "--prompts", "4", "--steps", "2")
    assert re.search(r"judge on renders: thing \d+/\d+", printed)
    assert re.search(r"plain shapes: thing \d/2, colour \d/2, backdrop \d/2", printed)


def test_only_true_answers_count(demo):
    """Questions that do not arise are not counted."""
    scene = demo.scene.Scene((128, 128), thing=demo.scene.Thing("cat", "red", "left"), backdrop="blue")
    truth = demo.judge.answers(scene)
    counts = demo.judge.agreement([truth, truth | {"colour": "green"}], [truth, truth])
    assert counts["thing"] == (2, 2)
    assert counts["colour"] == (1, 2)
    assert counts["time"] == (0, 0)
