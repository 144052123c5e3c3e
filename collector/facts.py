"""The facts beside the evidence, looked at by ``collector verify``: types, and what has to agree.

Nobody signs these tables, so they cannot be proved.  What can be said is that a column holds
what nothing of ours ever writes there, and that two facts contradict each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Integer, Table
from sqlalchemy.types import TEXT

from collector.schema import metadata

#: without evidence, whose damage is told with its points, projections, which are compared, and meta, of any type
_FACTS = (
    "gateway", "catalogue", "boot", "epoch_name", "waiting", "ask", "commit_stamp", "receipt", "link",
    "acknowledgement", "quarantine", "checkpoint", "decision", "review", "alarm_shown", "stated",
    "confirmation", "document", "own_alarm",
)  # fmt: skip
_NAMES = {"integer": "no integer", "text": "no text", "blob": "no bytes"}


def wrong_types(db: sqlite3.Connection, src: str) -> list[str]:
    """Returns a sentence for each column of a fact that holds another type than it was made for."""
    found = [text for name in _FACTS for text in _wrong_types(db, src, metadata.tables[name])]
    rows = db.execute(f"SELECT no, trust FROM {src}.boot WHERE typeof(trust)='integer' AND trust NOT BETWEEN 0 AND 3")
    return found + [f"boot, no {no}: trust: the table says {trust}, which is none of 0 to 3" for no, trust in rows]


def _wrong_types(db: sqlite3.Connection, src: str, table: Table) -> Iterator[str]:
    keys = [column.name for column in table.primary_key.columns]
    for column in table.columns:
        kind = "integer" if isinstance(column.type, Integer) else "text" if isinstance(column.type, TEXT) else "blob"
        allowed = f"('{kind}', 'null')" if column.nullable else f"('{kind}')"
        rows = db.execute(
            f'SELECT {", ".join(keys)}, "{column.name}" FROM {src}.{table.name}'
            f' WHERE typeof("{column.name}") NOT IN {allowed} LIMIT 100'
        )
        for row in rows:
            where = ", ".join(f"{key} {value!r}" for key, value in zip(keys, row, strict=False))
            yield f"{table.name}, {where}: {column.name}: the table says {row[-1]!r}, which is {_NAMES[kind]}"


def wrong_ranks(db: sqlite3.Connection, src: str) -> list[str]:
    """Returns a sentence for each boot that does not stand where counters and first asks put it.

    The rank of a boot is its counter, or one more than that of every boot that asked before it.
    """
    found = []
    rows = db.execute(
        f"SELECT b.gateway_no, g.id, b.boot_id, b.counter, b.rank, b.live_us FROM {src}.boot b"
        f" JOIN {src}.gateway g ON g.no=b.gateway_no"
        " WHERE typeof(b.counter)='integer' AND typeof(b.rank)='integer' AND typeof(b.live_us) IN ('integer', 'null')"
        " ORDER BY b.gateway_no, b.live_us IS NULL, b.live_us, b.rank"
    ).fetchall()
    highest: dict[int, int] = {}
    for gateway_no, gateway, boot_id, counter, rank, live_us in rows:
        before = highest.get(gateway_no)
        expected = counter if live_us is None or before is None else max(counter, before + 1)
        if live_us is not None:
            highest[gateway_no] = max(rank, before if before is not None else rank)
        if rank != expected:
            where = f"boot {shown(boot_id)} of {gateway}"
            found.append(f"{where}: rank: the table says {rank}, its counter and the asks say {expected}")
    return found


def wrong_waiting(db: sqlite3.Connection, src: str) -> list[str]:
    """Returns a sentence for each batch whose waiting for a catalogue is told in one table only."""
    rows = db.execute(
        f"SELECT e.id, 'waits by its state, and is not in the list' FROM {src}.evidence e WHERE e.state=1"
        f" AND e.id NOT IN (SELECT w.evidence_id FROM {src}.waiting w)"
        f" UNION ALL SELECT w.evidence_id, 'is in the list of those that wait, and does not' FROM {src}.waiting w"
        f" WHERE w.evidence_id NOT IN (SELECT e.id FROM {src}.evidence e WHERE e.state=1)"
    )
    return [f"waiting: batch in evidence row {number} {text}" for number, text in rows]


def wrong_catalogues(db: sqlite3.Connection, src: str) -> list[str]:
    """Returns a sentence for each gateway that the page would show by no catalogue, though there is one."""
    rows = db.execute(
        f"SELECT g.id, l.catalogue_hash FROM {src}.gateway g LEFT JOIN {src}.link l ON l.gateway_no=g.no"
        f" WHERE EXISTS (SELECT 1 FROM {src}.catalogue c WHERE c.gateway_no=g.no) AND (l.catalogue_hash IS NULL"
        f" OR l.catalogue_hash NOT IN (SELECT c.hash FROM {src}.catalogue c WHERE c.gateway_no=g.no"
        f" UNION ALL SELECT w.hash FROM {src}.waiting w WHERE w.gateway_no=g.no))"
    )
    return [
        f"link of {gateway}: catalogue_hash: the table says {'nothing' if hash is None else shown(hash)[:16]},"
        " and no catalogue of that gateway has it"
        for gateway, hash in rows
    ]


def shown(value: Any) -> str:
    """Returns bytes as hex; anything else, where bytes should be, as Python writes it."""
    return value.hex() if isinstance(value, bytes) else repr(value)
