"""Quiet data in the spool: found, read in small pieces, and made into a draft of a thinned batch.

What may be thinned is decided in ``thin.py``; when, and what is sealed, elsewhere.  Everything here
that costs time runs in the spool's thread, in pieces that an alarm's commit can wait behind.

Only data of this boot: a batch has samples of one boot, and the thinned one is sealed in this one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.batch import Lane
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError, PayloadError
from contracts.fields import MAX_CATALOGUE_BODY, unpack
from edge_agent.spool import Spool
from edge_agent.spool_records import EpochRow, Gone
from edge_agent.spool_room import spans, thinned_seqs, touches
from edge_agent.spool_thread import SpoolThread
from edge_agent.thin import Draft, Kinds, Taken, Thinned

_LOG = logging.getLogger(__name__)
#: rows looked at, and bytes of envelopes decoded, in one piece of work
_PIECE_ROWS = 500
_PIECE_BYTES = 16 * 1024
#: pieces of one search; what is left is for the next one
_MOST_PIECES = 400
#: a draft that ends at the newest data waits until it spans this much (us)
_LEAST_SPAN_US = 120_000_000
#: places in the records of the catalogue (docs/wire-format.md, section 9)
_KIND, _POINTS = 3, 0

Span = tuple[int, int]


class QuietData:
    """Finds what may be thinned, oldest first; remembers how far it has looked."""

    def __init__(self, spool: SpoolThread) -> None:
        self._spool = spool
        #: by number of the epoch the last seq that is decided upon: thinned, or it stays as it is
        self._looked: dict[int, int] = {}
        #: the last catalogue that was needed
        self._catalogue: tuple[bytes, Kinds | None] = (b"", None)

    async def find(
        self, row: EpochRow, waiting: Sequence[Span], *, spared: Sequence[Span], until_us: int
    ) -> tuple[Thinned, list[Gone]] | None:
        """Returns what may take the place of some batches of an epoch, with the ranges whose records lie in them.

        Whoever has sealed it says so with :meth:`done`; it is found again otherwise.

        Args:
            row: of an epoch of this boot.
            waiting: seqs of its data lane that are not receipted and not on their way, ascending.
            spared: spans (monotonic us, ascending, apart) whose data stay.
            until_us: data with a later sample stay: an alarm may yet come.

        Raises:
            SpoolError: the store has failed.
        """
        thinned = await self._spool.run(partial(thinned_seqs, epoch_no=row.no))
        rule = _Rule(thinned=thinned, spared=spared, until_us=until_us)
        at = self._looked.get(row.no, 0)
        draft = Draft(epoch=row.epoch, boot_id=row.boot_id)
        for _ in range(_MOST_PIECES):
            work = partial(self._take_piece, row=row, draft=draft, ranges=_behind(waiting, at), rule=rule)
            seen = await self._spool.run(work)
            at = seen or at
            if seen is not None and not draft.is_full:
                if not draft.runs:
                    self._looked[row.no] = at
                continue
            if not draft.is_full and draft.span_us < _LEAST_SPAN_US:
                return None
            found = await self._spool.run(partial(_finished, draft=draft))
            if found is not None:
                return found
            self._looked[row.no] = at
            if seen is None and not draft.is_full:
                return None
            draft = Draft(epoch=row.epoch, boot_id=row.boot_id)
        return None

    def done(self, thinned: Thinned) -> None:
        """Notes that what was found is sealed."""
        last = thinned.runs[-1]
        self._looked[last.epoch_no] = max(last.last, self._looked.get(last.epoch_no, 0))

    # -- in the spool's thread -------------------------------------------------------

    def _take_piece(
        self, spool: Spool, *, row: EpochRow, draft: Draft, ranges: Sequence[Span], rule: _Rule
    ) -> int | None:
        """Takes some batches into a draft.

        Returns:
            The last seq that was decided upon; None where the first one belongs to the next draft, or at the end.
        """
        rows = spans(spool, row.no, Lane.DATA, ranges, limit_rows=_PIECE_ROWS)
        wanted = [seq for seq, first_us, last_us in rows if rule.allows(seq, first_us, last_us)]
        batches = spool.read(row.no, Lane.DATA, [(seq, seq) for seq in wanted], limit_bytes=_PIECE_BYTES)
        here = {batch.seq: batch for batch in batches}
        left = set(wanted) - here.keys()
        seen = None
        for seq, _, last_us in rows:
            if seq in left or (last_us > rule.until_us and seq not in rule.thinned):
                break
            if seq in here and draft.take(here[seq], partial(self._kinds, spool)) is Taken.FULL:
                break
            seen = seq
        return seen

    def _kinds(self, spool: Spool, hash: bytes) -> Kinds | None:
        if self._catalogue[0] != hash:
            self._catalogue = (hash, _read_kinds(hash, spool.catalogue(hash)))
        return self._catalogue[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Which batches may be looked into."""

    #: seqs of batches that were made by thinning
    thinned: Collection[int]
    spared: Sequence[Span]
    until_us: int

    def allows(self, seq: int, first_us: int, last_us: int) -> bool:
        return last_us <= self.until_us and seq not in self.thinned and not touches(self.spared, first_us, last_us)


def _finished(spool: Spool, *, draft: Draft) -> tuple[Thinned, list[Gone]] | None:
    carried = [gone for run in draft.runs for gone in spool.carried(run)]
    thinned = draft.thin(records=len(carried))
    return None if thinned is None else (thinned, carried)


def _read_kinds(hash: bytes, envelope: bytes | None) -> Kinds | None:
    """Returns the kinds of the points of every block of a catalogue that this gateway made itself.

    Its hash proves it; reading it with all its checks takes a third of a second with 15 000 points, and
    an alarm's commit would wait behind that.
    """
    if envelope is None:
        return None
    try:
        body = decode_payload(split(envelope)[1], limit=MAX_CATALOGUE_BODY)
        if hashlib.sha256(body).digest() != hash:
            raise PayloadError("its hash is not the one that it is kept under")
        document = unpack(body, limit=MAX_CATALOGUE_BODY)
        kinds = [point[_KIND] for point in document["points"]]
        return tuple(tuple(kinds[number] for number in block[_POINTS]) for block in document["blocks"])
    except (ContractError, KeyError, IndexError, TypeError) as error:
        _LOG.error("a catalogue in the spool cannot be read, its data are not thinned: %s", error)
        return None


def _behind(ranges: Sequence[Span], seq: int) -> list[Span]:
    return [(max(first, seq + 1), last) for first, last in ranges if last > seq]
