"""Settings out of a picture: dropped, chosen or pasted."""

import base64
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Locator, Page, Route, expect

from tests.pictures import exif_with, jpeg_with, user_comment, webp_with
from tests.waiting import wait_until

from .conftest import Fake, Watch, holding, http

# Gradio's own statistics use what pandas 3 deprecates.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]

A1111 = {
    "parameters": "a castle in the clouds\nNegative prompt: fog\n"
    "Steps: 28, Sampler: UniPC, CFG scale: 6.5, Seed: 1234567, Size: 512x768, Model: somebody's"
}
COMFYUI = {
    "prompt": json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 4, "steps": 9, "cfg": 1.5}}}),
}


def png(text: Mapping[str, str] | None = None, size: tuple[int, int] = (64, 64)) -> bytes:
    info = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def other(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, kind)
    return file.getvalue()


def panel(page: Page) -> Locator:
    return page.locator("dialog.zi-drop-panel")


def choose(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator(".zi-form").get_by_role("button", name="Read settings from a picture").click()
    chooser.value.set_files(file)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of files to choose, as paths: megabytes sent through the driver take their time."""

    def save(content: bytes, name: str = "chosen.png") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return save


FIRE = """([kind, target, types, files]) => {
  const carried = new DataTransfer();
  for (const [type, text] of Object.entries(types)) carried.setData(type, text);
  for (const [name, type, base64] of files) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type }));
  }
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { ...options, clipboardData: carried })
    : new DragEvent(kind, { ...options, dataTransfer: carried });
  return document.querySelector(target).dispatchEvent(event);
}"""


def fire(
    page: Page, kind: str, *files: tuple[str, bytes], target: str = "body", types: Mapping[str, str] | None = None
) -> bool:
    """Dispatch a drag or paste event as the browser would; True = the browser's default action follows."""
    encoded = [[name, "image/png", base64.b64encode(content).decode()] for name, content in files]
    return page.evaluate(FIRE, [kind, target, dict(types or {}), encoded])


def test_our_own_picture_brings_everything_back_at_once(fake: Fake, open_page, saved):
    """Every parameter is listed, one click fills every field and shows the stored picture; nothing is drawn or kept."""
    asked = {"prompt": "kept in its file", "seed": 99, "style": "watercolor", "width": 192, "steps": 4, "shift": 2.5}
    answer = http.post(f"{fake.url}/generate", json=asked).raise_for_status().json()
    content = http.get(fake.url + answer["images"][0]["image_url"]).content
    # A picture is handed out before it is on the disk.
    key = answer["images"][0]["key"]
    wait_until(lambda: len(list(fake.workspace.rglob(f"*{key[:8]}*.png"))) == 2)
    files = sorted(path for path in fake.workspace.rglob("*.png"))
    drawn = len(fake.generator.recipes)
    page = open_page(fake.url)
    choose(page, saved(content))
    expect(panel(page)).to_contain_text("Z-Image, this program")
    expect(panel(page)).to_contain_text("Still in the cache")
    expect(panel(page)).to_contain_text("stored nowhere")
    expect(panel(page).locator(".zi-drop-about")).to_be_hidden()
    for name, value in [("Prompt", "kept in its file"), ("Seed", "99"), ("Style", "Watercolour"), ("Width", "192")]:
        expect(panel(page).locator("dl > div").filter(has_text=name).first).to_contain_text(value)
    expect(panel(page).get_by_role("button", name="Use these settings")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel(page)).to_be_hidden()
    expect(page.locator(".zi-badge")).to_contain_text("From memory")
    expect(page.locator("#zi-prompt textarea")).to_have_value("kept in its file")
    held = page.evaluate("zimage.form.values")
    assert {name: held[name] for name in asked} == asked
    assert len(fake.generator.recipes) == drawn
    assert sorted(path for path in fake.workspace.rglob("*.png")) == files


def test_another_tools_picture_dropped_anywhere(fake: Fake, open_page):
    """A drop on the page is read too, from any tab; what the file does not say stays as it is."""
    page = open_page(fake.url)
    page.get_by_role("tab", name="History").click()
    assert not fire(page, "dragover", ("castle.png", b""))
    expect(page.locator(".zi-drop-over")).to_contain_text("Drop a picture")
    fire(page, "drop", ("castle.png", png(A1111)), ("second.png", b""))
    expect(page.locator(".zi-drop-over")).to_be_hidden()
    expect(panel(page)).to_contain_text("A1111")
    expect(panel(page)).to_contain_text("One file at a time: 1 more")
    for value in ("a castle in the clouds", "fog", "28", "unipc", "5.5", "1234567", "512", "768"):
        expect(panel(page).locator("dl")).to_contain_text(value)
    expect(panel(page).locator(".zi-drop-notes")).to_contain_text("somebody's")
    expect(panel(page).locator(".zi-drop-notes")).to_contain_text("CFG scale 6.5 of other tools is guidance 5.5 here")
    expect(panel(page)).not_to_contain_text("Still in the cache")
    panel(page).get_by_role("button", name="Use these settings").click()
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#zi-prompt textarea")).to_have_value("a castle in the clouds")
    held = page.evaluate("zimage.form.values")
    wanted = {
        "negative_prompt": "fog",
        "steps": 28,
        "guidance_scale": 5.5,
        "seed": 1234567,
        "width": 512,
        "height": 768,
    }
    assert {name: held[name] for name in wanted} == wanted
    assert (held["sampler"], held["shift"], held["model"], held["n"]) == ("unipc", 3.0, "fake", 1)


def test_pasting_a_file(fake: Fake, open_page):
    """A picture pasted into the page is read; words pasted along with a picture stay words."""
    page = open_page(fake.url)
    assert fire(page, "paste", ("word.png", png(A1111)), target="#zi-prompt textarea", types={"text/plain": "words"})
    expect(panel(page)).to_be_hidden()
    assert not fire(page, "paste", ("comfy.png", png(COMFYUI)), target="#zi-prompt textarea")
    expect(panel(page)).to_contain_text("ComfyUI")
    expect(panel(page).locator("dl")).to_contain_text("9")
    page.keyboard.press("Escape")
    fire(page, "paste", ("image.png", png()))
    expect(panel(page)).to_contain_text("What is copied as a picture loses its settings")


def test_a_file_right_after_the_panel_was_closed(fake: Fake, open_page):
    """The `close` event of a panel is delayed; a file pasted in between is still read."""
    page = open_page(fake.url)
    fire(page, "paste", ("comfy.png", png(COMFYUI)))
    expect(panel(page)).to_contain_text("ComfyUI")
    order = page.evaluate(
        """([fire, args]) => new Promise((resolve) => {
          const panel = document.querySelector("dialog.zi-drop-panel");
          const order = [];
          panel.addEventListener("close", () => resolve([...order, "close"]));
          panel.close();
          (0, eval)(fire)(args);
          order.push(panel.open ? "open again" : "closed");
        })""",
        [f"({FIRE})", ["paste", "body", {}, [["next.png", "image/png", base64.b64encode(png(A1111)).decode()]]]],
    )
    assert order == ["open again", "close"]
    expect(panel(page)).to_contain_text("a castle in the clouds")
    expect(panel(page).locator("img")).to_have_attribute("src", re.compile("^blob:"))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (("renamed.png", other("JPEG")), "This picture carries no settings"),
        (("renamed.png", other("WEBP")), "This picture carries no settings"),
        (("moving.gif", other("GIF")), "This is a GIF file. Settings are read from PNG, JPEG and WebP"),
        (("notes.png", b"no picture at all"), "This is not a PNG, JPEG or WebP file"),
        (("empty.png", b""), "This is not a PNG, JPEG or WebP file"),
        (("cut.png", png()[:20]), "This picture cannot be read: it must be a picture that is whole"),
        (("bare.png", png()), "This picture carries no settings"),
        (
            ("editor.png", png({"workflow": '{"nodes": [], "links": []}'})),
            "Written by ComfyUI. Nothing of it can be used",
        ),
        (("huge.png", png().ljust(20 * 2**20 + 1, b"\0")), "This file is too large: 20.0 MiB. Up to 20 MiB"),
    ],
    ids=["jpeg", "webp", "gif", "text", "empty", "damaged", "silent", "editor", "too large"],
)
def test_files_that_bring_nothing(fake: Fake, open_page, saved, file, words):
    """Each reason is said in clear words, offers no settings to use, and another file can be chosen at once."""
    page = open_page(fake.url)
    name, content = file
    choose(page, saved(content, name))
    expect(panel(page)).to_contain_text(words)
    expect(panel(page)).to_contain_text(name)
    expect(panel(page).get_by_role("button", name="Use these settings")).to_be_hidden()
    with page.expect_file_chooser() as chooser:
        panel(page).get_by_role("button", name="Choose another file").click()
    chooser.value.set_files(saved(png(A1111), "good.png"))
    expect(panel(page)).to_contain_text("a castle in the clouds")


def test_dropped_links_and_text_lead_nowhere(fake: Fake, open_page):
    """A link dropped beside the fields is stopped; text dropped into the prompt is the browser's to insert."""
    page = open_page(fake.url)
    link = {"text/uri-list": "http://127.0.0.1:1/", "text/plain": "http://127.0.0.1:1/"}
    for kind in ("dragover", "drop"):
        assert not fire(page, kind, target=".zi-stage", types=link)
        assert fire(page, kind, target="#zi-prompt textarea", types={"text/plain": "a word"})
    expect(page.locator(".zi-drop-over")).to_be_hidden()
    expect(panel(page)).to_be_hidden()
    assert page.url.rstrip("/") == fake.url


@pytest.mark.parametrize("form", ["{}", "# dragged\r\n{}\r\n", "thumbnail"])
@pytest.mark.parametrize("with_copy", [True, False])
def test_a_picture_dragged_from_another_tab(fake: Fake, open_page, form: str, with_copy: bool):
    """The browser adds a copy without settings, or the address alone: this server's own file is read instead."""
    image = http.post(f"{fake.url}/generate", json={"prompt": "of another tab", "seed": 7}).json()["images"][0]
    page = open_page(fake.url)
    small = f"{fake.url}/images/{image['key']}/thumbnail.webp"
    address = small if form == "thumbnail" else form.format(fake.url + image["image_url"])
    files = [("image.png", png())] if with_copy else []
    for kind in ("dragover", "drop"):
        assert not fire(page, kind, *files, types={"text/uri-list": address, "text/html": "<img>"})
    expect(panel(page)).to_contain_text("of another tab")
    page.get_by_role("button", name="Use these settings").click()
    expect(page.locator(".zi-badge")).to_contain_text("From memory")


def test_a_picture_dragged_from_elsewhere(fake: Fake, open_page):
    """One of ours that was deleted, or another site's: what the copy says counts, and if it says nothing, why."""
    page = open_page(fake.url)
    for address in (f"{fake.url}/images/{'0' * 64}.png", "https://example.com/x.png"):
        fire(page, "drop", ("x.png", png()), types={"text/uri-list": address})
        expect(panel(page)).to_contain_text("the browser's copy")
        page.keyboard.press("Escape")
        fire(page, "drop", ("x.png", png(A1111)), types={"text/uri-list": address})
        expect(panel(page)).to_contain_text("A1111")
        page.keyboard.press("Escape")
    fire(page, "drop", types={"text/uri-list": f"{fake.url}/images/{'0' * 64}.png"})
    expect(panel(page)).to_contain_text("not stored any more")


def test_a_drag_that_ends_elsewhere_leaves_nothing_behind(fake: Fake, open_page):
    """The sheet goes when the file leaves the window, and when the pointer comes back without one."""
    page = open_page(fake.url)
    sheet = page.locator(".zi-drop-over")
    fire(page, "dragover", ("a.png", b""))
    expect(sheet).to_be_visible()
    fire(page, "dragleave", ("a.png", b""))
    expect(sheet).to_be_hidden()
    fire(page, "dragover", ("a.png", b""))
    expect(sheet).to_be_visible()
    page.mouse.move(100, 100)
    expect(sheet).to_be_hidden()


HOSTILE = (
    "${alert(1)}",
    "`${alert(1)}` and ` alone",
    "back\\slash \\u{ \\x \\",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>{{value}}",
)


def test_what_was_typed_stays(fake: Fake, open_page):
    """Only what the file says is replaced; what does not exist here is named, with all its digits."""
    page = open_page(fake.url)
    page.fill("#zi-prompt textarea", "my own {red|blue} prompt")
    page.evaluate("zimage.form.fill({ negative_prompt: 'typed', steps: 5, seed: 77, n: 3, style: 'ink', width: 192 })")
    page.wait_for_function("zimage.form.values.seed === 77")
    joined = {"class_type": "TextGenerate", "inputs": {"prompt": "Write a prompt", "temperature": 1}}
    sampler = {
        "seed": 2**64 - 1,
        "steps": 99,
        "cfg": 1,
        "sampler_name": "heun",
        "positive": ["2", 0],
        "negative": ["3", 0],
    }
    graph = {
        "1": {"class_type": "KSampler", "inputs": sampler},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ["4", 0]}},
        "3": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["2", 0]}},
        "4": joined,
    }
    fire(page, "drop", ("made.png", png({"prompt": json.dumps(graph)})))
    for words in ("prompt: made by the node “TextGenerate”", "got 18446744073709551615", "steps: not taken over"):
        expect(panel(page).locator(".zi-drop-notes")).to_contain_text(words)
    panel(page).get_by_role("button", name="Use these settings").click()
    page.wait_for_function("zimage.form.values.sampler === 'heun'")
    held = page.evaluate("zimage.form.values")
    typed = {"prompt": "my own {red|blue} prompt", "negative_prompt": "typed", "steps": 5, "seed": 77, "n": 3}
    typed |= {"style": "ink", "width": 192}
    assert {name: held[name] for name in typed} == typed
    assert held["guidance_scale"] == 0
    expect(page.locator(".zi-card .zi-error-text")).to_be_hidden()


@pytest.mark.parametrize("make", [jpeg_with, webp_with])
def test_jpeg_and_webp(fake: Fake, open_page, saved, make):
    """Pictures of other kinds carry settings, too; a size that the model does not draw is left as it was."""
    page = open_page(fake.url)
    size = page.evaluate("[zimage.form.values.width, zimage.form.values.height]")
    text = A1111["parameters"].replace("512x768", "64x4096")
    choose(page, saved(make(exif_with({0x9286: user_comment(text)})), "download.jpg"))
    expect(panel(page).locator("dl")).to_contain_text("a castle in the clouds")
    expect(panel(page).locator(".zi-drop-notes")).to_contain_text("4096")
    panel(page).get_by_role("button", name="Use these settings").click()
    expect(page.locator("#zi-prompt textarea")).to_have_value("a castle in the clouds")
    assert page.evaluate("[zimage.form.values.width, zimage.form.values.height]") == size


def test_hostile_files_are_text(fake: Fake, open_page):
    """Whatever a file claims or is called is shown as it is, goes into the form as it is, and never runs."""
    page = open_page(fake.url)
    for claim in HOSTILE:
        document = {"request": {"prompt": claim, "style": claim, "sampler": claim, "model": claim}, "seed": 1}
        fire(page, "drop", (f"{claim}.png", png({"zimage": json.dumps(document)})))
        expect(panel(page).locator("dd").first).to_have_text(claim)
        assert panel(page).locator("dd").all_text_contents().count(claim) == 4
        assert page.locator("#zi-drop-title").text_content() == f"{claim}.png"
        panel(page).get_by_role("button", name="Use these settings").click()
        expect(page.locator("#zi-prompt textarea")).to_have_value(claim)


def test_the_later_of_two_files_counts(fake: Fake, open_page):
    """An answer that comes late does not replace what was dropped after it."""
    page = open_page(fake.url)
    held: list[Route] = []
    page.route("**/png-info", lambda route: route.continue_() if held else held.append(route))
    fire(page, "drop", ("first.png", png(A1111)))
    wait_until(lambda: page.evaluate("1") and held)
    fire(page, "drop", ("second.png", png(COMFYUI)))
    expect(panel(page)).to_contain_text("ComfyUI")
    late = {"parameters": {"prompt": "late"}, "source": "a1111", "notes": [], "cached": False, "image_url": None}
    held[0].fulfill(json=late)
    expect(page.locator("#zi-drop-title")).to_have_text("second.png")
    expect(panel(page)).not_to_contain_text("late")


def test_a_reload_while_a_file_is_read(fake: Fake, open_page, saved):
    """A reading that is cut off leaves a page that works."""
    page = open_page(fake.url)
    held: list[Route] = []
    page.route("**/png-info", holding(held))
    fire(page, "drop", ("first.png", png(A1111)))
    expect(panel(page)).to_contain_text("Reading")
    wait_until(lambda: page.evaluate("1") and held)
    page.reload()
    page.wait_for_function("document.querySelector('#zi-seed input')?.value")
    expect(panel(page)).to_be_hidden()
    page.unroute("**/png-info")
    choose(page, saved(png(A1111)))
    expect(panel(page)).to_contain_text("a castle in the clouds")


def test_a_server_that_is_gone_is_reported(fake: Fake, open_page, watch: Watch):
    """No answer is said as that, not as a fault of the file."""
    page = open_page(fake.url)
    page.route("**/png-info", lambda route: route.abort())
    fire(page, "drop", ("a.png", png(A1111)))
    expect(panel(page)).to_contain_text("Check that it is running, then try again")
    watch.errors.clear()  # the browser's own line about the aborted request


def test_escape_closes_the_panel_and_stops_no_run(fake: Fake, open_page, hold):
    """Esc closes the open panel only; the run behind it continues."""
    page = open_page(fake.url)
    gate = hold()
    page.fill("#zi-prompt textarea", "goes on behind the panel")
    page.click("#zi-generate")
    expect(page.locator(".zi-running")).to_be_visible()
    fire(page, "drop", ("a.png", png(A1111)))
    expect(panel(page)).to_contain_text("a castle in the clouds")
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    gate.open()
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")


def test_chinese_and_a_phone(fake: Fake, open_page):
    """The panel is in Chinese, fits into 390 pixels and is closed by its button."""
    page = open_page(fake.url, locale="zh-CN", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    fire(page, "drop", ("a.png", png(A1111)))
    expect(panel(page)).to_contain_text("使用这些设置")
    expect(panel(page)).to_contain_text("不会保存在任何地方")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    panel(page).get_by_role("button", name="关闭").tap()
    expect(panel(page)).to_be_hidden()
