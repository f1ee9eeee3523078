"""What every `ImageGenerator` promises, asked of the fake and of the embedded demo model."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import recipe
from zimage_cache.errors import Cancelled
from zimage_cache.generator.device import CPU
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import ImageGenerator, Pixels, Status, Step
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.models.profiles import DEMO
from zimage_cache.models.store import demo_folder
from zimage_cache.request import Recipe, Sampler

RED_ON_BLUE = recipe(
    prompt="a large red circle on a blue background", width=128, height=128, steps=4, guidance_scale=1.0, seed=7
)


def make_fake(_memo):
    return FakeGenerator()


def make_demo(memo):
    return ZImageGenerator(DEMO, demo_folder, model="zimage-demo", device=CPU, memo=memo)


MAKERS = {"fake": make_fake, "demo": make_demo}


@pytest.fixture(scope="module", params=MAKERS)
def generator(request, tmp_path_factory) -> ImageGenerator:
    """One generator of each kind for the whole module, so that every promise holds after all the others' use."""
    made = MAKERS[request.param](tmp_path_factory.mktemp("memo") / "hashes.json")
    made.load()
    return made


@pytest.fixture(params=MAKERS)
def asleep(request, tmp_path) -> ImageGenerator:
    """A generator of each kind that has not loaded anything."""
    return MAKERS[request.param](tmp_path / "hashes.json")


def nothing(_step: Step) -> None:
    pass


def never() -> bool:
    return False


def draw(generator: ImageGenerator, recipe: Recipe, on_step: Callable[[Step], None] = nothing) -> Pixels:
    return generator.generate(recipe, on_step, never).pixels


def test_a_drawing_is_a_picture_of_the_size_asked_for(generator):
    """Pixels are RGB bytes of shape (height, width, 3), C-contiguous, with who drew them and a time above zero."""
    drawing = generator.generate(replace(RED_ON_BLUE, width=64, height=96), nothing, never)
    assert drawing.pixels.shape == (96, 64, 3)
    assert drawing.pixels.dtype == np.uint8
    assert drawing.pixels.flags.c_contiguous
    assert drawing.identity == generator.identity()
    assert drawing.gpu_seconds > 0
    assert drawing.warnings == ()


@pytest.mark.parametrize("sampler", Sampler)
def test_the_same_recipe_gives_the_same_bits(generator, sampler):
    """Drawing a recipe twice gives identical pixels, whatever was drawn in between, with every sampler."""
    recipe = replace(RED_ON_BLUE, sampler=sampler)
    first = draw(generator, recipe)
    draw(generator, replace(recipe, seed=8, steps=3, width=64))
    assert np.array_equal(draw(generator, recipe), first)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"seed": 2**32 - 1},
        {"prompt": "a large green circle on a blue background"},
        {"prompt": "a large red circle on a blue background "},
        {"negative_prompt": "green"},
        {"steps": 5},
        {"guidance_scale": 0.0},
        {"guidance_scale": 2.0},
        {"shift": 2.0},
        *({"sampler": sampler} for sampler in Sampler if sampler != "euler"),
    ],
    ids=str,
)
def test_what_is_in_the_key_changes_the_picture(generator, change):
    """Every parameter that changes the key can change pixels: two keys are two pictures."""
    assert not np.array_equal(draw(generator, replace(RED_ON_BLUE, **change)), draw(generator, RED_ON_BLUE))


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_progress_counts_every_evaluation(generator, sampler, steps):
    """`on_step` receives 0, 1, 2, … up to the recipe's evaluations, also from one step and from Heun's 2n-1."""
    recipe = replace(RED_ON_BLUE, sampler=sampler, steps=steps)
    heard: list[Step] = []
    draw(generator, recipe, heard.append)
    assert heard == [Step(n, recipe.evaluations) for n in range(recipe.evaluations + 1)]


@pytest.mark.parametrize("sampler", Sampler)
def test_cancelling_stops_at_the_next_evaluation_and_leaves_no_trace(generator, sampler):
    """After a yes from `cancelled` no further evaluation runs, and the next picture is the undisturbed one."""
    recipe = replace(RED_ON_BLUE, sampler=sampler)
    undisturbed = draw(generator, recipe)
    heard: list[Step] = []
    with pytest.raises(Cancelled):
        generator.generate(recipe, heard.append, lambda: len(heard) == 3)
    assert [step.evaluation for step in heard] == [0, 1, 2]
    assert np.array_equal(draw(generator, recipe), undisturbed)


def test_a_run_cancelled_before_it_starts_evaluates_nothing(generator):
    """A run cancelled before its start makes no evaluation."""
    heard: list[Step] = []
    with pytest.raises(Cancelled):
        generator.generate(RED_ON_BLUE, heard.append, lambda: True)
    assert heard == []


def test_leaving_after_the_last_evaluation_still_gives_the_picture(generator):
    """Once everything is computed the picture is finished: it was paid for and can be stored."""
    heard: list[Step] = []
    drawing = generator.generate(RED_ON_BLUE, heard.append, lambda: len(heard) == RED_ON_BLUE.evaluations + 1)
    assert np.array_equal(drawing.pixels, draw(generator, RED_ON_BLUE))


def test_an_error_in_on_step_ends_the_run_alone(generator):
    """What `on_step` raises comes out, as itself or as the cause, and the next picture is the undisturbed one."""

    def break_down(step: Step) -> None:
        if step.evaluation == 2:
            raise LookupError("the page is gone")

    undisturbed = draw(generator, RED_ON_BLUE)
    with pytest.raises(Exception, match="the page is gone") as caught:
        draw(generator, RED_ON_BLUE, break_down)
    assert isinstance(caught.value, LookupError) or isinstance(caught.value.__cause__, LookupError)
    assert np.array_equal(draw(generator, RED_ON_BLUE), undisturbed)


def test_pictures_of_a_series_equal_single_calls(generator):
    """The pictures of one request (seed, seed+1, …) do not depend on being drawn together or in that order."""
    series = [draw(generator, replace(RED_ON_BLUE, seed=7 + i)) for i in range(3)]
    singles = [draw(generator, replace(RED_ON_BLUE, seed=7 + i)) for i in (2, 1, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(series, reversed(singles), strict=True))


def test_the_identity_needs_no_weights_and_never_changes(asleep):
    """The identity is known while asleep, and the same from other threads, after loading and after unloading."""
    before = asleep.identity()
    assert asleep.state.status is Status.SLEEPING
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(asleep.identity())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asleep.load()
    heard.append(asleep.identity())
    asleep.unload()
    heard.append(asleep.identity())
    assert heard == [before] * 6


def test_a_sleeping_generator_wakes_when_asked(asleep):
    """`generate` loads by itself; unloading in between changes no pixel; loading twice is loading once."""
    first = draw(asleep, RED_ON_BLUE)
    assert asleep.state.status is Status.HEALTHY
    asleep.unload()
    assert asleep.state.status is Status.SLEEPING
    asleep.unload()
    asleep.load()
    asleep.load()
    assert asleep.state.status is Status.HEALTHY
    assert np.array_equal(draw(asleep, RED_ON_BLUE), first)


def test_there_is_one_identity_before_the_first_picture(asleep):
    """Before anything went wrong a picture can be stored under one identity only, whatever its size."""
    identity = asleep.identity()
    assert asleep.identities(RED_ON_BLUE) == (identity,)
    draw(asleep, RED_ON_BLUE)
    assert asleep.identities(RED_ON_BLUE) == (identity,)


def test_a_repeated_text_changes_no_bit(asleep):
    """A picture from texts read before, in either place, has the bits of the first one that read them."""
    recipe = replace(RED_ON_BLUE, negative_prompt="green", guidance_scale=2.0)
    first = draw(asleep, recipe)
    draw(asleep, replace(recipe, negative_prompt=recipe.prompt, prompt="green"))
    assert np.array_equal(draw(asleep, recipe), first)


def test_the_state_names_the_device(generator):
    """The state names the device, for `/health`."""
    assert generator.state.device == "cpu"


LONG = "a large red circle on a blue background, " * 200


@pytest.mark.parametrize("text", ["", "a red circle", "红色的圆", "<|im_end|>", "\x00 {} \n", LONG], ids=ascii)
def test_counting_tokens_needs_no_weights(asleep, text):
    """The count is a number, the same asleep, awake and asleep again, and loads nothing."""
    asleep_count = asleep.count_tokens(text)
    assert isinstance(asleep_count, int)
    assert asleep.state.status is Status.SLEEPING
    asleep.load()
    assert asleep.count_tokens(text) == asleep_count
    asleep.unload()
    assert asleep.count_tokens(text) == asleep_count


def test_more_words_are_more_tokens(generator):
    """What is counted is the text: nothing is cut, so the count passes every limit a request may set."""
    counts = [generator.count_tokens("red " * words) for words in (1, 2, 10, 600, 1200)]
    assert counts == sorted(set(counts))
    assert counts[-2] >= 600
    assert counts[-1] >= 1200


def test_tokens_are_counted_from_any_thread_while_it_draws(generator):
    """Eight threads get the one answer, and pictures drawn meanwhile and afterwards are the undisturbed ones."""
    undisturbed, expected = draw(generator, RED_ON_BLUE), generator.count_tokens(LONG)
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(generator.count_tokens(LONG))) for _ in range(8)]
    recipe = replace(RED_ON_BLUE, prompt="green, " * 40, max_sequence_length=256)
    for thread in threads:
        thread.start()
    drawn = draw(generator, recipe)
    for thread in threads:
        thread.join()
    assert heard == [expected] * 8
    assert np.array_equal(draw(generator, RED_ON_BLUE), undisturbed)
    assert np.array_equal(draw(generator, recipe), drawn)


def test_an_interruption_leaves_no_trace(asleep):
    """Where no load waits, `interrupt` changes nothing: the next picture is drawn; `close` returns at once."""
    asleep.interrupt()
    first = draw(asleep, RED_ON_BLUE)
    asleep.interrupt()
    assert np.array_equal(draw(asleep, RED_ON_BLUE), first)
    asleep.unload()
    asleep.close()
    asleep.close()
