"""What the page hears while a picture is drawn."""

import base64
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.page import drawing as drawing_module
from zimage_cache.web.page.drawing import Presses, follow

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]
ASK = {"prompt": "a red circle", "seed": 7, "width": 64, "height": 64, "steps": 4}


async def test_previews_travel_once_each(studio, gate, monkeypatch):
    """A new preview is told as a data address; the same one is not told again; before the first there is none."""
    monkeypatch.setattr(drawing_module, "_SECONDS", 0.01)
    first, second = gate(evaluation=1), gate(evaluation=3)
    made = studio(generator=FakeGenerator(preview=b"small"))
    made.generator.before_step = lambda recipe, evaluation: (first(recipe, evaluation), second(recipe, evaluation))
    told = []
    async with aclosing(follow(made.service, GenerateBody.parse(ASK), "ann")) as story:
        async for news in story:
            told.append(news)
            first.open()
            if news.get("progress", {}).get("step") == 2 and "preview" not in news["progress"]:
                second.open()
    progress = [news["progress"] for news in told if "progress" in news]
    shown = [news["preview"] for news in progress if news.get("preview")]
    assert set(shown) == {"data:image/jpeg;base64," + base64.b64encode(b"small").decode()}
    assert progress[0]["preview"] is None
    assert len([news for news in progress if "preview" not in news]) >= 1
    assert "answer" in told[-1]
    assert made.generator.previews > 0


def press(number, **fields):
    """Make what Gradio gives an event: the press and who pressed."""
    return SimpleNamespace(number=number, ask={**ASK, **fields}), SimpleNamespace(session_hash="page", request=None)


@pytest.mark.parametrize("early", [True, False])
async def test_stop_reaches_a_press_that_is_still_on_its_way(studio, gate, monkeypatch, early):
    """Stop may overtake its press, or come in the middle: either way the run is cancelled and nothing is kept."""
    monkeypatch.setattr(drawing_module, "_SECONDS", 0.01)
    door = gate(evaluation=2)
    made = studio(door)
    presses = Presses(made.service)
    stop = presses.stop(*press(1))
    if early:
        await stop
    told = []
    async with aclosing(presses.draw(*press(1))) as story:
        async for news in story:
            told.append(news)
            if len(told) == 3:
                await stop
    door.open()
    assert all("answer" not in news for news in told)
    made.close()
    assert made.stored == set()


async def test_stop_is_for_one_press_alone(studio):
    """The next press of the same page, and the same number of another page, go on."""
    made = studio()
    presses = Presses(made.service)
    await presses.stop(*press(1))
    event, request = press(2)
    assert "answer" in [news async for news in presses.draw(event, request)][-1]
    other = SimpleNamespace(session_hash="another page", request=None)
    assert "answer" in [news async for news in presses.draw(press(1)[0], other)][-1]
