"""Environment variables that are set for other programs, and that the libraries used here read while they are imported."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from zimage_cache.errors import SettingsError, ZImageError

_log = logging.getLogger(__name__)
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_CERTIFICATES: Final = frozenset({"ssl_cert_file", "ssl_cert_dir", "sslkeylogfile"})


def proxies(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables in *environ* that name proxies, or hosts to reach without one."""
    return tuple(name for name, value in environ.items() if value and name.lower() in _PROXIES)


def of_connections(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables in *environ* that a library reads when it makes an HTTP client."""
    return tuple(name for name in environ if name.lower() in _PROXIES | _CERTIFICATES)


@contextmanager
def hidden(names: Iterable[str]) -> Iterator[None]:
    """Remove variables from this process's environment for a while; other threads must not use it meanwhile."""
    removed = {name: os.environ.pop(name) for name in tuple(names) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(removed)


@contextmanager
def loading_libraries() -> Iterator[None]:
    """Translate what a library raises while it is imported or built: one line, which names the variables at fault.

    Raises:
        SettingsError: A library raised any exception.
    """
    try:
        yield
    except ZImageError:
        raise
    except Exception as error:  # a library may raise anything because of a value it does not understand
        _log.debug("a library does not load", exc_info=True)
        raise SettingsError(_told(error)) from error


def _told(error: Exception) -> str:
    reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    if names := [name for name, value in os.environ.items() if value and repr(value) in str(error)]:
        return f"{', '.join(names)}: a library that is needed cannot use this value ({reason}); correct it, or unset it"
    return f"a library that is needed does not load ({reason}); --log-level debug shows more"
