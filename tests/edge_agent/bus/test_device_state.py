"""How a device stands: the table row by row, the back-off, and the time-out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from contracts.quality import CODES
from edge_agent.bus.device_state import (
    BACKOFF_S,
    FAILURES,
    HEALTHY,
    RETURN_S,
    TABLE,
    DeviceState,
    Event,
    Phase,
    counted_timeout_s,
    event_of,
    gateway_rest_us,
    is_over_budget,
    longest_backoff_s,
    step,
    timeout_s,
)


def after(*events: Event, start: DeviceState = HEALTHY, now_us: int = 0) -> DeviceState:
    state = start
    for event in events:
        state = step(state, event, now_us)
    return state


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ((), Phase.HEALTHY),
        ((Event.ANSWERED,), Phase.HEALTHY),
        ((Event.UNANSWERED,), Phase.SUSPECT),
        ((Event.DAMAGED,), Phase.SUSPECT),
        ((Event.UNANSWERED, Event.UNANSWERED), Phase.SUSPECT),
        ((Event.UNANSWERED, Event.UNANSWERED, Event.ANSWERED), Phase.HEALTHY),
        ((Event.UNANSWERED,) * 3, Phase.SILENT),
        ((Event.UNANSWERED, Event.UNANSWERED, Event.DAMAGED, Event.UNANSWERED), Phase.SUSPECT),
        ((*(Event.DAMAGED,) * 9,), Phase.SUSPECT),
        ((*(Event.UNKNOWN,) * 9,), Phase.HEALTHY),
        ((*(Event.UNANSWERED,) * 3, Event.PROBED), Phase.PROBING),
        ((*(Event.UNANSWERED,) * 3, Event.PROBED, Event.ANSWERED), Phase.HEALTHY),
        ((*(Event.UNANSWERED,) * 3, Event.PROBED, Event.DAMAGED), Phase.SUSPECT),
        ((*(Event.UNANSWERED,) * 3, Event.PROBED, Event.UNANSWERED), Phase.SILENT),
        ((*(Event.UNANSWERED,) * 3, Event.PROBED, Event.UNKNOWN), Phase.SILENT),
    ],
)
def test_phases(events: tuple[Event, ...], phase: Phase) -> None:
    assert after(*events).phase is phase


def test_probes_wait_longer_and_longer() -> None:
    state = after(*(Event.UNANSWERED,) * FAILURES)
    waits, now = [], 0
    for _ in range(8):
        waits.append((state.probe_from_us - now) // 1_000_000)
        assert not state.may_be_asked(state.probe_from_us - 1)
        assert state.may_be_asked(state.probe_from_us)
        now = state.probe_from_us
        state = step(step(state, Event.PROBED, now), Event.UNANSWERED, now)
    assert waits == [*BACKOFF_S, 24, 24]


def test_a_probe_that_never_went_out_does_not_lengthen_the_wait() -> None:
    state = after(*(Event.UNANSWERED,) * FAILURES)
    again = after(Event.PROBED, Event.UNKNOWN, start=state)
    assert again.probes == state.probes
    assert again.probe_from_us == 1_000_000


def test_every_code_says_something() -> None:
    said = {code: event_of(code) for code in CODES if code >= 128}
    assert said[quality.NO_REPLY] is said[quality.GATEWAY_TARGET] is said[quality.FOREIGN_REPLY] is Event.UNANSWERED
    assert said[quality.BAD_FRAME] is Event.DAMAGED
    assert said[quality.ILLEGAL_ADDRESS] is said[quality.DEVICE_BUSY] is Event.ANSWERED
    for code in (quality.PORT_CLOSED, quality.CONNECT_FAILED, quality.NOT_ASKED, quality.GATEWAY_PATH):
        assert said[code] is Event.UNKNOWN


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_only_silent_devices_are_not_asked(events: list[Event]) -> None:
    state = after(*events)
    assert state.may_be_asked(0) is (state.phase is not Phase.SILENT)
    assert state.phase in TABLE
    assert (state == HEALTHY) is (state.phase is Phase.HEALTHY)


@pytest.mark.parametrize(
    ("slowest_us", "alone", "expected"),
    [
        (None, False, 0.5),
        (20_000, True, 2.0),
        (20_000, False, 0.2),
        (150_000, False, 0.3),
        (390_000, False, 0.5),
        (450_000, False, 0.9),
        (1_900_000, False, 2.0),
    ],
)
def test_timeout(slowest_us: int | None, alone: bool, expected: float) -> None:
    found = timeout_s(slowest_us=slowest_us, counted_s=0.5, max_reply_s=2.0, is_alone=alone)
    assert found == pytest.approx(expected)
    assert is_over_budget(slowest_us, 0.5) is (slowest_us is not None and slowest_us > 400_000)


@given(st.one_of(st.none(), st.integers(0, 20_000_000)), st.floats(0.05, 10), st.floats(0.05, 10), st.booleans())
def test_a_timeout_is_bounded(slowest_us: int | None, stated_s: float, max_reply_s: float, alone: bool) -> None:
    counted = counted_timeout_s(stated_s, max_reply_s)
    found = timeout_s(slowest_us=slowest_us, counted_s=counted, max_reply_s=max_reply_s, is_alone=alone)
    assert 0 < found <= max_reply_s
    if not alone and not is_over_budget(slowest_us, counted):
        assert found <= counted
        # A device within the budget is never cut off at what it was seen to need.
        assert slowest_us is None or found >= slowest_us / 1e6


@pytest.mark.parametrize(
    ("interval_ms", "reply_s", "longest"),
    [
        (100, 1.0, 24),
        (4000, 1.0, 24),
        (6000, 1.0, 22),
        (1000, 10.0, 18),
        (1000, 60.0, 8),
        (20_000, 1.0, 8),
        (60_000, 1.0, 1),
    ],
)
def test_a_probe_and_the_tick_it_waits_for_come_within_30_s(interval_ms: int, reply_s: float, longest: int) -> None:
    assert longest_backoff_s(interval_ms, reply_s) == longest
    assert longest + interval_ms / 1000 + reply_s < RETURN_S or longest in (1, 8)


def test_a_gateway_without_a_path_is_left_alone() -> None:
    assert gateway_rest_us(2, 100) == 0
    assert gateway_rest_us(3, 100) == 5_000_100
