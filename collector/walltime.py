"""From monotonic to wall time: pure rules for which anchor to believe.

Sealed bytes carry monotonic time only.  UTC is monotonic time plus an *offset*, one per
batch.  A batch that carries an anchor of a synchronised clock explains itself.  Any other
batch uses the best offset that its boot is known to have:

    trusted   an anchor whose clock was set by NTP or by a collector
    free      an anchor of a free-running clock that states its uncertainty
    arrival   the least of (arrival - sealing) over the boot: tight once one batch came live

A clock that puts a sealing after its arrival by more than ``AHEAD_US`` is wrong and is not
believed.  Nothing here reads a clock.  Spec: docs/collector.md, "Time".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from contracts.batch import Anchor, ClockState, Header

#: a sealing this far after its arrival (us) proves that the gateway's clock is wrong
AHEAD_US = 5_000_000
#: a set clock this far (us) behind a boot that is heard live is wrong; a live link is never so slow
BEHIND_US = 60_000_000

_TRUSTED = frozenset({ClockState.SYNCHRONISED, ClockState.COLLECTOR})


class Trust(IntEnum):
    """Where an offset comes from, best last."""

    NONE = 0
    ARRIVAL = 1
    FREE = 2
    TRUSTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BootClock:
    """What is known of one boot's clock; offsets in us, None while nothing is known."""

    bound_us: int | None = None
    offset_us: int | None = None
    trust: Trust = Trust.NONE


UNKNOWN_CLOCK = BootClock()


def own_offset(header: Header, arrived_us: int) -> int | None:
    """Returns the offset that a batch proves for itself, or None."""
    return _newest(header.anchors, _TRUSTED, arrived_us - header.sealed_us + AHEAD_US)


def is_ahead(anchors: tuple[Anchor, ...], sealed_us: int, arrived_us: int) -> bool:
    """Returns whether the newest set clock puts the sealing after its arrival."""
    known = [anchor for anchor in anchors if anchor.state is not ClockState.UNSET]
    return bool(known) and known[-1].wall_us - known[-1].mono_us > arrived_us - sealed_us + AHEAD_US


def is_behind(anchors: tuple[Anchor, ...], bound_us: int | None) -> bool:
    """Returns whether the newest set clock lies far behind ours.

    ``bound_us`` is the least of arrival minus sealing of a boot that was heard live; None while it was not,
    because then what looks behind may only have come late.
    """
    known = [anchor for anchor in anchors if anchor.state is not ClockState.UNSET]
    return bound_us is not None and bool(known) and known[-1].wall_us - known[-1].mono_us < bound_us - BEHIND_US


def improve(clock: BootClock, anchors: tuple[Anchor, ...], sealed_us: int, arrived_us: int) -> BootClock:
    """Returns what is known of a boot after one more batch (or ask) of it arrived.

    Args:
        clock: what was known.
        anchors: of the batch, of this boot.
        sealed_us: monotonic; for an ask the time of its anchor.
        arrived_us: UTC by our clock.
    """
    bound = arrived_us - sealed_us
    if clock.bound_us is not None:
        bound = min(bound, clock.bound_us)
    limit = arrived_us - sealed_us + AHEAD_US
    trusted = _newest(anchors, _TRUSTED, limit)
    if trusted is not None:
        return BootClock(bound_us=bound, offset_us=trusted, trust=Trust.TRUSTED)
    if clock.trust <= Trust.FREE:
        certain = tuple(anchor for anchor in anchors if anchor.uncertainty_ms is not None)
        free = _newest(certain, frozenset({ClockState.FREE_RUNNING}), limit)
        if free is not None:
            return BootClock(bound_us=bound, offset_us=free, trust=Trust.FREE)
    if clock.trust <= Trust.ARRIVAL:
        return BootClock(bound_us=bound, offset_us=bound, trust=Trust.ARRIVAL)
    return BootClock(bound_us=bound, offset_us=clock.offset_us, trust=clock.trust)


def offset_of(header: Header, arrived_us: int, clock: BootClock) -> int:
    """Returns the offset for one batch; ``clock`` already knows of it."""
    own = own_offset(header, arrived_us)
    if own is not None:
        return own
    return clock.offset_us if clock.offset_us is not None else arrived_us - header.sealed_us


def _newest(anchors: tuple[Anchor, ...], states: frozenset[ClockState], limit: int) -> int | None:
    best: Anchor | None = None
    for anchor in anchors:
        is_usable = anchor.state in states and anchor.wall_us - anchor.mono_us <= limit
        if is_usable and (best is None or anchor.mono_us >= best.mono_us):
            best = anchor
    return None if best is None else best.wall_us - best.mono_us
