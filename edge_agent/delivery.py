"""What has been receipted, and what to send next.  Pure: no disk, no link, no clock.

Sending order is three: alarms, the newest data, then history oldest first within a share of
the link.  A batch is *in flight* from publishing until a receipt covers it, or until it has
waited so long that it is sent again; the broker's acknowledgement proves nothing.  When a receipt
covers a batch, what was sent clearly before it and is not covered was *overtaken*: nobody listened
when it passed (a collector that came back to the broker after us), so it is sent again at once.

How much history may be in flight follows the link (``window.py``), so that on a thin one an alarm does not
queue behind it.
While no receipt comes at all, sending again waits ever longer: a broker without a collector would
otherwise be sent the same window for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from contracts.batch import Head, Lane
from contracts.receipt import Receipt
from edge_agent.bus.counters import Latency
from edge_agent.ranges import Ranges
from edge_agent.spool_records import EpochRow, LaneView
from edge_agent.window import Window

Key = tuple[int, Lane]
#: (epoch number, lane, seq)
BatchKey = tuple[int, Lane, int]
#: a batch sent so long before one that was receipted has not merely changed places with it (us)
_OVERTAKEN_US = 1_000_000
#: sending again waits at most this many times as long as at first
_MOST_PATIENCE = 32


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
        self._patience = 1
        self._window = Window(window_bytes)
        self._lanes: dict[Key, LaneView] = {}
        self._numbers: dict[bytes, int] = {}
        self._rows: dict[int, EpochRow] = {}
        #: epochs that were found in the spool and are not sealed into: it may have lost their newest batches
        self._found: set[int] = set()
        #: lanes in which something may wait
        self._open: set[Key] = set()
        self._in_flight: dict[BatchKey, tuple[int, int]] = {}
        self._in_flight_bytes = 0
        self._backlog_bytes = 0
        self._backlog_keys: set[BatchKey] = set()
        #: lanes whose delivered ranges changed since they were last made durable
        self._changed: set[Key] = set()
        #: what the newest receipt of a lane would cover if its digest could be checked: not settled, and sent last
        self._doubted: dict[Key, Ranges] = {}
        #: since when (UTC us) and which collector epoch the newest receipt came from
        self.collector: tuple[int, bytes] = (0, b"")
        self._serials: dict[Key, int] = {}
        #: number of the epoch, lane, seq, and the collector's word for why; the newest of them
        self.refused: deque[tuple[int, Lane, int, str]] = deque(maxlen=1000)
        self.refused_count = 0
        self.last_receipt: Receipt | None = None
        #: from sending to the receipt, since health looked last
        self.receipt_latency = Latency()
        #: batches that were taken to be lost because one sent later was receipted
        self.overtaken = 0
        #: those of this connection that are still not receipted: they wait for their time from now on
        self._overtaken_once: set[BatchKey] = set()

    # -- what is there ---------------------------------------------------------------

    def add_epoch(self, row: EpochRow, lanes: dict[Lane, LaneView] | None = None) -> None:
        """Learns an epoch; a new one has empty lanes."""
        self._numbers[row.epoch] = row.no
        self._rows[row.no] = row
        if lanes is not None:
            self._found.add(row.no)
        for lane in Lane:
            view = lanes[lane] if lanes else LaneView(head=Head(seq=0, digest=b""), delivered=Ranges())
            self._lanes[row.no, lane] = view
            self._look((row.no, lane))

    def epochs(self) -> list[EpochRow]:
        """Returns every known epoch, oldest first."""
        return sorted(self._rows.values(), key=lambda row: row.age_key)

    def forget_epoch(self, no: int) -> None:
        """Forgets an epoch of which nothing is left to send or to release."""
        row = self._rows.pop(no, None)
        if row is None:
            return
        self._found.discard(no)
        del self._numbers[row.epoch]
        for lane in Lane:
            del self._lanes[no, lane]
            self._open.discard((no, lane))
            self._changed.discard((no, lane))
            self._serials.pop((no, lane), None)
            self._doubted.pop((no, lane), None)
        for key in [key for key in self._in_flight if key[0] == no]:
            self._land(key)

    def is_finished(self, no: int) -> bool:
        """Returns whether every batch of an epoch was receipted, or lost with a record, and is no longer kept."""
        for lane in Lane:
            view = self._lanes[no, lane]
            gone = Ranges([*view.released, *view.lost])
            if gone.contiguous < view.head.seq or (no, lane) in self._open:
                return False
            if view.delivered.contiguous < view.head.seq and len(view.lost):
                return False
        return True

    def sealed(self, epoch_no: int, lane: Lane, head: Head) -> None:
        """Moves a lane's head."""
        self._lanes[epoch_no, lane].head = head
        self._open.add((epoch_no, lane))

    def lost(self, epoch_no: int, lane: Lane, first: int, last: int) -> None:
        """Notes that a range is no longer here; it is never sent."""
        view = self._lanes[epoch_no, lane]
        view.lost.add(first, last)
        self._settle((epoch_no, lane), first, last)

    def released(self, epoch_no: int, lane: Lane, first: int, last: int) -> None:
        """Notes that a receipted range was removed: it cannot be sent again."""
        view = self._lanes[epoch_no, lane]
        view.released.add(first, last)
        self._settle((epoch_no, lane), first, last)

    def _settle(self, key: Key, first: int, last: int) -> None:
        self._lanes[key].settled.add(first, last)
        self._look(key)
        for flying in [item for item in self._in_flight if item[:2] == key and first <= item[2] <= last]:
            self._land(flying)

    def _look(self, key: Key) -> None:
        if any(True for _ in self._waiting(key)):
            self._open.add(key)
        else:
            self._open.discard(key)

    def has_epoch(self, no: int) -> bool:
        """Returns whether an epoch is known by its number."""
        return no in self._rows

    def number(self, epoch: bytes) -> int | None:
        """Returns the number of an epoch."""
        return self._numbers.get(epoch)

    def head(self, epoch_no: int, lane: Lane) -> Head:
        """Returns the newest sealed batch of a lane."""
        return self._lanes[epoch_no, lane].head

    def delivered(self, epoch_no: int, lane: Lane) -> Ranges:
        """Returns the receipted ranges of a lane."""
        return self._lanes[epoch_no, lane].delivered

    def releasable(self, epoch_no: int, lane: Lane) -> list[tuple[int, int]]:
        """Returns the receipted ranges that are still kept."""
        view = self._lanes[epoch_no, lane]
        return view.delivered.without(view.released)

    def is_delivered(self, key: BatchKey) -> bool:
        """Returns whether a receipt covers a batch."""
        view = self._lanes.get((key[0], key[1]))
        return view is None or key[2] in view.delivered

    def is_settled(self, key: BatchKey) -> bool:
        """Returns whether a batch need not be sent: receipted, lost with a record, or released."""
        view = self._lanes.get((key[0], key[1]))
        return view is None or key[2] in view.settled

    def waiting(self, epoch_no: int, lane: Lane) -> list[tuple[int, int]]:
        """Returns the seqs of a lane that wait for a receipt, in flight or not."""
        return list(self._waiting((epoch_no, lane)))

    def backlog(self) -> Backlog:
        """Returns what waits for a receipt."""
        counts = {Lane.ALARM: 0, Lane.DATA: 0}
        epochs: set[int] = set()
        for key in self._open:
            waiting = sum(last - first + 1 for first, last in self._waiting(key))
            counts[key[1]] += waiting
            if waiting:
                epochs.add(key[0])
        return Backlog(alarm_batches=counts[Lane.ALARM], data_batches=counts[Lane.DATA], epochs=len(epochs))

    def unreceipted(self, limit: int = 64) -> tuple[bytes, ...]:
        """Returns the epochs that are not wholly receipted, oldest first."""
        found = {key[0] for key in self._open if any(True for _ in self._waiting(key))}
        rows = sorted((self._rows[no] for no in found), key=lambda row: row.age_key)
        return tuple(row.epoch for row in rows[:limit])

    def _waiting(self, key: Key) -> Iterator[tuple[int, int]]:
        view = self._lanes[key]
        return view.settled.missing(view.head.seq)

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
        named = [(receipt.contiguous, receipt.digest)] if receipt.contiguous else []
        named += [(item.last, item.digest) for item in receipt.also]
        named += [(item.seq, item.digest) for item in receipt.refused]
        # Of an epoch that is over the collector may hold more than the spool: its log was lost, or the agent
        # was killed before a volatile epoch was stored.  What lies beyond cannot be compared and is not here
        # to be released; what lies below is believed by the receipt's signature.
        if number not in self._found and any(seq > view.head.seq for seq, _ in named):
            return "beyond_head", []
        head = (view.head.seq, view.head.digest)
        return "applied", [
            Claim(epoch_no=number, lane=receipt.lane, seq=seq, digest=digest)
            for seq, digest in named
            if seq <= view.head.seq and (seq, digest) != head
        ]

    def _is_older(self, receipt: Receipt, key: Key) -> bool:
        since, epoch = self.collector
        if receipt.collector_epoch == epoch:
            return receipt.serial <= self._serials.get(key, 0)
        return receipt.collector_since_us <= since

    def apply(self, receipt: Receipt, unproven: Collection[int] = (), *, now_us: int | None = None) -> bool:
        """Believes a receipt whose claims were found true.

        Args:
            unproven: seqs whose digest nobody here knows any more; what they would cover is left out, and sent
                last: the collector probably has it, and what it lacks brings it to a batch that can be checked.
            now_us: monotonic; None: the window is left as it is.

        Returns:
            True when it comes from a new collector epoch: everything here is to be asked for
            again, because a collector restored from a backup holds less than it once signed for.
        """
        number = self._numbers[receipt.epoch]
        key = (number, receipt.lane)
        is_new_epoch = receipt.collector_epoch != self.collector[1] and self.collector[1] != b""
        if is_new_epoch:
            self.distrust()
        if receipt.collector_epoch != self.collector[1]:
            self._serials.clear()
        self._serials[key] = receipt.serial
        self.collector = (receipt.collector_since_us, receipt.collector_epoch)
        proven = [] if receipt.contiguous in unproven else [(1, receipt.contiguous)]
        proven += [(item.first, item.last) for item in receipt.also if item.last not in unproven]
        for refused in receipt.refused:
            if refused.seq not in unproven:
                proven.append((refused.seq, refused.seq))
                entry = (number, receipt.lane, refused.seq, refused.code)
                if entry not in self.refused:
                    self.refused.append(entry)
                    self.refused_count += 1
        self._deliver(key, proven)
        doubted = [(1, receipt.contiguous)] if receipt.contiguous in unproven else []
        doubted += [(item.first, item.last) for item in receipt.also if item.last in unproven]
        self._doubted[key] = Ranges(doubted)
        self.last_receipt = receipt
        self._patience = 1
        self._land_delivered(key, now_us)
        return is_new_epoch

    def _deliver(self, key: Key, proven: list[tuple[int, int]]) -> None:
        view = self._lanes[key]
        before = list(view.delivered)
        for first, last in proven:
            last = min(last, view.head.seq)
            view.delivered.add(first, last)
            view.settled.add(first, last)
        if list(view.delivered) != before:
            self._changed.add(key)
        self._look(key)

    def _land_delivered(self, key: Key, now_us: int | None) -> None:
        newest = 0
        delivered = self._lanes[key].delivered
        for flying in [item for item in self._in_flight if item[:2] == key and item[2] in delivered]:
            sent_us = self._in_flight[flying][0]
            newest = max(newest, sent_us)
            if now_us is not None:
                self._window.came_back(sent_us, now_us, is_history=flying in self._backlog_keys)
                self.receipt_latency.add(now_us - sent_us)
            self._land(flying)
            self._overtaken_once.discard(flying)
        self._land_overtaken(key[1], newest)

    def _land_overtaken(self, lane: Lane, sent_us: int) -> None:
        """Forgets what was sent clearly before a batch that came through.

        The collector takes alarms before data, so an alarm's receipt says nothing about data.  Once for
        each batch and connection: one that waits at the collector for its catalogue, or that it cannot
        take, would else go out again with every receipt.
        """
        lost = [
            item
            for item, (at_us, _) in self._in_flight.items()
            if at_us < sent_us - _OVERTAKEN_US
            and (lane is Lane.DATA or item[1] is Lane.ALARM)
            and item not in self._overtaken_once
        ]
        for item in lost:
            self._land(item)
        self._overtaken_once.update(lost)
        self.overtaken += len(lost)

    def distrust(self) -> None:
        """Takes back what a collector that is no more has receipted; what was removed since stays settled."""
        for no in self._rows:
            self.distrust_epoch(no)
        self.forget_flight()

    def distrust_epoch(self, no: int) -> None:
        """As ``distrust``, for one epoch."""
        for lane in Lane:
            view = self._lanes[no, lane]
            if len(view.delivered):
                self._changed.add((no, lane))
            view.delivered = Ranges()
            view.settled = Ranges([*view.lost, *view.released])
            self._look((no, lane))

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
            self._window.sent(now_us, self._backlog_bytes)

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
        self._overtaken_once.clear()
        self._doubted.clear()
        self._in_flight_bytes = self._backlog_bytes = 0
        self._patience = 1
        self._window.restart()

    def expire(self, now_us: int) -> int:
        """Forgets flights that waited too long for a receipt; returns how many."""
        limit = self._resend_after * self._patience
        stale = [key for key, (at, _) in self._in_flight.items() if now_us - at > limit]
        for key in stale:
            self._land(key)
        if stale:
            self._patience = min(self._patience * 2, _MOST_PATIENCE)
            self._window.gave_up(now_us)
        return len(stale)

    def next_expiry_us(self) -> int | None:
        """Returns when the oldest flight is to be sent again, or None."""
        oldest = min((at for at, _ in self._in_flight.values()), default=None)
        return None if oldest is None else oldest + self._resend_after * self._patience

    def in_flight(self) -> Collection[BatchKey]:
        """Returns what was sent and is neither receipted nor given up."""
        return self._in_flight.keys()

    def is_in_flight(self, key: BatchKey) -> bool:
        """Returns whether a batch was sent and neither receipted nor given up."""
        return key in self._in_flight

    def room(self, share: float) -> int:
        """Returns how many bytes of history may be launched now (<= 0: none)."""
        self._window.share = share
        size = self._window.size
        return min(int(size * share) - self._backlog_bytes, size - self._in_flight_bytes)

    def to_send(self, lane: Lane) -> list[tuple[int, list[tuple[int, int]]]]:
        """Returns per epoch, oldest first, the seq ranges of a lane that wait and are not in flight.

        What a receipt names without proof comes only when nothing else waits: in front it would fill the window
        for ever, because no receipt covers it before what is behind it has arrived.
        """
        flying: dict[int, list[int]] = {}
        for epoch_no, its_lane, seq in self._in_flight:
            if its_lane is lane:
                flying.setdefault(epoch_no, []).append(seq)
        rows = sorted((self._rows[key[0]] for key in self._open if key[1] is lane), key=lambda row: row.age_key)
        return self._waiting_of(rows, lane, flying, with_doubted=False) or self._waiting_of(
            rows, lane, flying, with_doubted=True
        )

    def _waiting_of(
        self, rows: list[EpochRow], lane: Lane, flying: dict[int, list[int]], *, with_doubted: bool
    ) -> list[tuple[int, list[tuple[int, int]]]]:
        found = []
        for row in rows:
            settled = self._lanes[row.no, lane].settled
            doubted = self._doubted.get((row.no, lane), ())
            if row.no in flying or (doubted and not with_doubted):
                extra = () if with_doubted else doubted
                settled = Ranges([*settled, *extra, *((seq, seq) for seq in flying.get(row.no, ()))])
            ranges = list(settled.missing(self._lanes[row.no, lane].head.seq))
            if ranges:
                found.append((row.no, ranges))
        return found
