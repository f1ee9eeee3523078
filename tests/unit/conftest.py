"""A small server with both hubs' HTTP interfaces, and the failures of real ones."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "some-one/Z-Image.v1"


@dataclass
class Trouble:
    """What goes wrong with one file: it breaks off after so many bytes, other bytes come, or half and then nothing."""

    cut_at: int | None = None
    flip: bool = False
    hold: bool = False


@dataclass
class Hub:
    """The files of one repository, what goes wrong with them, and what was asked for."""

    folder: Path
    lost: set[str] = field(default_factory=set)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    let_go: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def names(self) -> list[str]:
        """List the repository, sorted."""
        found = (p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        return sorted(name for name in found if name not in self.lost)

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def size(self, name: str) -> int:
        return self.sizes.get(name, len(self.content(name)))

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.content(name)).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        url = urlparse(self.path)
        path, query = unquote(url.path), {k: v[0] for k, v in parse_qs(url.query).items()}
        if path == f"/api/v1/models/{REPO}/repo/files":
            files = [
                {"Path": n, "Type": "blob", "Size": self.hub.size(n), "Sha256": self.hub.sha256(n)}
                for n in self.hub.names()
            ]
            self._json({"Code": 200, "Data": {"Files": files}})
        elif path == f"/api/v1/models/{REPO}/repo":
            self._file(query["FilePath"], body=body)
        elif path.startswith(f"/api/models/{REPO}/tree/"):
            self._json([self._tree_entry(n) for n in self.hub.names()])
        elif path.startswith(f"/api/models/{REPO}") and path.removeprefix(f"/api/models/{REPO}") in {
            "",
            "/revision/main",
            f"/revision/{COMMIT}",
        }:
            siblings = [{"rfilename": n, **self._details(n)} for n in self.hub.names()]
            self._json({"id": REPO, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False})
        elif path.startswith(f"/{REPO}/resolve/"):
            self._file(path.removeprefix(f"/{REPO}/resolve/").partition("/")[2], body=body)
        else:
            self._nothing()

    def _details(self, name: str) -> dict[str, Any]:
        details: dict[str, Any] = {"size": self.hub.size(name), "blobId": hashlib.sha1(name.encode()).hexdigest()}
        if name.endswith(".safetensors"):
            sha = self.hub.sha256(name)
            details["lfs"] = {"sha256": sha, "oid": sha, "size": self.hub.size(name), "pointerSize": 130}
        return details

    def _tree_entry(self, name: str) -> dict[str, Any]:
        details = self._details(name)
        return {"type": "file", "path": name, "oid": details.pop("blobId"), **details}

    def _file(self, name: str, *, body: bool) -> None:
        trouble = self.hub.troubles.get(name, Trouble())
        if name not in self.hub.names():
            self._nothing()
            return
        content = self.hub.content(name)
        if trouble.flip:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        etag = self.hub.sha256(name) if name.endswith(".safetensors") else hashlib.sha1(name.encode()).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content) - start)}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if asked else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.hub.asked.append(f"{name}@{start}")
            self._send(content[start:], trouble, start)

    def _send(self, rest: bytes, trouble: Trouble, start: int) -> None:
        if trouble.hold:
            self.wfile.write(rest[: len(rest) // 2])
            self.hub.let_go.wait(60)
            self.close_connection = True
            return
        if trouble.cut_at is not None and start < trouble.cut_at:
            rest = rest[: trouble.cut_at - start]
            self.close_connection = True
        self.hub.bytes_sent += len(rest)
        self.wfile.write(rest)

    def _json(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _nothing(self, status: int = 404) -> None:
        body = b'{"Code": 10010205001, "Message": "not found", "error": "Repository not found"}'
        self.send_response(status)
        if "/api/models/" in self.path or "/resolve/" in self.path:
            missing_repo = REPO not in self.path
            self.send_header("X-Error-Code", "RepoNotFound" if missing_repo else "EntryNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """Serve the files of *folder* as repository `REPO` on a free port of 127.0.0.1."""
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(name="serving")
def serving_fixture() -> Any:
    """Give the fake hub: `with serving(folder) as hub`."""
    return serving


@pytest.fixture
def trouble() -> type[Trouble]:
    """Give the maker of troubles."""
    return Trouble


@pytest.fixture
def repo() -> str:
    """Name the one repository of the fake hub."""
    return REPO
