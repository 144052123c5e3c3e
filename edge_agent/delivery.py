"""What has been receipted, and what to send next.  Pure: no disk, no link, no clock.

Sending order is three: alarms, the newest data, then history oldest first within a share of
the link.  A batch is *in flight* from publishing until a receipt covers it, or until it has
waited so long that it is sent again; the broker's acknowledgement proves nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from contracts.batch import Head, Lane
from contracts.receipt import Receipt
from edge_agent.ranges import Ranges
from edge_agent.spool import EpochRow, LaneView

Key = tuple[int, Lane]
#: (epoch number, lane, seq)
BatchKey = tuple[int, Lane, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A digest in a receipt that must be that of the batch here before anything is believed."""

    epoch_no: int
    lane: Lane
    seq: int
    digest: bytes


Verdict = Literal["applied", "older", "other_gateway", "unknown_epoch", "beyond_head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits for a receipt."""

    alarm_batches: int
    data_batches: int
    epochs: int


class Delivery:
    """Receipts in, sending order out."""

    def __init__(self, gateway: str, *, resend_after_us: int = 10_000_000, window_bytes: int = 512 * 1024) -> None:
        self._gateway = gateway
        self._resend_after = resend_after_us
        self._window = window_bytes
        self._lanes: dict[Key, LaneView] = {}
        self._numbers: dict[bytes, int] = {}
        self._epochs: dict[int, bytes] = {}
        self._in_flight: dict[BatchKey, tuple[int, int]] = {}
        self._in_flight_bytes = 0
        self._backlog_bytes = 0
        self._backlog_keys: set[BatchKey] = set()
        #: lanes whose delivered ranges changed since they were last made durable
        self._changed: set[Key] = set()
        #: since when (UTC us) and which collector epoch the newest receipt came from
        self.collector: tuple[int, bytes] = (0, b"")
        self._serials: dict[Key, int] = {}
        self.refused: deque[tuple[int, Lane, int, str]] = deque(maxlen=100)
        self.last_receipt: Receipt | None = None

    # -- what is there ---------------------------------------------------------------

    def add_epoch(self, row: EpochRow, lanes: dict[Lane, LaneView] | None = None) -> None:
        """Learns an epoch; a new one has empty lanes."""
        self._numbers[row.epoch] = row.no
        self._epochs[row.no] = row.epoch
        for lane in Lane:
            view = lanes[lane] if lanes else LaneView(head=Head(seq=0, digest=b""), delivered=Ranges())
            self._lanes[row.no, lane] = view

    def sealed(self, epoch_no: int, lane: Lane, head: Head) -> None:
        """Moves a lane's head."""
        self._lanes[epoch_no, lane].head = head

    def lost(self, epoch_no: int, lane: Lane, first: int, last: int) -> None:
        """Notes that a range is no longer here; it is never sent."""
        self._lanes[epoch_no, lane].lost.add(first, last)

    def number(self, epoch: bytes) -> int | None:
        """Returns the number of an epoch."""
        return self._numbers.get(epoch)

    def delivered(self, epoch_no: int, lane: Lane) -> Ranges:
        """Returns the receipted ranges of a lane."""
        return self._lanes[epoch_no, lane].delivered

    def is_delivered(self, key: BatchKey) -> bool:
        """Returns whether a receipt covers a batch."""
        return key[2] in self._lanes[key[0], key[1]].delivered

    def backlog(self) -> Backlog:
        """Returns what waits for a receipt."""
        counts = {Lane.ALARM: 0, Lane.DATA: 0}
        epochs: set[int] = set()
        for (epoch_no, lane), view in self._lanes.items():
            waiting = sum(last - first + 1 for first, last in self._waiting(view))
            counts[lane] += waiting
            if waiting:
                epochs.add(epoch_no)
        return Backlog(alarm_batches=counts[Lane.ALARM], data_batches=counts[Lane.DATA], epochs=len(epochs))

    def unreceipted(self, limit: int = 64) -> tuple[bytes, ...]:
        """Returns the epochs that are not wholly receipted, oldest first."""
        wanted = [
            no
            for no in sorted(self._epochs)
            if any(any(True for _ in self._waiting(self._lanes[no, lane])) for lane in Lane)
        ]
        return tuple(self._epochs[no] for no in wanted[:limit])

    @staticmethod
    def _waiting(view: LaneView) -> Iterable[tuple[int, int]]:
        if not len(view.lost):
            return view.delivered.missing(view.head.seq)
        settled = Ranges([*view.delivered, *view.lost])
        return settled.missing(view.head.seq)

    # -- receipts --------------------------------------------------------------------

    def claims(self, receipt: Receipt) -> tuple[Verdict, list[Claim]]:
        """Judges a verified receipt; the claims must be checked against the spool before `apply`.

        Returns:
            ``applied`` with the digests to check, or why it is to be ignored.
        """
        if receipt.gateway != self._gateway:
            return "other_gateway", []
        number = self._numbers.get(receipt.epoch)
        if number is None:
            return "unknown_epoch", []
        view = self._lanes[number, receipt.lane]
        if self._is_older(receipt, (number, receipt.lane)):
            return "older", []
        claims = []
        if receipt.contiguous:
            claims.append(Claim(epoch_no=number, lane=receipt.lane, seq=receipt.contiguous, digest=receipt.digest))
        claims += [
            Claim(epoch_no=number, lane=receipt.lane, seq=item.last, digest=item.digest) for item in receipt.also
        ]
        claims += [
            Claim(epoch_no=number, lane=receipt.lane, seq=item.seq, digest=item.digest) for item in receipt.refused
        ]
        if any(claim.seq > view.head.seq for claim in claims):
            return "beyond_head", []
        head = (view.head.seq, view.head.digest)
        return "applied", [claim for claim in claims if (claim.seq, claim.digest) != head]

    def _is_older(self, receipt: Receipt, key: Key) -> bool:
        since, epoch = self.collector
        if receipt.collector_epoch == epoch:
            return receipt.serial <= self._serials.get(key, 0)
        return receipt.collector_since_us <= since

    def apply(self, receipt: Receipt) -> bool:
        """Believes a receipt whose claims were found true.

        Returns:
            True when it comes from a new collector epoch: everything here is to be asked for
            again, because a collector restored from a backup holds less than it once signed for.
        """
        number = self._numbers[receipt.epoch]
        is_new_epoch = receipt.collector_epoch != self.collector[1] and self.collector[1] != b""
        if is_new_epoch:
            for lane_key, every in self._lanes.items():
                every.delivered = Ranges()
                self._changed.add(lane_key)
            self.forget_flight()
        if receipt.collector_epoch != self.collector[1]:
            self._serials.clear()
        self._serials[number, receipt.lane] = receipt.serial
        self.collector = (receipt.collector_since_us, receipt.collector_epoch)
        view = self._lanes[number, receipt.lane]
        before = list(view.delivered)
        view.delivered.add(1, receipt.contiguous)
        for item in receipt.also:
            view.delivered.add(item.first, item.last)
        for refused in receipt.refused:
            view.delivered.add(refused.seq, refused.seq)
            entry = (number, receipt.lane, refused.seq, refused.code)
            if entry not in self.refused:
                self.refused.append(entry)
        if list(view.delivered) != before:
            self._changed.add((number, receipt.lane))
        self.last_receipt = receipt
        for key in [key for key in self._in_flight if self.is_delivered(key)]:
            self._land(key)
        return is_new_epoch

    def take_changed(self) -> dict[Key, tuple[tuple[int, int], ...]]:
        """Returns the delivered ranges to make durable with the next seal, and forgets them."""
        changed = {key: tuple(self._lanes[key].delivered) for key in self._changed if key in self._lanes}
        self._changed.clear()
        return changed

    # -- sending order ---------------------------------------------------------------

    def launched(self, key: BatchKey, size: int, now_us: int, *, is_backlog: bool) -> None:
        """Notes that a batch was handed to the link."""
        self._land(key)
        self._in_flight[key] = (now_us, size)
        self._in_flight_bytes += size
        if is_backlog:
            self._backlog_keys.add(key)
            self._backlog_bytes += size

    def _land(self, key: BatchKey) -> None:
        flight = self._in_flight.pop(key, None)
        if flight is not None:
            self._in_flight_bytes -= flight[1]
            if key in self._backlog_keys:
                self._backlog_keys.discard(key)
                self._backlog_bytes -= flight[1]

    def forget_flight(self) -> None:
        """After a reconnect nothing is in flight."""
        self._in_flight.clear()
        self._backlog_keys.clear()
        self._in_flight_bytes = self._backlog_bytes = 0

    def expire(self, now_us: int) -> int:
        """Forgets flights that waited too long for a receipt; returns how many."""
        stale = [key for key, (at, _) in self._in_flight.items() if now_us - at > self._resend_after]
        for key in stale:
            self._land(key)
        return len(stale)

    def next_expiry_us(self) -> int | None:
        """Returns when the oldest flight is to be sent again, or None."""
        return min((at for at, _ in self._in_flight.values()), default=None)

    def is_in_flight(self, key: BatchKey) -> bool:
        """Returns whether a batch was sent and neither receipted nor given up."""
        return key in self._in_flight

    def room(self, share: float) -> int:
        """Returns how many bytes of history may be launched now (<= 0: none)."""
        return min(int(self._window * share) - self._backlog_bytes, self._window - self._in_flight_bytes)

    def to_send(self, lane: Lane) -> list[tuple[int, list[tuple[int, int]]]]:
        """Returns per epoch, oldest first, the seq ranges of a lane that wait and are not in flight."""
        found = []
        for epoch_no in sorted(self._epochs):
            view = self._lanes[epoch_no, lane]
            flying = [key[2] for key in self._in_flight if key[0] == epoch_no and key[1] is lane]
            if flying or len(view.lost):
                settled = Ranges([*view.delivered, *view.lost])
                for seq in flying:
                    settled.add(seq, seq)
                ranges = list(settled.missing(view.head.seq))
            else:
                ranges = list(view.delivered.missing(view.head.seq))
            if ranges:
                found.append((epoch_no, ranges))
        return found
