"""`zimage cache …`: inspect and clean up the result cache; on its folder, with or without a running server."""

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.index import Listed
from zimage_cache.cache.layout import Layout, key_in
from zimage_cache.cache.tier import OnProgress
from zimage_cache.cli.options import IntegerRange
from zimage_cache.cli.output import as_json_option, counted, legible, print_answer, print_json, print_table, shortened
from zimage_cache.cli.reached import places, tell
from zimage_cache.errors import CommandError, ServerError, UsageError
from zimage_cache.full_width import half_width
from zimage_cache.service.statistics import Lifetime, Statistics, overview, together
from zimage_cache.settings import Settings
from zimage_cache.units import bytes_in, seconds_in, shown_bytes, shown_seconds

if TYPE_CHECKING:
    from zimage_cache.service.audit import Audited

_SHORTEST_PREFIX: Final = 8
_HEX: Final = frozenset("0123456789abcdef")
_KEY_DIGITS: Final = 64
_SHOWN_DIGITS: Final = 12
_PAGE: Final = 500
_SAMPLE: Final = 10
_MOMENT: Final = len("2026-11-21T03:28:44")


class _Quantity(click.ParamType[Any, Any]):
    """A value with a unit."""

    def __init__(self, name: str, read: Callable[[str], float]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Parse the value, or fail with click's own error: status 2."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}, got {value!r}", param, ctx)


_key = click.argument("key", metavar="KEY", help="At least the first 8 digits of a picture's key.")


@as_json_option
def stats(settings: Settings, *, as_json: bool) -> None:
    """Tell what the cache holds, and what it did: over its lifetime, and in the servers that run on the workspace."""
    answer, servers = _overview(settings)
    if as_json:
        print_json(answer | ({"servers": servers} if len(servers) > 1 else {}))
        return
    now, lifetime = answer["now"], answer["lifetime"]
    click.echo(f"on disk    {now['disk_entries']} pictures, {shown_bytes(now['disk_bytes'])}, {now['pinned']} pinned")
    click.echo(f"in memory  {now['memory_entries']} pictures, {shown_bytes(now['memory_bytes'])}")
    click.echo()
    heads = (
        [each["url"].partition("//")[2] for each in servers] if len(servers) > 1 else ["this process"] * len(servers)
    )
    columns = [lifetime, *(each["this_process"] for each in servers)]
    rows = [("", "lifetime", *heads)]
    rows += [(name.replace("_", " "), *(_shown(name, each.get(name)) for each in columns)) for name in lifetime]
    print_table(rows, right=range(1, len(rows[0])))
    if not servers:
        click.echo("\nno server runs on this workspace")


@as_json_option
@click.option("--query", default="", metavar="TEXT", help="Only prompts that have this in them.")
@click.option("--limit", type=IntegerRange(0), default=50, show_default=True, help="Most to list; 0 = all.")
def list_entries(settings: Settings, *, query: str, limit: int, as_json: bool) -> None:
    """List stored pictures, newest first."""
    with _opened(settings) as cache:
        found = list(islice(_pages(cache, query), limit or None))
    if as_json:
        print_json({"entries": [_listed(listed) for listed in found]})
        return
    now = datetime.now(UTC).timestamp()
    rows: list[tuple[str, ...]] = [("KEY", "SIZE", "BYTES", "AGE", "GPU", "SEED", "", "PROMPT")]
    rows += [_row(listed, now) for listed in found]
    print_table(rows, right=(2, 3, 4, 5))


@as_json_option
@_key
def show(settings: Settings, key: str, *, as_json: bool) -> None:
    """Tell everything that is known of one stored picture; the first 8 digits of its key will do."""
    whole = _whole(settings, key)
    with _opened(settings) as cache:
        listed, entry = cache.show(whole), cache.peek(whole)
    if listed is None or entry is None:
        raise CommandError(f"{whole}: is damaged; `zimage cache check` says how")
    document = entry.record.model_dump(mode="json") | {
        "bytes_on_disk": listed.bytes,
        "frequency": listed.frequency,
        "pinned": listed.pinned,
        "files": [str(path) for path in Layout(settings.cache_folder).files(whole) if path.exists()],
    }
    if as_json:
        print_json(document)
        return
    for name in ("request", "generator", "versions"):
        document |= {f"{name}.{field}": value for field, value in document.pop(name).items()}
    for name in ("warnings", "files"):
        document |= {f"{name}.{number}": value for number, value in enumerate(document.pop(name), 1)}
    print_table([(name, _text(value)) for name, value in document.items() if name != "canonical"])


@as_json_option
@click.option("--repair", is_flag=True, help="Quarantine what is damaged, remove what belongs to nothing.")
def check_files(settings: Settings, *, repair: bool, as_json: bool) -> None:
    """Read and verify everything; status 1, and one line a finding, when something is wrong."""
    with _counting(f"verifying {settings.cache_folder}") as on_progress:
        findings = check(settings.cache_folder, repair=repair, on_progress=on_progress)
    if as_json:
        rows = [asdict(finding) | {"path": str(finding.path)} for finding in findings]
        print_json({"findings": rows, "repaired": repair})
    for finding in () if as_json else findings:
        click.echo(f"{finding.kind}  {finding.path}  {legible(finding.detail)}")
    if findings:
        click.get_current_context().exit(1)


@as_json_option
@click.option(
    "--older-than", type=_Quantity("DURATION", seconds_in), help="Remove what was drawn longer ago, such as 7d."
)
@click.option("--to-bytes", type=_Quantity("SIZE", bytes_in), help="Then remove what goes first, down to this size.")
@click.option(
    "--max-entries", type=IntegerRange(0), metavar="N", help="And what goes first, until so many pictures are left."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
def prune(
    settings: Settings,
    *,
    older_than: float | None,
    to_bytes: int | None,
    max_entries: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove old pictures, then those of least worth down to a size or a number; pinned ones never.

    Without options: what is beyond --cache-ttl, --cache-max-bytes and --cache-max-entries.
    """
    if older_than is None and to_bytes is None and max_entries is None:
        older_than, to_bytes = settings.cache_ttl or None, settings.cache_max_bytes or None
        max_entries = settings.cache_max_entries or None
    with _opened(settings) as cache, _counting("looking at the cache", "removing") as on_progress:
        pruned = cache.prune(
            older_than=older_than, to_bytes=to_bytes, to_entries=max_entries, dry_run=dry_run, on_progress=on_progress
        )
    if as_json:
        print_json({**asdict(pruned), "dry_run": dry_run})
    else:
        would = "would remove" if dry_run else "removed"
        click.echo(f"{would} {counted(pruned.entries)}, {shown_bytes(pruned.bytes)}")


@as_json_option
@click.option("--pinned", is_flag=True, help="Pinned pictures too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(settings: Settings, *, pinned: bool, yes: bool, as_json: bool) -> None:
    """Remove every stored picture that is not pinned; your copies in output_image/ stay."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove the pictures in {settings.cache_folder}?", abort=True, err=True)
    with _opened(settings) as cache, _counting("removing") as on_progress:
        removed = cache.clear(pinned=pinned, on_progress=on_progress)
    print_answer({"entries": removed}, f"removed {counted(removed)}", as_json=as_json)


@as_json_option
@_key
def delete(settings: Settings, key: str, *, as_json: bool) -> None:
    """Remove one stored picture, pinned or not; its copy in output_image/ stays."""
    whole = _whole(settings, key)
    with _opened(settings) as cache:
        _require(whole, there=cache.delete(whole))
    print_answer({"key": whole, "deleted": True}, f"deleted {whole}", as_json=as_json)


@as_json_option
@_key
def pin(settings: Settings, key: str, *, as_json: bool) -> None:
    """Keep a picture, whatever its age and worth, until it is deleted by name."""
    whole = _whole(settings, key)
    with _opened(settings) as cache:
        _require(whole, there=cache.pin(whole))
    print_answer({"key": whole, "pinned": True}, f"pinned {whole}", as_json=as_json)


@as_json_option
@_key
def unpin(settings: Settings, key: str, *, as_json: bool) -> None:
    """Let a pinned picture go like any other."""
    whole = _whole(settings, key)
    with _opened(settings) as cache:
        _require(whole, there=cache.show(whole) is not None)
        cache.unpin(whole)
    print_answer({"key": whole, "pinned": False}, f"unpinned {whole}", as_json=as_json)


@as_json_option
@click.option("--sample", type=IntegerRange(0), default=_SAMPLE, show_default=True, help="Pictures; 0 = all.")
def audit(settings: Settings, *, sample: int, as_json: bool) -> None:
    """Draw stored pictures again and compare the pixels; status 1 when one has drifted, with what could explain it.

    Loads the model in this process, also beside a server. Pictures that another model, precision or version drew are
    skipped.
    """
    from zimage_cache import compose  # noqa: PLC0415 - after the environment is set
    from zimage_cache.service import audit as auditing  # noqa: PLC0415 - brings numpy along

    compose.configure_logging(settings)
    generator = compose.make_generator(settings)
    with _opened(settings) as cache:
        keys = [listed.key for listed in _pages(cache)]
        random.shuffle(keys)
        audited = list(
            _watched(
                auditing.audit(keys, cache.peek, generator, sample, compose.versions()),
                min(sample or len(keys), len(keys)),
            )
        )
    counts = {verdict.value: sum(each.verdict is verdict for each in audited) for verdict in auditing.Verdict}
    drifted = [each for each in audited if each.verdict is auditing.Verdict.DRIFTED]
    if as_json:
        print_json({**counts, "pictures": [asdict(each) for each in audited]})
    else:
        for each in drifted:
            click.echo(f"drifted  {each.key}  {each.detail}\n         {each.explanation}")
        skipped = Counter(each.detail for each in audited if each.verdict is auditing.Verdict.SKIPPED)
        for detail, count in skipped.most_common():
            click.echo(f"skipped  {counted(count)}: {detail}")
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if drifted:
        click.get_current_context().exit(1)


COMMANDS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "stats": stats,
        "list": list_entries,
        "show": show,
        "check": check_files,
        "prune": prune,
        "clear": clear,
        "delete": delete,
        "pin": pin,
        "unpin": unpin,
        "audit": audit,
    }
)


# What they work on


@contextmanager
def _opened(settings: Settings) -> Iterator[ResultCache]:
    """Open the cache; other processes may be using it.

    Without bounds, because a running server may have wider ones than this command's settings, and no entry may be
    evicted for that. A read-only folder can be read; operations that would change it fail with an error.
    """
    from zimage_cache import compose  # noqa: PLC0415 - after the environment is set

    bounds = ("cache_max_bytes", "cache_max_entries", "cache_ttl", "cache_min_free")
    cache = compose.open_cache(settings.model_copy(update=dict.fromkeys(bounds, 0)))
    try:
        yield cache
    finally:
        cache.close()


def _pages(cache: ResultCache, query: str = "") -> Iterator[Listed]:
    cursor = None
    while True:
        page = cache.entries(query, _PAGE, cursor)
        yield from page.items
        if (cursor := page.cursor) is None:
            return


def _whole(settings: Settings, prefix: str) -> str:
    """Return the full key of a stored picture from at least its first 8 digits.

    Raises:
        UsageError: The prefix is too short, no part of a key, or that of several keys.
        CommandError: No stored key has this prefix.
    """
    digits = half_width(prefix).lower()
    if not _SHORTEST_PREFIX <= len(digits) <= _KEY_DIGITS or not _HEX.issuperset(digits):
        raise UsageError(f"KEY: should be 8 to 64 hex digits, got {ascii(prefix)[:80]}")
    found = [key for key in _keys(settings) if key.startswith(digits)]
    if len(found) > 1:
        raise UsageError(f"KEY: {digits} is the beginning of {len(found)} keys; give more digits")
    _require(digits, there=bool(found))
    return found[0]


def _keys(settings: Settings) -> Iterator[str]:
    try:
        with os.scandir(Layout(settings.cache_folder).keys) as files:
            yield from filter(None, (key_in(file.name, ".json") for file in files))
    except FileNotFoundError:
        return


def _require(key: str, *, there: bool) -> None:
    if not there:
        raise CommandError(f"{key}: no such picture is stored; `zimage cache list` tells which are")


def _overview(settings: Settings) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the statistics of all servers that run on this workspace, and of each; without any, those of the files."""
    statistics = Statistics(Lifetime(settings.database))
    told = dict(_told(settings, statistics))
    if not told:
        with _opened(settings) as cache, _busy("looking at the cache"):
            cache.prune(dry_run=True)  # which looks at every file
            return overview(cache.held(), statistics), []
    answers = list(told.values())
    in_memory = {name: sum(each["now"][name] for each in answers) for name in ("memory_entries", "memory_bytes")}
    whole = {
        **answers[-1],  # its lifetime has what those that were asked before have counted
        "now": answers[-1]["now"] | in_memory,
        "this_process": together([each["this_process"] for each in answers]),
    }
    servers = [{"url": url, "now": each["now"], "this_process": each["this_process"]} for url, each in told.items()]
    return whole if len(servers) > 1 else answers[0], servers


def _told(settings: Settings, statistics: Statistics) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the addresses and answers of the servers of this workspace; one that gives none is told in one line."""
    asked = places(settings)
    # A server of another workspace has nothing to tell, and may hang.
    for place in [each for each in asked if each.of_workspace] or asked:
        with place.client(settings) as client:
            try:
                answer = client.overview()
            except ServerError as error:
                if place.of_workspace:
                    reason = str(error).removeprefix(f"{place.url}: ")
                    tell(f"{place.url}: {reason}; without its memory and its last seconds")
                continue
        known = statistics.database_id is not None or place.of_workspace
        if known and answer["database"] == statistics.database_id:
            yield place.url, answer


# What they print


def _row(listed: Listed, now: float) -> tuple[str, ...]:
    return (
        listed.key[:_SHOWN_DIGITS],
        f"{listed.width}x{listed.height}",
        shown_bytes(listed.bytes),
        shown_seconds(now - listed.created),
        f"{listed.gpu_seconds:.2f} s",
        str(listed.seed),
        "pinned" if listed.pinned else "",
        shortened(listed.prompt),
    )


def _listed(listed: Listed) -> dict[str, Any]:
    return asdict(listed) | {"created": datetime.fromtimestamp(listed.created, UTC).isoformat()}


def _text(value: object) -> str:
    return legible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - a number, a moment or nothing
    if value is None:
        return "-"
    if name == "since":
        return str(value)[:_MOMENT]
    if name == "hit_ratio":
        return f"{value:.1%}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


@contextmanager
def _busy(words: str) -> Iterator[None]:
    """Show a moving bar while something runs, where standard error is a terminal."""
    with Console(stderr=True).status(words) if sys.stderr.isatty() else nullcontext():
        yield


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


@contextmanager
def _counting(words: str, then: str | None = None) -> Iterator[OnProgress]:
    """Draw a bar on a terminal, moving without measure until the first count comes, *then* under other words."""
    with _bar() as bar:
        task = bar.add_task(escape(words), total=None)
        yield lambda done, total: bar.update(task, description=escape(then or words), completed=done, total=total)


def _watched(audited: "Iterable[Audited]", most: int) -> "Iterator[Audited]":
    """Yield *audited* and show a progress bar where standard error is a terminal."""
    with _bar() as bar:
        task = bar.add_task("drawing again", total=most)
        for each in audited:
            words = f"{each.key[:_SHOWN_DIGITS]} {each.verdict}"
            bar.update(task, advance=each.verdict != "skipped", description=words)
            yield each
