"""A prompt is expanded and counted as it will be drawn, and drawing does not wait for the count."""

import asyncio
import threading
import unicodedata
from dataclasses import replace

import pytest

from zimage_cache.errors import InvalidRequest
from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.i18n.messages import Message
from zimage_cache.prompts.styles import style
from zimage_cache.prompts.vocabulary import Vocabulary
from zimage_cache.service.prompts import Described, Prompts

pytestmark = pytest.mark.anyio


class Counting(FakeGenerator):
    """Remembers what it counted, and counts only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.begun = threading.Event()
        self.let = threading.Event()

    def count_tokens(self, text: str) -> int | None:
        self.texts.append(text)
        self.begun.set()
        assert self.let.wait(60)
        return super().count_tokens(text)


@pytest.fixture
def make():
    """Give a maker of `Prompts`; all are closed at the end."""
    made = []

    def prompts(folder=None, generator=None, **options) -> Prompts:
        drawer = generator or FakeGenerator()

        def lookup(model):
            if model not in {None, "fake"}:
                raise InvalidRequest("unknown_model", field="model", got=model, offered=("fake",))
            return drawer

        made.append(Prompts(folder, lookup, **options))
        return made[-1]

    yield prompts
    for each in made:
        each.close()


async def test_plain_prompts_come_back_counted(make):
    """Nothing to pick: the texts as they were, the tokens of the prompt, and no wildcards where there are none."""
    assert await make().describe("a red cat", "blurry") == Described("a red cat", "blurry", 3, [])


async def test_words_that_the_model_was_not_taught_are_named(make):
    """With a model of few words, and not for the words of the style; a model that was taught any says nothing."""
    profile = replace(FAKE_PROFILE, vocabulary=Vocabulary(frozenset(("red", "cat"))), examples={"en": ("a red cat",)})
    few = make(generator=FakeGenerator(profile=profile))
    assert (await few.describe("a red cat", "blurry", style="ink")).notices == []
    assert (await few.describe("a {red} dragon")).notices == [Message("words_unknown", words=("dragon",))]
    assert (await make().describe("a red dragon")).notices == []


async def test_the_style_counts_but_is_not_written_into_the_prompt(make):
    """What is counted is what would be drawn; what comes back is what to ask for together with the style."""
    generator = Counting()
    generator.let.set()
    found = await make(generator=generator, count_seconds=60).describe("{a|a} cat", style="anime")
    assert found.prompt == "a cat"
    assert generator.texts == [style("anime").apply("a cat", "")[0]]
    assert found.tokens == len(generator.texts[0].split())


async def test_what_is_counted_is_normalised_as_in_a_recipe(make):
    """Decomposed letters are counted composed, as they are drawn, and come back as they were."""
    generator = Counting()
    generator.let.set()
    text = unicodedata.normalize("NFD", "café")
    found = await make(generator=generator, count_seconds=60).describe(text)
    assert found.prompt == text
    assert generator.texts == [unicodedata.normalize("NFC", text)]


@pytest.mark.parametrize("prompt", ["", "  \n", "{|}"])
async def test_a_blank_prompt_has_no_tokens(make, prompt):
    """The counter of an empty box shows 0, whatever the template or a style would add."""
    generator = Counting()  # which would block
    assert (await make(generator=generator).describe(prompt, style="anime")).tokens == 0
    assert generator.texts == []


async def test_a_slow_count_is_left_behind(make):
    """While the tokenizer is being read the answer comes without a count, no queue builds up, and then it is there."""
    generator = Counting()
    prompts = make(generator=generator, count_seconds=0.01)
    answers = [await prompts.describe("a cat", seed=seed) for seed in range(5)]
    assert [answer.tokens for answer in answers] == [None] * 5
    await asyncio.to_thread(generator.begun.wait, 60)
    generator.let.set()
    prompts._count_seconds = 60  # noqa: SLF001 - the same queue, with time enough
    assert (await prompts.describe("a cat")).tokens == 2
    assert len(generator.texts) == 2


async def test_a_model_that_cannot_count_is_no_error(make):
    """None is handed on."""

    class Mute(FakeGenerator):
        def count_tokens(self, text: str) -> int | None:  # noqa: ARG002 - the seam names it
            return None

    assert (await make(generator=Mute(), count_seconds=60).describe("a cat")).tokens is None


async def test_files_changed_between_two_asks_are_read_anew(make, tmp_path):
    """The folder may appear, change and go while the server runs."""
    prompts = make(tmp_path / "wildcards")
    assert (await prompts.describe("x")).wildcards == []
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "color.txt").write_text("red")
    assert await prompts.describe("__color__") == Described("red", "", 1, ["color"])
    (tmp_path / "wildcards" / "color.txt").write_text("blue")
    assert (await prompts.describe("__color__")).prompt == "blue"


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"prompt": "__nope__"}, "prompt"),
        ({"prompt": "x", "negative_prompt": "__nope__"}, "negative_prompt"),
        ({"prompt": "x" * 7990, "style": "anime"}, "prompt"),
        ({"prompt": "x", "style": "nope"}, "style"),
        ({"prompt": "x", "model": "nope"}, "model"),
    ],
)
async def test_errors_name_their_field(make, ask, field):
    """Each message begins with the field that is to blame."""
    with pytest.raises(InvalidRequest, match=f"^{field}: ") as caught:
        await make().describe(**ask)
    assert caught.value.field == field
