"""From a row of ``latest`` to what is shown: value, unit, quality in words, age.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from collector.inhibit_views import InhibitView
from collector.trend import scaled
from collector.views import PointView
from collector.visit_views import LastVisit
from contracts.catalogue import Catalogue, CataloguePoint
from contracts.quality import CODES, quality_of
from contracts.units import UNITS

#: a clock that is off by more than this is not used for ages (us)
_BELIEVED_US = 60_000_000


class Silence:
    """How ages are told apart from clocks."""

    @staticmethod
    def offset(bound_us: int | None, offset_us: int | None, live_us: int | None) -> int | None:
        """Returns the offset for the ages of one boot.

        A boot that has asked live is bounded by our own clock; where its own clock says
        something far from that, ours counts.
        """
        if offset_us is None or bound_us is None:
            return bound_us
        if live_us is not None and abs(bound_us - offset_us) > _BELIEVED_US:
            return bound_us
        return offset_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What the intervals of one gateway say now."""

    now_us: int
    #: between two sealings, us
    seal_us: int
    #: of nothing arriving, s
    silent_after_s: float
    gateway_silent: bool
    #: boot number -> offset for ages
    offsets: Mapping[int, int | None]


def show_point(
    gateway: str,
    catalogue: Catalogue,
    point: CataloguePoint,
    row: tuple[Any, ...] | None,
    timing: Timing,
    alarm: str | None,
    visit: LastVisit | None = None,
    due: Sequence[tuple[str, str, str]] = (),
    inhibit: InhibitView | None = None,
) -> PointView:
    """Returns one point with its latest sample; ``row`` is of ``collector.queries``, None if there is none."""
    unit = UNITS[point.unit]
    device = catalogue.devices[point.device]
    value, shown, code, wall_us = None, "", 0, None
    number, number_wall_us = None, None
    if row is not None:
        _, _, _, wall_us, code, raw, kind, step, raw_number, _, n_kind, n_step, *units = row
        value = scaled(raw, Fraction(step) if kind == "int" else None)
        number_wall_us = number_time_of(row, point.unit)
        if number_wall_us is not None:
            number = scaled(raw_number, Fraction(n_step) if n_kind == "int" else None)
        shown = "" if value is None else show_number(value, Fraction(step) if kind == "int" else None)
        if units[0] != point.unit:
            # The newest sample is of another unit than the catalogue now says: not this point's value.
            value, shown = None, ""
    age_s, limit_s = age_of(row, timing), limit_of(point, timing)
    is_stale = age_s is None or age_s > limit_s
    known = CODES.get(code)
    return PointView(
        gateway=gateway,
        key=point.key,
        device=device.id,
        device_en=device.en,
        device_zh=device.zh,
        quantity=point.quantity,
        unit=point.unit,
        unit_en=unit.en,
        unit_zh=unit.zh,
        en=point.en,
        zh=point.zh,
        value=None if is_stale else value,
        shown="" if is_stale else shown,
        code=code,
        quality="unknown" if is_stale else quality_of(code).value,
        reason_en=known.en if known and row is not None else "",
        reason_zh=known.zh if known and row is not None else "",
        sampled_us=wall_us,
        age_s=age_s,
        is_stale=is_stale,
        longest_silence_s=limit_s,
        last_value=number,
        last_value_us=number_wall_us,
        low=point.low,
        high=point.high,
        limits=[(item.value, item.direction, item.severity, item.en, item.zh) for item in point.limits],
        alarm=alarm,
        visit=visit,
        due=due,
        is_inhibited=inhibit is not None,
        inhibit=inhibit,
    )


def age_of(row: tuple[Any, ...] | None, timing: Timing) -> float | None:
    """Returns how long ago (s) the newest sample of a point was taken; ``row`` as for ``show_point``."""
    if row is None:
        return None
    _, boot_no, mono_us, wall_us, *_ = row
    offset_us = timing.offsets.get(boot_no)
    sampled_us: int = wall_us if offset_us is None else mono_us + offset_us
    return max(0.0, (timing.now_us - sampled_us) / 1e6)


def limit_of(point: CataloguePoint, timing: Timing) -> float:
    """Returns the age (s) beyond which a point is silent."""
    return point.longest_silence_ms / 1e3 + timing.seal_us / 1e6


def number_time_of(row: tuple[Any, ...] | None, unit: str) -> int | None:
    """Returns when (UTC us) the newest number of a point was taken; None where there is none in this unit."""
    if row is None or row[8] is None or row[13] != unit:
        return None
    found: int = row[9]
    return found


def show_number(value: float, step: Fraction | None) -> str:
    """Returns a number as it is shown: as fine as the point's resolution, or five digits for floats."""
    if step is None:
        size = abs(value)
        places = 4 if size < 10 else 3 if size < 100 else 2 if size < 1000 else 1
        return f"{value:.{places}f}"
    places = 0
    while step * 10**places < 1 and places < 9:
        places += 1
    # 0.25 wants two places; a binary step such as 16/32768 would want eleven, and four tell its counts apart.
    exact = next((n for n in range(places, places + 2) if (step * 10**n).denominator == 1), places)
    return f"{value:.{exact}f}"
