"""Why a visit did not pass: what is written is found again in both languages, with its numbers."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import CODES, QualityCode
from rules.errors import RulesError
from rules.visit_words import NONE, Why, said_of, sentence
from rules.visiting import Stage, VisitRule, outcome
from tests.rules.test_visiting import CH4, O2, WORK, Story, play

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")
#: what a sentence of each place can be written with
_WRITTEN = {
    "seen": [*(code.reason for code in CODES.values()), "quality code 250"],
    "stage": [stage.value for stage in Stage if stage is not Stage.DONE],
}
numbers = st.one_of(
    st.floats(-1e9, 1e9).map(lambda value: f"{value:g}"),
    st.integers(0, 7_200_000_000).map(lambda us: f"{us / 1e6:.1f}"),
)


def _places(why: Why) -> list[str]:
    return [place for _, place, _, _ in Formatter().parse(why.value.signed) if place is not None]


@st.composite
def sentences(draw: st.DrawFn) -> tuple[Why, dict[str, str]]:
    why = draw(st.sampled_from(Why))
    places = {name: draw(st.sampled_from(_WRITTEN[name]) if name in _WRITTEN else numbers) for name in _places(why)}
    return why, places


def _is_chinese(text: str) -> bool:
    for code in sorted(CODES.values(), key=lambda known: -len(known.zh)):
        text = text.replace(code.zh, "质量")  # 0A and 0B are numbers of exceptions
    return not re.search("[A-Za-z]", _NUMBER.sub("", text)) and bool(re.search("[\u4e00-\u9fff]", text))


@pytest.mark.parametrize("why", Why)
def test_every_sentence_has_a_form_of_both_languages_with_the_same_places(why: Why) -> None:
    form = why.value
    for text in (form.en or form.signed, form.zh):
        assert sorted(place for _, place, _, _ in Formatter().parse(text) if place is not None) == sorted(_places(why))
    assert len({other.value.signed for other in Why}) == len(Why)


@given(sentences())
def test_what_can_be_written_is_read_in_chinese_with_its_numbers(written: tuple[Why, dict[str, str]]) -> None:
    why, places = written
    signed = sentence(why, **places)
    en, zh = said_of(signed)
    assert _is_chinese(zh)
    assert len(signed.encode()) <= 256  # as contracts.visit takes it
    for name, text in places.items():
        assert name in _WRITTEN or (text in zh and text in en)


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.reason)
def test_a_quality_is_said_in_its_own_words(code: QualityCode) -> None:
    signed = sentence(Why.LOST, seen=code.reason)
    assert _is_chinese(said_of(signed)[1])
    assert said_of(signed) == (f"readings were lost: {code.en}", f"读数中断：{code.zh}")


@pytest.mark.parametrize(
    ("signed", "zh"),
    [
        ("no answer: at most 20 with gas of 50", "无响应：标气 50，最大响应 20"),
        ("no answer: at most -1.5e-07 with gas of 1e+06", "无响应：标气 1e+06，最大响应 -1.5e-07"),
        ("no answer: no value with gas of 50", "无响应：标气 50，未读到数值"),
        ("deviation: 61 with gas of 50, 10 allowed", "偏差过大：标气 50，响应 61，允许偏差 10"),
        ("over range: beyond what the instrument can show", "超量程：超出仪表可显示的范围"),
        ("bad: fault", "坏值：仪表故障"),
        ("bad: quality code 250", "坏值：质量码 250"),
        ("slow return: 61.0 s, 60 s allowed", "恢复过慢：用时 61.0 秒，允许 60 秒"),
        ("agent ended: in stage gas", "采集程序中止，当时处于通气或校准阶段"),
        ("the inhibit was ended by somebody else", "抑制被他人解除"),
        ("the point left the plan", "测点已从配置中移除"),
        ("the unit of the point changed", "测点单位已变更"),
    ],
)
def test_what_gateways_have_signed_so_far(signed: str, zh: str) -> None:
    assert said_of(signed)[1] == zh


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "slow",
        "slow: soon",
        "slow: 41.0 s to 90 %, 30 s allowed, and more",
        "time up\n",
        "a word of a newer gateway: 5",
    ],
)
def test_a_sentence_that_is_not_known_is_shown_as_it_was_signed(signed: str) -> None:
    assert said_of(signed) == (signed, signed)


def test_a_word_that_is_not_known_stands_in_a_known_sentence_as_it_is() -> None:
    assert said_of("lost: newer_word") == ("readings were lost: newer_word", "读数中断：newer_word")
    assert said_of("agent ended: in stage newer")[1].endswith("处于newer阶段")


_EVENTS = st.one_of(
    st.sampled_from(["on", "off", "cancel", "time"]),
    st.floats(-10, 120),
    st.sampled_from(sorted(CODES)).filter(lambda code: not CODES[code].has_value).map(lambda code: [code]),
)


@given(st.sampled_from([CH4, O2, WORK]), st.lists(st.tuples(st.integers(1, 120), _EVENTS), max_size=12))
def test_whatever_happens_at_a_visit_is_said_in_chinese(rule: VisitRule, gaps: list[tuple[int, Any]]) -> None:
    story: Story = []
    at_s = 0
    for gap_s, what in gaps:
        at_s += gap_s
        try:
            play([*story, (at_s, what)], rule, limits=())
        except RulesError:
            continue  # nobody can do that then
        story.append((at_s, what))
    reason = outcome(rule, play(story, rule, limits=())).reason
    assert reason == NONE or _is_chinese(said_of(reason)[1])
