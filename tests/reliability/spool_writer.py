"""The real keeper, spool thread and delivery, sealing as fast as the disk lets them, until somebody kills them.

    python -m tests.reliability.spool_writer

reads one JSON object per line,

    {"state": DIR, "oracle": FILE, "seed": N, "mutant": "", "quota": BYTES, "has_receipts": BOOL, "pace_s": S}

forks a writer for it and prints the writer's process id; a fork takes milliseconds, a new interpreter half a
second.  A writer begins a new epoch in the spool that lies there, seals data, alarms, loss records and what
receipts tell, and has room made under a small quota.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.batch import Anchor, Genesis, Lane, Note, Origin
from edge_agent import spool as spool_module
from edge_agent.clock import monotonic_us
from edge_agent.content import Content
from edge_agent.delivery import Delivery
from edge_agent.errors import SpoolError
from edge_agent.keeper import Keeper, StoreState
from edge_agent.seal import Chain
from edge_agent.spool_records import EpochRow, Opened
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import SPOOL
from tests.edge_agent.chains import BOOT, SIGNER, Clock, alarm_event, anchor
from tests.reliability.oracle import Oracle
from tests.reliability.watched_agent import watch

GATEWAY = SIGNER.public.gateway_id
QUOTA = 3 * 1024 * 1024


def weaken(mutant: str) -> None:
    """Takes a promise away, to see that the tests notice."""
    prepare = spool_module.prepare

    def prepared(db: Any) -> None:
        prepare(db)
        db.execute("PRAGMA synchronous=NORMAL")

    if mutant == "synchronous=NORMAL":
        spool_module.prepare = prepared
    elif mutant:
        raise ValueError(f"{mutant!r} is no mutant; synchronous=NORMAL is")


class Writer:
    """One life of the keeper."""

    def __init__(self, state: Path, dice: random.Random, quota: int, *, has_receipts: bool, pace_s: float) -> None:
        self._dice = dice
        self._pace_s = pace_s
        self._quota = quota
        self._has_receipts = has_receipts
        self._spool = SpoolThread(state / SPOOL)
        self._delivery = Delivery(GATEWAY)
        self._events = 0

    def _chain(self, epoch: bytes, genesis: Genesis, origin: Origin) -> Chain:
        return Chain(
            gateway=GATEWAY,
            signer=SIGNER,
            boot=BOOT,
            epoch=epoch,
            genesis=genesis,
            anchor=self._anchor,
            origin=origin,
        )

    @staticmethod
    def _anchor() -> Anchor:
        return anchor(Clock(monotonic_us()))

    def _keeper(self, opened: Opened) -> Keeper:
        for row in opened.epochs:
            self._delivery.add_epoch(row, {lane: opened.lanes[row.no, lane] for lane in Lane})
        genesis = Genesis(version="test", reason="restart" if opened.epochs else "first", parent=None)
        chain = self._chain(os.urandom(8), genesis, Origin.LIVE)
        row = EpochRow(
            no=max((row.no for row in opened.epochs), default=0) + 1,
            epoch=chain.epoch,
            reason=genesis.reason,
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=monotonic_us(),
            started_uptime_s=0,
        )
        self._delivery.add_epoch(row)

        def alarm_state() -> bytes:
            """Which epoch has sealed how many alarms: it must fit what lies there."""
            return f"{chain.epoch.hex()} {chain.head(Lane.ALARM).seq}".encode()

        return Keeper(
            spool=self._spool,
            delivery=self._delivery,
            chain=chain,
            row=row,
            new_chain=self._chain,
            monotonic=monotonic_us,
            alarm_state=alarm_state,
            uptime_s=lambda: 0,
            quota_bytes=self._quota,
            reserve_bytes=self._quota // 8,
            retention_s=86_400,
        )

    async def run(self) -> None:
        """Writes for ever."""
        keeper = self._keeper(await self._opened())
        turns: list[Callable[[Keeper], None]] = [self._data, self._data, self._data, self._alarm, self._receipt]
        while True:
            self._dice.choice(turns)(keeper)
            # Mostly one after the other, sometimes a few that wait for the disk together.
            while len(keeper._pending) > self._dice.choice([0, 0, 0, 3]):  # noqa: ASYNC110  it has no event for this
                await asyncio.sleep(0)
            # Memory alone takes everything: what is sealed without the store comes at a slower pace.
            await asyncio.sleep(self._pace_s if keeper.state is StoreState.NORMAL else 0.01)

    async def _opened(self) -> Opened:
        while True:
            try:
                return await self._spool.open()
            except SpoolError as error:
                print(error, file=sys.stderr)
                await asyncio.sleep(0.02)

    def _data(self, keeper: Keeper) -> None:
        size = self._dice.choice([1, 1, 4, 30])
        notes = [Note(mono_us=monotonic_us(), kind="test", text=os.urandom(400).hex()) for _ in range(size)]
        keeper.seal_data(Content(sealed_us=monotonic_us(), notes=notes))

    def _alarm(self, keeper: Keeper) -> None:
        self._events += 1
        keeper.seal_alarms([alarm_event(monotonic_us())])

    def _receipt(self, keeper: Keeper) -> None:
        """Believes a receipt for a part of what is durable; nobody here could have received what is not."""
        if keeper.state is not StoreState.NORMAL or not self._has_receipts:
            return
        no, lane = keeper.epoch_no, self._dice.choice(list(Lane))
        sure = self._delivery.head(no, lane).seq - len(keeper._pending)
        if sure > 0 and self._dice.random() < 0.5:
            self._delivery._deliver((no, lane), [(1, self._dice.randint(1, sure))])


def write(order: dict[str, Any]) -> None:
    """The life of one forked writer."""
    weaken(order["mutant"])
    watch(Oracle(Path(order["oracle"])), GATEWAY)
    dice = random.Random(order["seed"])
    state, quota = Path(order["state"]), order["quota"]
    writer = Writer(state, dice, quota, has_receipts=order["has_receipts"], pace_s=order["pace_s"])
    asyncio.run(writer.run())


def main() -> None:
    """Forks a writer for each line; a killed one is taken note of."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            devnull = os.open(os.devnull, os.O_RDWR)
            os.dup2(devnull, 0)
            os.dup2(devnull, 1)
            write(json.loads(line))
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
