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
    TABLE,
    DeviceState,
    Event,
    Phase,
    event_of,
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
    assert waits == [*BACKOFF_S, 30, 30]


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
    ("state", "slowest_us", "alone", "expected"),
    [
        (HEALTHY, None, False, 1.0),
        (HEALTHY, 20_000, True, 1.0),
        (HEALTHY, 20_000, False, 0.2),
        (HEALTHY, 150_000, False, 0.3),
        (HEALTHY, 900_000, False, 1.0),
        (DeviceState(phase=Phase.SUSPECT, failures=1), 20_000, False, 0.4),
        (DeviceState(phase=Phase.SUSPECT, failures=2), 20_000, False, 0.8),
        (DeviceState(phase=Phase.PROBING, failures=3, probes=0), 20_000, False, 0.2),
        (DeviceState(phase=Phase.PROBING, failures=5, probes=2), 20_000, False, 1.0),
    ],
)
def test_timeout(state: DeviceState, slowest_us: int | None, alone: bool, expected: float) -> None:
    assert timeout_s(state, slowest_us=slowest_us, max_reply_s=1.0, is_alone=alone) == pytest.approx(expected)
