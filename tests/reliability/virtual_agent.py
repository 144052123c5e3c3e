"""The real agent's keeping half in virtual time: judge, sealer, keeper, spool and uplink as ``app.py`` wires them.

Ports, control socket and watchdog are left out: rows come from the test.  A crash leaves the loop where
it stands, so nothing is flushed, answered or said goodbye to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import sys
import time as real_time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from contracts.batch import HealthRecord, Lane
from contracts.keys import Signer
from drivers.plan import BlockRead, PointStep
from edge_agent import clock, mqtt_link, put_aside, spool_open
from edge_agent.app import Agent
from edge_agent.clock import AnchorClock
from edge_agent.plan import BlockPlan, Plan, SpoolPlan, UplinkPlan
from edge_agent.plan_ports import PortPlan
from edge_agent.seal import Boot, Chain, Sealed
from tests.edge_agent.small_plans import device, limit, point
from tests.reliability.virtual_broker import Broker, BrokerLink
from tests.reliability.virtual_disk import Disk, FaultySpool, VirtualBallast, Watch
from tests.reliability.virtual_time import Clock, VirtualLoop

S = 1_000_000
#: block numbers: three points every second, one point every ten seconds
FAST, SLOW = 0, 1
INTERVALS_S = (1, 10)
KEYS = (("d1/pressure", "d1/level", "d1/flow"), ("d1/temperature",))
#: the first point's limits, in counts of 1/10 kPa
HIGH, VERY_HIGH = 100, 200
#: pages of the spool's log: few, so that it is moved into the file often, and made quickly
_LOG_PAGES = 64


def make_plan(collector: Signer, *, quota_bytes: int, reserve_bytes: int, retention_days: int) -> Plan:
    """Returns a plan of four points, of which the first has two limits and the fourth a silence."""
    keys = [key for block in KEYS for key in block]
    points = (
        point(keys[0], limit("H1", HIGH / 10, deadband=1.0), limit("H2", VERY_HIGH / 10)),
        point(keys[1]),
        point(keys[2], kind="f32"),
        point(keys[3], limit("H1", HIGH / 10), silence_s=60.0),
    )
    reads = [
        BlockRead(
            table="holding",
            address=address,
            count=count,
            interval_ms=interval * 1000,
            points=tuple(PointStep(name=f"p{n}", offset=n, data_type="u16") for n in range(count)),
        )
        for address, count, interval in ((0, 3, INTERVALS_S[0]), (100, 1, INTERVALS_S[1]))
    ]
    blocks = tuple(
        BlockPlan(device=0, read=read, points=numbers, interval_ms=read.interval_ms, phase_ms=0, is_alarm=True)
        for read, numbers in zip(reads, ((0, 1, 2), (3,)), strict=True)
    )
    uplink = UplinkPlan(
        host="broker",
        port=1883,
        tls_ca="",
        username="",
        password_file="",
        seal_interval_s=2.0,
        metered=False,
        collector_keys=(collector.public.line(),),
        backlog_share=0.5,
    )
    return Plan(
        en="Model",
        zh="模型",
        ports=(PortPlan(id="line", kind="tcp", host="127.0.0.1", port=502),),
        devices=(device("d1"),),
        blocks=blocks,
        points=points,
        uplink=uplink,
        spool=SpoolPlan(quota_bytes=quota_bytes, reserve_bytes=reserve_bytes, retention_days=retention_days),
        inputs=(),
        version="model",
    )


class Defects(logging.Handler):
    """Collects what the agent calls a defect of its own: a logged exception."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


#: told of every seal: chain, batch, its time (monotonic us) and its blocks
Told = Callable[[Chain, Sealed, int, Sequence[Any]], None]


class WatchedChain(Chain):
    """A chain that tells of every seal."""

    def __init__(self, told: Told, **settings: Any) -> None:
        super().__init__(**settings)
        self._told = told

    def seal(self, lane: Lane, *, sealed_us: int, blocks: Sequence[Any] = (), **content: Any) -> Sealed:
        sealed = super().seal(lane, sealed_us=sealed_us, blocks=blocks, **content)
        self._told(self, sealed, sealed_us, blocks)
        return sealed


class Outside:
    """The outside world as the agent's modules see it; one life at a time lives in it."""

    def __init__(self, told: Told) -> None:
        self.agent: VirtualAgent | None = None
        self._told = told
        self._patches = contextlib.ExitStack()

    def enter(self, seed: int = 0) -> None:
        """Takes the place of clock, broker connection and randomness until ``leave``."""
        draw = random.Random(seed)
        others: dict[str, tuple[Any, Any]] = {
            "monotonic_us": (clock.monotonic_us, self._now_us),
            "MqttLink": (mqtt_link.MqttLink, self._link),
            "Chain": (Chain, partial(WatchedChain, self._told)),
        }
        # Wherever a module of the agent has one of them under its own name; not where it comes from, because
        # what is imported from there meanwhile would keep it.
        for module in [module for name, module in sys.modules.items() if name.startswith("edge_agent.")]:
            for name, (real, other) in others.items():
                if getattr(module, name, None) is real and module.__name__ != real.__module__:
                    self._patches.enter_context(mock.patch.object(module, name, other))
        self._patches.enter_context(mock.patch.object(spool_open, "_LOG_PAGES", _LOG_PAGES))
        self._patches.enter_context(mock.patch.object(os, "urandom", draw.randbytes))
        # The name of a file that is put aside goes into a note, and so into the bytes of a batch.
        of_day = SimpleNamespace(strftime=real_time.strftime, gmtime=lambda: real_time.gmtime(self._wall_s()))
        self._patches.enter_context(mock.patch.object(put_aside, "time", of_day))
        self._patches.enter_context(mock.patch.object(secrets, "token_bytes", draw.randbytes))

    def leave(self) -> None:
        """Gives everything back; safe to call twice."""
        self._patches.close()

    def _now_us(self) -> int:
        assert self.agent is not None
        return self.agent.now_us()

    def _wall_s(self) -> float:
        assert self.agent is not None
        return self.agent.wall_us() / 1e6

    def _link(self, **settings: Any) -> BrokerLink:
        assert self.agent is not None
        return self.agent.link


class VirtualAgent:
    """One life of the agent, from its start to its end or crash."""

    def __init__(
        self,
        *,
        outside: Outside,
        folder: Path,
        plan: Plan,
        signer: Signer,
        boot: Boot,
        time: Clock,
        boot_us: int,
        broker: Broker,
        disk: Disk,
        watch: Watch,
    ) -> None:
        """Builds the agent; ``boot_us`` is the true time of monotonic 0."""
        self._time = time
        self._boot_us = boot_us
        #: the system's wall clock minus the true time (us)
        self.wrong_us = 0
        self.boot = boot
        self.loop = VirtualLoop(time, lambda: disk.delay_us)
        self.link = BrokerLink(broker)
        outside.agent = self
        self.agent = Agent(config_path=folder / "site.toml", state_dir=folder, plan=plan, signer=signer, boot=boot)
        self.agent.clock = AnchorClock(monotonic=self.now_us, wall=self.wall_us, discipline=lambda: (False, None))
        self.agent.own_epoch._anchor = self.agent.clock.anchor
        spool = self.agent.spool
        spool._seconds = self.loop.time
        spool._spool = FaultySpool(spool.path, disk, watch)
        spool._ballast = VirtualBallast(disk)  # type: ignore[assignment]
        self.agent.sealer._health = lambda: (HealthRecord(subject="agent", mono_us=self.now_us(), facts=()),)

    def now_us(self) -> int:
        """Returns the monotonic clock of this boot."""
        return self._time.now_us - self._boot_us

    def wall_us(self) -> int:
        """Returns the system's wall clock, right or wrong."""
        return self._time.now_us + self.wrong_us

    def start(self) -> None:
        """Opens the store, begins an epoch and starts the uplink."""

        async def begin() -> None:
            await self.agent.own_epoch.begin()
            self.agent._start_uplink()

        self._run(begin(), 5.0)

    def _run(self, work: Coroutine[Any, Any, None], most_s: float) -> None:
        task = self.loop.create_task(work)
        self.loop.pass_time()
        while not task.done() and most_s > 0:
            self.loop.pass_time(0.1)
            most_s -= 0.1
        assert task.done(), "it takes for ever"
        task.result()

    # -- what the test does -------------------------------------------------------------

    def do(self, work: Callable[[], Any]) -> None:
        """Does something in the agent's loop, and what follows from it at once."""
        self.loop.do(work)

    def pass_time(self, seconds: float = 0.0) -> None:
        """Lets time pass."""
        self.loop.pass_time(seconds)

    def after(self, seconds: float, work: Callable[[], Any]) -> None:
        """Lets time pass and does something then."""
        self.loop.do(work, after_s=seconds)

    def finish(self) -> None:
        """Leaves as after SIGTERM."""
        self._run(self.agent._leave(), 30.0)
        self.loop.abandon()

    def crash(self) -> None:
        """Ends without a word; the file keeps its log as a killed process leaves it."""
        self.link.is_up = False
        self.loop.abandon()
        self.agent.spool._spool.leave()
