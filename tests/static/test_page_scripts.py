"""The page's scripts: lint, format, types, and tests of their logic, by tools that run in Node."""

import re
import subprocess
import sys
from pathlib import Path

from tests.static.node import ROOT, package, run
from zimage_cache.web.page import bundle

PAGE = Path(bundle.__file__).parent
EXPORT = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)
# Names of Gradio's own elements.
PRIVATE = re.compile(r"gradio-container|data-testid|\.wrap\b|fieldset|[.#]block\b|role=\"tab\"")
IMPORT = re.compile(r"^import \{([\w\s,]*)\} from", re.MULTILINE)


def test_biome_finds_nothing():
    """Scripts, style sheets and JSON files are formatted, and the linter has nothing to say."""
    found = run(package("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", "--colors=off", ".")
    assert found.returncode == 0, f"\n{found.stdout}{found.stderr}"


def test_types_fit():
    """TypeScript accepts every script with the types in its comments and those of the HTTP API."""
    found = run(package("typescript/bin/tsc"), "--project", "tsconfig.json")
    assert found.returncode == 0, f"\n{found.stdout}{found.stderr}"


def test_logic():
    """The tests in `tests/js` pass."""
    found = run("--test", *sorted((ROOT / "tests" / "js").glob("*.test.js")))
    assert found.returncode == 0, f"\n{found.stdout}{found.stderr}"


def test_types_of_the_api_are_current():
    """The declarations of the API's answers are of this version: `python scripts/write_api_types.py` writes them."""
    command = [sys.executable, str(ROOT / "scripts" / "write_api_types.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 0, found.stderr


def test_every_export_is_imported():
    """No module exports what no other one uses."""
    scripts = [*PAGE.glob("**/*.js"), *(ROOT / "tests" / "js").glob("*.js")]
    texts = [path.read_text("utf-8") for path in scripts]
    exported = {name for text in texts for name in EXPORT.findall(text)}
    imported = {name.strip() for text in texts for names in IMPORT.findall(text) for name in names.split(",")}
    assert exported - imported == set()


def test_one_module_knows_the_dom_of_gradio():
    """What a new version of Gradio may break in our scripts is in one place."""
    others = (path for path in PAGE.glob("**/*.js") if path.relative_to(PAGE).as_posix() != "lib/gradio.js")
    assert [path.name for path in others if PRIVATE.search(path.read_text("utf-8"))] == []
    assert PRIVATE.search(bundle.source("lib/gradio.js"))


def test_every_module_is_reached():
    """Every script and every style sheet is part of the page."""
    joined = bundle.script("main.js") + bundle.script("lib/worker.js")
    modules = {path.relative_to(PAGE).as_posix() for path in PAGE.glob("**/*.js")}
    assert modules == set(re.findall(r'^modules\["(.*)"\] = ', joined, re.MULTILINE))
    sheets = {f"./{path.relative_to(PAGE).as_posix()}" for path in PAGE.glob("*/*.css")}
    assert sheets == set(re.findall(r'@import "(.*)"', bundle.source("main.css")))
