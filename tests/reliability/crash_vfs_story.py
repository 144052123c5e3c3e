"""A gateway's life on a recorded disk: seals, alarms, receipts good and bad, thinning, eviction, restarts.

The keeper, the uplink, delivery, the making of room and the spool's thread are the real ones; the clock,
the link and the collector are the test's.  What is promised and when is written down beside the disk's
operations, so that any moment of the story can be cut.

A batch counts as promised when its commit has returned or when it was offered to the link, whichever
comes first: nothing may be sent that a power cut could take back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import apsw

from contracts.batch import Genesis, Lane, LossRecord, Note, Origin, Statement, decode_batch
from contracts.envelope import Type, decode_payload, open_envelope, seal, split
from contracts.keys import Signer, Verifier
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from edge_agent import keeper as keeper_module
from edge_agent.clock import AnchorClock
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.keeper import Keeper
from edge_agent.open_store import Learnt, learn
from edge_agent.ranges import Ranges
from edge_agent.seal import Chain
from edge_agent.spool import Commit, EpochRow, Opened, Spool
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink
from tests.edge_agent.chains import BOOT, SIGNER, Clock, alarm_event, new_chain
from tests.edge_agent.quiet_site import CATALOGUE, CATALOGUE_ENVELOPE, content
from tests.reliability.crash_vfs import Does, Op, Recording, RecordingVfs
from tests.reliability.oracle import Fact, Kind, batch_series

T = TypeVar("T")
GATEWAY = SIGNER.public.gateway_id
COLLECTOR = Signer.from_seed(b"collector" + bytes(23))
KEYS = {COLLECTOR.key_id: Verifier(COLLECTOR.public)}
SPOOL = "spool.db"
#: (epoch, lane, seq)
Key = tuple[bytes, Lane, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is known of a sealed batch from its own bytes."""

    key: Key
    digest: bytes
    losses: tuple[LossRecord, ...]
    #: sent from memory: safe only when it is receipted, and its batches say so
    is_volatile: bool
    read: Fact
    gaps: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One commit: what must be there together, or not at all."""

    serial: bytes
    batches: tuple[Key, ...]
    dropped: tuple[tuple[bytes, Lane, int, int], ...]


@dataclass(slots=True, kw_only=True)
class Diary:
    """What happened, each with the number of disk operations before it."""

    recording: Recording = field(default_factory=Recording)
    facts: list[tuple[int, Fact]] = field(default_factory=list)
    #: what the collector has, from when on
    evidence: list[tuple[int, Key]] = field(default_factory=list)
    commits: list[Together] = field(default_factory=list)
    #: by digest
    made: dict[bytes, Made] = field(default_factory=dict)
    #: by the bytes that went out
    envelopes: dict[bytes, Made] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, fact: Fact) -> None:
        """Writes a fact down."""
        self.facts.append((len(self.recording.ops), fact))

    def attempt(self, envelope: bytes, digest: bytes, lane: Lane) -> Made:
        """Notes that a batch was made; returns what it says."""
        known = self.made.get(digest)
        if known is not None:
            return known
        batch = decode_batch(decode_payload(split(envelope)[1]), lane.type)
        head = batch.header
        series = batch_series(GATEWAY, head.epoch, lane)
        made = self.made[digest] = self.envelopes[envelope] = Made(
            key=(head.epoch, lane, head.seq),
            digest=digest,
            losses=tuple(batch.losses),
            is_volatile=head.origin is Origin.VOLATILE,
            read=Fact(Kind.READ, series, head.seq, head.seq, digest.hex()),
            gaps=tuple(
                Fact(Kind.GAP, batch_series(GATEWAY, loss.epoch, loss.lane), loss.first, loss.last, loss.cause)
                for loss in batch.losses
            ),
        )
        self.note(replace_kind(made.read, Kind.ATTEMPT))
        return made

    def count(self, what: str, number: int = 1) -> None:
        """Counts what the story had in it."""
        self.counts[what] = self.counts.get(what, 0) + number


def replace_kind(fact: Fact, kind: Kind) -> Fact:
    return replace(fact, kind=kind)


class WatchedSpool(Spool):
    """The spool, with a note of every commit."""

    diary: Diary

    def commit(self, commit: Commit) -> None:
        made = [self.diary.attempt(item.envelope, item.digest, item.lane) for item in commit.batches]
        epochs = {row.no: row.epoch for row in self.inventory().epochs} if commit.drop else {}
        serial = commit.state.get("alarms")
        if serial is not None:
            self.diary.commits.append(
                Together(
                    serial=serial,
                    batches=tuple(item.key for item in made),
                    dropped=tuple((epochs[no], loss.lane, loss.first, loss.last) for no, loss in commit.drop),
                )
            )
        super().commit(commit)
        for item in made:
            self.diary.note(replace_kind(item.read, Kind.STORED))
        self.diary.count("commits")
        for _, loss in commit.drop:
            self.diary.count(f"batches {loss.cause}", loss.last - loss.first + 1)

    def _write_log_again(self, db: apsw.Connection) -> int:
        size = super()._write_log_again(db)
        if not size:
            return 0
        log = Path(db.filename_wal)
        recording = self.diary.recording
        file = recording.file(log.name)
        recording.add(Op(Does.WRITE, file, log.name, data=log.read_bytes()[:size]))
        self.diary.count("logs written again")
        if recording.fails(log.name):
            recording.add(Op(Does.FAILED_SYNC, file, log.name))
            self._is_doubtful = True
            raise OSError("the disk of this test does not sync")
        recording.add(Op(Does.SYNC, file, log.name))
        return size

    def release(self, epoch_no: int, lane: Lane, first: int, last: int) -> int:
        removed = super().release(epoch_no, lane, first, last)
        self.diary.count("batches released", removed)
        return removed

    def forget(self, epoch_nos: Any) -> None:
        super().forget(epoch_nos)
        self.diary.count("epochs forgotten", len(epoch_nos))

    def checkpoint(self) -> None:
        super().checkpoint()
        self.diary.count("checkpoints")

    def forget_catalogues(self, hashes: Any) -> None:
        gone = list(hashes)
        super().forget_catalogues(gone)
        self.diary.count("catalogues forgotten", len(gone))


class OnRecordedDisk(SpoolThread):
    """The spool's thread, in the thread of the test."""

    def __init__(self, path: Path, vfs: RecordingVfs, diary: Diary, *, spool: type[WatchedSpool]) -> None:
        super().__init__(path)
        self._spool = spool(vfs.connect(path))
        self._spool.diary = diary

    def run(self, work: Callable[[Spool], T]) -> Any:
        async def answer() -> T:
            return self._call(work)

        return asyncio.get_running_loop().create_task(answer())

    async def hold_ballast(self) -> bool:
        return self._ballast.hold()

    def open_now(self) -> Opened:
        """Opens it as a starting agent does."""
        return self._open()

    def leave(self, *, is_clean: bool) -> None:
        """Ends as a stopped agent does, or as a killed one."""
        if is_clean:
            self._spool.close()
        else:
            self._spool.leave()
        self._pool.shutdown(wait=False)


class Link:
    """A link whose other end is a collector that keeps what reaches it."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.is_up = True
        self.on_up: Any = None
        self.on_down: Any = None
        self.on_message: Any = None

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        lane = {"alarm": Lane.ALARM, "data": Lane.DATA}.get(topic.rsplit("/", 1)[1])
        if lane is not None:
            self._story.arrives(payload, lane)
        return self.is_up


class StubJudge:
    """Judges nothing: the alarm state of these stories is the number of the commit that it belongs to."""

    def begin(self) -> None: ...

    def restore(self, data: bytes, same_boot: bool) -> None: ...


class Story:
    """One gateway and one collector, and what happens to them; the same seed tells the same story."""

    #: what a mutant has others of
    spool: type[WatchedSpool] = WatchedSpool
    keeper_type: type[Keeper] = Keeper
    uplink_type: type[Uplink] = Uplink
    #: how likely a sync is to fail
    sync_fails = 0.0
    #: whether the spool is always found as it was left when an agent starts
    is_whole = True

    def __init__(self, directory: Path, seed: int) -> None:
        """Makes nothing yet."""
        self.chance, self._faults = random.Random(seed), random.Random(seed + 1)
        #: few alarms and a long outage: what is thinned lies away from alarms
        self.is_quiet = seed % 2 == 1
        #: bytes that the spool may take beyond an empty one
        self.room = 34_000 if self.is_quiet else 22_000
        self.diary = Diary()
        self.clock = Clock()
        self.path = directory / SPOOL
        self.vfs = RecordingVfs(self.diary.recording)
        #: what the collector has: key -> digest; and ranges with a loss record, with the digest of the last
        self.held: dict[Key, bytes] = {}
        self.signed_for: dict[tuple[bytes, Lane], dict[tuple[int, int], bytes]] = {}
        self._serial = self._receipts = self._events = 0
        self._quota = 1 << 40
        self.thread: OnRecordedDisk
        self.keeper: Keeper
        self.uplink: Uplink
        self.delivery: Delivery
        self.link: Link

    # -- the gateway -----------------------------------------------------------------

    def new_epoch(self) -> bytes:
        """Returns the bytes of the next epoch, as the agent makes them at every start."""
        return self.chance.randbytes(8)

    def _alarm_state(self) -> bytes:
        self._serial += 1
        return str(self._serial).encode()

    def new_chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return new_chain(self.clock, epoch, origin, genesis)

    async def start(self) -> None:
        """Starts an agent on what lies there (edge_agent/own_epoch.py does it in the same order)."""
        self.thread = OnRecordedDisk(self.path, self.vfs, self.diary, spool=self.spool)
        opened = self.thread.open_now()
        if self.is_whole and (opened.put_aside is not None or opened.remark):
            raise AssertionError(f"the story's own disk is whole: {opened.put_aside or opened.remark}")
        self.delivery = Delivery(GATEWAY)
        learnt = learn(opened, delivery=self.delivery, judge=StubJudge(), boot=BOOT)  # type: ignore[arg-type]
        self.keeper = self._make_keeper(learnt)
        # How long a commit takes on this machine is no part of the story.
        self.keeper._check_late = lambda: None  # type: ignore[method-assign]
        self.link = Link(self)
        self.uplink = self.uplink_type(
            link=self.link,  # type: ignore[arg-type]
            delivery=self.delivery,
            spool=self.thread,
            signer=SIGNER,
            collector_keys=KEYS,
            clock=AnchorClock(monotonic=self.clock),
            monotonic=self.clock,
            chain=lambda: self.keeper.chain,
            statement=lambda: Statement(mono_us=self.clock(), events=()),
            catalogue=lambda: (CATALOGUE.hash, CATALOGUE_ENVELOPE),
            version="test",
            backlog_share=0.5,
            memory=self.keeper.memory,
        )
        self.keeper.uplink = self.uplink
        self.keeper.keep_catalogue(CATALOGUE.hash, CATALOGUE_ENVELOPE)
        await self.calm()
        if self._quota == 1 << 40:
            self._quota = self.thread.used_bytes + self.room
            self.keeper.room._quota = self._quota
        self.diary.count("starts")

    def _make_keeper(self, learnt: Learnt) -> Keeper:
        genesis = Genesis(version="test", reason=learnt.reason, parent=learnt.parent)
        chain = self.new_chain(self.new_epoch(), genesis, Origin.LIVE)
        row = EpochRow(
            no=learnt.number,
            epoch=chain.epoch,
            reason=learnt.reason,
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=self.clock(),
            started_uptime_s=self.clock() // 1_000_000,
        )
        self.delivery.add_epoch(row)
        return self.keeper_type(
            spool=self.thread,
            delivery=self.delivery,
            chain=chain,
            row=row,
            new_chain=self.new_chain,
            monotonic=self.clock,
            alarm_state=self._alarm_state,
            uptime_s=lambda: self.clock() // 1_000_000,
            quota_bytes=self._quota,
            reserve_bytes=0,
            retention_s=300,
        )

    async def calm(self) -> None:
        """Lets everything come to rest, whatever follows from what."""
        for _ in range(4000):
            await asyncio.sleep(0)
            tasks = [self.keeper._committing, self.keeper._room_task, *self.uplink._believing, *self.keeper._signing]
            if all(task is None or task.done() for task in tasks):
                return
        raise AssertionError("the keeper does not come to rest")

    # -- the collector ---------------------------------------------------------------

    def arrives(self, envelope: bytes, lane: Lane) -> None:
        """A batch leaves the gateway: from now on it is promised; it is kept where the link is not lying."""
        digest = open_envelope(envelope, lane.type, {SIGNER.key_id: Verifier(SIGNER.public)}).digest
        made = self.diary.attempt(envelope, digest, lane)
        if not made.is_volatile:
            self.diary.note(replace_kind(made.read, Kind.STORED))
        if self.chance.random() < 0.4:
            self.diary.count("messages lost")
            return
        self._hold(made)

    def _hold(self, made: Made) -> None:
        self.held[made.key] = made.digest
        self.diary.evidence.append((len(self.diary.recording.ops), made.key))
        for loss in made.losses:
            self.signed_for.setdefault((loss.epoch, loss.lane), {})[loss.first, loss.last] = loss.digest
        self.diary.count("messages kept")

    def receipt(self, epoch: bytes, lane: Lane) -> Receipt:
        """Returns what the collector can sign for now."""
        self._receipts += 1
        covered = Ranges()
        ends: dict[int, bytes] = {}
        for (its_epoch, its_lane, seq), digest in self.held.items():
            if (its_epoch, its_lane) == (epoch, lane):
                covered.add(seq, seq)
                ends[seq] = digest
        for (first, last), digest in self.signed_for.get((epoch, lane), {}).items():
            covered.add(first, last)
            ends.setdefault(last, digest)
        contiguous = covered.contiguous
        while contiguous and not ends.get(contiguous):
            contiguous -= 1
        return Receipt(
            gateway=GATEWAY,
            collector_epoch=b"collector"[:8],
            collector_since_us=1,
            serial=self._receipts,
            epoch=epoch,
            lane=lane,
            contiguous=contiguous,
            digest=ends.get(contiguous, b""),
        )

    async def give(self, receipt: Receipt) -> None:
        """Brings a receipt to the gateway."""
        envelope = seal(Type.RECEIPT, receipt.to_body(), COLLECTOR)[0]
        self.link.on_message(topic(GATEWAY, Channel.RECEIPT), envelope)
        await self.calm()
        no = self.delivery.number(receipt.epoch)
        if no is not None:
            for first, last in self.delivery.delivered(no, receipt.lane):
                self.diary.note(Fact(Kind.ACKED, batch_series(GATEWAY, receipt.epoch, receipt.lane), first, last))

    # -- what happens ----------------------------------------------------------------

    async def seal(self) -> None:
        self.clock.pass_s(5)
        what = content(self.clock(), 5)
        if self.chance.random() < 0.1:
            # Longer than a page.
            text = self.chance.randbytes(self.chance.choice([30, 200, 400])).hex()
            what = replace(what, notes=[Note(mono_us=self.clock() + n, kind="x", text=text[n:]) for n in range(3)])
        self.keeper.seal_data(what)

    async def alarm(self) -> None:
        self._events += 1
        self.clock.pass_s(1)
        self.keeper.seal_alarms([alarm_event(self._events)])

    async def both(self) -> None:
        """Alarms and data in a queue of commits, and more before the first has been made."""
        await self.alarm()
        await self.seal()
        await self.seal()

    async def new_catalogue(self) -> None:
        self.keeper.keep_catalogue(self.chance.randbytes(32), self.chance.randbytes(700))

    async def send(self) -> None:
        if self.link.is_up:
            for _ in range(3):
                await self.uplink._pump_once()

    async def good_receipt(self) -> None:
        if not self.link.is_up:
            return
        lanes = sorted({(epoch, lane) for epoch, lane, _ in self.held})
        for epoch, lane in lanes[-6:]:
            await self.give(self.receipt(epoch, lane))
        self.diary.count("receipts", len(lanes[-6:]))

    async def bad_receipt(self) -> None:
        """The word of a collector that holds another chain: the same numbers, other digests."""
        epoch = self.keeper.chain.epoch
        head = self.delivery.head(self.keeper.epoch_no, Lane.DATA)
        if head.seq < 3 or self.keeper.chain.is_volatile:
            return
        receipt = self.receipt(epoch, Lane.DATA)
        await self.give(replace(receipt, contiguous=head.seq - 1, digest=self.chance.randbytes(32)))
        self.diary.count("bad receipts")

    async def link_changes(self) -> None:
        self.link.is_up = not self.link.is_up
        if self.link.is_up:
            self.delivery.forget_flight()

    async def times_out(self) -> None:
        self.clock.pass_s(60)
        self.delivery.expire(self.clock())

    async def tend(self) -> None:
        # Its rest between two pieces is for a disk that others use too.
        self.keeper.room._catalogues._rest_s = 0.0
        await self.keeper.room.tend()

    async def checkpoint(self) -> None:
        await self.thread.run(lambda spool: spool.checkpoint())

    async def restart(self) -> None:
        self.thread.leave(is_clean=self.chance.random() < 0.5)
        self.clock.pass_s(20)
        self.diary.recording.fails = lambda name: False
        await self.start()
        self.diary.recording.fails = self._fails

    def _fails(self, name: str) -> bool:
        is_failing = self._faults.random() < self.sync_fails
        self.diary.count("failed syncs", is_failing)
        return is_failing

    async def tell(self, steps: int) -> Diary:
        """Tells the whole story.

        Args:
            steps: how much happens.
        """
        await self.start()
        self.link.is_up = not self.is_quiet
        ways: dict[Callable[[], Any], int] = {
            self.seal: 90 if self.is_quiet else 55,
            self.alarm: 1 if self.is_quiet else 5,
            self.both: 1 if self.is_quiet else 4,
            self.new_catalogue: 2,
            self.send: 8,
            self.good_receipt: 6,
            self.bad_receipt: 3,
            self.link_changes: 1 if self.is_quiet else 3,
            self.times_out: 3,
            self.tend: 4,
            self.checkpoint: 2,
            self.restart: 1 if self.is_quiet else 3,
        }
        self.diary.recording.fails = self._fails
        for _ in range(steps):
            (way,) = self.chance.choices(list(ways), list(ways.values()))
            try:
                await way()
            except SpoolError:
                self.diary.count("calls that the disk refused")
            await self.calm()
        self.diary.count("volatile epochs", self.keeper.counts["volatile_epochs"])
        self.diary.recording.fails = lambda name: False
        self.thread.leave(is_clean=False)
        return self.diary


class FailingDisk(Story):
    """Now and then a sync fails; nothing that was promised may be lost by it."""

    sync_fails = 0.05


def told(directory: Path, seed: int, *, steps: int, story: type[Story] = Story) -> Diary:
    """Tells a story in an empty directory and returns its diary."""
    before = keeper_module._TRY_AGAIN_S
    keeper_module._TRY_AGAIN_S = 0.0
    try:
        return asyncio.run(story(directory, seed).tell(steps))
    finally:
        keeper_module._TRY_AGAIN_S = before
