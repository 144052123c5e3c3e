"""From monotonic to wall time: pure rules for which anchor to believe.

Sealed bytes carry monotonic time only.  UTC is monotonic time plus an *offset*, one per
batch.  A batch that carries an anchor which something vouched for explains itself, unless a newer one
of its boot contradicts it (then the clock had been stepped).  Any other batch uses the best offset
that its boot is known to have:

    trusted   an anchor whose clock was set by NTP or by a collector
    free      an anchor of a free-running clock that states its uncertainty
    arrival   the least of (arrival - sealing) over the boot: tight once one batch came live

A clock that puts a sealing after its arrival by more than ``AHEAD_US`` is wrong and is not
believed, nor is one more than ``BEHIND_US`` behind a boot that was heard live.  An offset that was used
and is off by more than is uncertain now is repaired (``clock_repair.py``).  Nothing here reads a
clock.  Spec: docs/collector.md, "Time".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from contracts.batch import Anchor, ClockState, Header

#: a sealing this far after its arrival (us) proves that the gateway's clock is wrong
AHEAD_US = 5_000_000
#: a set clock this far (us) behind a boot that is heard live is wrong; a live link is never so slow
BEHIND_US = 60_000_000

#: what is off by less is left as it is (us)
SLACK_US = 500_000
#: how fast two monotonic clocks may drift apart: what the kernel allows itself, and what gateways state
_DRIFT_PPM = 500

#: an anchor less certain than this was carried on for half an hour or more (us)
_CARRIED_US = 1_000_000

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
    #: monotonic us of the anchor that the offset is from, and its half-width in ms; None for an arrival
    anchor_us: int | None = None
    uncertainty_ms: int | None = None


UNKNOWN_CLOCK = BootClock()


def own_anchor(anchors: tuple[Anchor, ...], sealed_us: int, arrived_us: int) -> Anchor | None:
    """Returns the anchor by which a batch explains itself, or None; of two the newest that is vouched for."""
    limit = arrived_us - sealed_us + AHEAD_US
    return _newest(anchors, _TRUSTED, limit) or _newest(_certain(anchors), frozenset({ClockState.FREE_RUNNING}), limit)


def own_offset(header: Header, arrived_us: int) -> int | None:
    """Returns the offset that a batch proves for itself, or None."""
    own = own_anchor(header.anchors, header.sealed_us, arrived_us)
    return None if own is None else _offset(own)


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


def improve(
    clock: BootClock, anchors: tuple[Anchor, ...], sealed_us: int, arrived_us: int, *, is_live: bool = False
) -> BootClock:
    """Returns what is known of a boot after one more batch (or ask) of it arrived.

    Args:
        clock: what was known.
        anchors: of the batch, of this boot.
        sealed_us: monotonic; for an ask the time of its anchor.
        arrived_us: UTC by our clock.
        is_live: whether the boot has asked, so that arrival is a bound on both sides.
    """
    now = arrived_us - sealed_us
    bound = now if clock.bound_us is None else min(now, clock.bound_us)
    held = replace(clock, bound_us=bound)
    if _is_disproved(held, sealed_us, now, is_live=is_live):
        held = BootClock(bound_us=bound, offset_us=bound, trust=Trust.ARRIVAL)
    own = own_anchor(anchors, sealed_us, arrived_us)
    if own is not None and not (is_live and _latest(own) < bound - BEHIND_US):
        trust = Trust.TRUSTED if own.state in _TRUSTED else Trust.FREE
        if (trust, own.mono_us) >= (held.trust, held.anchor_us or 0):
            return BootClock(
                bound_us=bound, offset_us=_offset(own), trust=trust, anchor_us=own.mono_us,
                uncertainty_ms=own.uncertainty_ms,
            )  # fmt: skip
    if held.trust <= Trust.ARRIVAL:
        least = bound if held.offset_us is None else min(bound, held.offset_us)
        return BootClock(bound_us=bound, offset_us=least, trust=Trust.ARRIVAL)
    return held


def _is_disproved(clock: BootClock, sealed_us: int, now: int, *, is_live: bool) -> bool:
    """Returns whether an arrival shows that the anchor which a boot's offset is from was wrong."""
    if clock.offset_us is None or clock.bound_us is None or clock.trust <= Trust.ARRIVAL:
        return False
    drift_us = _drift(clock, sealed_us)
    half_us = (clock.uncertainty_ms or 0) * 1000
    is_late = is_live and clock.offset_us + half_us < clock.bound_us - BEHIND_US - drift_us
    return is_late or clock.offset_us > now + AHEAD_US + drift_us


def offset_of(header: Header, arrived_us: int, clock: BootClock, *, is_live: bool = False) -> int:
    """Returns the offset for one batch by what is known of its boot now; ``clock`` already knows of the batch."""
    own = own_anchor(header.anchors, header.sealed_us, arrived_us)
    if own is not None and not _is_contradicted(own, clock, is_live=is_live):
        return _between(own, clock)
    now = arrived_us - header.sealed_us
    if clock.offset_us is None or (
        clock.bound_us is not None and clock.offset_us > now + AHEAD_US + _drift(clock, header.sealed_us)
    ):
        return now if clock.bound_us is None else min(now, clock.bound_us)
    return clock.offset_us


def _between(own: Anchor, clock: BootClock) -> int:
    """Returns the offset of a batch whose clock had been carried on, between the tie behind it and a newer one.

    Each counts by how certain it is here.  The uncertainties grow evenly with the time from either, so
    this is the straight line between them: a drift of days leaves no jump at its end.
    """
    half_us = (own.uncertainty_ms or 0) * 1000
    is_carried = own.state is not ClockState.SYNCHRONISED and half_us >= _CARRIED_US
    is_newer = clock.anchor_us is not None and clock.anchor_us >= own.mono_us
    if not is_carried or not is_newer or clock.offset_us is None or clock.trust is not Trust.TRUSTED:
        return _offset(own)
    other_us = (clock.uncertainty_ms or 0) * 1000 + _drift(clock, own.mono_us)
    return _offset(own) + (clock.offset_us - _offset(own)) * half_us // (half_us + other_us)


def _is_contradicted(own: Anchor, clock: BootClock, *, is_live: bool) -> bool:
    """Returns whether a newer anchor of the boot, or its live arrivals, say something else than an anchor."""
    drift_us = _drift(clock, own.mono_us)
    if is_live and clock.bound_us is not None and _latest(own) < clock.bound_us - BEHIND_US - drift_us:
        return True
    if clock.trust is not Trust.TRUSTED or clock.offset_us is None or (clock.anchor_us or 0) <= own.mono_us:
        return False
    unsure_us = ((own.uncertainty_ms or 0) + (clock.uncertainty_ms or 0)) * 1000 + drift_us
    return abs(_offset(own) - clock.offset_us) > unsure_us + SLACK_US


def has_moved(before: BootClock, after: BootClock) -> bool:
    """Returns whether what is known of a boot has changed by more than is uncertain: its batches may lie elsewhere."""
    if not has_changed(before, after):
        return False
    assert before.offset_us is not None
    assert after.offset_us is not None
    at_us = before.anchor_us if before.anchor_us is not None else after.anchor_us
    unsure_us = (after.uncertainty_ms or 0) * 1000 + _drift(after, at_us or 0)
    # A clock that runs free keeps its offset, however unsure that is: where it changes somebody has set it.
    return after.trust is not Trust.TRUSTED or abs(before.offset_us - after.offset_us) > unsure_us


def has_changed(before: BootClock, after: BootClock) -> bool:
    """Returns whether an offset that was used has changed by more than is left as it is."""
    if before.offset_us is None or after.offset_us is None:
        return False
    return abs(before.offset_us - after.offset_us) > SLACK_US


def is_apart(clock: BootClock, anchors: tuple[Anchor, ...], sealed_us: int, arrived_us: int) -> bool:
    """Returns whether a batch explains itself otherwise than its boot, and only a newer anchor of the boot can tell.

    ``clock`` already knows of the batch.  What a set clock says of the time before it is decided at once.
    """
    own = own_anchor(anchors, sealed_us, arrived_us)
    if own is None or clock.offset_us is None or abs(_offset(own) - clock.offset_us) <= SLACK_US:
        return False
    return clock.trust is not Trust.TRUSTED or own.mono_us > (clock.anchor_us or 0)


def _drift(clock: BootClock, at_us: int) -> int:
    """Returns by how much two clocks may have drifted apart between an anchor and a time (us)."""
    return 0 if clock.anchor_us is None else abs(at_us - clock.anchor_us) * _DRIFT_PPM // 1_000_000


def _offset(anchor: Anchor) -> int:
    return anchor.wall_us - anchor.mono_us


def _latest(anchor: Anchor) -> int:
    """Returns the greatest offset that an anchor leaves room for."""
    return _offset(anchor) + (anchor.uncertainty_ms or 0) * 1000


def _certain(anchors: tuple[Anchor, ...]) -> tuple[Anchor, ...]:
    return tuple(anchor for anchor in anchors if anchor.uncertainty_ms is not None)


def _newest(anchors: tuple[Anchor, ...], states: frozenset[ClockState], limit: int) -> Anchor | None:
    best: Anchor | None = None
    for anchor in anchors:
        is_usable = anchor.state in states and _offset(anchor) <= limit
        if is_usable and (best is None or anchor.mono_us >= best.mono_us):
            best = anchor
    return best
