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
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a red lighthouse by the sea at sunset"
ZH_PROMPT = "夜晚的雪地，一座红色的小屋，月亮"
SEED = "2026"
COLOURS = (256, 128, 64)  # as many as fit
MOST = 110_000  # bytes
PHONE = {"width": 390, "height": 844}
LARGE = ({"width": 1920, "height": 1080}, {"width": 2560, "height": 1440})
MORE = (
    "a white sailboat on the sea by day with clouds",
    "two yellow balloons in the mountains at dawn",
    "an orange cat in a meadow on a sunny day",
    "a red house in the snow at night, full moon",
    "a green cactus in the desert at sunset",
    "a yellow star on a purple background",
)


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
    """Opens pages in the browser and saves screenshots."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def open(self, url: str, **options: object) -> Page:
        """Open the page and wait until its model is ready."""
        chosen: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1280, "height": 880}, **options}
        context = self._browser.new_context(**chosen)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector('.zi-state[data-status="healthy"]', timeout=60_000)
        page.wait_for_function("document.querySelectorAll('#zi-style input').length > 1")
        page.evaluate("seed => zimage.form.fill({ width: 256, height: 256, seed })", int(SEED))
        page.wait_for_function("zimage.form.values.width === 256")
        return page

    def keep(self, page: Page, name: str, settle: float = 900) -> None:
        """Save a screenshot of *page* with a palette, so that the file is small."""
        page.mouse.move(0, 0)
        page.evaluate("innerWidth > 800 && window.scrollTo(0, 0)")  # a phone is where the page itself took it
        page.wait_for_timeout(settle)  # ms: the badge's animation
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        for colours in COLOURS:
            file = io.BytesIO()
            palette = shot.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            palette.save(file, "PNG", optimize=True)
            if len(file.getvalue()) < MOST:
                break
        (self._folder / f"{name}.png").write_bytes(file.getvalue())


def generate(page: Page, prompt: str, source: str) -> None:
    """Request *prompt* and wait for its picture."""
    page.fill("#zi-prompt textarea", prompt)
    page.click("#zi-generate")
    page.locator(".zi-asked", has_text=prompt).wait_for(timeout=60_000)
    page.wait_for_selector(f'.zi-badge[data-source="{source}"]', timeout=60_000)


def first_run(studio: Studio, url: str) -> None:
    """Take the screenshots of a new server."""
    page = studio.open(url)
    studio.keep(page, "create_empty")
    generate(page, PROMPT, "generated")
    studio.keep(page, "create_generated")
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_memory_hit")
    several(studio, page)
    look_closer(studio, page)
    run_and_stop(studio, page)
    page.fill("#zi-prompt textarea", "  ")
    page.click("#zi-generate")
    page.wait_for_selector(".zi-fault")
    studio.keep(page, "create_error")
    page.context.close()
    elsewhere(studio, url)


def several(studio: Studio, page: Page) -> None:
    """Show four pictures, of which the first is stored already."""
    choose(page, "n", "4")
    page.click("#zi-generate")
    page.wait_for_function("document.querySelectorAll('.zi-badge').length === 4", timeout=60_000)
    studio.keep(page, "create_grid")
    choose(page, "n", "1")


def look_closer(studio: Studio, page: Page) -> None:
    """Show the viewer."""
    page.locator(".zi-result .zi-open").first.click()
    page.wait_for_selector("dialog.zi-viewer[open]")
    studio.keep(page, "viewer")
    page.keyboard.press("Escape")
    page.locator(".zi-strip li").nth(-1).click()
    page.click(".zi-strip-compare")
    studio.keep(page, "compare")
    page.keyboard.press("Escape")


def run_and_stop(studio: Studio, page: Page) -> None:
    """Show a picture that takes a while, alone and with others behind it."""
    choose(page, "steps", "50")
    page.click("#zi-generate")
    page.wait_for_selector(".zi-running .zi-preview", timeout=120_000)
    page.wait_for_function("document.querySelector('.zi-running .zi-bar').ariaValueNow > 60", timeout=120_000)
    studio.keep(page, "create_running", settle=0)
    page.keyboard.press("Escape")
    for prompt in MORE[:3]:
        page.fill("#zi-prompt textarea", prompt)
        page.click("#zi-generate")
    page.wait_for_function("document.querySelectorAll('.zi-queue li').length === 3")
    page.wait_for_selector(".zi-running .zi-preview", timeout=120_000)
    studio.keep(page, "create_queue", settle=0)
    page.get_by_role("button", name="Stop all").click()


def elsewhere(studio: Studio, url: str) -> None:
    """Show the dark theme, Chinese, a small screen, and the history of the pictures drawn so far."""
    page = studio.open(url, color_scheme="dark")
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_dark")
    page.context.close()
    page = studio.open(url, locale="zh-CN")
    generate(page, ZH_PROMPT, "generated")
    studio.keep(page, "create_zh")
    page.context.close()
    page = studio.open(url, locale="zh-CN", color_scheme="dark")
    generate(page, ZH_PROMPT, "memory")
    studio.keep(page, "create_dark_zh")
    page.context.close()
    page = studio.open(url, viewport=PHONE, is_mobile=True, has_touch=True)
    studio.keep(page, "create_phone_empty")
    generate(page, PROMPT, "memory")
    studio.keep(page, "create_phone")
    page.context.close()
    for viewport in LARGE:
        page = studio.open(url, viewport=viewport)
        generate(page, PROMPT, "memory")
        studio.keep(page, f"create_{viewport['width']}")
        page.context.close()
    page = studio.open(url)
    for prompt in MORE:
        generate(page, prompt, "generated")
    page.click('.zi-result [data-tool="star"]')
    page.wait_for_selector(".zi-told-plain.zi-there")
    page.wait_for_selector(".zi-told-plain.zi-there", state="hidden")
    page.click(".zi-saved")
    studio.keep(page, "cache")
    history(studio, page, "history")
    page.context.close()


def history(studio: Studio, page: Page, name: str) -> None:
    """Open the History tab and show it once its first pictures are loaded."""
    page.get_by_role("tab").nth(1).click()
    page.wait_for_function("document.querySelector('.zi-h-tile img')?.naturalWidth > 0")
    studio.keep(page, name)


def choose(page: Page, field: str, value: str) -> None:
    """Set a number field of the form to *value* and wait until the page has processed the change."""
    page.evaluate("([field, value]) => zimage.form.fill({ [field]: Number(value) })", [field, value])
    page.wait_for_function(f"zimage.form.values.{field} === {value}")


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
