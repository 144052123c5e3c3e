"""How the limits of points stand, as their gateways state it: on trial since when, or confirmed by whom.

A gateway states every point when it starts, on change and once a day (docs/wire-format.md, *Confirmed*).
Only the newest statement of a point counts, by boot and by when it was sealed.  *Since* is the arrival of
the first statement that said the same of the point, without another in between: when the centre first
knew.  A fact, not a projection: it is kept through ``rebuild``, and nobody has signed when things arrived.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collector.identities import Boot
from collector.views import LetterView, TrialLimit, TrialView
from contracts.catalogue import Catalogue
from contracts.confirmed import TRIAL, Confirmed

#: state of a point whose gateway has stated nothing: an agent from before it could
UNSAID = "unsaid"

_KEEP = """
INSERT INTO confirmation(gateway_no, point, state, by, at, document, digest, since_us, boot_no, mono_us)
VALUES(?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, point) DO UPDATE SET state=excluded.state, by=excluded.by, at=excluded.at,
  document=excluded.document, digest=excluded.digest, boot_no=excluded.boot_no, mono_us=excluded.mono_us,
  since_us=CASE WHEN (state, by, at, document, digest)
    =(excluded.state, excluded.by, excluded.at, excluded.document, excluded.digest)
    THEN since_us ELSE excluded.since_us END
"""


def keep_confirmed(
    db: sqlite3.Connection,
    gateway_no: int,
    boot: Boot,
    sealed_us: int,
    arrived_us: int,
    records: Iterable[Confirmed],
    catalogue: Catalogue | None,
) -> None:
    """Keeps what a batch states, inside the caller's transaction; what is older than what is held changes nothing.

    Args:
        db: the writer's connection.
        gateway_no: whose batch.
        boot: of the batch.
        sealed_us: of the batch, monotonic.
        arrived_us: of the batch, UTC.
        records: what it states.
        catalogue: of the batch; points that it does not list any more are forgotten.  None where the batch has none.
    """
    order = (boot.rank, boot.no, sealed_us)
    held = {key: tuple(rest) for key, *rest in db.execute(_HELD, (gateway_no,))}
    for record in records:
        for point in record.points:
            if point in held and held[point] > order:
                continue
            db.execute(
                _KEEP,
                (
                    gateway_no, point, record.state, record.by, record.at, record.document, record.digest, arrived_us,
                    boot.no, sealed_us,
                ),
            )  # fmt: skip
    if catalogue is not None:
        known = {point.key for point in catalogue.points}
        gone = [(gateway_no, key) for key, rest in held.items() if key not in known and rest < order]
        db.executemany("DELETE FROM confirmation WHERE gateway_no=? AND point=?", gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCounts:
    """How many points are on trial, and since when the longest of them is (UTC us; None without any)."""

    points: int
    since_us: int | None
    #: gateways that list points and have stated nothing of their limits
    unsaid: int


def count_trial(db: sqlite3.Connection) -> TrialCounts:
    """Returns what the head of every page says."""
    points, since_us = db.execute("SELECT count(*), min(since_us) FROM confirmation WHERE state=?", (TRIAL,)).fetchone()
    return TrialCounts(points=points, since_us=since_us, unsaid=db.execute(_UNSAID).fetchone()[0])


def read_trial(
    db: sqlite3.Connection, gateways: Sequence[tuple[int, str, Catalogue | None]], state: str | None = None
) -> list[TrialView]:
    """Returns every point that has limits, or was stated to be on trial, with how they stand.

    Args:
        db: a reader's connection.
        gateways: (number, id, newest catalogue).
        state: ``trial``, ``confirmed`` or ``unsaid``; None for all.
    """
    letters = {bytes(digest) for (digest,) in db.execute("SELECT digest FROM document")}
    found = []
    for no, gateway, catalogue in gateways:
        said = {row[0]: row[1:] for row in db.execute(_OF_GATEWAY, (no,))}
        points = () if catalogue is None else catalogue.points
        names = {point.key: point for point in points}
        for key in (*names, *(key for key in said if key not in names)):
            point = names.get(key)
            stands, by, at, document, digest, since_us = said.get(key, (UNSAID, "", "", "", b"", None))
            if (stands == "none" or (stands == UNSAID and (point is None or not point.limits))) or (
                state is not None and stands != state
            ):
                continue
            found.append(
                TrialView(
                    gateway=gateway,
                    point=key,
                    en="" if point is None else point.en,
                    zh="" if point is None else point.zh,
                    unit="" if point is None else point.unit,
                    state=stands,
                    since_us=since_us,
                    by=by,
                    at=at,
                    document=document,
                    digest=digest.hex(),
                    is_attached=digest in letters,
                    limits=tuple(
                        TrialLimit(
                            rule_id=limit.rule_id, en=limit.en, zh=limit.zh, direction=limit.direction,
                            value=limit.value, severity=limit.severity,
                        )
                        for limit in (() if point is None else point.limits)
                    ),
                )
            )  # fmt: skip
    return found


def read_letters(db: sqlite3.Connection) -> list[LetterView]:
    """Returns every letter that gateways name, and every one that is attached and that none names any more."""
    named: dict[bytes, list[tuple[str, str, str, str]]] = {}
    points: dict[bytes, int] = {}
    for digest, by, at, document, gateway, count in db.execute(_LETTERS):
        named.setdefault(digest, []).append((gateway, by, at, document))
        points[digest] = points.get(digest, 0) + count
    attached = {row[0]: row[1:] for row in db.execute(_DOCUMENTS)}
    found = []
    for digest in (*named, *(digest for digest in attached if digest not in named)):
        name, kind, size, by, at_us, source, note = attached.get(digest, ("", "", 0, "", None, "", ""))
        found.append(
            LetterView(
                digest=digest.hex(), named=tuple(named.get(digest, ())), points=points.get(digest, 0), name=name,
                kind=kind, size=size, attached_by=by, attached_us=at_us, source=source, note=note,
            )
        )  # fmt: skip
    return found


_UNSAID = """
SELECT count(*) FROM gateway g WHERE EXISTS (SELECT 1 FROM catalogue c WHERE c.gateway_no=g.no)
  AND NOT EXISTS (SELECT 1 FROM confirmation f WHERE f.gateway_no=g.no)
"""
_HELD = """
SELECT c.point, b.rank, b.no, c.mono_us FROM confirmation c JOIN boot b ON b.no=c.boot_no WHERE c.gateway_no=?
"""
_OF_GATEWAY = """
SELECT point, state, by, at, document, digest, since_us FROM confirmation WHERE gateway_no=? ORDER BY point
"""
_LETTERS = """
SELECT c.digest, c.by, c.at, c.document, g.id, count(*) FROM confirmation c JOIN gateway g ON g.no=c.gateway_no
WHERE c.state='confirmed' GROUP BY c.digest, c.by, c.at, c.document, g.id ORDER BY c.at DESC, c.digest, g.id
"""
_DOCUMENTS = "SELECT digest, name, kind, size, by, at_us, source, note FROM document ORDER BY at_us DESC"
