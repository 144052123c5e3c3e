"""Whom a scan asks and in which order: lists."""

from __future__ import annotations

import pytest

from edge_agent.tools.scan_plan import (
    FAST_S,
    SLOW_S,
    Kind,
    KnownDevice,
    Settings,
    factory_questions,
    first_passes,
    further_passes,
    other_settings,
    seconds_of,
)

NINE6 = Settings()
EVEN19 = Settings(baud=19200, parity="E")


def device(profile: str, unit_id: int | None, settings: Settings = NINE6, address: int = 0) -> KnownDevice:
    return KnownDevice(profile=profile, unit_id=unit_id, settings=settings, questions=(("holding", address, 2),))


def test_a_character_has_the_bits_of_its_settings() -> None:
    assert NINE6.char_s == pytest.approx(10 / 9600)
    assert EVEN19.char_s == pytest.approx(11 / 19200)
    assert str(EVEN19) == "19200 8E1"


def test_247_silent_addresses_take_at_most_12_s_at_9600_8n1() -> None:
    assert seconds_of(FAST_S, NINE6, 247) <= 12.0


def test_every_factory_address_gets_its_first_question_before_any_gets_its_second() -> None:
    known = [device("a", 1, address=0), device("b", 1, address=4), device("c", 246), device("d", None)]
    asked = [(question.unit_id, question.address) for question in factory_questions(known)]
    assert asked == [(1, 0), (246, 0), (1, 4)]
    assert [q.unit_id for q in factory_questions(known, skip={1})] == [246]


def test_the_same_question_is_not_asked_twice() -> None:
    assert len(factory_questions([device("a", 1), device("b", 1)])) == 1


def test_settings_that_devices_are_shipped_with_come_first() -> None:
    known = [device("a", 1, EVEN19), device("b", 1, EVEN19), device("c", 1, Settings(baud=4800)), device("d", 1, NINE6)]
    found = other_settings(known, NINE6)
    assert found[0] == EVEN19
    assert found[1] == Settings(baud=4800)
    assert NINE6 not in found
    assert len(set(found)) == len(found) == 8 * 3 - 1


def test_bauds_that_are_named_are_tried_alone_and_in_that_order() -> None:
    found = other_settings([device("a", 1, EVEN19)], NINE6, (19200, 9600))
    assert found[0] == EVEN19
    assert [settings.baud for settings in found] == [19200] * 3 + [9600] * 2


def test_the_passes_with_the_lines_own_settings() -> None:
    passes = first_passes([device("a", 246)], NINE6, skip={3})
    assert [one.kind for one in passes] == [Kind.FACTORY, Kind.FAST, Kind.SLOW]
    assert [question.unit_id for question in passes[0].questions] == [246]
    assert len(passes[1].questions) == 246
    assert passes[2].wait_s == SLOW_S


def test_further_passes_ask_factory_addresses_of_these_settings_first() -> None:
    (one,) = further_passes([EVEN19], [device("a", 246, EVEN19), device("b", 126, NINE6)])
    assert [question.unit_id for question in one.questions[:3]] == [246, 1, 2]
    assert len(one.questions) == 247
