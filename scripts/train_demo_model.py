"""Trains or evaluates the embedded demo model: a tiny `ZImagePipeline` trained on drawings of coloured shapes.

    python scripts/train_demo_model.py train OUT            about 90 minutes on two CPU cores
    python scripts/train_demo_model.py evaluate FOLDER      a minute

Training has two parts. First the VAE is trained to encode small pictures in 16 channels at an eighth of their size.
Then the transformer and the text encoder are trained together, by flow matching: at a random time between noise and
picture, predict the direction from one to the other, given the caption. Nothing is downloaded: the vocabulary is built
from the captions, and every picture is drawn by this script.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

# ---------------------------------------------------------------- scenes

SIDE = 128
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 90, 220),
    "yellow": (245, 210, 50),
    "purple": (140, 60, 180),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
RADII = {"small": (20, 24), "": (30, 36), "large": (44, 50)}  # pixels
# `evaluate` distinguishes shapes by the share of their bounding box that they cover.
COVERAGE = {"circle": 0.785, "square": 1.0, "triangle": 0.5, "star": 0.33}
CHINESE = {
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "purple": "紫色",
    "orange": "橙色",
    "white": "白色",
    "black": "黑色",
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "星形",
    "small": "小",
    "large": "大",
    "": "",
}


@dataclass(frozen=True)
class Scene:
    """One shape of one colour and size on a background of another colour."""

    colour: str
    shape: str
    background: str
    size: str

    def in_english(self, form: int = 0) -> str:
        """Describe it in one of three forms of words."""
        thing = f"{self.size} {self.colour} {self.shape}".strip()
        return (
            f"a {thing} on a {self.background} background",
            f"{thing}, {self.background} background",
            f"a {self.background} background with a {thing}",
        )[form]

    def in_chinese(self) -> str:
        """Describe it in Chinese."""
        return f"{CHINESE[self.background]}背景上的{CHINESE[self.size]}{CHINESE[self.colour]}{CHINESE[self.shape]}"


def any_scene(rng: np.random.Generator) -> Scene:
    """Pick a scene whose shape can be seen: two different colours."""
    colour, background = rng.choice(list(COLOURS), 2, replace=False)
    return Scene(str(colour), str(rng.choice(list(COVERAGE))), str(background), str(rng.choice(list(RADII))))


def any_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Describe a scene: the first English form twice as often as the two others and Chinese."""
    form = int(rng.integers(5))
    return scene.in_chinese() if form == 4 else scene.in_english((0, 0, 1, 2)[form])  # noqa: PLR2004 - of five


def drawn(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene at a random place: RGB bytes, shape (SIDE, SIDE, 3), smooth edges."""
    finer = 2
    image = Image.new("RGB", (SIDE * finer, SIDE * finer), COLOURS[scene.background])
    radius = rng.uniform(*RADII[scene.size]) * finer
    middle = SIDE * finer / 2
    slack = min(8 * finer, middle - radius)
    x, y = middle + rng.uniform(-slack, slack, 2)
    pen = ImageDraw.Draw(image)
    if scene.shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[scene.colour])
    else:
        pen.polygon(corners(scene.shape, x, y, radius), fill=COLOURS[scene.colour])
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def corners(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """List the corners of a square, triangle or star about (x, y)."""
    if shape == "square":
        reach = 0.9 * radius
        return [(x - reach, y - reach), (x + reach, y - reach), (x + reach, y + reach), (x - reach, y + reach)]
    reaches = [1.15 * radius] * 3 if shape == "triangle" else [1.15 * radius, 0.48 * radius] * 5
    turns = [2 * math.pi * i / len(reaches) for i in range(len(reaches))]
    return [(x + r * math.sin(turn), y - r * math.cos(turn)) for r, turn in zip(reaches, turns, strict=True)]


# ---------------------------------------------------------------- the model: the real classes, 2,300 times smaller

# Qwen3's template, reduced to the parts that the pipeline uses.
CHAT_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def make_tokenizer(captions: list[str]) -> Qwen2Tokenizer:
    """Build a byte-level BPE vocabulary of 480 from the captions; any other text falls back to bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(captions, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],  # type: ignore[misc]  # the class takes pairs too
        unk_token=None,  # type: ignore[arg-type]  # likewise None
        pad_token="<|endoftext|>",  # noqa: S106 - no secret
        eos_token="<|im_end|>",  # noqa: S106 - no secret
        padding_side="right",
        model_max_length=131072,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_pipeline(captions: list[str]) -> ZImagePipeline:
    """Build an untrained pipeline of 4.5 million parameters that saves and loads like the real one."""
    tokenizer = make_tokenizer(captions)
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=160,
        n_layers=5,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=128,
        axes_dims=[8, 16, 16],  # add up to dim / n_heads
        axes_lens=[1536, 512, 512],  # 1,024 tokens of text must fit
    )
    torch.nn.init.zeros_(transformer.all_final_layer["2-1"].linear.weight)
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=1024,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    pipeline = ZImagePipeline(scheduler, vae, text_encoder, tokenizer, transformer)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# ---------------------------------------------------------------- training, within a time box


def steps_for(
    seconds: float, optimizer: torch.optim.Optimizer, *, warm_up: int, floor: float
) -> Iterator[tuple[int, float]]:
    """Count steps until *seconds* are over, with the share of them spent; sets the learning rate on a cosine."""
    rates = [group["lr"] for group in optimizer.param_groups]
    started = time.perf_counter()
    step = 0
    while (spent := (time.perf_counter() - started) / seconds) < 1:
        pace = min(1, (step + 1) / warm_up) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * spent)))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * pace
        yield step, spent
        step += 1


def descend(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], loss: torch.Tensor) -> None:
    """Take one optimizer step with clipped gradients."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def train_vae(vae: AutoencoderKL, pictures: torch.Tensor, seconds: float) -> None:
    """Train the VAE to reconstruct *pictures* (n, 3, SIDE, SIDE; bytes): on crops, in the last fifth on whole ones."""
    vae.train()
    parameters = list(vae.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.99), weight_decay=0)
    for step, spent in steps_for(seconds, optimizer, warm_up=50, floor=0.02):
        whole = spent > 0.8  # noqa: PLR2004 - a fifth
        batch = pictures[torch.randint(len(pictures), (8 if whole else 16,))].float() / 127.5 - 1
        if not whole:
            top, left = (16 + 8 * torch.randint(5, (2,))).tolist()
            batch = batch[:, :, top : top + 64, left : left + 64]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            again = vae.decode(posterior.sample()).sample
        error = again.float() - batch
        squared = error.square().mean()
        small_latents = posterior.kl().mean() / (batch.shape[2] * batch.shape[3] / 64)
        descend(optimizer, parameters, error.abs().mean() + squared + 2e-5 * small_latents)
        if step % 200 == 0:
            print(f"vae step {step} {spent:.0%} PSNR {10 * math.log10(4 / squared.item()):.1f} dB", flush=True)
    vae.eval()


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Encode all pictures to latents of mean 0 and deviation 1; the VAE's configuration receives shift and scale."""
    batches = [vae.encode(batch.float() / 127.5 - 1).latent_dist.mode() for batch in pictures.split(50)]
    latents = torch.cat(batches)
    shift, scale = latents.mean().item(), 1 / latents.std().item()
    vae.register_to_config(shift_factor=shift, scaling_factor=scale)
    return (latents - shift) * scale


def train_flow(pipeline: ZImagePipeline, latents: torch.Tensor, captions: list[str], seconds: float) -> None:
    """Train transformer and text encoder to predict *latents* from noise; their weights end as running averages."""
    networks = (pipeline.transformer.train(), pipeline.text_encoder.train())
    parameters = [parameter for network in networks for parameter in network.parameters()]
    averages = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    tokens, present = tokenize(pipeline, [*captions, ""])
    for step, spent in steps_for(seconds, optimizer, warm_up=100, floor=0.03):
        which = torch.randint(len(latents), (64,))
        # One caption in twelve is withheld, so that guidance has an unconditional direction to start from.
        said = which.where(torch.rand(len(which)) > 0.08, len(captions))  # noqa: PLR2004 - see above
        loss = flow_loss(pipeline, latents[which], tokens[said], present[said])
        descend(optimizer, parameters, loss)
        with torch.no_grad():
            memory = min(0.995, (step + 1) / (step + 20))
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - memory)
        if step % 50 == 0:
            print(f"flow step {step} {spent:.0%} loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        for parameter, average in zip(parameters, averages, strict=True):
            parameter.copy_(average)
    for network in networks:
        network.eval()


def flow_loss(
    pipeline: ZImagePipeline, latents: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Return the error of the predicted direction at random times, more of them near noise (shift 3)."""
    even = torch.rand(len(latents))
    noisiness = 3 * even / (1 + 2 * even)
    noise = torch.randn_like(latents)
    mixed = torch.lerp(latents, noise, noisiness[:, None, None, None])
    # The last layer but one, as the pipeline uses it.
    states = pipeline.text_encoder(input_ids=tokens, attention_mask=present, output_hidden_states=True)
    texts = [text[there] for text, there in zip(states.hidden_states[-2], present, strict=True)]
    frames = list(mixed.unsqueeze(2).unbind(0))
    predicted = pipeline.transformer(frames, 1 - noisiness, texts, return_dict=False)[0]
    return (torch.stack(list(predicted)).squeeze(2) - (latents - noise)).square().mean()


def tokenize(pipeline: ZImagePipeline, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokenize as the pipeline does: token numbers, and which of them are no padding; both (n, longest)."""
    tokenizer: Any = pipeline.tokenizer
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": caption}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        for caption in captions
    ]
    encoded = tokenizer(chats, padding=True, return_tensors="pt")
    return encoded.input_ids, encoded.attention_mask.bool()


# ---------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Sight:
    """What a picture shows: the nearest colours, and the shape by its coverage; None where there is none."""

    background: str
    colour: str | None
    shape: str | None


def nearest(pixel: np.ndarray) -> str:
    """Return the name of the colour closest to an RGB *pixel*."""
    return min(COLOURS, key=lambda name: float(((np.array(COLOURS[name]) - pixel) ** 2).sum()))


def look(pixels: np.ndarray) -> Sight:
    """Analyse a picture of floats 0..255, shape (SIDE, SIDE, 3), by rules independent of the prompt."""
    rim = np.ones(pixels.shape[:2], dtype=bool)
    rim[10:-10, 10:-10] = False
    background = pixels[rim].mean(0)
    inside = ((pixels - background) ** 2).sum(2) > 60**2
    if inside.sum() < 40:  # noqa: PLR2004 - pixels; less is no shape
        return Sight(nearest(background), None, None)
    height, width = (np.ptp(places) + 1 for places in np.where(inside))
    coverage = inside.sum() / (height * width)
    shape = min(COVERAGE, key=lambda name: abs(COVERAGE[name] - coverage))
    return Sight(nearest(background), nearest(np.median(pixels[inside], 0)), shape)


def judge(
    pipeline: ZImagePipeline, describe: Callable[[Scene], str], count: int, guidance: float, steps: int
) -> tuple[float, float, float]:
    """Draw *count* scenes; returns the percentages of right backgrounds, colours and shapes."""
    rng = np.random.default_rng(5)
    right = np.zeros(3)
    for number in range(count):
        scene = any_scene(rng)
        image = pipeline(
            describe(scene),
            height=SIDE,
            width=SIDE,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(number),
        ).images[0]
        sight = look(np.asarray(image, dtype=float))
        right += (sight.background == scene.background, sight.colour == scene.colour, sight.shape == scene.shape)
    background, colour, shape = (100 * right / count).tolist()
    return background, colour, shape


# ---------------------------------------------------------------- commands


@click.group(help=(__doc__ or "").partition("\n")[0])
def main() -> None:
    """Run one of the two commands."""


@main.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--vae-seconds", default=1500.0, show_default=True, help="Time for the VAE.")
@click.option("--flow-seconds", default=3700.0, show_default=True, help="Time for transformer and text encoder.")
@click.option("--pictures", default=12000, show_default=True, help="How many scenes to draw and learn from.")
@click.option("--seed", default=0, show_default=True)
def train(out: Path, vae_seconds: float, flow_seconds: float, pictures: int, seed: int) -> None:
    """Train a model and save it in OUT, in bfloat16."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    scenes = [any_scene(rng) for _ in range(pictures)]
    captions = [any_caption(scene, rng) for scene in scenes]
    drawings = torch.from_numpy(np.stack([drawn(scene, rng) for scene in scenes])).permute(0, 3, 1, 2).contiguous()
    pipeline = make_pipeline(sorted(set(captions)))
    train_vae(pipeline.vae, drawings, vae_seconds)
    train_flow(pipeline, encode(pipeline.vae, drawings), captions, flow_seconds)
    pipeline.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    print(f"saved in {out}; now run `evaluate {out}`")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--guidance", default=[0.0, 1.0, 2.0], multiple=True, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--count", default=64, show_default=True, help="Prompts in each language.")
def evaluate(folder: Path, guidance: tuple[float, ...], steps: int, count: int) -> None:
    """Print how often the model in FOLDER draws what the prompt describes."""
    pipeline = ZImagePipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    print(f"right out of {count}, in percent, {steps} steps")
    for language, describe in (("English", Scene.in_english), ("Chinese", Scene.in_chinese)):
        for scale in guidance:
            background, colour, shape = judge(pipeline, describe, count, scale, steps)
            print(f"{language} guidance {scale}: background {background:.0f} colour {colour:.0f} shape {shape:.0f}")


if __name__ == "__main__":
    main()
