"""Negotiation of the language of an answer."""

import pytest

from zimage_cache.web import language


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *((None, "en"), ("", "en"), ("*", "en"), ("de", "en"), ("en", "en"), ("en-GB,en;q=0.9", "en")),
        *(("zh", "zh"), ("zh-CN", "zh"), ("ZH-hant-TW", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh")),
        *(("zh-CN;q=0.5", "zh"), ("de, zh;q=0.5", "zh"), ("zh;q=0.5, en;q=0.9", "en"), ("en;q=0.5, zh;q=0.9", "zh")),
        *(("zh, en", "zh"), ("en, zh", "en"), ("zh;q=0", "en"), ("zh;q=0, *", "en"), ("zh;q=0.5, *", "en")),
        *((" zh ; q=1.0 ", "zh"), ("zh;q=2", "en"), ("zh;q=x", "en"), ("zhuang", "en"), (";;,,==zh", "en")),
        *(("\x00\xff", "en"), ("zh" * 5000, "en"), ("en," * 5000 + "zh", "en"), (";q=1" * 5000, "en")),
    ],
)
def test_chinese_is_chosen_where_it_is_preferred(header: str | None, expected: str):
    """Weights decide, then the order; other languages, any language and invalid headers mean English."""
    assert language.preferred(header or "") == expected
    language.set_language(header)
    assert language.current_language() == expected
    language.set_language(None)
    assert language.current_language() == "en"
