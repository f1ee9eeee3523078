"""Which of Gradio's files the page needs, against the installed version of Gradio, and how they are answered."""

import asyncio
import re
from pathlib import Path

import brotli
import gradio
import pytest
from gradio.routes import App

from zimage_cache.web.page import gradio_files
from zimage_cache.web.page.gradio_files import GradioFiles, needed_files, style_sheet

FRONTEND = Path(gradio.__file__).parent / "templates" / "frontend"

SCRIPT = b"the same words again and again, " * 100


class Gradio:
    """Answers with *SCRIPT*, or with another status, and counts the requests."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.scopes: list[dict] = []

    async def __call__(self, scope, _receive, send):
        self.scopes.append(scope)
        headers = [(b"content-type", b"text/javascript"), (b"etag", b'"x"')]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": SCRIPT[:100], "more_body": True})
        await send({"type": "http.response.body", "body": SCRIPT[100:]})


async def ask(app, path: str = "/assets/a-1.js", method: str = "GET", encoding: bytes = b"gzip, br", receive=None):
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"accept-encoding", encoding), (b"if-none-match", b'"x"')]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


def test_a_file_is_compressed_once():
    """The second answer is the first one, without a question to Gradio; it is kept permanently."""
    gradio = Gradio()
    files = GradioFiles(gradio)
    first, second = asyncio.run(ask(files)), asyncio.run(ask(files))
    assert first == second
    assert len(gradio.scopes) == 1
    assert [name for name, _ in gradio.scopes[0]["headers"]] == []
    status, headers, body = first
    assert (status, brotli.decompress(body)) == (200, SCRIPT)
    assert b"immutable" in headers[b"cache-control"]
    assert headers[b"content-type"].startswith(b"text/javascript")
    assert int(headers[b"content-length"]) == len(body)


@pytest.mark.parametrize(
    ("path", "method"), [("/assets/a.js", "HEAD"), ("/assets/a.svg", "GET"), ("/assets/b/../a.js", "GET")]
)
def test_other_requests_are_left_to_gradio(path, method):
    """Only scripts and style sheets are kept, each under one name."""
    gradio = Gradio()
    files = GradioFiles(gradio)
    answers = [asyncio.run(ask(files, path, method)) for _ in range(2)]
    assert [body for _, _, body in answers] == [SCRIPT, SCRIPT]
    assert len(gradio.scopes) == 2


def test_a_client_that_disconnects_leaves_no_part_of_a_file_behind():
    """Gradio ends its answer early then: what it has sent by then, or nothing, would be kept as the whole file."""
    with gradio.Blocks() as page:
        gradio.Textbox()
    files = GradioFiles(App.create_app(page))
    path = next((FRONTEND / "assets").glob("settings-logo-*.js"))

    async def disconnected():
        return {"type": "http.disconnect"}

    status, _, body = asyncio.run(ask(files, f"/assets/{path.name}", receive=disconnected))
    assert (status, brotli.decompress(body)) == (200, path.read_bytes())
    assert asyncio.run(ask(files, f"/assets/{path.name}"))[2] == body


def test_what_is_not_there_is_not_kept():
    """Nor is it compressed: it is Gradio's answer."""
    gradio = Gradio(status=404)
    files = GradioFiles(gradio)
    assert [asyncio.run(ask(files))[0] for _ in range(2)] == [404, 404]
    assert len(gradio.scopes) == 2


def test_more_files_than_gradio_has_are_not_kept(monkeypatch):
    """On a disk that ignores case, one file has many names."""
    monkeypatch.setattr(gradio_files, "_MOST_KEPT", 2)
    gradio = Gradio()
    files = GradioFiles(gradio)
    for _ in range(2):
        for name in "abc":
            asyncio.run(ask(files, f"/assets/{name}.js"))
    assert len(gradio.scopes) == 4


def test_the_files_of_a_widget_are_found():
    """A slider brings its script and its styles, beside those that every page has."""
    none, some = needed_files([]), needed_files(["slider"])
    assert len(none) > 10
    assert set(none) < set(some)
    assert len(some) == len(set(some))
    assert {name.rpartition(".")[2] for name in set(some) - set(none)} == {"js", "css"}


def test_an_unknown_widget_has_no_files():
    """A list that Gradio does not have leaves the page to find its files by itself."""
    assert needed_files(["no such widget"]) == needed_files([])


def test_another_version_of_gradio_may_write_other_lists(monkeypatch):
    """Then nothing is announced, and the page is slower."""
    monkeypatch.setattr(gradio_files, "_IMPORT", re.compile("never"))
    assert needed_files(["slider"]) == []


def test_style_sheets_of_gradio_name_no_other_file():
    """They are served from another folder, where a relative address would not be found."""
    sheet = style_sheet(needed_files(["slider", "textbox", "tabs"]))
    assert len(sheet) > 50_000
    assert [address for address in re.findall(r"url\((.{0,20})", sheet) if "data:" not in address] == []
    assert "@import" not in sheet
