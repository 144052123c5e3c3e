"""Minutes made anew: the roll-ups of some minutes of one gateway, from all its evidence of that time.

What a ``rebuild`` would write for them, by the offsets that are kept beside the batches.  Inside somebody
else's transaction; where the samples of a batch came before, they count as they did then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from collector.identities import Identities
from collector.ingest import decode_columns
from collector.project import MINUTE_US, Gathering, Place
from collector.projector import RECOVERED, Facts, Projector
from contracts.batch import Lane, Origin, decode_batch
from contracts.columns import Columns
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError

#: batches other than thinned and recovered ones are never longer (us)
_LONGEST_BATCH_US = 3600 * 1_000_000
#: so many batches of a gateway in one minute are usual
_CROWD = 90


class Minutes:
    """Works on the writer's connection."""

    def __init__(self, db: sqlite3.Connection, identities: Identities, projector: Projector) -> None:
        """Takes the writer's connection and what works on it."""
        self._db = db
        self._identities = identities
        self._projector = projector

    def roll_up(self, gateway_no: int, minutes: set[int]) -> None:
        """Makes the roll-ups of some minutes of a gateway anew from all its evidence of that time."""
        if not minutes:
            return
        rows: dict[int, tuple[Any, ...]] = {}
        for first, last in _runs(minutes):
            begin_us, end_us = first * MINUTE_US, (last + 1) * MINUTE_US
            near = (gateway_no, begin_us - _LONGEST_BATCH_US, end_us - 1, begin_us)
            for row in self._db.execute(_IN_MINUTES, near).fetchall():
                rows[row[0]] = row
            far = (gateway_no, begin_us - _LONGEST_BATCH_US, begin_us)
            for row in self._db.execute(_LONG_ONES, far).fetchall():
                rows[row[0]] = row
        gathering = Gathering()
        for _, row in sorted(rows.items()):
            self._gather(gathering, gateway_no, row, minutes)
        self.drop(gateway_no, minutes)
        gathering.write_minutes(self._db)

    def drop(self, gateway_no: int, minutes: set[int]) -> None:
        """Deletes the roll-ups of some minutes of a gateway."""
        points = [no for (no,) in self._db.execute("SELECT no FROM point WHERE gateway_no=?", (gateway_no,))]
        self._db.executemany(
            "DELETE FROM rollup WHERE point_no=? AND minute BETWEEN ? AND ?",
            [(no, *run) for no in points for run in _runs(minutes)],
        )

    def is_crowded(self, gateway_no: int, minute: int) -> bool:
        """Returns whether more batches begin in a minute than are worth decoding again and again."""
        begin_us = minute * MINUTE_US
        found = self._db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM evidence WHERE gateway_no=? AND wall_us BETWEEN ? AND ? LIMIT ?)",
            (gateway_no, begin_us, begin_us + MINUTE_US - 1, _CROWD + 1),
        ).fetchone()[0]
        return bool(found > _CROWD)

    def _gather(self, gathering: Gathering, gateway_no: int, row: tuple[Any, ...], minutes: set[int]) -> None:
        number, epoch_no, lane, digest, boot_no, first_us, last_us, wall_us, arrived_us, envelope = row
        try:
            batch = decode_batch(decode_payload(split(envelope)[1]), Lane(lane).type)
            catalogue = self._identities.catalogue(gateway_no, batch.header.catalogue)
            columns = [] if catalogue is None else decode_columns(batch, catalogue[1])
        except ContractError:
            return  # damaged since it came; verify tells
        offset_us = wall_us - first_us
        kept = [part for part in (_only(block, offset_us, minutes) for block in columns) if part is not None]
        if not kept or catalogue is None:
            return
        boot = self._identities.boot_named(gateway_no, batch.header.boot_id)
        facts = Facts(
            evidence_id=number, gateway_no=gateway_no, epoch_no=epoch_no, digest=digest, boot=boot,
            offset_us=offset_us, arrived_us=arrived_us, first_us=first_us, last_us=last_us,
        )  # fmt: skip
        is_copy = batch.header.origin is Origin.THINNED or self._projector.has_come(facts, batch, was_held=True)
        form = self._projector.form(gateway_no, *catalogue)
        add = gathering.add_thinned if is_copy else gathering.add
        add(form, Place(boot.rank, boot_no, offset_us), kept)


def minutes_of(columns: Sequence[Columns], offset_us: int) -> set[int]:
    """Returns the UTC minutes that samples lie in under an offset."""
    return {(time_us + offset_us) // MINUTE_US for block in columns for time_us in block.times}


def _runs(minutes: set[int]) -> list[tuple[int, int]]:
    """Returns rows of minutes without a hole, as first and last."""
    found: list[tuple[int, int]] = []
    for minute in sorted(minutes):
        if found and minute == found[-1][1] + 1:
            found[-1] = (found[-1][0], minute)
        else:
            found.append((minute, minute))
    return found


def _only(block: Columns, offset_us: int, minutes: set[int]) -> Columns | None:
    """Returns the ticks of a block that lie in some minutes, or None."""
    kept = [place for place, time_us in enumerate(block.times) if (time_us + offset_us) // MINUTE_US in minutes]
    if len(kept) == len(block.times):
        return block
    if not kept:
        return None
    codes = None if block.codes is None else [[column[place] for place in kept] for column in block.codes]
    return Columns(
        block.number,
        [block.times[place] for place in kept],
        [[column[place] for place in kept] for column in block.values],
        codes,
    )


_ROW = """
SELECT e.id, e.epoch_no, e.lane, e.digest, e.boot_no, e.first_us, e.last_us, e.wall_us, e.arrived_us, e.envelope
FROM evidence e"""

_IN_MINUTES = f"""{_ROW}
WHERE e.gateway_no=? AND e.wall_us BETWEEN ? AND ? AND e.wall_us+e.last_us-e.first_us>=? AND e.state=0 AND e.readings>0
"""

_LONG_ONES = f"""{_ROW}
WHERE e.id IN (SELECT l.evidence_id FROM loss l JOIN epoch_name n ON n.no=l.epoch_no
               WHERE n.gateway_no=? AND l.cause IN ('thinned', '{RECOVERED}'))
  AND e.wall_us<? AND e.wall_us+e.last_us-e.first_us>=? AND e.state=0 AND e.readings>0
"""
