"""Which anchor is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.walltime import SLACK_US, UNKNOWN_CLOCK, BootClock, Trust, has_moved, improve, offset_of
from contracts.batch import NO_HEAD, Anchor, ClockState, Header, Lane, Origin

S = 1_000_000


def anchor(mono_s: int, offset_s: int, state: ClockState, uncertainty_ms: int | None = 5) -> Anchor:
    return Anchor(mono_us=mono_s * S, wall_us=(mono_s + offset_s) * S, state=state, uncertainty_ms=uncertainty_ms)


NTP, FREE, UNSET = ClockState.SYNCHRONISED, ClockState.FREE_RUNNING, ClockState.UNSET
ARRIVED = (UNKNOWN_CLOCK, 10 * S, 1010 * S)


@pytest.mark.parametrize(
    ("anchors", "offset_s", "trust"),
    [
        ((), 1000, Trust.ARRIVAL),
        ((anchor(9, 999, NTP),), 999, Trust.TRUSTED),
        ((anchor(9, 998, NTP), anchor(10, 999, NTP)), 999, Trust.TRUSTED),
        ((anchor(9, 900, FREE),), 900, Trust.FREE),
        ((anchor(9, 900, FREE, None),), 1000, Trust.ARRIVAL),
        ((anchor(9, 0, UNSET),), 1000, Trust.ARRIVAL),
        ((anchor(9, 1006, NTP),), 1000, Trust.ARRIVAL),
        ((anchor(9, 1004, NTP),), 1004, Trust.TRUSTED),
    ],
)
def test_the_best_anchor_wins(anchors: tuple[Anchor, ...], offset_s: int, trust: Trust) -> None:
    clock = improve(UNKNOWN_CLOCK, anchors, 10 * S, 1010 * S)
    assert (clock.offset_us, clock.trust, clock.bound_us) == (offset_s * S, trust, 1000 * S)


def test_a_tighter_arrival_improves_and_a_looser_one_does_not() -> None:
    clock = improve(UNKNOWN_CLOCK, (), 10 * S, 1310 * S)
    clock = improve(clock, (), 400 * S, 1401 * S)
    assert clock == BootClock(bound_us=1001 * S, offset_us=1001 * S, trust=Trust.ARRIVAL)
    assert improve(clock, (), 20 * S, 9999 * S) == clock


def test_trusted_is_not_replaced_by_less() -> None:
    clock = improve(UNKNOWN_CLOCK, (anchor(9, 999, NTP),), 10 * S, 1010 * S)
    assert improve(clock, (anchor(11, 900, FREE),), 12 * S, 1012 * S).offset_us == 999 * S


def header(sealed_us: int, *anchors: Anchor) -> Header:
    return Header(
        gateway="g-p3qhexlnis3f", epoch=b"12345678", lane=Lane.DATA, seq=2, previous=bytes(32), other=NO_HEAD,
        boot_id=bytes(16), boot_counter=1, sealed_us=sealed_us, anchors=anchors, catalogue=b"", origin=Origin.LIVE,
        readings=0, genesis=None,
    )  # fmt: skip


def test_an_older_anchor_does_not_replace_a_newer_one() -> None:
    clock = improve(UNKNOWN_CLOCK, (anchor(50, 1000, NTP),), 51 * S, 1051 * S)
    older = improve(clock, (anchor(9, 990, NTP),), 10 * S, 1052 * S)
    assert (older.offset_us, older.anchor_us) == (1000 * S, 50 * S)


def test_an_own_anchor_that_a_newer_one_contradicts_is_not_believed() -> None:
    clock = improve(UNKNOWN_CLOCK, (anchor(500, 1000, NTP),), 501 * S, 1501 * S)
    for offset_s, believed in ((1000, True), (1001, False), (999, False), (-3600, False)):
        own = anchor(9, offset_s, NTP)
        found = offset_of(header(10 * S, own), 2000 * S, clock)
        assert found == (offset_s if believed else 1000) * S
    # A kernel that states seconds of error contradicts nobody within them.
    vague = anchor(9, 998, NTP, uncertainty_ms=4000)
    assert offset_of(header(10 * S, vague), 2000 * S, clock) == 998 * S


def test_a_clock_far_behind_a_boot_that_is_heard_live_is_not_believed() -> None:
    behind = (anchor(9, -3600, NTP),)
    for is_live, offset_s in ((False, -3600), (True, 1000)):
        clock = improve(UNKNOWN_CLOCK, behind, 10 * S, 1010 * S, is_live=is_live)
        assert clock.offset_us == offset_s * S
        assert offset_of(header(10 * S, *behind), 1010 * S, clock, is_live=is_live) == offset_s * S
    before = improve(UNKNOWN_CLOCK, behind, 10 * S, 1010 * S)
    after = improve(before, behind, 20 * S, 1020 * S, is_live=True)
    assert (after.offset_us, after.trust) == (1000 * S, Trust.ARRIVAL)
    assert has_moved(before, after)


def test_an_arrival_disproves_an_offset_that_a_backlog_was_believed_by() -> None:
    # An hour ahead, and two hours late: nothing showed it.  Then the same boot is heard live.
    clock = improve(UNKNOWN_CLOCK, (anchor(9, 4600, NTP),), 10 * S, 8210 * S)
    assert clock.trust is Trust.TRUSTED
    live = improve(clock, (anchor(7500, 4600, NTP),), 7500 * S, 8500 * S, is_live=True)
    assert (live.offset_us, live.trust) == (1000 * S, Trust.ARRIVAL)


@given(
    drift_ppm=st.integers(-450, 450),
    state=st.sampled_from([FREE, ClockState.COLLECTOR]),
    days=st.integers(1, 7),
    half_ms=st.integers(1, 40),
)
def test_days_of_drift_without_a_link_leave_neither_a_jump_nor_an_overlap(
    drift_ppm: int, state: ClockState, days: int, half_ms: int
) -> None:
    # True time runs; the quartz drifts; the gateway carries its clock on and states what that may cost.
    def mono(true_us: int) -> int:
        return true_us + true_us * drift_ppm // 1_000_000

    start_us, end_us = 5000 * S, 5000 * S + days * 86_400 * S
    tie = start_us - mono(start_us)
    last = Anchor(mono_us=mono(end_us), wall_us=end_us, state=ClockState.SYNCHRONISED, uncertainty_ms=half_ms)
    clock = improve(UNKNOWN_CLOCK, (last,), mono(end_us), end_us + 20_000, is_live=True)
    before = None
    for hour in range(days * 24 + 1):
        true_us = start_us + hour * 3600 * S
        at_us = mono(true_us)
        grown_ms = half_ms + (at_us - mono(start_us)) // 2_000_000
        own = Anchor(mono_us=at_us, wall_us=at_us + tie, state=state, uncertainty_ms=grown_ms)
        wall_us = at_us + offset_of(header(at_us, own), end_us + 60 * S, clock, is_live=True)
        assert abs(wall_us - true_us) <= grown_ms * 1000 + SLACK_US
        if hour > 1:
            assert abs(wall_us - true_us) <= S, f"hour {hour}: off by {(wall_us - true_us) / 1e6} s"
        assert before is None or wall_us - before >= 3590 * S
        before = wall_us
