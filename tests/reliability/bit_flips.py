"""One bit of a closed spool is other than it was written: what gets out, what is noticed, what is missing.

The spool is that of a story (``crash_vfs_story.py``), stopped as an agent stops.  It is opened, read for
sending and checked with the agent's own code.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.batch import Lane
from contracts.envelope import open_envelope
from contracts.errors import ContractError
from contracts.keys import Verifier
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.open_store import learn
from edge_agent.spool import Spool
from edge_agent.spool_check import check_file
from edge_agent.spool_records import Gone
from tests.edge_agent.chains import BOOT, SIGNER
from tests.reliability.checker import Verdict, check
from tests.reliability.crash_vfs_judge import Judge, StartingThread
from tests.reliability.crash_vfs_story import GATEWAY, SPOOL, Diary, StubJudge
from tests.reliability.oracle import Fact, Kind, batch_series

_KEYS = {SIGNER.key_id: Verifier(SIGNER.public)}
_EVERYTHING = 1 << 40


@dataclass(slots=True)
class Flips:
    """What came of many flips."""

    looked_at: int = 0
    #: what became of the file, and of batches
    ends: Counter[str] = field(default_factory=Counter)
    numbers: list[int] = field(default_factory=lambda: [0] * 5)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Flips) -> None:
        """Takes what came of others."""
        self.looked_at += other.looked_at
        self.ends.update(other.ends)
        self.numbers = [one + more for one, more in zip(self.numbers, other.numbers, strict=True)]
        self.problems += other.problems

    def __str__(self) -> str:
        return f"{self.looked_at} flips: {dict(self.ends)}, numbers {self.numbers}\n" + "\n".join(self.problems[:5])


class Flipper:
    """Flips bits of one closed spool."""

    def __init__(self, diary: Diary, spool: Path, scratch: Path, chance: random.Random) -> None:
        """Takes the files of a spool as they lie there."""
        self._diary, self._chance, self._path = diary, chance, scratch / SPOOL
        self._files = {name: (spool / name).read_bytes() for name in (SPOOL, f"{SPOOL}-wal")}
        self._judge = Judge(diary, scratch, chance)
        self._facts = [fact for _, fact in diary.facts]
        by_key = {item.key: item.read for item in diary.made.values()}
        self._held = [by_key[key] for key in dict.fromkeys(key for _, key in diary.evidence)]

    def flip(self, count: int) -> Flips:
        """Flips one bit after the other, each in the file as it was."""
        found = Flips()
        sizes = [len(data) for data in self._files.values()]
        for _ in range(count):
            (name,) = self._chance.choices(list(self._files), sizes)
            data = bytearray(self._files[name])
            place, bit = self._chance.randrange(len(data)), self._chance.randrange(8)
            data[place] ^= 1 << bit
            ends, verdict = self._look({**self._files, name: bytes(data)})
            found.looked_at += 1
            found.ends.update(set(ends))
            found.numbers = [one + more for one, more in zip(found.numbers, verdict.numbers, strict=True)]
            if not verdict.is_clean:
                found.problems.append(f"bit {bit} of byte {place} of {name}: {', '.join(ends)}: {verdict}")
        return found

    def _look(self, files: dict[str, bytes]) -> tuple[Sequence[str], Verdict]:
        self._judge.lay(files)
        self._judge._was_bad = True
        ends: list[str] = []
        sent: list[Fact] = []
        thread = StartingThread(self._path)
        is_kept = False
        try:
            opened = thread.open_now()
            if opened.put_aside is not None:
                ends.append("put aside when opened")
            else:
                delivery = Delivery(GATEWAY)
                learn(opened, delivery=delivery, judge=StubJudge(), boot=BOOT)  # type: ignore[arg-type]
                epochs = {row.no: row.epoch for row in opened.epochs}
                is_kept = self._send(thread.spool, delivery, epochs, sent, ends)
                finding = check_file(self._path, is_stopped=lambda: False, rest=lambda seconds: None)
                if finding.problems:
                    ends.append("put aside by the check")
                    is_kept = False
                elif finding.stopped:
                    ends.append(f"not checked: {finding.stopped}")
        except SpoolError as error:
            ends.append(f"not opened: {error}")
        finally:
            thread.leave()
        # What the collector has already is sent to it a second time, and counts once.
        arrived = {(fact.series, fact.first, fact.mark): fact for fact in (*self._held, *sent)}
        facts = [*self._facts, *arrived.values()]
        if not is_kept:
            # What lay in a file that is put aside is signed for as damaged, or comes back from it.
            facts += [
                Fact(Kind.GAP, fact.series, fact.first, fact.last, "damaged")
                for fact in self._facts
                if fact.kind in (Kind.STORED, Kind.ATTEMPT)
            ]
        gaps = [gap for fact in arrived.values() if fact.kind is Kind.READ for gap in self._gaps(fact)]
        return ends or ["nothing to see"], check([*facts, *gaps])

    def _gaps(self, fact: Fact) -> Sequence[Fact]:
        made = self._diary.made.get(bytes.fromhex(fact.mark))
        return () if made is None else made.gaps

    def _send(
        self, spool: Spool, delivery: Delivery, epochs: dict[int, bytes], sent: list[Fact], ends: list[str]
    ) -> bool:
        """Reads what would be sent; returns whether the file stays in use."""
        for lane in Lane:
            for no, ranges in delivery.to_send(lane):
                try:
                    rows = spool.read(no, lane, ranges, limit_bytes=_EVERYTHING, limit_rows=_EVERYTHING)
                except SpoolError:
                    ends.append("put aside when read")
                    return False
                for row in rows:
                    if not row.is_whole:
                        ends.append("a batch is damaged")
                        gone = Gone(
                            epoch_no=no,
                            lane=lane,
                            first=row.seq,
                            last=row.seq,
                            digest=row.digest,
                            readings=row.readings,
                            cause="damaged",
                        )
                        # The agent signs for it, and once more for what its own records were for.
                        for item in (gone, *spool.carried(gone)):
                            series = batch_series(GATEWAY, epochs[item.epoch_no], item.lane)
                            sent.append(Fact(Kind.GAP, series, item.first, item.last, item.cause))
                        continue
                    sent.append(self._arrived(row.envelope, lane, row.digest))
        return True

    def _arrived(self, envelope: bytes, lane: Lane, digest: bytes) -> Fact:
        """Returns what a collector makes of bytes that were sent."""
        known = self._diary.envelopes.get(envelope)
        if known is not None and known.digest == digest:
            return known.read
        try:
            open_envelope(envelope, lane.type, _KEYS)
            error: object = "signed, and never made"
        except ContractError as refusal:
            error = refusal
        return Fact(Kind.READ, f"batch/altered/{error}", 1, 1, digest.hex())
