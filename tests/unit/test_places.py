"""Models are searched where the hubs' own clients keep them, whatever variables say where that is."""

import os
from pathlib import Path

import pytest
from modelscope_hub.config import HubConfig

from zimage_cache.errors import SettingsError
from zimage_cache.models.places import search_roots

HUBS = ("HF_", "HUGGINGFACE_", "MODELSCOPE_", "MS_CACHE_HOME", "XDG_")
WORKSPACE = Path("/w")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An environment without variables of the hubs, and a home of its own."""
    for name in list(os.environ):
        if name.startswith(HUBS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def roots(model_cache: Path | None = None) -> list[str]:
    return [str(root) for root in search_roots(model_cache, WORKSPACE)]


def test_the_roots_come_in_the_contracts_order(monkeypatch, home):
    """--model-cache, MODELSCOPE_CACHE, HF_HOME, the workspace, then the hubs' own places; each once."""
    default = ["/w/model_cache", f"{home}/.cache/modelscope", f"{home}/.cache/huggingface"]
    assert roots() == default
    monkeypatch.setenv("MODELSCOPE_CACHE", "/ms")
    monkeypatch.setenv("HF_HOME", "/hf")
    assert roots(Path("/mc")) == ["/mc", "/ms", "/hf", *default]
    assert roots(Path("/ms")) == ["/ms", "/hf", *default]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/a"}, ["/a"]),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, ["/b"]),
        ({"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b"}, ["/a"]),
        ({"HF_HOME": "/h"}, ["/h"]),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/a"}, ["/a", "/h"]),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/h/hub"}, ["/h"]),
        ({"XDG_CACHE_HOME": "/x"}, ["/x/huggingface"]),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, ["/h", "/x/huggingface"]),
        ({"HF_HOME": "~/deep/hf"}, ["HOME/deep/hf"]),
        ({"HF_HUB_CACHE": "$PLACE/hub"}, ["/place/hub"]),
        ({"XDG_CACHE_HOME": "${PLACE}"}, ["/place/huggingface"]),
        ({"MODELSCOPE_CACHE": "~/ms"}, ["HOME/ms"]),
        ({"MS_CACHE_HOME": "/old"}, ["/old"]),
        ({"HF_HOME": "~nobody-of-that-name/hf"}, ["~nobody-of-that-name/hf"]),
        ({"MODELSCOPE_CACHE": "~nobody-of-that-name/ms"}, ["~nobody-of-that-name/ms"]),
    ],
)
def test_what_variables_of_the_hubs_name_is_searched(monkeypatch, home, variables, expected):
    """Each variable that their clients follow, with what the clients expand, before or beside the defaults."""
    monkeypatch.setenv("PLACE", "/place")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = roots()
    named = [root.replace("HOME", str(home)) for root in expected]
    assert [root for root in found if root in named] == named
    assert found[-1] == f"{home}/.cache/huggingface"


def test_searching_leaves_the_environment_as_it_is(monkeypatch):
    """Variables are removed for a moment only."""
    monkeypatch.setenv("HF_HOME", "/h")
    before = dict(os.environ)
    roots()
    assert dict(os.environ) == before


def test_without_a_home_the_search_goes_on(monkeypatch):
    """Folders whose `~` has no meaning are named as they are written, and lead nowhere."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert roots() == ["/w/model_cache", "~/.cache/modelscope", "~/.cache/huggingface"]


def test_a_variable_that_the_client_cannot_read_is_named(monkeypatch):
    """One line with the variable and its value, not the client's traceback."""
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "soon")
    with pytest.raises(SettingsError, match=r"^HF_HUB_ETAG_TIMEOUT: .*'soon'.*unset it$"):
        roots()


@pytest.mark.parametrize("value", [None, "/ms", "~/ms"])
def test_modelscope_s_client_has_the_same_rule(monkeypatch, value):
    """Its own code is not asked, because it takes long to import: here it is, and tells the same folder."""
    if value:
        monkeypatch.setenv("MODELSCOPE_CACHE", value)
    assert str(HubConfig().cache_dir) in roots()
