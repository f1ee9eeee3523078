"""Every setting: flags > environment (`ZIMAGE_<NAME>`) > `zimage.toml` > defaults. Only `cli` and `compose` read it."""

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from platformdirs import user_config_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from zimage_cache.accounts.lines import HASHED_KEY, Kind, Line, checked_name, checked_password, parsed
from zimage_cache.addresses import host_name, network, root_path
from zimage_cache.errors import SettingsError
from zimage_cache.full_width import as_typed, full_width_signs, half_width
from zimage_cache.text_files import read_text
from zimage_cache.units import rate_in, seconds_in
from zimage_cache.validation import broken_rule, shown

ENV_PREFIX: Final = "ZIMAGE_"
CONFIG_NAME: Final = "zimage.toml"
SECRETS: Final = frozenset({"auth", "api_key"})
_SHORTEST_KEY: Final = 16
_WORKSPACE: Final = Path("~/workspace")
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})
# Names that documentation elsewhere and other tools use for these settings.
_FOREIGN_ENV: Final = {"no_cache": "DISABLE_CACHE"}


def _switch(value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("should be one of 1, true, yes, on, 0, false, no, off or empty")
    return word in _TRUE


def _seconds(value: object) -> object:
    return seconds_in(value) if isinstance(value, str) else value


def _rate(value: str) -> str:
    rate_in(value)
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("should name a file or folder")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:  # no home folder, or ~name of a user unknown to this machine
        if value == _WORKSPACE:  # the default: `below` refuses it where it is needed
            return _WORKSPACE
        raise ValueError(
            "should be written without ~, because HOME is not set and this user has no home folder"
            if str(value).startswith("~/") or value == "~"
            else "should name a user of this machine after its ~"
        ) from None
    except FileNotFoundError:
        raise ValueError("should be an absolute path, because the current folder does not exist any more") from None


def _user_and_password(value: str) -> str:
    """Return `user:password` with the colon of ASCII; both keep their signs."""
    if ":" not in value:
        value = re.sub(f"[{as_typed(':')}]", ":", value, count=1)
    name, _, password = value.partition(":")
    if not (name and password):
        raise ValueError("should be user:password")
    checked_name(name)
    checked_password(password)
    return value


def _api_key(value: str) -> str:
    """Return NAME:KEY, where the key may be a digest in the form of a file of users."""
    name, _, key = value.partition(":")
    line = parsed(value) if key.startswith(HASHED_KEY) else None
    if line is None and len(key) < _SHORTEST_KEY:
        raise ValueError(f"should be NAME:KEY, with a key of at least {_SHORTEST_KEY} characters")
    return f"{checked_name(name)}:{key}"


def _model_alias(value: str) -> str:
    """Return PATTERN=MODEL, with neither empty."""
    pattern, _, model = map(str.strip, value.partition("="))
    if not (pattern and model):
        raise ValueError("should be PATTERN=MODEL, such as gpt-image-*=turbo")
    return f"{pattern}={model}"


def _backend(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", value):
        raise ValueError("should be auto, or a backend by diffusers' name, such as native, flash, _flash_3 or sage")
    return value


def _names(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    if not isinstance(value, str):
        raise ValueError("should be a list of names")  # noqa: TRY004 - pydantic turns ValueError into its own
    return tuple(filter(None, re.split(r"[,;\s]+", value)))


def _in_ascii(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(_in_ascii, value))
    return half_width(value) if isinstance(value, str) else value


Switch = Annotated[bool, BeforeValidator(_switch)]
Rate = Annotated[str, AfterValidator(_rate)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Folder = Annotated[Path, BeforeValidator(_path)]
ByteLimit = Annotated[ByteSize, Field(ge=0)]
Credentials = Annotated[str, AfterValidator(_user_and_password)]
Backend = Annotated[str, AfterValidator(_backend)]
AllowedHosts = Annotated[tuple[Annotated[str, AfterValidator(host_name)], ...], BeforeValidator(_names)]
ModelAliases = Annotated[tuple[Annotated[str, AfterValidator(_model_alias)], ...], BeforeValidator(_names)]
ApiKeys = Annotated[tuple[Annotated[str, AfterValidator(_api_key)], ...], BeforeValidator(_names)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(network)], ...], BeforeValidator(_names)]
RootPath = Annotated[str, AfterValidator(root_path)]


class Settings(BaseModel):
    """All settings, checked. The description of each field is its help text; 0 means no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for other machines too.")
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workspace: Folder = Field(_WORKSPACE, validate_default=True, description="Where everything is kept.")
    cache_dir: Folder | None = Field(None, description="Result cache; default: <workspace>/cache.")
    output_dir: Folder | None = Field(None, description="Pictures people made; default: <workspace>/output_image.")
    model_cache: Folder | None = Field(None, description="Downloaded models; default: <workspace>/model_cache.")
    model: str | None = Field(
        None, description="turbo, base, demo, a folder, or a repository id; default: turbo with CUDA, else demo."
    )
    source: Literal["modelscope", "huggingface"] | None = Field(
        None, description="Only hub to download from; default: ModelScope, then Hugging Face."
    )
    offline: Switch = Field(default=False, description="Never use the network.")
    device: str = Field("auto", description="auto, cuda, cuda:N or cpu.")
    precision: Literal["auto", "bfloat16", "float16", "float32", "int8"] = Field(
        "auto", description="Of the weights; int8 needs the extra of that name."
    )
    offload: Literal["auto", "none", "model", "group"] = Field(
        "auto", description="What waits in main memory: nothing, text encoder or transformer, every block."
    )
    attention: Backend = Field("auto", description="Attention backend: native, flash, _flash_3, sage, …")
    compile: Switch = Field(default=False, description="Compile the transformer: a slow start, then faster steps.")
    preload: Switch = Field(default=True, description="Load the model at start instead of at the first picture.")
    slim_copy: Switch = Field(
        default=False, description="Keep a 16-bit copy of a 32-bit transformer: half to read at each start."
    )
    warmup: Switch = Field(default=True, description="Draw one picture at the end of each load and discard it.")
    idle_unload: Seconds = Field(0.0, description="Free a model's memory after this time without requests; it wakes.")
    max_models: int = Field(1, ge=0, description="Most models in memory; the one used longest ago leaves.")
    cache_max_bytes: ByteLimit = Field(ByteSize(10 * 2**30), description="Most bytes the result cache keeps on disk.")
    cache_max_entries: int = Field(0, ge=0, description="Most pictures the result cache keeps.")
    cache_ttl: Seconds = Field(0.0, description="Forget pictures this long after they were drawn.")
    cache_policy: Literal["gdsf", "lru"] = Field(
        "gdsf", description="What goes first when room is needed: the least GPU-seconds a byte, or the longest unused."
    )
    cache_min_free: ByteLimit = Field(
        ByteSize(2**30), description="Store nothing when the disk has less free than this."
    )
    memory_max_bytes: ByteLimit = Field(ByteSize(256 * 2**20), description="Most PNG bytes kept in memory.")
    no_cache: Switch = Field(default=False, description="Switch the result cache off (also: DISABLE_CACHE=1).")
    debug: Switch = Field(default=False, description="Bypass the result cache and log at DEBUG.")
    identity: Literal["strict", "portable"] = Field(
        "strict", description="Whether the versions of the software are part of every key."
    )
    queue_size: int = Field(32, ge=0, description="Most pictures that may wait for or hold the generator.")
    max_connections: int = Field(1000, ge=0, description="Most connections at once; silent ones go first.")
    rate_limit: Rate = Field("0", description="Most requests for pictures of a user or address, such as 60/m; 0 = any.")
    request_timeout: Seconds = Field(300.0, description="Longest wait of one HTTP request.")
    auth: Credentials | None = Field(None, description="user:password to ask for.")
    auth_file: Folder | None = Field(
        None, description="File of users, see `zimage user`; default: <workspace>/users.txt, if there is one."
    )
    api_key: ApiKeys = Field((), description="NAME:KEY that a program may send instead of a password; repeatable.")
    model_alias: ModelAliases = Field(
        (),
        description="PATTERN=MODEL that OpenAI's clients get for a name, such as gpt-image-*=turbo; repeatable.",
    )
    private_cache: Switch = Field(default=False, description="Keep the stored pictures of users apart.")
    allowed_host: AllowedHosts = Field((), description="Further name this server answers to; may be repeated.")
    trusted_proxy: Networks = Field((), description="Address of a proxy whose X-Forwarded headers count; repeatable.")
    root_path: RootPath = Field("", description="Path below which a proxy offers this server, such as /zimage.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["text", "json"] = Field("text", description="How it is logged.")

    def below(self, name: str = "") -> Path:
        """Return the path of *name* in the workspace, or the workspace itself.

        Raises:
            SettingsError: None is set, and there is no home folder for the default one.
        """
        if self.workspace == _WORKSPACE:
            raise SettingsError(
                f"--workspace: should be set (or ZIMAGE_WORKSPACE), because the default {_WORKSPACE} needs a home "
                "folder: HOME is not set, and this user has none"
            )
        return self.workspace / name

    @model_validator(mode="before")
    @classmethod
    def _with_half_width_signs(cls, values: Any) -> Any:  # noqa: ANN401 - pydantic's own
        """Take full-width signs for those of ASCII, but in names of files and models, and in secrets."""
        return {name: value if name in _VERBATIM else _in_ascii(value) for name, value in dict(values).items()}

    @property
    def cache_folder(self) -> Path:
        """The folder of the result cache."""
        return self.cache_dir or self.below("cache")

    @property
    def output_folder(self) -> Path:
        """The folder of the pictures that users made."""
        return self.output_dir or self.below("output_image")

    @property
    def model_folder(self) -> Path:
        """The folder of the downloaded models."""
        return self.model_cache or self.below("model_cache")

    @property
    def database(self) -> Path:
        """The database of the lifetime statistics, which is never deleted."""
        return self.below("zimage.sqlite3")

    @property
    def users_file(self) -> Path | None:
        """The file of users that a server reads; None = there is none."""
        default = self.workspace / "users.txt"
        return self.auth_file or (default if default.exists() else None)

    @property
    def servers_folder(self) -> Path:
        """The folder of the addresses of running servers."""
        return self.workspace / "servers"

    @property
    def caching(self) -> bool:
        """Whether results are looked up and stored."""
        return not (self.no_cache or self.debug)

    def credentials(self) -> tuple[str, str] | None:
        """Return the user and password that a client sends; None = none are known.

        They are those of `auth_file`, where its first line has a password in plain text, else those of `auth`.

        Raises:
            SettingsError: The file cannot be read.
        """
        line = self._first_user()
        if line is not None and line.kind is Kind.PLAIN:
            return line.name, line.secret
        name, _, password = (self.auth or "").partition(":")
        return (name, password) if name else None

    def bearer(self) -> str | None:
        """Return the API key that a client sends; None = there is none, or only its digest."""
        keys = (each.partition(":")[2] for each in self.api_key)
        return next((key for key in keys if not key.startswith(HASHED_KEY)), None)

    def _first_user(self) -> Line | None:
        if self.auth_file is None:
            return None
        try:
            first_line = read_text(self.auth_file).partition("\n")[0]
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"--auth-file: {self.auth_file} should be a readable text file: {_reason(error)}"
            ) from None
        try:
            return parsed(first_line)
        except ValueError:  # a server says which line is wrong
            return None


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Settings whose signs mean themselves.
_FILES: Final = frozenset({"model", "workspace", "cache_dir", "output_dir", "model_cache", "auth_file"})
_VERBATIM: Final = SECRETS | _FILES


def load(flags: Mapping[str, Any], config: Path | None = None) -> tuple[Settings, dict[str, str]]:
    """Merge all sources; returns the settings, and for each one the source of its value.

    Args:
        flags: Settings given on the command line.
        config: The TOML file; None looks for `zimage.toml` here, then in the user's configuration folder.

    Raises:
        SettingsError: A setting breaks a rule: one line with its source, the rule and the value received.
    """
    sources = [_toml(config), _environment(), {name: (value, flag_of(name)) for name, value in flags.items()}]
    merged: dict[str, tuple[Any, str]] = {}
    for source in sources:
        merged |= source
    _require_text(merged)
    try:
        settings = Settings.model_validate({name: value for name, (value, _) in merged.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        got = "something else" if name in SECRETS else shown(first["input"])
        raise SettingsError(f"{merged[name][1]}: {broken_rule(first)}, got {got}") from None
    origins = {name: merged[name][1] if name in merged else "default" for name in Settings.model_fields}
    return settings, origins


def _require_text(merged: Mapping[str, tuple[Any, str]]) -> None:
    """Refuse bytes that are no text in the encoding of the system: only names of files may have them.

    Raises:
        SettingsError: There are some; without the value, which may be a secret.
    """
    for name, (value, source) in merged.items():
        if name not in _FILES and isinstance(value, str) and _LONE_SURROGATE.search(value):
            raise SettingsError(
                f"{source}: should be text in the encoding of this system ({sys.getfilesystemencoding()}); "
                "set LC_ALL to one that has these characters, such as C.UTF-8"
            )


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def _environment() -> dict[str, tuple[Any, str]]:
    """Read the environment; an empty variable counts as not set, but for switches, where it means off."""
    found = {}
    for name, field in Settings.model_fields.items():
        for variable in filter(None, (_FOREIGN_ENV.get(name), ENV_PREFIX + name.upper())):
            value = os.environ.get(variable)
            if value is not None:
                value = value.rstrip("\r")  # a file of variables with CRLF leaves it behind
            if value or (value == "" and field.annotation is bool):
                found[name] = (value, variable)
    return found


def _toml(config: Path | None) -> dict[str, tuple[Any, str]]:
    if config is None:
        config = next(filter(_is_file, (folder / CONFIG_NAME for folder in _config_folders())), None)
        if config is None:
            return {}
    try:
        text = read_text(config)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{config}: should be a readable TOML file: {_reason(error)}") from None
    try:
        keys = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: should be a readable TOML file: {error}{_odd_signs(text, error)}") from None
    unknown = sorted(keys.keys() - Settings.model_fields.keys())
    if unknown:
        raise SettingsError(f"{config}: unknown setting {unknown[0]!r}; `zimage config show` lists them all")
    return {name: (value, f"{config}: {name}") for name, value in keys.items()}


def _config_folders() -> Iterator[Path]:
    """Yield the current folder and the user's folder for this program's configuration, as far as they exist."""
    with suppress(FileNotFoundError):  # the current folder was deleted
        yield Path.cwd()
    with suppress(RuntimeError):  # the user has no home folder
        yield user_config_path("zimage")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # below a folder that this user may not enter, such as the home of another one
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _odd_signs(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Say which full-width signs stand in the line that is no TOML: they look like its syntax."""
    place = re.search(r"at line (\d+)", str(error))
    lines = text.split("\n")
    signs = full_width_signs(lines[int(place[1]) - 1]) if place else []
    return f"; use the half-width signs instead of {' '.join(signs)}" if signs else ""
