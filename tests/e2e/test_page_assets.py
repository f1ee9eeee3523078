"""The page's own files over HTTP: compressed, cached permanently by browsers, at an address with their version."""

import gzip
import json
import re
from typing import Any

import brotli
import pytest

from zimage_cache.web.page.bundle import source

FOREVER = "private, max-age=31536000, immutable"
TYPES = {"page.js": "text/javascript; charset=utf-8", "page.css": "text/css; charset=utf-8"}


@pytest.fixture(scope="module")
def addresses(house) -> dict[str, str]:
    """The addresses in the document, by the name of the file."""
    html = house.client.get("/").text
    return {found[2]: f"/{found[1]}" for found in re.finditer(r'(?:src|href)="(page/\w+/(page\.\w+))"', html)}


@pytest.mark.parametrize("name", TYPES)
def test_files_are_cached_permanently(house, addresses, name):
    """The type is named, and the answer may be kept for a year without a question."""
    answer = house.raw("GET", addresses[name])
    assert answer.status == 200
    assert answer.headers["content-type"] == TYPES[name]
    assert answer.headers["cache-control"] == FOREVER
    assert answer.headers["vary"].startswith("Accept-Encoding")


@pytest.mark.parametrize("name", TYPES)
def test_each_encoding_says_the_same(house, addresses, name):
    """Brotli is at most a third of the file, gzip is a little longer."""
    plain, gzipped, small = (
        house.raw("GET", addresses[name], headers={"Accept-Encoding": accepted}).body
        for accepted in ("identity", "gzip", "gzip, br")
    )
    assert gzip.decompress(gzipped) == brotli.decompress(small) == plain
    assert len(small) < len(gzipped) < len(plain) / 2
    assert len(small) < len(plain) / 3


def test_another_version_is_not_there(house, addresses, expect_error):
    """Neither another digest nor another file, and reading is all that can be done."""
    wrong = re.sub(r"/\w{16}/", f"/{'0' * 16}/", addresses["page.js"])
    expect_error(house.raw("GET", wrong), 404, "not_found")
    expect_error(house.raw("GET", addresses["page.js"].replace("page.js", "main.js")), 404, "not_found")
    expect_error(house.raw("POST", addresses["page.js"]), 405, "method_not_allowed")


def test_the_document_is_asked_for_each_time(house):
    """It names the files of this version, is compressed as the client accepts, and is not kept."""
    answers = [house.raw("GET", "/", headers={"Accept-Encoding": accepted}) for accepted in ("identity", "br", "gzip")]
    assert [answer.headers.get("content-encoding") for answer in answers] == [None, "br", "gzip"]
    assert brotli.decompress(answers[1].body) == gzip.decompress(answers[2].body) == answers[0].body
    assert all(int(answer.headers["content-length"]) == len(answer.body) for answer in answers)
    assert "immutable" not in answers[0].headers.get("cache-control", "")
    assert len(answers[1].body) < 15_000


@pytest.fixture(scope="module")
def facts(house, addresses) -> dict[str, Any]:
    """What the script begins with."""
    first = house.client.get(addresses["page.js"]).text.partition(";\n")[0]
    told: dict[str, Any] = json.loads(first.removeprefix("globalThis.zimageFacts = "))
    return told


def test_facts_are_those_of_the_server(house, facts):
    """Models and limits are told by the server, not known by the script."""
    assert facts["default_model"] == house.studio.service.default_model
    assert facts["limits"]["grid"] == 16
    assert facts["limits"]["max_sequence_length"] == 1024
    assert facts["limits"]["png_bytes"] == 20 * 2**20
    assert facts["limits"]["cache_modes"] == ["use", "refresh", "bypass"]


def test_facts_have_their_types(facts):
    """The types that the page's scripts are checked with name every fact, and no other."""
    types = source("lib/types.d.ts")
    for interface, told in {"Facts": facts, "Limits": facts["limits"]}.items():
        body = re.search(rf"^export interface {interface} {{\n(.*?)^}}", types, re.MULTILINE | re.DOTALL)
        assert body
        assert set(re.findall(r"^  (\w+): ", body[1], re.MULTILINE)) == told.keys()
