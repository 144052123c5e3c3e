"""Signed history of one gateway, made in a hurry: what a spool holds after days without a link.

The batches are real ones: blocks packed by the agent's own columns, chained and signed by its ``Chain``, committed by
its ``Spool``.  Only the samples are made here, values that wander by a few counts from tick to tick; and so
that a gigabyte takes minutes and not days, a few dozen sets of packed blocks are used again and again, each time under
another header.  Nothing of the running agent is used, and nothing here is measured.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from contracts.batch import Anchor, ClockState, Genesis, Lane
from contracts.envelope import Type, seal
from contracts.keys import Signer
from edge_agent.clock import monotonic_us
from edge_agent.collect import Collector, Taken
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from edge_agent.plan_store import PlanStore
from edge_agent.seal import Boot, Chain, Sealed
from edge_agent.spool import Spool
from edge_agent.spool_records import Commit, EpochRow
from edge_agent.spool_thread import connect_file
from edge_agent.state_dir import SPOOL

#: batches of one commit, and packed blocks that are used again
_TOGETHER, _SETS = 500, 48
_SEED = 11
#: polls of one tick do not come at once (us)
_JITTER_US = 3000
#: when the history began, by the wall clock
_DAYS_AGO = 30


class Walk:
    """Rows of a plan's blocks: numbers that wander slowly, times on a grid with some jitter."""

    def __init__(self, plan: Plan, *, interval_us: int) -> None:
        """Begins somewhere; the same plan gives the same rows."""
        self._roll = random.Random(_SEED)
        self._interval_us = interval_us
        self._values = [[self._roll.randrange(100, 30_000) for _ in block.points] for block in plan.row_blocks]

    def rows(self, block: int, begin_us: int, ticks: int) -> list[tuple[int, list[int]]]:
        """Returns the next (monotonic us, values) of a block."""
        found = []
        for tick in range(ticks):
            values = self._values[block] = [value + self._roll.randrange(-3, 4) for value in self._values[block]]
            found.append((begin_us + tick * self._interval_us + self._roll.randrange(_JITTER_US), values))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was put into a spool."""

    epoch: bytes
    batches: int
    #: of each batch
    readings: int
    #: of all envelopes
    size: int
    took_s: float


def prepare(site: Path, size: int, *, signer: Signer, ticks: int, interval_s: float) -> History:
    """Fills the empty state directory of a site: plan, boot counter, and a spool of an epoch of the boot before.

    Args:
        size: of the envelopes, together at least (bytes).
        ticks: polls of every block in one batch.
    """
    state = site.parent / "state"
    plan = PlanStore(site, state).choose(monotonic_us()).plan
    boot = Boot(boot_id=random.Random(_SEED).randbytes(16), counter=1)
    (state / "boot.json").write_text(json.dumps({"boot_id": boot.boot_id.hex(), "counter": boot.counter}) + "\n")
    begun = time.monotonic()
    spool = Spool(connect_file(state / SPOOL))
    spool.open()
    try:
        return _fill(
            spool, plan, signer, boot, size=size, ticks=ticks, interval_us=round(interval_s * 1e6), begun=begun
        )
    finally:
        spool.close()


def sets(plan: Plan, *, ticks: int, interval_us: int, count: int = _SETS) -> list[Taken]:
    """Returns packed blocks, sealed at the time 0 of some boot; a batch's own times are relative to its header."""
    walk = Walk(plan, interval_us=interval_us)
    columns = Collector(plan.row_blocks, plan.points, cap=ticks)
    found = []
    for _ in range(count):
        for block in range(len(plan.row_blocks)):
            for at_us, values in walk.rows(block, -ticks * interval_us, ticks):
                columns.add(block, at_us, values, None)
        found.append(columns.take(0))
    return found


def _fill(
    spool: Spool, plan: Plan, signer: Signer, boot: Boot, *, size: int, ticks: int, interval_us: int, begun: float
) -> History:
    document = catalogue(plan, signer.public.gateway_id)
    envelope, _ = seal(Type.CATALOGUE, document.body, signer, level=6)
    wall_us = time.time_ns() // 1000 - _DAYS_AGO * 86_400_000_000
    now = [0]

    def anchor() -> Anchor:
        return Anchor(mono_us=now[0], wall_us=wall_us + now[0], state=ClockState.SYNCHRONISED, uncertainty_ms=5)

    chain = Chain(
        gateway=signer.public.gateway_id,
        signer=signer,
        boot=boot,
        epoch=os.urandom(8),
        genesis=Genesis(version="0", reason="first", parent=None),
        anchor=anchor,
    )
    row = EpochRow(
        no=1, epoch=chain.epoch, reason="first", boot_id=boot.boot_id, boot_counter=1, started_us=0, started_uptime_s=0
    )
    spool.commit(Commit(epoch_no=1, epochs=(row,), catalogue=(document.hash, envelope)))
    packed = cycle(sets(plan, ticks=ticks, interval_us=interval_us))

    def sealed() -> Sealed:
        now[0] += ticks * interval_us
        taken = next(packed)
        first_us, last_us = taken.first_us or 0, taken.last_us or 0
        return chain.seal(
            Lane.DATA,
            sealed_us=now[0],
            catalogue=document.hash,
            blocks=taken.blocks,
            readings=taken.readings,
            first_us=now[0] + first_us,
            last_us=now[0] + last_us,
        )

    written = batches = readings = 0
    while written < size:
        together = [sealed() for _ in range(_TOGETHER)]
        spool.commit(Commit(epoch_no=1, batches=together, state={"uptime_s": str(now[0] // 1_000_000).encode()}))
        written += sum(len(item.envelope) for item in together)
        batches += len(together)
        readings = together[0].readings
    return History(epoch=chain.epoch, batches=batches, readings=readings, size=written, took_s=time.monotonic() - begun)
