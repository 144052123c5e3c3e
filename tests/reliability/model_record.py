"""What the model writes down where no fault reaches, and what must hold after every step.

Every batch that was signed, what the spool promised and released, every receipt, and what is rightly not to be had
any more.  The numbers come at the end, in ``model_checks.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.batch import Lane
from contracts.columns import decode_block
from contracts.receipt import Receipt
from edge_agent.ranges import Ranges
from edge_agent.seal import Chain, Sealed
from edge_agent.spool_records import Commit, Gone
from tests.reliability.virtual_agent import FAST, KEYS, Defects, VirtualAgent
from tests.reliability.virtual_collector import VirtualCollector
from tests.reliability.virtual_disk import Watch

#: epoch, lane, seq
Key = tuple[bytes, Lane, int]
#: boot id, point, monotonic us
Place = tuple[bytes, str, int]


class Record(Watch):
    """Everything that is known of one history from outside."""

    agent: VirtualAgent | None
    collector: VirtualCollector
    defects: Defects

    def __init__(self) -> None:
        #: what was sampled, and the batch that it was first sealed into
        self.samples: dict[Place, str] = {}
        self.sealed_in: dict[Place, Key] = {}
        #: every batch that was ever signed; promised durable by the spool; covered by a receipt
        self.made: dict[Key, bytes] = {}
        self._storing: set[Key] = set()
        #: seqs of which a copy of the key signed another batch: both are kept, and the fork is shown
        self.clones: set[Key] = set()
        self.promised: dict[Key, bytes] = {}
        self.acked: set[Key] = set()
        #: released by the spool; in a file that was damaged
        self.released: set[Key] = set()
        self.file_lost: set[Key] = set()
        #: promised once and rightly not to be had any more: why
        self.excused: dict[Key, str] = {}
        #: what a restored collector once held and lacks
        self.lacking: set[Key] = set()
        #: alarms may be known to one side only, because what told the other is lost with its place
        self.is_alarm_state_torn = False
        #: what must never have happened
        self.wrongs: list[str] = []
        #: signed bytes -> batch, and whether it may go out before it is durable
        self._envelopes: dict[bytes, tuple[Key, bool]] = {}
        self._receipted: dict[tuple[bytes, Lane], Ranges] = {}
        self._serials: dict[tuple[bytes, bytes, Lane], tuple[int, int]] = {}
        self._latest: dict[str, tuple[int, int]] = {}
        #: when the newest collector epoch began that this life of the agent has heard of, UTC us
        self._heard_since_us = 0
        self._aside = 0

    def note_seal(self, chain: Chain, sealed: Sealed, at_us: int, blocks: Sequence[Any]) -> None:
        key = (sealed.epoch, sealed.lane, sealed.seq)
        if self.made.setdefault(key, sealed.digest) != sealed.digest:
            self.wrongs.append(f"two batches were signed as {name(key)}")
        self._envelopes[sealed.envelope] = (key, chain.is_volatile)
        for raw in blocks:
            columns = decode_block(raw, ("int", "int", "f32") if raw[0] == FAST else ("int",), at_us)
            for point in KEYS[raw[0]]:
                for time_us in columns.times:
                    self.sealed_in.setdefault((chain.boot.boot_id, point, time_us), key)

    def note_publish(self, payload: bytes) -> None:
        key, is_volatile = self._envelopes.get(payload, (None, True))
        if key is not None and not is_volatile and key not in self._storing:
            self.wrongs.append(f"{name(key)} went out before it was durable")

    def storing(self, commit: Commit) -> None:
        # A commit that says that it failed may have succeeded; what is read from the disk afterwards is on it.
        self._storing.update((sealed.epoch, sealed.lane, sealed.seq) for sealed in commit.batches)

    def stored(self, commit: Commit) -> None:
        for sealed in commit.batches:
            self.promised[sealed.epoch, sealed.lane, sealed.seq] = sealed.digest

    def releasing(self, gone: Gone) -> None:
        assert self.agent is not None
        delivery = self.agent.agent.delivery
        row = next(row for row in delivery.epochs() if row.no == gone.epoch_no)
        lost = delivery._lanes[gone.epoch_no, gone.lane].lost
        receipted = self._receipted.get((row.epoch, gone.lane), Ranges())
        lacking = self.lacking - self.collector.keys() if self.lacking else self.lacking
        for seq in range(gone.first, gone.last + 1):
            key = (row.epoch, gone.lane, seq)
            if seq in lost:
                continue
            if seq not in receipted or self.made.get(key) not in self.collector.held.get(key, ()):
                self.wrongs.append(f"{name(key)} is released, and no receipt covers these bytes")
            self.released.add(key)
            if key in lacking:
                self.excused[key] = "released before the gateway knew that the collector was restored"
                if self._heard_since_us >= self.collector.since_us:
                    self.wrongs.append(f"{name(key)} is released by a receipt of a collector that is no more")

    def note_receipts(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            place = (receipt.collector_epoch, receipt.epoch, receipt.lane)
            serial, contiguous = self._serials.get(place, (0, 0))
            if receipt.serial <= serial or receipt.contiguous < contiguous:
                self.wrongs.append(f"a receipt goes back: {receipt.serial}, {receipt.contiguous} after {serial}")
            self._serials[place] = (receipt.serial, receipt.contiguous)
            covered = [(1, receipt.contiguous), *((item.first, item.last) for item in receipt.also)]
            covered += [(item.seq, item.seq) for item in receipt.refused]
            held = Ranges(self.collector.spans(receipt.epoch, receipt.lane))
            known = self._receipted.setdefault((receipt.epoch, receipt.lane), Ranges())
            for first, last in covered:
                if Ranges([(first, last)]).without(held):
                    self.wrongs.append(f"a receipt says {first} to {last}, and the collector holds {held}")
                known.add(first, last)
                self.acked.update((receipt.epoch, receipt.lane, seq) for seq in range(first, last + 1))

    def look(self) -> None:
        """Says what must hold after every step.

        Raises:
            AssertionError: what does not.
        """
        assert not self.defects.found, self.defects.found[0]
        assert not self.wrongs, self.wrongs[:3]
        if self.agent is not None:
            aside = len(self.agent.agent.spool.aside)
            if aside > self._aside:
                self.lose_file()
            self._aside = aside
        if self.collector.is_up:
            for point, rank, mono_us in self.collector.rows("SELECT key, rank, mono_us FROM latest"):
                assert (rank, mono_us) >= self._latest.get(point, (0, 0)), f"the latest of {point} went back"
                self._latest[point] = (rank, mono_us)

    def lose_file(self) -> None:
        self.is_alarm_state_torn = True
        held = self.collector.keys()
        self.file_lost.update(self.promised)
        for key in self.promised:
            if key not in held:
                self.excused.setdefault(key, "in a file that was damaged")


def name(key: Key) -> str:
    """Returns a batch's name for people."""
    return f"{key[1].name.lower()} {key[2]} of epoch {key[0].hex()}"
