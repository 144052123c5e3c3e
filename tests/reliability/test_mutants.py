"""Every mutant is caught: the tests of this room would tell if the promise were broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.crash_vfs_story import Story
from tests.reliability.mutants import MUTANTS, ReceiptWithoutDigest, SynchronousNormal
from tests.reliability.test_power_cuts import live_and_cut, scratch

__all__ = ["scratch"]
_NUMBERS = ("lost", "unexpected", "duplicated", "altered", "gaps")


#: the others are for the longer group
_ALWAYS = (SynchronousNormal, ReceiptWithoutDigest)


@pytest.mark.parametrize(
    "mutant",
    [mutant if mutant in _ALWAYS else pytest.param(mutant, marks=pytest.mark.ci) for mutant in MUTANTS],
    ids=lambda mutant: mutant.__name__,
)
def test_power_cuts_catch(mutant: type[Story], scratch: Path) -> None:
    outcome, counts = live_and_cut(scratch, 2, steps=90, states=60 if mutant in _ALWAYS else 250, story=mutant)
    numbers = dict(zip(_NUMBERS, outcome.numbers, strict=True))
    for name in MUTANTS[mutant]:
        assert numbers[name] > 0, f"{mutant.__name__} was not caught: {outcome}\n{counts}"


def test_the_gateway_that_is_no_mutant_is_clean_in_the_same_story(scratch: Path) -> None:
    outcome, counts = live_and_cut(scratch, 2, steps=90, states=60)
    assert outcome.bad == 0, str(outcome)
    assert counts["bad receipts"] > 0
    assert counts["starts"] > 1
