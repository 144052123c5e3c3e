"""Ages, delays and times in words."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from collector.web import words
from contracts.batch import LOSS_CAUSES, ClockState
from contracts.catalogue import SEVERITIES
from contracts.quality import BY_REASON, CODES, Quality
from tests.collector.web.fake_city import START_US

CHINA = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (-3600, "clock wrong", "时钟有误"),
        (-1.5, "0 s", "0 秒"),
        (0.9, "0 s", "0 秒"),
        (99.9, "99 s", "99 秒"),
        (100, "1 min", "1 分钟"),
        (5999, "99 min", "99 分钟"),
        (6000, "1 h 40 min", "1 小时 40 分"),
        (172_799, "47 h 59 min", "47 小时 59 分"),
        (172_800, "2 d", "2 天"),
    ],
)
def test_age(seconds: float, english: str, chinese: str) -> None:
    assert words.age_words("en", seconds) == english
    assert words.age_words("zh", seconds) == chinese


@pytest.mark.parametrize(
    ("milliseconds", "said"), [(0.4, "0 ms"), (80, "80 ms"), (1500, "1.5 s"), (95_000, "95.0 s"), (180_000, "3 min")]
)
def test_delay(milliseconds: float, said: str) -> None:
    assert words.delay_words("en", milliseconds) == said


def test_times_are_shown_in_the_zone_of_the_page() -> None:
    assert words.time_words(START_US, UTC) == "11-22 04:00:00"
    assert words.time_words(START_US, CHINA) == "11-22 12:00:00"
    assert words.offset_words(START_US, CHINA) == "UTC+08:00"
    assert words.offset_minutes(START_US, CHINA) == 480
    assert words.offset_minutes(START_US, timezone(timedelta(hours=-3, minutes=-30))) == -210


def test_the_steps_of_an_alarm_show_milliseconds() -> None:
    assert words.step_words(START_US + 7_999, UTC) == "11-22 04:00:00.007"
    assert words.step_words(1 << 62, UTC) == "–"


def test_every_state_that_the_contracts_name_has_a_word() -> None:
    assert set(words.LOSS) == LOSS_CAUSES
    assert set(words.CLOCK) == {state.value for state in ClockState} | {"wrong"}
    assert set(words.SEVERITY) == set(words.SEVERITY_RANK) == set(words.SEVERITY_SHAPE) == SEVERITIES
    assert set(words.QUALITY) == {quality.value for quality in Quality} | {"unknown"}


def test_a_word_of_a_newer_gateway_is_shown_as_it_is() -> None:
    assert words.word("zh", words.CAUSE, "limit") == "越限"
    assert words.word("zh", words.CAUSE, "gnomes") == "gnomes"


@pytest.mark.parametrize("us", [1 << 62, -(1 << 62)])
def test_a_time_of_no_calendar_is_a_dash(us: int) -> None:
    assert words.moment(us, UTC) is None
    assert words.time_words(us, UTC) == "–"


@pytest.mark.parametrize(
    ("text", "en", "zh"),
    [
        ("trial", "TRIAL", "试运行"),
        ("by=Li", "reset by Li", "复位人 Li"),
        ("with=well-1/ch4", "together with well-1/ch4", "同时关联 well-1/ch4"),
        ("over_range", CODES[BY_REASON["over_range"]].en, CODES[BY_REASON["over_range"]].zh),
        ("of a newer gateway", "of a newer gateway", "of a newer gateway"),
    ],
)
def test_the_marks_of_an_event_are_said_in_words(text: str, en: str, zh: str) -> None:
    assert (words.mark_words("en", text), words.mark_words("zh", text)) == (en, zh)
