"""The read side: implements ``collector.views.Queries`` on SQLite.

Each thread has its own read-only connection, so a page never waits for the writer.
Liveness and staleness are computed here when asked, from the intervals that the signed
catalogue declares and from the sealing interval that the batches show; no flag is stored.
Ages go by the collector's own clock: a gateway whose clock is wrong hides nothing.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector.alarm_views import AlarmReader
from collector.chain_views import read_chains
from collector.completeness import DAY_US, HOUR_US, read_completeness
from collector.confirmations import read_letters, read_trial
from collector.database import open_reader
from collector.errand_facts import read_known
from collector.errands import find_errands
from collector.identities import read_catalogue
from collector.inhibit_log import read_inhibits
from collector.inhibit_views import InhibitView
from collector.last_words import LastWords
from collector.own_alarms import identity_facts
from collector.point_views import Silence, Timing, show_point
from collector.statements import compare_statements
from collector.trend import read_trend
from collector.upkeep import (
    read_due,
    read_last_visits,
    read_upkeep,
    read_visits,
)
from collector.views import (
    AlarmCounts,
    AlarmFilter,
    AlarmPage,
    AlarmView,
    ChainView,
    CompletenessView,
    GatewayView,
    LetterView,
    PointView,
    QuarantineView,
    StatementView,
    Trend,
    TrialView,
    WaveformSamples,
    WaveformView,
)
from collector.visit_views import ErrandView, GatewayName, UpkeepView, VisitFilter, VisitPage
from collector.waveforms import read_waveform, read_waveforms
from contracts.catalogue import Catalogue, CataloguePoint

#: sealing interval where none can be seen yet (us), and its bounds
_SEAL_US, _SEAL_LOW_US, _SEAL_HIGH_US = 2_000_000, 1_000_000, 120_000_000
#: the longest interval that a gateway's own word is believed for (us)
_PACE_HIGH_US = 3_600_000_000
#: no gateway is called silent sooner (s)
SHORTEST_SILENCE_S = 5.0
#: fewer batches than this on their way are no backlog worth a word
BACKLOG_FROM = 5
CATALOGUES_KEPT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known of the points of one gateway."""

    is_silent: bool
    #: of the newest catalogue, by key
    known: Mapping[str, CataloguePoint]
    #: keys of those of which nothing current is heard
    silent: frozenset[str]
    inhibits: Mapping[str, InhibitView]


_NO_SOURCE = Source(is_silent=True, known={}, silent=frozenset(), inhibits={})


class SqliteQueries:
    """Answers from the database; safe to call from any thread."""

    def __init__(self, path: Path, now_us: Callable[[], int], live: Callable[[], dict[str, float]] = dict) -> None:
        """Takes the database file, the clock (UTC us) and the running program's own counters."""
        self._path = path
        self._now_us = now_us
        self._live = live
        self._local = threading.local()
        self._catalogues: dict[int, Catalogue] = {}
        self._words = LastWords()

    def close(self) -> None:
        """Lets go of every connection; safe twice, and while other threads still ask.

        A connection closes with the last that uses it: closing one under a thread that reads from it ends the process.
        """
        self._local = threading.local()

    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_reader(self._path)
        return db

    def _catalogue(self, db: sqlite3.Connection, number: int, envelope: bytes | None = None) -> Catalogue:
        found = self._catalogues.get(number)
        if found is None:
            if envelope is None:
                envelope = db.execute("SELECT envelope FROM catalogue WHERE no=?", (number,)).fetchone()[0]
            found = read_catalogue(envelope)
            if len(self._catalogues) >= CATALOGUES_KEPT:
                self._catalogues.clear()
            self._catalogues[number] = found
        return found

    # ---- gateways ---------------------------------------------------------------------------

    def gateways(self) -> list[GatewayView]:
        db, now_us = self._db(), self._now_us()
        return [self._gateway(db, row, now_us)[0] for row in db.execute(_GATEWAYS).fetchall()]

    def gateway_names(self) -> list[GatewayName]:
        db = self._db()
        found = []
        for _, id, en, zh, _, _, _, number, _ in db.execute(_GATEWAYS).fetchall():
            own = None if number is None else self._catalogue(db, number)
            found.append(GatewayName(id=id, en=en or (own.en if own else ""), zh=zh or (own.zh if own else "")))
        return found

    def _gateway(
        self, db: sqlite3.Connection, row: tuple[Any, ...], now_us: int
    ) -> tuple[GatewayView, list[PointView]]:
        """Returns a gateway, and its points, which its counts are made of."""
        no, id, en, zh, arrived_us, version, clock, catalogue_no, boot_counter = row
        catalogue = None if catalogue_no is None else self._catalogue(db, catalogue_no)
        timing = self._timing(db, no, catalogue, arrived_us, now_us)
        points = [] if catalogue is None else self._points_of(db, no, id, catalogue, timing)
        silent = sum(1 for point in points if point.is_stale)
        chains = read_chains(db, id)
        backlog = sum(last - first + 1 for chain in chains for first, last in chain.missing)
        backlog += db.execute("SELECT count(*) FROM waiting WHERE gateway_no=?", (no,)).fetchone()[0]
        newest = max((chain.last_sample_us for chain in chains if chain.last_sample_us is not None), default=None)
        if not arrived_us:
            liveness = "never"
        elif timing.gateway_silent:
            liveness = "silent"
        elif silent or backlog >= BACKLOG_FROM:
            liveness = "degraded"
        else:
            liveness = "online"
        alarms = db.execute("SELECT count(*) FROM alarm WHERE gateway_no=? AND is_over=0", (no,)).fetchone()[0]
        view = GatewayView(
            id=id,
            en=en or (catalogue.en if catalogue else ""),
            zh=zh or (catalogue.zh if catalogue else ""),
            liveness=liveness,
            silent_for_s=None if not arrived_us else max(0.0, (now_us - arrived_us) / 1e6),
            silent_after_s=timing.silent_after_s,
            points=len(points),
            points_silent=silent,
            backlog_batches=backlog,
            newest_sample_us=newest,
            clock=clock or "",
            version=version or "",
            boot_counter=boot_counter or 0,
            alarms_active=alarms,
            health=self._health(db, no, id),
        )
        return view, points

    def _health(self, db: sqlite3.Connection, no: int, id: str) -> dict[str, dict[str, float | int | str | None]]:
        facts = {
            subject: json.loads(text)
            for subject, text in db.execute("SELECT subject, facts FROM health WHERE gateway_no=? ORDER BY 1", (no,))
        }
        identity = identity_facts(db, no)
        if identity:
            facts["identity"] = identity
        return facts

    def _timing(
        self, db: sqlite3.Connection, no: int, catalogue: Catalogue | None, arrived_us: int | None, now_us: int
    ) -> Timing:
        """Returns what the intervals say about silence now."""
        sealed = db.execute(_SEALED, (no,)).fetchall()
        gap = sealed[0][0] - sealed[1][0] if len(sealed) == 2 else _SEAL_US
        gap = min(max(gap, _SEAL_LOW_US), _SEAL_HIGH_US)
        said = db.execute(_PACE, (no,)).fetchone()
        if said is not None and isinstance(said[0], (int, float)):
            # A gateway that has slowed down says so in the last batch before: what was seen would call it silent.
            gap = int(min(max(said[0] * 1e6, _SEAL_LOW_US), _PACE_HIGH_US))
        shortest = min((block.interval_ms for block in catalogue.blocks), default=0) if catalogue else 0
        limit_s = max(SHORTEST_SILENCE_S, 3 * max(gap / 1e6, shortest / 1e3))
        is_silent = not arrived_us or (now_us - arrived_us) / 1e6 > limit_s
        boots = db.execute("SELECT no, bound_us, offset_us, live_us FROM boot WHERE gateway_no=?", (no,)).fetchall()
        return Timing(
            now_us=now_us,
            seal_us=gap,
            silent_after_s=limit_s,
            gateway_silent=is_silent,
            offsets={boot: Silence.offset(bound, offset, live) for boot, bound, offset, live in boots},
        )

    # ---- points -----------------------------------------------------------------------------

    def points(self, gateway: str | None = None) -> list[PointView]:
        db, now_us = self._db(), self._now_us()
        found: list[PointView] = []
        for no, id, _, _, arrived_us, _, _, catalogue_no, _ in db.execute(_GATEWAYS).fetchall():
            if catalogue_no is None or (gateway is not None and id != gateway):
                continue
            catalogue = self._catalogue(db, catalogue_no)
            timing = self._timing(db, no, catalogue, arrived_us, now_us)
            found += self._points_of(db, no, id, catalogue, timing)
        return found

    def point(self, gateway: str, key: str) -> PointView | None:
        return next((point for point in self.points(gateway) if point.key == key), None)

    def _points_of(
        self, db: sqlite3.Connection, no: int, id: str, catalogue: Catalogue, timing: Timing
    ) -> list[PointView]:
        rows = {row[0]: row for row in db.execute(_LATEST, (no,))}
        alarms: dict[str, str] = {}
        for key, severity in db.execute("SELECT point, severity FROM alarm WHERE gateway_no=? AND is_over=0", (no,)):
            alarms[key] = min(severity, alarms.get(key, severity), key=_SEVERITIES.index)
        visits, due = read_last_visits(db, no), read_due(db, no)
        inhibits = read_inhibits(db, no, timing.now_us)
        return [
            show_point(
                id,
                catalogue,
                point,
                rows.get(point.key),
                timing,
                alarms.get(point.key),
                visits.get(point.key),
                due.get(point.key, ()),
                inhibits.get(point.key),
            )
            for point in catalogue.points
        ]

    # ---- the rest ---------------------------------------------------------------------------

    def alarms(self, *, standing_only: bool = True, limit: int = 200) -> list[AlarmView]:
        return self._alarm_reader().alarms(standing_only=standing_only, limit=limit)

    def alarm(self, id: str) -> AlarmView | None:
        return self._alarm_reader().alarm(id)

    def alarms_by_id(self, ids: Sequence[str]) -> list[AlarmView]:
        return self._alarm_reader().by_id(ids)

    def reviews(self, limit: int = 200) -> list[AlarmView]:
        return self._alarm_reader().reviews(limit)

    def alarm_counts(self) -> AlarmCounts:
        return self._alarm_reader().counts()

    def journal(self, filter: AlarmFilter, *, limit: int = 100, after: str | None = None) -> AlarmPage:
        return self._alarm_reader().journal(filter, limit=limit, after=after)

    def trial(self, gateway: str | None = None, state: str | None = None) -> list[TrialView]:
        db = self._db()
        rows = [(row[0], row[1], row[7]) for row in db.execute(_GATEWAYS).fetchall() if gateway in (None, row[1])]
        return read_trial(
            db, [(no, id, None if cat is None else self._catalogue(db, cat)) for no, id, cat in rows], state
        )

    def letters(self) -> list[LetterView]:
        return read_letters(self._db())

    def statements(self, gateway: str | None = None) -> list[StatementView]:
        return compare_statements(self._db(), gateway)

    def _alarm_reader(self) -> AlarmReader:
        return AlarmReader(self._db(), _Sources(self))

    def source(self, gateway: str) -> Source:
        """Returns what is known of a gateway's points, as of now."""
        db, now_us = self._db(), self._now_us()
        row = db.execute(_GATEWAY, (gateway,)).fetchone()
        if row is None:
            return _NO_SOURCE
        no, id, _, _, arrived_us, _, _, catalogue_no, _ = row
        catalogue = None if catalogue_no is None else self._catalogue(db, catalogue_no)
        timing = self._timing(db, no, catalogue, arrived_us, now_us)
        if catalogue is None:
            return replace(_NO_SOURCE, is_silent=timing.gateway_silent)
        points = self._points_of(db, no, id, catalogue, timing)
        return Source(
            is_silent=timing.gateway_silent,
            known={point.key: point for point in catalogue.points},
            # Nobody asks of a point without an alarm.
            silent=self._words.silent_points(
                db, no, (p for p in points if p.alarm or p.is_stale), lambda number: self._catalogue(db, number)
            ),
            inhibits={point.key: point.inhibit for point in points if point.inhibit is not None},
        )

    def chains(self, gateway: str | None = None) -> list[ChainView]:
        return read_chains(self._db(), gateway)

    def trend(self, gateway: str, key: str, start_us: int, end_us: int) -> Trend | None:
        db = self._db()
        point = self.point(gateway, key)
        if point is None or end_us < start_us:
            return None
        no = db.execute("SELECT no FROM gateway WHERE id=?", (gateway,)).fetchone()[0]
        return read_trend(db, no, gateway, key, point.unit, start_us, end_us)

    def quarantine(self, limit: int = 100) -> list[QuarantineView]:
        rows = self._db().execute(
            "SELECT id, arrived_us, topic, code, reason, size, times FROM quarantine"
            " ORDER BY arrived_us DESC, id DESC LIMIT ?",
            (limit,),
        )
        return [
            QuarantineView(id=id, arrived_us=arrived, topic=topic, code=code, reason=reason, size=size, times=times)
            for id, arrived, topic, code, reason, size, times in rows
        ]

    def waveforms(self, gateway: str | None = None, alarm: str | None = None, limit: int = 100) -> list[WaveformView]:
        return read_waveforms(self._db(), gateway, alarm, limit)

    def waveform(self, gateway: str, id: str) -> WaveformSamples | None:
        return read_waveform(self._db(), gateway, id)

    # ---- visits -----------------------------------------------------------------------------

    def visits(self, filter: VisitFilter, *, limit: int = 100, after: str | None = None) -> VisitPage:
        return read_visits(self._db(), filter, _Sources(self).point, limit=limit, after=after)

    def upkeep(self, gateway: str | None = None) -> list[UpkeepView]:
        return read_upkeep(self._db(), gateway)

    def errands(self, gateway: str | None = None) -> list[ErrandView]:
        db, now_us = self._db(), self._now_us()
        known = []
        for row in db.execute(_GATEWAYS).fetchall():
            id = row[1]
            if gateway not in (None, id):
                continue
            catalogue = None if row[7] is None else self._catalogue(db, row[7])
            timing = self._timing(db, row[0], catalogue, row[4], now_us)
            latest = db.execute(_LATEST, (row[0],))
            known.append(
                read_known(db, row, latest, catalogue, timing, self._words, lambda number: self._catalogue(db, number))
            )
        return find_errands(known, now_us, datetime.fromtimestamp(now_us / 1e6, UTC).date())

    def completeness(
        self, start_us: int, end_us: int, *, gateway: str | None = None, key: str | None = None, by_day: bool = False
    ) -> list[CompletenessView]:
        """Returns what became of every expected reading in ``[start_us, end_us)`` (UTC), decoded when asked."""
        db = self._db()
        found: list[CompletenessView] = []
        for no, id in db.execute("SELECT no, id FROM gateway ORDER BY id").fetchall():
            if gateway not in (None, id):
                continue
            db.execute("BEGIN")  # one view of the tables, whatever is committed meanwhile
            try:
                found += read_completeness(
                    db,
                    gateway_no=no,
                    gateway=id,
                    catalogue=lambda number: self._catalogue(db, number),
                    now_us=self._now_us(),
                    start_us=start_us,
                    end_us=end_us,
                    key=key,
                    bucket_us=DAY_US if by_day else HOUR_US,
                )
            finally:
                db.execute("ROLLBACK")
        return found

    def counters(self) -> dict[str, float]:
        """Returns totals from the tables and the running program's own counters."""
        db = self._db()
        batches, readings = db.execute(
            "SELECT coalesce(sum(batches),0), coalesce(sum(readings),0) FROM chain"
        ).fetchone()
        found: dict[str, float] = {
            "batches": batches,
            "readings": readings,
            "gateways": db.execute("SELECT count(*) FROM gateway").fetchone()[0],
            "alarms_active": db.execute("SELECT count(*) FROM alarm WHERE is_over=0").fetchone()[0],
            "alarms_raised": db.execute("SELECT count(*) FROM alarm").fetchone()[0],
            "waiting": db.execute("SELECT count(*) FROM waiting").fetchone()[0],
            "quarantined": db.execute("SELECT coalesce(sum(times),0) FROM quarantine").fetchone()[0],
            "lost_readings": db.execute(_LOST_READINGS).fetchone()[0],
            "thinned_readings": db.execute("SELECT total(readings) FROM loss WHERE cause='thinned'").fetchone()[0],
        }
        return found | self._live()


class _Sources:
    """What alarms want to know of their points; each gateway is looked at once, when the first alarm of it is."""

    def __init__(self, queries: SqliteQueries) -> None:
        self._queries = queries
        self._seen: dict[str, Source] = {}

    def _source(self, gateway: str) -> Source:
        found = self._seen.get(gateway)
        if found is None:
            found = self._seen[gateway] = self._queries.source(gateway)
        return found

    def is_silent(self, gateway: str, key: str) -> bool:
        source = self._source(gateway)
        # A point may be silent for hours before it is missed; of a gateway that is silent nobody knows what is there.
        return source.is_silent or key in source.silent

    def point(self, gateway: str, key: str) -> CataloguePoint | None:
        return self._source(gateway).known.get(key)

    def inhibit(self, gateway: str, key: str) -> InhibitView | None:
        return self._source(gateway).inhibits.get(key)


#: of batches that are nowhere: neither a thinned form of them nor what was recovered from them is here
_LOST_READINGS = "SELECT total(readings) FROM loss WHERE cause NOT IN ('thinned','recovered')"

_SEVERITIES = ("red", "orange", "yellow", "blue", "info")

_GATEWAY_FACTS = """
SELECT g.no, g.id, g.en, g.zh, l.arrived_us, l.version, l.clock, c.no,
  coalesce((SELECT b.counter FROM boot b WHERE b.no=l.boot_no),
           (SELECT max(b.counter) FROM boot b WHERE b.gateway_no=g.no))
FROM gateway g LEFT JOIN link l ON l.gateway_no=g.no
LEFT JOIN catalogue c ON c.gateway_no=g.no AND c.hash=l.catalogue_hash
"""
_GATEWAYS = f"{_GATEWAY_FACTS} ORDER BY g.id"
_GATEWAY = f"{_GATEWAY_FACTS} WHERE g.id=?"

_LATEST = """
SELECT a.key, a.boot_no, a.mono_us, a.wall_us, a.code, a.value, p.kind, p.resolution,
  a.number, a.number_wall_us, q.kind, q.resolution, p.unit, q.unit
FROM latest a JOIN point p ON p.no=a.point_no LEFT JOIN point q ON q.no=a.number_point_no WHERE a.gateway_no=?
"""

# The two newest data batches of the epoch that was heard last.
#: how far apart a gateway says that it sends ordinary data (s)
_PACE = "SELECT json_extract(facts, '$.data_every_s') FROM health WHERE gateway_no=? AND subject='agent'"

_SEALED = """
SELECT e.sealed_us FROM evidence e WHERE e.lane=1 AND e.epoch_no=(
  SELECT p.epoch_no FROM epoch p JOIN epoch_name n ON n.no=p.epoch_no WHERE n.gateway_no=?
  ORDER BY p.last_arrived_us DESC, p.epoch_no DESC LIMIT 1) ORDER BY e.seq DESC LIMIT 2
"""
