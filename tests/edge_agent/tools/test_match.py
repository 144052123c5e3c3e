"""Which profile fits, how surely, and whether two units share an address: tables."""

from __future__ import annotations

import pytest

from drivers.loader import load_profile
from drivers.matching import Surely
from edge_agent.tools.heard import Answer, Outcome
from edge_agent.tools.match import (
    REPEATS,
    Repeats,
    candidate,
    count_repeats,
    fits,
    shared_addresses,
    spans_to_read,
)
from edge_agent.tools.scan_plan import Settings

NINE6 = Settings()
QD = candidate(load_profile("qd-transmitter"))
VEGA = candidate(load_profile("vegapuls-6x"))
KELLER = candidate(load_profile("keller-30"))
REFUSED = Answer(outcome=Outcome.EXCEPTION, exception=2)


def good(*words: int) -> Answer:
    return Answer(outcome=Outcome.GOOD, words=words)


def surely(words: tuple[int, ...]) -> Surely:
    (block,) = QD.blocks
    found = fits([QD], {(block.table, block.address, block.count): good(*words)}, 9, NINE6)
    return found[0].surely if found else Surely.UNKNOWN


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((1, 3, 1234), Surely.LIKELY),  # kPa, three decimals
        ((0, 3, 1234), Surely.LIKELY),  # MPa: a code that the profile knows, though the default is kPa
        ((77, 3, 1234), Surely.UNKNOWN),  # no such unit
        ((1, 9, 1234), Surely.UNKNOWN),  # no such number of decimals
        ((0, 20077, 5), Surely.UNKNOWN),  # MPa, no such decimals: the registers of a gas head
        ((0, 0, 0), Surely.POSSIBLE),  # all zero proves little
    ],
)
def test_a_unit_code_that_the_profile_knows_makes_it_likely(words: tuple[int, ...], expected: Surely) -> None:
    assert surely(words) is expected


def test_a_unit_that_refuses_the_registers_fits_nothing() -> None:
    (block,) = QD.blocks
    assert fits([QD], {(block.table, block.address, block.count): REFUSED}, 1, NINE6) == ()
    assert fits([QD, VEGA, KELLER], {}, 1, NINE6) == ()


def test_floats_of_a_wrong_word_order_are_not_plausible() -> None:
    (block, *_) = KELLER.blocks
    span = (block.table, block.address, block.count)
    plain = fits([KELLER], {span: good(*(0x3F81, 0xB22D, 0, 0)[: block.count])}, 1, NINE6)
    assert [fit.profile for fit in plain] in ([], ["keller-30"])


def test_factory_address_and_settings_are_read_first() -> None:
    spans = spans_to_read([KELLER, QD, VEGA], 246, NINE6)
    assert spans[0] in VEGA.spans
    assert len(set(spans)) == len(spans)
    assert set(spans) == {*KELLER.spans, *QD.spans, *VEGA.spans}


def test_a_block_that_needs_a_write_first_is_never_tried() -> None:
    for one in (QD, VEGA, KELLER):
        assert all(block.trigger is None for block in one.blocks)


def tally(**counts: int) -> Repeats:
    return Repeats(**{"asked": REPEATS, "good": 0, "damaged": 0, "doubled": 0, "silent": 0, **counts})  # type: ignore[arg-type]


FINE, MIXED = tally(good=20), tally(good=10, damaged=10)


@pytest.mark.parametrize(
    ("tallies", "shared"),
    [
        ({1: FINE, 2: FINE}, ()),
        ({1: FINE, 2: MIXED}, (2,)),
        ({1: FINE, 2: tally(good=18, damaged=2)}, ()),
        ({1: FINE, 2: tally(good=19, doubled=1)}, (2,)),
        ({1: MIXED, 2: MIXED}, ()),  # the whole line is noisy
        ({1: tally(good=15, damaged=2), 2: MIXED}, ()),  # others are damaged too
        ({2: MIXED}, ()),  # nothing to compare with
        ({2: tally(good=12, damaged=6, doubled=2)}, (2,)),
        ({1: FINE, 2: tally(damaged=20)}, (2,)),
        ({1: FINE, 2: tally(silent=20)}, ()),
    ],
)
def test_two_units_at_one_address(tallies: dict[int, Repeats], shared: tuple[int, ...]) -> None:
    assert shared_addresses(tallies) == shared


def test_two_serial_numbers_are_two_units() -> None:
    answers = [good(1)] * 4
    assert shared_addresses({1: count_repeats(answers, ["4711", "4712", "4711"])}) == (1,)
    assert shared_addresses({1: count_repeats(answers, ["4711", "4711"])}) == ()
