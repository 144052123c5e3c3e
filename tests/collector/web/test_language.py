"""Every word of the page is there in Chinese, and each reader gets the language that was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import collector.web
from collector.web.language import LOCALE, choose, pick, say, translations

WEB = Path(collector.web.__file__).parent
PLACE = re.compile(r"%\(\w+\)s")


def _texts_in_source() -> set[str]:
    found = extract_from_dir(
        WEB,
        method_map=[("**.py", "python"), ("**/templates/**.html", "jinja2")],
        options_map={"**/templates/**.html": {"trimmed": "true"}},
        keywords={"_": None, "gettext": None, "mark": None, "say": (2,)},
    )
    return {text for _, _, message, _, _ in found for text in ([message] if isinstance(message, str) else message)}


def _chinese() -> dict[str, str]:
    with (LOCALE / "zh" / "LC_MESSAGES" / "collector.po").open("rb") as source:
        catalogue = read_po(source, locale="zh")
    assert not [message.id for message in catalogue if message.id and message.fuzzy]
    return {str(message.id): str(message.string) for message in catalogue if message.id}


def test_every_text_has_chinese_and_no_chinese_is_left_over() -> None:
    wanted, there = _texts_in_source(), _chinese()
    assert len(wanted) > 100
    assert sorted(wanted - there.keys()) == []
    assert sorted(there.keys() - wanted) == []
    assert sorted(text for text, said in there.items() if not said.strip()) == []


def test_places_in_a_text_are_the_same_in_chinese() -> None:
    for text, said in _chinese().items():
        assert sorted(PLACE.findall(text)) == sorted(PLACE.findall(said)), text


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "expected"),
    [
        (None, None, None, "zh"),
        ("en", "zh", "zh-CN", "en"),
        ("zh", "en", "en", "zh"),
        ("fr", "en", "zh", "en"),
        (None, None, "en-GB,en;q=0.8,zh;q=0.5", "en"),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, None, "en;q=0.2, zh-TW;q=0.9", "zh"),
        (None, None, "fr-FR, de;q=0.9", "zh"),
        (None, None, "en;q=0, fr", "zh"),
        (None, None, "en;q=nonsense", "zh"),
        (None, "xx", ",,;q=1,", "zh"),
    ],
)
def test_choice_of_language(query: str | None, cookie: str | None, accept: str | None, expected: str) -> None:
    assert choose(query, cookie, accept) == expected


def test_words_and_names() -> None:
    assert say("en", "%(n)s min", n=3) == "3 min"
    assert say("zh", "%(n)s min", n=3) == "3 分钟"
    assert translations("zh") is translations("zh")
    assert (pick("zh", "well", "井"), pick("en", "well", "井")) == ("井", "well")
    assert (pick("zh", "well", ""), pick("en", "", "井")) == ("well", "井")
