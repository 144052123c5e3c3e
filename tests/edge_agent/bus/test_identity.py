"""Whose values these are."""

from __future__ import annotations

import pytest

from contracts.quality import CALIBRATION_OVERDUE, FAULT, GOOD, NO_REPLY, OTHER_DEVICE, OVER_RANGE
from edge_agent.bus.identity import TABLE, Identity, Told, codes_of_another, compare, step


@pytest.mark.parametrize(
    ("declared", "said", "told"),
    [
        ("104233", "104233", Told.SAME_NUMBER),
        ("0104233", "104233", Told.SAME_NUMBER),
        ("ab12 ", " AB12", Told.SAME_NUMBER),
        ("104233", "104877", Told.OTHER_NUMBER),
        ("AB12", "AB13", Told.OTHER_NUMBER),
        ("104233", "", Told.NOT_TOLD),
        ("104233", "0", Told.NOT_TOLD),
        ("104233", "   ", Told.NOT_TOLD),
    ],
)
def test_two_numbers(declared: str, said: str, told: Told) -> None:
    assert compare(declared, said) is told


def test_every_state_can_become_right_and_wrong_again() -> None:
    for state in Identity:
        assert step(state, Told.SAME_NUMBER) is Identity.SAME
        assert step(state, Told.OTHER_NUMBER) is Identity.OTHER
        assert set(TABLE[state].values()) <= set(Identity)


@pytest.mark.parametrize("state", [Identity.SAME, Identity.OTHER, Identity.UNTOLD])
def test_a_silence_makes_it_unchecked(state: Identity) -> None:
    assert step(state, Told.SILENCE_OVER) is Identity.UNCHECKED


@pytest.mark.parametrize("state", [Identity.SAME, Identity.OTHER])
def test_an_untold_number_takes_nothing_back(state: Identity) -> None:
    assert step(state, Told.NOT_TOLD) is state


def test_no_value_of_another_unit_counts() -> None:
    codes = codes_of_another((GOOD, CALIBRATION_OVERDUE, OVER_RANGE, FAULT, NO_REPLY))
    assert codes == (OTHER_DEVICE, OTHER_DEVICE, OTHER_DEVICE, FAULT, NO_REPLY)
