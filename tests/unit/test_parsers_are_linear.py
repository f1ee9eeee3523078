"""Whatever comes from outside is read in time proportional to its length: 16 times the text, 16 times the work.

Processor time of this thread is compared with itself, never with a clock: what else the machine does counts little.
"""

import gc
import importlib
import json
import pkgutil
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

import zimage_cache
from zimage_cache.errors import InvalidRequest
from zimage_cache.history.search import conditions, pieces
from zimage_cache.metadata.description import describe
from zimage_cache.normal_form import nfc
from zimage_cache.prompts.template import parse, weighted
from zimage_cache.prompts.vocabulary import Vocabulary
from zimage_cache.prompts.wildcards import Wildcards, _pattern, expand
from zimage_cache.request_id import set_request_id
from zimage_cache.units import bytes_in, seconds_in
from zimage_cache.validation import shown
from zimage_cache.web.api.pictures import _matches, _span
from zimage_cache.web.body import GenerateBody, parse_json
from zimage_cache.web.middleware import _authority, _host_name

LONGER = 16
TAUGHT = Vocabulary(frozenset(("red", "a", "猫", "红色的大房子")))
MOST = 64  # times: 16 for the length, a square would be 256; this is as far from the one as from the other
SHORTEST = 20e-6  # seconds: what takes less is not measured, but taken for this


def file(*chunks: tuple[bytes, bytes]) -> bytes:
    every = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), *chunks, (b"IDAT", b"")]
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def a1111(line: str) -> bytes:
    """Make a file whose settings are *line*."""
    return file((b"tEXt", b"parameters\0" + f"x\n{line}".encode("latin-1")))


def an_array(*values: str) -> bytes:
    return f"[{','.join(values)}]".encode()


def an_object(*pairs: str) -> bytes:
    return f"{{{','.join(pairs)}}}".encode()


def described(content: bytes) -> None:
    describe(content)


def names(number: int) -> list[str]:
    return [f'"{each:06x}": 1' for each in range(number)]


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 1} | inputs}


def workflow(text: str) -> bytes:
    return file((b"tEXt", b"prompt\0" + text.encode()))


def chain(number: int) -> str:
    """A text after so many nodes, the last of which leads back to the first."""
    return json.dumps({str(n): node(positive=[str((n + 1) % number), 0]) for n in range(number)})


def broad(number: int) -> str:
    links = {name: ["0", 0] for name in ("text", "prompt", "string", "value", "conditioning", "positive")}
    return json.dumps({str(n): node(**links) for n in range(number)})


def joined(number: int) -> str:
    """A text joined of so many nodes, each of which joins the next one with itself."""
    texts = {f"n{at}": node(text_a=[f"n{at + 1}", 0], text_b=[f"n{at + 1}", 0]) for at in range(number)}
    return json.dumps({"1": node(positive=["n0", 0]), **texts, f"n{number}": node(text="x" * 100)})


def numbered(number: int) -> dict[str, Any]:
    return {f"text_{at}": "x" for at in range(number)}


def models(number: int) -> str:
    return json.dumps({str(at): node(positive="x", model=[str(at + 1), 0]) for at in range(number)})


def a_text(text: str) -> bytes:
    return file((b"tEXt", b"parameters\0" + text.encode()))


XMP = b"XML:com.adobe.xmp\0\0\0\0\0"


def entries(number: int) -> bytes:
    """An EXIF block whose entries all point at the whole block."""
    size = 10 + 12 * number
    return b"II*\0\x08\0\0\0" + struct.pack("<H", number) + struct.pack("<HHLL", 0x10E, 2, size, 0) * number


def generate(body: bytes) -> None:
    GenerateBody.parse(parse_json(body))


# What reads, what makes a text of such a length, and a length that the bounds let through 16 times over, or do not.
CASES: dict[str, tuple[Callable[[Any], object], Callable[[int], Any], int]] = {
    "a name twice at the end": (parse_json, lambda n: an_object(*names(n), '"!": 1', '"!": 1'), 1000),
    "a name twice in one of many": (parse_json, lambda n: an_array(*['{"a":1,"a":1}'] * n), 300),
    "many names": (generate, lambda n: an_object(*names(n)), 6),
    "many objects": (parse_json, lambda n: an_array(*["{}"] * n), 600),
    "many lists": (parse_json, lambda n: an_array(*["[]"] * n), 600),
    "too many lists": (parse_json, lambda n: an_array(*["[]"] * n), 20_000),
    "deep lists": (parse_json, lambda n: b"[" * n, 50_000),
    "deep objects": (parse_json, lambda n: b'{"a":' * n, 10_000),
    "digits": (parse_json, lambda n: b"1" * n, 50_000),
    "digits behind a point": (parse_json, lambda n: b"1." + b"1" * n, 50_000),
    "digits of an exponent": (parse_json, lambda n: b"1e" + b"1" * n, 50_000),
    "long integers": (parse_json, lambda n: an_array(*["1" * 499] * n), 60),
    "escapes": (parse_json, lambda n: b'"' + b"\\u00e9" * n + b'"', 10_000),
    "backslashes": (parse_json, lambda n: b'"' + b"\\\\" * n + b'"', 20_000),
    "blanks": (parse_json, lambda n: b" " * n, 50_000),
    "UTF-32": (parse_json, lambda n: ('"' + "é" * n + '"').encode("utf-32"), 10_000),
    "a long prompt": (generate, lambda n: json.dumps({"prompt": "x" * n}).encode(), 10_000),
    "combining signs out of order": (nfc, lambda n: "a" + "\u0345" * n + "\u0334" * n, 250),
    "combining signs in turns": (nfc, lambda n: "a" + "\u0301\u0316" * n, 250),
    "signs to be composed": (nfc, lambda n: "e\u0301" * n, 250),
    "signs to be decomposed": (nfc, lambda n: "\u0344" * n, 500),
    "a wrong value": (lambda n: shown("\ud800" * n), lambda n: n, 500),
    "PNG: chunks": (described, lambda n: file(*[(b"tEXt", b"a\0b")] * n), 2000),
    "PNG: foreign chunks": (described, lambda n: file(*[(b"abCd", b"")] * n), 2000),
    "PNG: text": (described, lambda n: file((b"tEXt", b"parameters\0" + b"a" * n)), 200_000),
    "PNG: compressed text": (described, lambda n: file((b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * n))), 60_000),
    "settings: one word": (described, lambda n: a1111("a" * n), 2000),
    "settings: words": (described, lambda n: a1111("word " * n), 400),
    "settings: blanks": (described, lambda n: a1111("a:" + " " * n + "x"), 2000),
    "settings: names": (described, lambda n: a1111("a:" * n), 1000),
    "settings: commas": (described, lambda n: a1111("," * n), 2000),
    "settings: open quotations": (described, lambda n: a1111('a:"' * n), 600),
    "settings: open quotations of escapes": (described, lambda n: a1111('a:"\\",' * n), 350),
    "settings: quotations": (described, lambda n: a1111('a:"b"' * n), 400),
    "settings: backslashes": (described, lambda n: a1111('a:"' + "\\" * n), 2000),
    "settings: a very long line": (described, lambda n: a1111("Steps: 1, " * n), 1500),
    "settings: lines": (described, lambda n: a1111("Negative prompt:\n" * n), 900),
    "settings: settings": (described, lambda n: a1111("Steps: 1, " * n), 200),
    "workflow: a circle": (described, lambda n: workflow(chain(n)), 100),
    "workflow: breadth": (described, lambda n: workflow(broad(n)), 60),
    "workflow: depth": (described, lambda n: workflow('{"1":{"class_type":"X","inputs":{"seed":' + "[" * n), 1000),
    "workflow: size": (described, lambda n: workflow(json.dumps({"1": node(text="x" * n)})), 50_000),
    "workflow: joined texts": (described, lambda n: workflow(joined(n)), 60),
    "workflow: many inputs": (described, lambda n: workflow(json.dumps({"1": node(**numbered(n))})), 300),
    "workflow: models in a row": (described, lambda n: workflow(models(n)), 60),
    "JSON: objects within objects": (described, lambda n: a_text('{"prompt":' * n), 1000),
    "JSON: texts within texts": (
        described,
        lambda n: a_text(json.dumps({"prompt": json.dumps({"meta": "x" * n})})),
        9000,
    ),
    "EXIF: entries": (described, lambda n: file((b"eXIf", entries(n))), 30),
    "XMP: elements": (described, lambda n: file((b"iTXt", XMP + b"<a>x" * n)), 2000),
    "XMP: text": (described, lambda n: file((b"iTXt", XMP + b"<a>" + b"x" * n)), 50_000),
    "a profile in hexadecimal": (
        described,
        lambda n: file((b"tEXt", b"Raw profile type exif\0\nexif\n1\n" + b"00 " * n)),
        20_000,
    ),
    "JPEG: segments": (described, lambda n: b"\xff\xd8" + b"\xff\xe1\0\x0aExif\0\0xx" * n, 500),
    "JPEG: filling": (described, lambda n: b"\xff\xd8" + b"\xff" * n, 500),
    "WebP: chunks": (described, lambda n: b"RIFF\0\0\0\0WEBP" + b"abcd\0\0\0\0" * n, 500),
    "settings: JSON": (described, lambda n: a1111("a:[1]," * n), 500),
    "settings: open JSON": (described, lambda n: a1111("a:[" * n), 1000),
    "settings: open JSON in many lines": (described, lambda n: a1111('Steps: ["\n' * n), 300),
    "settings: open quotations in many lines": (described, lambda n: a1111('Steps: "\\"\n' * n), 300),
    "template: braces": (parse, lambda n: "{" * n, 500),
    "template: braces with wildcards": (parse, lambda n: "{__a__" * n, 80),
    "template: nested text": (parse, lambda n: "{" * n + "__a__" * n + "}" * n, 70),
    "template: nested alternatives": (parse, lambda n: "{a|{b}" * n, 80),
    "template: bars": (parse, lambda n: "{" + "a|" * n + "}", 250),
    "template: bars in braces": (parse, lambda n: "{a{b|" * n + "}" * n, 80),
    "template: closing braces": (parse, lambda n: "{" + "}" * n, 500),
    "template: underscores": (parse, lambda n: "_" * n, 500),
    "template: names": (parse, lambda n: "__a" * n, 160),
    "template: long names": (parse, lambda n: ("__" + "a" * 199) * n, 3),
    "template: separators": (parse, lambda n: "{2$$" * n + "a|b}" * n, 60),
    "template: dollars": (parse, lambda n: "{1-2$$" + "$" * n + "|b}", 500),
    "template: blanks": (parse, lambda n: "{" + " " * n + "|" + " " * n + "}", 250),
    "template: escapes": (parse, lambda n: "{\\|" * n + "|}", 160),
    "words": (TAUGHT.divided, lambda n: "红猫" * n + "dragon" * n + "-a" * n, 250),
    "words unknown": (TAUGHT.divided, lambda n: "红" * n, 250),
    "weights": (weighted, lambda n: " " * n + "1" * n + "::", 250),
    "wildcards: picks": (lambda text: expand(text, 1, Wildcards(None)), lambda n: "{a|b}" * n, 60),
    "wildcards: stars": (lambda name: _pattern("*a*a*a*b").fullmatch(name), lambda n: "a" * n, 1000),
    "wildcards: many stars in a name": (lambda name: _pattern(name).fullmatch("a" * 200), lambda n: "*a" * n, 10),
    "search: quotations": (lambda query: conditions(query, full_text=True), lambda n: '"' * n, 62),
    "search: words": (lambda query: conditions(query, full_text=False), lambda n: "a " * n, 31),
    "search: kinds": (lambda query: conditions(query, full_text=True), lambda n: "seed:" * n, 12),
    "search: like this one": (pieces, lambda n: "a" * n, 500),
    "sizes": (bytes_in, lambda n: "1" + " " * n + "x", 500),
    "durations": (seconds_in, lambda n: "1" * n + "x", 500),
    "If-None-Match": (lambda header: _matches(header, '"x"'), lambda n: '"a", W/' * n, 100),
    "Range": (lambda header: _span(header, 100), lambda n: "bytes=" + "1" * n + "-", 1000),
    "Host": (_host_name, lambda n: "[" * n + "a" * n, 500),
    "Host: a long name": (_host_name, lambda n: "a." * n, 500),
    "Origin": (_authority, lambda n: "http://" + "[" * n, 1000),
    "X-Request-Id": (set_request_id, lambda n: "a" * n, 1000),
}


def cost(read: Callable[[Any], object], given: object) -> float:
    """Return the seconds of processor time that reading takes, at best."""
    best = float("inf")
    gc.disable()  # it walks through all that this process holds, of other tests too
    try:
        for _ in range(5):
            began = time.thread_time()
            with suppress(InvalidRequest, ValueError):
                read(given)
            best = min(best, time.thread_time() - began)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize("case", CASES)
def test_work_grows_like_the_text(case):
    """No text, however it is made, costs more than its length says; too long a text is refused for less."""
    read, make, length = CASES[case]
    short = cost(read, make(length))
    long = cost(read, make(length * LONGER))
    assert long < MOST * max(short, SHORTEST), f"{short * 1e3:.3f} ms became {long * 1e3:.3f} ms"


# Patterns: none has exponential backtracking. The standard library's parser gives the structure of each.

_constants, _parser = importlib.import_module("re._constants"), importlib.import_module("re._parser")
_BACKTRACKING = {_constants.MAX_REPEAT, _constants.MIN_REPEAT}
_ENDLESS = 1000  # repetitions


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(zimage_cache.__path__, "zimage_cache."):
        yield importlib.import_module(found.name)


def endless(parsed: Any) -> int:
    """Count the unbounded repetitions that may follow each other and backtrack.

    One within another counts twice. Possessive and atomic ones give up nothing.
    """
    total = 0
    for kind, given in parsed:
        if kind in _BACKTRACKING:
            _, high, inner = given
            within = endless(inner)
            total += within + (1 + within if high > _ENDLESS else 0)
        elif kind is _constants.BRANCH:
            total += max(map(endless, given[1]))
        elif kind is _constants.SUBPATTERN:
            total += endless(given[-1])
        elif kind is _constants.GROUPREF_EXISTS:
            total += max(endless(each) for each in given[1:] if each)
    return total


def patterns() -> dict[str, re.Pattern[Any]]:
    found = {f"{module.__name__}.{name}": each for module in modules() for name, each in vars(module).items()}
    return {name: each for name, each in found.items() if isinstance(each, re.Pattern)}


def test_no_pattern_can_backtrack():
    """At most one endless repetition on each way through a pattern: two that overlap are how squares come about."""
    every = patterns()
    assert len(every) > 15
    assert {name: each.pattern for name, each in every.items() if endless(_parser.parse(each.pattern)) > 1} == {}


@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        (r"(a+)+b", 3),
        (r"\s*\s*x", 2),
        (r"(?:a*|b*)c*", 2),
        (r"\s*+\s*x", 1),
        (r"(?>a*)a*b", 1),
        (r"a{1,60}b{1,60}", 0),
        (r'"([^"]*)"|(\S+)', 1),
    ],
)
def test_the_judge_of_patterns(pattern, number):
    """It distinguishes patterns that are known to be slow from others."""
    assert endless(_parser.parse(pattern)) == number
