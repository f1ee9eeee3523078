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
    for part in ("demo", "house", "256x256", "Chinese", "--model turbo"):
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


SINGLE_FILES = [
    "z_image_turbo_bf16.safetensors",
    "./models/z_image_turbo_bf16.safetensors",
    "models/z_image_turbo_bf16.safetensors",
    "/models/Z.SafeTensors",
    "~/models/z-image-turbo-Q4_K_M.gguf",
    "C:\\ComfyUI\\models\\z_image_turbo_bf16.safetensors",
    "D:/models/old.ckpt",
    "../pytorch_model.bin ",
    "qwen_3_4b.sft",
]


@pytest.mark.parametrize("name", SINGLE_FILES)
def test_a_single_file_is_called_one(name, tmp_path, monkeypatch):
    """Whether it is there or not, and however it is written: what it is, and what to name instead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SettingsError, match=r"^model: .* is a single file, .*model_index\.json.*repository id"
    ) as caught:
        model_choice(name)
    assert name.strip()[-10:] in str(caught.value)


def test_a_file_of_any_other_kind_is_a_single_file(tmp_path):
    """What is there and is no folder needs no known suffix."""
    (tmp_path / "z-image").touch()
    with pytest.raises(SettingsError, match="is a single file"):
        model_choice(str(tmp_path / "z-image"))


@pytest.mark.parametrize("name", ["model_index.json", "vae/diffusion_pytorch_model.safetensors", "vae/not-here.gguf"])
def test_of_a_file_inside_a_model_the_folder_is_told(name):
    """The folder to name stands in the line."""
    with pytest.raises(SettingsError, match=f"is a single file of a model; .*--model {demo_folder()}$"):
        model_choice(str(demo_folder() / name))


ADDRESSES = [
    "https://huggingface.co/Tongyi-MAI/Z-Image-Turbo",
    "https://huggingface.co/Tongyi-MAI/Z-Image-Turbo/tree/main/transformer?x=1#y",
    "HTTPS://hf-mirror.com/Tongyi-MAI/Z-Image-Turbo/",
    "huggingface.co/Tongyi-MAI/Z-Image-Turbo",
    "https://modelscope.cn/models/Tongyi-MAI/Z-Image-Turbo/summary",
    "https://www.modelscope.cn/api/v1/models/Tongyi-MAI/Z-Image-Turbo/repo/files",
    "www.modelscope.cn/models/Tongyi-MAI/Z-Image-Turbo",
    "https://user:secret@huggingface.co/Tongyi-MAI/Z-Image-Turbo.git",
    "git@hf.co:Tongyi-MAI/Z-Image-Turbo",
    "hf://Tongyi-MAI/Z-Image-Turbo",
]


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_is_answered_with_the_repository_id(name):
    """Of a hub's page, of git, of an interface, with and without a scheme; passwords are not shown."""
    with pytest.raises(SettingsError, match=r"is an address; .*: --model Tongyi-MAI/Z-Image-Turbo$") as caught:
        model_choice(name)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://huggingface.co/spaces/Tongyi-MAI/Z-Image-Turbo", "name a repository id such as"),
        ("https://huggingface.co", "name a repository id such as"),
        ("https://[bad/x", "name a repository id such as"),
        ("https://civitai.com/models/2168935/z-image", "name a repository id such as"),
        ("https://civitai.com/api/download/models/12345?type=Model", "name a repository id such as"),
        ("s3://bucket/z-image", "name a repository id such as"),
        ("https://drive.google.com/drive/folders/1AbC", "name a repository id such as"),
        ("https://pan.baidu.com/s/1AbC", "name a repository id such as"),
        ("https://example.com/downloads/z-image.safetensors", "a single file, which cannot"),
        ("file:///models/z-image", "name the path: /models/z-image"),
        ("file:///models/%E5%9B%BE%20z", "name the path: /models/图 z"),
        ("https://huggingface.co/a/b/resolve/main/split_files/x.safetensors", "a single file of a/b, which cannot"),
    ],
)
def test_an_address_of_something_else_is_called_an_address(name, words):
    """Without a repository of a model in it, the line says what an id looks like."""
    with pytest.raises(SettingsError, match="address") as caught:
        model_choice(name)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("C:\\models\\Z-Image-Turbo", "in WSL the same folder is /mnt/c/models/Z-Image-Turbo"),
        ("d:/models/Z-Image-Turbo", "in WSL the same folder is /mnt/d/models/Z-Image-Turbo"),
        ("\\\\wsl$\\Ubuntu\\home\\me\\z", "in WSL the same folder is /home/me/z"),
        ("\\\\wsl.localhost\\Ubuntu\\home\\me\\z", "in WSL the same folder is /home/me/z"),
        ("models\\z-image", "in WSL the same folder is models/z-image"),
        ("\\\\server\\share\\z", "mount that share"),
    ],
)
def test_a_path_of_windows_is_translated(name, words):
    """Drives, shares of WSL and backslashes: the same folder, as it is written here."""
    with pytest.raises(SettingsError, match="is a path of Windows") as caught:
        model_choice(name)
    assert str(caught.value).endswith(words) or words in str(caught.value)


def test_a_folder_with_such_a_name_is_a_folder(tmp_path, monkeypatch):
    """What is there decides before what the name looks like."""
    monkeypatch.chdir(tmp_path)
    for name in ("z.safetensors", "C:\\models", "hf.co"):
        (tmp_path / name).mkdir()
        assert model_choice(name).folder == tmp_path / name
