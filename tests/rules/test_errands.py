"""What a maintainer is told: every finding has its words, gas points get gas, a fault names its cause."""

from __future__ import annotations

import pytest

from contracts.quality import CODES, Quality
from contracts.quantities import GASES, QUANTITIES
from rules.errands import Finding, errand_of


@pytest.mark.parametrize("finding", Finding)
def test_every_finding_has_words_in_both_languages(finding: Finding) -> None:
    for quantity in ("", "ch4", "pressure"):
        errand = errand_of(finding, quantity=quantity)
        words = [errand.what, errand.cause, *errand.bring]
        assert all(en and zh and en != zh for en, zh in words)
        assert len(set(errand.bring)) == len(errand.bring)


def test_the_gravest_comes_first() -> None:
    ranks = [errand_of(finding).rank for finding in Finding]
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize("quantity", sorted(GASES))
def test_a_gas_point_needs_its_gas(quantity: str) -> None:
    brought = [en for en, _ in errand_of(Finding.BUMP_DUE, quantity=quantity).bring]
    assert any("gas" in en or "nitrogen" in en for en in brought[:1])
    assert "a portable gas detector for the person" in brought
    assert quantity in QUANTITIES


def test_another_point_needs_a_reference_and_no_gas() -> None:
    brought = [en for en, _ in errand_of(Finding.CALIBRATION_DUE, quantity="pressure").bring]
    assert brought[0] == "a reference instrument with a valid certificate"
    assert not any("gas" in en for en in brought)


def test_what_a_bad_or_absent_reading_says_names_the_cause() -> None:
    assert "water" in errand_of(Finding.SENSOR_FAULT, reason="immersed").cause[0]
    assert "adapter" in errand_of(Finding.DEVICE_SILENT, reason="port_closed").cause[0]
    assert errand_of(Finding.DEVICE_SILENT, reason="what?") == errand_of(Finding.DEVICE_SILENT)
    assert errand_of(Finding.BUMP_DUE, reason="immersed") == errand_of(Finding.BUMP_DUE)


def test_bad_and_missing_readings_have_a_cause_of_their_own_except_those_of_the_gateway_itself() -> None:
    usual = {finding: errand_of(finding).cause for finding in (Finding.SENSOR_FAULT, Finding.POINT_SILENT)}
    without = {
        code.reason
        for code in CODES.values()
        for finding, quality in ((Finding.SENSOR_FAULT, Quality.BAD), (Finding.POINT_SILENT, Quality.MISSING))
        if code.quality is quality and errand_of(finding, reason=code.reason).cause == usual[finding]
    }
    assert without == {
        "not_computable",
        "device_busy",
        "device_exception",
        "missed_tick",
        "agent_stopped",
    }


def test_a_test_that_failed_for_want_of_readings_says_nothing_of_the_head() -> None:
    lost, slow = (
        errand_of(Finding.BUMP_FAILED, quantity="ch4", reason=why) for why in ("lost: no_reply", "slow: 42 s")
    )
    assert lost.cause == errand_of(Finding.DEVICE_SILENT, reason="no_reply").cause
    assert "worn" in slow.cause[0]
    assert lost.what == slow.what
