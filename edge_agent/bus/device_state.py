"""How a device on a bus stands: a table, so that one dead device costs the others little.

A device that leaves several requests unanswered is *silent*: it is not asked at its ticks
any more, only probed now and then, and every tick in between is a sample ``not_asked``.
How long a probe waits, and what all probes of a line may cost, is ``probes``.
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

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from contracts import quality

#: requests in a row without an answer before a device counts as silent
FAILURES = 3
#: seconds from one unanswered probe to the next; the last one repeats
BACKOFF_S = (1, 2, 4, 8, 16, 24)
#: a device that returns is asked again within this, where its interval allows (seconds)
RETURN_S = 30
#: a gateway that says so often in a row that it has no path (exception 0A) is left alone for a while
GATEWAY_FAILURES = 3
#: that while (seconds)
GATEWAY_REST_S = 5
#: a device that shares its port is given at least this, however fast it was (seconds)
SHORTEST_TIMEOUT_S = 0.2
#: a device that shares its port is counted in the budget with this, where the site says nothing else (seconds)
COUNTED_TIMEOUT_S = 0.5
#: an answer that took more than this part of the counted time-out shows that the device needs a longer one
_FITTING = 0.8


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


#: a device that may take very long to answer is left alone at least so long between probes (seconds)
_LEAST_BACKOFF_S = 8


def longest_backoff_s(interval_ms: int, max_reply_s: float) -> int:
    """Returns the longest wait between probes of a device that is read this often, seconds.

    Probes go out at ticks, and a device may return while one is waiting for it: the three together
    stay within ``RETURN_S`` where that is possible.
    """
    room = RETURN_S - 1 - interval_ms // 1000
    return max(1, min(BACKOFF_S[-1], room, max(_LEAST_BACKOFF_S, room - math.ceil(max_reply_s))))


def backoff_s(probes: int, longest_s: int) -> int:
    """Returns how long a silent device waits for its next probe after so many in vain, seconds."""
    return min(BACKOFF_S[min(probes, len(BACKOFF_S) - 1)], longest_s)


def step(state: DeviceState, event: Event, now_us: int, longest_s: int = BACKOFF_S[-1]) -> DeviceState:
    """Returns the state after one event; an event that a phase does not list changes nothing.

    Args:
        now_us: when the wait for the answer was over, monotonic.
        longest_s: longest wait between two probes.
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
    wait_us = backoff_s(probes, longest_s) * 1_000_000
    return DeviceState(phase=phase, failures=failures, probes=probes, probe_from_us=now_us + wait_us)


def counted_timeout_s(stated_s: float, max_reply_s: float) -> float:
    """Returns the time-out that the budget counts for a device, seconds.

    Args:
        stated_s: as the site says; 0: it says nothing.
        max_reply_s: no reply of the device comes later.
    """
    return min(stated_s or COUNTED_TIMEOUT_S, max_reply_s)


def timeout_s(*, slowest_us: int | None, counted_s: float, max_reply_s: float, is_alone: bool) -> float:
    """Returns how long to wait for the next answer, in seconds, at most ``max_reply_s``.

    A device that shares its port gets twice its own slowest answer, within what the budget
    counts for it; one that was seen to need more than that gets more, and breaks the budget
    (``is_over_budget``).  A device that has the port for itself gets the whole time.

    Args:
        slowest_us: slowest answer of late; None: it never answered.
        counted_s: the time-out that the budget counts.
        is_alone: whether nobody else is waiting for the port.
    """
    if is_alone:
        return max_reply_s
    if slowest_us is None:
        return counted_s
    twice_s = max(SHORTEST_TIMEOUT_S, 2 * slowest_us / 1_000_000)
    return min(twice_s, max_reply_s if is_over_budget(slowest_us, counted_s) else counted_s, max_reply_s)


def is_over_budget(slowest_us: int | None, counted_s: float) -> bool:
    """Returns whether a device was seen to need longer than the budget counts for it."""
    return slowest_us is not None and slowest_us > _FITTING * counted_s * 1_000_000


def gateway_rest_us(failures: int, now_us: int) -> int:
    """Returns until when a gateway is left alone, monotonic us; 0: it may be asked at once.

    Exception 0A is about the gateway and not about the device that was asked.

    Args:
        failures: such answers in a row on the port.
        now_us: of the last one, monotonic.
    """
    return now_us + GATEWAY_REST_S * 1_000_000 if failures >= GATEWAY_FAILURES else 0
