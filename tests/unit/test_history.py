"""`output_image/`: plain files, each whole, none overwriting another; and the index that follows them."""

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.factories import present
from tests.waiting import replace_time, wait_until
from zimage_cache.database import Snapshot
from zimage_cache.entry import Entry
from zimage_cache.errors import HistoryUnavailable, InvalidRequest
from zimage_cache.faults import Faults
from zimage_cache.fingerprint import GeneratorIdentity, fingerprint
from zimage_cache.history import History, files, index
from zimage_cache.metadata import png
from zimage_cache.request import Recipe

IDENTITY = GeneratorIdentity(model="fake-1", revision="1", precision="float32", runtime="fake")
NAME = re.compile(r"image_\d{8}_\d{6}_[0-9a-f]{8}(_\d+)?\.png")


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "output_image"


def no_hard_links(*_paths):
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["hard links", "no hard links"])
def linking(request, monkeypatch):
    """Both kinds of file system."""
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", no_hard_links)


@pytest.mark.usefixtures("linking")
def test_name_and_bytes(folder, entry):
    """One PNG a generation, named by local time and key, with the very bytes."""
    made = entry(1)
    path = present(History(folder).add(made))

    moment = datetime(2026, 11, 21, tzinfo=UTC).astimezone().strftime("%Y%m%d_%H%M%S")
    assert path == folder / f"image_{moment}_{made.record.key[:8]}.png"
    assert NAME.fullmatch(path.name)
    assert path.read_bytes() == made.png
    assert list(folder.iterdir()) == [path]


@pytest.mark.usefixtures("linking")
def test_two_in_one_second(folder, entry):
    """The second gets a number; nothing is overwritten."""
    history = History(folder)
    paths = [present(history.add(entry(1, look=look))) for look in (0, 1, 2)]

    stem = paths[0].stem
    assert [path.name for path in paths] == [f"{stem}.png", f"{stem}_2.png", f"{stem}_3.png"]
    assert [path.read_bytes() for path in paths] == [entry(1, look=look).png for look in (0, 1, 2)]
    assert sorted(folder.iterdir()) == sorted(paths)


@pytest.mark.usefixtures("linking")
def test_many_in_one_moment(folder, entry):
    """Threads that meet at one name each get one of their own."""
    history, made = History(folder), [entry(1, look=look) for look in range(16)]
    barrier = threading.Barrier(len(made))

    def add(one):
        barrier.wait()
        history.add(one)

    threads = [threading.Thread(target=add, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(path.read_bytes() for path in folder.iterdir()) == sorted(one.png for one in made)
    assert all(NAME.fullmatch(path.name) for path in folder.iterdir())


def drawn(seed: int = 1, *, look: int = 0, style: str = "", salt: str = "") -> Entry:
    """Make the entry of a picture as the service does: with its request and key in the file."""
    recipe = Recipe(prompt="twins", seed=seed, width=64, height=64, steps=4, guidance_scale=1.0)
    key = fingerprint(recipe, IDENTITY, salt)
    request = {"prompt": "twins", "seed": seed, "style": style}
    pixels = np.full((64, 64, 3), look, np.uint8)
    return Entry.of(
        png.encode(pixels, {png.ZIMAGE: json.dumps({"request": request, "key": key})}),
        recipe=recipe,
        identity=IDENTITY,
        created=datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=look),
        gpu_seconds=1.0,
        request=request,
        versions={},
        salt=salt,
    )


def test_the_same_picture_drawn_again_has_one_file(folder):
    """A picture with the very bytes of one that its owner has, of the same key, adds no second file."""
    history = History(folder)
    first = present(history.add(drawn(), "ann"))
    history.add(drawn(2), "ann")

    assert history.add(drawn(), "ann") == first
    assert len(list(folder.iterdir())) == 2
    assert len(history.page().pictures) == 2
    assert History(folder).add(drawn(), "ann") == first  # nor after a restart


@pytest.mark.parametrize(
    ("other", "owner"),
    [
        pytest.param(drawn(look=1), "ann", id="other pixels"),
        pytest.param(drawn(style="ink"), "ann", id="asked for in other words"),
        pytest.param(drawn(salt="x"), "ann", id="another key"),
        pytest.param(drawn(), "bob", id="another owner"),
        pytest.param(drawn(), "", id="no owner"),
    ],
)
def test_what_differs_is_kept_beside(folder, other, owner):
    """A picture that differs in its pixels, its description, its key or its owner has a file of its own."""
    history = History(folder)
    first = present(history.add(drawn(), "ann"))
    second = present(history.add(other, owner))

    assert second != first
    assert (first.read_bytes(), second.read_bytes()) == (drawn().png, other.png)
    assert len(history.page().pictures) == 2


@pytest.mark.parametrize("change", ["edited", "cut short", "deleted", "a link", "not in the index"])
def test_a_file_that_is_no_twin_any_more_is_no_reason_to_write_none(folder, change):
    """What was done to the first file by hand, or an index that is lost, costs no picture."""
    history = History(folder)
    first = present(history.add(drawn()))
    match change:
        case "edited":
            first.write_bytes(first.read_bytes()[:-1] + b"!")
        case "cut short":
            first.write_bytes(first.read_bytes()[:-1])
        case "deleted":
            first.unlink()
        case "a link":
            first.rename(folder.parent / "elsewhere.png")
            first.symlink_to(folder.parent / "elsewhere.png")
        case _:
            (folder.parent / "zimage.sqlite3").unlink()

    second = present(history.add(drawn()))

    assert not second.is_symlink()
    assert second.read_bytes() == drawn().png


def test_twins_that_are_written_at_the_same_time_leave_one(folder):
    """Threads and processes that all found no earlier file leave one, and its row; none leaves nothing."""
    histories = [History(folder) for _ in range(6)]  # as many processes do, they share nothing but the folder
    barrier = threading.Barrier(len(histories))
    paths = []

    def add(history):
        barrier.wait()
        paths.append(history.add(drawn()))

    threads = [threading.Thread(target=add, args=(history,)) for history in histories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (file,) = folder.iterdir()
    assert set(paths) == {file}
    assert names(histories[0].page().pictures) == [file.name]


def test_a_writer_that_is_killed_between_file_and_row_costs_no_picture(folder):
    """The file that it left is found by the next comparison, and is the twin of later ones."""
    history = History(folder)
    left = files.write_new(folder, "image_20261121_000000_left", drawn().png)
    history.reconcile()
    assert history.add(drawn()) == left
    assert list(folder.iterdir()) == [left]


def test_files_of_people_are_never_overwritten(folder, entry):
    """Whatever lies under a name, also a folder or a dead link, stays; the picture takes the next one."""
    history = History(folder)
    first = present(history.add(entry(1)))
    first.write_bytes(b"edited")
    second = first.with_stem(first.stem + "_2")
    second.mkdir()
    third = first.with_stem(first.stem + "_3")
    third.symlink_to("nowhere")

    path = present(history.add(entry(1)))

    assert path == first.with_stem(first.stem + "_4")
    assert path.read_bytes() == entry(1).png
    assert first.read_bytes() == b"edited"
    assert second.is_dir()
    assert third.is_symlink()


def test_the_folder_may_vanish(folder, entry):
    """A folder that is deleted while the server runs is made again by the next picture."""
    history = History(folder)
    present(history.add(entry(1))).unlink()
    folder.rmdir()

    assert present(history.add(entry(2))).read_bytes() == entry(2).png


def test_an_unwritable_folder(folder, entry, caplog):
    """A failed write returns None and logs one warning with the folder; the request still gets its picture."""
    folder.write_text("a file where the folder should be")

    assert History(folder).add(entry(1)) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(folder) in caplog.text


@pytest.mark.usefixtures("linking")
@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_leaves_nothing(folder, entry, monkeypatch, caplog, step):
    """A write that fails half-way is None, one warning, and no file of any name."""

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(file: Path, png: bytes, **_options: bool) -> None:
        file.write_bytes(png[: len(png) // 2])
        full()

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(files, "write", half)

    assert History(folder).add(entry(1)) is None
    assert list(folder.iterdir()) == []
    assert len(caplog.records) == 1


def test_no_part_is_ever_seen_under_the_name(folder, entry, monkeypatch):
    """The name appears with the whole, flushed picture: a crash at any moment before leaves no broken PNG."""
    made, moments = entry(1), []

    def seen():
        return [path for path in folder.iterdir() if not path.name.startswith(".")]

    real_sync, real_link = os.fsync, os.link

    def sync(descriptor):
        moments.append(("fsync", seen()))
        real_sync(descriptor)

    def link(source, target):
        moments.append(("link", seen()))
        assert Path(source).read_bytes() == made.png
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    History(folder).add(made)

    assert moments == [("fsync", []), ("link", [])]


def test_pictures_are_readable_by_others(folder, entry):
    """Files have the mode every other program's files have here, not that of a private temporary file."""
    path = present(History(folder).add(entry(1)))
    plain = folder / "plain"
    plain.touch()

    assert path.stat().st_mode == plain.stat().st_mode
    assert path.stat().st_nlink == 1


# The index.


@pytest.fixture
def history(folder) -> History:
    return History(folder)


@pytest.fixture
def put(folder) -> Callable[..., Path]:
    """Give a function that puts a picture of its own parameters into the folder, as a program or a person would."""

    def make(name: str, prompt: str = "a red circle", *, made: int = 1000, **fields: object) -> Path:
        request = {"prompt": prompt, "seed": 7, **fields}
        document = {"request": request, "seed": request["seed"], "key": "ab" * 32, "generator": {"model": "fake-1"}}
        pixels = np.zeros((16, 32, 3), np.uint8)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png.encode(pixels, {"zimage": json.dumps(document)}))
        os.utime(path, ns=(made * 10**9, made * 10**9))
        return path

    return make


def names(pictures) -> list[str]:
    return [picture.name for picture in pictures]


def test_an_added_picture_is_listed_at_once(history, entry):
    """What was just made is on the first page, with its owner, before anything compares folder and index."""
    path = history.add(entry(1), "ann")

    (picture,) = history.page(owners={"ann"}).pictures
    assert (picture.name, picture.owner, picture.width, picture.height) == (path.name, "ann", 64, 64)
    assert history.page(owners={"bob", ""}).pictures == []
    assert history.get(picture.id, "bob") is None
    assert history.read(picture) == entry(1).png


def test_trouble_with_the_index_costs_no_picture(folder, tmp_path, entry, caplog):
    """An index that cannot be written is one warning; the picture is in the folder, and listed once it can be."""
    (tmp_path / "workspace").write_text("a file where the folder should be")
    history = History(folder, tmp_path / "workspace")
    path = present(history.add(entry(1)))

    assert path.read_bytes() == entry(1).png
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    with pytest.raises(HistoryUnavailable):
        history.page()
    (tmp_path / "workspace").unlink()
    history.reconcile()
    assert names(history.page().pictures) == [path.name]


def test_a_lost_index_is_read_from_the_files(history, put, tmp_path):
    """Without the database everything is found again in the pictures' own metadata, in the same order."""
    put("b.png", "two", made=2000, width=32, height=16, seed=2)
    put("a.png", "one", made=1000, style="ink")
    put("folder/image_20200101_000000_x.png", "by its name", made=3000)
    history.reconcile()
    before = history.page().pictures
    (tmp_path / "zimage.sqlite3").unlink()
    assert history.page().pictures == []

    history.reconcile()

    assert names(before) == ["folder/image_20200101_000000_x.png", "b.png", "a.png"]
    assert [replace(each, id=0) for each in history.page().pictures] == [replace(each, id=0) for each in before]
    by_name = {picture.name: picture for picture in before}
    assert by_name["a.png"].parameters == {"prompt": "one", "seed": 7, "style": "ink"}
    assert (by_name["b.png"].key, by_name["b.png"].model) == ("ab" * 32, "fake-1")


def test_a_vanished_picture_is_never_listed(history, put, folder, tmp_path):
    """A file that is gone is on no page and found under no number, at once; `reconcile` forgets its row."""
    put("a.png")
    put("b.png", made=2000)
    history.reconcile()
    (one,) = [each for each in history.page().pictures if each.name == "a.png"]
    (folder / "a.png").unlink()

    assert "a.png" not in names(history.page().pictures)
    assert history.get(one.id) is None
    assert history.read(one) is None
    assert history.thumbnail(one) is None
    history.reconcile()
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database:
        assert database.execute("SELECT name FROM history_pictures").fetchall() == [("b.png",)]


def test_a_renamed_picture_keeps_its_number_and_owner(history, folder, entry):
    """Moving a file within the folder is no loss: number and owner follow it."""
    path = history.add(entry(1), "ann")
    (before,) = history.page().pictures
    (folder / "kept").mkdir()
    path.rename(folder / "kept" / "fox.png")

    history.reconcile()

    (after,) = history.page("fox").pictures
    assert (after.id, after.owner, after.name) == (before.id, "ann", "kept/fox.png")


def test_a_changed_picture_is_read_again(history, put):
    """A file that was replaced shows what it is now, even before anything compares, under its old number."""
    put("a.png", "old words")
    history.reconcile()
    (before,) = history.page().pictures
    old = history.thumbnail(before)
    put("a.png", "new words, longer", made=5000)

    (after,) = history.page().pictures

    assert (after.id, after.parameters["prompt"]) == (before.id, "new words, longer")
    assert names(history.page("longer").pictures) == ["a.png"]
    assert history.page("old").pictures == []
    assert old is not None


@pytest.mark.parametrize("content", [b"", b"no PNG", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(1000)])
def test_what_is_no_png_is_not_shown(history, folder, put, content):
    """Damaged files and files that are no PNG are left out; others are not affected."""
    put("good.png")
    (folder / "bad.png").write_bytes(content)

    history.reconcile()

    assert names(history.page().pictures) == ["good.png"]


def test_foreign_pictures_are_shown_without_parameters(history, folder):
    """A PNG that says nothing of itself is a picture all the same: it is listed with its size and time."""
    folder.mkdir()
    (folder / "photo.png").write_bytes(png.encode(np.zeros((16, 32, 3), np.uint8), {}))

    history.reconcile()

    (picture,) = history.page().pictures
    assert (picture.parameters, picture.key, picture.width, picture.height) == ({}, None, 32, 16)


def test_links_folders_pipes_and_hidden_files_are_left_out(history, folder, put, tmp_path):
    """Only regular files are read: a link could show any picture of the machine, a pipe would never end."""
    secret = put("real.png").rename(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path, target_is_directory=True)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    put(".hidden.png")
    os.close(os.open(os.fsencode(folder) + b"/\xff.png", os.O_CREAT))

    history.reconcile()

    assert history.page().pictures == []


def test_a_file_that_became_a_link_is_not_followed(history, put, tmp_path):
    """Between listing and reading a picture may turn into a link: nothing is sent."""
    path = put("a.png")
    history.reconcile()
    (picture,) = history.page().pictures
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")

    assert history.read(picture) is None
    assert history.thumbnail(picture) is None


@pytest.mark.parametrize(
    "document",
    [
        {"request": {"prompt": "\ud800 half", "seed": 10**30, "steps": [1], "unknown": 1}},
        {"request": {"prompt": {"a": 1}, "seed": True, "width": float("inf")}},
        {"request": {"prompt": "\0nul", "seed": -1}, "key": "../../etc/passwd", "generator": 7},
    ],
)
def test_hostile_claims_are_made_plain(history, folder, document):
    """Whatever a file claims, it can be stored, searched and sent as JSON."""
    folder.mkdir()
    (folder / "x.png").write_bytes(png.encode(np.zeros((16, 16, 3), np.uint8), {"zimage": json.dumps(document)}))
    history.reconcile()

    (picture,) = history.page().pictures
    json.dumps(picture.parameters, allow_nan=False, ensure_ascii=False).encode()
    assert picture.parameters.keys() <= {"prompt", "seed"}
    assert picture.key is None


def test_the_total_counts_all_pages(history, put):
    """The first page says how many there are on all; with a query, how many were found; later pages do not count."""
    for number in range(5):
        put(f"{number}.png", "a fox" if number % 2 else "a ship", made=1000 + number)
    history.reconcile()

    first = history.page(limit=2)
    assert (len(first.pictures), first.total) == (2, 5)
    assert history.page(limit=2, cursor=first.cursor).total is None
    assert history.page("fox", limit=1).total == 2
    assert history.page("whale").total == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("key:" + "ab" * 32, {"1", "2"}),
        ("key:abababab", {"1", "2"}),
        ("KEY:ABABABAB", {"1", "2"}),
        ("key:cdcdcdcd seed:7", {"3"}),
        ("key:" + "ac" * 32, set()),
        ("key:abababag", set()),  # no key: a word that is nowhere
        ("key:ab", set()),
        ('key:"abababab"', {"1", "2"}),
        ("key：abababab", {"1", "2"}),
    ],
)
def test_pictures_of_a_key(folder, query, found):
    """`key:` finds all files of a key, also by its first digits as file names have them."""
    history = History(folder)
    folder.mkdir()
    for number, key in [("1", "ab" * 32), ("2", "ab" * 32), ("3", "cd" * 32)]:
        document = {"request": {"prompt": "a fox", "seed": 7, "steps": int(number)}, "seed": 7, "key": key}
        (folder / f"{number}.png").write_bytes(
            png.encode(np.zeros((16, 16, 3), np.uint8), {"zimage": json.dumps(document)})
        )
    history.reconcile()
    assert {name.removesuffix(".png") for name in names(history.page(query).pictures)} == found


def test_starred_pictures(folder):
    """`is:starred` finds the pictures of the starred keys, also of thousands of them, and beside other terms."""
    history = History(folder)
    for seed in range(4):
        history.add(drawn(seed))
    keys = {drawn(seed).record.key for seed in (1, 3)} | {f"{number:064x}" for number in range(5000)}

    def seeds(query: str, starred: set[str]) -> list[int]:
        return sorted(
            present(each.parameters)["seed"] for each in history.page(query, starred=lambda: starred).pictures
        )

    assert seeds("is:starred", keys) == [1, 3]
    assert seeds("Is:Starred seed:3", keys) == [3]
    assert seeds("is:starred", set()) == []
    assert seeds("twins", keys) == [0, 1, 2, 3]
    assert history.page("is:starred", limit=1, starred=lambda: keys).total == 2
    assert seeds("is:red", keys) == []  # a word like any other
    assert history.page("is:starred").pictures == []  # without a cache


def test_pages_are_stable_under_additions(history, put):
    """Each picture is on exactly one page, newest first, also when new ones arrive between two pages."""
    for number in range(7):
        put(f"{number}.png", made=1000 + number // 2)  # several in one second
    history.reconcile()
    seen, cursor = [], None
    while True:
        page = history.page(limit=3, cursor=cursor)
        seen += names(page.pictures)
        put(f"new{len(seen)}.png", made=9000 + len(seen))
        history.reconcile()
        if (cursor := page.cursor) is None:
            break
    assert sorted(seen) == [f"{number}.png" for number in range(7)]
    assert [int(name[0]) // 2 for name in seen] == [3, 2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1_2_3", "1_2; DROP TABLE", "9" * 40 + "_1"])
def test_a_foreign_cursor(history, cursor):
    """An invalid cursor is an `InvalidRequest`."""
    with pytest.raises(InvalidRequest, match="cursor: ") as caught:
        history.page(cursor=cursor)
    assert caught.value.field == "cursor"


def test_the_index_follows_the_folder_while_it_runs(history, put):
    """Once started, files of people appear without a restart: the listing notices that the folder changed."""
    put("first.png")
    history.start()
    try:
        wait_until(lambda: names(history.page().pictures) == ["first.png"])
        put("second.png", made=2000)
        wait_until(lambda: names(history.page().pictures) == ["second.png", "first.png"])
    finally:
        history.close()


def test_what_has_just_come_is_on_the_first_page(history, put, monkeypatch):
    """Who copies a picture into a folder and then looks sees it at once; a slow disk holds nothing up for long."""
    put("2025/a.png")
    monkeypatch.setattr("zimage_cache.history.history._FRESH_SECONDS", 30.0)
    history.start()
    try:
        present(history._thread).join()  # noqa: SLF001 - only what comes after this counts
        put("2025/b.png", made=2000)
        assert names(history.page().pictures) == ["2025/b.png", "2025/a.png"]
        held = threading.Event()
        monkeypatch.setattr("zimage_cache.history.history._FRESH_SECONDS", 0.01)
        with monkeypatch.context() as slow:
            slow.setattr(files, "survey", lambda *_: held.wait(60) and (_ for _ in ()).throw(OSError))
            put("c.png")
            assert len(history.page().pictures) == 2
            held.set()
            present(history._thread).join()  # noqa: SLF001 - before the disk is fast again
    finally:
        history.close()


def test_folders_are_followed_while_it_runs(history, put, folder):
    """Pictures that come into folders, known or new ones, and go from them, are noticed."""
    put("2025/a.png")
    history.start()
    try:
        wait_until(lambda: names(history.page().pictures) == ["2025/a.png"])
        put("2025/b.png", made=2000)
        wait_until(lambda: names(history.page().pictures) == ["2025/b.png", "2025/a.png"])
        put("2025/11/27/c.png", made=3000)
        wait_until(lambda: names(history.page().pictures)[0] == "2025/11/27/c.png")
        (before,) = history.page("c.png").pictures
        (folder / "2025").rename(folder / "old")
        wait_until(lambda: names(history.page().pictures) == ["old/11/27/c.png", "old/b.png", "old/a.png"])
        assert history.page("c.png").pictures[0].id == before.id
        shutil.rmtree(folder / "old" / "11")
        wait_until(lambda: names(history.page().pictures) == ["old/b.png", "old/a.png"])
        assert names(history.page("old").pictures) == ["old/b.png", "old/a.png"]
    finally:
        history.close()


@pytest.mark.parametrize(
    "inner",
    [
        *(".cache", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"),
        *("thumbnails", "Thumbs", "2025/.thumbnails", "2025/thumbnails"),
    ],
)
def test_folders_of_thumbnails_and_systems_are_left_out(history, put, inner):
    """What desktops, file servers and other programs keep beside pictures are copies, small or deleted."""
    put(f"{inner}/a.png")
    put("2025/good.png")
    history.reconcile()
    assert names(history.page().pictures) == ["2025/good.png"]


def test_folders_of_this_program_are_left_out(tmp_path, put, folder):
    """Where the workspace itself holds the pictures, cache, thumbnails and models are none of them."""
    for name in ("a.png", "cache/images/b.png", "models/c.png", "history_thumbs/d.png", "2025/cache/e.png"):
        put(name)
    history = History(folder, folder, apart=(folder / "cache", folder / "models", tmp_path / "elsewhere"))
    history.reconcile()
    assert sorted(names(history.page().pictures)) == ["2025/cache/e.png", "a.png"]


def test_links_to_folders_are_not_followed(history, put, folder):
    """Links to a folder above, below, beside and to nothing: each picture is listed once, and nothing is endless."""
    put("2025/a.png")
    for name, target in [("2025/up", folder), ("2025/self", folder / "2025"), ("again", folder / "2025")]:
        (folder / name).symlink_to(target, target_is_directory=True)
    (folder / "broken").symlink_to(folder / "nowhere")
    history.reconcile()
    assert names(history.page().pictures) == ["2025/a.png"]


def test_a_folder_that_became_a_link(history, put, folder, tmp_path):
    """Its pictures are gone at once, as one that became a link is: a link could show any picture of the machine."""
    put("2025/a.png")
    history.reconcile()
    (before,) = history.page().pictures
    (folder / "2025").rename(tmp_path / "secret")
    (folder / "2025").symlink_to(tmp_path / "secret", target_is_directory=True)

    assert history.page().pictures == []
    assert history.get(before.id) is None
    history.reconcile()
    (folder / "2025").unlink()
    (tmp_path / "secret").rename(folder / "2025")
    history.reconcile()
    assert names(history.page().pictures) == ["2025/a.png"]


@pytest.mark.parametrize("bound", ["DEEPEST", "MOST_FOLDERS", "MOST_PICTURES"])
def test_the_survey_is_bounded(history, put, monkeypatch, caplog, bound):
    """Too deep, too many folders, too many pictures: the others are listed, the log says what is not."""
    put("a.png", made=3000)
    put("b/b.png", made=2000)
    put("b/c/c.png")
    monkeypatch.setattr(files, bound, 2 if bound != "DEEPEST" else 1)
    history.reconcile()
    assert names(history.page().pictures) == ["a.png", "b/b.png"]
    (warning,) = caplog.records
    assert "b/c" in warning.getMessage()


@pytest.mark.parametrize("why", ["unreadable", "too many"])
def test_what_is_not_looked_into_is_not_forgotten(history, put, folder, monkeypatch, why):
    """Pictures of a folder that cannot be read for a while keep their numbers, and are listed while they are there."""
    put("2025/a.png")
    put("b.png", made=2000)
    history.reconcile()
    before = history.page().pictures
    really = os.scandir

    def refuse(path):
        if Path(path) == folder / "2025":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path)

    with monkeypatch.context() as trouble:
        if why == "unreadable":
            trouble.setattr(os, "scandir", refuse)
        else:
            trouble.setattr(files, "MOST_FOLDERS", 1)
        (folder / "b.png").unlink()
        history.reconcile()
        assert history.page().pictures == [each for each in before if each.name == "2025/a.png"]
    history.reconcile()
    assert history.page().pictures == [each for each in before if each.name == "2025/a.png"]


def test_a_name_in_other_letters(history, put, folder, monkeypatch):
    """Where upper and lower case are one, a file that got a name in other letters is listed once, under its number."""
    put("Fox.png")
    history.reconcile()
    (before,) = history.page().pictures
    (folder / "Fox.png").rename(folder / "fox.png")
    really = files.stamp_of
    monkeypatch.setattr(files, "stamp_of", lambda file: really(file.with_name(file.name.lower())))

    history.reconcile()

    assert [(each.id, each.name) for each in history.page().pictures] == [(before.id, "fox.png")]


@pytest.mark.parametrize("inner", ["", "2025/"])
def test_folders_whose_times_are_coarse(history, put, monkeypatch, inner):
    """Where a folder's time is one of two seconds, a file that comes within them is noticed all the same."""
    really, now = os.lstat, 1_000_000_001.0

    def coarse(path, **named):
        status = really(path, **named)
        return os.stat_result(status, {"st_mtime_ns": int(now) // 2 * 2 * 10**9}) if Path(path).is_dir() else status

    put(f"{inner}a.png")
    monkeypatch.setattr(os, "lstat", coarse)
    replace_time(monkeypatch, [files], time_ns=lambda: int(now * 1e9))
    history.start()
    try:
        wait_until(lambda: names(history.page().pictures) == [f"{inner}a.png"])
        present(history._thread).join()  # noqa: SLF001 - the comparison is over
        put(f"{inner}b.png", made=2000)
        replace_time(monkeypatch, [files], time_ns=lambda: int((now + 5) * 1e9))
        wait_until(lambda: len(history.page().pictures) == 2)
    finally:
        history.close()


def test_a_folder_that_is_not_there_forgets_nothing(history, folder, put):
    """A mount that is missing hides its pictures; when it is back, their numbers are the old ones."""
    put("a.png")
    history.reconcile()
    (before,) = history.page().pictures
    folder.rename(folder.with_name("away"))
    history.reconcile()
    assert history.page().pictures == []
    folder.with_name("away").rename(folder)

    history.reconcile()

    assert history.page().pictures == [before]


def test_a_damaged_database_is_set_aside(history, put, tmp_path, caplog):
    """A file that is no database is renamed, with one warning, and everything is read again."""
    put("a.png")
    (tmp_path / "zimage.sqlite3").write_bytes(b"garbage" * 1000)

    history.reconcile()

    assert names(history.page().pictures) == ["a.png"]
    assert (tmp_path / "zimage.sqlite3.damaged").read_bytes() == b"garbage" * 1000
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_tables_of_others_are_left_alone(history, put, tmp_path):
    """The database is shared: making, using and replacing our tables does not affect other tables."""
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database, database:
        database.execute("CREATE TABLE others (x)")
        database.execute("INSERT INTO others VALUES (7)")
    put("a.png")
    history.reconcile()
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database, database:
        database.execute("UPDATE history_version SET version = 99")

    history.reconcile()

    assert names(history.page().pictures) == ["a.png"]
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database:
        assert database.execute("SELECT x FROM others").fetchall() == [(7,)]


def test_files_of_other_tools_are_read_again_after_the_former_version(history, folder, put, tmp_path):
    """The former version read their guidance in another way; ids stay, and this program's own files are not read."""
    put("own.png")
    text = "a fox\nSteps: 8, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64"
    (folder / "other.png").write_bytes(png.encode(np.zeros((16, 16, 3), np.uint8), {"parameters": text}))
    history.reconcile()
    before = {picture.name: picture.id for picture in history.page().pictures}
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database, database:
        database.execute("UPDATE history_version SET version = 1")
        database.execute("UPDATE history_pictures SET parameters = '{\"guidance_scale\": 7.0}'")

    history.reconcile()

    found = {picture.name: picture for picture in history.page().pictures}
    assert {name: picture.id for name, picture in found.items()} == before
    assert found["other.png"].parameters["guidance_scale"] == 6.0
    assert found["own.png"].parameters == {"guidance_scale": 7.0}


def test_threads_and_folders_share_one_database(tmp_path, entry):
    """Writers at once lose nothing, and another folder's pictures are not among this one's."""
    one, other = History(tmp_path / "one", tmp_path), History(tmp_path / "other", tmp_path)
    threads = [threading.Thread(target=(one, other)[n % 2].add, args=(entry(n),)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name, history in (("one", one), ("other", other)):
        assert len(history.page().pictures) == 6
        assert sorted(names(history.page().pictures)) == sorted(path.name for path in (tmp_path / name).iterdir())


# Searching.


@pytest.fixture(params=["trigrams", "no trigrams"])
def searchable(request, history, put, tmp_path, monkeypatch) -> History:
    """A history to search, with and without SQLite's full-text index."""
    if request.param == "no trigrams":
        monkeypatch.setattr(index, "_WORDS", "CREATE VIRTUAL TABLE history_words USING no_such_module(x);")
    put("fox.png", "a red Fox in the snow, 100% real", seed=42, made=1)
    put("kreis.png", "红色的圆形，蓝色背景", seed=43, made=2, negative_prompt="模糊")
    put("cafe.png", "cafe\u0301 at night, under_score", seed=44, made=3)
    history.reconcile()
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'history_words'").fetchall()
    assert bool(tables) == (request.param == "trigrams")
    return history


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("fox", "fox"),
        ("FOX snow", "fox"),
        ("fo", "fox"),
        ('"red fox"', "fox"),
        ('"fox red"', ""),
        ("红色", "kreis"),
        ("蓝色背景", "kreis"),
        ("圆", "kreis"),
        ("模糊", "kreis"),
        ("café", "cafe"),
        ("seed:42", "fox"),
        ("SEED:42 snow", "fox"),
        ("seed：42", "fox"),
        ("ｓｅｅｄ：４２　snow", "fox"),
        ("“red fox”", "fox"),
        ("＂red fox＂", "fox"),
        ("“fox red”", ""),
        ("ｆｏｘ", "fox"),
        ("１００％", "fox"),
        ("size:32×16", "cafe kreis fox"),
        ("size：３２＊１６", "cafe kreis fox"),
        ("size：32ｘ16", "cafe kreis fox"),
        ("size:16×32", ""),
        ("model：ｆａｋｅ", "cafe kreis fox"),
        ("42", "fox"),
        ("seed:45", ""),
        ("seed:", ""),
        ("size:32x16", "cafe kreis fox"),
        ("32x16", "cafe kreis fox"),
        ("size:16x32", ""),
        ("model:FAKE", "cafe kreis fox"),
        ("model:turbo", ""),
        ("100%", "fox"),
        ("%", "fox"),
        ("_", "cafe"),
        ("r_al", ""),
        ('"', ""),
        ("fox OR night", ""),
        ("NEAR(", ""),
        ("'; DROP TABLE history_pictures; --", ""),
        ("kreis.png", "kreis"),
        ("", "cafe kreis fox"),
        ("  ", "cafe kreis fox"),
        ("\ud800", ""),
        ("fox\0", "fox"),
    ],
)
def test_searching(searchable, query, expected):
    """Parts of words, Chinese of any length, phrases, seed, size and model; nothing typed is taken for SQL."""
    assert names(searchable.page(query).pictures) == [f"{name}.png" for name in expected.split()]


@pytest.mark.parametrize("query", ["x" * 1001, "a " * 31])
def test_a_query_that_is_too_long(history, query):
    """Length and number of words are bounded, and the error says by what."""
    with pytest.raises(InvalidRequest, match="query: at most") as caught:
        history.page(query)
    assert caught.value.field == "query"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox", ["fox.png"]),
        ("red foxes in snow", ["fox.png"]),
        ("红色的圆形", ["kreis.png"]),
        ("a green tractor", []),
        ("", []),
        ("!!", []),
        ("x" * 8000, []),
    ],
)
def test_similar_pictures(searchable, text, expected):
    """Prompts that share at least half of what was typed, the closest first; others are no suggestion."""
    assert names(searchable.similar(text)) == expected


# Thumbnails, deleting, archiving.


def test_thumbnails_live_apart_and_go_with_their_picture(history, put, folder, tmp_path):
    """A thumbnail is drawn once, in a folder of its own, and deleted with its picture, however that is deleted."""
    put("a.png")
    put("b.png", made=2000)
    history.reconcile()
    b, a = history.page().pictures
    small = history.thumbnail(a)
    history.thumbnail(b)
    assert small[:4] + small[8:12] == b"RIFFWEBP"
    assert len(list((tmp_path / "history_thumbs").iterdir())) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png"]

    history.delete(a)
    assert len(list((tmp_path / "history_thumbs").iterdir())) == 1
    assert history.page().pictures == [b]
    assert sorted(path.name for path in folder.iterdir()) == ["b.png"]
    (folder / "b.png").unlink()
    history.reconcile()
    assert list((tmp_path / "history_thumbs").iterdir()) == []


def test_a_huge_picture_is_not_decoded(history, folder):
    """A file whose header states 60000 x 60000 pixels is listed, but not decoded for a thumbnail."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    whole = png.encode(np.zeros((16, 16, 3), np.uint8), {})
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    folder.mkdir()
    (folder / "bomb.png").write_bytes(whole[:16] + header + crc + whole[33:])
    history.reconcile()

    (picture,) = history.page().pictures
    assert picture.width == 60_000
    assert history.thumbnail(picture) is None


@pytest.fixture(params=["same file system", "another one"])
def moving(request, monkeypatch):
    """Both ways to move a file."""
    if request.param == "another one":
        real = os.link

        def link(source, target):
            if Path(source).parent != Path(target).parent:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            real(source, target)

        monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("moving")
def test_archiving(history, put, tmp_path):
    """Old pictures move whole, overwrite nothing, keep their time, and are no longer listed; newer ones stay."""
    old, new = put("sub/old.png", made=1000), put("new.png", made=2000)
    content = old.read_bytes()
    history.reconcile()
    (tmp_path / "attic" / "sub").mkdir(parents=True)
    (tmp_path / "attic" / "sub" / "old.png").write_text("somebody's")

    pictures = list(history.every(datetime.fromtimestamp(2000, UTC)))
    moved = [history.archive(picture, tmp_path / "attic") for picture in pictures]

    assert moved == [tmp_path / "attic" / "sub" / "old_2.png"]
    assert moved[0].read_bytes() == content
    assert moved[0].stat().st_mtime == 1000
    assert (tmp_path / "attic" / "sub" / "old.png").read_text() == "somebody's"
    assert sorted(path.name for path in (tmp_path / "attic" / "sub").iterdir()) == ["old.png", "old_2.png"]
    assert new.exists()
    assert not old.exists()
    assert names(history.page().pictures) == ["new.png"]


def test_an_archive_that_fails_leaves_the_picture(history, put, tmp_path, monkeypatch):
    """A full disk while copying: the picture is where it was, nothing half-copied lies in the other folder."""
    old = put("old.png")
    history.reconcile()
    (picture,) = history.page().pictures

    def link(*_paths):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def copy(_source, target, **_options):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(HistoryUnavailable, match="No space left"):
        history.archive(picture, tmp_path / "attic")

    assert old.exists()
    assert list((tmp_path / "attic").iterdir()) == []
    assert history.page().pictures == [picture]


def test_archiving_to_a_file_system_without_modes(history, put, tmp_path, monkeypatch):
    """On a stick with FAT the picture is moved; that its mode and times cannot be set there is no failure."""
    old = put("sub/old.png")
    content = old.read_bytes()
    history.reconcile()

    def refuse(*_args, **_named):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def link(source, target):
        raise OSError(errno.EPERM if Path(source).parent == Path(target).parent else errno.EXDEV, "no link")

    monkeypatch.setattr(os, "link", link)
    for call in ("chmod", "utime"):
        monkeypatch.setattr(os, call, refuse)

    moved = history.archive(history.page().pictures[0], tmp_path / "attic")

    assert moved.read_bytes() == content
    assert not old.exists()


def test_archiving_into_itself(history, put, folder):
    """The folder cannot be its own archive."""
    put("a.png")
    history.reconcile()
    (picture,) = history.page().pictures
    with pytest.raises(InvalidRequest, match="must lie outside"):
        history.archive(picture, folder / "old")


def test_what_dead_writers_left_is_swept(folder, entry):
    """Only this program's old unfinished files: new ones may be in use, and other programs have such files too."""
    history = History(folder)
    kept = [present(history.add(entry(1)))]
    (folder / "inner").mkdir()
    names = [".0123456789abcdef.part", "inner/.fedcba9876543210.part"]
    others = [".download.part", ".0123456789abcdef.PART", "0123456789abcdef.part", ".0123456789abcdef0.part"]
    young = folder / ".00000000000000ff.part"
    link = folder / ".00000000000000aa.part"
    for name in (*names, *others, young.name):
        (folder / name).write_bytes(b"half")
    link.symlink_to(kept[0])
    long_ago = time.time() - 3700
    for path in folder.rglob("*"):
        if path.is_file() and path != young:
            os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    history.reconcile()
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    assert left == {kept[0].name, young.name, link.name, *others}


# A disk that nothing can be written to


@pytest.fixture
def read_only(monkeypatch):
    """Give a switch after which nothing is written: no file, and of the index there are snapshots only."""

    def refuse(path, *_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def snapshot(path, *_args, **_kwargs):
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, factory=Snapshot)

    def switch():
        monkeypatch.setattr(files, "write", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)
        monkeypatch.setattr(Path, "write_bytes", refuse)
        monkeypatch.setattr(index, "connect", snapshot)

    return switch


def test_a_read_only_disk_still_shows_everything(folder, entry, read_only):
    """Pages, searches, pictures and thumbnails as before; changes say that they failed."""
    history = History(folder)
    for seed in range(3):
        history.add(entry(seed))
    read_only()

    page = history.page()
    assert len(page.pictures) == 3
    assert len(history.page("image_2026").pictures) == 3
    shown = present(history.get(page.pictures[0].id))
    assert history.read(shown) == entry(2).png
    assert history.thumbnail(shown)
    with pytest.raises(HistoryUnavailable, match="Read-only file system"):
        history.delete(shown)


def test_a_changed_file_is_shown_although_that_cannot_be_noted(folder, entry, read_only):
    """A picture was edited before the disk became read-only: its new state is what is listed."""
    history = History(folder)
    path = present(history.add(entry(1)))
    path.write_bytes(entry(2).png)
    read_only()
    (shown,) = history.page().pictures
    assert shown.stamp.size == len(entry(2).png)
    assert present(history.get(shown.id)).stamp == shown.stamp


def test_a_torn_snapshot_sets_no_database_aside(folder, entry, monkeypatch):
    """What is read past the locks may be torn by who writes just now: that is no damage."""
    history = History(folder)
    history.add(entry(1))
    torn = folder.parent / "torn.sqlite3"
    torn.write_bytes((folder.parent / "zimage.sqlite3").read_bytes()[:8192])

    def snapshot(*_args, **_kwargs):
        return sqlite3.connect(f"{torn.as_uri()}?mode=ro&immutable=1", uri=True, factory=Snapshot)

    with monkeypatch.context() as reading:
        reading.setattr(index, "connect", snapshot)
        with pytest.raises(HistoryUnavailable):
            history.page()
    assert not list(folder.parent.glob("*.damaged"))
    assert len(history.page().pictures) == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "history_disk_full"), (errno.EROFS, "history_read_only"), (errno.EIO, "history_unwritable")],
)
def test_trouble_with_the_folder_stands_until_it_is_over(folder, entry, monkeypatch, number, code):
    """Named once, whatever is asked meanwhile; over with the next copy, or by a test of the folder."""
    faults = Faults()
    history = History(folder, faults=faults)

    def fail(path, *_args, **_options):
        raise OSError(number, os.strerror(number), str(path))

    for over in (lambda: history.add(entry(9)), faults.retest):
        with monkeypatch.context() as trouble:
            trouble.setattr(files, "write", fail)
            trouble.setattr(Path, "write_bytes", fail)
            for seed in range(3):
                assert history.add(entry(seed)) is None
            faults.retest()
            (fault,) = faults.standing
            assert fault.code == code
            assert str(folder) not in str(fault.detail)
        over()
        assert faults.standing == []


def test_a_workspace_without_locks_has_an_index_elsewhere(folder, entry, monkeypatch):
    """SQLite cannot work there: pictures are listed, searched and deleted, and what is different is said."""
    faults = Faults()
    earlier = History(folder)
    earlier.add(entry(1))
    earlier.reconcile()
    before = (folder.parent / "zimage.sqlite3").read_bytes()
    history = History(folder, faults=faults)

    def refuse(*_args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    history.start()
    history.add(entry(2))
    wait_until(lambda: len(history.page().pictures) == 2)
    (fault,) = faults.standing
    assert fault.code == "history_index_temporary"
    assert os.strerror(errno.ENOLCK) in str(fault.detail)
    history.delete(history.page().pictures[0])
    assert len(history.page().pictures) == 1
    history.close()

    assert (folder.parent / "zimage.sqlite3").read_bytes() == before


def test_an_index_that_cannot_be_used_is_said_at_the_start(folder, entry, monkeypatch):
    """The fault stands before the first picture is drawn, and ends when the index works."""
    faults = Faults()
    History(folder).add(entry(1))
    history = History(folder, faults=faults)

    def fail(*_args, **_kwargs):
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as trouble:
        trouble.setattr(index, "connect", fail)
        history.start()
        wait_until(lambda: faults.standing)
        history.close()
        faults.retest()
        assert [fault.code for fault in faults.standing] == ["history_index_unusable"]
    faults.retest()
    assert faults.standing == []


def test_trouble_with_the_index_stands_until_it_is_over(folder, entry, monkeypatch):
    """The copies are there; that they are not listed is said until they are."""
    faults = Faults()
    history = History(folder, faults=faults)
    history.add(entry(1))

    def fail(*_args, **_kwargs):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr(index, "connect", fail)
        assert history.add(entry(2)) is not None
        faults.retest()
        assert [fault.code for fault in faults.standing] == ["history_index_unusable"]
    faults.retest()
    assert faults.standing == []


def test_no_thread_to_follow_with_is_no_trouble(folder, entry, monkeypatch):
    """On a machine that gives no more threads the list is what was known; it follows when there are some again."""
    history = History(folder)
    history.add(entry(1))
    history.start()
    present(history._thread).join()  # noqa: SLF001 - only what is read after this counts
    (folder / "other.png").write_bytes(entry(2).png)

    def refuse(*_args):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        assert len(history.page().pictures) == 1
    wait_until(lambda: len(history.page().pictures) == 2)
    history.close()


@pytest.mark.parametrize("year", [1, 1901, 1969, 2106, 2263, 2446, 2999])
def test_a_file_of_any_year_is_listed_beside_others(history, put, year):
    """Clocks that are wrong, and `touch`: one such file must not keep the others out of the history."""
    seconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    put("a.png")
    odd = put("odd.png")
    try:
        os.utime(odd, (seconds, seconds))
    except (OSError, OverflowError):
        pytest.skip("the file system has no such times")
    history.reconcile()
    assert sorted(names(history.page().pictures)) == ["a.png", "odd.png"]
    history.reconcile()
    assert history.read(history.page(limit=1).pictures[0]) is not None
