"""Sky and ground behind the things: `Landscape(scene, rng, width, height).picture`."""

import math
import random

import numpy as np
from pen import Colour, Point, mix, shade, tinted
from PIL import Image, ImageDraw
from scene import Scene

SKY = {  # top, middle, horizon
    "day": ((78, 160, 232), (150, 205, 245), (214, 236, 250)),
    "sunset": ((84, 62, 130), (226, 110, 92), (255, 196, 104)),
    "night": ((10, 14, 44), (22, 30, 76), (48, 60, 116)),
    "dawn": ((128, 160, 220), (222, 190, 220), (255, 218, 186)),
}
SUN = {"day": (255, 222, 80), "sunset": (255, 120, 60), "dawn": (255, 238, 170)}
CLOUD = {"day": (255, 255, 255), "sunset": (250, 172, 150), "night": (70, 80, 128), "dawn": (255, 236, 236)}
WATER = {"day": (48, 130, 200), "sunset": (150, 84, 120), "night": (20, 36, 88), "dawn": (120, 150, 196)}
GLINT = {"day": (150, 205, 238), "sunset": (255, 178, 110), "night": (110, 124, 180), "dawn": (240, 214, 214)}
HORIZON = {"meadow": 0.66, "hills": 0.60, "mountains": 0.68, "sea": 0.62, "snow": 0.64, "desert": 0.64}
PUFFS = ((-0.55, 0, 0.3), (-0.15, -0.18, 0.42), (0.3, -0.08, 0.36), (0.65, 0.04, 0.24))


class Landscape:
    """Draws the background of a scene; `horizon` is the height in pixels where the ground begins."""

    def __init__(self, scene: Scene, rng: random.Random, width: int, height: int) -> None:
        if scene.time is None or scene.ground is None:
            raise ValueError("a landscape has a time of the day and a ground")
        self.scene, self.rng, self.width, self.height = scene, rng, width, height
        self.time, self.unit = scene.time, min(width, height)
        self.horizon = int(height * (HORIZON[scene.ground] + rng.uniform(-0.008, 0.008)))
        self.picture = self._gradient()
        self.draw = ImageDraw.Draw(self.picture)
        away = {"left": 1, "right": -1}.get(scene.thing.side if scene.thing else "", rng.choice((-1, 1)))
        self.sun_x = width * (0.5 + away * rng.uniform(0.24, 0.36))  # the sun keeps away from the object
        for extra in ("stars", "sun", "moon", "crescent", "clouds"):
            if extra in scene.extras:
                getattr(self, "_" + extra)()
        getattr(self, "_" + scene.ground)()
        if "flakes" in scene.extras:
            self._flakes()

    # ------------------------------------------------------------ sky

    def _gradient(self) -> Image.Image:
        top, middle, low = (np.array(colour, float) for colour in SKY[self.time])
        y = np.linspace(0, 1, 64)[:, None]
        column = np.where(y < 0.5, top + (middle - top) * y * 2, middle + (low - middle) * (y * 2 - 1))  # noqa: PLR2004
        strip = Image.fromarray(column.astype(np.uint8)[:, None].repeat(2, 1))
        picture = Image.new("RGB", (self.width, self.height))
        picture.paste(strip.resize((self.width, self.horizon + self.unit // 10), Image.Resampling.BILINEAR))
        return picture

    def _disc(self, x: float, y: float, r: float, colour: Colour) -> None:
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def _glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        r = int(radius)
        far = np.hypot(*np.mgrid[-1:1:48j, -1:1:48j])
        mask = Image.fromarray((np.clip(1 - far, 0, 1) ** 1.5 * 255 * strength).astype(np.uint8))
        mask = mask.resize((2 * r, 2 * r), Image.Resampling.BILINEAR)
        self.picture.paste(Image.new("RGB", (2 * r, 2 * r), colour), (int(x) - r, int(y) - r), mask)

    def _stars(self) -> None:
        for _ in range(14):
            r = self.unit * self.rng.choice((0.008, 0.011, 0.014))
            self._disc(self.rng.uniform(0, self.width), self.rng.uniform(0, self.horizon * 0.85), r, (250, 248, 225))

    def _sun(self) -> None:
        high = self.time == "day"
        r = self.unit * (0.085 if high else 0.13)
        low = self.horizon - self.unit * self.rng.uniform(0.03, 0.12)
        y = self.height * self.rng.uniform(0.13, 0.22) if high else low
        colour = SUN[self.time]
        self._glow(self.sun_x, y, r * 2.6, mix(colour, (255, 255, 255), 0.35), 0.75)
        self._disc(self.sun_x, y, r, colour)

    def _moon(self, *, crescent: bool = False) -> None:
        r, y = self.unit * 0.085, self.height * self.rng.uniform(0.14, 0.22)
        self._glow(self.sun_x, y, r * 2.4, (170, 180, 220), 0.5)
        self._disc(self.sun_x, y, r, (248, 244, 214))
        if crescent:
            self._disc(self.sun_x + r * 0.5, y - r * 0.1, r * 0.9, mix(SKY[self.time][0], SKY[self.time][1], 0.5))

    def _crescent(self) -> None:
        self._moon(crescent=True)

    def _clouds(self) -> None:
        count = 2 if self.width <= self.height else 3
        for i in range(count):
            x = self.width * ((i + 0.5) / count + self.rng.uniform(-0.1, 0.1))
            y, s = self.height * self.rng.uniform(0.12, 0.3), self.unit * self.rng.uniform(0.11, 0.17)
            for u, v, r in PUFFS:
                self._disc(x + u * s, y + v * s, r * s, CLOUD[self.time])
            box = (x - 0.85 * s, y, x + 0.88 * s, y + 0.3 * s)
            self.draw.rounded_rectangle(box, radius=0.15 * s, fill=CLOUD[self.time])

    def _flakes(self) -> None:
        for _ in range(24):
            x, y = self.rng.uniform(0, self.width), self.rng.uniform(0, self.height * 0.9)
            self._disc(x, y, self.unit * 0.012, (255, 255, 255))

    # ------------------------------------------------------------ ground

    def _wave(self, y: float, swing: float, periods: float, colour: Colour) -> None:
        """Fill all below a wavy line."""
        phase = self.rng.uniform(0, 6)
        turn = periods * 2 * math.pi / self.width
        line: list[Point] = [(x, y - swing * math.sin(turn * x + phase)) for x in np.linspace(0, self.width, 33)]
        self.draw.polygon([(0, self.height), *line, (self.width, self.height)], fill=tinted(colour, self.time))

    def _meadow(self) -> None:
        self._wave(self.horizon, self.unit * 0.012, 1, (112, 186, 84))
        self._wave(self.horizon + self.unit * 0.13, self.unit * 0.02, 1, (92, 168, 72))
        blade, width = tinted((62, 134, 58), self.time), max(1, int(self.unit * 0.009))
        for _ in range(9):
            x, y = self.rng.uniform(0, self.width), self.rng.uniform(self.horizon + self.unit * 0.06, self.height)
            s = self.unit * 0.022
            for u in (-1, 0, 1):
                self.draw.line((x, y, x + u * s, y - s * 1.6), fill=blade, width=width)

    def _hills(self) -> None:
        layers = ((0, 0.07, (146, 200, 120)), (0.09, 0.06, (108, 178, 92)), (0.2, 0.04, (80, 154, 74)))
        for drop, swing, colour in layers:
            periods = self.width / self.unit * self.rng.uniform(0.8, 1.2)
            self._wave(self.horizon + self.unit * drop, self.unit * swing, periods, colour)

    def _mountains(self) -> None:
        count = max(2, round(self.width / self.unit * 2.4))
        for i in sorted(range(count), key=lambda i: i % 2):
            self._peak(self.width * ((i + 0.5) / count + self.rng.uniform(-0.06, 0.06)), near=i % 2 == 1)
        self._wave(self.horizon, self.unit * 0.015, 1, (96, 160, 90))
        self._wave(self.horizon + self.unit * 0.14, self.unit * 0.02, 1, (78, 140, 76))

    def _peak(self, x: float, *, near: bool) -> None:
        h = self.unit * self.rng.uniform(0.36, 0.48) * (1 if near else 0.78)
        w, foot = self.unit * self.rng.uniform(0.34, 0.42), self.horizon
        rock = tinted((112, 124, 150) if near else (138, 150, 176), self.time)
        self.draw.polygon([(x - w, foot + 3), (x, foot - h), (x + w, foot + 3)], fill=rock)
        k = 0.36  # the part of the peak that is under snow
        rim = ((-k, 1 - k), (0, 1), (k, 1 - k), (k * 0.45, 0.93 - k), (0, 1.03 - k), (-k * 0.5, 0.92 - k))
        self.draw.polygon([(x + w * u, foot - h * v) for u, v in rim], fill=tinted((246, 248, 252), self.time))

    def _sea(self) -> None:
        water, glint = WATER[self.time], GLINT[self.time]
        bands = 8
        for i in range(bands):
            top = self.horizon + (self.height - self.horizon) * i / bands
            self.draw.rectangle((0, top, self.width, self.height), fill=mix(water, shade(water, 0.78), i / (bands - 1)))
        low_sun = "sun" in self.scene.extras and self.time != "day"
        if low_sun or {"moon", "crescent"} & set(self.scene.extras):
            for i in range(5):
                y, w = self.horizon + self.unit * (0.03 + 0.055 * i), self.unit * (0.13 - 0.02 * i)
                self._ripple(self.sun_x, y, w * self.rng.uniform(0.7, 1), glint, 0.014)
        for _ in range(8):
            y = self.rng.uniform(self.horizon + self.unit * 0.05, self.height - self.unit * 0.02)
            w = self.unit * self.rng.uniform(0.04, 0.07)
            self._ripple(self.rng.uniform(0, self.width), y, w, mix(water, glint, 0.55), 0.012)

    def _ripple(self, x: float, y: float, half: float, colour: Colour, width: float) -> None:
        self.draw.line((x - half, y, x + half, y), fill=colour, width=max(2, int(self.unit * width)))

    def _snow(self) -> None:
        for drop, swing, colour in ((0, 0.04, (222, 232, 246)), (0.12, 0.03, (244, 248, 253))):
            self._wave(self.horizon + self.unit * drop, self.unit * swing, self.width / self.unit, colour)

    def _desert(self) -> None:
        layers = ((0, 0.05, (240, 206, 140)), (0.11, 0.06, (228, 184, 112)), (0.22, 0.03, (214, 166, 94)))
        for drop, swing, colour in layers:
            self._wave(self.horizon + self.unit * drop, self.unit * swing, self.width / self.unit * 0.9, colour)
