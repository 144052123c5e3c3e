"""Three days of history drain while alarms pass it; nothing of it is lost, and nothing grows without bound."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from contracts.batch import Lane
from edge_agent.health import memory_kb
from edge_agent.seal import Sealed
from edge_agent.uplink import Uplink
from tests.reliability import scale
from tests.reliability.brokers import Broker, Line
from tests.reliability.link_ends import Edge, judge, until
from tests.reliability.test_links_hostile import CLEAN
from tests.reliability.test_links_network import Alarms, p99, say

pytestmark = pytest.mark.usefixtures("patient_store")
#: 20 readings a second in seals of 2 s
_POINTS, _TICKS, _PER_HOUR = 4, 10, 1800


class OneQueue(Edge):
    """The mutant: alarms stand in the same queue as everything else, oldest first."""

    class _Uplink(Uplink):
        def offer(self, epoch_no: int, sealed: Sealed) -> None:
            self._wake.set()

        async def _pump_once(self) -> bool:
            waiting = self._delivery.to_send(Lane.DATA)
            room = self._delivery.room(self._share)
            if room > 0:
                for epoch_no, ranges in waiting:
                    if await self._send(epoch_no, Lane.DATA, ranges, limit=room, is_backlog=True):
                        return True
            if waiting:
                return False
            return await super()._pump_once()

    uplink_class = _Uplink


async def drain(folder: Path, hours: float, *, edge_class: type[Edge] = Edge) -> list[float]:
    """Drains so many hours of readings; returns the delays of the alarms that were raised meanwhile."""
    broker = Broker(folder / "broker")
    broker.start()
    line = Line(folder, (broker.host, broker.port), edge_class=edge_class, points=_POINTS, resend_us=10_000_000)
    line.edge.keeps_readings = hours < 10
    try:
        await line.edge.spool.open()
        await line.edge.preload(round(hours * _PER_HOUR), ticks=_TICKS)
        before_kb = memory_kb()[0] or 0
        await line.start()
        await until(lambda: line.edge.uplink.is_up, "the session")
        began, alarms = time.monotonic(), Alarms(line)
        while line.edge.delivery.backlog().data_batches > 50:
            line.edge.tick()
            alarms.raise_one()
            await asyncio.sleep(0.05)
            assert time.monotonic() < began + 3600
        took = time.monotonic() - began
        await line.edge.until_receipted()
        grown_kb = (memory_kb()[0] or 0) - before_kb
        readings = hours * _PER_HOUR * _TICKS * _POINTS
        print(f"{readings:.0f} readings in {took:.1f} s: {readings / took:.0f}/s; both ends grew by {grown_kb} KiB")
        read = line.centre.read(line.edge.id, line.edge.catalogue, is_whole=line.edge.keeps_readings)
        verdict = judge(line.edge, read)
        print(verdict)
        assert verdict.numbers == CLEAN
        kept = line.centre.rows("SELECT sum(readings) FROM evidence")[0][0]
        assert kept == line.edge.written.count
        assert readings / took >= 2000
        assert grown_kb < 256 * 1024
        return alarms.delays_s()
    finally:
        await line.stop()
        broker.kill()


@pytest.mark.alone
async def test_some_minutes_drain_and_alarms_pass_them(tmp_path: Path) -> None:
    delays = await drain(tmp_path, 0.15)
    say(delays)
    assert p99(delays) <= 1.0


@pytest.mark.ci
async def test_days_drain_and_alarms_pass_them(tmp_path: Path) -> None:
    delays = await drain(tmp_path, scale.times(3, 72))
    say(delays)
    assert p99(delays) <= 1.0
    assert max(delays) <= 3.0


@pytest.mark.ci
async def test_mutant_one_queue_for_all_is_caught(tmp_path: Path) -> None:
    delays = await drain(tmp_path, 4, edge_class=OneQueue)
    say(delays)
    assert p99(delays) > 1.0
