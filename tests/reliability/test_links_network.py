"""Cables that lose packets, are thin, or swallow everything: on a network of the kernel's own."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import Lane
from edge_agent import delivery
from edge_agent.window import Window
from tests.reliability import scale
from tests.reliability.brokers import Broker, Line
from tests.reliability.link_ends import judge, until
from tests.reliability.namespaces import Cables
from tests.reliability.test_links_hostile import CLEAN

pytestmark = pytest.mark.usefixtures("patient_store")


@contextlib.asynccontextmanager
async def cables_to(tmp_path: Path, **more: Any) -> AsyncIterator[tuple[Line, Cables]]:
    cables = Cables()
    try:
        broker = Broker(tmp_path / "broker", host=cables.collector_side, prefix=cables.prefix())
        broker.start()
        try:
            line = Line(tmp_path, (cables.gateway_side, broker.port), collector_at=(broker.host, broker.port), **more)
            await line.start()
            try:
                yield line, cables
            finally:
                cables.drop(0)
                await line.stop()
        finally:
            broker.kill()
    finally:
        cables.close()


def numbers(line: Line) -> tuple[int, int, int, int, int]:
    verdict = judge(line.edge, line.centre.read(line.edge.id, line.edge.catalogue))
    print(verdict)
    return verdict.numbers


class Alarms:
    """Raises alarms and knows how long each took from the seal to its receipt's signing."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.began: dict[tuple[bytes, int], float] = {}

    def raise_one(self) -> None:
        self._line.edge.alarm()
        chain = self._line.edge.keeper.chain
        self.began[chain.epoch, chain.head(Lane.ALARM).seq] = time.monotonic()

    def delays_s(self) -> list[float]:
        """Returns the delay of each alarm, in the order of raising; all must have a receipt."""
        found = []
        receipts = [(at, receipt) for at, receipt in self._line.centre.receipts if receipt.lane is Lane.ALARM]
        for (epoch, seq), began in self.began.items():
            done = min(
                at
                for at, receipt in receipts
                if receipt.epoch == epoch
                and (receipt.contiguous >= seq or any(item.first <= seq <= item.last for item in receipt.also))
            )
            found.append(done - began)
        return found


def p99(values: list[float]) -> float:
    """Returns the value that 99 of a hundred do not exceed; of fewer than a hundred the largest."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


def say(delays: list[float]) -> None:
    middle = statistics.median(delays)
    print(f"{len(delays)} alarms: median {middle:.2f} s, p99 {p99(delays):.2f} s, most {max(delays):.2f} s")


@pytest.mark.ci
async def test_30_percent_loss_both_ways_costs_nothing(tmp_path: Path) -> None:
    async with cables_to(tmp_path, resend_us=10_000_000) as (line, cables):
        cables.drop(30)
        end = time.monotonic() + scale.times(15, 600)
        while time.monotonic() < end:
            line.edge.tick(5)
            if int(time.monotonic() * 2) % 10 == 0:
                line.edge.alarm()
            await asyncio.sleep(0.5)
            assert not line.edge.believed() - line.centre.committed(line.edge.id)
        began = time.monotonic()
        await line.edge.until_receipted(120)
        print(f"drained {time.monotonic() - began:.1f} s after the last seal, with the loss going on;"
              f" {line.edge.uplink.counts}; {line.reasons}")  # fmt: skip
        print(f"{cables.dropped()} packets were dropped")
        assert cables.dropped() > 20
        assert numbers(line) == CLEAN


async def thin_link(tmp_path: Path, seconds: float) -> list[float]:
    """Returns the delays of alarms while history drains over 64 kbit/s."""
    async with cables_to(tmp_path, resend_us=10_000_000, points=20) as (line, cables):
        cables.drop(100)
        await line.edge.preload(round(100 + 8 * seconds), ticks=40)
        cables.limit("64kbit", 2000)
        cables.drop(0)
        await until(lambda: line.edge.uplink.is_up, "the session", 60)
        alarms = Alarms(line)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            line.edge.tick(5, spread_us=997)
            alarms.raise_one()
            await asyncio.sleep(0.5)
        left = line.edge.delivery.backlog().data_batches
        sent = line.edge.uplink.counts["bytes_sent"]
        print(f"{sent / seconds:.0f} bytes/s, sent again {line.edge.uplink.counts['resent']}; left {left} batches")
        assert left > 50, "there was no bulk any more: this shows nothing"
        assert sent / seconds > 4000, "history did not use the link"
        cables.limit("100mbit", 2000)
        await line.edge.until_receipted(60)
        assert numbers(line) == CLEAN
        return alarms.delays_s()


@pytest.mark.ci
async def test_alarms_pass_history_on_64_kbit(tmp_path: Path) -> None:
    delays = await thin_link(tmp_path, scale.times(12, 300))
    say(delays)
    assert p99(delays) <= 3.0


class _Wide(Window):
    """Lets so much history go at once as a wide link carries."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.size = most

    def _shrink(self, size: int, now_us: int) -> None:
        """Stays."""

    def restart(self, now_us: int = 0) -> None:
        """Stays."""


@pytest.mark.ci
async def test_mutant_no_window_is_caught_on_64_kbit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "Window", _Wide)
    assert p99(await thin_link(tmp_path, 6)) > 3.0


@pytest.mark.ci
async def test_a_black_hole_is_noticed_and_sealing_goes_on(tmp_path: Path) -> None:
    keepalive_s = scale.times(10, 30)
    patience = {"keepalive_s": keepalive_s, "give_up_s": 1.4 * keepalive_s}
    async with cables_to(tmp_path, resend_us=10_000_000, **patience) as (line, cables):
        await until(lambda: line.edge.uplink.is_up, "the session")
        for _ in range(4):
            line.edge.tick()
            await asyncio.sleep(0.25)
        await line.edge.until_receipted()
        cables.drop(100)
        began = time.monotonic()
        gaps = [0.0]
        while line.edge.uplink.is_up:
            before = time.monotonic()
            line.edge.tick()
            await asyncio.sleep(0.25)
            gaps.append(time.monotonic() - before)
            assert time.monotonic() < began + 3 * keepalive_s
        noticed = time.monotonic() - began
        for _ in range(scale.times(4, 400)):
            line.edge.tick()
            await asyncio.sleep(0.25)
        cables.drop(0)
        began = time.monotonic()
        await until(lambda: line.edge.uplink.is_up, "the session", 60)
        back = time.monotonic() - began
        await line.edge.until_receipted()
        print(f"noticed after {noticed:.1f} s, back {back:.1f} s after it healed; longest pause of sealing"
              f" {max(gaps):.2f} s; {line.reasons}")  # fmt: skip
        assert noticed <= 1.5 * keepalive_s
        assert back <= 30
        assert numbers(line) == CLEAN
