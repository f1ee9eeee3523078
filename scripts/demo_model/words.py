"""The vocabulary: what a scene can hold, and the English and Chinese words for it."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 90, 220),
    "yellow": (245, 210, 50),
    "purple": (140, 60, 180),
    "orange": (245, 140, 30),
    "pink": (245, 140, 185),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "star", "heart")
ON_LAND = (
    *("house", "tree", "pine", "lighthouse", "cat", "flower", "mushroom", "apple", "castle", "snowman", "cactus"),
    "car",
)
IN_THE_SKY = ("balloon", "rocket", "butterfly")
IN_THE_SEA = ("sailboat", "fish")
OBJECTS = ON_LAND + IN_THE_SKY + IN_THE_SEA
USUAL_COLOUR = {
    "tree": "green", "pine": "green", "apple": "red", "sailboat": "white", "lighthouse": "red", "cat": "orange",
    "mushroom": "red", "rocket": "white", "balloon": "red", "flower": "red", "fish": "orange", "house": "white",
    "castle": "white", "snowman": "white", "cactus": "green", "car": "red", "butterfly": "yellow",
}  # fmt: skip
TIMES = ("day", "sunset", "night", "dawn")
GROUNDS = ("meadow", "hills", "mountains", "sea", "snow", "desert")
SIDES = ("left", "middle", "right")
LOOKS = ("watercolor", "ink", "gufeng", "sketch", "comic", "pixel", "cinematic", "cyberpunk", "poster", "papercut")

EN_NAME = {
    "house": ("house", "house", "cottage", "hut"), "tree": ("tree",), "pine": ("pine tree", "pine", "fir tree"),
    "lighthouse": ("lighthouse",), "cat": ("cat", "cat", "kitten"), "flower": ("flower",), "mushroom": ("mushroom",),
    "apple": ("apple",), "castle": ("castle",), "snowman": ("snowman",), "cactus": ("cactus",), "car": ("car",),
    "balloon": ("hot-air balloon", "hot air balloon", "balloon"), "rocket": ("rocket", "rocket", "spaceship"),
    "butterfly": ("butterfly",), "sailboat": ("sailboat", "boat", "sailing boat", "ship"), "fish": ("fish",),
    "circle": ("circle",), "square": ("square",), "triangle": ("triangle",), "star": ("star",), "heart": ("heart",),
}  # fmt: skip
EN_PLURAL = {"fish": "fish", "cactus": "cacti", "butterfly": "butterflies", "snowman": "snowmen"}
ZH_NAME = {
    "house": ("房子", "小屋"), "tree": ("树", "大树"), "pine": ("松树",), "lighthouse": ("灯塔",),
    "cat": ("猫", "小猫"), "flower": ("花", "花朵"), "mushroom": ("蘑菇",), "apple": ("苹果",), "castle": ("城堡",),
    "snowman": ("雪人",), "cactus": ("仙人掌",), "car": ("汽车", "小车"), "balloon": ("热气球",), "rocket": ("火箭",),
    "butterfly": ("蝴蝶",), "sailboat": ("帆船", "船"), "fish": ("鱼",), "circle": ("圆形", "圆"),
    "square": ("正方形",), "triangle": ("三角形",), "star": ("星形", "五角星"), "heart": ("心形", "爱心"),
}  # fmt: skip
ZH_MEASURE = {
    "house": "座", "tree": "棵", "pine": "棵", "lighthouse": "座", "cat": "只", "flower": "朵", "castle": "座",
    "cactus": "棵", "car": "辆", "rocket": "枚", "butterfly": "只", "sailboat": "艘", "fish": "条", "heart": "颗",
}  # fmt: skip
ZH_COLOUR = {
    "red": "红", "green": "绿", "blue": "蓝", "yellow": "黄", "purple": "紫", "orange": "橙", "pink": "粉",
    "white": "白", "black": "黑",
}  # fmt: skip
EN_PLACE = {
    "meadow": ("in a meadow", "on the grass", "in a green field", "on a meadow"),
    "hills": ("on the hills", "in the hills", "among rolling hills", "on a hill"),
    "mountains": ("in the mountains", "in front of mountains", "with mountains", "in front of snowy mountains"),
    "sea": ("by the sea", "on the sea", "at sea", "on the water", "in the ocean"),
    "snow": ("in the snow", "in a snowy field", "in winter", "on the snow"),
    "desert": ("in the desert", "on the sand", "in the sand dunes"),
}
EN_GROUND = {
    "meadow": ("meadow", "grass", "green field"),
    "hills": ("hills", "rolling hills", "green hills"),
    "mountains": ("mountains", "snowy mountains", "mountain landscape"),
    "sea": ("sea", "ocean", "the sea"),
    "snow": ("snow", "winter landscape", "snowy field"),
    "desert": ("desert", "sand dunes"),
}
ZH_PLACE = {
    "meadow": ("草地", "草地上", "田野"), "hills": ("山丘", "丘陵", "山坡上"),
    "mountains": ("雪山", "高山", "山脉", "山前"), "sea": ("海边", "大海", "海上", "海面上", "海里"),
    "snow": ("雪地", "雪地里", "雪景", "冬天"), "desert": ("沙漠", "沙漠里", "沙丘"),
}  # fmt: skip
EN_WHEN = {
    "day": ("by day", "during the day", "on a sunny day", "under a blue sky"),
    "sunset": ("at sunset", "at sunset", "in the evening", "at dusk"),
    "night": ("at night", "at night", "under the night sky"),
    "dawn": ("at dawn", "in the morning", "at sunrise"),
}
EN_TIME = {
    "day": ("day", "blue sky", "daylight"), "sunset": ("sunset", "evening", "dusk"), "night": ("night", "night sky"),
    "dawn": ("dawn", "sunrise", "morning"),
}  # fmt: skip
ZH_TIME = {
    "day": ("白天", "蓝天", "晴天"), "sunset": ("日落", "傍晚", "黄昏", "夕阳"),
    "night": ("夜晚", "夜里", "夜空", "晚上"), "dawn": ("黎明", "清晨", "日出", "早晨"),
}  # fmt: skip
EN_EXTRA = {
    "sun": ("sun", "the sun", "sunshine"), "moon": ("moon", "the moon", "full moon"),
    "crescent": ("moon", "crescent moon"), "stars": ("stars", "starry sky"), "clouds": ("clouds", "some clouds"),
    "flakes": ("snowflakes", "snowing", "falling snow"),
}  # fmt: skip
ZH_EXTRA = {
    "sun": ("太阳",), "moon": ("月亮", "满月"), "crescent": ("月亮", "弯月"), "stars": ("星星", "星空"),
    "clouds": ("云", "白云"), "flakes": ("下雪", "雪花"),
}  # fmt: skip
EN_SIDE = {"left": "on the left", "right": "on the right", "middle": "in the middle"}
ZH_SIDE = {"left": ("左边", "在左边"), "right": ("右边", "在右边"), "middle": ("中间", "在中间")}
LOOK_WORDS = {
    "watercolor": ("watercolour", "watercolor", "水彩", "水彩画"),
    "ink": ("水墨画", "水墨", "chinese ink painting", "ink painting"),
    "gufeng": ("古风插画", "古风", "classical chinese painting"),
    "sketch": ("pencil sketch", "sketch", "铅笔素描", "素描"),
    "comic": ("comic", "comic book", "漫画"),
    "pixel": ("pixel art", "像素画", "像素风"),
    "cinematic": ("film still", "cinematic", "电影剧照", "电影感"),
    "cyberpunk": ("cyberpunk", "neon", "赛博朋克", "霓虹"),
    "poster": ("poster", "flat poster", "海报", "扁平海报"),
    "papercut": ("paper cut", "paper cut art", "剪纸"),
}
# Words that change nothing: quality words, everyday words, single words of the presets' texts.
NOISE_EN = (
    """
beautiful, highly detailed, masterpiece, best quality, 4k, 8k, hd, lovely, cute, old, tiny details, fantastic,
amazing, trending, peaceful, quiet, happy, a person, music, dream, memory, my friend, for children,
illustration, picture, drawing, minimal, calm, cozy, magic, story, travel, summer, autumn, spring, wind, rain,
fog, village, road, river, forest, garden, dog, horse, bird, train, city, table, chair, window, book, light,
shadow, warm, cold, wide shot, close-up, texture, geometric, palette, lens, grain, paper, soft, bold, dynamic,
wet, asphalt, colour, cartoon, render, painting, flat, clutter, people, realistic, glossy, gradients, noise, my
grandmother, nothing, blurry, sharp, vivid, pastel, dark, bright, simple, elegant, vintage, modern, art, photo,
realistic photo
""".replace("\n", " ")
    .strip()
    .split(", ")
)
NOISE_ZH = (
    """
美丽 高清 精美 细节丰富 可爱 安静 童话 插画 摄影 油画 动漫 三维渲染 梦幻 温暖 孤独 故事
旅行 春天 秋天 夏天 风 雨 村庄 河流 森林 小狗 城市 一个人 光影 大师作品 好看的图 老人
孩子 桌子 照片 现代服饰 鲜艳色彩 简单 明亮 读书
""".replace("\n", " ")
    .strip()
    .split(" ")
)
UNKNOWN_EN = (
    """
dragon, dog, person, robot, bird, horse, bear, woman, man, child, train, plane, chair, cup, bicycle, bridge,
rabbit, elephant, panda, tiger, queen, monster, thing, guitar, clock, bottle, cake, duck, owl, fox
""".replace("\n", " ")
    .strip()
    .split(", ")
)
UNKNOWN_ZH = (
    """
龙 狗 人 机器人 鸟 马 熊 女孩 男孩 火车 飞机 椅子 杯子 桥 兔子 熊猫 老虎 东西 蛋糕
""".replace("\n", " ")
    .strip()
    .split(" ")
)
OPENINGS_EN = ("a picture of ", "picture of ", "a drawing of ", "an illustration of ", "draw ", "there is ", "I see ")
OPENINGS_ZH = ("一幅画，", "画", "请画", "图片：")


SCALES = ("large", "big", "small", "little", "tiny", "one", "two", "background")
SCALES_ZH = ("大", "小", "一", "两", "背景", "色")


def taught() -> list[str]:
    """Return every word that has an effect on the picture, sorted: single words of English, phrases of Chinese."""
    names = [name for table in (EN_NAME, EN_PLACE, EN_GROUND, EN_WHEN, EN_TIME, EN_EXTRA) for name in _all(table)]
    plurals = [EN_PLURAL.get(name, name + "s") for name in _all(EN_NAME)]
    english = [*names, *plurals, *COLOURS, *EN_SIDE.values(), *SCALES, *OPENINGS_EN, *_all(LOOK_WORDS)]
    chinese = [name for table in (ZH_NAME, ZH_PLACE, ZH_TIME, ZH_EXTRA, ZH_SIDE) for name in _all(table)]
    chinese += [*ZH_COLOUR.values(), *SCALES_ZH, *OPENINGS_ZH, *_all(LOOK_WORDS)]
    words = (word for phrase in english + chinese for word in re.findall(r"[a-z]+|[\u4e00-\u9fff]+", phrase.lower()))
    return sorted(set(words))


def _all(table: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [name for names in table.values() for name in names]


def presets() -> dict[str, dict[str, str]]:
    """Read the page's style presets: from the package, or from a copy beside this file."""
    beside = Path(__file__).with_name("styles.toml")
    package = Path(__file__).parents[2] / "zimage_cache" / "prompts" / "styles.toml"
    return tomllib.loads((beside if beside.exists() else package).read_text(encoding="utf-8"))
