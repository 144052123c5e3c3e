"""The journal: every filter pages through the same alarms by an index, also with 100 000 of them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from collector.alarm_views import AlarmReader
from collector.database import FILE_NAME, open_writer
from collector.journal import Key, check, read_place, select, write_place
from collector.queries import SqliteQueries
from collector.views import AlarmFilter, AlarmView
from contracts.batch import Lane
from contracts.fields import pack
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000
SEVERITIES = ("red", "orange", "yellow", "blue", "info")


def fill(db: sqlite3.Connection, count: int) -> None:
    """Writes alarms of ten gateways straight into the tables: what the pages read, without sealing a batch for each."""
    event = Gateway().event("active", 5 * S)
    raw = pack(event.to_wire())
    shuffled = random.Random(7)
    db.execute("BEGIN")
    for no in range(1, 11):
        db.execute("INSERT OR IGNORE INTO gateway(no, id, en, zh, added_us) VALUES(?,?,'','',0)", (no, f"g-{no:012d}"))
    rows = []
    for n in range(count):
        id = n.to_bytes(16, "big")
        raised_us = START_US + shuffled.randrange(count // 4) * S  # many share an instant
        is_over = int(n % 50 != 0)
        severity = "red" if n % 1000 == 0 else SEVERITIES[1 + n % 4]
        state = "cleared" if is_over else "active"
        rows.append((n % 10 + 1, id, f"well-{n % 7}/ch4", "r", severity, state, is_over, raised_us, id, 1, 1, n))
    db.executemany("INSERT INTO alarm VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", rows)
    db.executemany(
        "INSERT INTO alarm_event(gateway_no, id, alarm_id, event, sampled_us, judged_us, evidence_id)"
        " VALUES(?,?,?,?,?,?,NULL)",
        [(row[0], row[1], row[1], raw, row[7], row[7]) for row in rows],
    )
    db.execute("COMMIT")


FILTERS = [
    AlarmFilter(gateway=gateway, point=point, severity=severity, state=state, start_us=start, end_us=end)
    for gateway, point, severity, state, (start, end) in product(
        (None, "g-000000000003"),
        (None, "well-2/ch4", "well-2/"),
        (None, "red"),
        (None, "cleared", "standing"),
        ((None, None), (START_US + 5 * S, START_US + 10_000 * S)),
    )
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("many") / FILE_NAME
    path.write_bytes(template.read_bytes())
    db = open_writer(path)
    db.execute("PRAGMA synchronous=OFF")
    fill(db, 100_000)
    yield db
    db.close()


@pytest.mark.ci
def test_with_100_000_alarms_every_page_is_found_by_an_index_and_in_its_order(many: sqlite3.Connection) -> None:
    middle = (START_US + 12_345 * S, 5, bytes(16))
    for filter, place in product(FILTERS, (None, middle)):
        gateway_no = 3 if filter.gateway else None
        chosen = select(filter, gateway_no, place, 100)
        plan = [row[3] for row in many.execute(f"EXPLAIN QUERY PLAN {chosen.sql}", chosen.values)]
        assert len(plan) == 1, (filter, plan)  # one search, and nothing is sorted afterwards
        assert "USING INDEX ix_alarm_" in plan[0] or "USING COVERING INDEX ix_alarm_" in plan[0], (filter, plan)
        has_bound = any((gateway_no, filter.severity, filter.state, filter.start_us, filter.end_us, place))
        is_free = filter.point and not has_bound  # a point of whichever gateway is looked for along the time
        assert plan[0].startswith("SEARCH") or not has_bound or is_free, (filter, plan)


@pytest.mark.ci
def test_the_parts_of_a_page_are_looked_up_by_key_too(many: sqlite3.Connection) -> None:
    from collector.alarm_views import _ALARMS, _COUNTS, _TO_REVIEW

    chosen = select(AlarmFilter(), None, None, 100)
    for text, values in (
        (chosen.sql, chosen.values),
        (_ALARMS.format(chosen="SELECT * FROM alarm WHERE gateway_no=? AND id=?"), (1, b"")),
        (_ALARMS.format(chosen="SELECT * FROM alarm WHERE id=?"), (b"",)),
        (_COUNTS, ()),
        (_TO_REVIEW, (10,)),
    ):
        for row in many.execute(f"EXPLAIN QUERY PLAN {text}", values):
            scans = row[3].startswith("SCAN") and "ix_alarm_" not in row[3]
            # What was chosen is gone through, and what is to be reviewed; never a table of everything.
            assert not scans or row[3] in ("SCAN a", "SCAN r"), (text, row[3])
            assert text is not _TO_REVIEW or row[3] != "SCAN a"


def _walk(queries: SqliteQueries, filter: AlarmFilter, limit: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = queries.journal(filter, limit=limit, after=after)
        assert len(page.alarms) <= limit
        found += [item.id for item in page.alarms]
        if page.next is None:
            return found
        after = page.next


@pytest.mark.ci
def test_pages_of_any_size_hold_every_alarm_once_and_in_order(bench: Bench) -> None:
    bench.store.close()
    db = open_writer(bench.data / FILE_NAME)
    fill(db, 400)
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    order = "ORDER BY raised_us DESC, gateway_no DESC, id DESC"
    expected = [row[0].hex() for row in db.execute(f"SELECT id FROM alarm {order}")]
    for limit in (7, 100, 400, 1000):
        assert _walk(queries, AlarmFilter(), limit) == expected
    every = {item.id: item for item in queries.journal(AlarmFilter(), limit=1000).alarms}
    for filter in FILTERS:
        wanted = [
            id
            for id in expected
            if filter.gateway in (None, every[id].gateway)
            and filter.severity
            in (None, db.execute("SELECT severity FROM alarm WHERE id=?", (bytes.fromhex(id),)).fetchone()[0])
            and (filter.start_us is None or filter.start_us <= every[id].raised_us)
            and (filter.end_us is None or every[id].raised_us < filter.end_us)
            and _fits(db, filter, id)
        ]
        assert _walk(queries, filter, 40) == wanted, filter
    # Nothing is heard of these gateways, so what stands is active with a silent source.
    assert _walk(queries, AlarmFilter(state="source_silent"), 3) == _walk(queries, AlarmFilter(state="standing"), 50)
    assert _walk(queries, AlarmFilter(state="active"), 3) == []
    assert _walk(queries, AlarmFilter(gateway="g-unknown"), 3) == []
    queries.close()
    db.close()
    bench.store.open()


def _fits(db: sqlite3.Connection, filter: AlarmFilter, id: str) -> bool:
    point, is_over = db.execute("SELECT point, is_over FROM alarm WHERE id=?", (bytes.fromhex(id),)).fetchone()
    if filter.point is not None and not (point == filter.point or point.startswith("well-2/")):
        return False
    return filter.state is None or bool(is_over) == (filter.state == "cleared")


def test_a_place_survives_being_written(bench: Bench) -> None:
    for key in ((5, 1, b"\x01" * 16), (-5, 3, b"")):
        assert read_place(write_place(key)) == key


@pytest.mark.parametrize("text", ["", "x", "1-2", "1-2-zz", "a-1-00", f"{2**70}-1-00", f"1-{2**70}-00"])
def test_a_place_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not where a page of the journal ended"):
        read_place(text)


@pytest.mark.parametrize("filter", [AlarmFilter(state="gone"), AlarmFilter(severity="pink")])
def test_a_word_that_is_no_filter_is_a_sentence(filter: AlarmFilter) -> None:
    with pytest.raises(ValueError, match="is none of"):
        check(filter)


def test_a_state_that_is_known_only_now_is_sifted_without_reading_the_alarms(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``state=source_silent`` read every alarm that stands, 2.5 s of them on a busy machine with 5 000."""
    g, read = bench.gateway, list[Key]()
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=100 * S)
    events = tuple(g.event("active", 101 * S + n) for n in range(300))
    bench.send(g.seal(102 * S, lane=Lane.ALARM, events=events), at_us=102 * S)
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    by_key = AlarmReader._by_key

    def count(self: AlarmReader, key: Key) -> AlarmView:
        read.append(key)
        return by_key(self, key)

    monkeypatch.setattr(AlarmReader, "_by_key", count)
    assert queries.journal(AlarmFilter(state="source_silent"), limit=10).alarms == []
    assert len(queries.journal(AlarmFilter(state="active"), limit=10).alarms) == 10
    assert len(read) == 10
    queries.close()
