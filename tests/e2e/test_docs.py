"""What programs and people can read about the API, without leaving this machine, and whether the pages are true."""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from zimage_cache.prompts.styles import styles
from zimage_cache.request import ImageRequest
from zimage_cache.service.statistics import Counts
from zimage_cache.settings import Settings, flag_of
from zimage_cache.web.body import GenerateBody
from zimage_cache.web.errors import STATUS

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
PACKAGE = ROOT / "zimage_cache"
PAGES = sorted(str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
# The pages for readers of the English reference, which name routes as METHOD /path.
ROUTES = [
    "README.md",
    "docs/api.md",
    "docs/clients.md",
    "docs/operations.md",
    "docs/prompts.md",
    "docs/migration.md",
    "docs/architecture.md",
]
# How many requests by curl with a body each page shows.
REQUESTS = {"README.md": 1, "docs/README.zh-CN.md": 1, "docs/api.md": 10, "docs/reference.zh-CN.md": 1}

# Names with dots in the pages about the code that are not of our Python modules.
NOT_OURS = {"gr.Blocks", "gr.HTML", "gr.I18n", "zimage.events"}


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def first_cells(page: str, heading: str) -> list[str]:
    """The first cell of each row of the first table below a heading, without the table's own head."""
    table = re.search(r"(?:^\|.*\n)+", text(page).partition(f"{heading}\n")[2], re.MULTILINE)
    assert table
    return [re.split(r"(?<!\\)\|", row)[1].strip() for row in table[0].splitlines()[2:]]


def code(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`\n]+)`", cell)]


def anchors(page: str) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Each link to a file of this repository finds it, and the heading it names."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        parts = urlsplit(target)
        if not parts.scheme:
            file = (ROOT / page).parent / parts.path if parts.path else ROOT / page
            assert file.exists(), target
            assert not parts.fragment or unquote(parts.fragment) in anchors(str(file.resolve().relative_to(ROOT)))


def test_the_api_page_lists_every_route(house):
    """Its table of routes is that of `/openapi.json`, no route more and none less."""
    paths = house.client.get("/openapi.json").json()["paths"]

    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(code(first_cells("docs/api.md", "# HTTP API"))) == served


@pytest.mark.parametrize("page", ROUTES)
def test_routes_named_in_the_pages_are_served(house, page):
    """Where a page says `GET /…`, the server has that route; a key and an id may have any name."""
    paths = house.client.get("/openapi.json").json()["paths"]

    def plain(path: str) -> str:
        return re.sub(r"\{[^}]*\}", "{}", path)

    served = {f"{method.upper()} {plain(path)}" for path, methods in paths.items() for method in methods}
    named = {
        f"{method} {plain(path)}" for method, path in re.findall(r"`(GET|POST|DELETE) (/[^`?\s]*)[?`]", text(page))
    }
    assert named <= served


@pytest.mark.parametrize("page", ["docs/api.md", "docs/reference.zh-CN.md"])
def test_every_field_of_a_request_has_its_row(page):
    """The table of fields names each field and each other name for one; the Chinese one leaves out the last three."""
    heading = {"docs/api.md": "### Fields of the request", "docs/reference.zh-CN.md": "**其他程序。**"}[page]
    shown = {"docs/api.md": GenerateBody, "docs/reference.zh-CN.md": ImageRequest}[page]
    cells = [re.split("[（(]", cell) for cell in first_cells(page, heading)]

    assert {name for cell in cells for name in code([cell[0]])} == shown.model_fields.keys()
    assert {name for cell in cells for name in code(cell[1:])} == ImageRequest.ALIASES.keys()


def test_every_error_has_its_row():
    """The table of errors names every code a route may answer."""
    table = text("docs/api.md").partition("## Errors\n")[2]

    assert STATUS.keys() | {"bad_request", "internal_error"} <= set(re.findall(r"`([a-z_]+)`", table))


def test_every_setting_style_and_count_has_its_row():
    """The tables of settings, styles and statistics are those of the program."""
    settings = code(first_cells("docs/operations.md", "## Settings"))
    counts = code(first_cells("docs/operations.md", "## Statistics and metrics"))

    assert settings == [flag_of(name) for name in Settings.model_fields]
    assert code(first_cells("docs/prompts.md", "## Styles")) == list(styles())
    assert set(counts) == Counts.__dataclass_fields__.keys() | {"now"}


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/scenes.md"])
def test_metrics_named_in_the_pages_are_told(house, page):
    """Every metric a page names is one of `/metrics`, but for those that begin with the first eviction."""
    told = house.client.get("/metrics").text
    named = set(re.findall(r"zimage_[a-z_]+", text(page))) - {"zimage_cache_victim_age_seconds"}

    assert named
    assert all(f"# TYPE {name} " in told or f"# TYPE {name.removesuffix('_total')} " in told for name in named), named


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_code_named_in_the_pages_exists(page):
    """Every file a page names is there, and every module, class or function it names with the place where it is."""
    words = {word.partition("(")[0] for word in code([text(page)]) if "NAME" not in word} - NOT_OURS
    named = {word for word in words if re.fullmatch(r"[\w/-]+(\.\w+)+", word)}
    files = {word for word in named if re.search(r"\.(py|js|d\.ts|css|html|toml|json|md|sh)$", word)}

    assert named
    assert [word for word in sorted(files) if not _is_file(word)] == []
    assert [word for word in sorted(named - files) if not _is_defined(word)] == []


def _is_file(word: str) -> bool:
    """Tell whether a file has this path, below the repository, the package or one of the package's folders."""
    below = (ROOT, PACKAGE, *(folder for folder in PACKAGE.rglob("*") if folder.is_dir()))
    return any((folder / word).exists() for folder in below)


@cache
def _sources() -> dict[str, str]:
    return {str(file): file.read_text("utf-8") for file in PACKAGE.rglob("*.py")}


def _is_defined(word: str) -> bool:
    """Tell whether there is such a module, or the last name is defined where the names before it say."""
    *place, last = word.split(".")
    if any(_is_file(f"{'/'.join([*place, last])}{ending}") for ending in (".py", "/__init__.py")):
        return True
    kept = re.compile(rf"^\s*(?:async )?(?:def|class) {last}\b|^\s*{last}\b.*=|^\s*{last}: ", re.MULTILINE)
    owner = re.compile(rf"^class {place[-1]}\b", re.MULTILINE)
    endings = tuple("/".join(["", *names]) + ".py" for names in (place, place[:-1]) if names)
    here = (source for name, source in _sources().items() if name.endswith(endings) or owner.search(source))
    return any(kept.search(source) for source in here)


@pytest.mark.parametrize("page", REQUESTS)
def test_requests_of_the_pages_are_answered(house, page):
    """Every `curl` with a body, sent as it stands, is taken by the server."""
    blocks = re.findall(r"```bash\n(.*?)```", text(page), re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    asks = [shlex.split(line) for line in lines if line.startswith("curl ") and " -d " in line]

    assert len(asks) == REQUESTS[page]
    for ask in asks:
        body = json.loads(ask[ask.index("-d") + 1])
        path = next(urlsplit(word).path for word in ask if word.startswith("http"))
        answer = house.client.post(path, json=body)
        assert answer.is_success, answer.text


def test_the_documentation_needs_no_other_host(house):
    """`/docs` answers a page whose scripts and styles this very server has."""
    page = house.client.get("/docs")

    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert all(house.client.get(source).status_code == 200 for source in sources if source.startswith("/"))
    assert not [source for source in sources if not source.startswith("/")]


def test_the_schema_tells_every_field_of_a_request(house):
    """`/openapi.json` lists our routes, and each field of a request with its range."""
    schema = house.client.get("/openapi.json").json()

    assert {"/generate", "/lookup", "/images/{name}.png", "/health", "/ready"} <= schema["paths"].keys()
    body = schema["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompt", "width", "seed", "n", "cache", "model", "style"} <= body["properties"].keys()
    assert body["required"] == ["prompt"]
    assert body["properties"]["n"]["maximum"] == 8


def test_the_schema_tells_of_jobs(house):
    """Their routes, the same body as `/generate`, every field of a state, and a stream of events."""
    schema = house.client.get("/openapi.json").json()

    paths = schema["paths"]
    assert {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/events"} <= paths.keys()
    assert paths["/jobs"]["post"]["requestBody"] == paths["/generate"]["post"]["requestBody"]
    assert "202" in paths["/jobs"]["post"]["responses"]
    assert set(paths["/jobs/{job_id}"]) == {"get", "delete"}
    assert "text/event-stream" in paths["/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    state = schema["components"]["schemas"]["JobState"]
    assert set(state["required"]) == set(state["properties"]) >= {"id", "state", "phase", "position", "images", "error"}
    assert "age_seconds" in schema["components"]["schemas"]["Image"]["required"]


def test_the_tests_that_reliability_names_exist():
    """Every file and every test that is named there exists: a promise that lost its test is found."""
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    files = {path.relative_to(ROOT / "tests").as_posix(): path.read_text("utf-8") for path in TESTS}
    named = set(re.findall(r"\b((?:unit|contract|stress|e2e|browser|gpu|static)/test_\w+\.py)", text))
    assert len(named) > 30
    assert named <= files.keys()
    defined = set(re.findall(r"(?:def|class) (\w+)", "\n".join(files.values())))
    assert set(re.findall(r"(?:::|`)(test_\w+)`", text)) <= defined
    for file, test in re.findall(r"(\w+/test_\w+\.py)::(test_\w+)", text):
        assert re.search(rf"def {test}\b", files[file]), f"{file}::{test}"
