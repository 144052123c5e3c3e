"""Whether somebody works on a point now, by what its gateway signed last.  Pure.

What a statement means is ``contracts.inhibit``'s: it holds from ``since_us`` to before ``until_us`` of its boot's
monotonic time, and no inhibit outlives its boot.  A restarted agent of the same boot states what it took up again; a
new boot takes up none (``rules.restore``), so anything heard of one ends what an earlier boot stated.

No wall clock of a gateway decides.  Its own time now is reckoned from what it sealed and when that came, so a silent
gateway's statement ends at its time and not before.
"""

from __future__ import annotations

from dataclasses import dataclass

#: of the time since a boot began, this part is left to how far two clocks may drift apart (as ``walltime``: 500 ppm)
_DRIFT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InhibitView:
    """Somebody works on a point: its samples raise and clear no alarm."""

    #: UTC us
    since_us: int
    until_us: int
    reason: str
    #: the person's name
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """The newest statement of one point."""

    boot_no: int
    #: monotonic of that boot
    since_us: int
    until_us: int
    #: what turned the times of its batch into UTC
    offset_us: int
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What is known of the newest boot of a gateway."""

    boot_no: int
    #: the newest sealing, monotonic, and its arrival, UTC; None where no batch of that boot is here
    sealed_us: int | None
    arrived_us: int | None
    #: the least of arrival minus sealing of anything of that boot
    bound_us: int | None


def gateway_us(heard: Heard, now_us: int) -> int:
    """Returns how far the monotonic clock of a boot is now, at least (us).

    The newest sealing and the time since it came; and, because a backlog comes late, no less than the quickest arrival
    of the boot tells, short of what clocks may have drifted since.

    Args:
        heard: of that boot.
        now_us: UTC, our clock.
    """
    newest = 0
    if heard.sealed_us is not None and heard.arrived_us is not None:
        newest = heard.sealed_us + max(0, now_us - heard.arrived_us)
    quickest = 0 if heard.bound_us is None else max(0, now_us - heard.bound_us)
    return max(newest, quickest - quickest // _DRIFT)


def show_inhibit(stated: Stated, heard: Heard, now_us: int) -> InhibitView | None:
    """Returns what is to be shown of a statement; None where it holds no more."""
    if stated.boot_no != heard.boot_no or not stated.since_us <= gateway_us(heard, now_us) < stated.until_us:
        return None
    return InhibitView(
        since_us=stated.since_us + stated.offset_us,
        until_us=stated.until_us + stated.offset_us,
        reason=stated.reason,
        by=stated.by,
    )
