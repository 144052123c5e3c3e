"""What the agent says of itself: store, backlog, link, clock, machine, card, last end, reload.

Facts only, flat and named; the judge of them is a person or a monitoring system.  A fact that is not
known is None, never 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from contracts.batch import HealthRecord
from edge_agent import __version__
from edge_agent.bus.counters import Latency
from edge_agent.clock import AnchorClock, monotonic_us
from edge_agent.delivery import Delivery
from edge_agent.flash_life import FlashLife, Rate
from edge_agent.health import cpu_s, gateway_facts
from edge_agent.judge import Judge
from edge_agent.last_reboot import RunMarker
from edge_agent.logged_once import LoggedOnce
from edge_agent.oldest_unsent import OldestUnsent
from edge_agent.own_epoch import OwnEpoch
from edge_agent.plan import Plan
from edge_agent.ports_running import RunningPorts
from edge_agent.reload import Reloader
from edge_agent.seal import Boot
from edge_agent.sealer import Sealer
from edge_agent.spending import Spending
from edge_agent.spool_care import SpoolCare
from edge_agent.spool_thread import SpoolThread
from edge_agent.uplink import Uplink

_LOG = logging.getLogger(__name__)
Fact = float | int | str | None
#: latencies and rates are of the last one to two of these
_WINDOW_S = 60.0


class Agent(Protocol):
    """What is asked of the agent."""

    plan: Plan
    boot: Boot
    clock: AnchorClock
    spool: SpoolThread
    delivery: Delivery
    judge: Judge
    sealer: Sealer
    care: SpoolCare
    ports: RunningPorts
    uplink: Uplink | None
    reloads: Reloader
    spending: Spending
    own_epoch: OwnEpoch
    started_us: int


def known(records: Iterable[HealthRecord]) -> tuple[HealthRecord, ...]:
    """Returns records without the facts that are not known: a fact that is not there says the same in fewer bytes."""
    return tuple(
        replace(record, facts=tuple((name, value) for name, value in record.facts if value is not None))
        for record in records
    )


class OwnHealth:
    """The agent's own facts."""

    def __init__(self, agent: Agent, state_dir: Path, marker: RunMarker) -> None:
        self._agent, self._folder, self._marker = agent, state_dir, marker
        self._oldest = OldestUnsent(agent.delivery, agent.spool)
        self._flash = FlashLife(state_dir)
        self._cpu = Rate(window_us=round(_WINDOW_S * 1e6), least_us=1_000_000)
        self._latency_before = Latency()
        self._said = LoggedOnce(_LOG)

    async def run(self) -> None:
        """Looks at what a fact cannot be made of at once; never ends."""
        while True:
            await asyncio.sleep(_WINDOW_S)
            try:
                await self._look()
            except Exception as error:
                # The outermost loop of looking: a defect in a figure must not end monitoring.
                self._said.fault("look", error, "a look at the agent's own health failed; the next one comes")

    async def _look(self) -> None:
        delivery = self._agent.delivery
        self._latency_before, delivery.receipt_latency = delivery.receipt_latency, Latency()
        await self._oldest.look()
        for number, lane, seq, code in tuple(delivery.refused):
            self._said.gone(
                f"refused {code}", "the collector refuses batches: %s (%s %d of epoch %d); they are kept there, "
                "but not shown", code, lane.name.lower(), seq, number,
            )  # fmt: skip

    def facts(self) -> dict[str, Fact]:
        """Returns every fact, names fixed, order stable."""
        agent, delivery, now = self._agent, self._agent.delivery, monotonic_us()
        backlog, anchor, keeper = agent.delivery.backlog(), agent.clock.anchor(), agent.sealer.keeper
        cpu = self._cpu.per_s(now, cpu_s())
        facts: dict[str, Fact] = {
            "version": __version__,
            "plan": agent.plan.hash.hex()[:16],
            **agent.reloads.facts(),
            "boot_counter": agent.boot.counter,
            **self._marker.facts(),
            "uptime_s": (now - agent.started_us) // 1_000_000,
            "clock": anchor.state.value,
            "clock_uncertainty_ms": anchor.uncertainty_ms,
            "link": "up" if agent.uplink is not None and agent.uplink.is_up else "down",
            "spool_bytes": agent.spool.used_bytes,
            **agent.care.facts(),
            "backlog_alarm_batches": backlog.alarm_batches,
            "backlog_data_batches": backlog.data_batches,
            "backlog_epochs": backlog.epochs,
            "oldest_unsent_s": self._oldest.age_s(agent.own_epoch.uptime_s()),
            "refused_batches": delivery.refused_count,
            "refused_why": ", ".join(sorted({code for *_, code in delivery.refused}))[:256] or None,
            "readings_lost": agent.sealer.readings_lost + agent.sealer.rows_lost,
            "port_restarts": agent.ports.restarts,
            "inhibited": ", ".join(agent.judge.inhibited())[:256] or None,
        }
        if keeper is not None:
            facts["store"] = keeper.state.value
            facts["spool_disk_full"] = int(keeper.room.is_disk_full)
            facts.update({f"sealed_{key}": value for key, value in keeper.counts.items()})
        if agent.uplink is not None:
            facts.update(self._link_facts(agent.uplink, now))
        facts["cpu_percent"] = None if cpu is None else round(cpu * 100, 2)
        facts.update(gateway_facts(self._folder))
        facts.update(self._flash.facts(now, agent.plan.own.card_endurance_bytes))
        return facts

    def _link_facts(self, uplink: Uplink, now_us: int) -> dict[str, Fact]:
        latency = self._agent.delivery.receipt_latency.merged(self._latency_before)
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99} if latency.count else {}
        percentiles = {name: latency.percentile(share) for name, share in shares.items()}
        return {
            "receipt_age_s": None if uplink.receipt_us is None else (now_us - uplink.receipt_us) // 1_000_000,
            "link_unanswered_s": uplink.unanswered_s,
            **{f"receipt_latency_{name}_ms": us and us / 1000 for name, us in percentiles.items()},
            **{f"link_{key}": value for key, value in uplink.counts.items()},
            **self._agent.spending.facts(),
        }
