"""A gateway's day in virtual time, with faults, and the truth of what became of every tick of it.

It polls, seals, stops, loses power, is configured anew, and loses, thins and holds back what it has sealed, with
real batches of the wire format.  Beside them it writes down the truth, which the collector never sees.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from contracts.batch import NO_HEAD, Lane, LossRecord, Origin, Parent
from contracts.catalogue import CatalogueBlock
from contracts.columns import encode_block
from contracts.quality import BAD_FRAME, CALIBRATION_OVERDUE, CODES, FAULT, GOOD, MISSED_TICK, NO_REPLY, WITH_VALUE
from tests.collector.gateways import START_US, Gateway

S = 1_000_000
Message = tuple[str, bytes]
#: what became of a tick: outcome and cause, in the words of ``collector.outcomes``
Fate = tuple[str, str]
#: (boot, block, monotonic us of the tick)
Place = tuple[int, int, int]

FAST, SLOW = 0, 1
KEYS = (("well-0/ch4", "well-1/ch4", "well-2/ch4"), ("well-3/ch4",))
CODES_POLLED = ([GOOD, NO_REPLY, BAD_FRAME, CALIBRATION_OVERDUE, FAULT], [94, 2, 1, 2, 1])


class Taken(NamedTuple):
    """One row as the poller hands it on."""

    time_us: int
    block: int
    tick_us: int
    code: int
    is_late: bool
    #: when the row is handed on
    known_us: int


class Run(NamedTuple):
    """One stretch in which the agent ran under one configuration; wall us."""

    begin_us: int
    end_us: int
    after: Fate


class Force(NamedTuple):
    """A block's grid, from and to wall us."""

    boot: int
    block: int
    interval_us: int
    phase_us: int
    from_us: int
    to_us: int | None


def poll(
    rng: random.Random, block: int, interval: int, phase: int, begin_us: int, end_us: int, *, at_once: bool, slow: float
) -> list[Taken]:
    """Polls one block as the agent does; what was not answered by ``end_us`` is not there."""
    rows = []
    tick = (begin_us - phase) // interval * interval + phase
    free_us = begin_us
    while tick < end_us:
        if tick < begin_us and not at_once:
            tick += interval
            continue
        asked = max(tick, free_us)
        if asked >= end_us:
            break
        if asked >= tick + interval:
            # Told with the turn that comes next.
            rows.append(Taken(tick, block, tick, MISSED_TICK, False, asked))
            tick += interval
            continue
        took = int(min(interval, 20 * S) * rng.uniform(0.5, 2.6)) if rng.random() < slow else 40_000
        code = rng.choices(*CODES_POLLED)[0]
        # Without an answer a row has the time at which it was asked.
        time_us = asked if tick < begin_us or code in (NO_REPLY, BAD_FRAME) else asked + took // 2
        free_us = asked + took
        if free_us >= end_us:
            break
        rows.append(Taken(time_us, block, tick, code, time_us >= tick + interval, free_us))
        tick += interval
    return rows


@dataclass
class Day:
    """One gateway; wall times are us from ``START_US``."""

    rng: random.Random
    slow: float = 0.01
    #: of batches: here, dropped, thinned, held back, refused
    weights: tuple[float, ...] = (95, 2, 2, 1, 1)
    seal_us: int = 60 * S
    now_us: int = 100 * S
    boot: int = 0
    #: wall minus monotonic of each boot
    origins: list[int] = field(default_factory=lambda: [40 * S])
    truth: dict[Place, Fate] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    force: list[Force] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    held_back: list[Message] = field(default_factory=list)
    losses: list[LossRecord] = field(default_factory=list)
    _doom: tuple[str, int] = ("here", 0)

    def __post_init__(self) -> None:
        self.gateway = Gateway(points=4)
        self.gateway.offset_us = START_US + self.origins[0]
        self.interval_us = 10 * S
        self._configure()

    def _configure(self) -> None:
        g = self.gateway
        blocks = (
            CatalogueBlock(points=(0, 1, 2), interval_ms=self.interval_us // 1000, phase_ms=3000),
            CatalogueBlock(points=(3,), interval_ms=300_000, phase_ms=0),
        )
        g.catalogue = replace(g.catalogue, blocks=blocks)
        self.messages.append(g.catalogue_message())

    # ---- the agent --------------------------------------------------------------------------

    def start(self) -> None:
        """Begins an epoch, and a boot where there was a power cut."""
        g = self.gateway
        is_first = not self.runs
        if not is_first:
            g.parent = Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA])
            g.epoch = self.rng.randbytes(8)
            g.heads = {Lane.ALARM: NO_HEAD, Lane.DATA: NO_HEAD}
            if self.runs[-1].after[1] == "power":
                self.boot += 1
                self.origins.append(self.now_us - 17 * S)
                g.boot_id, g.boot_counter = self.rng.randbytes(16), g.boot_counter + 1
                g.offset_us = START_US + self.origins[-1]
        if is_first or self.force[-1].boot != self.boot:
            self._in_force((FAST, SLOW))

    def reload(self, interval_s: int) -> None:
        """Another interval for the fast block, without a new epoch."""
        self.interval_us = interval_s * S
        self._configure()
        self._in_force((FAST,))

    def _in_force(self, blocks: tuple[int, ...]) -> None:
        for number in blocks:
            for place, item in enumerate(self.force):
                if item.block == number and item.to_us is None:
                    self.force[place] = item._replace(to_us=self.now_us)
        for number in blocks:
            block = self.gateway.catalogue.blocks[number]
            interval, phase, from_us = block.interval_ms * 1000, block.phase_ms * 1000, self.now_us
            if all(item.boot != self.boot or item.block != number for item in self.force):
                # At once: the first sample of a boot is of the tick that has begun.
                from_us -= (self.now_us - self.origins[self.boot] - phase) % interval
            self.force.append(Force(self.boot, number, interval, phase, from_us, None))

    def run(self, seconds: int, after: Fate) -> None:
        """Polls and seals; then ``after`` is why there is nothing."""
        origin = self.origins[self.boot]
        begin_us, end_us = self.now_us - origin, self.now_us - origin + seconds * S
        is_start = self.gateway.heads[Lane.DATA].seq == 0
        rows: list[Taken] = []
        for number, block in enumerate(self.gateway.catalogue.blocks):
            interval, phase = block.interval_ms * 1000, block.phase_ms * 1000
            rows += poll(self.rng, number, interval, phase, begin_us, end_us, at_once=is_start, slow=self.slow)
        rows.sort()
        for seal_us in range(begin_us + self.seal_us, end_us, self.seal_us):
            self._seal([row for row in rows if row.known_us <= seal_us], seal_us)
            rows = [row for row in rows if row.known_us > seal_us]
        if after[1] not in ("power", "killed"):
            if not rows and after[1] == "configuration_change":
                after = ("missing", "agent_stopped")  # no batch would tell when it was
            self._seal(rows, end_us, is_last=True)
        self.now_us += seconds * S
        self.runs.append(
            Run(begin_us + origin, end_us + origin, ("missing", "agent_stopped") if after[1] == "killed" else after)
        )

    # ---- sealing ----------------------------------------------------------------------------

    def _seal(self, rows: list[Taken], sealed_us: int, *, is_last: bool = False) -> None:
        if not rows:
            return
        doom, left = self._doom
        if not left:
            doom = self.rng.choices(["here", "drop", "thin", "hold", "refuse"], self.weights)[0]
            left = 1 if doom == "here" else self.rng.randint(1, 12)
        self._doom = (doom, left - 1)
        if is_last or self.gateway.heads[Lane.DATA].seq == 0:
            doom = "here"
        # What carries a record is not lost itself.
        doom = "here" if self.losses and doom == "hold" else doom
        carried = () if doom in ("drop", "thin") else tuple(self.losses)
        self.losses = [] if carried else self.losses
        message = self._batch(rows, sealed_us, losses=carried, too_many=int(doom == "refuse"))
        if doom == "hold":
            self.held_back.append(message)
            self._tell(rows, ("not_arrived", "named"))
        elif doom == "drop":
            self._sign("quota", len(rows))
            self._tell(rows, ("lost", "quota"))
        elif doom == "thin":
            seq = self.gateway.heads[Lane.DATA].seq + 1
            self._sign("thinned", len(rows), (self.gateway.epoch, seq))
            stay = [max(row for row in rows if row.block == number) for number in {row.block for row in rows}]
            losses, self.losses = tuple(self.losses), []
            self.messages.append(self._batch(sorted(stay), sealed_us + 1000, losses=losses, origin=Origin.THINNED))
            self._tell([row for row in rows if row not in stay], ("thinned", "thinned"))
            self._tell(stay)
        else:
            self.messages.append(message)
            self._tell(rows, ("quarantined", "payload") if doom == "refuse" else None)

    def _batch(
        self,
        rows: list[Taken],
        sealed_us: int,
        *,
        losses: tuple[LossRecord, ...],
        origin: Origin = Origin.LIVE,
        too_many: int = 0,
    ) -> Message:
        g = self.gateway
        blocks, readings = [], too_many
        for number in range(2):
            own = [row for row in rows if row.block == number]
            if own:
                kinds = g.catalogue.kinds[number]
                values = [
                    [(50 if kind == "int" else 6.25) if row.code in WITH_VALUE else None for kind in kinds]
                    for row in own
                ]
                codes = [[row.code] * len(kinds) for row in own]
                blocks.append(encode_block(number, kinds, sealed_us, [row.time_us for row in own], values, codes))
                readings += len(own) * len(kinds)
        return g.seal(sealed_us, blocks=tuple(blocks), readings=readings, losses=losses, origin=origin)

    def _sign(self, cause: str, readings: int, into: tuple[bytes, int] | None = None) -> None:
        head = self.gateway.heads[Lane.DATA]
        self.losses.append(
            LossRecord(
                epoch=self.gateway.epoch, lane=Lane.DATA, first=head.seq, last=head.seq, digest=head.digest,
                readings=readings, cause=cause, thinned_into=into,
            )
        )  # fmt: skip

    def _tell(self, rows: list[Taken], fate: Fate | None = None) -> None:
        for row in rows:
            place = (self.boot, row.block, row.tick_us)
            if fate is not None:
                self.truth.setdefault(place, fate)
                continue
            known = CODES[row.code]
            outcome = "late" if row.is_late and row.code in WITH_VALUE else known.quality.value
            held = self.truth.get(place)
            if held is None or held[0] in ("thinned", "lost", "not_arrived", "quarantined"):
                self.truth[place] = (outcome, "" if row.code == GOOD else known.reason)

    # ---- the truth --------------------------------------------------------------------------

    def told(self, block: int) -> Counter[Fate]:
        """Returns what became of every tick of one block's grid until now."""
        found: Counter[Fate] = Counter()
        for item in self.force:
            if item.block != block:
                continue
            origin = self.origins[item.boot]
            until = self.now_us if item.to_us is None else item.to_us
            first = -((item.phase_us - item.from_us + origin) // item.interval_us)
            last = -((item.phase_us - until + origin) // item.interval_us)
            for number in range(first, last):
                tick = number * item.interval_us + item.phase_us
                found[self.truth.get((item.boot, block, tick)) or self._silence(tick + origin)] += 1
        return found

    def _silence(self, wall_us: int) -> Fate:
        number = max(number for number, run in enumerate(self.runs) if run.begin_us <= wall_us)
        # Of what comes after the last batch nobody has said anything yet.
        return self.runs[number].after if number + 1 < len(self.runs) else ("not_arrived", "unheard")
