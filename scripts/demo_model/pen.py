"""Drawing in the units of an object, and arithmetic on colours."""

from collections.abc import Sequence

from PIL import ImageDraw

Colour = tuple[int, ...]
Point = tuple[float, float]

TINT = {
    None: (1, 1, 1),
    "day": (1, 1, 1),
    "sunset": (1, 0.86, 0.76),
    "night": (0.62, 0.66, 0.82),
    "dawn": (1, 0.94, 0.95),
}
WHITE = (250, 250, 250)
DARK_SUM = 150  # red + green + blue below this is black to the eye
PALE_SUM = 650  # and above this is white


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Blend two colours: `share` of the second."""
    return tuple(int(u + (v - u) * share) for u, v in zip(a, b, strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (factor below 1) or lighter (above 1)."""
    return tuple(int(v * factor) for v in colour) if factor <= 1 else mix(colour, (255, 255, 255), factor - 1)


def tinted(colour: Colour, time: str | None, strength: float = 1.0) -> Colour:
    """Put a colour into the light of a time of the day."""
    return tuple(int(v * (1 - strength + strength * k)) for v, k in zip(colour, TINT[time], strict=True))


class Pen:
    """`ImageDraw` with the origin at (x, y), v upwards, and `unit` pixels to 1."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, unit: float, time: str | None = None) -> None:
        self.draw, self.x, self.y, self.unit, self.time = draw, x, y, unit, time

    def unlit(self) -> "Pen":
        """Return the same pen for things that shine by themselves."""
        return Pen(self.draw, self.x, self.y, self.unit)

    def _at(self, u: float, v: float) -> Point:
        return self.x + u * self.unit, self.y - v * self.unit

    def _box(self, u: float, v: float, ru: float, rv: float) -> tuple[float, float, float, float]:
        return *self._at(u - ru, v + rv), *self._at(u + ru, v - rv)

    def _lit(self, colour: Colour) -> Colour:
        return tinted(colour, self.time, 0.75)

    def _width(self, width: float) -> int:
        return max(1, round(width * self.unit))

    def poly(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon([self._at(*point) for point in points], fill=self._lit(colour))

    def oval(self, u: float, v: float, ru: float, rv: float, colour: Colour) -> None:
        """Fill an ellipse about (u, v)."""
        self.draw.ellipse(self._box(u, v, ru, rv), fill=self._lit(colour))

    def dome(self, u: float, v: float, ru: float, rv: float, colour: Colour) -> None:
        """Fill the upper half of an ellipse about (u, v)."""
        self.draw.pieslice(self._box(u, v, ru, rv), 180, 360, fill=self._lit(colour))

    def cap(self, u: float, v: float, ru: float, rv: float, colour: Colour) -> None:
        """Fill the top of an ellipse about (u, v)."""
        self.draw.chord(self._box(u, v, ru, rv), 215, 325, fill=self._lit(colour))

    def rect(self, u0: float, v0: float, u1: float, v1: float, colour: Colour) -> None:
        """Fill a rectangle from the lower left to the upper right corner."""
        (x0, y1), (x1, y0) = self._at(u0, v0), self._at(u1, v1)
        self.draw.rectangle((x0, y0, x1, y1), fill=self._lit(colour))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line of some width."""
        self.draw.line([self._at(*p) for p in points], fill=self._lit(colour), width=self._width(width), joint="curve")

    def arc(self, centre: Point, radius: float, span: tuple[int, int], width: float, colour: Colour) -> None:
        """Draw a part of a circle, in degrees clockwise from the right."""
        self.draw.arc(self._box(*centre, radius, radius), *span, fill=self._lit(colour), width=self._width(width))
