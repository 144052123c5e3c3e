"""What the list of errands needs to know of each gateway and point: less than a page shows, and quickly.

``collector.errands`` decides by it.  The full views say the same (a test compares them), and cost several times as
much: of a city of thousands of points only few call for anybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collector.errands import Known
from collector.last_words import Catalogues, LastWords
from collector.point_views import Timing, age_of, limit_of, number_time_of
from collector.upkeep import read_failed, read_over_range, read_upkeep
from contracts.catalogue import Catalogue, CataloguePoint
from contracts.quality import quality_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """Of one gateway."""

    id: str
    en: str
    zh: str
    #: ``never``, ``silent`` or ``online``
    liveness: str
    silent_for_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """Of one point; each field as in ``PointView``."""

    key: str
    device: str
    device_en: str
    device_zh: str
    quantity: str
    en: str
    zh: str
    code: int
    quality: str
    is_stale: bool
    sampled_us: int | None
    last_value_us: int | None
    longest_silence_s: float


def read_known(
    db: sqlite3.Connection,
    row: tuple[Any, ...],
    latest: Iterable[tuple[Any, ...]],
    catalogue: Catalogue | None,
    timing: Timing,
    words: LastWords,
    catalogues: Catalogues,
) -> Known:
    """Returns what is known of one gateway.

    Args:
        db: for reading.
        row: of the gateway, and
        latest: those of its points, both of ``collector.queries``.
        catalogue: its newest; None: there is none yet.
        timing: what its intervals say now.
        words: tells who is silent.
        catalogues: finds others by their number.
    """
    no, id, en, zh, arrived_us = row[:5]
    points = [] if catalogue is None else _points(catalogue, latest, timing)
    over_range = read_over_range(db, id)
    missed = [p for p in points if p.key in over_range and not p.is_stale and p.quality == "missing"]
    silent = words.silent_points(db, no, missed, catalogues)
    return Known(
        view=GatewayFacts(
            id=id,
            en=en or ("" if catalogue is None else catalogue.en),
            zh=zh or ("" if catalogue is None else catalogue.zh),
            liveness="never" if not arrived_us else "silent" if timing.gateway_silent else "online",
            silent_for_s=None if not arrived_us else max(0.0, (timing.now_us - arrived_us) / 1e6),
        ),
        points=points,
        upkeep=[said for said in read_upkeep(db, id) if said.is_stated],
        failed=read_failed(db, id),
        over_range=over_range,
        heard=frozenset(p.key for p in missed) - silent,
    )


def _points(catalogue: Catalogue, latest: Iterable[tuple[Any, ...]], timing: Timing) -> list[PointFacts]:
    rows = {row[0]: row for row in latest}
    return [_point(catalogue, point, rows.get(point.key), timing) for point in catalogue.points]


def _point(catalogue: Catalogue, point: CataloguePoint, row: tuple[Any, ...] | None, timing: Timing) -> PointFacts:
    device = catalogue.devices[point.device]
    code = 0 if row is None else row[4]
    age_s, limit_s = age_of(row, timing), limit_of(point, timing)
    is_stale = age_s is None or age_s > limit_s
    return PointFacts(
        key=point.key,
        device=device.id,
        device_en=device.en,
        device_zh=device.zh,
        quantity=point.quantity,
        en=point.en,
        zh=point.zh,
        code=code,
        quality="unknown" if is_stale else quality_of(code).value,
        is_stale=is_stale,
        sampled_us=None if row is None else row[3],
        last_value_us=number_time_of(row, point.unit),
        longest_silence_s=limit_s,
    )
