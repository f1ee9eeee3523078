"""The built-in models, and the other values that `--model` accepts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from zimage_cache.errors import SettingsError
from zimage_cache.i18n.messages import CHINESE, ENGLISH, Message
from zimage_cache.models.misnamed import REPO_ID, what_it_is
from zimage_cache.models.store import check_folder, demo_folder, find_model
from zimage_cache.prompts.vocabulary import Vocabulary
from zimage_cache.request import ModelProfile

TURBO: Final = ModelProfile(
    name="turbo",
    title="Z-Image-Turbo",
    width=1024,
    height=1024,
    steps=8,
    guidance_scale=0.0,
    min_side=256,
    max_side=2048,
    examples=MappingProxyType(
        {
            ENGLISH: (
                "A lighthouse on a cliff at dusk, long exposure, soft mist over the sea",
                "Portrait of an old fisherman, weathered face, natural window light, 85mm",
                "A bookshop window at night in the rain, the words OPEN LATE in red neon",
            ),
            CHINESE: (
                "一只橘猫坐在雨后的窗台上，窗外是城市的霓虹灯",
                "水墨画：远山、孤舟、垂钓的老人，大片留白",
                "老街上的面馆，热气腾腾，门口的招牌写着“牛肉面”",
            ),
        }
    ),
)
BASE: Final = replace(TURBO, name="base", title="Z-Image", steps=28, guidance_scale=4.0)
DEMO: Final = ModelProfile(
    name="demo",
    title=Message("demo_model"),
    width=128,
    height=128,
    steps=8,
    guidance_scale=1.0,
    min_side=64,
    max_side=512,
    note=(
        "This is the embedded demo model. It draws small scenes, up to 256x256 pixels, from prompts in English or "
        "Chinese: a house, a tree, a lighthouse, a boat, a balloon, a cat and a few other things, in nine colours, in "
        "a meadow, by the sea, in the snow …, by day or night. For real pictures start with --model turbo on a "
        "machine with an NVIDIA GPU: that fetches Z-Image-Turbo once, about 33 GB."
    ),
    weights_bytes=12_000_000,
    examples=MappingProxyType(
        {
            ENGLISH: (
                "a red lighthouse by the sea at sunset",
                "an orange cat in a meadow on a sunny day",
                "two yellow balloons in the mountains at dawn",
                "a white house in the snow at night, full moon",
            ),
            CHINESE: (
                "日落时海边的红色灯塔",
                "晴天草地上的橙色小猫",
                "夜晚的雪地，一座红色的小屋，月亮",
                "海上的白色帆船，白云",
            ),
        }
    ),
    styles=(*("watercolor", "ink", "gufeng", "sketch", "cinematic", "cyberpunk", "poster"),),
    vocabulary=Vocabulary.read(demo_folder() / "words.txt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """The meaning of one value of `--model`.

    `identity` is the model's name in every key; for a model of a hub it is the repository id. `folder` is the model's
    folder where the value names it; None = the model is searched for.
    """

    profile: ModelProfile
    identity: str
    folder: Path | None = None

    @property
    def repo_id(self) -> str | None:
        """The repository id at the hubs, or None for a model that is only a folder."""
        return self.identity if self.folder is None else None

    def locate(self, roots: Iterable[Path]) -> Path:
        """Return the folder of a complete copy: the one named, or the first one below *roots*.

        Raises:
            ModelMissing: There is none.
            ModelCorrupt: There is one, but it is incomplete.
        """
        if self.folder is None:
            return find_model(self.identity, roots)
        check_folder(self.folder)
        return self.folder


KNOWN: Final[Mapping[str, ModelChoice]] = MappingProxyType(
    {
        "turbo": ModelChoice(profile=TURBO, identity="Tongyi-MAI/Z-Image-Turbo"),
        "base": ModelChoice(profile=BASE, identity="Tongyi-MAI/Z-Image"),
        "demo": ModelChoice(profile=DEMO, identity="zimage-demo", folder=demo_folder()),
    }
)


def name_of(identity: str) -> str:
    """Return the value of `--model` for a model's name in keys and pictures, which is the same for unknown ones."""
    return next((name for name, choice in KNOWN.items() if choice.identity == identity), identity)


def model_choice(name: str) -> ModelChoice:
    """Read one value of `--model`: a known name, a folder, or a repository id such as `org/name`.

    Raises:
        SettingsError: It is none of these.
    """
    if name in KNOWN:
        return KNOWN[name]
    folder = _folder(name)
    there = bool(name) and _is_folder(folder)
    if not there and (other := what_it_is(name)):
        raise SettingsError(f"model: {other}")
    if there or name.startswith((".", "/", "~")):  # a path, not an id
        return ModelChoice(profile=_like_turbo(folder.name), identity=folder.name, folder=folder)
    if REPO_ID.fullmatch(name):
        return ModelChoice(profile=_like_turbo(name), identity=name)
    raise SettingsError(
        f"model: should be one of {', '.join(KNOWN)}, a folder, or a repository id like org/name, got {name!r}"
    )


def _folder(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError:  # ~name of a user unknown to this machine
        raise SettingsError(f"model: should name a user of this machine after its ~, got {name!r}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"model: should be a name or a folder, got {name[:80]!r} ({error})") from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, or below a folder that may not be entered
        return False


def _like_turbo(name: str) -> ModelProfile:
    """Return Turbo's profile under another name: most Z-Image fine-tunes start from Turbo."""
    return replace(TURBO, name=name, title=name)
