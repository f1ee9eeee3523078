"""Draws a scene: the background, the things in front of it, and the look over both."""

import random

import numpy as np
from landscape import Landscape
from looks import LOOKS
from pen import Pen, tinted
from PIL import Image, ImageDraw
from scene import Scene, Thing
from things import DRAW
from words import COLOURS, IN_THE_SEA, IN_THE_SKY

SHARE = {"": (0.50, 0.56), "large": (0.70, 0.78), "small": (0.30, 0.35)}  # height of a thing, of the shorter side
PLACE = {"left": -0.25, "middle": 0.0, "right": 0.25}


def drawn(scene: Scene, rng: random.Random, finer: int = 3) -> Image.Image:
    """Draw a scene; edges are smooth, because it is drawn `finer` times larger."""
    width, height = scene.size
    if scene.ground:
        ground = Landscape(scene, rng, width * finer, height * finer)
        behind, horizon = ground.picture, ground.horizon
    else:
        behind, horizon = Image.new("RGB", (width * finer, height * finer), COLOURS[scene.backdrop or "white"]), None
    front = Image.new("RGBA", behind.size, (0, 0, 0, 0))
    for thing, share in _placed(scene, rng):
        _put(front, scene, thing, share, horizon, rng)
    if scene.look is None:
        behind.paste(front, mask=front)
        return behind.reduce(finer)
    return LOOKS[scene.look](np.asarray(behind.reduce(finer), np.float32), np.asarray(front.reduce(finer), np.float32))


def _placed(scene: Scene, rng: random.Random) -> list[tuple[Thing, float]]:
    """List the things to draw, the farther one first, each with its height."""
    thing, other = scene.thing, scene.other
    if thing is None:
        return []
    if scene.twice:
        share = rng.uniform(0.38, 0.43)
        return [(Thing(thing.kind, thing.colour, side), share) for side in ("left", "right")]
    if other:
        return [(other, rng.uniform(0.27, 0.31)), (thing, rng.uniform(0.46, 0.50))]
    return [(thing, rng.uniform(*SHARE[thing.scale]))]


def _put(front: Image.Image, scene: Scene, thing: Thing, share: float, horizon: int | None, rng: random.Random) -> None:
    """Draw one thing where it belongs."""
    (width, height), unit = front.size, min(front.size)
    size = share * unit
    x = width * (0.5 + PLACE[thing.side]) + rng.uniform(-0.03, 0.03) * unit
    x = min(max(x, size * 0.55), width - size * 0.55)
    draw = ImageDraw.Draw(front)
    if horizon is None:
        y = height / 2 + size / 2 + rng.uniform(-0.03, 0.03) * unit
    else:
        y = _feet(thing, scene, size, horizon, front.size, rng)
        if scene.ground == "sea" and thing.kind not in IN_THE_SKY + IN_THE_SEA:  # a rock to stand on
            rock = (x - size * 0.62, y - size * 0.1, x + size * 0.62, y + size * 0.22)
            draw.ellipse(rock, fill=tinted((120, 112, 108), scene.time))
    DRAW[thing.kind](Pen(draw, x, y, size, scene.time), COLOURS[thing.colour])


def _feet(thing: Thing, scene: Scene, size: float, horizon: int, whole: tuple[int, int], rng: random.Random) -> float:
    """Say at which height of the picture a thing ends below."""
    unit, height = min(whole), whole[1]
    if thing.kind in IN_THE_SKY:
        return max(horizon * rng.uniform(0.86, 0.97), size + unit * 0.04)
    if thing.kind == "fish":
        return horizon + size * 0.12 if scene.ground == "sea" else height * 0.95
    if thing.kind == "sailboat":
        return horizon + unit * 0.14
    return max(min(height - unit * 0.05, horizon + unit * rng.uniform(0.17, 0.24)), size + unit * 0.03)
