"""The batches of a volatile epoch: in memory until the store has them or the collector has signed for them.

Pure bookkeeping.  What is receipted leaves memory; that it existed is remembered as a range, so
that the chain in the store has no unexplained hole when the store answers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from contracts.batch import Lane, LossRecord
from edge_agent.delivery import BatchKey
from edge_agent.seal import Sealed
from edge_agent.spool_records import Gone


class VolatileBatches:
    """Sealed batches by (epoch number, lane, seq)."""

    def __init__(self) -> None:
        self._held: dict[BatchKey, Sealed] = {}
        self._gone: list[Gone] = []
        #: what is being written to the store now: not to be let go meanwhile
        self._storing: frozenset[BatchKey] = frozenset()
        #: bytes of the envelopes held
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[BatchKey]:
        return iter(self._held)

    def get(self, key: BatchKey) -> Sealed | None:
        """Returns a batch that is here."""
        return self._held.get(key)

    def catalogues(self) -> set[bytes]:
        """Returns the hashes of the catalogues that the batches here need."""
        return {sealed.catalogue for sealed in self._held.values()}

    def add(self, epoch_no: int, sealed: Sealed) -> None:
        """Takes a batch."""
        self._held[epoch_no, sealed.lane, sealed.seq] = sealed
        self.size += len(sealed.envelope)

    def _pop(self, key: BatchKey) -> Sealed | None:
        sealed = self._held.pop(key, None)
        if sealed is not None:
            self.size -= len(sealed.envelope)
        return sealed

    def forget_delivered(self, is_delivered: Callable[[BatchKey], bool]) -> list[Gone]:
        """Lets receipted batches go; returns what went."""
        went = []
        for key in sorted(key for key in self._held if key not in self._storing and is_delivered(key)):
            sealed = self._pop(key)
            if sealed is not None:
                went.append(self._note(key[0], sealed, "released"))
        return went

    def _note(self, epoch_no: int, sealed: Sealed, cause: str) -> Gone:
        gone = Gone(
            epoch_no=epoch_no,
            lane=sealed.lane,
            first=sealed.seq,
            last=sealed.seq,
            digest=sealed.digest,
            readings=sealed.readings,
            cause=cause,
        )
        for place in range(len(self._gone) - 1, -1, -1):
            before = self._gone[place]
            if before.lane is sealed.lane:
                if (before.epoch_no, before.last + 1, before.cause) == (epoch_no, sealed.seq, cause):
                    self._gone[place] = Gone(
                        epoch_no=epoch_no,
                        lane=sealed.lane,
                        first=before.first,
                        last=sealed.seq,
                        digest=sealed.digest,
                        readings=before.readings + sealed.readings,
                        cause=cause,
                    )
                    return gone
                break
        self._gone.append(gone)
        return gone

    def shed(self, limit: int, cause: str) -> tuple[list[Gone], list[LossRecord]]:
        """Lets the oldest batches go until at most ``limit`` bytes are held, data before alarms.

        Returns:
            Runs of neighbours, each to be named by one loss record, and the records that they
            carried themselves, to be sealed anew.
        """
        runs: list[Gone] = []
        carried: list[LossRecord] = []
        for lane in (Lane.DATA, Lane.ALARM):
            for key in sorted(key for key in self._held if key[1] is lane and key not in self._storing):
                if self.size <= limit:
                    return runs, carried
                sealed = self._pop(key)
                assert sealed is not None
                carried += sealed.losses
                one = self._note(key[0], sealed, cause)
                last = runs[-1] if runs else None
                if last is not None and (last.lane, last.last + 1) == (lane, one.first):
                    runs[-1] = Gone(
                        epoch_no=one.epoch_no,
                        lane=lane,
                        first=last.first,
                        last=one.last,
                        digest=one.digest,
                        readings=last.readings + one.readings,
                        cause=cause,
                    )
                else:
                    runs.append(one)
        return runs, carried

    def begin_storing(self, limit: int) -> tuple[list[Sealed], list[Gone]]:
        """Returns what the store does not have yet, in order, up to a size; it stays here until ``stored``."""
        batches: list[Sealed] = []
        keys: list[BatchKey] = []
        size = 0
        for key in sorted(self._held):
            batches.append(self._held[key])
            keys.append(key)
            size += len(batches[-1].envelope)
            if size >= limit:
                break
        self._storing = frozenset(keys)
        return batches, list(self._gone)

    def stored(self, gone: list[Gone]) -> bool:
        """The store has what ``begin_storing`` gave; returns whether that was everything."""
        for key in self._storing:
            self._pop(key)
        self._storing = frozenset()
        self._gone = [item for item in self._gone if item not in gone]
        return not self._held and not self._gone

    def not_stored(self) -> None:
        """The store has failed again: what was to be written may be let go."""
        self._storing = frozenset()
