"""Every setting and every field of a picture request as a flag, generated from the models that validate them."""

import functools
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from zimage_cache import settings as settings_module
from zimage_cache.full_width import half_width
from zimage_cache.prompts.styles import styles
from zimage_cache.request import ImageRequest
from zimage_cache.settings import Settings, flag_of

_F = TypeVar("_F", bound=Callable[..., Any])
Loaded = tuple[Settings, dict[str, str]]

_DEFAULT_SEED: Final = 42
# The placeholder of a setting's value in the help, by type; `Settings` itself parses and validates the text.
_METAVARS: Final = MappingProxyType(
    {Path: "PATH", ByteSize: "SIZE", float: "DURATION", int: "INTEGER", tuple[str, ...]: "NAME"}
)


class _HalfWidth(click.ParamType[Any, Any]):
    """Takes full-width signs of a value for those of ASCII."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Convert the value, or fail with click's own error."""
        return super().convert(half_width(value) if isinstance(value, str) else value, param, ctx)


class Integer(_HalfWidth, click.types.IntParamType):
    """An integer."""


class IntegerRange(_HalfWidth, click.IntRange):
    """An integer within bounds."""


class Decimal(_HalfWidth, click.types.FloatParamType):
    """A number."""


class DecimalRange(_HalfWidth, click.FloatRange):
    """A number within bounds."""


class Choice(_HalfWidth, click.Choice[str]):
    """One of several words."""


class Moment(_HalfWidth, click.DateTime):
    """A date, or a date and a time."""


def with_settings(command: _F) -> _F:
    """Add every setting to a command as a flag; it receives `loaded`, the merged settings and their sources."""

    @functools.wraps(command)
    def run(*args: Any, config: Path | None, **options: Any) -> Any:  # noqa: ANN401 - click's own signature
        given = {name: options.pop(name) for name in Settings.model_fields}
        flags = {name: value for name, value in given.items() if value not in {None, ()}}
        return command(*args, loaded=settings_module.load(flags, config), **options)

    wrapped: Any = run
    for name, field in reversed(Settings.model_fields.items()):
        wrapped = _setting_option(name, field)(wrapped)
    config_type = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option("--config", type=config_type, help="TOML file with settings.")(wrapped)  # type: ignore[no-any-return]


def _setting_option(name: str, field: FieldInfo) -> Callable[[Any], Any]:
    flag, kind, words = flag_of(name), _bare(field.annotation), _help(field)
    if kind is bool:
        # `no_cache` has no opposite: `--cache` is how one request uses the cache.
        names = flag if name.startswith("no_") else f"{flag}/--no-{flag.removeprefix('--')}"
        return click.option(names, name, is_flag=True, default=None, help=words)
    choices = f"[{'|'.join(get_args(kind))}]" if get_origin(kind) is Literal else None
    return click.option(
        flag,
        name,
        metavar=choices or _METAVARS.get(kind, "TEXT"),
        multiple=get_origin(kind) is tuple,
        default=None,
        help=words,
    )


def with_request(command: _F) -> _F:
    """Add every field of a picture request to a command as a flag; it receives those given as `fields`, unchecked."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - click's own signature
        given = {name: options.pop(name) for name in ImageRequest.model_fields}
        return command(*args, fields={name: value for name, value in given.items() if value is not None}, **options)

    wrapped: Any = run
    for name, field in reversed(ImageRequest.model_fields.items()):
        wrapped = _picture_option(name, field)(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _picture_option(name: str, field: FieldInfo) -> Callable[[Any], Any]:
    flag = flag_of(name)
    match name:
        case "prompt":
            return click.option(flag, help="What to draw; default: an example of the model.")
        case "seed":
            words = field.description
            return click.option(flag, type=Integer(), default=_DEFAULT_SEED, show_default=True, help=words)
        case "style":
            offered = list(styles())
            return click.option(flag, metavar="NAME", type=Choice(offered), help=f"Style preset: {', '.join(offered)}.")
    return click.option(flag, name, type=_kind(_bare(field.annotation)), help=_help(field))


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Strip `| None` and `Annotated` from a type."""
    if get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        return _bare(get_args(annotation)[0])
    return annotation


def _kind(kind: type) -> click.ParamType[Any, Any]:
    if issubclass(kind, Enum):
        return Choice([str(member) for member in kind])
    if kind is int:
        return Integer()
    return Decimal() if kind is float else click.STRING


def _help(field: FieldInfo) -> str:
    """Return a field's description with its default, unless that is off or empty."""
    default = field.default
    if isinstance(default, ByteSize):
        default = default.human_readable().replace(".0", "")
    elif isinstance(default, float):
        default = f"{default:g}"
    elif default is True:
        default = "on"
    return f"{field.description}  [default: {default}]" if default else str(field.description)
