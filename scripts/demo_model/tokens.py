"""The tokenizer: byte-level BPE whose merges are learned from single words, and the chat template of the real model.

BPE: Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with subword units" (arXiv 1508.07909).
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import words
from captions import NEGATIVES, caption
from scene import any_scene
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT_TEMPLATE = (
    "{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
BEFORE, AFTER = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"  # what the template makes of a prompt
VOCABULARY = 1500
SAMPLES = 30_000  # captions whose words are counted
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def _chinese_words() -> Iterable[str]:
    tables = (words.ZH_NAME, words.ZH_PLACE, words.ZH_TIME, words.ZH_EXTRA, words.ZH_SIDE, words.LOOK_WORDS)
    for table in tables:
        for choices in table.values():
            yield from (word for word in choices if CHINESE.search(word))
    for colour in words.ZH_COLOUR.values():
        yield from (colour, colour + "色")
    yield from {"一" + measure for measure in words.ZH_MEASURE.values()} | {
        "一个",
        "背景",
        "，",
        "的",
        "两",
        "和",
        "与",
    }
    yield from {"大", "小", "有", "上的", "在", "：", "请画"}


def _corpus() -> Counter[str]:
    """Count the words of many captions; Chinese words come from the vocabulary, since nothing separates them."""
    rng = random.Random(5)
    counts: Counter[str] = Counter()
    for _ in range(SAMPLES):
        text = caption(any_scene(rng, (128, 128)), rng)
        counts.update(re.findall(r" ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9\u4e00-\u9fff]+", BEFORE + text + AFTER))
    for text in NEGATIVES:
        counts.update(re.findall(r" ?[A-Za-z]+", text))
    counts.update(dict.fromkeys(_chinese_words(), 3000))
    for preset in words.presets().values():
        counts.update(dict.fromkeys(re.findall(r"[\u4e00-\u9fff]+", preset["prompt"]), 1000))
    return counts


def build(folder: Path) -> None:
    """Learn the vocabulary and save it as the tokenizer class of the real model."""
    from transformers import Qwen2Tokenizer  # noqa: PLC0415 - slow, and not needed to draw

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    corpus = (word for word, count in _corpus().items() for _ in range(min(count, 3000)))
    tokenizer.train_from_iterator(corpus, trainer)
    bpe = json.loads(tokenizer.to_str())["model"]
    finished = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],  # type: ignore[misc]  # the class takes pairs too
        unk_token=None,  # type: ignore[arg-type]  # likewise None
        pad_token=special[0],
        eos_token=special[2],
        padding_side="right",
        model_max_length=131072,
        extra_special_tokens=special[1:],
    )
    finished.chat_template = CHAT_TEMPLATE
    finished.save_pretrained(folder)


class Encoder:
    """Turns captions into token ids, as the pipeline does."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.size: int = self.tokenizer.get_vocab_size()

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Encode captions inside the chat template."""
        encoded = self.tokenizer.encode_batch([BEFORE + text + AFTER for text in texts], add_special_tokens=False)
        return [one.ids for one in encoded]
