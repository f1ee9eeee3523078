"""What is in a picture, chosen at random."""

import random
from dataclasses import asdict, dataclass
from typing import Any

from words import COLOURS, GROUNDS, IN_THE_SEA, LOOKS, OBJECTS, ON_LAND, SHAPES, TIMES, USUAL_COLOUR

SIZES = {  # width, height: share of the pictures
    (128, 128): 0.38,
    (192, 192): 0.08,
    (256, 256): 0.14,
    (160, 96): 0.03,
    (96, 160): 0.03,
    (192, 128): 0.07,
    (128, 192): 0.07,
    (256, 192): 0.05,
    (192, 256): 0.05,
    (256, 144): 0.05,
    (144, 256): 0.05,
}


@dataclass(frozen=True)
class Thing:
    """An object or a shape: `scale` is "large", "small" or "" for in between."""

    kind: str
    colour: str
    side: str = "middle"
    scale: str = ""


@dataclass(frozen=True)
class Scene:
    """A picture in words: a plain `backdrop` of one colour, or a `ground` at a `time` of the day."""

    size: tuple[int, int]
    look: str | None = None
    thing: Thing | None = None
    twice: bool = False
    other: Thing | None = None  # a second, smaller thing on the other side
    backdrop: str | None = None
    time: str | None = None
    ground: str | None = None
    extras: tuple[str, ...] = ()  # sun, moon, crescent, stars, clouds, flakes

    def record(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def any_scene(rng: random.Random, size: tuple[int, int] | None = None, styled: float = 0.42) -> Scene:
    """Choose a scene; a share `styled` of them has another look than flat illustration."""
    size = size or rng.choices(list(SIZES), list(SIZES.values()))[0]
    look = rng.choice(LOOKS) if rng.random() < styled else None
    kind = rng.random()
    if kind < 0.36:  # noqa: PLR2004 - a share
        names = SHAPES if kind < 0.16 else OBJECTS  # noqa: PLR2004 - a share
        colour, backdrop = rng.sample(list(COLOURS), 2)
        return Scene(size, look, backdrop=backdrop, **_things(rng, names, rng.choice(names), colour, backdrop))
    time, ground = rng.choice(TIMES), rng.choice(GROUNDS)
    if kind > 0.93:  # noqa: PLR2004 - a share
        return Scene(size, look, time=time, ground=ground, extras=_extras(rng, time, ground))
    name = rng.choice(OBJECTS)
    ground = _home(rng, name, ground)
    colour = USUAL_COLOUR[name] if rng.random() < 0.25 else rng.choice(list(COLOURS))  # noqa: PLR2004 - a share
    things = _things(rng, OBJECTS, name, colour, None)
    return Scene(size, look, time=time, ground=ground, extras=_extras(rng, time, ground), **things)


def _home(rng: random.Random, name: str, ground: str) -> str:
    """Prefer the ground where such a thing is usually found."""
    if name in IN_THE_SEA and rng.random() < 0.85:  # noqa: PLR2004 - a share
        return "sea"
    if name == "lighthouse" and rng.random() < 0.4:  # noqa: PLR2004 - a share
        return "sea"
    if name in ON_LAND and name != "lighthouse" and ground == "sea" and rng.random() < 0.5:  # noqa: PLR2004 - a share
        return rng.choice(GROUNDS)
    return ground


def _extras(rng: random.Random, time: str, ground: str) -> tuple[str, ...]:
    """Choose what else is in the sky."""
    extras = []
    if rng.random() < {"day": 0.5, "sunset": 0.7, "dawn": 0.5, "night": 0}[time]:
        extras.append("sun")
    if time == "night":
        extras += [[], ["moon"], ["moon"], ["crescent"]][rng.randrange(4)]
        extras += ["stars"] * (rng.random() < 0.7)  # noqa: PLR2004 - a share
    extras += ["clouds"] * (rng.random() < (0.2 if time == "night" else 0.45))
    extras += ["flakes"] * (ground == "snow" and rng.random() < 0.4)  # noqa: PLR2004 - a share
    return tuple(extras)


def _things(rng: random.Random, names: tuple[str, ...], name: str, colour: str, backdrop: str | None) -> dict[str, Any]:
    """Choose how many things there are, how large, and where."""
    kind = rng.random()
    if kind < 0.10:  # noqa: PLR2004 - a share
        return {"thing": Thing(name, colour), "twice": True}
    if kind < 0.17:  # noqa: PLR2004 - a share
        side = rng.choice(("left", "right"))
        second = rng.choice([c for c in COLOURS if c != backdrop])
        other = Thing(rng.choice(names), second, "right" if side == "left" else "left", "small")
        return {"thing": Thing(name, colour, side), "other": other}
    side = rng.choice(("left", "right")) if kind < 0.46 else "middle"  # noqa: PLR2004 - a share
    return {"thing": Thing(name, colour, side, rng.choice(("", "", "large", "small")))}
