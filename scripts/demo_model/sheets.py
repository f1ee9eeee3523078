"""Contact sheets: fixed prompts with fixed seeds, one picture each, none chosen."""

import time
from collections.abc import Iterator

import torch
from captions import PRESETS
from diffusers import ZImagePipeline
from PIL import Image

GAP = 4
SCENES = (
    "a red lighthouse by the sea at sunset", "夜晚的雪山，月亮", "a black cat on the hills at night, the moon",
    "a blue sailboat on the sea by day with clouds", "two red mushrooms in a meadow", "日落沙漠里的紫色热气球",
    "a red circle on a blue background", "黑色背景上的黄色五角星",
    "a white house in the snow at night, stars", "清晨草地上的大黄色花朵", "a big red apple on a white background",
    "a purple rocket over the desert at sunset", "绿色背景上的白色正方形", "a green pine tree in the mountains by day",
    "海里的橙色的鱼，日出", "a blue triangle on an orange background",
    "an orange cat in a meadow on a sunny day, sun", "夜里的红色小屋，雪地，星空",
    "a yellow house and a small green tree in a meadow", "sunset, sea, white sailboat, on the left",
    "粉色的城堡，雪山，白天", "a big pink tree, my grandmother's garden, spring", "左边一座蓝色的灯塔，大海，白天",
    "two yellow balloons over the mountains at dawn",
    "a snowman in the snow at night, full moon", "沙漠里的绿色仙人掌，太阳", "a red car on the hills by day",
    "a purple butterfly over a meadow", "a pink heart on a black background", "两只黑猫，日落，草地",
    "a small red house on the right, by the sea, dawn", "nothing but rain, 读书的老人, blurry memories",
)  # fmt: skip
STYLED = {
    "watercolor": ("a red house in a meadow", "a lighthouse by the sea"),
    "ink": ("雪山，一棵松树", "海上的帆船，月亮"),
    "gufeng": ("山丘上的城堡，黄昏", "一朵红色的花"),
    "sketch": ("a cat", "a house in the mountains"),
    "comic": ("a red rocket", "a yellow flower in a meadow by day"),
    "pixel": ("a mushroom in a meadow", "夜晚的雪山，月亮"),
    "cinematic": ("a sailboat at sea at sunset", "an orange cat on the hills"),
    "cyberpunk": ("a red car in the mountains", "a cat"),
    "poster": ("a hot-air balloon", "a red lighthouse by the sea at sunset"),
    "papercut": ("a castle in the mountains", "a blue butterfly, dawn"),
}
WIDE = (
    ((256, 256), "a red lighthouse by the sea at sunset"), ((256, 256), "夜晚的雪山，月亮，一只黑色的猫"),
    ((256, 256), "a pink castle on the hills by day with clouds"), ((256, 256), "a yellow star on a purple background"),
    ((256, 144), "a blue sailboat on the sea by day with clouds"), ((144, 256), "黎明山丘上的绿色热气球"),
    ((192, 128), "two red houses in the snow at night"), ((128, 192), "a white rocket at night, stars"),
    ((160, 96), "a red car in the desert at sunset"), ((96, 160), "a purple flower in a meadow"),
    ((256, 192), "an orange cat in a meadow on a sunny day, sun"), ((192, 256), "雪地里的雪人，夜晚，月亮"),
)  # fmt: skip


def styled(look: str, prompt: str) -> str:
    """Put a prompt into the words of a style preset."""
    return PRESETS[look]["prompt"].replace("{prompt}", prompt)


def draw(
    pipe: ZImagePipeline,
    prompts: list[str],
    size: tuple[int, int] = (128, 128),
    *,
    seed: int = 0,
    guidance: float = 1.0,
    steps: int = 8,
) -> list[Image.Image]:
    """Draw one picture for each prompt; the seeds count up from `seed`."""
    pictures: list[Image.Image] = []
    for k in range(0, len(prompts), 16):
        part = prompts[k : k + 16]
        generators = [torch.Generator().manual_seed(seed + k + j) for j in range(len(part))]
        pictures += pipe(
            part,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
        ).images
    return pictures


def tiled(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Put pictures into rows, each as high as its highest picture."""
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    width = max(sum(p.width + GAP for p in row) for row in rows)
    heights = [max(p.height for p in row) + GAP for row in rows]
    sheet = Image.new("RGB", (width, sum(heights)), (232, 232, 232))
    y = 0
    for row, height in zip(rows, heights, strict=True):
        x = 0
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + GAP
        y += height
    return sheet


def contact_sheets(pipe: ZImagePipeline, deadline: float = float("inf")) -> Iterator[tuple[str, Image.Image]]:
    """Draw the sheets one after the other, as long as there is time: scenes, styles, other sizes."""
    yield "sheet_scenes", tiled(draw(pipe, list(SCENES), seed=2000), 8)
    prompts = [styled(look, prompt) for look, pair in STYLED.items() for prompt in pair]
    yield "sheet_styles", tiled(draw(pipe, prompts, seed=3000), 8)
    pictures = []
    for i, (size, prompt) in enumerate(WIDE):
        if time.time() > deadline:
            break
        pictures += draw(pipe, [prompt], size, seed=4000 + i)
    if pictures:
        yield "sheet_sizes", tiled(pictures, 4)
