"""Tests of cache.locks; other processes are in the stress tests."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.factories import present
from zimage_cache.cache.locks import Generation, Stripes
from zimage_cache.errors import CacheWriteFailed
from zimage_cache.process_lock import KIND

KEY, SAME_STRIPE, OTHER = "ab" * 32, "ab" + "0" * 62, "cd" * 32


def _in_thread(function):
    """Run *function* in another thread; return what it returned, or the error it raised."""
    answers = []

    def run() -> None:
        try:
            answers.append(function())
        except CacheWriteFailed as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answers[0]


def _left(folder: Path) -> list[str]:
    """Return the names in a folder of locks, without the file that tells their kind."""
    return sorted(path.name for path in folder.iterdir() if path.name != KIND)


def _free(stripes: Stripes, key: str) -> bool:
    with stripes.try_hold(key) as held:
        return held


@pytest.mark.parametrize("shared", [True, False], ids=["one object", "two objects on one folder"])
def test_threads_exclude_each_other(tmp_path, shared):
    """While one thread has a stripe no other gets it; other stripes are free; afterwards it is free again."""
    mine = Stripes(tmp_path)
    theirs = mine if shared else Stripes(tmp_path)

    with mine.hold(KEY):
        free = [_in_thread(lambda key=key: _free(theirs, key)) for key in (KEY, SAME_STRIPE, OTHER)]

    assert free == [False, False, True]
    assert _in_thread(lambda: _free(theirs, KEY))


def test_a_holder_that_hangs_is_given_up(tmp_path):
    """Waiting ends with this program's error after the time limit, in the same process and in others."""
    mine, theirs = Stripes(tmp_path, patience=0.05), Stripes(tmp_path, patience=0.05)

    def wait(stripes: Stripes) -> None:
        with stripes.hold(KEY):
            pass

    with mine.hold(KEY):
        errors = [_in_thread(lambda stripes=stripes: wait(stripes)) for stripes in (mine, theirs)]

    assert ["still held by another after 0.05 s" in str(error) for error in errors] == [True, True]
    wait(theirs)


def test_an_error_inside_frees_the_lock(tmp_path):
    """Whatever happens under the lock, it is free afterwards."""
    stripes = Stripes(tmp_path)

    with pytest.raises(ValueError, match="inside"), stripes.hold(KEY):
        raise ValueError("inside")

    assert _in_thread(lambda: _free(stripes, KEY))


def test_folder_is_made_again(tmp_path):
    """The folder of the locks may vanish at any time."""
    stripes = Stripes(tmp_path / "locks")
    for _ in range(2):
        assert _free(stripes, KEY)
        shutil.rmtree(tmp_path / "locks")


def test_unusable_folder_is_our_error(tmp_path):
    """What the operating system says about the lock file is translated, and the threads' lock is free again."""
    (tmp_path / "locks").write_text("in the way")
    stripes = Stripes(tmp_path / "locks")

    for _ in range(2):
        with pytest.raises(CacheWriteFailed, match="cannot be written"), stripes.hold(KEY):
            pass


def test_one_generation_a_key(tmp_path):
    """The first thread or object to lock a key holds it; after release it is free, and no file is left."""
    mine = Generation.take(tmp_path, KEY)

    assert Generation.take(tmp_path, KEY) is None
    assert _in_thread(lambda: Generation.take(tmp_path, KEY)) is None
    other = Generation.take(tmp_path, SAME_STRIPE)
    assert other is not None
    other.release()
    _in_thread(present(mine).release)

    again = Generation.take(tmp_path, KEY)
    assert again is not None
    again.release()
    assert _left(tmp_path) == []


def test_generations_exclude_each_other_while_their_files_come_and_go(tmp_path):
    """Eight threads take and release one key for a while: never two at once, though each release removes the file."""
    inside, most, taken = [0], [0], [0]
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            if (generation := Generation.take(tmp_path, KEY)) is not None:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                taken[0] += 1
                inside[0] -= 1
                generation.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]
    assert taken[0] > 8
    assert _left(tmp_path) == []


def test_sweep_takes_what_killed_holders_left(tmp_path):
    """Lock files that are not held are removed; held ones and other files stay."""
    held = Generation.take(tmp_path, KEY)
    (tmp_path / f"{OTHER}.generation").touch()
    (tmp_path / "00.lock").touch()

    Generation.sweep(tmp_path)

    assert _left(tmp_path) == ["00.lock", f"{KEY}.generation"]
    present(held).release()


def test_generation_in_an_unusable_folder(tmp_path):
    """Failing to lock raises our error; where locks are impossible, the generation lock is free and release a no-op."""
    (tmp_path / "locks").write_text("in the way")

    with pytest.raises(CacheWriteFailed):
        Generation.take(tmp_path / "locks", KEY)

    Generation().release()
