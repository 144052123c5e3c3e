"""The pace and the month's bytes put together: counting, telling, holding, thinning, watching; virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.batch import Anchor, ClockState, Head, Lane
from contracts.messages import WATCH, Command
from edge_agent.allowance import UsageFile
from edge_agent.delivery import Delivery
from edge_agent.held import Held
from edge_agent.link_plan import LinkPlan
from edge_agent.modem import ModemFacts
from edge_agent.pacing import ALARM_LIVE_US, THINNED_EVERY_S, Pace
from edge_agent.plan import UplinkPlan
from edge_agent.spending import Spending
from edge_agent.spool_records import EpochRow
from edge_agent.traffic import Counters
from tests.edge_agent.chains import Clock
from tests.edge_agent.small_plans import UPLINK

GATEWAY = "g-abcdefghijkl"
BOOT = bytes(range(16))
NOVEMBER_22 = 1_795_305_600_000_000
PLAN = replace(
    UPLINK, host="broker", port=1883, seal_interval_s=60.0, metered=True, link=LinkPlan(allowance_bytes=1_000_000)
)


class Uplink:
    def __init__(self) -> None:
        self.held = Held()
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1


class Site:
    def __init__(self, folder: Path, plan: UplinkPlan = PLAN) -> None:
        self.clock = Clock()
        self.alarms = 0
        self.events_us: int | None = None
        self.bytes = 0
        self.wall_us = NOVEMBER_22
        self.state = ClockState.SYNCHRONISED
        self.notes: list[str] = []
        self.file = folder / "traffic.json"
        self.uplink = Uplink()
        self.thinned = 0
        self.to_thin = 0
        self.delivery = Delivery(GATEWAY)
        self.delivery.add_epoch(
            EpochRow(
                no=1, epoch=bytes(8), reason="first", boot_id=BOOT, boot_counter=1, started_us=0, started_uptime_s=0
            )
        )
        self.spending = Spending(
            plan=plan,
            gateway=GATEWAY,
            boot_id=BOOT,
            usage_file=self.file,
            monotonic=self.clock,
            anchor=lambda: Anchor(mono_us=self.clock(), wall_us=self.wall_us, state=self.state, uncertainty_ms=None),
            alarms=lambda: self.alarms,
            events_us=lambda: self.events_us,
            note=lambda kind, text: self.notes.append(text),
            counters=lambda interface: Counters(received=self.bytes, sent=0),
            route=lambda address: "wwan0",
        )
        self.spending.peer = lambda: "192.0.2.1"

    def seal(self, seq: int) -> None:
        self.delivery.sealed(1, Lane.DATA, Head(seq=seq, digest=bytes(32)))

    async def thin(self) -> bool:
        self.thinned += 1
        self.to_thin -= 1
        return self.to_thin >= 0

    async def step(self) -> None:
        self.spending.look()
        await self.spending.apply(self.uplink, self.delivery, self.thin)

    def may_go(self) -> list[tuple[int, list[tuple[int, int]]]]:
        return self.uplink.held.of(self.delivery.to_send(Lane.DATA))


def watch(site: Site, serial: int = 1, for_s: int = 600) -> Command:
    until_us = site.clock() + for_s * 1_000_000
    return Command(gateway=GATEWAY, boot_id=BOOT, serial=serial, until_us=until_us, word=WATCH, by="page")


def test_an_interface_that_is_not_there_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(tmp_path, replace(PLAN, link=replace(PLAN.link, interface="wwan7")))
    site.spending._counters = lambda interface: None
    for _ in range(3):
        site.spending.look()
    assert caplog.text.count("there is no interface wwan7 now") == 1
    assert "traffic_sent_bytes" not in site.spending.facts(), "not counted is no number"
    site.spending._counters = lambda interface: Counters(received=0, sent=0)
    site.spending.look()
    assert "traffic_sent_bytes" in site.spending.facts()


def test_a_metered_link_is_spared_and_live_while_an_alarm_stands(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.spending.seal_pace().interval_s == 60
    site.alarms = 1
    assert site.spending.seal_pace().interval_s == 2
    site.alarms = 0
    assert site.spending.seal_pace().interval_s == 60


def test_somebody_watches_for_as_long_as_was_asked(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.spending.hear(watch(site))
    assert site.spending.seal_pace().interval_s == 2
    assert site.spending.facts()["watched_for_s"] == 600
    site.clock.pass_s(599)
    assert site.spending.pace() is Pace.LIVE
    site.clock.pass_s(2)
    assert site.spending.pace() is Pace.SPARING
    assert "watched_for_s" not in site.spending.facts()


def test_a_lan_is_sealed_as_configured_and_never_spared(tmp_path: Path) -> None:
    site = Site(tmp_path, replace(PLAN, metered=False, seal_interval_s=10.0, link=LinkPlan()))
    site.bytes = 1 << 50
    site.spending.look()
    assert site.spending.seal_pace().interval_s == 10
    assert "allowance" not in site.spending.facts()


async def test_what_is_used_is_told_once_and_ends_in_thinning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(tmp_path)
    await site.step()
    for used in (100_000, 500_000, 550_000, 800_000, 890_000):
        site.bytes = used
        await site.step()
    assert [note.split(" MB")[0] for note in site.notes] == ["0.5", "0.8"]
    assert site.spending.pace() is Pace.SPARING
    site.bytes = 900_000
    await site.step()
    assert "thinned" in site.notes[-1]
    assert site.spending.pace() is Pace.THINNED
    facts = site.spending.facts()
    assert (facts["allowance"], facts["allowance_used"], facts["data_every_s"]) == ("nearly used", 0.9, THINNED_EVERY_S)
    site.wall_us += 20 * 86_400_000_000
    await site.step()
    assert site.spending.pace() is Pace.SPARING
    assert "new month" in site.notes[-1]
    assert caplog.text.count("are used") == 3


async def test_while_it_is_nearly_used_data_are_held_thinned_and_let_go(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.step()
    site.seal(3)
    site.bytes = 950_000
    await site.step()
    assert site.may_go() == [(1, [(1, 3)])], "what waited before goes"
    site.seal(9)
    site.clock.pass_s(60)
    await site.step()
    assert site.may_go() == [(1, [(1, 3)])]
    site.to_thin = 2
    site.clock.pass_s(THINNED_EVERY_S)
    await site.step()
    assert site.thinned == 3
    assert site.may_go() == [(1, [(1, 9)])]
    site.seal(12)
    assert site.may_go() == [(1, [(1, 9)])]


async def test_an_alarm_lets_everything_go_while_it_is_fresh_and_not_for_ever(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.step()
    site.bytes = 950_000
    await site.step()
    site.seal(5)
    assert site.may_go() == []
    site.alarms, site.events_us = 1, site.clock()
    await site.step()
    assert not site.uplink.held.is_on
    assert site.may_go() == [(1, [(1, 5)])]
    site.clock.pass_s(ALARM_LIVE_US / 1e6)
    await site.step()
    assert site.uplink.held.is_on


async def test_a_clock_that_nobody_set_turns_no_page(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.step()
    site.bytes = 950_000
    site.state, site.wall_us = ClockState.UNSET, 0
    await site.step()
    site.state, site.wall_us = ClockState.FREE_RUNNING, NOVEMBER_22 + 400 * 86_400_000_000
    await site.step()
    assert site.spending.facts()["traffic_received_bytes"] == 950_000


async def test_it_is_kept_at_the_end_and_found_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.spending.look()
    site.bytes = 123
    await site.spending.close()
    assert UsageFile(site.file).read().total == 123
    again = Site(tmp_path)
    again.bytes = 150
    again.spending.look()
    assert again.spending.facts()["traffic_received_bytes"] == 150


class _Modem:
    def __init__(self) -> None:
        self.asked = 0

    async def read(self) -> ModemFacts | None:
        self.asked += 1
        return ModemFacts(signal_pct=50, sim="8986") if self.asked < 2 else None


async def test_the_modem_is_asked_now_and_then_and_what_it_no_longer_tells_goes(tmp_path: Path) -> None:
    site, modem = Site(tmp_path), _Modem()
    site.spending._modem = modem
    for expected in ({"modem_signal_pct": 50, "modem_sim": "8986"}, {}):
        for _ in range(3):
            await site.spending._ask_modem()
        found = {name: value for name, value in site.spending.facts().items() if name.startswith("modem")}
        assert found == expected
        site.clock.pass_s(301)
    assert modem.asked == 2


async def test_the_task_goes_on_after_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge_agent.spending._LOOK_S", 0.001)
    site = Site(tmp_path)
    looks, looked = 0, asyncio.Event()

    def counters(interface: str) -> Counters | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise TypeError("a defect")
        looked.set()
        return None

    site.spending._counters = counters
    task = asyncio.create_task(site.spending.run(site.uplink, site.delivery, site.thin))
    await asyncio.wait_for(looked.wait(), 10)
    task.cancel()
    assert "a defect" in caplog.text
