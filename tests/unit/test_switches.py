"""Every switch of torch, diffusers and transformers was looked at: it is pinned, ignored, named or left alone."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from zimage_cache.environment import CHANGING_PIXELS
from zimage_cache.generator.runtime import NAMED

LISTED = tomllib.loads((Path(__file__).parents[1] / "data" / "switches.toml").read_text("utf-8"))
READ = re.compile(
    r"""(?:environ(?:\.get\(|\.pop\(|\.setdefault\(|\[)|getenv\(|env_name_(?:force|default)=|parse_flag_from_env\()
    \s*f?["']([A-Z][A-Z0-9_]+)["']""",
    re.VERBOSE,
)
# Parts of the packages that no picture needs: training, several machines, tests, and tools.
SPARE = {
    "torch": "testing distributed onnx fx ao export jit backends/xeon multiprocessing "
    "profiler autograd/profiler utils/(?:benchmark|cpp_extension|tensorboard|data|model_dump)",
    "diffusers": "commands utils/testing training_utils",
    "transformers": "testing_utils trainer training_args commands cli",
}
COMPILED = ("libc10.so", "libtorch_cpu.so", "libtorch_python.so", "libgomp.so.1")
FAMILY = re.compile(
    rb"\0((?:ATEN|TORCH|PYTORCH|MKL|ONEDNN|DNNL|FBGEMM|G?OMP|KMP|CUBLAS|CUDNN|NVIDIA|DISABLE|USE|ENABLE)_[A-Z0-9_]+)(?=\0)"
)
# Names of functions of MKL, which stand among its variables.
FUNCTIONS = re.compile(r"MKL_(?:SPARSE|[A-Z]?OMAT|DOMAT|DOMAIN_(?!NUM)|VML|GET|SET)\w*")


def listed(kind: str) -> set[str]:
    names = [name for group in LISTED[kind] for name in group["names"].split()]
    assert len(names) == len(set(names))
    return set(names)


def written_in_python(package: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent
    spare = re.compile(rf"(?:{'|'.join(SPARE[package].split())})")
    for path in root.rglob("*.py"):
        if not spare.match(path.relative_to(root).as_posix()):
            yield from READ.findall(path.read_text("utf-8", "replace"))


def compiled_into_torch() -> Iterator[str]:
    for name in COMPILED:
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists():  # on other systems they have other names, and the same variables
            yield from (found.decode() for found in FAMILY.findall(path.read_bytes()))


def unknown(variables: Iterator[str]) -> set[str]:
    """Return those that are in none of the four places."""
    return {
        name
        for name in set(variables) - set(NAMED) - listed("variables")
        if not CHANGING_PIXELS.fullmatch(name) and not FUNCTIONS.fullmatch(name)
    }


@pytest.mark.parametrize("package", ["torch", "diffusers", "transformers"])
def test_every_variable_that_a_library_reads_was_looked_at(package):
    """A new version that reads a new one fails here, until that was tried."""
    assert unknown(written_in_python(package)) == set()


def test_every_variable_that_is_compiled_into_torch_was_looked_at():
    """Likewise of its own libraries and those that it contains: oneDNN, MKL, OpenMP."""
    assert unknown(compiled_into_torch()) == set()


def test_every_function_of_torch_that_sets_something_was_looked_at():
    """All of torch's switches go through these, but those of CUDA, which a build for CPUs does not have."""
    setters = {name for name in dir(torch._C) if re.fullmatch(r"_?set_\w+", name)}  # noqa: SLF001
    assert setters - listed("setters") == set()


def test_every_backend_of_torch_was_looked_at():
    """Where new kinds of kernels come from."""
    modules = {name for name in dir(torch.backends) if not name.startswith("__")}
    assert modules - listed("backends") == set()


def test_the_list_is_of_the_installed_versions():
    """An update looks at the list again, also where nothing is new: a switch may have another meaning."""
    installed = {name: version(name).partition("+")[0] for name in LISTED["versions"]}
    assert installed == LISTED["versions"]


def test_nothing_is_listed_twice():
    """What is ignored or named is not left alone."""
    left = listed("variables")
    assert {name for name in left if CHANGING_PIXELS.fullmatch(name)} == set()
    assert left & set(NAMED) == set()
