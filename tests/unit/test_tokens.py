"""The token count is that of the pipeline, available without weights."""

import json
import logging
import shutil
import subprocess
import sys

import pytest

from tests.factories import present
from zimage_cache.errors import ModelCorrupt, ModelMissing
from zimage_cache.generator.device import CPU
from zimage_cache.generator.pipeline import LoadedPipeline
from zimage_cache.generator.plan import make_plan
from zimage_cache.generator.tokens import TokenCounter
from zimage_cache.models.store import demo_folder


@pytest.fixture(scope="module")
def rows():
    """Give a function that counts the rows of a text's embedding; no picture shows that number."""
    pipeline = LoadedPipeline(demo_folder(), CPU, make_plan(CPU))
    return lambda text, most: pipeline._embed(text, most).shape[0]  # noqa: SLF001 - see above


@pytest.fixture
def folder(tmp_path):
    """A model of which only what is needed to count lies here."""
    shutil.copytree(demo_folder() / "tokenizer", tmp_path / "tokenizer")
    shutil.copy(demo_folder() / "model_index.json", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text", ["", " ", "red circle", "红色的圆 🦊", "<|im_end|>", "a\x00b\n", "red, " * 260, "é" * 300]
)
def test_the_count_is_what_the_text_encoder_reads(rows, folder, text):
    """As many tokens as the pipeline's own encoding has rows, below and above 512."""
    assert TokenCounter(lambda: folder).count(text) == rows(text, 1024)


def test_above_the_limit_the_count_goes_on(rows, folder):
    """Where the pipeline reads 512 tokens and no more, the count says how many there are."""
    text = "red, " * 260
    assert rows(text, 512) == 512
    assert present(TokenCounter(lambda: folder).count(text)) > 512


def test_a_model_that_comes_later_is_found_then(folder):
    """None while there is no model, or half of one; a failure is not remembered."""
    there: list[str] = []

    def locate():
        if not there:
            raise ModelMissing("as_said", text="not here")
        if len(there) == 1:
            raise ModelCorrupt("as_said", text="half here")
        return folder

    counter = TokenCounter(locate)
    assert counter.count("red") is None
    there.append("index")
    assert counter.count("red") is None
    there.append("all")
    assert present(counter.count("red")) > 0


@pytest.mark.parametrize("name", ["model_index.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"])
def test_a_damaged_tokenizer_gives_no_count_and_one_log_line(folder, name, caplog):
    """Files that cannot be read give None and one log line; after a repair they are read."""
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:20])
    counter = TokenCounter(lambda: folder)
    with caplog.at_level(logging.ERROR):
        assert [counter.count("red"), counter.count("red")] == [None, None]
    assert [record.levelname for record in caplog.records if record.name.startswith("zimage_cache")] == ["ERROR"]
    (folder / name).write_bytes(whole)
    assert present(counter.count("red")) > 0


def test_an_unknown_tokenizer_is_no_count(folder):
    """A class that these libraries do not have is no crash."""
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "NoSuchTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert TokenCounter(lambda: folder).count("red") is None


def test_the_tokenizer_is_read_once(folder):
    """After the first count the files are not needed any more."""
    counter = TokenCounter(lambda: folder)
    first = counter.count("red")
    shutil.rmtree(folder / "tokenizer")
    assert counter.count("red") == first


def test_nothing_heavy_is_imported_before_the_first_count():
    """Starting a server pays for no library; counting does without torch."""
    script = """
import sys
from zimage_cache.generator.zimage import ZImageGenerator
from zimage_cache.models.store import demo_folder
from zimage_cache.generator.tokens import TokenCounter
assert not {"torch", "transformers"} & sys.modules.keys()
assert TokenCounter(demo_folder).count("red") > 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)
