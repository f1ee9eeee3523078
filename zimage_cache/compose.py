"""The composition root: builds every component from the settings. No other module constructs the whole program."""

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import zimage_cache
from zimage_cache.accounts.limits import Rate
from zimage_cache.accounts.lines import HASHED_KEY
from zimage_cache.accounts.salts import Salts, read_salts
from zimage_cache.accounts.sessions import Sessions
from zimage_cache.accounts.source import UserSource
from zimage_cache.accounts.users import key_digest
from zimage_cache.cache.cache import AnyCache, NoCache, ResultCache
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.environment import hidden, ignore_what_changes_pixels, loading_libraries, of_connections
from zimage_cache.errors import GeneratorError, SettingsError
from zimage_cache.faults import Faults
from zimage_cache.generator.device import CPU, Device, find_device, find_peers
from zimage_cache.generator.protocol import ImageGenerator
from zimage_cache.generator.residency import Residency
from zimage_cache.generator.zimage import Fetch, ZImageGenerator
from zimage_cache.history import History
from zimage_cache.log_lines import JsonLines, LimitedHandler, TextLines, limit_standard_error
from zimage_cache.models.download import Downloader
from zimage_cache.models.places import search_roots
from zimage_cache.models.profiles import KNOWN, ModelChoice, model_choice
from zimage_cache.models.progress import OnProgress
from zimage_cache.models.store import SLIM
from zimage_cache.request_id import RequestIdFilter
from zimage_cache.servers import address_of_this_process, announced
from zimage_cache.service.service import ImageService
from zimage_cache.settings import Settings
from zimage_cache.units import rate_in

_log = logging.getLogger(__name__)
_BACKLOG: Final = 2048
_RECORDED: Final = ("diffusers", "torch", "transformers", "pillow")


def make_generator(settings: Settings) -> ImageGenerator:
    """Choose the model and the device it draws on; loads nothing.

    Before other threads are started: variables that change pixels are removed from the environment.

    Raises:
        SettingsError: There is no such model or device, `--model PATH` is no complete model, or the model needs CUDA
            and there is none.
    """
    ignore_what_changes_pixels()
    device = _first_device(settings)
    name = settings.model or ("demo" if device == CPU else "turbo")
    choice = model_choice(name)
    if choice.repo_id and device == CPU and settings.device != "cpu":
        raise SettingsError(
            f"model: {name} needs a CUDA device and there is none; use --model demo, or insist with --device cpu"
        )
    roots = model_roots(settings)
    if choice.folder:
        _require_model(choice)
    if settings.model is None and device == CPU:
        _log.info("no CUDA device: drawing with the embedded demo model; choose another with --model")
    return _make(choice, device, roots, settings)


def make_peers(settings: Settings) -> list[ImageGenerator]:
    """Make the generators of the model for the further devices, beside the one of `make_generator`; loads nothing.

    Raises:
        SettingsError: As `make_generator`.
    """
    first = find_device(settings.device)
    choice = model_choice(settings.model or "turbo")
    roots = model_roots(settings)
    # None of these downloads: they load after the first generator, which has downloaded the model.
    peers = find_peers(first, settings.device)
    return [_make(choice, device.numbered(), roots, settings, fetches=False) for device in peers]


def _first_device(settings: Settings) -> Device:
    """Find the device to draw on; where several of its make draw, its name gets its number."""
    device = find_device(settings.device)
    return device.numbered() if find_peers(device, settings.device) else device


def make_others(settings: Settings, first: ImageGenerator) -> list[ZImageGenerator]:
    """Make generators, beside the *first*, for every other known model that is complete on disk and runs here."""
    device = _first_device(settings)
    roots = model_roots(settings)
    others = []
    for choice in KNOWN.values():
        drawable = choice.repo_id is None or device != CPU or settings.device == "cpu"
        if drawable and choice.profile.name != first.profile.name and _is_here(choice, roots):
            others.append(_make(choice, device, roots, settings))
    return others


def _is_here(choice: ModelChoice, roots: tuple[Path, ...]) -> bool:
    try:
        choice.locate(roots)
    except GeneratorError:
        return False
    return True


def _make(
    choice: ModelChoice, device: Device, roots: tuple[Path, ...], settings: Settings, *, fetches: bool = True
) -> ZImageGenerator:
    return ZImageGenerator(
        choice.profile,
        partial(choice.locate, roots),
        model=choice.identity,
        device=device,
        memo=hash_memo(settings),
        precision=settings.precision,
        offload=settings.offload,
        attention=settings.attention,
        compiled=settings.compile,
        identity_mode=settings.identity,
        fetch=_fetch(choice, settings) if fetches else None,
        warmup=settings.warmup,
        slim=settings.model_folder / SLIM if settings.slim_copy else None,
    )


def model_roots(settings: Settings) -> tuple[Path, ...]:
    """List the folders models are searched in, first to last."""
    return search_roots(settings.model_cache, settings.workspace)


def _fetch(choice: ModelChoice, settings: Settings) -> Fetch | None:
    repo_id = choice.repo_id
    if repo_id is None or settings.offline:
        return None

    def fetch(on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
        make_downloader(settings, on_progress, cancelled).download(repo_id)

    return fetch


def make_downloader(
    settings: Settings, on_progress: OnProgress, cancelled: Callable[[], bool] = lambda: False
) -> Downloader:
    """Make a downloader into the folder, and from the hub, that the settings name."""
    return Downloader(
        model_cache=settings.model_folder,
        source=settings.source,
        memo=hash_memo(settings),
        on_progress=on_progress,
        cancelled=cancelled,
    )


def hash_memo(settings: Settings) -> Path:
    """Return the file that keeps the hashes of weights between starts."""
    return settings.below("model_hashes.json")


def make_service(
    settings: Settings,
    generator: ImageGenerator,
    others: Sequence[ImageGenerator] = (),
    peers: Sequence[ImageGenerator] = (),
) -> tuple[ImageService, "Running"]:
    """Make the service: cache, history, *generator*, the *others*, and the *peers* that draw the first one's model.

    The second result is a context that starts them on entry and stops them on exit.

    Raises:
        SettingsError: A folder cannot be written.
    """
    _require_folders(settings)
    faults = Faults()
    cache = make_cache(settings, faults) if settings.caching else NoCache()
    residency = Residency(settings.max_models, settings.idle_unload)
    first = residency.add(generator)
    residents = [first, *(residency.add(other) for other in others)]
    service = ImageService(
        {each.profile.name: each for each in residents},
        cache,
        make_history(settings, faults),
        queue_size=settings.queue_size,
        request_timeout=settings.request_timeout,
        versions=versions(),
        preload=settings.preload,
        peers={first.profile.name: [residency.add(peer, beside=first) for peer in peers]},
        database=settings.database,
        wildcards=settings.below("wildcards"),
        faults=faults,
        salt=_salts(settings).of if settings.private_cache else None,
    )
    return service, lambda: _running(service, cache, residency, (generator, *others, *peers))


def _salts(settings: Settings) -> Salts:
    path = settings.below("cache_salt")
    try:
        return read_salts(path)
    except OSError as error:
        raise SettingsError(f"--private-cache: {path} should be a file this user can write: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--private-cache: {error}; put the right file back, or remove this one") from None


def make_history(settings: Settings, faults: Faults | None = None) -> History:
    """Make the history of the pictures that people made; makes no folder."""
    apart = (settings.cache_folder, settings.model_folder)
    return History(settings.output_folder, settings.below(), faults, apart=apart)


Running = Callable[[], contextlib.AbstractContextManager[None]]


def make_cache(settings: Settings, faults: Faults | None = None) -> ResultCache:
    """Build both tiers.

    Raises:
        SettingsError: The cache's folder cannot be written.
    """
    _require_writable(settings.cache_folder, "--cache-dir")
    return open_cache(settings, faults)


def open_cache(settings: Settings, faults: Faults | None = None) -> ResultCache:
    """Build both tiers on a folder that may be read-only; a missing folder is made.

    Raises:
        SettingsError: There is no such folder, and it cannot be made.
    """
    if not settings.cache_folder.is_dir():
        _require_writable(settings.cache_folder, "--cache-dir")
    disk = DiskTier(
        settings.cache_folder,
        max_bytes=settings.cache_max_bytes,
        max_entries=settings.cache_max_entries,
        ttl_seconds=settings.cache_ttl,
        min_free_bytes=settings.cache_min_free,
        policy=settings.cache_policy,
        faults=faults,
    )
    return ResultCache(MemoryTier(settings.memory_max_bytes), disk)


def versions() -> dict[str, str]:
    """Return the versions of the software that draws and writes, for records and pictures."""
    found = {"zimage": zimage_cache.__version__}
    for name in _RECORDED:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def configure_logging(settings: Settings) -> None:
    """Send all log lines to standard error as text or JSON, with the request's id, limited per kind and minute."""
    stream = LimitedHandler()
    stream.addFilter(RequestIdFilter())
    stream.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    level = logging.DEBUG if settings.debug else settings.log_level.upper()
    logging.basicConfig(level=logging.WARNING, handlers=[stream], force=True)
    logging.getLogger("zimage_cache").setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def serve(settings: Settings) -> None:
    """Run the server until it receives a signal to stop.

    Raises:
        SettingsError: A resource is missing or unusable; the message is one line with rule, value and remedy.
    """
    users = make_users(settings)
    if settings.private_cache and users is None:
        raise SettingsError("--private-cache: needs users, whose pictures it keeps apart; see `zimage user add --help`")
    limit_standard_error()
    with listen(settings.host, settings.port) as listening:
        _require_folders(settings)
        generator = make_generator(settings)
        service, running = make_service(settings, generator, make_others(settings, generator), make_peers(settings))
        # Gradio makes HTTP clients when it is imported, which cannot be made with some values of these variables. The
        # server sends no requests; the clients that download models run in processes of their own.
        with loading_libraries(), hidden(of_connections(os.environ)):
            # Imported after every check that can fail early: Gradio alone takes two seconds to import.
            from zimage_cache.web.app import create_app  # noqa: PLC0415
            from zimage_cache.web.authentication import Authentication  # noqa: PLC0415
            from zimage_cache.web.server import run  # noqa: PLC0415

            rate = Rate(*limit) if (limit := rate_in(settings.rate_limit)) else None
            authentication = None if users is None else Authentication(users, Sessions(settings.database))
            app = create_app(
                service,
                running,
                allowed_hosts=settings.allowed_host,
                trusted_proxies=settings.trusted_proxy,
                root_path=settings.root_path,
                authentication=authentication,
                rate=rate,
                model_aliases=_aliases(settings, service.models),
            )
        host, port = listening.getsockname()[:2]
        address = address_of_this_process(host, port, root_path=settings.root_path, version=zimage_cache.__version__)
        run(
            app,
            listening,
            open_to_all=users is None,
            max_connections=settings.max_connections,
            announced=announced(settings.servers_folder, address),
        )


def _aliases(settings: Settings, offered: Sequence[str]) -> dict[str, str]:
    aliases = dict(alias.split("=", 1) for alias in settings.model_alias)
    for pattern, model in aliases.items():
        if model not in offered:
            raise SettingsError(f"--model-alias: {pattern}={model} should name a model of {', '.join(offered)}")
    return aliases


def make_users(settings: Settings) -> UserSource | None:
    """Read who may use the server; None = everyone. A file wins over `auth`, and `api_key` adds to both.

    Raises:
        SettingsError: The file cannot be read, has no user, or a line is invalid.
    """
    path = settings.users_file
    lines = [settings.auth] if settings.auth and path is None else []
    if settings.auth and path is not None:
        _log.warning("auth_ignored: the users are those of %s; add one with `zimage user add NAME`", path)
    lines += map(_key_line, settings.api_key)
    if not lines and path is None:
        return None
    try:
        return UserSource(path, lines)
    except OSError as error:
        raise SettingsError(f"--auth-file: {path} should be a readable text file: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--auth-file: {path}: {error}" if path else f"--auth: {error}") from None


def _key_line(named: str) -> str:
    """Return an API key as a line of a file of users."""
    name, _, key = named.partition(":")
    return named if key.startswith(HASHED_KEY) else f"{name}:{HASHED_KEY}{key_digest(key)}"


@contextlib.contextmanager
def _running(
    service: ImageService, cache: AnyCache, residency: Residency, generators: Sequence[ImageGenerator]
) -> Iterator[None]:
    cache.start()
    service.history.start()
    service.start()
    residency.start()
    try:
        yield
    finally:
        for generator in generators:
            generator.close()
        residency.stop()
        service.close()
        service.history.close()
        cache.close()


def _require_folders(settings: Settings) -> None:
    _require_writable(settings.below(), "--workspace")
    _require_writable(settings.output_folder, "--output-dir")


def _require_model(choice: ModelChoice) -> None:
    """Check a folder named by the user at start-up; a model found by search may still be downloaded later."""
    try:
        choice.locate(())
    except GeneratorError as error:
        raise SettingsError(str(error)) from None


def _require_writable(folder: Path, flag: str) -> None:
    """Check by writing a file: permission bits are wrong on network and read-only file systems."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"{flag}: {folder} should be a folder this user can write: {error.strerror}; choose another"
        ) from None


def listen(host: str, port: int) -> socket.socket:
    """Bind the port before any slow work, so that a second start fails at once.

    Raises:
        SettingsError: The port is in use, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP is named because asyncio disables Nagle's algorithm only on sockets whose protocol is IPPROTO_TCP, which
    # `socket.create_server` does not set. With Nagle, every answer on a kept-alive connection waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        listening.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        remedy = "stop what uses it, or choose another --port" if taken else "choose another --host or --port"
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"--port: cannot listen on {host}:{port}: {reason}; {remedy}") from None
    return listening
