"""What `--model` may name, and what each model is asked for by default."""

import pytest

from zimage_cache.errors import ModelCorrupt, ModelMissing, SettingsError
from zimage_cache.models.profiles import BASE, DEMO, KNOWN, TURBO, model_choice
from zimage_cache.models.store import demo_folder


def test_turbo_has_the_contracts_values():
    """1024x1024, 8 steps, no guidance, sides 256 to 2048."""
    assert (TURBO.width, TURBO.height, TURBO.steps, TURBO.guidance_scale) == (1024, 1024, 8, 0.0)
    assert (TURBO.min_side, TURBO.max_side) == (256, 2048)


def test_base_differs_in_steps_and_guidance():
    """The undistilled model takes 28 steps at guidance 4."""
    assert (BASE.width, BASE.height, BASE.steps, BASE.guidance_scale) == (1024, 1024, 28, 4.0)


def test_demo_has_the_contracts_values_and_says_what_it_is():
    """128x128, 8 steps, guidance 1, sides 64 to 512; its note says demo, what it draws, and how to get more."""
    assert (DEMO.width, DEMO.height, DEMO.steps, DEMO.guidance_scale) == (128, 128, 8, 1.0)
    assert (DEMO.min_side, DEMO.max_side) == (64, 512)
    for part in ("demo", "circle", "Chinese", "--model turbo"):
        assert part in DEMO.note


def test_known_names_are_offered_under_their_own_name():
    """The name in a request's `model` is the name on the command line."""
    assert {name: choice.profile.name for name, choice in KNOWN.items()} == {name: name for name in KNOWN}


def test_hub_models_are_identified_by_their_repository():
    """Keys made with `turbo` and with its repository id are the same."""
    assert model_choice("turbo").identity == model_choice("Tongyi-MAI/Z-Image-Turbo").identity
    assert model_choice("turbo").repo_id == "Tongyi-MAI/Z-Image-Turbo"
    assert model_choice("base").repo_id == "Tongyi-MAI/Z-Image"


def test_the_demo_is_a_folder_of_its_own():
    """No hub is ever asked for it."""
    choice = model_choice("demo")
    assert (choice.identity, choice.repo_id) == ("zimage-demo", None)
    assert choice.locate([]) == demo_folder()


def test_a_folder_is_named_by_its_name(tmp_path, monkeypatch):
    """A path, absolute or relative, offers the folder with Turbo's values under the folder's own name."""
    folder = tmp_path / "my-tune"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (str(folder), "./my-tune", "my-tune", f"{folder}/"):
        choice = model_choice(name)
        assert (choice.identity, choice.folder, choice.repo_id) == ("my-tune", folder, None)
        assert (choice.profile.name, choice.profile.steps) == ("my-tune", 8)


def test_a_folder_that_is_not_there_is_missing(tmp_path):
    """It is read as a path, and locating it says that there is none."""
    with pytest.raises(ModelMissing, match="there is no folder"):
        model_choice(str(tmp_path / "nowhere")).locate([])


def test_a_repository_is_searched_for(tmp_path):
    """Another repository id is a model of a hub, found like Turbo."""
    with pytest.raises(ModelMissing, match="some/tune is not on this disk"):
        model_choice("some/tune").locate([tmp_path])


@pytest.mark.parametrize("name", ["", "turbo2", "a/b/c", "a//b", "org/", "or g/name", "org/na\nme"])
def test_anything_else_is_refused(name, tmp_path, monkeypatch):
    """Named with the rule and the value got."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^model: should be one of turbo, base, demo, a folder"):
        model_choice(name)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "~nobody-of-that-name", "/a\0b", "x" * 5000])
def test_an_impossible_folder_is_refused(name):
    """An error of one line, not a library's traceback."""
    with pytest.raises(SettingsError, match=r"^model: ") as caught:
        model_choice(name)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_looked_at_is_said_to_be(tmp_path):
    """A path longer than this system allows: our error, quoting the system's."""
    with pytest.raises(ModelCorrupt, match="File name too long"):
        model_choice(f"{tmp_path}/{'x' * 5000}").locate(())
