"""Settings: where each value comes from, and in which words a wrong one is refused."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_config_path
from pydantic import ValidationError

from zimage_cache.errors import SettingsError
from zimage_cache.settings import SECRETS, Settings, load

# For each setting a value for the file (TOML), for the environment and for the flag (text), and the three as read.
SAMPLES: dict[str, tuple[str, str, Any, list[Any]]] = {
    "host": ('"::1"', "0.0.0.0", "h.example", ["::1", "0.0.0.0", "h.example"]),
    "port": ("1", "2", "0", [1, 2, 0]),
    "workspace": ('"/a"', "/b", "/c", [Path("/a"), Path("/b"), Path("/c")]),
    "cache_dir": ('"/a"', "/b", "/c", [Path("/a"), Path("/b"), Path("/c")]),
    "output_dir": ('"/a"', "/b", "/c", [Path("/a"), Path("/b"), Path("/c")]),
    "model_cache": ('"/a"', "/b", "/c", [Path("/a"), Path("/b"), Path("/c")]),
    "model": ('"turbo"', "demo", "org/name", ["turbo", "demo", "org/name"]),
    "source": ('"huggingface"', "modelscope", "huggingface", ["huggingface", "modelscope", "huggingface"]),
    "offline": ("true", "no", "yes", [True, False, True]),
    "device": ('"cpu"', "cuda", "cuda:1", ["cpu", "cuda", "cuda:1"]),
    "precision": ('"float32"', "bfloat16", "float16", ["float32", "bfloat16", "float16"]),
    "offload": ('"none"', "model", "group", ["none", "model", "group"]),
    "attention": ('"native"', "_flash_3", "sage", ["native", "_flash_3", "sage"]),
    "compile": ("true", "no", "yes", [True, False, True]),
    "preload": ("false", "on", "off", [False, True, False]),
    "slim_copy": ("true", "no", "yes", [True, False, True]),
    "warmup": ("false", "on", "off", [False, True, False]),
    "idle_unload": ("30", "90s", "1h", [30.0, 90.0, 3600.0]),
    "max_models": ("0", "1", "3", [0, 1, 3]),
    "cache_max_bytes": ('"1GiB"', "500MB", "0", [2**30, 500_000_000, 0]),
    "cache_max_entries": ("10", "1000", "0", [10, 1000, 0]),
    "cache_ttl": ("60", "24h", "7d", [60.0, 86400.0, 604800.0]),
    "cache_policy": ('"lru"', "gdsf", "lru", ["lru", "gdsf", "lru"]),
    "cache_min_free": ("5", "1KiB", "2 MiB", [5, 1024, 2 * 2**20]),
    "memory_max_bytes": ("0", "1B", "1.5 KiB", [0, 1, 1536]),
    "no_cache": ("true", "0", "1", [True, False, True]),
    "debug": ("true", "false", "TRUE", [True, False, True]),
    "identity": ('"portable"', "strict", "portable", ["portable", "strict", "portable"]),
    "queue_size": ("0", "1", "64", [0, 1, 64]),
    "max_connections": ("0", "1", "64", [0, 1, 64]),
    "rate_limit": ('"60/m"', "5/s", "0", ["60/m", "5/s", "0"]),
    "request_timeout": ("0", "90s", "1.5h", [0.0, 90.0, 5400.0]),
    "auth": ('"a:1"', "b:2", "c:3:4", ["a:1", "b:2", "c:3:4"]),
    "auth_file": ('"/a"', "/b", "/c", [Path("/a"), Path("/b"), Path("/c")]),
    "api_key": (
        '["a:0123456789abcdef"]',
        "b:0123456789abcdef,c:0123456789abcdef",
        ("d:sha256$" + "0" * 64,),
        [("a:0123456789abcdef",), ("b:0123456789abcdef", "c:0123456789abcdef"), ("d:sha256$" + "0" * 64,)],
    ),
    "model_alias": (
        '["gpt-image-*=demo"]',
        "a=demo, b-*=turbo",
        "c=base",
        [("gpt-image-*=demo",), ("a=demo", "b-*=turbo"), ("c=base",)],
    ),
    "private_cache": ("true", "0", "yes", [True, False, True]),
    "allowed_host": ('["a", "b"]', "c, d e", "f", [("a", "b"), ("c", "d", "e"), ("f",)]),
    "trusted_proxy": (
        '["::1"]',
        "127.0.0.1, 10.1.2.3/8",
        "fd00::1/8",
        [("::1/128",), ("127.0.0.1/32", "10.0.0.0/8"), ("fd00::/8",)],
    ),
    "root_path": ('"/a/"', "b/c", "/", ["/a", "/b/c", ""]),
    "log_level": ('"debug"', "warning", "error", ["debug", "warning", "error"]),
    "log_format": ('"json"', "text", "json", ["json", "text", "json"]),
}
EACH = pytest.mark.parametrize("name", SAMPLES)
SWITCHES = [name for name, field in Settings.model_fields.items() if field.annotation is bool]
NUMBERS = ["port", "queue_size", "max_connections", "cache_max_entries"]
SIZES = ["cache_max_bytes", "cache_min_free", "memory_max_bytes"]
SIZE = "should be a size such as 500MB or 10GiB"
DURATION = "should be a duration such as 300, 90s, 15m, 24h or 7d"
SWITCH = "should be one of 1, true, yes, on, 0, false, no, off or empty"
NO_SWITCHES: tuple[object, ...] = ("maybe", "2", 2, "truee", [])
REFUSED: list[tuple[str, object, str]] = [
    ("host", "", 'should have at least 1 character, got ""'),
    ("port", "x", 'should be an integer, got "x"'),
    ("port", "1.5", 'should be an integer, got "1.5"'),
    ("port", "-1", 'should be at least 0, got "-1"'),
    ("port", "65536", 'should be at most 65535, got "65536"'),
    ("queue_size", "-1", 'should be at least 0, got "-1"'),
    ("workspace", "", 'should name a file or folder, got ""'),
    ("cache_dir", "a\0b", 'should name a file or folder, got "a\\u0000b"'),
    ("output_dir", 5, "should name a file or folder, got 5"),
    ("model_cache", "~nobody-of-that-name/x", "should name a user of this machine after its ~"),
    ("model", 5, "should be a string, got 5"),
    ("source", "git", "should be 'modelscope' or 'huggingface', got \"git\""),
    ("precision", "int3", "should be 'auto', 'bfloat16', 'float16', 'float32' or 'int8', got \"int3\""),
    ("offload", "disk", "should be 'auto', 'none', 'model' or 'group', got \"disk\""),
    ("attention", "Flash 3", "should be auto, or a backend by diffusers' name, such as"),
    ("cache_max_entries", "-1", 'should be at least 0, got "-1"'),
    ("cache_ttl", "1w", DURATION),
    ("cache_policy", "fifo", "should be 'gdsf' or 'lru', got \"fifo\""),
    ("identity", "lax", "should be 'strict' or 'portable', got \"lax\""),
    ("log_level", "loud", "should be 'debug', 'info', 'warning' or 'error', got \"loud\""),
    ("log_format", "xml", "should be 'text' or 'json', got \"xml\""),
    *[("offline", value, SWITCH) for value in NO_SWITCHES],
    *[("cache_max_bytes", value, SIZE) for value in ("x", "10XB", "-5", -5, "1e400", "5 6", "", float("nan"))],
    *[("request_timeout", value, DURATION) for value in ("5 weeks", "-1", "1h30m", "", "h", "inf")],
    ("request_timeout", -1, "should be at least 0, got -1"),
    ("request_timeout", float("inf"), "should be a finite number, got Infinity"),
    ("allowed_host", 5, "should be a list of names, got 5"),
    ("allowed_host", ["a", 5], "should be a string, got 5"),
    ("allowed_host", "https://a.example/zimage", "should be a name without a path; the path is set by --root-path"),
    ("trusted_proxy", "nginx", 'should be an address or a network such as 10.0.0.0/8, got "nginx"'),
    ("root_path", "https://a.example/b", 'should be a path such as /zimage, got "https://a.example/b"'),
]


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path) -> Path:
    """Run in an empty folder, with a home of its own and none of our variables set."""
    for variable in [*filter(lambda name: name.startswith("ZIMAGE_"), os.environ), "DISABLE_CACHE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_every_setting_has_samples_here():
    """A new setting joins the tests of precedence."""
    assert SAMPLES.keys() == Settings.model_fields.keys()


@EACH
def test_flag_before_environment_before_file_before_default(name, bare, monkeypatch):
    """The nearest source wins, whatever the farther ones say, and the winner is named."""
    in_file, in_environment, as_flag, read = SAMPLES[name]
    variable, flag = f"ZIMAGE_{name.upper()}", "--" + name.replace("_", "-")

    def loaded(flags):
        settings, origins = load(flags)
        return getattr(settings, name), origins[name]

    default = (getattr(Settings.model_validate({}), name), "default")
    assert loaded({}) == default
    (bare / "zimage.toml").write_text(f"{name} = {in_file}\n")
    assert loaded({}) == (read[0], f"{bare / 'zimage.toml'}: {name}")
    monkeypatch.setenv(variable, in_environment)
    assert loaded({}) == (read[1], variable)
    assert loaded({name: as_flag}) == (read[2], flag)
    (bare / "zimage.toml").unlink()
    assert loaded({}) == (read[1], variable)
    monkeypatch.delenv(variable)
    assert loaded({}) == default


@EACH
def test_samples_tell_the_sources_apart(name):
    """The test above can fail: neighbouring sources differ from each other, and the farthest from the default."""
    first, second, third = SAMPLES[name][-1]

    assert first != second != third
    assert first != getattr(Settings.model_validate({}), name)


def test_the_contracts_defaults():
    """A bare start keeps what the contract promises."""
    settings, origins = load({})

    assert set(origins.values()) == {"default"}
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert settings.workspace == Path.home() / "workspace"
    assert settings.cache_folder == settings.workspace / "cache"
    assert settings.output_folder == settings.workspace / "output_image"
    assert settings.model_folder == settings.workspace / "model_cache"
    assert settings.cache_max_bytes == 10 * 2**30
    assert settings.cache_min_free == 2**30
    assert settings.memory_max_bytes == 256 * 2**20
    assert (settings.queue_size, settings.request_timeout, settings.identity) == (32, 300.0, "strict")
    assert settings.preload
    assert settings.caching


def test_folders_can_be_moved_one_by_one():
    """Each folder is where it is put, the rest below the workspace."""
    settings, _ = load({"workspace": "/w", "cache_dir": "/c", "model_cache": "/m"})

    assert settings.cache_folder == Path("/c")
    assert settings.model_folder == Path("/m")
    assert settings.output_folder == Path("/w/output_image")


@pytest.mark.parametrize("name", ["workspace", "cache_dir", "output_dir", "model_cache", "auth_file"])
def test_paths_are_spelled_out(name, bare):
    """`~` and relative paths mean what they meant where the command was given."""
    assert getattr(load({name: "~/x"})[0], name) == Path.home() / "x"
    assert getattr(load({name: "x/y"})[0], name) == bare / "x/y"


@pytest.mark.parametrize(
    ("word", "on"),
    [(word, True) for word in ("1", "true", "yes", "on", "TRUE", "On")]
    + [(word, False) for word in ("0", "false", "no", "off", "", "NO")],
)
@pytest.mark.parametrize("name", SWITCHES)
def test_switches_in_the_environment(name, word, on, monkeypatch):
    """The contract's words, in any case, are on and off; empty is off."""
    monkeypatch.setenv(f"ZIMAGE_{name.upper()}", word)

    assert getattr(load({})[0], name) is on
    assert load({})[1][name] == f"ZIMAGE_{name.upper()}"


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in SWITCHES])
def test_an_empty_variable_is_not_set(name, monkeypatch):
    """Container files that hand on an unset variable hand on the default."""
    monkeypatch.setenv(f"ZIMAGE_{name.upper()}", "")

    settings, origins = load({})
    assert getattr(settings, name) == getattr(Settings.model_validate({}), name)
    assert origins[name] == "default"


@pytest.mark.parametrize(("name", "value", "words"), REFUSED)
def test_a_broken_rule_is_one_line(name, value, words):
    """The error has the source, the rule and the value."""
    with pytest.raises(SettingsError) as raised:
        load({name: value})

    message = str(raised.value)
    assert message.startswith(f"--{name.replace('_', '-')}: {words}")
    assert ", got " in message
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize("name", NUMBERS + SIZES)
def test_nonsense_in_the_environment_names_the_variable(name, monkeypatch):
    """Who set it there finds it there."""
    monkeypatch.setenv(f"ZIMAGE_{name.upper()}", "lots")

    with pytest.raises(SettingsError, match=f'^ZIMAGE_{name.upper()}: should be .*, got "lots"$'):
        load({})


def test_nonsense_in_the_file_names_the_file(bare):
    """Likewise."""
    (bare / "zimage.toml").write_text("port = 'x'\n")

    with pytest.raises(SettingsError, match=r'zimage\.toml: port: should be an integer, got "x"$'):
        load({})


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("text", "read"), [("10GiB", 10 * 2**30), ("10gib", 10 * 2**30), ("1 kB", 1000), ("7", 7)])
def test_sizes(name, text, read):
    """Binary and decimal units, any case, with or without a space."""
    assert getattr(load({name: text})[0], name) == read


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("0", 0), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("24h", 86400), ("7 d", 604800), (" 5 ", 5)],
)
def test_durations(text, seconds):
    """Seconds, or a number with its unit."""
    assert load({"request_timeout": text})[0].request_timeout == seconds


@pytest.mark.parametrize(("word", "caching"), [("1", False), ("true", False), ("0", True), ("", True), ("off", True)])
def test_the_articles_variable(word, caching, monkeypatch):
    """`DISABLE_CACHE=1` works as the source articles say."""
    monkeypatch.setenv("DISABLE_CACHE", word)

    settings, origins = load({})
    assert settings.caching is caching
    assert origins["no_cache"] == "DISABLE_CACHE"


def test_our_own_variable_wins_over_the_articles(monkeypatch):
    """A setting has one name that always works."""
    monkeypatch.setenv("DISABLE_CACHE", "1")
    monkeypatch.setenv("ZIMAGE_NO_CACHE", "0")

    assert load({})[0].caching
    assert load({})[1]["no_cache"] == "ZIMAGE_NO_CACHE"


def test_a_wrong_word_in_the_articles_variable(monkeypatch):
    """The message names the variable that was set."""
    monkeypatch.setenv("DISABLE_CACHE", "perhaps")

    with pytest.raises(SettingsError, match=r"^DISABLE_CACHE: should be one of 1, true"):
        load({})


def test_debugging_bypasses_the_cache():
    """`--debug` shows what the generator does, every time."""
    assert not load({"debug": True})[0].caching
    assert not load({"no_cache": True})[0].caching


def test_an_unknown_key_of_the_file(bare):
    """A misspelt setting is not silently ignored."""
    (bare / "zimage.toml").write_text("prot = 7861\n")

    with pytest.raises(SettingsError, match=r"zimage\.toml: unknown setting 'prot'; `zimage config show` lists"):
        load({})


@pytest.mark.parametrize("content", [b"port = ", b"\xff", b"port 7860", b"port = 1\nport = 2"])
def test_a_file_that_is_no_toml(bare, content):
    """One line that names the file."""
    (bare / "zimage.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=r"zimage\.toml: should be a readable TOML file: ") as raised:
        load({})

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff# 端口\r\nport = 5\r\nmodel_cache = '/模型'\r\n".encode(),
        "\ufeffport = 5\r\nmodel_cache = '/模型'\r\n".encode("utf-16-le"),
        "port = 5\r\nmodel_cache = '/模型'".encode("utf-16"),
        "\ufeffport = 5\nmodel_cache = '/模型'\n".encode("utf-16-be"),
        "port = 5\rmodel_cache = '/模型'\r".encode(),
        "port = 5\r\nmodel_cache = '/模型'\r\n\x1a".encode(),
    ],
    ids=["mark", "UTF-16LE", "UTF-16", "UTF-16BE", "CR", "Ctrl-Z"],
)
def test_the_file_of_any_editor(bare, content):
    """Marks, ends of lines and the end of the file are the editor's matter; the settings are the same."""
    (bare / "zimage.toml").write_bytes(content)

    settings, _ = load({})
    assert (settings.port, settings.model_cache) == (5, Path("/模型"))


@pytest.mark.parametrize(
    ("content", "line"),
    [("# 端口\n".encode("gbk"), 1), ("port = 5\r\n# café".encode("cp1252"), 2), ("a = 1".encode("utf-16-le"), 1)],
)
def test_a_file_in_another_encoding(bare, content, line):
    """The file and the line are named, and what to do."""
    (bare / "zimage.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=rf"zimage\.toml: .* line {line} is not UTF-8; save the file as UTF-8$"):
        load({})


@pytest.mark.parametrize(
    ("content", "signs"),
    [
        ("port ＝ 7860", "＝"),
        ("host = “::1”", "“ ”"),
        ("＃ 端口\nport = 1", "＃"),
        ("port = 1\nallowed_host = ['a'，'b']", "，"),
        ("［x］", "［ ］"),
        ("port = １", "１"),
    ],
)
def test_full_width_signs_of_the_file_are_named(bare, content, signs):
    """TOML has its own syntax, which is not widened; the message says which signs are to be replaced."""
    (bare / "zimage.toml").write_text(content, "utf-8")

    with pytest.raises(SettingsError, match=rf"; use the half-width signs instead of {signs}$"):
        load({})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("port", "７８６０", 7860),
        ("cache_ttl", "３０ｄ", 30 * 86400),
        ("cache_max_bytes", "１０ＧｉＢ", 10 * 2**30),
        ("cache_min_free", "1。5GiB", 3 * 2**29),
        ("host", "１２７．０．０．１", "127.0.0.1"),
        ("device", "ｃｕｄａ：０", "cuda:0"),
        ("offline", "ｔｒｕｅ", True),
        ("log_level", "ｄｅｂｕｇ", "debug"),
        ("allowed_host", "a.example，ｂ。example、c；d", ("a.example", "b.example", "c", "d")),
        ("auth", "ann：a：b　c", "ann:a：b　c"),
        ("auth", "ann：x:a：b", "ann：x:a：b"),
        ("model", "／模型：１", "／模型：１"),
        ("workspace", "/图，１", Path("/图，１")),
    ],
)
def test_full_width_values(name, value, read, monkeypatch):
    """Values of our syntax are read in either width; names of files, models and people, and passwords stay."""
    monkeypatch.setenv("ZIMAGE_" + name.upper(), value + "\r")
    for settings, _ in (load({name: value}), load({})):
        assert getattr(settings, name) == read


def test_a_named_file(bare):
    """`--config` names another file, and only that is read; it must be there."""
    (bare / "zimage.toml").write_text("port = 1\n")
    (bare / "mine.toml").write_text("host = 'h'\n")

    settings, origins = load({}, bare / "mine.toml")
    assert (settings.host, settings.port) == ("h", 7860)
    assert origins["host"] == f"{bare / 'mine.toml'}: host"
    with pytest.raises(SettingsError, match=r"none\.toml: should be a readable TOML file"):
        load({}, bare / "none.toml")


def test_the_users_own_file(bare):
    """Without a file here, the one in the user's configuration folder is read; the two are never mixed."""
    folder = user_config_path("zimage")
    folder.mkdir(parents=True)
    (folder / "zimage.toml").write_text("port = 5\nhost = 'h'\n")

    assert load({})[0].port == 5
    (bare / "zimage.toml").write_text("port = 6\n")
    assert (load({})[0].port, load({})[0].host) == (6, "127.0.0.1")


@pytest.mark.parametrize("wrong", ["hunter2", ":hunter2", "hunter2:", 5])
def test_a_secret_is_never_in_a_message(wrong, monkeypatch, bare):
    """A mistyped password does not end in a log, whatever its source."""
    (bare / "auth.toml").write_text(f"auth = {wrong!r}\n")
    monkeypatch.setenv("ZIMAGE_AUTH", str(wrong))

    for source in ({"flags": {"auth": wrong}}, {"flags": {}, "config": bare / "auth.toml"}):
        with pytest.raises(SettingsError, match=r"should be (user:password|a string), got something else") as raised:
            load(**source)
        assert str(wrong) not in str(raised.value)
    assert {"auth", "api_key"} == SECRETS


def test_credentials():
    """User and password, the password with all its colons."""
    assert load({})[0].credentials() is None
    assert load({"auth": "ann:a:b"})[0].credentials() == ("ann", "a:b")


def test_credentials_from_a_file(bare):
    """The first line of a file, which wins over `auth`, and never appears among the settings."""
    (bare / "secret").write_text("ann:pass word \nsecond line\n")
    settings, _ = load({"auth_file": "secret", "auth": "bob:x"})

    assert settings.credentials() == ("ann", "pass word")
    assert "pass word" not in repr(settings)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffann:密码\r\n".encode(),
        "ann:密码\r\n".encode("utf-16"),
        "ann:密码\rmore".encode(),
        "ann:密码\x1a".encode(),
        "\ufeffann：密码".encode(),
    ],
)
def test_a_file_of_credentials_of_any_editor(bare, content):
    """A mark is no part of the user, an end of a line none of the password."""
    (bare / "secret").write_bytes(content)

    assert load({"auth_file": "secret"})[0].credentials() == ("ann", "密码")


@pytest.mark.parametrize("content", [None, b"\xff\xfeann:hunter2"])
def test_a_file_of_credentials_that_cannot_be_read(bare, content):
    """One line naming the file, never its content."""
    if content is not None:
        (bare / "secret").write_bytes(content)
    settings, _ = load({"auth_file": "secret"})

    with pytest.raises(SettingsError, match=r"^--auth-file: ") as raised:
        settings.credentials()

    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"hunter2\n", b"ann:\n", b":hunter2\n", b"ann:$argon2id$v=19$x\n"])
def test_a_file_without_a_password_in_plain_text(bare, content):
    """A client sends the one of `auth` then, or an API key."""
    (bare / "secret").write_bytes(content)
    assert load({"auth_file": "secret"})[0].credentials() is None
    assert load({"auth_file": "secret", "auth": "bob:x"})[0].credentials() == ("bob", "x")


def test_the_key_that_a_client_sends():
    """The first one that is not a digest."""
    assert load({})[0].bearer() is None
    keys = ["a:sha256$" + "0" * 64, "b:0123456789abcdef", "c:fedcba9876543210"]
    assert load({"api_key": keys})[0].bearer() == "0123456789abcdef"


@pytest.mark.parametrize("wrong", ["hunter2hunter2hunter2", "a:hunter2"])
def test_an_api_key_that_is_none(wrong):
    """Without a name, or so short that it could be guessed; it is in no message."""
    with pytest.raises(SettingsError, match=r"^--api-key: should be NAME:KEY, with a key of at least 16") as raised:
        load({"api_key": (wrong,)})
    assert "hunter2" not in str(raised.value)


def test_settings_are_frozen_and_explained():
    """Settings are immutable, and each has a help text."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings.model_validate({}).port = 1
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user who is a number alone: no HOME, and no entry in the system's list of users."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CONFIG_HOME", "ZIMAGE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_settings_are_read():
    """What is set needs no home; the default workspace is refused where it is needed, with what to set."""
    assert load({})[0].workspace == Path("~/workspace")
    settings, _ = load({"cache_dir": "/c", "model_cache": "/m"})
    assert (settings.cache_folder, settings.model_folder) == (Path("/c"), Path("/m"))
    for name in ("output_folder", "database"):
        with pytest.raises(
            SettingsError, match=r"^--workspace: should be set \(or ZIMAGE_WORKSPACE\).*HOME is not set"
        ):
            getattr(settings, name)
    settings, _ = load({"workspace": "/w"})
    assert (settings.cache_folder, settings.below("x")) == (Path("/w/cache"), Path("/w/x"))


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("value", ["~", "~/w"])
def test_without_a_home_a_tilde_is_refused(value):
    """It is no other user's name that is wrong."""
    with pytest.raises(SettingsError, match=r"^--workspace: should be written without ~, because HOME is not set"):
        load({"workspace": value})


def test_a_configuration_folder_that_may_not_be_entered_has_no_file(monkeypatch, tmp_path):
    """HOME or XDG_CONFIG_HOME of another user: there are defaults and flags."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load({"workspace": "/w"})[1]["workspace"] == "--workspace"


def test_a_current_folder_that_was_deleted_stops_only_relative_paths(monkeypatch, tmp_path):
    """Absolute paths need none; a relative one is refused with the reason."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load({"workspace": "/w"})[0].workspace == Path("/w")
    with pytest.raises(SettingsError, match=r"^--workspace: should be an absolute path, because the current folder"):
        load({"workspace": "w"})


@pytest.mark.parametrize("name", ["auth", "host", "device", "root_path", "allowed_host", "trusted_proxy"])
def test_bytes_that_are_no_text_are_refused(name, monkeypatch):
    """A value in another encoding than the system's is one line, which does not show it; as a flag, too."""
    value = os.fsdecode(b"ann:\xba\xec")
    monkeypatch.setenv(f"ZIMAGE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=rf"^ZIMAGE_{name.upper()}: should be text in the encoding") as caught:
        load({})
    assert str(caught.value).isascii()
    monkeypatch.delenv(f"ZIMAGE_{name.upper()}")
    with pytest.raises(SettingsError):
        load({name: (value,) if name in {"allowed_host", "trusted_proxy"} else value})


def test_names_of_files_may_be_any_bytes(monkeypatch):
    """A folder that exists can be named, whatever its bytes are."""
    name = os.fsdecode(b"/w/\xba\xec")
    monkeypatch.setenv("ZIMAGE_WORKSPACE", name)
    assert load({"model": name})[0].workspace == Path(name)
