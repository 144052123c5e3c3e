"""How a device on a bus stands: a table, so that one dead device costs the others little.

A device that leaves several requests unanswered is *silent*: it is not asked at its ticks
any more, only probed now and then, and every tick in between is a sample ``not_asked``.
This is about asking.  Whether a point counts as silent for people is a rule of its own
(``rules.point``).  Figures are engineering defaults of this project.

::

    HEALTHY --no answer, damaged--> SUSPECT --3rd without answer--> SILENT --due again--> PROBING
       ^                               |  ^                            ^                    | | |
       +-----------answered------------+  +--------damaged-------------|--------------------+ | |
       ^                                                               +------no answer-------+ |
       +-----------------------------------answered---------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from contracts import quality

#: requests in a row without an answer before a device counts as silent
FAILURES = 3
#: seconds from one unanswered probe to the next; the last one repeats
BACKOFF_S = (1, 2, 4, 8, 16, 30)
#: a device that shares its port is given at least this, however fast it was
SHORTEST_TIMEOUT_S = 0.2
#: every n-th probe waits the whole ``max_reply_s``: the device may have become slow
LONG_PROBE = 3


class Phase(Enum):
    """What the bus thinks of a device; the value is how health shows it."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    SILENT = "silent"
    PROBING = "probing"


class Event(Enum):
    """What a request, or its time, says about a device."""

    #: a reply of its own, be it an exception
    ANSWERED = "answered"
    #: something came and was damaged
    DAMAGED = "damaged"
    UNANSWERED = "unanswered"
    UNANSWERED_TOO_OFTEN = "unanswered too often"
    #: the request never got to the device: port gone, path closed
    UNKNOWN = "unknown"
    #: a probe goes out
    PROBED = "probed"


TABLE: Mapping[Phase, Mapping[Event, Phase]] = MappingProxyType(
    {
        Phase.HEALTHY: MappingProxyType(
            {
                Event.DAMAGED: Phase.SUSPECT,
                Event.UNANSWERED: Phase.SUSPECT,
                Event.UNANSWERED_TOO_OFTEN: Phase.SILENT,
            }
        ),
        Phase.SUSPECT: MappingProxyType(
            {
                Event.ANSWERED: Phase.HEALTHY,
                Event.DAMAGED: Phase.SUSPECT,
                Event.UNANSWERED: Phase.SUSPECT,
                Event.UNANSWERED_TOO_OFTEN: Phase.SILENT,
            }
        ),
        Phase.SILENT: MappingProxyType({Event.PROBED: Phase.PROBING}),
        Phase.PROBING: MappingProxyType(
            {
                Event.ANSWERED: Phase.HEALTHY,
                Event.DAMAGED: Phase.SUSPECT,
                Event.UNANSWERED: Phase.SILENT,
                Event.UNKNOWN: Phase.SILENT,
            }
        ),
    }
)

_UNANSWERED = frozenset({quality.NO_REPLY, quality.FOREIGN_REPLY, quality.GATEWAY_TARGET})
_ANSWERED = frozenset(
    {
        quality.GOOD,
        quality.ILLEGAL_FUNCTION,
        quality.ILLEGAL_ADDRESS,
        quality.ILLEGAL_VALUE,
        quality.DEVICE_FAILURE,
        quality.DEVICE_BUSY,
        quality.DEVICE_EXCEPTION,
    }
)


def event_of(code: int) -> Event:
    """Returns what the quality code of a read says about the device itself."""
    if code in _ANSWERED:
        return Event.ANSWERED
    if code == quality.BAD_FRAME:
        return Event.DAMAGED
    return Event.UNANSWERED if code in _UNANSWERED else Event.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """Where one device stands."""

    phase: Phase = Phase.HEALTHY
    #: requests in a row without an answer
    failures: int = 0
    #: probes in a row without an answer
    probes: int = 0
    #: while silent: the first tick from here on is a probe, monotonic us
    probe_from_us: int = 0

    def may_be_asked(self, now_us: int) -> bool:
        """Whether a tick that is due now goes out, as a request or as a probe."""
        return self.phase is not Phase.SILENT or now_us >= self.probe_from_us


HEALTHY = DeviceState()


def step(state: DeviceState, event: Event, now_us: int) -> DeviceState:
    """Returns the state after one event; an event that a phase does not list changes nothing.

    Args:
        now_us: when the wait for the answer was over, monotonic.
    """
    failures = state.failures + (event is Event.UNANSWERED)
    if event is Event.UNANSWERED and state.phase is not Phase.PROBING and failures >= FAILURES:
        event = Event.UNANSWERED_TOO_OFTEN
    phase = TABLE[state.phase].get(event)
    if phase is None:
        return state
    if phase is Phase.HEALTHY:
        return HEALTHY
    if phase is Phase.SUSPECT:
        return DeviceState(phase=phase, failures=0 if event is Event.DAMAGED else failures)
    if phase is Phase.PROBING:
        return DeviceState(phase=phase, failures=failures, probes=state.probes, probe_from_us=state.probe_from_us)
    # Silent: an unanswered probe waits longer than the one before; one that never went out does not.
    probes = state.probes + (state.phase is Phase.PROBING and event is Event.UNANSWERED)
    wait_us = BACKOFF_S[min(probes, len(BACKOFF_S) - 1)] * 1_000_000
    return DeviceState(phase=phase, failures=failures, probes=probes, probe_from_us=now_us + wait_us)


def timeout_s(state: DeviceState, *, slowest_us: int | None, max_reply_s: float, is_alone: bool) -> float:
    """Returns how long to wait for the next answer, in seconds, at most ``max_reply_s``.

    A device that shares its port waits twice its own slowest answer of late, doubled with each
    failure; one that has the port for itself, or never answered, gets the whole time.

    Args:
        slowest_us: slowest answer of the last minutes; None: there was none.
        is_alone: whether nobody else is waiting for the port.
    """
    if is_alone or slowest_us is None:
        return max_reply_s
    base = max(SHORTEST_TIMEOUT_S, 2 * slowest_us / 1_000_000)
    if state.phase is Phase.PROBING:
        return max_reply_s if (state.probes + 1) % LONG_PROBE == 0 else min(base, max_reply_s)
    return min(base * (1 << state.failures), max_reply_s)
