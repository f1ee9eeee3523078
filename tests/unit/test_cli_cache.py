"""`zimage cache …`: on the folder itself, in words for people and JSON for programs, beside a server or without one."""

import errno
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from zimage_cache import compose
from zimage_cache.cache.cache import ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cli import cache as cli_cache
from zimage_cache.cli import main as cli
from zimage_cache.cli import reached
from zimage_cache.cli.client import Client
from zimage_cache.entry import Entry, Source
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.service.statistics import Lifetime, Statistics

ROOT = Path(__file__).parents[2]
ZIMAGE = [sys.executable, "-c", "from zimage_cache.cli.main import main; main()", "cache"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}


@pytest.fixture(autouse=True)
def workspace(monkeypatch, tmp_path) -> Iterator[Path]:
    """Run in an empty folder and environment, with a workspace of its own and no server on its port."""
    for variable in [*filter(lambda name: name.startswith("ZIMAGE_"), os.environ), "DISABLE_CACHE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ZIMAGE_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("ZIMAGE_PORT", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    loggers = [logging.getLogger(name) for name in (None, "zimage_cache", "uvicorn")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "w"
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers
    assert check(tmp_path / "w" / "cache") == []


@pytest.fixture
def cache(workspace) -> Iterator[ResultCache]:
    """Give the same cache as another process has it open."""
    cache = ResultCache(MemoryTier(2**20), DiskTier(workspace / "cache", max_bytes=0))
    yield cache
    cache.close()


@pytest.fixture
def stored(cache, entry) -> Callable[..., str]:
    """Give a function that stores a picture and returns its key."""

    def store(*arguments: object, **options: object) -> str:
        made: Entry = entry(*arguments, **options)
        assert cache.put(made)
        return made.record.key

    return store


def zimage(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(cli.main, ["cache", *arguments], **options)


def told(*arguments: str) -> dict:
    """Run a command that must succeed, and give its JSON."""
    result = zimage(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, status: int, words: str) -> None:
    """Check for one line of error."""
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("zimage: ")
    assert re.search(words, line), line


def test_the_commands_are_those_of_the_contract():
    """Names that scripts use."""
    assert set(cli.cache_group.commands) == {
        "stats",
        "list",
        "show",
        "check",
        "prune",
        "clear",
        "delete",
        "pin",
        "unpin",
        "audit",
    }


@pytest.mark.parametrize("command", ["stats", "list", "check", "prune", "clear"])
def test_an_empty_cache_is_no_error(command):
    """Before the first picture there is nothing to tell, and nothing wrong."""
    assert zimage(command).exit_code == 0
    assert zimage(command, "--json").exit_code == 0


def test_list_shows_each_picture_on_a_line(stored, cache):
    """Newest first, aligned under one heading; what is pinned says so; prompts keep to one line and no colours."""
    key = stored(1, prompt="two\nlines \x1b[31m红")
    cache.pin(key)
    heading, line = zimage("list").stdout.splitlines()
    assert heading.split() == ["KEY", "SIZE", "BYTES", "AGE", "GPU", "SEED", "PROMPT"]
    assert line.split()[:2] == [key[:12], "64x64"]
    assert "pinned" in line
    assert line.endswith("two lines  [31m红")
    assert line.index("two lines") == heading.index("PROMPT")


def test_list_is_bounded_and_searchable(stored, monkeypatch):
    """`--limit` and `--query` choose; 0 lists everything, also beyond one page of the index."""
    keys = {stored(seed, side=64, prompt=f"number {seed}") for seed in range(7)}
    assert len(told("list", "--limit", "3")["entries"]) == 3
    monkeypatch.setattr(cli_cache, "_PAGE", 2)
    everything = told("list", "--limit", "0")["entries"]
    assert {listed["key"] for listed in everything} == keys
    assert len(everything) == 7
    (found,) = told("list", "--query", "number 5")["entries"]
    assert (found["seed"], found["prompt"]) == (5, "number 5")


def test_show_tells_the_whole_record(stored):
    """A picture's record, pin and files, by the first 8 digits of its key, in either case."""
    key = stored(3)
    shown = told("show", key[:8].upper())
    assert (shown["key"], shown["request"]["seed"], shown["pinned"]) == (key, 3, False)
    assert shown["canonical"].startswith('{"generator":')
    assert [Path(file).name for file in shown["files"]] == [f"{key}.json", f"{key}.png"]
    lines = dict(line.split(None, 1) for line in zimage("show", key).stdout.splitlines() if " " in line)
    assert (lines["key"].strip(), lines["request.seed"].strip()) == (key, "3")


@pytest.mark.parametrize("command", ["show", "delete", "pin", "unpin"])
class TestKeys:
    """Every command that names a picture reads its key alike."""

    @pytest.mark.parametrize("key", ["", "abc", "abcdef1", "g" * 8, "0" * 65, "../../etc", "\x1b[2Jabcdefab"])
    def test_what_is_no_key_is_refused(self, command, key):
        """Too short, too long or no digits: status 2, and nothing a terminal would obey."""
        result = zimage(command, "--", key)
        refused(result, 2, "8 to 64 hex digits")
        assert "\x1b" not in result.stderr

    def test_an_unknown_key_is_reported(self, command, stored):
        """Nothing begins like this: status 1."""
        stored(1)
        refused(zimage(command, "0" * 64), 1, "no such picture")

    def test_an_ambiguous_beginning_is_no_guess(self, command, workspace):
        """Where two keys begin alike, more digits are asked for, and nothing happens."""
        keys = workspace / "cache" / "keys"
        keys.mkdir(parents=True)
        for last in "01":
            (keys / f"{'ab' * 31}a{last}.json").touch()
        refused(zimage(command, "abababab"), 2, "beginning of 2 keys")
        assert len(list(keys.iterdir())) == 2
        for file in keys.iterdir():
            file.unlink()


def test_a_deletion_counts_at_once_elsewhere(stored, cache):
    """Another process that had the picture in memory misses it at its next look."""
    key = stored(1)
    assert cache.get(key)
    assert told("delete", key[:10]) == {"key": key, "deleted": True}
    assert cache.get(key) is None


def test_pins_survive_prune_and_clear(stored, cache):
    """What is pinned stays until it is unpinned or deleted by name; both can be said twice."""
    kept, other = stored(1), stored(2)
    for _ in range(2):
        assert told("pin", kept) == {"key": kept, "pinned": True}
    assert told("prune", "--to-bytes", "0")["entries"] == 1
    assert cache.peek(other) is None
    assert told("clear") == {"entries": 0}
    assert cache.peek(kept)
    for _ in range(2):
        assert told("unpin", kept) == {"key": kept, "pinned": False}
    assert told("clear") == {"entries": 1}


def test_clear_takes_pinned_ones_only_with_the_flag(stored, cache):
    """`--pinned` is how to really start anew."""
    cache.pin(stored(1))
    assert told("clear", "--pinned") == {"entries": 1}


def test_clear_never_touches_what_people_own(stored, workspace):
    """`output_image/` and the statistics are not the cache."""
    stored(1)
    own = workspace / "output_image" / "image.png"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    Lifetime(workspace / "zimage.sqlite3").add({"misses": 1}, 0.0)
    assert zimage("clear").exit_code == 0
    assert own.read_bytes() == b"mine"
    assert told("stats")["lifetime"]["misses"] == 1


@pytest.mark.parametrize(("typed", "status"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_clear_asks_on_a_terminal(stored, cache, typed, status):
    """A person is asked first, and anything but yes leaves everything."""
    key = stored(1)
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    asked = subprocess.run([*ZIMAGE, "clear"], stdin=theirs, capture_output=True, check=False, env=environment())
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == status, asked.stderr
    assert b"Remove the pictures in" in asked.stderr
    assert (cache.peek(key) is None) == (status == 0)


def test_clear_with_yes_does_not_ask(stored):
    """A script on a terminal says beforehand that it means it."""
    stored(1)
    ours, theirs = pty.openpty()
    cleared = subprocess.run(
        [*ZIMAGE, "clear", "--yes"], stdin=theirs, capture_output=True, check=True, env=environment()
    )
    os.close(ours)
    os.close(theirs)
    assert (cleared.stdout, cleared.stderr) == (b"removed 1 picture\n", b"")


def test_prune_by_age_and_by_size(stored):
    """Pictures that are too old are removed, then those above the size; a dry run only reports them."""
    for seed in range(3):
        stored(seed)  # all drawn in the past: the entries of these tests are of one day
    size = told("stats")["now"]["disk_bytes"]
    would = told("prune", "--to-bytes", str(size - 1), "--dry-run")
    assert (would["entries"], would["dry_run"]) == (1, True)
    assert told("stats")["now"]["disk_entries"] == 3
    assert told("prune", "--to-bytes", str(size - 1))["entries"] == 1
    assert told("prune", "--older-than", "9999999d")["entries"] == 0
    assert zimage("prune", "--to-bytes", "0", "--dry-run").stdout.startswith("would remove 2 pictures, ")


def test_prune_without_options_goes_by_the_settings(stored):
    """Bare, it removes what is beyond the configured size; without one, nothing."""
    stored(1)
    stored(2)
    assert told("prune", "--cache-max-bytes", "0")["entries"] == 0
    assert told("prune", "--cache-max-bytes", "1")["entries"] == 2


def test_prune_to_a_number(stored, cache):
    """So many pictures are left, whatever their size; pinned ones count, and stay."""
    keys = [stored(seed) for seed in range(5)]
    cache.pin(keys[0])
    assert told("prune", "--max-entries", "3", "--dry-run")["entries"] == 2
    assert told("prune", "--max-entries", "3")["entries"] == 2
    assert told("prune", "--max-entries", "3")["entries"] == 0
    assert told("prune", "--cache-max-entries", "2")["entries"] == 1
    assert told("prune", "--max-entries", "0")["entries"] == 1
    assert [each["key"] for each in told("list")["entries"]] == [keys[0]]
    assert zimage("prune", "--max-entries", "-1").exit_code == 2


@pytest.mark.parametrize(("option", "value"), [("--older-than", "1w"), ("--to-bytes", "1XB"), ("--to-bytes", "-1")])
def test_prune_says_what_a_quantity_looks_like(option, value):
    """A slip of the pen is status 2 and removes nothing."""
    result = zimage("prune", f"{option}={value}")
    assert result.exit_code == 2
    assert "such as" in result.stderr


@pytest.mark.parametrize("command", [["list"], ["stats"], ["prune", "--dry-run"]])
def test_looking_evicts_nothing(stored, workspace, command):
    """The command does not apply its own bounds, because a running server may have others."""
    for seed in range(4):
        stored(seed)
    for file in (workspace / "cache").glob("index.sqlite3*"):
        file.unlink()  # so that every file has to be looked at
    assert zimage(*command, "--cache-max-bytes", "1", "--cache-max-entries", "1", "--cache-ttl", "1s").exit_code == 0
    assert len(list((workspace / "cache" / "keys").iterdir())) == 4


def test_check_tells_each_finding_on_a_line(stored, workspace):
    """Clean is status 0 and silence; damage is status 1 and a line each; repaired, it is clean again."""
    assert (zimage("check").exit_code, zimage("check").stdout) == (0, "")
    keys = [stored(seed) for seed in range(3)]
    for key in keys[:2]:
        image = workspace / "cache" / "images" / f"{key}.png"
        image.write_bytes(image.read_bytes()[:-1])
    result = zimage("check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["corrupt", "corrupt"]
    assert {key for key in keys if any(key in line for line in lines)} == set(keys[:2])
    document = zimage("check", "--json")
    assert document.exit_code == 1
    assert {finding["key"] for finding in json.loads(document.stdout)["findings"]} == set(keys[:2])
    assert zimage("check", "--repair").exit_code == 1
    assert zimage("check").exit_code == 0


def test_stats_without_a_server_are_those_of_the_files(stored, workspace, cache):
    """What lies there is looked at, the lifetime is read, and this process has done nothing."""
    cache.pin(stored(1))
    Lifetime(workspace / "zimage.sqlite3").add({"hits_disk": 3, "misses": 1, "gpu_seconds": 2.5}, 0.0)
    answer = told("stats")
    assert answer["now"]["disk_entries"] == answer["now"]["pinned"] == 1
    size = sum(file.stat().st_size for name in ("keys", "images") for file in (workspace / "cache" / name).iterdir())
    assert answer["now"]["disk_bytes"] == size
    lifetime = answer["lifetime"]
    assert (lifetime["hits_disk"], lifetime["misses"], lifetime["gpu_seconds"]) == (3, 1, 2.5)
    assert (lifetime["hit_ratio"], lifetime["since"]) == (0.75, "1970-01-01T00:00:00+00:00")
    assert not any(answer["this_process"][name] for name in lifetime if name not in {"since", "hit_ratio"})
    assert "servers" not in answer
    words = zimage("stats").stdout
    assert re.search(r"^on disk +1 pictures?, \d+\.\d KiB, 1 pinned$", words, re.MULTILINE)
    assert re.search(r"^hits disk +3$", words, re.MULTILINE)
    assert re.search(r"^hit ratio +75\.0%$", words, re.MULTILINE)
    assert words.endswith("\nno server runs on this workspace\n")


@pytest.mark.parametrize("same", [True, False])
def test_stats_ask_the_server_of_this_workspace_only(workspace, monkeypatch, same):
    """A running server knows what it did; one of another workspace is not asked twice, but never believed."""
    lifetime = Lifetime(workspace / "zimage.sqlite3")
    lifetime.add({"misses": 5}, 0.0)
    elsewhere = Statistics(lifetime)
    elsewhere.delivered(Source.MEMORY, seconds=0.1, saved=1.0)
    document = {
        "database": lifetime.id if same else "fe00-1",
        "now": {"disk_entries": 77, "disk_bytes": 0, "pinned": 0, "memory_entries": 0, "memory_bytes": 0},
        "lifetime": {"since": None, "misses": 99},
        "this_process": {"since": None, "misses": 98},
    }
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=document))
    monkeypatch.setattr(reached, "Client", lambda url, **options: Client(url, transport=transport, **options))
    answer = told("stats")
    assert answer["lifetime"]["misses"] == (99 if same else 5)
    assert answer["now"]["disk_entries"] == (77 if same else 0)


@pytest.fixture
def fake(monkeypatch) -> FakeGenerator:
    """Put a generator without a model behind the command."""
    generator = FakeGenerator()
    monkeypatch.setattr(compose, "make_generator", lambda _settings: generator)
    return generator


@pytest.fixture
def drawn(fake) -> list[str]:
    """Store what the fake generator draws, by the command that draws; give the keys."""
    assert fake.recipes == []
    command = ["generate", "--prompt", "x", "--n", "3", "--width", "64", "--height", "64", "--json"]
    result = CliRunner().invoke(cli.main, command)
    assert result.exit_code == 0, result.output
    return [image["key"] for image in json.loads(result.stdout)["images"]]


def test_audit_of_the_same_generator_finds_the_same(drawn, fake):
    """Every stored picture is drawn again from its own record, and is what it was: status 0."""
    fake.recipes.clear()
    result = zimage("audit", "--json", "--sample", "0")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["identical"], document["drifted"], document["skipped"]) == (3, 0, 0)
    assert {picture["key"] for picture in document["pictures"]} == set(drawn)
    assert len(fake.recipes) == 3
    assert zimage("audit").stdout == "3 identical, 0 drifted, 0 skipped\n"


@pytest.mark.usefixtures("drawn")
def test_audit_draws_a_sample(fake):
    """`--sample` bounds what is drawn."""
    fake.recipes.clear()
    assert told("audit", "--sample", "2")["identical"] == 2
    assert len(fake.recipes) == 2


@pytest.mark.usefixtures("drawn")
def test_audit_tells_drift(stored):
    """A picture whose pixels are not what would be drawn is named: status 1."""
    foreign = stored(9)  # same identity, other pixels than that generator's
    result = zimage("audit", "--sample", "0")
    assert result.exit_code == 1
    first, why, last = result.stdout.splitlines()
    assert re.fullmatch(rf"drifted  {foreign}  \d+ of 4096 pixels differ, by up to \d+ of 255", first)
    assert why.strip() == "everything recorded with it is unchanged"
    assert last == "3 identical, 1 drifted, 0 skipped"


@pytest.mark.usefixtures("drawn")
def test_audit_counts_no_hits_and_stores_nothing(workspace):
    """Looking at the cache is not using it: neither pictures nor statistics change."""
    files = [file for name in ("keys", "images") for file in (workspace / "cache" / name).iterdir()]
    before = [file.stat().st_mtime_ns for file in files]
    lifetime = told("stats")["lifetime"]
    told("audit")
    assert told("stats")["lifetime"] == lifetime
    assert [file.stat().st_mtime_ns for file in files] == before
    assert len(list((workspace / "output_image").iterdir())) == 3


@pytest.mark.parametrize(
    ("command", "words"),
    [(["check"], b"verifying"), (["prune", "--to-bytes", "0"], b"removing"), (["clear", "--yes"], b"removing")],
)
def test_a_terminal_sees_progress_and_a_pipe_does_not(stored, command, words):
    """Long work counts what is done, of how many, on a terminal; what is piped has no control characters at all."""
    for seed in range(3):
        stored(seed)
    ours, theirs = pty.openpty()
    subprocess.run([*ZIMAGE, *command], check=True, stderr=theirs, env=environment())
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # Linux's error once no process writes to the terminal any more
        while chunk := os.read(ours, 4096):
            seen += chunk
    os.close(ours)
    assert words in seen
    assert b"2/3" in seen
    piped = subprocess.run([*ZIMAGE, *command], check=True, capture_output=True, env=environment())
    assert piped.stderr == b""
    assert b"\x1b" not in piped.stdout


# A folder that can only be read


@pytest.fixture
def read_only(monkeypatch):
    """Give a switch after which every file opened for writing, and every removal, fails as on a read-only disk."""
    really = os.open

    def opened(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return really(path, flags, *args, **kwargs)

    def refuse(path, *_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def switch():
        monkeypatch.setattr(os, "open", opened)
        for name in ("touch", "unlink", "mkdir"):
            monkeypatch.setattr(Path, name, refuse)

    return switch


def test_a_read_only_cache_can_be_looked_at(stored, read_only):
    """`list`, `stats`, `show`, `check` and a dry run need to write nothing."""
    keys = [stored(seed) for seed in range(3)]
    read_only()
    assert {each["key"] for each in told("list")["entries"]} == set(keys)
    assert told("stats")["now"]["disk_entries"] == 3
    assert told("show", keys[0])["key"] == keys[0]
    assert told("check")["findings"] == []
    assert told("prune", "--to-bytes", "0", "--dry-run")["entries"] == 3


@pytest.mark.parametrize("command", ["delete KEY", "pin KEY", "clear --yes", "prune --to-bytes 0"])
def test_what_a_read_only_cache_refuses_is_said(stored, read_only, command):
    """Status 1 and the reason; not "no such picture", nor that nothing needed removing."""
    key = stored(1)
    read_only()
    result = zimage(*command.replace("KEY", key).split())
    assert result.exit_code == 1
    assert "Read-only file system" in result.stderr
    assert "removed 0" not in result.stdout


def test_a_cache_folder_that_cannot_be_made_is_a_wrong_setting(read_only):
    """Nothing to look at, and nowhere to make it: status 2, as ever."""
    read_only()
    assert zimage("list").exit_code == 2
