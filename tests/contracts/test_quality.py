"""Quality codes: one meaning each, and what follows from a code alone."""

from __future__ import annotations

import re

from contracts import quality
from contracts.quality import BY_REASON, CODES, GOOD, WITH_VALUE, Quality, quality_of


def test_codes_are_bytes_with_one_reason_each() -> None:
    assert all(number == item.code and 0 <= number <= 255 for number, item in CODES.items())
    assert len(BY_REASON) == len(CODES)
    assert all(re.fullmatch("[a-z0-9_]+", reason) for reason in BY_REASON)
    assert all(CODES[number].reason == reason for reason, number in BY_REASON.items())


def test_every_named_constant_is_a_code() -> None:
    constants = {value for name, value in vars(quality).items() if name.isupper() and isinstance(value, int)}
    assert constants == set(CODES)


def test_the_range_of_a_code_tells_its_quality() -> None:
    for item in CODES.values():
        if item.code < 16:
            assert item.quality is Quality.GOOD
        elif item.code < 64:
            assert item.quality is Quality.UNCERTAIN
        elif item.code < 128:
            assert item.quality is Quality.BAD
        else:
            assert item.quality is Quality.MISSING


def test_only_these_carry_a_number() -> None:
    assert {quality.GOOD, quality.CALIBRATION_OVERDUE, quality.INSTRUMENT_WARNING} == WITH_VALUE
    assert {number for number, item in CODES.items() if item.has_value} == WITH_VALUE


def test_both_languages_name_every_code() -> None:
    assert all(item.en and item.zh for item in CODES.values())
    assert all(re.search("[\u4e00-\u9fff]", item.zh) for item in CODES.values())


def test_a_number_nobody_assigned_is_bad() -> None:
    assert quality_of(GOOD) is Quality.GOOD
    assert quality_of(200) is Quality.BAD
    assert quality_of(quality.NO_REPLY) is Quality.MISSING
