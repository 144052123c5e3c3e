"""Signing for what leaves the spool without a receipt: the records, and the counts of them.

What goes is decided in ``room.py`` and ``thin.py``.  Each range goes with the commit of the batch that
carries its record, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from contracts.batch import Lane, LossRecord, Origin
from contracts.errors import ContractError
from edge_agent.content import Content
from edge_agent.delivery import Delivery
from edge_agent.seal import Chain
from edge_agent.spool_records import Gone, StoredBatch, loss_record
from edge_agent.thin import Thinned, placed, thinned_note

_LOG = logging.getLogger(__name__)
#: causes for which nothing of a range is left in the spool
_JOINED = frozenset({"quota", "disk_full"})


class SealData(Protocol):
    """Seals one data batch; ``drop`` and ``gone`` become durable with it."""

    def __call__(
        self,
        content: Content,
        *,
        losses: Sequence[LossRecord] = (),
        drop: Sequence[tuple[int, LossRecord]] = (),
        gone: Sequence[Gone] = (),
    ) -> None: ...


class Losses:
    """Seals loss records and tells delivery what is not to be sent any more."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        seal_data: SealData,
        place: Callable[[], Chain | None],
        monotonic: Callable[[], int],
        counts: dict[str, int],
    ) -> None:
        """Takes what it needs.

        Args:
            place: the chain that is sealed into; None while it is a volatile one.
            counts: of the keeper; ``lost_*`` and ``thinned_*`` are counted here.
        """
        self._delivery = delivery
        self._seal_data = seal_data
        self._place = place
        self._monotonic = monotonic
        self._counts = counts

    def let_go(self, runs: Sequence[Gone], carried: Sequence[Gone], cause: str) -> bool:
        """Signs for ranges and has them removed with the commit of their records."""
        if self._place() is None:
            return False
        batches, readings = sum(run.last - run.first + 1 for run in runs), sum(run.readings for run in runs)
        _LOG.warning("the spool is full: %d batches (%d readings) go", batches, readings)
        # What was thinned into a batch that goes is lost with it.
        again = [replace(item, cause=cause) if item.cause == "thinned" else item for item in carried]
        losses, drop = self._records([*(replace(run, cause=cause) for run in runs), *again])
        self._seal_data(Content(sealed_us=self._monotonic()), losses=losses, drop=drop)
        for run in runs:
            self.count(run)
        return True

    def thin(self, thinned: Thinned, carried: Sequence[Gone]) -> bool:
        """Seals what takes the place of some batches, and has those removed with the commit of it."""
        chain = self._place()
        if chain is None:
            return False
        epochs, now_us = self._epochs(), self._monotonic()
        into = (chain.epoch, chain.head(Lane.DATA).seq + 1)
        losses, drop = self._records(carried)
        for run in thinned.runs:
            losses.append(loss_record(run, epochs[run.epoch_no], thinned_into=into))
            drop.append((run.epoch_no, losses[-1]))
        content = Content(
            sealed_us=now_us,
            catalogue=thinned.catalogue,
            blocks=placed(thinned.blocks, now_us),
            readings=thinned.readings,
            first_us=thinned.first_us,
            last_us=thinned.last_us,
            notes=(*thinned.notes, thinned_note(thinned, now_us)),
            origin=Origin.THINNED,
        )
        try:
            self._seal_data(content, losses=losses, drop=drop)
        except ContractError:
            _LOG.exception("quiet data could not be thinned")
            return False
        for run in thinned.runs:
            self._delivery.lost(run.epoch_no, run.lane, run.first, run.last)
            self._counts["thinned_batches"] += run.last - run.first + 1
            self._counts["thinned_readings"] += run.readings
        return True

    def damaged(self, epoch_no: int, batch: StoredBatch) -> Gone | None:
        """Signs for a batch whose bytes in the store are no longer those that were written; the row stays.

        Returns:
            What is lost by it; None where that is known already, or no matter.
        """
        epoch = self._epochs().get(epoch_no)
        if epoch is None or self._delivery.is_settled((epoch_no, batch.lane, batch.seq)):
            return None
        gone = Gone(
            epoch_no=epoch_no,
            lane=batch.lane,
            first=batch.seq,
            last=batch.seq,
            digest=batch.digest,
            readings=batch.readings,
            cause="damaged",
        )
        _LOG.error("batch %d of lane %s is damaged on the disk: it is not sent", batch.seq, batch.lane.name.lower())
        self._seal_data(Content(sealed_us=self._monotonic()), losses=(loss_record(gone, epoch),), gone=(gone,))
        self.count(gone)
        return gone

    def sign_again(self, carried: Sequence[Gone]) -> None:
        """Signs once more for ranges whose records lay in a damaged batch."""
        again = [replace(item, cause="damaged") if item.cause == "thinned" else item for item in carried]
        losses, drop = self._records(again)
        damaged = [item for item in again if item.cause == "damaged"]
        self._seal_data(Content(sealed_us=self._monotonic()), losses=losses, drop=drop, gone=damaged)

    def count(self, gone: Gone) -> None:
        """Counts a range as lost; it is never sent again."""
        self._delivery.lost(gone.epoch_no, gone.lane, gone.first, gone.last)
        self._counts["lost_batches"] += gone.last - gone.first + 1
        self._counts["lost_readings"] += gone.readings

    def _epochs(self) -> dict[int, bytes]:
        return {row.no: row.epoch for row in self._delivery.epochs()}

    def _records(self, ranges: Sequence[Gone]) -> tuple[list[LossRecord], list[tuple[int, LossRecord]]]:
        """Returns the records for ranges, joined where they may be, and which of them are new to the spool."""
        epochs = self._epochs()
        losses, drop = [], []
        for item in joined([item for item in ranges if item.epoch_no in epochs]):
            losses.append(loss_record(item, epochs[item.epoch_no]))
            if item.cause in _JOINED:
                drop.append((item.epoch_no, losses[-1]))
        return losses, drop


def joined(ranges: Sequence[Gone]) -> list[Gone]:
    """Returns ranges in order, neighbours that went for want of room as one: long outages leave many."""
    found: list[Gone] = []
    for item in sorted(ranges, key=lambda item: (item.epoch_no, item.lane, item.first)):
        before = found[-1] if found else None
        if (
            before is not None
            and item.cause in _JOINED
            and (before.epoch_no, before.lane, before.cause) == (item.epoch_no, item.lane, item.cause)
            and before.last + 1 == item.first
        ):
            found[-1] = replace(item, first=before.first, readings=before.readings + item.readings)
        else:
            found.append(item)
    return found
