#!/usr/bin/env python3
"""Take the pictures of docs/images: the real page, the demo model, headless Chromium.

Usage: python scripts/take_screenshots.py [FOLDER]
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a large red circle on a blue background"
ZH_PROMPT = "黑色背景上的黄色星形"
SEED = "2026"
COLOURS = 256


@contextmanager
def serving(workspace: Path) -> Iterator[str]:
    """Run the server on a free port; yields its address once the model is loaded."""
    command = [sys.executable, "app.py", "--workspace", str(workspace), "--port", "0", "--model", "demo"]
    server = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 - asked for above
        yield next(line for line in server.stdout if line.startswith("Running on")).partition(": ")[2].strip()
    finally:
        server.terminate()
        server.communicate()


class Studio:
    """Opens pages and keeps what they look like."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def open(self, url: str, **options: object) -> Page:
        """Open the page and wait until its model is ready."""
        context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector('.zi-state[data-status="healthy"]', timeout=60_000)
        page.wait_for_function("document.querySelector('#zi-seed input')?.value")
        page.fill("#zi-seed input", SEED)
        return page

    def keep(self, page: Page, name: str) -> None:
        """Write what *page* shows, in a palette: these are flat areas, and the repository stays small."""
        page.mouse.move(0, 0)
        page.wait_for_timeout(900)  # the badge's animation
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        palette = shot.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(self._folder / f"{name}.png", optimize=True)


def generate(page: Page, prompt: str, source: str) -> None:
    """Ask for *prompt* and wait for its picture."""
    page.fill("#zi-prompt textarea", prompt)
    page.click("#zi-generate")
    page.wait_for_selector(f'.zi-badge[data-source="{source}"]', timeout=60_000)


def first_run(studio: Studio, url: str) -> None:
    """Take everything a fresh server can show."""
    page = studio.open(url)
    studio.keep(page, "create_empty")
    generate(page, PROMPT, "generated")
    studio.keep(page, "create_generated")
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_memory_hit")
    run_and_stop(studio, page)
    page.fill("#zi-prompt textarea", "  ")
    page.click("#zi-generate")
    page.wait_for_selector(".zi-error", state="visible")
    studio.keep(page, "create_error")
    page = studio.open(url, color_scheme="dark")
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_dark")
    page = studio.open(url, locale="zh-CN")
    generate(page, ZH_PROMPT, "generated")
    studio.keep(page, "create_zh")
    page = studio.open(url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_phone")


def run_and_stop(studio: Studio, page: Page) -> None:
    """Show a picture that takes a while."""
    page.click("#zi-size input")
    page.get_by_role("option", name="512 × 512").click()
    page.get_by_role("button", name="Advanced").click()
    page.fill("#zi-steps input[type=number]", "50")
    page.get_by_role("button", name="Advanced").click()
    page.click("#zi-generate")
    page.wait_for_selector(".zi-running .zi-bar:not(.zi-unknown)", timeout=60_000)
    studio.keep(page, "create_running")
    page.keyboard.press("Escape")


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    executable = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as workspace, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        studio = Studio(browser, folder)
        with serving(Path(workspace)) as url:
            first_run(studio, url)
        with serving(Path(workspace)) as url:
            page = studio.open(url)
            generate(page, PROMPT, "disk")
            studio.keep(page, "create_disk_hit")
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main()
