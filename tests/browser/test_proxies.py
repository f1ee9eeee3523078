"""The page and the API through a real nginx, configured as docs/proxies.md says."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import Gate
from tests.waiting import wait_until
from zimage_cache.compose import listen
from zimage_cache.generator.fake import FakeGenerator

from .conftest import ROOT, generate, http, installed, seed, serving, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

OWN_NAME, BELOW = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "proxies.md").read_text("utf-8"), re.DOTALL)
KEEPS_PATH = BELOW.replace("7860/;", "7860;")
DEFAULTS = "location / { proxy_pass http://127.0.0.1:7860; }"
TRUSTED = {"trusted_proxy": "127.0.0.1"}
CONFIGURATION = """daemon off; pid {folder}/pid; error_log stderr; {user}
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}"""


def free_port() -> int:
    with listen("127.0.0.1", 0) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def through(
    chromium: Browser,  # noqa: ARG001 - see `fake`
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[str, FakeGenerator]]]:
    """Return a function that starts a server and nginx with one location before it; it returns the outer address."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    nginx = installed("nginx", "nginx-light")
    with ExitStack() as stack:

        def start(location: str, **settings: Any) -> tuple[str, FakeGenerator]:
            generator, outer = FakeGenerator(), free_port()
            inner = stack.enter_context(serving(generator, tmp_path / "workspace", **settings)).rpartition(":")[2]
            user = "user root;" if os.geteuid() == 0 else ""
            file = tmp_path / "nginx.conf"
            location = location.replace("7860", inner)
            file.write_text(CONFIGURATION.format(folder=tmp_path, port=outer, location=location, user=user))
            process = subprocess.Popen([nginx, "-c", str(file), "-p", str(tmp_path)], stderr=subprocess.PIPE, text=True)
            stack.callback(process.communicate, timeout=30)
            stack.callback(process.terminate)
            path = "/zimage" if "/zimage" in location else ""
            wait_until(lambda: (tmp_path / "pid").exists() or process.poll() is not None)
            assert process.poll() is None
            return f"http://127.0.0.1:{outer}{path}", generator

        yield start


@pytest.mark.parametrize(
    ("location", "settings"),
    [
        (OWN_NAME, TRUSTED),
        (BELOW, {**TRUSTED, "root_path": "/zimage"}),
        (KEEPS_PATH, {**TRUSTED, "root_path": "zimage/"}),
        (BELOW, {}),
        (DEFAULTS, {}),
        (DEFAULTS, TRUSTED),
    ],
    ids=["own name", "below", "keeps path", "below, not told", "nginx's defaults", "defaults, trusted"],
)
def test_the_page(through, open_page, gate: Callable[..., Gate], location: str, settings: dict[str, str]):
    """Pictures, progress, links, the history and files that are dropped work as without a proxy."""
    url, generator = through(location, **settings)
    page = open_page(f"{url}/")
    held = gate(evaluation=3)
    generator.before_step = held
    write(page, "through nginx")
    page.click("#zi-generate")
    expect(page.locator(".zi-phase-more").first).to_contain_text("step 2 of")
    held.open()
    expect(page.locator(".zi-badge[data-source=generated]")).to_be_visible()
    page.wait_for_function("document.querySelector('.zi-pictures img')?.naturalWidth > 0")
    page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    page.locator('.zi-tool[data-tool="link"]').click()
    copied = page.evaluate("window.copied")
    assert copied.startswith(f"{url}/#")
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".zi-history img").first).to_be_visible()
    page.wait_for_function("document.querySelector('.zi-history img')?.naturalWidth > 0")
    drawn, page = seed(page), open_page(copied)
    expect(page.locator(".zi-badge[data-cached=true]")).to_be_visible()
    assert seed(page) == drawn
    generate(page, "another one", "generated")


@pytest.mark.parametrize(("location", "settings"), [(OWN_NAME, TRUSTED), (BELOW, {**TRUSTED, "root_path": "/zimage"})])
def test_the_api(through, location: str, settings: dict[str, str]):
    """Addresses in answers lead through the proxy; callers are told apart; a name of the server's is allowed."""
    url, _ = through(location, **settings, allowed_host="https://img.example.com:8443", queue_size="2")
    server = url.removesuffix("/zimage")
    headers = {"Host": "img.example.com:8443", "Origin": "https://img.example.com:8443"}
    body = {"prompt": "by a program", "width": 64, "height": 64, "seed": 1}
    answer = http.post(f"{url}/generate", json=body, headers=headers)
    assert answer.status_code == 200
    assert http.get(server + answer.json()["images"][0]["image_url"]).headers["content-type"] == "image/png"
    foreign = http.post(f"{url}/generate", json=body, headers={**headers, "Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "forbidden_origin")
    named = http.get(f"{url}/health", headers={"Host": "evil.example"})
    assert (named.status_code, named.json()["error"]["rule"]) == (403, "wrong_host")
