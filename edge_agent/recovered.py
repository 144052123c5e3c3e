"""Recovered batches on their way into a spool: written to a file of their own, then taken in.

The file is a spool like any other, made by ``edge-agent spool salvage`` in a process of its own, so that the
running agent does none of the reading and signing.  Taking it in goes in small commits that an alarm's
commit can wait behind, and goes on where it stopped when it is done again; what is there is not
written twice.  An epoch gets a number beyond those of restarts, so that no later epoch takes it for its
parent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from contracts.batch import Head, Lane
from contracts.keys import Signer, Verifier
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.put_aside import SUFFIXES
from edge_agent.ranges import Ranges
from edge_agent.remains import opened_to_read
from edge_agent.salvage import Resealer, SalvageEpoch, Survey
from edge_agent.seal import Sealed
from edge_agent.spool import Spool
from edge_agent.spool_open import read_all
from edge_agent.spool_pages import SpoolPages
from edge_agent.spool_records import SALVAGE, Commit, EpochRow, LaneView, Opened, batch_id, split_id, unasked_epoch_no
from edge_agent.spool_thread import SpoolThread, connect_file

#: batches of one commit of the new file
_WRITE_ROWS = 200
#: bytes of envelopes taken in by one commit
_PIECE = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a file of recovered batches holds."""

    epochs: int
    batches: int
    readings: int
    #: that do not fit one batch any more with their loss record
    too_large: int


def write_recovered(
    path: Path, pages: SpoolPages, found: Survey, epochs: list[SalvageEpoch], *, signer: Signer, version: str
) -> Written:
    """Seals what a survey found into a new file.

    Raises:
        SpoolError: there is no room for it, or the damaged file changed meanwhile.
    """
    remove_recovered(path)
    keys = {signer.key_id: Verifier(signer.public)}
    spool = Spool(connect_file(path))
    batches = readings = too_large = written = 0
    try:
        spool.open()
        for number, made in enumerate(epochs, start=1):
            resealer = Resealer(pages, found, made, signer, version)
            sealing = resealer.seal(keys)
            while piece := list(islice(sealing, _WRITE_ROWS)):
                spool.commit(Commit(epoch_no=number, epochs=(_row(number, resealer),), batches=piece))
                batches += len(piece)
            readings += resealer.readings
            too_large += resealer.too_large
            written += resealer.first is not None
        for hash, envelope in sorted(found.catalogues.items()):
            spool.commit(Commit(epoch_no=1, catalogue=(hash, envelope)))
    finally:
        spool.close()
    return Written(epochs=written, batches=batches, readings=readings, too_large=too_large)


def _row(number: int, resealer: Resealer) -> EpochRow:
    first = resealer.first
    assert first is not None
    return EpochRow(
        no=number,
        epoch=first.epoch,
        reason=SALVAGE,
        boot_id=first.boot_id,
        boot_counter=first.boot_counter,
        started_us=first.sealed_us,
        started_uptime_s=0,
    )


def remove_recovered(path: Path) -> None:
    """Removes such a file once its batches are in a spool, or before it is made anew."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class _Recovered:
    """A file of recovered batches, read in pieces."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def opened(self) -> Opened:
        return read_all(self._db)

    def catalogues(self) -> list[tuple[bytes, bytes]]:
        rows: Any = self._db.execute("SELECT hash, envelope FROM catalogue").fetchall()
        return [(bytes(hash), bytes(envelope)) for hash, envelope in rows]

    def batches(self, row: EpochRow, lane: Lane, after: int, last: int) -> list[Sealed]:
        found: list[Sealed] = []
        size = 0
        rows: Any = self._db.execute(
            "SELECT id, digest, readings, first_us, last_us, envelope FROM batch WHERE id BETWEEN ? AND ? ORDER BY id",
            (batch_id(row.no, lane, after + 1), batch_id(row.no, lane, last)),
        )
        for id, digest, readings, first_us, last_us, envelope in rows:
            sealed = Sealed(
                epoch=row.epoch,
                lane=lane,
                seq=split_id(id)[2],
                digest=digest,
                previous=b"",
                envelope=envelope,
                readings=readings,
                first_us=first_us,
                last_us=last_us,
                catalogue=b"",
            )
            found.append(sealed)
            size += len(envelope)
            if size >= _PIECE:
                break
        return found


# -- taking in -----------------------------------------------------------------------


async def take_in(
    path: Path, *, spool: SpoolThread, delivery: Delivery, uptime_s: Callable[[], int], rest_s: float = 0.02
) -> dict[str, int]:
    """Takes the batches of such a file into a spool, from where they are sent as history.

    Args:
        path: of the file; it is only read.
        spool: open.
        uptime_s: running time of the agent over all its starts: the retention of what was recovered begins now.
        rest_s: pause between two pieces: readings and alarms come first.

    Returns:
        How many epochs and batches it brought, and how many batches were there already.

    Raises:
        SpoolError: the file cannot be read, or the spool takes no more; done again, it goes on from there.
    """
    counts = {"epochs": 0, "batches": 0, "known_batches": 0}
    loop = asyncio.get_running_loop()
    try:
        with opened_to_read(path) as db:
            source = _Recovered(db)
            content = await loop.run_in_executor(None, source.opened)
            catalogues = await loop.run_in_executor(None, source.catalogues)
            for row in content.epochs:
                here = await spool.run(Spool.inventory)
                known = next((item for item in here.epochs if item.epoch == row.epoch), None)
                mine = known or replace(row, no=_free_number(here), started_uptime_s=uptime_s())
                before = {lane: here.lanes[mine.no, lane].head if known else Head(seq=0, digest=b"") for lane in Lane}
                await _keep(spool, mine, catalogues)
                for lane in Lane:
                    head, after = content.lanes[row.no, lane].head, before[lane].seq
                    counts["known_batches"] += min(after, head.seq)
                    while after < head.seq:
                        work = partial(source.batches, row, lane, after, head.seq)
                        piece = await loop.run_in_executor(None, work)
                        if not piece:
                            raise SpoolError(f"{path}: batch {after + 1} is not there")
                        await spool.run(partial(_commit, commit=_pieces(mine, piece)))
                        after = piece[-1].seq
                        counts["batches"] += len(piece)
                        await asyncio.sleep(rest_s)
                # Once more: while there was no batch that used them, they may have been tidied away.
                await _keep(spool, mine, catalogues)
                counts["epochs"] += known is None
                _tell(delivery, mine, {lane: content.lanes[row.no, lane].head for lane in Lane})
    except (apsw.Error, OSError) as error:
        raise SpoolError(f"{path}: cannot be read: {error}") from error
    return counts


def _free_number(here: Opened) -> int:
    taken = {row.no for row in here.epochs}
    number = unasked_epoch_no()
    while number in taken:
        number = unasked_epoch_no()
    return number


def _pieces(row: EpochRow, piece: list[Sealed]) -> Commit:
    return Commit(epoch_no=row.no, epochs=(row,), batches=piece)


def _commit(spool: Spool, *, commit: Commit) -> None:
    spool.commit(commit)


async def _keep(spool: SpoolThread, row: EpochRow, catalogues: list[tuple[bytes, bytes]]) -> None:
    for item in catalogues:
        await spool.run(partial(_commit, commit=Commit(epoch_no=row.no, epochs=(row,), catalogue=item)))


def _tell(delivery: Delivery, row: EpochRow, heads: Mapping[Lane, Head]) -> None:
    if delivery.number(row.epoch) is None:
        delivery.add_epoch(row, {lane: LaneView(head=heads[lane], delivered=Ranges()) for lane in Lane})
        return
    for lane in Lane:
        if heads[lane].seq > delivery.head(row.no, lane).seq:
            delivery.sealed(row.no, lane, heads[lane])
