"""Environment variables that are set for other programs, and that libraries read when they are imported."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Final

from zimage_cache.errors import SettingsError, ZImageError

_log = logging.getLogger(__name__)
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_CONNECTIONS: Final = _PROXIES | {"no_proxy", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile"}
# Variables that change how the libraries that draw compute, and that no machine needs. The list of variables that were
# looked at, also of those that are not here, is tests/data/switches.toml.
CHANGING_PIXELS: Final = re.compile(
    r"""NVIDIA_TF32_OVERRIDE | TORCH_ALLOW_TF32_CUBLAS_OVERRIDE
    | (?:ONEDNN|DNNL)_DEFAULT_FPMATH_MODE | MKL_DISABLE_FAST_MM
    | (?:CUBLAS|CUBLASLT|CUDNN)_(?!LIBRARY|LOG)\w+ | CUDA_FORCE_PTX_JIT | DISABLE_ADDMM_CUDA_LT
    | TORCH_(?:BLAS|LINALG)_PREFER_\w+ | TORCH_(?:CUBLASLT|CUDNN|MKLDNN)_\w+ | TORCH_LINEAR_FLATTEN_3D
    | TORCH_DISABLE_NATIVE_JIT | TORCH_NATIVE_SKIP_VERSION_CHECK | TORCH_PYTHON_NATIVE_USER_GRAPH_ORDER_FN
    | PYTORCH_TUNABLEOP_\w+ | TORCHINDUCTOR_(?!CACHE_DIR|COMPILE_THREADS)\w+ | TORCHDYNAMO_\w+
    | TORCH_COMPILE_(?:BACKEND|DISABLE|OVERRIDE_\w+) | TRITON_(?:F32_DEFAULT|DEFAULT_FP_FUSION|INTERPRET)
    | ENABLE_(?:PERSISTENT_|TEMPLATE_)?TMA_\w+ | CUTEDSL_ENABLE_AUTOTUNING
    | CUTLASS_EPILOGUE_FUSION | TENSORIFY_PYTHON_SCALARS
    | DIFFUSERS_ATTN_\w+ | TRANSFORMERS_SDPA_\w+ | USE_HUB_KERNELS | FLASH_ATTENTION_\w+ | XFORMERS_\w+""",
    re.ASCII | re.VERBOSE,
)
_THIS_MACHINE: Final = "localhost,127.0.0.1,::1"


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in *environ* that name proxies."""
    return {name: value for name, value in environ.items() if value and name.lower() in _PROXIES}


def for_clients(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process whose clients follow the proxies of *environ*.

    Requests to this machine use none. ALL_PROXY is left out where HTTP_PROXY and HTTPS_PROXY are set, so that it has
    no use: a client that cannot use SOCKS would end because of it all the same.
    """
    spare = {"http_proxy", "https_proxy"} <= {name.lower() for name in proxies(environ)}
    kept = {name: value for name, value in environ.items() if not (spare and name.lower() == "all_proxy")}
    direct = ",".join(filter(None, (environ.get("no_proxy") or environ.get("NO_PROXY"), _THIS_MACHINE)))
    return kept | {"no_proxy": direct, "NO_PROXY": direct}


def of_connections(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables in *environ* that a library reads when it makes an HTTP client."""
    return tuple(name for name in environ if name.lower() in _CONNECTIONS)


def ignore_what_changes_pixels(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove variables that would change pixels under the same keys; a line of the log names them.

    To be called before the libraries that draw are imported, and while no other thread uses the environment.
    """
    if found := sorted(filter(CHANGING_PIXELS.fullmatch, environ)):
        for name in found:
            del environ[name]
        _log.warning("ignored, because they change pixels and no key names them: %s", ", ".join(found))


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


def _told(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    if names := [name for name, value in os.environ.items() if value and repr(value) in str(error)]:
        return f"{', '.join(names)}: a library that is needed cannot use this value ({reason}); correct it, or unset it"
    return f"a library that is needed does not load ({reason}); --log-level debug shows more"
