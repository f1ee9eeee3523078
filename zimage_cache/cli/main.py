"""The `zimage` command. Its imports must not import a hub library before the hub's folders are set."""

import asyncio
import functools
import getpass
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import zimage_cache
from zimage_cache import settings as settings_module
from zimage_cache.cli import cache, history, models, users
from zimage_cache.cli.client import Client
from zimage_cache.cli.options import Choice, DecimalRange, IntegerRange, Loaded, with_request, with_settings
from zimage_cache.cli.output import as_json_option
from zimage_cache.cli.pictures import OutputFile, Target
from zimage_cache.cli.reached import answering, awaited
from zimage_cache.cli.streams import make_streams_safe
from zimage_cache.errors import InvalidRequest, ModelMissing, SettingsError, UsageError, ZImageError
from zimage_cache.full_width import full_width_signs, half_width
from zimage_cache.request import MAX_PICTURES, CacheMode, ImageRequest
from zimage_cache.settings import Settings, flag_of

if TYPE_CHECKING:
    from zimage_cache.generator.protocol import ImageGenerator
    from zimage_cache.service.job import Outcome
    from zimage_cache.service.service import ImageService

_WARMUP: Final = {"prompt": "warm-up", "width": 256, "height": 256, "seed": 1, "cache": "bypass"}
# Prefixes of variables that the hubs' clients read, where an empty one would name the current folder.
_EMPTY_IS_UNSET: Final = ("HF_", "HUGGINGFACE_", "MODELSCOPE_", "XDG_")
_CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Program(click.Command):
    """A command whose output no character breaks. An empty HOME is none."""

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command as a program."""
        if os.environ.get("HOME") == "":
            del os.environ["HOME"]
        make_streams_safe()
        return super().main(*args, **options)


class _Command(_Program):
    """Prints every expected error in one line, and the help of its options in sections."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; of a flag with full-width signs, say how it is written."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            odd = next(filter(None, map(_odd_flag, given)), None)
            if odd is None:
                raise
            raise click.UsageError(f"{error.format_message()} Write --{odd} in half-width signs.", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command; exit status 2 for wrong flags and settings, 1 for other errors."""
        try:
            return super().invoke(ctx)
        except ZImageError as error:
            click.echo(f"zimage: {error}", err=True)
            ctx.exit(2 if isinstance(error, SettingsError | UsageError | InvalidRequest) else 1)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Picture": [], "Settings": []}
        for parameter in self.get_params(ctx):
            if row := parameter.get_help_record(ctx):
                sections[_section(parameter.name)].append(row)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class _Commands(_Program, click.Group):
    command_class = _Command
    group_class = type


def _odd_flag(argument: str) -> str | None:
    """Return the name of a flag as a word processor or a Chinese keyboard writes it; None for other arguments."""
    flag = re.match(r"--?([a-z][a-z-]*)(?:=|$)", half_width(argument))
    return flag[1] if flag and full_width_signs(argument[: flag.end()]) else None


def _section(name: str | None) -> str:
    if name in Settings.model_fields or name == "config":
        return "Settings"
    return "Picture" if name in ImageRequest.model_fields else "Options"


@click.group(cls=_Commands, context_settings=_CONTEXT)
@click.version_option(zimage_cache.__version__)
def main() -> None:
    """Run Z-Image-Turbo; the same picture is never paid twice."""


@main.command("serve", context_settings=_CONTEXT)
@with_settings
def serve_command(loaded: Loaded) -> None:
    """Start the web page and the HTTP API."""
    settings, _ = loaded
    _prepare_environment(settings)
    from zimage_cache import compose  # noqa: PLC0415 - after the environment is set

    compose.configure_logging(settings)
    compose.serve(settings)


def serve() -> None:
    """Run `python app.py …`, which is the same as `zimage serve …`."""
    serve_command(prog_name="app.py")


@main.command()
@click.option(
    "--output",
    type=OutputFile(),
    default="result.png",
    show_default=True,
    help="File to write: .png, .jpg, .jpeg or .webp; - sends a PNG to standard output.",
)
@click.option("--n", type=IntegerRange(1, MAX_PICTURES), default=1, show_default=True, help="How many, seeds count up.")
@click.option(
    "--cache",
    type=Choice([str(mode) for mode in CacheMode]),
    default="use",
    show_default=True,
    help="Look up and store; generate and replace; leave no trace; never generate.",
)
@click.option("--url", help="Server to ask; default: this machine's, or none if it does not answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@with_request
@with_settings
def generate(
    *, loaded: Loaded, fields: dict[str, Any], output: Target, n: int, cache: str, url: str | None, as_json: bool
) -> None:
    """Draw from the terminal, through the same cache as the page.

    Without --prompt it draws an example of the model. Several pictures are written as NAME_1, NAME_2 and so on; files
    of these names are replaced.
    """
    settings, origins = loaded
    if as_json and output.path is None:
        raise UsageError("--output -: standard output has the picture, and no room for --json; name a file")
    output.require(n)
    if not settings.caching and cache == CacheMode.USE:
        cache = CacheMode.BYPASS.value
    found = answering(settings, url, seconds=_answer_seconds(settings))
    if found is None:
        answer, pictures = _draw_here(settings, fields, n, CacheMode(cache))
    else:
        client, health = found
        with client:
            ask = _with_prompt(fields, str(health.get("model"))) | {"n": n, "cache": cache}
            if origins["model"] == flag_of("model"):
                ask["model"] = settings.model
            answer, pictures = _draw_there(client, ask)
    _tell({**answer, "files": output.write(pictures)}, as_json=as_json)


def _tell(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    files = answer["files"] or ["-"]
    for image, file in zip(answer["images"], files, strict=True):
        words = f"{file}  seed {image['seed']}  {image['source']}  {image['seconds']:.2f} s"
        click.echo(words, err=file == "-")
    for warning in answer["warnings"]:
        click.echo(f"warning: {warning}", err=True)


@main.command(context_settings=_CONTEXT)
@click.option("--url", help="Server to warm up; default: this machine's.")
@click.option(
    "--wait", type=DecimalRange(0), default=1800.0, show_default=True, help="Seconds to wait until it is ready."
)
@click.option("--json", "as_json", is_flag=True, help="Print the times as JSON.")
@with_settings
def warmup(loaded: Loaded, url: str | None, wait: float, *, as_json: bool) -> None:
    """Wait until the server is ready, then draw one small picture that leaves no trace."""
    settings, _ = loaded
    started = time.monotonic()
    with awaited(settings, url, wait=wait, seconds=_answer_seconds(settings)) as client:
        client.wait_until_ready(wait, waited=time.monotonic() - started)
        ready = time.monotonic() - started
        drawing = float(client.generate(_WARMUP, batch=True)["duration"])
    if as_json:
        click.echo(json.dumps({"ready_seconds": ready, "first_picture_seconds": drawing}))
    else:
        click.echo(f"ready after {ready:.1f} s, first picture in {drawing:.2f} s")


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command("show")
@as_json_option
@with_settings
def config_show(loaded: Loaded, *, as_json: bool) -> None:
    """Print every setting, its value, and where it came from."""
    settings, origins = loaded
    values = settings.model_dump(mode="json")
    values |= {name: "********" for name in settings_module.SECRETS if values[name]}
    rows = {name: {"value": value, "from": origins[name]} for name, value in values.items()}
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(map(len, rows))
    for name, row in rows.items():
        click.echo(f"{name:<{width}}  {json.dumps(row['value'], ensure_ascii=False)}  ({row['from']})")


@main.group("model")
def model_group() -> None:
    """Look at the weights on disk; fetch, verify, mend and remove them."""


@main.group("cache")
def cache_group() -> None:
    """Look at the result cache, and put it in order."""


@main.group("history")
def history_group() -> None:
    """Look at the pictures in output_image/, and tidy them up."""


@main.group("user")
def user_group() -> None:
    """Say who may use the server."""


def _add_commands() -> None:
    groups = (
        (model_group, models.COMMANDS),
        (cache_group, cache.COMMANDS),
        (history_group, history.COMMANDS),
        (user_group, users.COMMANDS),
    )
    for group, commands in groups:
        for name, command in commands.items():
            group.command(name, context_settings=_CONTEXT)(with_settings(_prepared(command)))


def _prepared(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*, loaded: Loaded, **options: Any) -> None:  # noqa: ANN401 - click's own signature
        settings, _ = loaded
        _prepare_environment(settings)
        command(settings, **options)

    return run


_add_commands()


def _answer_seconds(settings: Settings) -> float | None:
    """Return the longest wait for a picture of a server: a little more than the server's own."""
    return settings.request_timeout + 30 if settings.request_timeout else None


def _draw_there(client: Client, ask: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Draw through a running server."""
    answer = client.generate(ask)
    return answer, [client.picture(image["image_url"]) for image in answer["images"]]


def _draw_here(
    settings: Settings, fields: Mapping[str, Any], n: int, mode: CacheMode
) -> tuple[dict[str, Any], list[bytes]]:
    """Draw in this process, with the same cache on disk; loads the model."""
    settings = settings.model_copy(update={"preload": False, "warmup": False})
    _prepare_environment(settings)
    from zimage_cache import compose  # noqa: PLC0415 - after the environment is set

    compose.configure_logging(settings)
    generator = compose.make_generator(settings)
    request = ImageRequest.parse(_with_prompt(fields, generator.profile.name))
    service, running = compose.make_service(settings, generator)
    started = time.monotonic()
    with running():
        outcomes = asyncio.run(_outcomes(service, generator, request, n, mode))
    warnings = list(dict.fromkeys(warning for o in outcomes for warning in o.entry.record.warnings))
    answer = {"images": list(map(_image, outcomes)), "duration": time.monotonic() - started, "warnings": warnings}
    return answer, [outcome.entry.png for outcome in outcomes]


async def _outcomes(
    service: "ImageService", generator: "ImageGenerator", request: ImageRequest, n: int, mode: CacheMode
) -> "list[Outcome]":
    # Without a time limit: the user can stop the command with Ctrl+C.
    ask = functools.partial(service.ask, request, n=n, cache=mode, patient=True)
    try:
        job = await ask()
    except ModelMissing:
        # Only `load` downloads; running this command is consent to a download.
        await asyncio.to_thread(generator.load)
        job = await ask()
    return await job.outcomes()


def _image(outcome: "Outcome") -> dict[str, Any]:
    record = outcome.entry.record
    return {
        "key": record.key,
        "seed": record.request["seed"],
        "source": str(outcome.source),
        "cached": outcome.cached,
        "seconds": outcome.seconds,
        "seconds_saved": outcome.seconds_saved,
        "width": record.width,
        "height": record.height,
    }


def _with_prompt(fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Add an example prompt of *model* where none was given, and validate before anything is loaded or sent.

    Raises:
        InvalidRequest: A field breaks a rule.
    """
    from zimage_cache.i18n.messages import ENGLISH  # noqa: PLC0415 - as the next line
    from zimage_cache.models.profiles import KNOWN  # noqa: PLC0415 - only this command needs it

    example = KNOWN[model if model in KNOWN else "turbo"].profile.examples[ENGLISH][0]
    complete = {"prompt": example, **fields}
    ImageRequest.parse(complete)
    return complete


def _prepare_environment(settings: Settings) -> None:
    """Set environment variables that libraries read on import: folders of models, a home, and no telemetry.

    Variables set by the user stay, even with `--model-cache`: models are searched there too. Downloads use an explicit
    folder. Gradio's own variables are for other programs; the page needs none.
    """
    for name, value in list(os.environ.items()):
        if name.startswith("GRADIO_") or (not value and name.startswith(_EMPTY_IS_UNSET)):
            del os.environ[name]
    models = settings.model_cache or settings.workspace / "model_cache"
    for name in ("HF_HOME", "MODELSCOPE_CACHE") if models.is_absolute() else ():
        os.environ.setdefault(name, str(models))
    _complete_environment(settings)
    # OpenMP threads that wait by spinning would take CPU time from the server's threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _complete_environment(settings: Settings) -> None:
    """Give libraries a home, a temporary folder and a user's name where there is none, as in many containers."""
    if settings.workspace.is_absolute():
        try:
            Path.home()
        except RuntimeError:
            os.environ["HOME"] = str(settings.workspace)
        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            os.environ["TMPDIR"] = str(settings.workspace)
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())
