"""From settings to parts: which model draws, where things are kept, and what is refused at the door."""

import asyncio
import json
import logging
import shutil
import socket
from dataclasses import replace
from importlib.metadata import version

import pytest
from pydantic import ByteSize

import zimage_cache
from tests.factories import fake, picture_entry, present
from tests.waiting import wait_until
from zimage_cache import compose
from zimage_cache.accounts.users import key_digest
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.errors import SettingsError
from zimage_cache.faults import Faults
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import Status
from zimage_cache.models.store import demo_folder
from zimage_cache.request import ImageRequest
from zimage_cache.settings import Settings, load

CUDA = Device("cuda:0", "NVIDIA H200", (9, 0), 150 * 2**30)
ASK = ImageRequest(prompt="a fox", seed=1)


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """Choose the device this machine seems to have; none by default."""

    def choose(found: Device) -> None:
        monkeypatch.setattr(compose, "find_device", lambda asked: CPU if asked == "cpu" else found)

    choose(CPU)
    return choose


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    """Remove the variables that name folders with models."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "MODELSCOPE_CACHE", "MS_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def logging_as_before():
    """Give the loggers back as they were."""
    loggers = [logging.getLogger(name) for name in (None, "zimage_cache", "uvicorn")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


def make_settings(tmp_path, **settings) -> Settings:
    return Settings(workspace=tmp_path / "w", cache_min_free=ByteSize(0), **settings)


def make_generator(tmp_path, **settings):
    return compose.make_generator(make_settings(tmp_path, **settings))


def test_without_cuda_the_demo_draws(tmp_path, caplog):
    """A machine without CUDA gets the demo model without a download, and the log names the reason."""
    caplog.set_level(logging.INFO)
    generator = make_generator(tmp_path)

    assert generator.profile.name == "demo"
    assert generator.identity().model == "zimage-demo"
    assert "embedded demo model" in caplog.text


def test_with_cuda_turbo_draws(tmp_path, device, caplog):
    """A machine with a GPU gets the real model without asking for it."""
    caplog.set_level(logging.INFO)
    device(CUDA)

    assert make_generator(tmp_path).profile.name == "turbo"
    assert "embedded demo model" not in caplog.text
    assert "plan NVIDIA H200: bfloat16, offload none" in caplog.text


def test_how_the_model_runs_is_handed_on(tmp_path, device):
    """Precision, attention and compilation reach the identity, which says exactly what was asked for."""
    device(CUDA)
    demo = make_generator(tmp_path, model="demo", precision="float16", attention="_flash_3", compile=True).identity()
    assert demo.precision == "float16"
    assert demo.runtime.endswith(" cuda-sm_90 _flash_3+compile")
    with pytest.raises(SettingsError, match=r"^offload: model needs a GPU"):
        make_generator(tmp_path, model="demo", device="cpu", offload="model")


def test_every_card_of_the_same_make_draws(tmp_path, device, monkeypatch):
    """With `auto` each further card gets a generator of the same identity; an explicit card stays alone."""
    peers = [replace(CUDA, torch_name=f"cuda:{number}") for number in (1, 2)]
    device(CUDA)
    monkeypatch.setattr(compose, "find_peers", lambda first, asked: peers if (first, asked) == (CUDA, "auto") else [])
    made = compose.make_peers(make_settings(tmp_path, model="demo"))
    assert [peer.identity() for peer in made] == [make_generator(tmp_path, model="demo").identity()] * 2
    assert compose.make_peers(make_settings(tmp_path, model="demo", device="cuda:0")) == []
    service, _ = compose.make_service(make_settings(tmp_path), make_generator(tmp_path, model="demo"), peers=made)
    assert [state.device for state in service.devices()] == [f"NVIDIA H200 (cuda:{number})" for number in (0, 1, 2)]
    service.close()


def test_all_cards_of_a_model_share_its_place(tmp_path):
    """`--max-models 1` and two cards: they are awake together, and are unloaded together."""
    first, peer = (fake("demo") for _ in range(2))
    service, running = compose.make_service(make_settings(tmp_path, preload=True), first, peers=[peer])
    with running():
        wait_until(lambda: [state.status for state in service.devices()] == [Status.HEALTHY] * 2)
        asyncio.run(service.unload("demo"))
        assert [state.status for state in service.devices()] == [Status.SLEEPING] * 2


@pytest.mark.parametrize("model", ["turbo", "base", "org/name"])
def test_a_large_model_without_cuda_is_refused(tmp_path, model):
    """A model that takes minutes per picture on the CPU needs an explicit `--device cpu`."""
    with pytest.raises(SettingsError, match=rf"^model: {model} needs a CUDA device .*--model demo.*--device cpu$"):
        make_generator(tmp_path, model=model)

    assert make_generator(tmp_path, model=model, device="cpu").profile.name == model


def test_a_missing_large_model_is_no_reason_to_stop(tmp_path, device):
    """With CUDA the server starts without weights: they may still come by a download."""
    device(CUDA)

    assert make_generator(tmp_path, model="base").profile.name == "base"


def test_a_named_folder_is_used_where_it_lies(tmp_path):
    """A folder of one's own needs no CUDA rule and no search."""
    folder = tmp_path / "my-tune"
    shutil.copytree(demo_folder(), folder)
    generator = make_generator(tmp_path, model=str(folder))

    assert generator.profile.name == "my-tune"
    assert generator.identity().model == "my-tune"


def test_a_named_folder_that_is_not_there(tmp_path):
    """A mistyped path ends the start at once."""
    with pytest.raises(SettingsError, match=r"there is no folder .*nowhere"):
        make_generator(tmp_path, model=str(tmp_path / "nowhere"))


def test_a_named_folder_that_is_incomplete(tmp_path):
    """A half-copied model ends the start at once, and the line names the file."""
    folder = tmp_path / "half"
    shutil.copytree(demo_folder(), folder)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()

    with pytest.raises(SettingsError, match=r"vae.diffusion_pytorch_model\.safetensors is missing"):
        make_generator(tmp_path, model=str(folder))


def test_portable_identity_hides_versions(tmp_path):
    """`--identity` decides whether an upgrade draws everything anew."""
    strict = make_generator(tmp_path, model="demo").identity()
    portable = make_generator(tmp_path, model="demo", identity="portable").identity()

    assert portable.runtime == "diffusers"
    assert f"diffusers-{version('diffusers')}" in strict.runtime


def others(tmp_path, *, name="demo", **options):
    settings = make_settings(tmp_path, **options)
    first = compose.make_generator(settings)
    assert first.profile.name == name
    return [other.profile.name for other in compose.make_others(settings, first)]


def test_models_that_lie_here_are_offered_too(tmp_path, device, monkeypatch):
    """One server draws with every known model that is complete on this disk; what is not here is not offered."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert others(tmp_path) == []
    copy = tmp_path / "models" / "models" / "Tongyi-MAI" / "Z-Image-Turbo"
    shutil.copytree(demo_folder(), copy)
    here = {"model_cache": tmp_path / "models"}
    assert others(tmp_path, **here) == []  # this machine has no CUDA, and no device was set
    assert others(tmp_path, **here, device="cpu") == ["turbo"]
    device(CUDA)
    assert others(tmp_path, **here, name="turbo") == ["demo"]
    (copy / "vae" / "config.json").unlink()
    assert others(tmp_path, **here, model="demo") == []


def test_the_settings_decide_how_many_models_stay(tmp_path):
    """`--max-models 1`: the second model takes the first one's place, and the first wakes when asked again."""
    two = [FakeGenerator(), fake("other")]
    service, running = compose.make_service(make_settings(tmp_path, max_models=1), two[0], two[1:])
    with running():
        for number, model in enumerate(("fake", "other", "fake")):
            asyncio.run(service.render(ImageRequest(prompt="a fox", seed=number), model=model))
            assert [g.state.status is Status.HEALTHY for g in two] == [model == "fake", model == "other"]
    assert [g.loads for g in two] == [2, 1]


def test_versions():
    """Records name the software that drew; what is not installed is left out."""
    found = compose.versions()

    assert found["zimage"] == zimage_cache.__version__
    assert found["torch"] == version("torch")
    assert set(found) == {"zimage", "diffusers", "torch", "transformers", "pillow"}


def draw(settings, generator):
    service, running = compose.make_service(settings, generator)
    with running():
        return service, asyncio.run(service.render(ASK))[0]


def test_the_whole_below_the_web(tmp_path):
    """Settings become a service that draws once, stores, copies, and finds the picture again after a restart."""
    settings, generator = make_settings(tmp_path), FakeGenerator()
    _, first = draw(settings, generator)
    _, second = draw(settings, generator)

    assert [first.source, second.source] == ["generated", "disk"]
    assert len(generator.recipes) == 1
    assert first.entry.png == second.entry.png
    [picture] = settings.output_folder.iterdir()
    assert picture.read_bytes() == first.entry.png
    assert first.entry.record.versions == compose.versions()
    assert check(settings.cache_folder) == []


def test_the_bounds_of_the_cache_are_the_settings(tmp_path, monkeypatch):
    """Each bound and the policy reach the tier they are about."""
    settings, _ = load(
        {
            "workspace": tmp_path,
            "cache_max_bytes": "5MiB",
            "cache_max_entries": "1000",
            "cache_ttl": "24h",
            "cache_policy": "lru",
            "cache_min_free": "7KiB",
        }
    )
    disks, faults = [], Faults()

    def noted(root, **bounds):
        disks.append(bounds)
        return DiskTier(root, **bounds)

    monkeypatch.setattr(compose, "DiskTier", noted)
    compose.make_cache(settings, faults)

    assert disks == [
        {
            "max_bytes": 5 * 2**20,
            "max_entries": 1000,
            "ttl_seconds": 86400.0,
            "min_free_bytes": 7 * 2**10,
            "policy": "lru",
            "faults": faults,
        }
    ]


def test_lifetime_statistics_lie_in_the_workspace(tmp_path):
    """Where the cache is elsewhere, its statistics are not: they are never cleared with it."""
    settings, _ = load({"workspace": tmp_path / "w", "cache_dir": tmp_path / "c", "cache_min_free": "0"})
    service, running = compose.make_service(settings, FakeGenerator())
    with running():
        service.statistics.drawn(1.0)

    assert (tmp_path / "w" / "zimage.sqlite3").is_file()


def test_wildcards_lie_in_the_workspace(tmp_path):
    """`<workspace>/wildcards` is used as soon as it exists."""
    service, running = compose.make_service(make_settings(tmp_path), FakeGenerator())
    with running():
        (tmp_path / "w" / "wildcards").mkdir()
        (tmp_path / "w" / "wildcards" / "color.txt").write_text("red")
        assert asyncio.run(service.prompts.describe("a __color__ cat")).prompt == "a red cat"


@pytest.mark.parametrize("off", ["no_cache", "debug"])
def test_the_cache_alone_is_switched_off(tmp_path, off):
    """Without the cache every picture is drawn, and `output_image/` still has it, once; no cache folder is made."""
    settings, generator = make_settings(tmp_path, **{off: True}), FakeGenerator()
    service, first = draw(settings, generator)
    _, second = draw(settings, generator)

    assert not service.caching
    assert [first.source, second.source] == ["generated", "generated"]
    assert len(generator.recipes) == 2
    assert len(list(settings.output_folder.iterdir())) == 1
    assert not settings.cache_folder.exists()


@pytest.mark.parametrize(
    ("setting", "flag"), [("workspace", "--workspace"), ("cache_dir", "--cache-dir"), ("output_dir", "--output-dir")]
)
def test_a_folder_that_cannot_be_written(tmp_path, setting, flag):
    """One line at the start: which setting, which folder, why."""
    (tmp_path / "file").touch()
    settings = make_settings(tmp_path).model_copy(update={setting: tmp_path / "file" / "below"})

    with pytest.raises(SettingsError, match=rf"^{flag}: .*file.below should be a folder this user can write: ") as told:
        compose.make_service(settings, FakeGenerator())

    assert "\n" not in str(told.value)


def test_no_trace_of_the_trial(tmp_path):
    """Trying whether a folder can be written leaves nothing in it."""
    settings = make_settings(tmp_path, no_cache=True)
    compose.make_service(settings, FakeGenerator())[0].close()

    assert list(settings.output_folder.iterdir()) == []
    assert list(settings.workspace.iterdir()) == [settings.output_folder]


def test_a_port_that_is_taken(tmp_path):
    """A second start says so at once, before anything is loaded or written."""
    with compose.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        settings = make_settings(tmp_path, port=port)
        with pytest.raises(SettingsError, match=rf"^--port: cannot listen on 127\.0\.0\.1:{port}: .*another --port$"):
            compose.serve(settings)

    assert not settings.workspace.exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "x" * 64 + ".example"])
def test_an_address_that_is_not_ours(host):
    """A mistyped host is one line, whatever the resolver thinks of it."""
    with pytest.raises(SettingsError, match=r"cannot listen on .*; choose another --host or --port$") as told:
        compose.listen(host, 0)

    assert "\n" not in str(told.value)


def test_answers_leave_at_once():
    """Nagle's algorithm would keep every answer on a kept connection for 40 ms; asyncio looks at the protocol."""
    with compose.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_pictures_are_kept_apart_only_where_there_are_users(tmp_path):
    """Without users the setting would protect nothing: the start says so, before the port is opened."""
    with pytest.raises(SettingsError, match=r"^--private-cache: needs users"):
        compose.serve(make_settings(tmp_path, private_cache=True, port=0))


def test_a_damaged_salt_stops_the_start(tmp_path):
    """With another one users would not find their pictures any more."""
    settings = make_settings(tmp_path, private_cache=True)
    settings.workspace.mkdir()
    (settings.workspace / "cache_salt").write_bytes(b"x")
    with pytest.raises(SettingsError, match=r"^--private-cache: .*32 random bytes, has 1; put the right file back"):
        compose.make_service(settings, FakeGenerator())


def test_a_bad_password_file_stops_the_start(tmp_path):
    """A server meant to be closed never opens by accident, not even its port."""
    settings = make_settings(tmp_path, auth_file=tmp_path / "none", port=0)

    with pytest.raises(SettingsError, match=r"^--auth-file: "):
        compose.serve(settings)
    assert not settings.workspace.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "should have a user; add one with `zimage user add NAME`"),
        ("# none yet\n", "should have a user"),
        ("hunter2\n", "line 1: should be name:secret"),
        ("ann:x\nann:hunter2\n", "line 2: ann has a password already"),
    ],
)
def test_a_useless_file_of_users(tmp_path, content, said):
    """One line naming the file and the rule, never its content."""
    (tmp_path / "users.txt").write_text(content)
    with pytest.raises(SettingsError, match=f"^--auth-file: .*{said}") as raised:
        compose.make_users(make_settings(tmp_path, auth_file=tmp_path / "users.txt"))
    assert "hunter2" not in str(raised.value)


def test_users_of_all_settings(tmp_path):
    """The file, or one user of a setting; and the API keys of settings, in clear or as digests."""
    keys = {"api_key": ["bot:0123456789abcdef", f"ann:sha256${key_digest('f' * 20)}"]}
    assert compose.make_users(make_settings(tmp_path)) is None
    one = present(compose.make_users(make_settings(tmp_path, auth="ann:x", **keys))).current
    assert [account.name for account in one] == ["ann", "bot"]
    assert one.with_key("0123456789abcdef") == one.get("bot")
    assert one.with_key("f" * 20) == one.get("ann") == one.with_password("ann", "x")
    (tmp_path / "users.txt").write_text("eve:y\n")
    settings = make_settings(tmp_path, auth="ann:x", auth_file=tmp_path / "users.txt")
    assert [account.name for account in present(compose.make_users(settings)).current] == ["eve"]


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_ours_alone(tmp_path, level, capsys):
    """`--log-level` is about this program; other libraries speak only when something is wrong."""
    compose.configure_logging(make_settings(tmp_path, log_level=level))
    names = ["debug", "info", "warning", "error"]
    for name in names:
        logging.getLogger("zimage_cache.x").log(getattr(logging, name.upper()), "ours %s", name)
        logging.getLogger("elsewhere").log(getattr(logging, name.upper()), "theirs %s", name)

    told = capsys.readouterr().err
    assert [name for name in names if f"ours {name}" in told] == names[names.index(level) :]
    assert [name for name in names if f"theirs {name}" in told] == ["warning", "error"]


@pytest.mark.usefixtures("logging_as_before")
def test_debug_speaks_at_debug(tmp_path, capsys):
    """`--debug` sets the level DEBUG for all loggers."""
    compose.configure_logging(make_settings(tmp_path, debug=True, log_level="error"))
    logging.getLogger("zimage_cache.x").debug("detail")

    assert "detail" in capsys.readouterr().err


@pytest.mark.usefixtures("logging_as_before")
def test_json_lines(tmp_path, capsys):
    """Each line is one JSON object, also with line breaks, Chinese and a traceback."""
    compose.configure_logging(make_settings(tmp_path, log_format="json"))
    log = logging.getLogger("zimage_cache.x")
    log.info("two\nlines %s", "红")
    try:
        int("broken")
    except ValueError:
        log.exception("trouble")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("info", "zimage_cache.x", "two\nlines 红")
    assert {"time", "request_id"} <= first.keys()
    assert "ValueError: invalid literal" in second["traceback"]


def test_a_workspace_that_is_the_folder_of_the_pictures(tmp_path):
    """With `--output-dir` on the workspace, pictures of the cache and files of models are none that people made."""
    settings = make_settings(tmp_path, output_dir=tmp_path)
    for place in (settings.cache_folder / "images", settings.model_folder / "a", tmp_path / "2025"):
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(picture_entry(1).png)
    history = compose.make_history(settings)
    history.reconcile()
    assert [each.name for each in history.page().pictures] == ["2025/a.png"]
