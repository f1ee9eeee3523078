"""Makes captions of a scene in English or Chinese, in varying words; attributes may be left out."""

import random
import string
from dataclasses import dataclass

from scene import Scene, Thing
from words import (
    EN_EXTRA,
    EN_GROUND,
    EN_NAME,
    EN_PLACE,
    EN_PLURAL,
    EN_SIDE,
    EN_TIME,
    EN_WHEN,
    LOOK_WORDS,
    NOISE_EN,
    NOISE_ZH,
    OPENINGS_EN,
    OPENINGS_ZH,
    UNKNOWN_EN,
    UNKNOWN_ZH,
    ZH_COLOUR,
    ZH_EXTRA,
    ZH_MEASURE,
    ZH_NAME,
    ZH_PLACE,
    ZH_SIDE,
    ZH_TIME,
    presets,
)

PRESETS = presets()
NEGATIVES = [preset["negative_prompt"] for preset in PRESETS.values()]
OTHER_LOOKS = [preset["prompt"] for name, preset in PRESETS.items() if name not in LOOK_WORDS]


@dataclass(frozen=True)
class Words:
    """Chooses words. `full` names every attribute; `plain` adds neither a look nor meaningless words."""

    rng: random.Random
    full: bool = False
    plain: bool = False

    def chance(self, share: float) -> bool:
        """Return true for a random *share* of the calls."""
        return self.rng.random() < share

    def named(self, share: float) -> bool:
        """Return whether an attribute is named."""
        return self.full or self.chance(share)


def caption(scene: Scene, rng: random.Random, *, language: str = "", full: bool = False, plain: bool = False) -> str:
    """Describe a scene in "en" or "zh", or in either of them."""
    words = Words(rng, full, plain)
    language = language or ("zh" if words.chance(0.42) else "en")
    parts = (_chinese if language == "zh" else _english)(scene, words)
    if not plain and words.chance(0.2):
        _add_noise(parts, words)
    text = ("，" if language == "zh" and words.chance(0.85) else ", ").join(parts)
    if not plain and words.chance(0.08):
        text = rng.choice(OPENINGS_ZH if language == "zh" else OPENINGS_EN) + text
    if language == "en" and words.chance(0.1):
        text = text[0].upper() + text[1:] + "."
    return text if plain else _with_look(text, scene.look, words)


def meaningless(rng: random.Random) -> str:
    """Make a caption without information about the picture: often empty, else a preset's negative words."""
    return "" if rng.random() < 0.75 else rng.choice(NEGATIVES)  # noqa: PLR2004 - a share


def _with_look(text: str, look: str | None, words: Words) -> str:
    """Add the words of the scene's look; an undecorated scene now and then gets those of a look nothing draws."""
    if look is None:
        return words.rng.choice(OTHER_LOOKS).replace("{prompt}", text) if words.chance(0.06) else text
    if words.named(0.6):
        return PRESETS[look]["prompt"].replace("{prompt}", text)
    word = words.rng.choice(LOOK_WORDS[look])
    return words.rng.choice((f"{word}, {text}", f"{text}, {word}", f"{text}，{word}"))


def _add_noise(parts: list[str], words: Words) -> None:
    """Put one to three meaningless words between the parts."""
    rng = words.rng
    for _ in range(rng.randint(1, 3)):
        invented = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 8)))
        word = rng.choice(NOISE_ZH if words.chance(0.4) else NOISE_EN) if words.chance(0.85) else invented
        parts.insert(rng.randint(0, len(parts)), word)


# ---------------------------------------------------------------- English


def _article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _english_thing(thing: Thing, words: Words, *, twice: bool = False) -> str:
    rng = words.rng
    name = rng.choice(EN_NAME[thing.kind])
    if not words.plain and words.chance(0.03):
        name = rng.choice(UNKNOWN_EN)
    colour = thing.colour if words.named(0.9) else ""
    if twice:
        plural = EN_PLURAL.get(name, name if name.endswith("fish") else name + "s")
        return " ".join(filter(None, ("two", colour, plural)))
    scale = {"large": rng.choice(("large", "big")), "small": rng.choice(("small", "small", "little", "tiny")), "": ""}
    text = " ".join(filter(None, (scale[thing.scale] if words.named(0.9) else "", colour, name)))
    return _article(text) if words.chance(0.75) else text


def _english(scene: Scene, words: Words) -> list[str]:
    rng = words.rng
    what = _english_thing(scene.thing, words, twice=scene.twice) if scene.thing else ""
    if scene.other and words.named(0.8):
        what += " and " + _english_thing(scene.other, words)
    if scene.backdrop:
        behind = _article(scene.backdrop)
        forms = (
            f"{what} on {behind} background",
            f"{what}, {scene.backdrop} background",
            f"{behind} background with {what}",
        )
        parts = [rng.choice((forms[0], *forms)) if words.named(0.9) else what]
    else:
        parts = _english_landscape(scene, what, words)
    return parts + _english_side(scene, words)


def _english_side(scene: Scene, words: Words) -> list[str]:
    if scene.thing is None or scene.twice or not words.named(0.85):
        return []
    return [EN_SIDE[scene.thing.side]] if scene.thing.side != "middle" or words.chance(0.25) else []


def _english_landscape(scene: Scene, what: str, words: Words) -> list[str]:
    rng = words.rng
    ground = scene.ground if words.named(0.82) or not what else None
    time = scene.time if words.named(0.8) else None
    form = rng.random()
    if form < 0.3:  # noqa: PLR2004 - tags in any order
        tags = [what, ground and rng.choice(EN_GROUND[ground]), time and rng.choice(EN_TIME[time])]
        parts = [tag for tag in tags if tag]
        rng.shuffle(parts)
    else:
        where = ground and rng.choice((EN_PLACE if what else EN_GROUND)[ground])
        when = time and rng.choice(EN_WHEN[time])
        if when and form < 0.45:  # noqa: PLR2004 - the time first
            parts = [when, " ".join(filter(None, (what, where)))]
        else:
            parts = [" ".join(filter(None, (what, where, when)))]
    parts = [part for part in parts if part]
    extras = [rng.choice(EN_EXTRA[name]) for name in rng.sample(scene.extras, len(scene.extras)) if words.named(0.4)]
    if extras and words.chance(0.5):
        parts[-1] += " with " + " and ".join(extras)
        return parts
    return parts + extras


# ---------------------------------------------------------------- Chinese


def _chinese_thing(thing: Thing, words: Words, *, twice: bool = False) -> str:
    rng = words.rng
    name = rng.choice(ZH_NAME[thing.kind])
    measure = ZH_MEASURE.get(thing.kind, "个")
    if not words.plain and words.chance(0.03):
        name, measure = rng.choice(UNKNOWN_ZH), "个"
    colour = _chinese_colour(thing.colour, words) if words.named(0.9) else ""
    if twice:
        return "两" + measure + colour + name
    scale = {"large": "大", "small": "小", "": ""}[thing.scale] if words.named(0.9) else ""
    if name[0] in "大小" and (scale or thing.scale):
        name = name[1:] if name[1:] in {"猫", "树"} else ZH_NAME[thing.kind][0]
    count = "一" + measure if words.chance(0.5) else ""
    return count + (scale + colour if words.chance(0.6) else colour + scale) + name


def _chinese_colour(colour: str, words: Words) -> str:
    return ZH_COLOUR[colour] + (words.rng.choice(("色", "色", "色的")) if words.chance(0.8) else "")


def _chinese(scene: Scene, words: Words) -> list[str]:
    rng = words.rng
    what = _chinese_thing(scene.thing, words, twice=scene.twice) if scene.thing else ""
    if scene.other and words.named(0.8):
        what += rng.choice("和与") + _chinese_thing(scene.other, words)
    if scene.backdrop:
        behind = ZH_COLOUR[scene.backdrop] + "色背景"
        parts = [(behind + "上的" + what if words.chance(0.6) else f"{what}，{behind}") if words.named(0.9) else what]
    else:
        parts = _chinese_landscape(scene, what, words)
    if scene.thing and not scene.twice and words.named(0.85) and (scene.thing.side != "middle" or words.chance(0.25)):
        parts.append(rng.choice(ZH_SIDE[scene.thing.side]))
    return parts


def _chinese_landscape(scene: Scene, what: str, words: Words) -> list[str]:
    rng = words.rng
    where = rng.choice(ZH_PLACE[scene.ground]) if scene.ground and (words.named(0.82) or not what) else ""
    when = rng.choice(ZH_TIME[scene.time]) if scene.time and words.named(0.8) else ""
    form = rng.random()
    if form < 0.4:  # noqa: PLR2004 - tags in any order
        parts = [tag for tag in (what, where, when) if tag]
        rng.shuffle(parts)
    else:
        before = "的".join(filter(None, (when, where))) if form < 0.7 else when + where  # noqa: PLR2004 - two forms
        parts = [before + (rng.choice("的有") if before and what else "") + what]
    return parts + [
        rng.choice(ZH_EXTRA[name]) for name in rng.sample(scene.extras, len(scene.extras)) if words.named(0.4)
    ]
