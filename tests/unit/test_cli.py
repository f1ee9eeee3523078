"""The `zimage` command: its flags, its words, its exit statuses, and where its pictures come from."""

import errno
import functools
import getpass
import io
import json
import logging
import os
import pwd
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.factories import another, recipe
from zimage_cache import compose
from zimage_cache.cache.check import check
from zimage_cache.cli import client
from zimage_cache.cli import main as cli
from zimage_cache.cli import reached as reached_module
from zimage_cache.errors import ModelMissing, ServerError
from zimage_cache.generator.device import CPU
from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.metadata import png
from zimage_cache.models.profiles import DEMO, TURBO
from zimage_cache.request import PARAMETERS, ImageRequest
from zimage_cache.settings import Settings, flag_of

ROOT = Path(__file__).parents[2]
SWITCHES = [name for name, field in Settings.model_fields.items() if field.annotation is bool]
# What commands that start no server must not wait for.
HEAVY = {"gradio", "fastapi", "uvicorn", "torch", "diffusers", "transformers", "modelscope", "huggingface_hub", "numpy"}
PNG = b"\x89PNG from the server"


class Stub:
    """A stub server with configured answers, which records the requests."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, dict]] = []
        self.ready = [200]
        self.model = "demo"
        self.refusal: tuple[int, dict] | None = None

    def answer(self, path: str, body: dict) -> tuple[int, bytes]:
        self.asked.append((path, body))
        if path == "/generate":
            status, document = self.refusal or (200, self.pictures(body))
        elif path.startswith("/images/"):
            return 200, PNG + path.encode()
        else:
            status = self.ready.pop(0) if path == "/ready" and len(self.ready) > 1 else self.ready[0]
            document = {"status": "healthy" if status == 200 else "loading", "model": self.model}
        return status, json.dumps(document).encode()

    def pictures(self, body: dict) -> dict:
        seeds = range(body["seed"], body["seed"] + body.get("n", 1))
        images = [{"seed": s, "source": "memory", "seconds": 0.01, "image_url": f"/images/{s}.png"} for s in seeds]
        return {"images": images, "duration": 0.25, "warnings": ["the prompt is long"]}

    @property
    def bodies(self) -> list[dict]:
        return [body for path, body in self.asked if path == "/generate"]


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path) -> Path:
    """Run in an empty folder and environment, with a workspace of its own and no server on its port."""
    for variable in [*filter(lambda name: name.startswith("ZIMAGE_"), os.environ), "DISABLE_CACHE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ZIMAGE_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("ZIMAGE_CACHE_MIN_FREE", "0")
    monkeypatch.setenv("ZIMAGE_PORT", "1")
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "zimage_cache", "uvicorn")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def stub() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        stub: Stub

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = self.stub.answer(self.path, json.loads(body or b"{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - the name http.server calls

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.stub = Stub(server.server_port)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield Handler.stub
        server.shutdown()


@pytest.fixture
def fake(monkeypatch) -> FakeGenerator:
    """Put a generator without a model behind the command."""
    generator = FakeGenerator()
    monkeypatch.setattr(compose, "make_generator", lambda _settings: generator)
    return generator


def zimage(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def refused(result: Result, status: int, words: str) -> None:
    """Check for one line of error, and nothing of a picture."""
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    [line] = [line for line in result.stderr.splitlines() if line.startswith("zimage: ")]
    assert re.search(words, line), line
    assert "Traceback" not in result.stderr


def commands(
    group: click.Group = cli.main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
EVERY = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def test_help_needs_nothing_heavy():
    """`zimage --help` answers at once: no library of the web, the GPU or a hub is imported for it."""
    script = (
        "import sys; from zimage_cache.cli.main import main; main(['generate', '--help'], standalone_mode=False);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout

    imported = set(re.findall(r"'(\w+)'", told.splitlines()[-1]))
    assert "click" in imported
    assert imported & HEAVY == set()


def test_composing_needs_nothing_heavy_either():
    """Everything that can be refused at the door is refused before seconds of imports."""
    script = "import sys, zimage_cache.compose; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout

    assert set(re.findall(r"'(\w+)'", told)) & (HEAVY - {"numpy"}) == set()


def test_app_py_is_serve():
    """`python app.py` is the server: its help shows the server's flags under its own name."""
    told = subprocess.run([sys.executable, str(ROOT / "app.py"), "--help"], capture_output=True, text=True, check=True)

    assert told.stdout.startswith("Usage: app.py [OPTIONS]\n")
    assert "--allowed-host" in told.stdout
    assert told.stderr == ""


def test_app_py_tells_bad_settings_in_one_line():
    """Exit status 2 and one line, also through the short way in."""
    told = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--port", "x"], capture_output=True, text=True, check=False
    )

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == 'zimage: --port: should be an integer, got "x"\n'


@EVERY
def test_every_command_takes_every_setting(path):
    """`--workspace` and friends are accepted by all."""
    flags = {flag for parameter in COMMANDS[path].params for flag in parameter.opts}

    assert flags >= {"--" + name.replace("_", "-") for name in Settings.model_fields} | {"--config"}


@EVERY
def test_every_command_can_answer_in_json(path):
    """Every command has JSON output, except the server, which writes a log."""
    flags = {flag for parameter in COMMANDS[path].params for flag in parameter.opts}

    assert ("--json" in flags) == (path != ("serve",))


@EVERY
def test_every_flag_is_explained(path):
    """Help is for people: each flag has a sentence, in its section, without the innards of a library."""
    told = zimage(*path, "--help").stdout

    assert [option.name for option in COMMANDS[path].params if not option.help] == []
    assert COMMANDS[path].help
    assert "Settings:" in told
    assert told.index("--json" if path != ("serve",) else "Settings:") <= told.index("Settings:") < told.index("--host")
    assert not re.search(r"Pydantic|None|\bTrue\b|\{prompt\}", told)


def test_no_flag_means_two_things():
    """A flag of a picture never shadows a flag of a setting."""
    for path, command in COMMANDS.items():
        flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
        assert len(flags) == len(set(flags)), path


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_take_no_value(name):
    """Yes-or-no settings are switched on and off by flags of their own."""
    flag = "--" + name.replace("_", "-")

    def shown(*flags):
        return json.loads(zimage("config", "show", "--json", *flags).stdout)[name]

    assert shown() == {"value": Settings.model_fields[name].default, "from": "default"}
    assert shown(flag) == {"value": True, "from": flag}
    if not name.startswith("no_"):
        assert shown(f"--no-{flag.removeprefix('--')}") == {"value": False, "from": flag}


def test_the_contracts_switches():
    """The spellings the contract names."""
    told = zimage("serve", "--help").stdout

    assert set(SWITCHES) >= {"offline", "preload", "no_cache", "debug"}
    assert "--preload / --no-preload" in told
    assert "--no-no-cache" not in told


def test_flags_reach_the_settings_as_given():
    """The command line bends no value: sizes, durations and lists are read by the settings alone."""
    given = ["--cache-max-bytes", "5 MiB", "--request-timeout", "1.5h", "--allowed-host", "a", "--allowed-host", "b"]
    shown = json.loads(zimage("config", "show", "--json", *given, "--workspace", "~/x", "--queue-size", "007").stdout)

    assert shown["cache_max_bytes"] == {"value": 5 * 2**20, "from": "--cache-max-bytes"}
    assert shown["request_timeout"]["value"] == 5400
    assert shown["allowed_host"] == {"value": ["a", "b"], "from": "--allowed-host"}
    assert shown["workspace"]["value"] == str(Path.home() / "x")
    assert shown["queue_size"]["value"] == 7


def test_config_show(bare, monkeypatch):
    """Every setting with its value and its source, secrets masked, for people and for programs."""
    monkeypatch.setenv("ZIMAGE_AUTH", "ann:hunter2")
    (bare / "mine.toml").write_text('device = "cpu"\n')
    plain, as_json = (zimage("config", "show", "--config", "mine.toml", *flags) for flags in ([], ["--json"]))

    rows = json.loads(as_json.stdout)
    assert list(rows) == list(Settings.model_fields)
    assert rows["auth"] == {"value": "********", "from": "ZIMAGE_AUTH"}
    assert rows["device"] == {"value": "cpu", "from": "mine.toml: device"}
    assert "hunter2" not in plain.output + as_json.output
    lines = plain.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(rows)
    assert re.search(r'^device +"cpu"  \(mine.toml: device\)$', plain.stdout, re.MULTILINE)


@pytest.mark.parametrize("path", [["serve"], ["generate"], ["warmup"], ["config", "show"]])
def test_bad_settings_are_one_line(path):
    """Status 2 and one line, from every command."""
    refused(zimage(*path, "--cache-max-bytes", "lots"), 2, r'--cache-max-bytes: should be a size .*, got "lots"$')


def test_a_bad_secret_is_not_repeated():
    """A mistyped password does not end in a terminal's scrollback twice."""
    result = zimage("config", "show", "--auth", "hunter2")

    refused(result, 2, "--auth: should be user:password")
    assert "hunter2" not in result.output


def test_serve_refuses_an_impossible_model(monkeypatch):
    """`--model turbo` without a GPU ends at once with the remedy, before anything heavy is imported."""
    monkeypatch.setattr(compose, "find_device", lambda _asked: CPU)

    refused(zimage("serve", "--model", "turbo", "--port", "0"), 2, "needs a CUDA device")


def test_a_bare_generate_draws_an_example(fake, bare):
    """No flag is needed: a default prompt, a fixed seed, `result.png` here."""
    result = zimage("generate")

    assert result.exit_code == 0, result.output
    [recipe] = fake.recipes
    assert (recipe.prompt, recipe.seed) == (TURBO.examples["en"][0], 42)
    assert (bare / "result.png").read_bytes().startswith(b"\x89PNG")
    assert re.fullmatch(rf"{bare}/result\.png  seed 42  generated  \d+\.\d\d s\n", result.stdout)


def test_the_second_time_it_comes_from_disk(fake, bare, tmp_path):
    """The cache is the server's own: the second call loads and draws nothing, and writes the same bytes."""
    first, second = (json.loads(zimage("generate", "--json", "--output", f"{n}.png").stdout) for n in "12")

    assert [first["images"][0]["source"], second["images"][0]["source"]] == ["generated", "disk"]
    assert second["images"][0]["cached"]
    assert (len(fake.recipes), fake.loads) == (1, 1)
    assert (bare / "1.png").read_bytes() == (bare / "2.png").read_bytes()
    assert first["files"] == [str(bare / "1.png")]
    assert first.keys() == {"images", "duration", "warnings", "files"}
    assert check(tmp_path / "w" / "cache") == []


def test_every_field_of_a_picture_is_a_flag(fake):
    """What the page can ask, the terminal can ask; text stays text and numbers become numbers."""
    usual = recipe(guidance_scale=1.0)
    asked = {name: another(name, getattr(usual, name)) for name in PARAMETERS}
    asked |= {"prompt": "7", "negative_prompt": "2024", "width": 64, "height": 80}
    result = zimage("generate", *(word for name, value in asked.items() for word in (flag_of(name), str(value))))

    assert result.exit_code == 0, result.output
    [drawn] = fake.recipes
    assert {name: getattr(drawn, name) for name in asked} == asked
    assert asked.keys() | {"style"} == ImageRequest.model_fields.keys()


@pytest.mark.parametrize(
    ("flag", "value", "field", "read"),
    [
        ("--seed", "４２", "seed", 42),
        ("--width", "２５６", "width", 256),
        ("--guidance-scale", "１．５", "guidance_scale", 1.5),
        ("--shift", "2。5", "shift", 2.5),
        ("--sampler", "ｈｅｕｎ", "sampler", "heun"),
        ("--steps", "　４ ", "steps", 4),
    ],
)
def test_numbers_and_words_in_full_width(fake, flag, value, field, read):
    """Values of flags that are no text of a picture are read in either width."""
    assert zimage("generate", flag, value).exit_code == 0
    assert getattr(fake.recipes[0], field) == read


def test_the_texts_of_a_picture_keep_their_signs(fake):
    """A prompt is drawn with every sign as it was typed: full-width ones are its own, and part of its key."""
    prompt = "｛红｜蓝｝：（“１０２４×７６８”），＃＿＿"
    assert zimage("generate", "--prompt", prompt, "--negative-prompt", prompt, "--guidance-scale", "1").exit_code == 0
    assert (fake.recipes[0].prompt, fake.recipes[0].negative_prompt) == (prompt, prompt)


@pytest.mark.parametrize(
    "arguments",
    [
        ["——seed", "4"],
        ["—seed", "4"],
        ["－－ｓｅｅｄ", "4"],
        ["–-seed=4"],
        ["--seed＝4"],
        ["-—seed", "4"],
        ["−−seed", "4"],
    ],
)
def test_a_flag_with_other_dashes_is_pointed_out(fake, arguments):
    """Word processors and Chinese keyboards write other dashes; the message says which flag was meant."""
    result = zimage("generate", *arguments)
    assert result.exit_code == 2
    assert "Write --seed in half-width signs." in result.stderr
    assert fake.recipes == []


def test_a_style_from_the_terminal(fake):
    """Presets are offered by name."""
    assert zimage("generate", "--prompt", "a fox", "--style", "pixel").exit_code == 0
    assert fake.recipes[0].prompt.startswith("pixel art of a fox")


def test_a_prompt_is_drawn_as_it_is_given(fake, tmp_path):
    """Braces and double underscores are the prompt's own here: scripts get what they said, whatever files there are."""
    (tmp_path / "w" / "wildcards").mkdir(parents=True)
    (tmp_path / "w" / "wildcards" / "color.txt").write_text("red")
    assert zimage("generate", "--prompt", "{red|blue} __color__ cat").exit_code == 0
    assert fake.recipes[0].prompt == "{red|blue} __color__ cat"
    assert zimage("generate", "--style", "none").exit_code == 2


@pytest.mark.usefixtures("fake")
def test_several_pictures(bare):
    """Each has its own file, its own seed and its own line."""
    result = zimage("generate", "--n", "3", "--seed", "4294967295", "--output", "fox.png")

    assert [line.split()[2] for line in result.stdout.splitlines()] == ["4294967295", "0", "1"]
    assert sorted(path.name for path in bare.iterdir()) == ["fox_1.png", "fox_2.png", "fox_3.png"]


@pytest.mark.parametrize("off", [["--no-cache"], ["--debug"], ["--cache", "bypass"]])
def test_without_the_cache(fake, off):
    """Nothing is looked up: the second call draws again."""
    for _ in range(2):
        assert zimage("generate", *off).exit_code == 0

    assert len(fake.recipes) == 2


def test_only_from_the_cache(fake, bare):
    """`--cache only` never draws."""
    refused(zimage("generate", "--cache", "only"), 1, "not stored")
    assert fake.recipes == []
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--width", "100"], "width: should be a multiple of 16, got 100"),
        (["--width", "4096"], "width: should be at most 2048, got 4096"),
        (["--guidance-scale", "nan"], "guidance_scale: should be a finite number, got NaN"),
        (["--seed", "-2"], "seed: should be at least -1"),
        (["--prompt", ""], "prompt: should have at least 1 character"),
        (["--prompt", "\udcff"], "prompt: should be a string without lone surrogates"),
    ],
)
@pytest.mark.parametrize("served", [True, False])
def test_a_wrong_ask_is_refused_before_the_work(fake, stub, flags, words, served):
    """The same words and status with and without a server, before anything is sent or loaded."""
    refused(zimage("generate", *flags, *(["--url", stub.url] if served else [])), 2, words)
    assert (stub.bodies, fake.recipes) == ([], [])


@pytest.mark.parametrize("flags", [["--width", "wide"], ["--n", "0"], ["--n", "9"], ["--cache", "never"]])
def test_a_flag_that_is_no_value(flags):
    """What cannot be read at all is click's to tell, with status 2."""
    result = zimage("generate", *flags)

    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


@pytest.mark.usefixtures("fake")
def test_trouble_while_drawing_is_status_1(monkeypatch):
    """An error that no flag can fix is one line too."""

    def missing(*_arguments):
        raise ModelMissing("as_said", text="model: is not on this disk; fetch it")

    monkeypatch.setattr(FakeGenerator, "identity", missing)
    refused(zimage("generate"), 1, "is not on this disk; fetch it$")


def test_the_running_server_is_asked(fake, stub, bare, monkeypatch):
    """Where a server answers, it does the work: nothing is loaded here, the file holds its bytes."""
    monkeypatch.setenv("ZIMAGE_PORT", stub.url.rpartition(":")[2])
    result = zimage("generate", "--n", "2", "--steps", "4")

    assert result.exit_code == 0, result.output
    assert stub.bodies == [{"prompt": DEMO.examples["en"][0], "seed": 42, "steps": 4, "n": 2, "cache": "use"}]
    assert fake.recipes == []
    assert (bare / "result_1.png").read_bytes() == PNG + b"/images/42.png"
    assert (bare / "result_2.png").read_bytes() == PNG + b"/images/43.png"
    assert "warning: the prompt is long" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_the_servers_answer_as_json(stub, bare):
    """`--json` is the server's answer and where the files lie."""
    answer = json.loads(zimage("generate", "--url", stub.url, "--json").stdout)

    assert answer == stub.pictures({"seed": 42}) | {"files": [str(bare / "result.png")]}


def test_a_named_model_is_passed_on(stub, monkeypatch):
    """`--model` on this command line is for the server too; a model set elsewhere is about this machine."""
    monkeypatch.setenv("ZIMAGE_MODEL", "turbo")
    zimage("generate", "--url", stub.url)
    zimage("generate", "--url", stub.url, "--model", "base")

    assert [body.get("model") for body in stub.bodies] == [None, "base"]


@pytest.mark.parametrize(
    ("flags", "mode"),
    [(["--no-cache"], "bypass"), (["--debug"], "bypass"), (["--no-cache", "--cache", "only"], "only")],
)
def test_a_switched_off_cache_is_sent_to_the_server(stub, flags, mode):
    """The command's cache flags are sent to the server as the request's `cache` mode."""
    zimage("generate", "--url", stub.url, *flags)

    assert [body["cache"] for body in stub.bodies] == [mode]


def test_a_server_error_is_reported_in_its_words(stub, bare):
    """Status 1, the server's sentence, no file."""
    stub.refusal = 503, {"error": {"code": "loading", "message": "Z-Image-Turbo is loading; try again"}}

    refused(zimage("generate", "--url", stub.url), 1, "^zimage: Z-Image-Turbo is loading; try again$")
    assert list(bare.iterdir()) == []


def test_no_proxy_stands_between(stub, monkeypatch):
    """The server is this machine or a neighbour: a proxy set for the wide world is not asked."""
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")

    assert zimage("generate", "--url", stub.url).exit_code == 0


def test_no_variable_of_connections_stops_a_client(stub, monkeypatch):
    """SOCKS, values that are no addresses, and files of certificates and keys that are not there."""
    variables = {
        "ALL_PROXY": "socks5://127.0.0.1:7890",
        "https_proxy": "http://127.0.0.1:not-a-port",
        "no_proxy": "[::1],fe80::/10",
        "SSL_CERT_FILE": "/nowhere/ca.pem",
        "SSL_CERT_DIR": "/nowhere",
        "SSLKEYLOGFILE": "/nowhere/keys.log",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert zimage("generate", "--url", stub.url).exit_code == 0
    assert zimage("warmup", "--url", stub.url).exit_code == 0


@pytest.fixture
def homeless(monkeypatch) -> None:
    """A user who is a number alone, without a workspace, a temporary folder and a name."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    def nowhere() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    for name in ("HOME", "ZIMAGE_WORKSPACE", "XDG_CONFIG_HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "TMPDIR"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("config", "show"),
        ("model", "list"),
        ("model", "path", "demo"),
        ("generate", "--url"),
        ("warmup", "--url"),
        ("cache", "stats", "--workspace", "w"),
    ],
)
def test_what_needs_no_home_asks_for_none(stub, arguments):
    """Help, settings, models and a server elsewhere; and everything, where a workspace is named."""
    result = zimage(*arguments, *([stub.url] if arguments[-1] == "--url" else []))
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("cache", "list"), ("history", "list"), ("generate",)])
def test_what_needs_a_home_says_what_to_set(arguments):
    """One line, status 2."""
    refused(zimage(*arguments), 2, r"^zimage: --workspace: should be set \(or ZIMAGE_WORKSPACE\).*HOME is not set")


def test_an_empty_home_is_none(monkeypatch):
    """It would make the root folder the home, and /workspace the workspace."""
    monkeypatch.delenv("ZIMAGE_WORKSPACE")
    monkeypatch.setenv("HOME", "")
    rows = json.loads(zimage("config", "show", "--json").stdout)
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert rows["workspace"]["value"] == f"{home}/workspace"


@pytest.mark.usefixtures("homeless", "fake")
def test_libraries_get_a_home_a_name_and_a_temporary_folder(tmp_path):
    """Where the system has none, the workspace is both folders."""
    zimage("generate", "--workspace", str(tmp_path))
    assert Path.home() == Path(os.environ["TMPDIR"]) == tmp_path
    assert getpass.getuser() == str(os.getuid())


@pytest.mark.usefixtures("fake")
def test_variables_of_gradio_and_empty_ones_are_dropped(monkeypatch):
    """Gradio reads some when it is imported, and the hubs' clients would use the current folder."""
    given = ("GRADIO_SERVER_PORT", "GRADIO_ALLOWED_PATHS", "GRADIO_TEMP_DIR", "HF_HUB_CACHE", "HF_ENDPOINT")
    for name in given:
        monkeypatch.setenv(name, "/x" if name.startswith("GRADIO_") else "")
    monkeypatch.setenv("HF_TOKEN", "mine")
    monkeypatch.setenv("HF_HOME", "")
    zimage("generate")
    assert not set(given) & os.environ.keys()
    assert os.environ["HF_TOKEN"] == "mine"
    assert os.environ["HF_HOME"] == os.environ["MODELSCOPE_CACHE"].replace("none", "w/model_cache")


def test_any_text_can_be_printed(tmp_path):
    """Where the output's encoding has no Chinese, or a variable is no valid text, escapes are printed."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1:strict"}
    command = [sys.executable, "-c", "from zimage_cache.cli.main import main; main()", "config", "show"]
    workspace = os.fsencode(tmp_path) + "/图片".encode() + b"\xff"
    told = subprocess.run(
        [*command, "--workspace", workspace], capture_output=True, text=True, check=False, env=environ
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "\\u56fe\\u7247\\udcff" in told.stdout


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "localhost:1", "http://[::1"])
def test_a_named_server_that_does_not_answer(fake, url):
    """Who names a server wants that server: status 1, and nothing is drawn here instead."""
    refused(zimage("generate", "--url", url), 1, re.escape(url))
    assert fake.recipes == []


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("192.168.1.5", "192.168.1.5"),
        ("box.lan", "box.lan"),
    ],
)
def test_the_server_of_this_machine(monkeypatch, host, reached):
    """The address the server listens on is turned into one it can be reached by."""
    seen = []

    def record(url, **options):
        seen.append((url, options))
        raise ServerError("recorded")

    monkeypatch.setattr(reached_module, "Client", record)
    zimage("warmup", "--wait", "0", "--host", host, "--port", "1", "--auth", "ann:x", "--request-timeout", "0")

    assert seen == [(f"http://{reached}:1", {"credentials": ("ann", "x"), "key": None, "seconds": None})]


@pytest.mark.usefixtures("fake")
def test_an_output_that_cannot_be_written(bare):
    """One line, status 2, and nothing half-written anywhere."""
    (bare / "file").touch()

    refused(
        zimage("generate", "--output", "file/result.png"), 2, r"^zimage: --output: file/result\.png cannot be written: "
    )
    refused(zimage("generate", "--output", "none/result.png"), 2, "No such file or directory")
    assert zimage("generate", "--output", str(bare)).exit_code == 2
    assert [path.name for path in bare.iterdir()] == ["file"]


@pytest.mark.usefixtures("fake")
def test_an_output_is_whole_or_not_there(bare, monkeypatch):
    """A disk that fills up leaves the old file as it was, and no remains."""
    (bare / "result.png").write_bytes(b"old")

    def full(_self, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    refused(zimage("generate"), 2, "result.png cannot be written: No space left on device")
    assert (bare / "result.png").read_bytes() == b"old"
    assert [path.name for path in bare.iterdir()] == ["result.png"]


@pytest.mark.usefixtures("fake")
def test_an_old_output_is_replaced_at_once(bare):
    """A process that reads the old file still reads the old content, because the file is replaced, not overwritten."""
    (bare / "result.png").write_bytes(b"old")
    with (bare / "result.png").open("rb") as reader:
        assert zimage("generate").exit_code == 0
        assert reader.read() == b"old"

    assert (bare / "result.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("fake")
def test_a_pipe_is_written_into(bare):
    """An output that is no regular file is not replaced by one: `--output /dev/null` leaves the device."""
    os.mkfifo(bare / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((bare / "pipe").read_bytes()), daemon=True)
    reader.start()
    result = zimage("generate", "--output", "pipe")

    assert result.exit_code == 0, result.output
    assert (bare / "pipe").is_fifo()  # before the wait: who replaced it left the reader alone for ever
    reader.join()
    assert got[0].startswith(b"\x89PNG")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("star.jpg", "JPEG"),
        ("star.jpeg", "JPEG"),
        ("STAR.JPG", "JPEG"),
        ("星.WebP", "WEBP"),
        ("a.b.png", "PNG"),
        ("star.PNG", "PNG"),
        ("star", "PNG"),
        (".png", "PNG"),
        ("星。jpg", "JPEG"),
    ],
)
def test_the_extension_decides_the_format(bare, name, kind):
    """Each file is what its name says, with the settings in it; without an extension it is the PNG."""
    answer = json.loads(zimage("generate", "--prompt", "红 fox 🦊", "--output", name, "--json").stdout)

    assert answer["files"] == [str(bare / name)]
    with Image.open(bare / name) as picture:
        assert picture.format == kind
        assert picture.size == (128, 128)
        comment = picture.getexif().get_ifd(0x8769).get(0x9286, b"")
        text = picture.info["parameters"] if kind == "PNG" else comment.removeprefix(b"UNICODE\0").decode("utf-16-be")
    assert text.startswith("红 fox 🦊\nSteps: ")


@pytest.mark.usefixtures("fake")
def test_several_pictures_in_another_format(bare):
    """Numbers stand before the extension; files that were there are replaced."""
    (bare / "x_1.webp").write_bytes(b"old")
    assert zimage("generate", "--n", "2", "--output", "x.webp").exit_code == 0
    assert sorted(path.name for path in bare.iterdir()) == ["x_1.webp", "x_2.webp"]
    assert {path.read_bytes()[8:12] for path in bare.iterdir()} == {b"WEBP"}


def test_every_format_is_made_of_the_one_picture(fake, bare):
    """The format is no part of the key: one picture is drawn and stored, as a PNG, and encoded for each file."""
    for name in ("a.png", "a.jpg", "a.webp", "b.png"):
        assert zimage("generate", "--output", name).exit_code == 0
    assert len(fake.recipes) == 1
    assert (bare / "a.png").read_bytes() == (bare / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--output", "star.gif"], r"ends in \.gif; pictures are written as \.png, \.jpg, \.jpeg, \.webp"),
        (["--output", "star.jxl"], "ends in .jxl"),
        (["--output", "star.png.txt"], "ends in .txt"),
        (["--output", "star.v2"], "ends in .v2"),
        (["--output", "folder"], "is a folder; name a file in it, such as folder/result.png"),
        (["--output", "new/"], "is a folder"),
        (["--output", "."], "is a folder"),
        (["--output", "none/star.jpg"], "none/star.jpg cannot be written: No such file or directory"),
        (["--output", "x.png", "--n", "2"], "x_2.png cannot be written: it is a folder"),
        (["--output", "-", "--n", "2"], "room for one picture"),
        (["--output", "-", "--json"], "no room for --json"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(fake, bare, flags, words):
    """Status 2 and the reason, before a model is loaded; nothing is left behind."""
    (bare / "folder").mkdir()
    (bare / "x_2.png").mkdir()
    result = zimage("generate", *flags)

    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(words, result.stderr), result.stderr
    assert (fake.loads, sorted(path.name for path in bare.iterdir())) == (0, ["folder", "x_2.png"])


@pytest.mark.usefixtures("fake")
def test_a_name_of_an_open_file_is_written_into(bare):
    """`/dev/stdout` and the like may be links to regular files; replacing the link would harm the system."""
    with (bare / "x").open("wb") as file:
        result = zimage("generate", "--output", f"/dev/fd/{file.fileno()}")
    assert result.exit_code == 0, result.output
    assert (bare / "x").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in bare.iterdir()] == ["x"]


@pytest.mark.usefixtures("fake")
def test_a_picture_for_a_program(bare):
    """`-` sends the PNG alone to standard output, and what is told to standard error."""
    result = zimage("generate", "--output", "-")

    assert result.exit_code == 0
    assert Image.open(io.BytesIO(result.stdout_bytes)).format == "PNG"
    assert re.search(r"^-  seed 42  generated", result.stderr, re.MULTILINE)
    assert list(bare.iterdir()) == []


def test_a_picture_of_the_server_in_another_format(stub, bare, monkeypatch):
    """What a server sends is encoded here, as what is drawn here."""
    monkeypatch.setattr(sys.modules[__name__], "PNG", png.encode(np.zeros((64, 64, 3), np.uint8), {"parameters": "x"}))
    monkeypatch.setattr(stub, "pictures", lambda body: Stub.pictures(stub, body))
    assert zimage("generate", "--url", stub.url, "--output", "a.jpg").exit_code == 0
    assert (bare / "a.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_warmup_waits_and_draws_once(stub, monkeypatch):
    """It looks until the server is ready, then asks for one small picture that leaves no trace."""
    monkeypatch.setattr(client, "_POLL_SECONDS", 0)
    stub.ready = [503, 503, 200]
    result = zimage("warmup", "--url", stub.url)

    assert result.exit_code == 0, result.output
    assert [path for path, _ in stub.asked] == ["/ready"] * 3 + ["/generate"]
    [body] = stub.bodies
    assert body["cache"] == "bypass"
    assert body["width"] * body["height"] <= 256 * 256
    ImageRequest.parse({name: value for name, value in body.items() if name != "cache"})  # it is a request of ours
    assert re.fullmatch(r"ready after \d+\.\d s, first picture in 0\.25 s\n", result.stdout)


def test_warmup_fits_every_model(stub):
    """One size suits the smallest and the largest model."""
    zimage("warmup", "--url", stub.url)
    [body] = stub.bodies
    for profile in (DEMO, TURBO, FAKE_PROFILE):
        assert profile.min_side <= body["width"] == body["height"] <= profile.max_side


def test_warmup_in_json(stub):
    """The times, for scripts."""
    times = json.loads(zimage("warmup", "--url", stub.url, "--json").stdout)

    assert times.keys() == {"ready_seconds", "first_picture_seconds"}
    assert times["first_picture_seconds"] == 0.25


def test_warmup_gives_up(stub):
    """A server that never is ready ends the wait with status 1 and says how it stood."""
    stub.ready = [503]

    refused(zimage("warmup", "--url", stub.url, "--wait", "0"), 1, "is not ready after 0 s: loading")
    assert stub.bodies == []


def test_the_warmup_script(stub):
    """`scripts/warmup.py` is the same command, from any folder."""
    script = [sys.executable, str(ROOT / "scripts" / "warmup.py"), "--url", stub.url]
    told = subprocess.run(
        script, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )

    assert (told.returncode, told.stderr) == (0, "")
    assert "first picture in 0.25 s" in told.stdout
    assert len(stub.bodies) == 1


@pytest.mark.usefixtures("fake")
def test_libraries_get_the_folders_of_models(bare, monkeypatch):
    """Folders and privacy are set before any library that reads them; a person's own folders stay, to be searched."""
    monkeypatch.setenv("HF_HOME", "/mine")
    monkeypatch.delenv("MODELSCOPE_CACHE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    zimage("generate")
    assert os.environ["HF_HOME"] == "/mine"
    assert os.environ["MODELSCOPE_CACHE"] == str(bare.parent / "w" / "model_cache")
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert "HF_HUB_OFFLINE" not in os.environ

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    zimage("generate", "--model-cache", str(bare / "m"), "--offline")
    assert (os.environ["HF_HOME"], os.environ["MODELSCOPE_CACHE"]) == ("/mine", str(bare.parent / "w" / "model_cache"))
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_real_thing(bare, tmp_path, monkeypatch):
    """The embedded model, the real cache, no server: the second call is a disk hit with the same bytes."""
    monkeypatch.setattr(compose, "find_device", lambda _asked: CPU)
    draw = functools.partial(zimage, "generate", "--json", "--steps", "2", "--output")
    first, second = (json.loads(draw(name).stdout) for name in ("1.png", "2.png"))

    assert [answer["images"][0]["source"] for answer in (first, second)] == ["generated", "disk"]
    assert second["images"][0]["seconds_saved"] > 0
    assert (bare / "1.png").read_bytes() == (bare / "2.png").read_bytes()
    assert check(tmp_path / "w" / "cache") == []
