"""What must hold of every state that a power cut may leave: looked at with the code that opens a spool.

1  it opens, nothing is put aside, nothing is missing beside it
2  SQLite's full check says ok, and every row is what was written
3  the five numbers of the checker are zero, when all that still waits there has been sent
4  the batches and the alarm state of one transaction are there together or not at all
5  what counts as delivered lies at the collector, and the collector has nothing that is not here
6  the next epoch has a number of its own and goes on from heads that are there; a batch sealed
   into it is there after one more opening
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contracts.batch import Genesis, Lane
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.open_store import Learnt, learn
from edge_agent.spool import Commit, EpochRow, Opened, Spool
from edge_agent.spool_thread import SpoolThread
from tests.edge_agent.chains import BOOT, Clock, new_chain, seal_data
from tests.reliability.checker import Verdict, check
from tests.reliability.crash_vfs import Disk, Unit, choose
from tests.reliability.crash_vfs_story import GATEWAY, SPOOL, Diary, Key, StubJudge, Together, replace_kind
from tests.reliability.oracle import Fact, Kind

_EVERYTHING = 1 << 40
#: problems that are kept of one run
_MOST = 20


class StartingThread(SpoolThread):
    """The spool's thread, opened where the test stands."""

    def open_now(self) -> Opened:
        return self._open()

    @property
    def spool(self) -> Spool:
        return self._spool

    def leave(self) -> None:
        self._spool.leave()
        self._pool.shutdown(wait=False)


@dataclass(slots=True)
class Moment:
    """What was promised at one moment of a diary."""

    facts: list[Fact] = field(default_factory=list)
    evidence: dict[Key, None] = field(default_factory=dict)
    stored: set[tuple[str, int]] = field(default_factory=set)

    def take(self, fact: Fact) -> None:
        """Takes the next fact."""
        self.facts.append(fact)
        if fact.kind is Kind.STORED:
            self.stored.add((fact.series, fact.first))


@dataclass(slots=True)
class Outcome:
    """What came of many states."""

    states: int = 0
    #: of which the agent also went on, was stopped, and was opened again
    gone_on: int = 0
    #: states in which something did not hold
    bad: int = 0
    #: sums of the checker's five numbers
    numbers: list[int] = field(default_factory=lambda: [0] * 5)
    #: what did not hold, by its first words
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Takes the outcome of another run."""
        self.states += other.states
        self.gone_on += other.gone_on
        self.bad += other.bad
        self.numbers = [one + more for one, more in zip(self.numbers, other.numbers, strict=True)]
        self.kinds.update(other.kinds)
        self.problems = (self.problems + other.problems)[:_MOST]

    def __str__(self) -> str:
        names = ("lost", "unexpected", "duplicated", "altered", "gaps")
        numbers = ", ".join(f"{name} {number}" for name, number in zip(names, self.numbers, strict=True))
        return "\n".join(
            [
                f"{self.states} states, {self.gone_on} gone on from, {self.bad} bad; {numbers}; {dict(self.kinds)}",
                *self.problems[:5],
            ]
        )


class Judge:
    """Looks at states of one diary; one directory, one state at a time."""

    def __init__(self, diary: Diary, directory: Path, chance: random.Random) -> None:
        """Takes what it needs."""
        self._diary, self._directory, self._chance = diary, directory, chance
        self._path = directory / SPOOL
        self._was_bad = False
        self._by_key = {item.key: item for item in diary.made.values()}
        self._volatile = [item for item in diary.made.values() if item.is_volatile]
        self._volatile_epochs = {item.key[0] for item in self._volatile}
        self._signing = [item for item in diary.made.values() if item.losses]
        self._commits: dict[bytes, tuple[int, Together]] = {
            item.serial: (place, item) for place, item in enumerate(diary.commits)
        }
        self._first_commit = {
            key: place for place, item in reversed([*enumerate(diary.commits)]) for key in item.batches
        }

    def lay(self, files: dict[str, bytes]) -> None:
        """Writes the files of a state, and removes what an earlier one left."""
        for suffix in ("", "-wal", "-journal"):
            name = SPOOL + suffix
            data = files.get(name)
            if data is None:
                self._path.with_name(name).unlink(missing_ok=True)
                continue
            descriptor = os.open(self._path.with_name(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(descriptor, data)
            os.close(descriptor)
        self._path.with_name(SPOOL + "-shm").unlink(missing_ok=True)
        if self._was_bad:
            for aside in self._directory.glob(f"{SPOOL}.damaged-*"):
                aside.unlink()
            self._was_bad = False

    def look(self, files: dict[str, bytes], moment: Moment, *, goes_on: bool = False) -> tuple[list[str], Verdict]:
        """Returns what does not hold of a state, and the checker's verdict on it."""
        self.lay(files)
        problems: list[str] = []
        thread = StartingThread(self._path)
        try:
            opened = thread.open_now()
            if opened.put_aside is not None:
                problems.append(f"not opened: {opened.put_aside}")
            if opened.remark and moment.facts:
                problems.append(f"something is missing: {opened.remark}")
            said = thread.spool.check()
            if said != "ok":
                problems.append(f"not whole: {said}")
            problems += self._together(opened, thread.spool)
            found, learnt, delivery = self._found(opened, thread.spool, moment, problems)
            if goes_on:
                found += self._go_on(thread, learnt, delivery, problems)
        except SpoolError as error:
            problems.append(f"not opened: {error}")
            found = []
        except Exception as error:
            # Whatever a starting agent would not survive is a finding like any other.
            problems.append(f"raised: {type(error).__name__}: {error}")
            found = []
        finally:
            thread.leave()
        verdict = check([*moment.facts, *found])
        if not verdict.is_clean:
            problems.append(f"numbers: {verdict}")
        self._was_bad = bool(problems)
        return problems, verdict

    # -- 3 and 5 ---------------------------------------------------------------------

    def _found(
        self, opened: Opened, spool: Spool, moment: Moment, problems: list[str]
    ) -> tuple[list[Fact], Learnt, Delivery]:
        """Returns what the collector has when all that waits here has been sent, in the order of its chains."""
        made = self._diary.made
        by_key = self._by_key
        delivery = Delivery(GATEWAY)
        learnt = learn(opened, delivery=delivery, judge=StubJudge(), boot=BOOT)  # type: ignore[arg-type]
        epochs = {row.no: row.epoch for row in opened.epochs}
        arrived = dict(moment.evidence)
        strangers: list[Fact] = []
        for lane in Lane:
            for no, ranges in delivery.to_send(lane):
                for row in spool.read(no, lane, ranges, limit_bytes=_EVERYTHING, limit_rows=_EVERYTHING):
                    key = (epochs[no], lane, row.seq)
                    known = made.get(row.digest)
                    if not row.is_whole or known is None or known.key != key:
                        problems.append(f"row {lane.name} {row.seq} is not what was written")
                        strangers.append(Fact(Kind.READ, f"batch/{key[0].hex()}", row.seq, row.seq, row.digest.hex()))
                    else:
                        arrived[key] = None
        heads = {(epochs[no], lane): view.head for (no, lane), view in opened.lanes.items()}
        for epoch, lane, seq in moment.evidence:
            head = heads.get((epoch, lane))
            if head is not None and head.seq < seq and epoch not in self._volatile_epochs:
                problems.append(f"sent ahead: the collector has {lane.name} {seq}, here the newest is {head.seq}")
        for (no, lane), view in opened.lanes.items():
            for first, last in view.delivered:
                for seq in range(first, last + 1):
                    key = (epochs[no], lane, seq)
                    if key not in moment.evidence and not self._is_signed_for(key, moment):
                        problems.append(f"delivered and not at the collector: {lane.name} {seq}")
        facts = [by_key[key].read for key in arrived]
        gaps = [gap for key in arrived for gap in by_key[key].gaps]
        # What only memory had is listed by the collector as missing.
        gaps += [
            replace_kind(item.read, Kind.GAP)
            for item in self._volatile
            if (item.read.series, item.read.first) not in moment.stored
        ]
        return [*facts, *gaps, *strangers], learnt, delivery

    def _is_signed_for(self, key: Key, moment: Moment) -> bool:
        """Whether the collector has a loss record that covers a batch."""
        return any(
            (loss.epoch, loss.lane) == key[:2] and loss.first <= key[2] <= loss.last
            for made in self._signing
            if made.key in moment.evidence
            for loss in made.losses
        )

    # -- 4 ---------------------------------------------------------------------------

    def _together(self, opened: Opened, spool: Spool) -> Iterator[str]:
        state = opened.state.get("alarms")
        place, commit = (-1, None) if state is None else self._commits[state]
        numbers = {row.epoch: row.no for row in opened.epochs}
        if commit is not None:
            for epoch, lane, seq in commit.batches:
                no = numbers.get(epoch)
                view = None if no is None else opened.lanes[no, lane]
                if view is None or seq > view.head.seq:
                    yield f"half a commit: its alarm state is there and {lane.name} {seq} is not"
            for epoch, lane, first, last in commit.dropped:
                no = numbers.get(epoch)
                if no is not None and spool.read(no, lane, [(first, last)], limit_bytes=1):
                    yield f"half a commit: {lane.name} {first} to {last} should have gone with it"
        for (no, lane), view in opened.lanes.items():
            epoch = next(row.epoch for row in opened.epochs if row.no == no)
            first = self._first_commit.get((epoch, lane, view.head.seq))
            if view.head.seq and first is not None and first > place:
                yield f"half a commit: {lane.name} {view.head.seq} is there and its alarm state is not"

    # -- 6 ---------------------------------------------------------------------------

    def _go_on(self, thread: StartingThread, learnt: Learnt, delivery: Delivery, problems: list[str]) -> list[Fact]:
        """Starts an epoch, seals into it, stops, opens again."""
        clock = Clock(10_000_000_000)
        if delivery.has_epoch(learnt.number):
            problems.append(f"epoch number {learnt.number} is used twice")
        genesis = Genesis(version="test", reason=learnt.reason, parent=learnt.parent)
        chain = new_chain(clock, self._chance.randbytes(8), genesis=genesis)
        row = EpochRow(
            no=learnt.number,
            epoch=chain.epoch,
            reason=learnt.reason,
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=clock(),
            started_uptime_s=0,
        )
        sealed = [seal_data(chain, clock), seal_data(chain, clock)]
        diary = Diary()
        made = [diary.attempt(item.envelope, item.digest, item.lane) for item in sealed]
        thread.spool.commit(Commit(epoch_no=row.no, epochs=(row,), batches=sealed, state={"alarms": b"after"}))
        if self._chance.random() < 0.5:
            thread.spool.close()
        else:
            thread.spool.leave()
        opened = thread.open_now()
        said = thread.spool.check()
        if opened.put_aside is not None or opened.remark or said != "ok":
            problems.append(f"not whole after going on: {opened.put_aside}, {opened.remark}, {said}")
        here = thread.spool.read(row.no, Lane.DATA, [(1, 2)], limit_bytes=_EVERYTHING)
        if [item.envelope for item in here] != [item.envelope for item in sealed] or opened.state["alarms"] != b"after":
            problems.append("what was sealed after the cut is not there")
        return [fact for item in made for fact in (replace_kind(item.read, Kind.ATTEMPT), item.read)]


def look_at_states(
    diary: Diary,
    directory: Path,
    *,
    states: int,
    seed: int,
    goes_on_every: int = 16,
    picks: Callable[[list[Unit], random.Random], frozenset[Unit]] = choose,
) -> Outcome:
    """Cuts the power of a diary at every operation, and looks at some ``states`` states, no two the same.

    Args:
        directory: an empty one, quick, for one state after the other.
        states: how many; spread over the operations.
        goes_on_every: in one of so many states the agent goes on from there.
        picks: what of the unsynced units has reached the disk.
    """
    chance = random.Random(seed)
    judge = Judge(diary, directory, chance)
    outcome = Outcome()
    disk, moment = Disk(), Moment()
    facts, evidence = iter([*diary.facts, (1 << 62, None)]), iter([*diary.evidence, (1 << 62, None)])
    fact, piece = next(facts), next(evidence)
    seen: set[tuple[int, int, frozenset[Unit]]] = set()
    ops = diary.recording.ops
    for count in range(len(ops) + 1):
        if count:
            disk.play(ops[count - 1])
        while fact[0] <= count and fact[1] is not None:
            moment.take(fact[1])
            fact = next(facts)
        while piece[0] <= count and piece[1] is not None:
            moment.evidence[piece[1]] = None
            piece = next(evidence)
        units = disk.units()
        # What is not used up of the share of the operations so far is for this one.
        due = states * (count + 1) // (len(ops) + 1) - outcome.states
        for _ in range(3 * due if units else min(due, 1)):
            chosen = picks(units, chance)
            key = (len(moment.facts), disk.synced, chosen)
            if key in seen:
                continue
            seen.add(key)
            goes_on = outcome.states % goes_on_every == 0
            problems, verdict = judge.look(disk.after_cut(chosen), moment, goes_on=goes_on)
            outcome.states += 1
            outcome.gone_on += goes_on
            outcome.numbers = [one + more for one, more in zip(outcome.numbers, verdict.numbers, strict=True)]
            if problems:
                outcome.bad += 1
                outcome.kinds.update({problem.split(":")[0] for problem in problems})
                if len(outcome.problems) < _MOST:
                    where = f"after operation {count} of {len(ops)}, {len(chosen)} of {len(units)} units"
                    outcome.problems.append(f"{where}: {'; '.join(problems[:3])}")
            if outcome.states >= states * (count + 1) // (len(ops) + 1):
                break
    return outcome
