"""What a plan costs a memory card and a link: estimates from measured figures, not promises.

Two measured points each (``docs/figures.md``, "The agent, everything on" and "Bytes written": 200 and 1000
readings a second, seals every 2 s) give a part per seal and a part per reading.  The registers of that
load move slowly and compress well (``low``); readings that compress badly need about
``_LIVELY_BYTES`` more each (``high``, from the batches of the ingest benchmark: 3.54 bytes a reading).
Alarms, thinning, outages and waveforms are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.plan import Plan

#: written to the card: 666 MB a day at 200 readings/s, 749 MB at 1000 (journal of the file system included)
_CARD_SEAL_BYTES = 14_900
_CARD_READING_BYTES = 1.2
#: sent, MQTT payloads of all topics: 917 MB in 30 days at 200 readings/s, 2035 MB at 1000
_UP_SEAL_BYTES = 492
_UP_READING_BYTES = 0.54
#: received: 227 MB in 30 days at either rate
_DOWN_SEAL_BYTES = 175
#: 3.54 bytes a reading where values jump, less what is in the figures above
_LIVELY_BYTES = 3.0
_DAY_S = 86_400
_MONTH_DAYS = 30
_DEFAULT_SEAL_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one configuration costs, about; MB are 1,000,000 bytes."""

    readings_per_s: float
    seal_interval_s: float
    #: written to the card in a day, slow values and lively ones
    card_mb_day: tuple[float, float]
    #: sent in 30 days, slow values and lively ones; None without an uplink
    up_mb_month: tuple[float, float] | None
    #: received in 30 days; None without an uplink
    down_mb_month: float | None


def estimate(plan: Plan) -> Estimate:
    """Returns what a plan costs, about."""
    readings = sum(len(block.points) * 1000 / block.interval_ms for block in plan.row_blocks)
    seal_s = plan.uplink.seal_interval_s or _DEFAULT_SEAL_S
    # A gateway with slow points seals only when there is something to seal.
    ticks = sum(1000 / block.interval_ms for block in plan.row_blocks)
    seals = min(1 / seal_s, ticks)
    day, month = _DAY_S / 1e6, _DAY_S * _MONTH_DAYS / 1e6
    card = [(seals * _CARD_SEAL_BYTES + readings * (_CARD_READING_BYTES + more)) * day for more in (0, _LIVELY_BYTES)]
    up = [(seals * _UP_SEAL_BYTES + readings * (_UP_READING_BYTES + more)) * month for more in (0, _LIVELY_BYTES)]
    has_link = bool(plan.uplink.host)
    return Estimate(
        readings_per_s=readings,
        seal_interval_s=seal_s,
        card_mb_day=(card[0], card[1]),
        up_mb_month=(up[0], up[1]) if has_link else None,
        down_mb_month=seals * _DOWN_SEAL_BYTES * month if has_link else None,
    )
