"""``collector verify``: is every stored number what the gateways signed?

Every signature, every link of every chain, and every projection, made again from the
evidence in a scratch database and compared row by row.  For a false projection it says
the row, what the table says and what the signed bytes say; for false evidence, whose bytes
prove nothing any more, the batch with its points and time span by the index columns.

Not signed by anybody, and so not proved: arrival times, commit times, receipts,
acknowledgements, names of gateways, and the wall time of batches that carried no
synchronised clock (their number is reported).  Sums of floats are compared to rounding.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from collector.chain import Ledger
from collector.clock_repair import minutes_in_repair
from collector.errors import StoreError
from collector.facts import shown, wrong_catalogues, wrong_ranks, wrong_types, wrong_waiting
from collector.ingest import Keys
from collector.project import MINUTE_US
from collector.projector import lane_name
from collector.replay import UNPROVABLE, Damage, Outcome, Replay, make_floors
from collector.trend import scaled
from contracts.batch import AlarmEvent
from contracts.errors import ContractError
from contracts.fields import unpack
from contracts.keys import Verifier
from contracts.quality import CODES

#: copied into the scratch database as they are: numbers of things, not values
_IDENTITIES = ("gateway", "epoch_name", "boot", "catalogue", "checkpoint", "point")


@dataclass(frozen=True, slots=True, kw_only=True)
class Falsehood:
    """One row of a projection that the evidence contradicts."""

    table: str
    row: str
    column: str
    stored: str
    signed: str

    def __str__(self) -> str:
        return (
            f"{self.table}: {self.row}: {self.column}: the table says {self.stored}, the signed bytes say {self.signed}"
        )


@dataclass(slots=True)
class Report:
    """What ``collector verify`` found."""

    batches: int = 0
    readings: int = 0
    rows: int = 0
    chains: int = 0
    damaged: list[Damage] = field(default_factory=list)
    false_rows: list[Falsehood] = field(default_factory=list)
    wrong_facts: list[str] = field(default_factory=list)
    #: projection rows that cannot be proved because a batch below them is damaged
    shadowed: int = 0
    #: projection rows that cannot be proved any more because retention dropped what is below them
    dropped: int = 0
    #: not false, but worth a look: holes, breaks, forks
    notes: list[str] = field(default_factory=list)
    borrowed_time: int = 0

    @property
    def is_true(self) -> bool:
        return not (self.damaged or self.false_rows or self.wrong_facts)


@dataclass(frozen=True, slots=True)
class _Table:
    """How one projection is compared."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


_NUMBER = ("number_rank", "number_boot_no", "number_mono_us", "number_wall_us", "number", "number_point_no")
_TABLES = (
    _Table(
        "latest",
        ("gateway_no", "key"),
        ("point_no", "rank", "boot_no", "mono_us", "wall_us", "code", "value", *_NUMBER),
    ),
    _Table(
        "rollup",
        ("point_no", "minute"),
        ("count", "without", "low", "high", "total", "last", "last_us", "worst"),
    ),
    _Table(
        "alarm",
        ("gateway_no", "id"),
        ("point", "rule_id", "severity", "state", "is_over", "raised_us", "event_id", "rank", "boot_no", "mono_us"),
    ),
    _Table("alarm_event", ("gateway_no", "id"), ("alarm_id", "event", "evidence_id", "sampled_us", "judged_us")),
    _Table(
        "chain",
        ("epoch_no", "lane"),
        ("newest", "known", "batches", "readings", "first_sample_us", "last_sample_us", "ranges", "forks", "breaks"),
    ),
    _Table("loss", ("epoch_no", "lane", "first", "last", "digest"), ("readings", "cause", "evidence_id")),
    _Table(
        "waveform",
        ("gateway_no", "id"),
        ("device", "cause", "alarm_id", "boot_no", "mono_us", "wall_us", "span_us", "ticks", "channels", "evidence_id"),
    ),
    _Table(
        "visit",
        ("gateway_no", "id"),
        ("point", "job", "result", "by", "boot_no", "mono_us", "wall_us", "visit", "evidence_id"),
    ),
    _Table(
        "upkeep",
        ("gateway_no", "point", "job"),
        ("rank", "boot_no", "mono_us", "wall_us", "last", "due", "state", "street"),
    ),
    _Table(
        "inhibit",
        ("gateway_no", "point"),
        ("rank", "boot_no", "mono_us", "since_us", "until_us", "reason", "by", "evidence_id"),
    ),
    _Table("health", ("gateway_no", "subject"), ("rank", "boot_no", "mono_us", "wall_us", "facts")),
    _Table(
        "epoch",
        ("epoch_no",),
        (
            "boot_no",
            "version",
            "reason",
            "parent",
            "parent_alarm_seq",
            "parent_data_seq",
            "is_volatile",
            "first_arrived_us",
            "last_arrived_us",
        ),
    ),
)


def verify(
    path: Path, keys: Keys, own_keys: dict[bytes, Verifier], progress: Callable[[int], None] = lambda batches: None
) -> Report:
    """Checks a database, which may be in use meanwhile; one consistent view is taken.

    Raises:
        StoreError: the database cannot be read, or there is no room for the scratch one.
    """
    if not path.exists():
        raise StoreError(f"{path} is not there; 'collector init' makes it")
    with tempfile.TemporaryDirectory(prefix="qianshao-verify-") as folder:
        db = sqlite3.connect(f"file:{folder}/scratch?mode=rwc", uri=True, isolation_level=None)
        try:
            # A changed database may hold text that is none, anywhere.
            db.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            db.execute("PRAGMA main.journal_mode=OFF")
            db.execute("PRAGMA main.synchronous=OFF")
            db.execute("ATTACH ? AS src", (f"file:{path.resolve()}?mode=ro",))
            db.execute("BEGIN")
            facts = wrong_types(db, "src")
            try:
                return _replay_and_compare(db, facts, keys, own_keys, progress)
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                if not facts:
                    raise StoreError(
                        f"{path}: FALSE: a table holds what nothing of ours ever wrote: {error}"
                    ) from error
                # Nothing can be made again from facts like these; they are what is false.
                return Report(wrong_facts=facts, notes=["nothing else could be checked because of that"])
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        finally:
            db.close()


def _replay_and_compare(
    db: sqlite3.Connection,
    facts: list[str],
    keys: Keys,
    own_keys: dict[bytes, Verifier],
    progress: Callable[[int], None],
) -> Report:
    unproved = _prepare(db)
    outcome = Replay(db, "src", keys, own_keys, repair=False, progress=progress).run()
    for look in (wrong_waiting, wrong_catalogues, wrong_ranks):
        facts = [*facts, *look(db, "src")]
    outcome.wrong_facts[:0] = facts
    report = _compare(db, outcome)
    report.dropped = unproved
    return report


def _prepare(db: sqlite3.Connection) -> int:
    """Makes the scratch tables and carries over what no evidence here could prove; returns how many rows."""
    for kind, name, sql in db.execute("SELECT type, name, sql FROM src.sqlite_master WHERE sql IS NOT NULL").fetchall():
        if name.startswith(("alembic", "sqlite_")):
            continue
        if name == "evidence":
            sql = (
                "CREATE TABLE evidence(id INTEGER PRIMARY KEY, epoch_no INTEGER, lane INTEGER, seq INTEGER,"
                " digest BLOB, previous BLOB, state INTEGER)"
            )
        if kind == "table" or name.startswith("ix_alarm_event"):
            db.execute(sql)
    db.execute("CREATE INDEX main.evidence_seq ON evidence(epoch_no, lane, seq)")
    for table in _IDENTITIES:
        db.execute(f"INSERT INTO main.{table} SELECT * FROM src.{table}")
    make_floors(db, "src")
    carried = 0
    for table, where in UNPROVABLE.items():
        rows = f"FROM src.{table} WHERE {where.format(src='src')}"
        if table == "rollup":
            carried += db.execute(f"SELECT count(*) {rows}").fetchone()[0]
        elif table != "point":
            carried += db.execute(f"INSERT INTO main.{table} SELECT * {rows}").rowcount
    return carried


def _compare(db: sqlite3.Connection, outcome: Outcome) -> Report:
    report = Report(
        batches=outcome.batches,
        readings=outcome.readings,
        damaged=outcome.damaged,
        wrong_facts=outcome.wrong_facts,
        borrowed_time=outcome.borrowed_time,
    )
    names = _Names(db)
    shadow = _Shadow(db, outcome.damaged)
    in_repair = minutes_in_repair(db, "src")
    gateway_of = dict(db.execute("SELECT no, gateway_no FROM src.point").fetchall()) if in_repair else {}
    if in_repair:
        report.notes.append(f"clock repair is under way: {len(in_repair)} minutes have no roll-ups until it is done")
    for table in _TABLES:
        report.rows += db.execute(f"SELECT count(*) FROM src.{table.name}").fetchone()[0]
        for key, stored, signed in _differences(db, table):
            if table.name == "rollup" and (gateway_of.get(key[0]), key[1]) in in_repair:
                continue
            if shadow.covers(table.name, key, stored, signed):
                report.shadowed += 1
                continue
            report.false_rows += names.tell(table, key, stored, signed)
    for gateway, epoch, lane, ranges, forks, breaks, known in db.execute(_CHAINS).fetchall():
        report.chains += 1
        ledger = Ledger.from_text(ranges, forks, breaks)
        where = f"{gateway}, {lane_name(lane)} lane, epoch {shown(epoch)}"
        report.notes += [f"{where}: batches {a} to {b} are not here" for a, b in ledger.missing(known)]
        report.notes += [f"{where}: batch {seq} exists twice with different content" for seq in ledger.forks]
        report.notes += [f"{where}: batch {seq} does not link to the one before it" for seq in ledger.breaks]
    return report


def _differences(
    db: sqlite3.Connection, table: _Table
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any] | None, dict[str, Any] | None]]:
    """Yields (key, stored row, made row) of every row that differs; None where there is none."""
    columns = (*table.key, *table.columns)
    listed, key_list = ", ".join(columns), ", ".join(table.key)
    where = f" WHERE NOT ({UNPROVABLE['rollup'].format(src='src')})" if table.name == "rollup" else ""
    stored, made = (f"SELECT {listed} FROM {schema}.{table.name}{where}" for schema in ("src", "main"))
    keys = db.execute(
        f"SELECT {key_list} FROM ({stored} EXCEPT {made}) UNION SELECT {key_list} FROM ({made} EXCEPT {stored})"
        f" ORDER BY {key_list}"
    ).fetchall()
    match = " AND ".join(f"{name}=?" for name in table.key)
    for key in keys:
        rows = [
            db.execute(f"SELECT {listed} FROM {schema}.{table.name} WHERE {match}", key).fetchone()
            for schema in ("src", "main")
        ]
        first, second = (None if row is None else dict(zip(columns, row, strict=True)) for row in rows)
        yield key, first, second


class _Shadow:
    """The rows that rest on a damaged batch: nothing can be said about them."""

    def __init__(self, db: sqlite3.Connection, damaged: list[Damage]) -> None:
        self._damaged = damaged
        self._ids = {item.evidence_id for item in damaged}
        self._chains = {(item.epoch_no, lane) for item in damaged for lane in (0, 1)}
        self._gateways = {item.gateway_no for item in damaged}
        self._alarm_gateways = {item.gateway_no for item in damaged if item.lane == 0 or item.readings == 0}
        self._points = dict(db.execute("SELECT no, gateway_no||' '||key FROM src.point").fetchall()) if damaged else {}

    def covers(
        self, table: str, key: tuple[Any, ...], stored: dict[str, Any] | None, made: dict[str, Any] | None
    ) -> bool:
        if not self._damaged:
            return False
        row = stored or made or {}
        match table:
            case "rollup":
                if not isinstance(key[1], int):
                    return False
                at = key[1] * MINUTE_US
                point = self._points.get(key[0], "")
                return any(self._is_below(item, point, at, at + MINUTE_US) for item in self._damaged)
            case "latest":
                point = f"{key[0]} {key[1]}"
                times = [row.get("wall_us"), row.get("number_wall_us")]
                known = [at for at in times if isinstance(at, int)]
                return any(self._is_below(item, point, at, at) for item in self._damaged for at in known)
            case "chain":
                return key in self._chains
            case "epoch":
                return any(item.epoch_no == key[0] and item.seq == 1 for item in self._damaged)
            case "upkeep" | "inhibit":
                return key[0] in self._gateways
            case "loss":
                return made is None and bool(self._gateways)
            case _:
                return key[0] in self._gateways and (made is None or key[0] in self._alarm_gateways)

    def _is_below(self, item: Damage, point: str, first_us: int, last_us: int) -> bool:
        number, _, key = point.partition(" ")
        if str(item.gateway_no) != number or (item.points and key not in item.points):
            return False
        if item.first_us is None or item.last_us is None:
            return True
        return item.first_us <= last_us and first_us <= item.last_us


class _Names:
    """Turns rows into sentences."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._gateways = dict(db.execute("SELECT no, id FROM src.gateway").fetchall())
        self._boots = dict(db.execute("SELECT no, boot_id FROM src.boot").fetchall())
        self._points = {
            row[0]: row[1:]
            for row in db.execute(
                "SELECT no, gateway_no, key, unit, kind, resolution FROM src.point UNION SELECT * FROM main.point"
            )
        }
        self._epochs = {
            no: (gateway_no, epoch)
            for no, gateway_no, epoch in db.execute("SELECT no, gateway_no, epoch FROM src.epoch_name")
        }

    def tell(
        self, table: _Table, key: tuple[Any, ...], stored: dict[str, Any] | None, made: dict[str, Any] | None
    ) -> list[Falsehood]:
        row = self._row(table.name, key)
        if stored is None:
            return [Falsehood(table=table.name, row=row, column="row", stored="nothing", signed="that there is one")]
        if made is None:
            return [Falsehood(table=table.name, row=row, column="row", stored="that there is one", signed="nothing")]
        point_no = key[0] if table.name == "rollup" else stored.get("point_no")
        return [
            Falsehood(
                table=table.name,
                row=row,
                column=column,
                stored=self._value(table.name, column, stored[column], point_no),
                signed=self._value(table.name, column, made[column], made.get("point_no", point_no)),
            )
            for column in table.columns
            if not self._is_same(table.name, column, stored, made)
        ]

    def _is_same(self, table: str, column: str, stored: dict[str, Any], made: dict[str, Any]) -> bool:
        a, b = stored[column], made[column]
        if type(a) is float and type(b) in (int, float) and column == "total":
            return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
        if table in ("alarm", "alarm_event") and column in ("sampled_us", "judged_us", "raised_us"):
            return a == b or (not self._is_provable(table, stored) and self._agrees(table, stored))
        if table == "chain" and (stored["epoch_no"], stored["lane"]) in self._pruned() and column == "known":
            return True
        return bool(a == b) and (type(a) is type(b) or a is None)

    def _is_provable(self, table: str, row: dict[str, Any]) -> bool:
        """Whether UTC of an event follows from signed bytes: its batch is here and of the event's own boot."""
        id = row["id"]
        found = self._db.execute(
            "SELECT e.event, b.boot_id FROM src.alarm_event e JOIN src.evidence v ON v.id=e.evidence_id"
            " JOIN src.boot b ON b.no=v.boot_no WHERE e.gateway_no=? AND e.id=?",
            (row["gateway_no"], id),
        ).fetchone()
        if found is None:
            return False
        try:
            return AlarmEvent.from_wire(unpack(found[0])).boot_id == bytes(found[1])
        except (ContractError, TypeError):
            return False

    def _agrees(self, table: str, row: dict[str, Any]) -> bool:
        """Whether UTC that nothing signed proves at least agrees with the other times of the same event."""
        if table == "alarm":
            found = self._db.execute(_RAISED, (row["gateway_no"], row["id"])).fetchone()
            return found is not None and bool(found[0] == row["raised_us"])
        try:
            event = AlarmEvent.from_wire(unpack(row["event"]))
            return bool(row["sampled_us"] - event.sampled_us == row["judged_us"] - event.judged_us)
        except (ContractError, TypeError):
            return False

    def _pruned(self) -> set[tuple[int, int]]:
        return set(self._db.execute("SELECT epoch_no, lane FROM src.checkpoint").fetchall())

    def _row(self, table: str, key: tuple[Any, ...]) -> str:
        if table == "rollup":
            gateway_no, point = (self._points.get(key[0]) or (0, f"point {key[0]}"))[:2]
            minute = utc(key[1] * MINUTE_US) if isinstance(key[1], int) else repr(key[1])
            return f"{self._gateways.get(gateway_no, '?')} {point} minute {minute}"
        if table in ("chain", "loss", "epoch"):
            gateway_no, epoch = self._epochs.get(key[0], (0, b""))
            more = "" if table == "epoch" else f" {lane_name(key[1])} lane" if key[1] in (0, 1) else " ?"
            if table == "loss":
                more += f" batches {key[2]} to {key[3]}"
            return f"{self._gateways.get(gateway_no, '?')} epoch {shown(epoch)}{more}"
        name = " ".join(part.hex() if isinstance(part, bytes) else str(part) for part in key[1:])
        return f"{self._gateways.get(key[0], '?')} {name}"

    def _value(self, table: str, column: str, value: Any, point_no: int | None) -> str:
        if value is None:
            return "nothing"
        if column in ("low", "high", "last", "total", "value", "number") and table in ("rollup", "latest"):
            point = self._points.get(point_no or 0)
            if point is not None and isinstance(value, (int, float)):
                _, _, unit, kind, step = point
                return f"{scaled(value, Fraction(step) if kind == 'int' else None)} {unit}"
        if column in ("code", "worst") and value in CODES:
            return f"{value} ({CODES[value].en})"
        if column in (
            "wall_us",
            "number_wall_us",
            "raised_us",
            "sampled_us",
            "judged_us",
            "first_sample_us",
            "last_sample_us",
            "first_arrived_us",
            "last_arrived_us",
        ):
            return utc(value)
        if column == "event":
            return _shown_event(value)
        return value.hex() if isinstance(value, bytes) else repr(value)


def _shown_event(raw: Any) -> str:
    try:
        event = AlarmEvent.from_wire(unpack(raw))
    except (ContractError, TypeError, AttributeError):
        return "no readable event"
    return f"{event.state} {event.severity} value {event.value} limit {event.limit} cause {event.cause}"


def utc(us: Any) -> str:
    """Returns a UTC time as text; the number itself where it is no time."""
    try:
        return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError, TypeError):
        return str(us)


_RAISED = """
SELECT coalesce(
  (SELECT e.sampled_us FROM src.alarm_event e WHERE e.gateway_no=a.gateway_no AND e.id=a.id),
  (SELECT min(e.sampled_us) FROM src.alarm_event e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id))
FROM src.alarm a WHERE a.gateway_no=? AND a.id=?
"""

_CHAINS = """
SELECT g.id, n.epoch, c.lane, c.ranges, c.forks, c.breaks, c.known FROM main.chain c
JOIN main.epoch_name n ON n.no=c.epoch_no JOIN main.gateway g ON g.no=n.gateway_no ORDER BY g.id, c.epoch_no, c.lane
"""
