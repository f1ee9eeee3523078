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

SHARE = {"": 0.58, "large": 0.78, "small": 0.38}  # height of a thing, of the shorter side
OF_TWO, BESIDE, OTHER = 0.40, 0.48, 0.29  # of each of two alike; of one that has another, smaller one beside it
JITTER = 0.006  # of the shorter side; things at the same places are learned much sooner
PLACE = {"left": -0.25, "middle": 0.0, "right": 0.25}
ROCK = (120, 112, 108)


def drawn(scene: Scene, rng: random.Random, finer: int = 3) -> tuple[Image.Image, Image.Image]:
    """Return a picture of a scene, and where its things are: white on black.

    Edges are smooth, because all is drawn `finer` times larger.
    """
    behind, horizon = _behind(scene, rng, finer)
    foreground = Foreground(scene, rng, behind.size, horizon)
    for thing, share in _placed(scene):
        foreground.put(thing, share)
    front = foreground.picture
    small = front.reduce(finer)
    if scene.look is None:
        behind.paste(front, mask=front)
        return behind.reduce(finer), small.getchannel("A")
    look = LOOKS[scene.look]
    picture = look(np.asarray(behind.reduce(finer), np.float32), np.asarray(small, np.float32))
    return picture, small.getchannel("A")


def _behind(scene: Scene, rng: random.Random, finer: int) -> tuple[Image.Image, int | None]:
    """Draw the background; also returns the height of its horizon."""
    width, height = (side * finer for side in scene.size)
    if scene.ground is None:
        return Image.new("RGB", (width, height), COLOURS[scene.backdrop or "white"]), None
    landscape = Landscape(scene, rng, width, height)
    return landscape.picture, landscape.horizon


def _placed(scene: Scene) -> list[tuple[Thing, float]]:
    """List the things to draw, the farther one first, each with its height."""
    thing, other = scene.thing, scene.other
    if thing is None:
        return []
    if scene.twice:
        return [(Thing(thing.kind, thing.colour, side), OF_TWO) for side in ("left", "right")]
    if other:
        return [(other, OTHER), (thing, BESIDE)]
    return [(thing, SHARE[thing.scale])]


class Foreground:
    """The things of a scene on a transparent picture; `horizon` is None on a plain background."""

    def __init__(self, scene: Scene, rng: random.Random, size: tuple[int, int], horizon: int | None) -> None:
        self.scene, self.rng, self.horizon = scene, rng, horizon
        self.width, self.height = size
        self.unit = min(size)
        self.picture = Image.new("RGBA", size, (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.picture)

    def put(self, thing: Thing, share: float) -> None:
        """Draw one thing where it belongs."""
        size = share * self.unit
        x = self.width * (0.5 + PLACE[thing.side]) + self._jitter()
        x = min(max(x, size * 0.55), self.width - size * 0.55)
        y = self._foot(thing, size)
        if self.scene.ground == "sea" and thing.kind not in IN_THE_SKY + IN_THE_SEA:
            rock = (x - size * 0.62, y - size * 0.1, x + size * 0.62, y + size * 0.22)
            self.draw.ellipse(rock, fill=tinted(ROCK, self.scene.time))
        DRAW[thing.kind](Pen(self.draw, x, y, size, self.scene.time), COLOURS[thing.colour])

    def _jitter(self) -> float:
        return self.rng.uniform(-JITTER, JITTER) * self.unit

    def _foot(self, thing: Thing, size: float) -> float:
        """Return the height in the picture at which a thing stands."""
        if self.horizon is None:
            return self.height / 2 + size / 2 + self._jitter()
        if thing.kind in IN_THE_SKY:
            return max(self.horizon * 0.92, size + self.unit * 0.04)
        if thing.kind == "fish":
            return self.horizon + size * 0.12 if self.scene.ground == "sea" else self.height * 0.95
        if thing.kind == "sailboat":
            return self.horizon + self.unit * 0.14
        on_the_ground = self.horizon + self.unit * 0.2 + self._jitter()
        return max(min(self.height - self.unit * 0.05, on_the_ground), size + self.unit * 0.03)
