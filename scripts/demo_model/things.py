"""How each object is drawn: one unit high, standing on v = 0, in the colour that is asked for."""

import math
from collections.abc import Callable

from pen import DARK_SUM, PALE_SUM, WHITE, Colour, Pen, mix, shade

BROWN, CREAM, LIT = (120, 78, 48), (246, 232, 204), (255, 226, 120)
GLASS, INK, LEAF, GREY = (190, 225, 245), (35, 35, 40), (60, 150, 70), (110, 105, 105)


def _contrast(colour: Colour, light: Colour = WHITE, dark: Colour = (205, 70, 60)) -> Colour:
    """Choose a second colour that shows on the first."""
    return light if sum(colour) < PALE_SUM else dark


def house(pen: Pen, colour: Colour) -> None:
    """A gabled front with a door, two windows and a chimney."""
    roof = (96, 58, 50) if sum(colour) > DARK_SUM else (125, 125, 135)
    lit = pen.time in {"night", "sunset"}
    pen.rect(0.17, 0.78, 0.27, 1.02, roof)
    pen.rect(-0.42, 0, 0.42, 0.58, colour)
    pen.poly([(-0.54, 0.55), (0, 1.0), (0.54, 0.55)], roof)
    pen.rect(-0.1, 0, 0.1, 0.33, shade(roof, 0.75))
    for u in (-0.27, 0.27):
        pen.rect(u - 0.1, 0.2, u + 0.1, 0.42, WHITE)
        (pen.unlit() if lit else pen).rect(u - 0.075, 0.225, u + 0.075, 0.395, LIT if lit else GLASS)


def tree(pen: Pen, colour: Colour) -> None:
    """A round crown on a trunk."""
    pen.poly([(-0.07, 0), (0.07, 0), (0.045, 0.5), (-0.045, 0.5)], BROWN)
    for u, v, r in ((-0.2, 0.55, 0.22), (0.2, 0.55, 0.22), (0, 0.72, 0.27)):
        pen.oval(u, v, r, r, colour)
    pen.oval(-0.05, 0.78, 0.1, 0.1, mix(colour, (255, 255, 255), 0.2))


def pine(pen: Pen, colour: Colour) -> None:
    """Three triangles on a trunk."""
    pen.rect(-0.05, 0, 0.05, 0.2, BROWN)
    for v, width, height, light in ((0.14, 0.36, 0.36, 0.8), (0.38, 0.29, 0.34, 0.9), (0.60, 0.21, 0.40, 1.0)):
        pen.poly([(-width, v), (width, v), (0, v + height)], shade(colour, light))


def lighthouse(pen: Pen, colour: Colour) -> None:
    """A striped tower with a lamp."""
    stripe = _contrast(colour)
    pen.poly([(-0.36, 0), (0.36, 0), (0.26, 0.08), (-0.26, 0.08)], GREY)
    stripes = 5
    for i in range(stripes):
        low, high = 0.06 + 0.66 * i / stripes, 0.06 + 0.66 * (i + 1) / stripes
        a, b = 0.19 - 0.08 * (low - 0.06) / 0.66, 0.19 - 0.08 * (high - 0.06) / 0.66
        pen.poly([(-a, low), (a, low), (b, high), (-b, high)], stripe if i % 2 else colour)
    pen.rect(-0.16, 0.72, 0.16, 0.755, (60, 60, 70))
    pen.unlit().rect(-0.08, 0.755, 0.08, 0.88, LIT)
    pen.poly([(-0.13, 0.88), (0.13, 0.88), (0, 1.02)], shade(colour, 0.7))


def cat(pen: Pen, colour: Colour) -> None:
    """A cat that sits and looks ahead."""
    dark = sum(colour) < 400  # noqa: PLR2004 - of 765
    belly = mix(colour, (255, 255, 255), 0.35) if dark else shade(colour, 0.8)
    pen.arc((0.3, 0.2), 0.2, (-80, 120), 0.08, colour)
    pen.oval(0, 0.26, 0.27, 0.28, colour)
    pen.oval(0, 0.2, 0.13, 0.17, belly)
    for side in (-1, 1):
        pen.oval(side * 0.13, 0.05, 0.12, 0.06, colour)
        pen.poly([(side * 0.235, 0.7), (side * 0.225, 1.0), (side * 0.03, 0.84)], colour)
        pen.poly([(side * 0.19, 0.78), (side * 0.19, 0.91), (side * 0.1, 0.83)], (235, 160, 165))
    pen.oval(0, 0.66, 0.25, 0.215, colour)
    for side in (-1, 1):
        pen.unlit().oval(side * 0.1, 0.69, 0.045, 0.055, (250, 225, 90) if dark else INK)
    pen.poly([(-0.04, 0.615), (0.04, 0.615), (0, 0.57)], (225, 110, 125))


def flower(pen: Pen, colour: Colour) -> None:
    """Six petals on a stem with two leaves."""
    pen.rect(-0.025, 0, 0.025, 0.6, LEAF)
    pen.poly([(0, 0.1), (0.2, 0.2), (0.27, 0.34), (0.1, 0.28)], LEAF)
    pen.poly([(0, 0.16), (-0.2, 0.26), (-0.27, 0.4), (-0.1, 0.34)], LEAF)
    for i in range(6):
        turn = i * math.pi / 3 + 0.26
        pen.oval(0.185 * math.cos(turn), 0.7 + 0.185 * math.sin(turn), 0.125, 0.125, colour)
    yellow = colour[0] > 230 and 180 < colour[1] < 230  # noqa: PLR2004 - shares of 255
    pen.oval(0, 0.7, 0.12, 0.12, (150, 90, 45) if yellow else (250, 205, 60))


def mushroom(pen: Pen, colour: Colour) -> None:
    """A spotted cap on a stem."""
    pen.poly([(-0.13, 0), (0.13, 0), (0.10, 0.5), (-0.10, 0.5)], CREAM)
    pen.oval(0, 0.03, 0.13, 0.04, CREAM)
    pen.dome(0, 0.42, 0.44, 0.52, colour)
    pen.oval(0, 0.42, 0.44, 0.06, shade(colour, 0.85))
    for u, v, r in ((-0.22, 0.6, 0.065), (0.04, 0.75, 0.08), (0.25, 0.57, 0.06), (-0.01, 0.55, 0.045)):
        pen.oval(u, v, r, r * 0.9, _contrast(colour))


def apple(pen: Pen, colour: Colour) -> None:
    """An apple with a leaf."""
    pen.line([(0, 0.7), (0.04, 0.95)], 0.05, BROWN)
    pen.poly([(0.04, 0.82), (0.16, 0.98), (0.34, 0.98), (0.22, 0.84)], (80, 165, 70))
    pen.oval(-0.15, 0.38, 0.27, 0.36, colour)
    pen.oval(0.15, 0.38, 0.27, 0.36, colour)
    pen.oval(-0.22, 0.52, 0.06, 0.1, mix(colour, (255, 255, 255), 0.5))


def castle(pen: Pen, colour: Colour) -> None:
    """A wall with a gate between two towers."""
    roof = (70, 90, 150) if sum(colour) > DARK_SUM and colour[2] < 190 else (170, 60, 60)  # noqa: PLR2004 - of 255
    wall = shade(colour, 0.86) if sum(colour) > DARK_SUM else (62, 62, 70)
    pen.rect(-0.3, 0, 0.3, 0.46, wall)
    for u in (-0.24, -0.08, 0.08, 0.24):
        pen.rect(u - 0.045, 0.46, u + 0.045, 0.54, wall)
    for u in (-0.36, 0.36):
        pen.rect(u - 0.13, 0, u + 0.13, 0.66, colour)
        pen.poly([(u - 0.18, 0.65), (u + 0.18, 0.65), (u, 1.0)], roof)
        pen.rect(u - 0.035, 0.42, u + 0.035, 0.54, INK)
    pen.dome(0, 0.2, 0.11, 0.11, (84, 56, 40))
    pen.rect(-0.11, 0, 0.11, 0.2, (84, 56, 40))


def snowman(pen: Pen, colour: Colour) -> None:
    """Two balls, a hat, buttons and a carrot."""
    hat = INK if sum(colour) > DARK_SUM else (190, 60, 60)
    for v, r in ((0.28, 0.29), (0.66, 0.2)):
        pen.oval(0, v, r, r, shade(colour, 0.82))
        pen.oval(-0.02, v + 0.02, r - 0.025, r - 0.025, colour)
    pen.rect(-0.19, 0.8, 0.19, 0.845, hat)
    pen.rect(-0.12, 0.84, 0.12, 1.02, hat)
    dots = INK if sum(colour) > DARK_SUM else WHITE
    for u, v in ((-0.075, 0.7), (0.075, 0.7), (0, 0.4), (0, 0.27)):
        pen.oval(u, v, 0.032, 0.032, dots)
    pen.poly([(0, 0.66), (0, 0.6), (0.2, 0.61)], (240, 130, 40))


def cactus(pen: Pen, colour: Colour) -> None:
    """A column with two arms."""
    for u, low, high in ((-0.27, 0.38, 0.66), (0.27, 0.48, 0.78)):
        pen.line([(0, low), (u, low)], 0.13, colour)
        pen.oval(u, low, 0.065, 0.065, colour)
        pen.rect(u - 0.065, low, u + 0.065, high, colour)
        pen.oval(u, high, 0.065, 0.065, colour)
    pen.rect(-0.11, 0, 0.11, 0.88, colour)
    pen.oval(0, 0.88, 0.11, 0.11, colour)
    rib = shade(colour, 0.75) if sum(colour) > DARK_SUM else (80, 80, 85)
    for u in (-0.045, 0.045):
        pen.line([(u, 0.04), (u, 0.88)], 0.022, rib)


def car(pen: Pen, colour: Colour) -> None:
    """A car from the side."""
    pen.poly([(-0.3, 0.34), (-0.2, 0.62), (0.18, 0.62), (0.32, 0.34)], colour)
    pen.poly([(-0.23, 0.36), (-0.16, 0.56), (-0.02, 0.56), (-0.02, 0.36)], GLASS)
    pen.poly([(0.03, 0.36), (0.03, 0.56), (0.15, 0.56), (0.25, 0.36)], GLASS)
    pen.rect(-0.48, 0.15, 0.48, 0.36, colour)
    pen.oval(-0.47, 0.255, 0.06, 0.105, colour)
    pen.oval(0.47, 0.255, 0.06, 0.105, colour)
    pen.unlit().oval(0.47, 0.28, 0.045, 0.045, LIT)
    tyre = INK if sum(colour) > DARK_SUM else (85, 85, 92)
    for u in (-0.27, 0.27):
        pen.oval(u, 0.13, 0.13, 0.13, tyre)
        pen.oval(u, 0.13, 0.06, 0.06, (200, 200, 205))


def balloon(pen: Pen, colour: Colour) -> None:
    """A striped hot-air balloon with its basket."""
    stripe = mix(colour, (255, 255, 255), 0.45) if sum(colour) < 600 else shade(colour, 0.8)  # noqa: PLR2004 - of 765
    for side in (-1, 1):
        pen.line([(side * 0.2, 0.42), (side * 0.07, 0.14)], 0.016, (90, 70, 50))
    for width, foot, fill in ((0.36, 0.09, colour), (0.2, 0.05, stripe), (0.075, 0.02, colour)):
        pen.oval(0, 0.64, width, 0.36, fill)
        pen.poly([(-0.86 * width, 0.455), (0.86 * width, 0.455), (foot, 0.24), (-foot, 0.24)], fill)
    pen.rect(-0.09, 0, 0.09, 0.14, BROWN)
    pen.rect(-0.105, 0.12, 0.105, 0.15, shade(BROWN, 0.8))


def rocket(pen: Pen, colour: Colour) -> None:
    """A rocket in flight, with a window and a flame."""
    fin = shade(colour, 0.7) if DARK_SUM < sum(colour) < 600 else (215, 60, 55)  # noqa: PLR2004 - of 765
    pen.unlit().poly([(-0.1, 0.2), (0.1, 0.2), (0, -0.1)], (250, 150, 40))
    pen.unlit().poly([(-0.055, 0.2), (0.055, 0.2), (0, 0.02)], (255, 225, 90))
    for side in (-1, 1):
        pen.poly([(side * 0.13, 0.5), (side * 0.3, 0.18), (side * 0.12, 0.24)], fin)
    pen.oval(0, 0.55, 0.17, 0.42, colour)
    pen.rect(-0.11, 0.2, 0.11, 0.34, colour)
    pen.cap(0, 0.55, 0.17, 0.42, fin)
    pen.oval(0, 0.6, 0.09, 0.09, WHITE)
    pen.oval(0, 0.6, 0.06, 0.06, (90, 170, 225))


def butterfly(pen: Pen, colour: Colour) -> None:
    """A butterfly with spread wings."""
    spot = _contrast(colour, mix(colour, (255, 255, 255), 0.6), (230, 120, 140))
    for side in (-1, 1):
        pen.oval(side * 0.24, 0.68, 0.23, 0.22, colour)
        pen.oval(side * 0.19, 0.34, 0.17, 0.18, shade(colour, 0.85) if sum(colour) > DARK_SUM else (70, 70, 78))
        pen.oval(side * 0.27, 0.71, 0.09, 0.09, spot)
        pen.line([(0, 0.78), (side * 0.1, 0.98)], 0.022, (70, 50, 45))
    pen.oval(0, 0.52, 0.045, 0.3, (70, 50, 45))


def sailboat(pen: Pen, colour: Colour) -> None:
    """Two sails over a wooden hull."""
    pen.rect(-0.018, 0.15, 0.018, 1.0, BROWN)
    pen.poly([(0.04, 0.26), (0.04, 0.98), (0.43, 0.26)], colour)
    fore = shade(colour, 0.86) if sum(colour) > DARK_SUM else (70, 70, 74)
    pen.poly([(-0.04, 0.26), (-0.04, 0.86), (-0.33, 0.26)], fore)
    pen.poly([(-0.46, 0.2), (0.5, 0.2), (0.34, 0), (-0.32, 0)], (140, 84, 50))
    pen.poly([(-0.46, 0.2), (0.5, 0.2), (0.46, 0.15), (-0.43, 0.15)], (250, 245, 235))


def fish(pen: Pen, colour: Colour) -> None:
    """A fish that swims to the left."""
    fin = shade(colour, 0.78) if sum(colour) > DARK_SUM else (85, 85, 92)
    pen.poly([(0.28, 0.4), (0.56, 0.66), (0.5, 0.4), (0.56, 0.14)], fin)
    pen.poly([(-0.1, 0.6), (0.12, 0.82), (0.2, 0.55)], fin)
    pen.oval(-0.05, 0.4, 0.4, 0.25, colour)
    pen.oval(-0.05, 0.33, 0.3, 0.13, mix(colour, (255, 255, 255), 0.28))
    pen.oval(-0.26, 0.46, 0.065, 0.065, WHITE)
    pen.oval(-0.27, 0.46, 0.035, 0.035, INK)
    pen.arc((0.0, 0.4), 0.1, (-60, 60), 0.035, fin)


def circle(pen: Pen, colour: Colour) -> None:
    """A disc."""
    pen.oval(0, 0.5, 0.5, 0.5, colour)


def square(pen: Pen, colour: Colour) -> None:
    """A square."""
    pen.rect(-0.45, 0.05, 0.45, 0.95, colour)


def triangle(pen: Pen, colour: Colour) -> None:
    """A triangle on its base."""
    pen.poly([(-0.56, 0.02), (0.56, 0.02), (0, 0.98)], colour)


def star(pen: Pen, colour: Colour) -> None:
    """A star of five points."""
    reach = (0.55, 0.23)
    turns = [math.pi * i / 5 for i in range(10)]
    corners = [(reach[i % 2] * math.sin(turn), 0.48 + reach[i % 2] * math.cos(turn)) for i, turn in enumerate(turns)]
    pen.poly(corners, colour)


def heart(pen: Pen, colour: Colour) -> None:
    """A heart."""
    turns = [2 * math.pi * i / 40 for i in range(40)]
    outline = [
        (
            0.031 * 16 * math.sin(a) ** 3,
            0.53 + 0.031 * (13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)),
        )
        for a in turns
    ]
    pen.poly(outline, colour)


DRAW: dict[str, Callable[[Pen, Colour], None]] = {
    f.__name__: f
    for f in (
        house, tree, pine, lighthouse, cat, flower, mushroom, apple, castle, snowman, cactus, car, balloon, rocket,
        butterfly, sailboat, fish, circle, square, triangle, star, heart,
    )
}  # fmt: skip
