"""The technician's screen: what stands there large, and what never does."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.commands.visit_screen import big, columns, ended, given_up, left_it, screen
from edge_agent.commands.visit_words import refusal_of, say
from edge_agent.commands.words import LANGUAGES, Words
from rules.visiting import Advice

VIEW: dict[str, Any] = {
    "point": "well-1/ch4",
    "en": "Well 1 · methane",
    "zh": "1号井 · 甲烷",
    "unit": "%{LEL}",
    "job": "bump",
    "by": "王 工",
    "stage": "gas",
    "advice": "wait_answer",
    "value": 12.5,
    "text": "12.5",
    "quality": "good",
    "reason_en": "good",
    "reason_zh": "正常",
    "age_s": 0.4,
    "zero": 0.0,
    "applied": 50.0,
    "peak": 12.5,
    "gas_s": 4.2,
    "off_s": None,
    "t90_s": None,
    "t90_limit_s": 30.0,
    "return_s": None,
    "return_limit_s": 60.0,
    "failing": "",
    "left_s": 754.0,
    "result": None,
    "result_reason": "",
    "own_alarms": [],
}


def shown(language: str = "en", width: int = 80, **changes: Any) -> str:
    return "\n".join(screen({**VIEW, **changes}, Words(language), width=width))


def test_the_value_stands_there_large_with_age_and_quality() -> None:
    text = shown()
    assert "\n  ".join(big("12.5")[:2]) in text
    assert "%LEL" in text
    assert "good, 0.4 s old" in text
    assert "> wait: 90 % is at 45" in text
    assert "to 90 %: 4 s, 30 s allowed" in text
    assert "12:34 more" in text


@pytest.mark.parametrize(
    ("quality", "reason", "expected"),
    [
        ("missing", "no reply", "MISSING: no reply, 0.4 s old"),
        ("bad", "instrument reports a fault", "BAD: instrument reports a fault"),
        ("uncertain", "over range", "UNCERTAIN: over range"),
    ],
)
def test_where_there_is_no_number_none_is_shown(quality: str, reason: str, expected: str) -> None:
    text = shown(value=None, text="", quality=quality, reason_en=reason)
    assert expected in text
    assert "████  ████   %LEL" in text


def test_before_the_first_sample_it_says_so() -> None:
    assert "no value was read yet" in shown(value=None, text="", quality=None, reason_en="not read yet", age_s=None)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("advice", list(Advice))
def test_every_advice_has_words(language: str, advice: Advice) -> None:
    assert shown(language, advice=advice.value)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_is_wider_than_the_terminal(language: str, width: int) -> None:
    lines = shown(language, width, own_alarms=["well-1/own-alarm/a1"] * 3, failing="bad: fault").splitlines()
    assert max(columns(line) for line in lines) <= width or width < 30, "digits are not folded to nothing"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_fits_a_small_terminal_with_everything_above_it(language: str) -> None:
    lines = screen(
        {**VIEW, "own_alarms": [f"well-1/own-alarm/a{number}" for number in range(4)], "failing": "bad: fault"},
        Words(language),
        width=80,
        refused="a bump test begins from a good value; the newest is fault",
    )
    assert "! a bump test begins" in "\n".join(lines[:23])


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("a bump test begins from a good value; the newest is fault", "通气测试须从良好读数开始（a bump test begins"),
        ("the gas (50) is too near to the value without it (49)", "标气数值"),
        ("gas_on is not possible in stage gas", "当前阶段"),
        ("no visit to 'well-1/ch4' runs", "此测点已无"),
        ("something new", "something new"),
    ],
)
def test_a_refusal_is_in_the_persons_language_where_it_is_known(refused: str, expected: str) -> None:
    assert refusal_of(Words("zh"), refused).startswith(expected)
    assert refusal_of(Words("en"), refused) == refused


def test_a_calibration_shows_before_and_after() -> None:
    text = shown(job="calibration", advice="end_work", applied=None, t90_limit_s=None, return_limit_s=None)
    assert "before: 0" in text
    assert "after: 12.5" in text
    assert "to 90 %" not in text


def test_the_verdict_is_in_the_persons_language() -> None:
    done = {**VIEW, "result": "failed", "result_reason": "slow: 41.0 s to 90 %, 30 s allowed"}
    assert ended(done, Words("en"))[0] == "FAILED: slow: 41.0 s to 90 %, 30 s allowed"
    assert ended(done, Words("zh"))[0] == "未通过：响应过慢：到 90% 用时 41.0 秒，允许 30 秒"
    assert ended({**done, "result_reason": "something new"}, Words("zh"))[0].endswith("something new")
    assert "signed under 王 工" in "\n".join(screen(done, Words("en")))


def test_whoever_leaves_is_told_what_happens_and_how_to_come_back() -> None:
    text = left_it(VIEW, Words("en"))
    assert "well-1/ch4 raises no alarm for at most 12:34 more" in text
    assert "edge-agent visit well-1/ch4 --by '王 工' --end" in text
    assert "12:34" in given_up(VIEW, Words("zh"))


def test_both_languages_say_everything() -> None:
    for language in LANGUAGES:
        assert say(Words(language), "point needed")
        assert say(Words(language), "by needed")
