"""Reloads and their verdicts on ports of paper: what is touched, what is kept, what goes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.batch import AlarmEvent
from edge_agent import plan_store
from edge_agent.collect import Collector
from edge_agent.compile import compile_site
from edge_agent.errors import EdgeError
from edge_agent.judge import Judge
from edge_agent.plan import Plan
from edge_agent.plan_own import OwnPlan
from edge_agent.plan_store import PlanStore
from edge_agent.readings import Tick
from edge_agent.reload import Reloader
from edge_agent.reload_trial import Phase, Trial
from tests.edge_agent.running_agent import site
from tests.edge_agent.site_files import write_site

S = 1_000_000


class Ports:
    """Which ports run, and what was done to them."""

    def __init__(self, plan: Plan) -> None:
        self.running = {port.id for port in plan.ports}
        self.done: list[str] = []

    def __contains__(self, id: str) -> bool:
        return id in self.running

    async def stop(self, ids: list[str]) -> None:
        self.running -= set(ids)
        self.done += [f"closed {id}" for id in ids]

    async def hand_over(self, ids: list[str]) -> dict[str, str]:
        self.running -= set(ids)
        self.done += [f"handed {id}" for id in ids]
        return {id: f"left of {id}" for id in ids}

    def renumber(self, mappings: dict[str, dict[int, int]]) -> None:
        assert mappings.keys() == self.running

    def start(self, plan: Plan, left: dict[str, str]) -> list[str]:
        started = [port.id for port in plan.ports if port.id not in self.running]
        self.running |= set(started)
        return started


class Sealer:
    """Remembers notes and events."""

    def __init__(self) -> None:
        self.keeper: object = self
        self.notes: list[str] = []
        self.events: list[AlarmEvent] = []
        self.seals = 0

    def seal_data(self) -> None:
        self.seals += 1

    def note(self, kind: str, text: str) -> None:
        self.notes.append(f"{kind}: {text}")

    def take_events(self, events: list[AlarmEvent]) -> None:
        self.events += events


class Parts:
    """A gateway without bursts, annunciator and monitoring."""

    def start_bursts(self, plan: Plan) -> None: ...

    def start_annunciator(self, plan: Plan) -> None: ...

    async def stop_bursts(self) -> None: ...

    async def serve_metrics(self, own: OwnPlan) -> None: ...


class Agent:
    """What a reload touches."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now_us = 100 * S
        self.judge = Judge("g-aaaaaaaaaaaa", bytes(16), plan.points, plan.row_blocks, self.clock)
        self.judge.begin()
        self.columns = Collector(plan.row_blocks, plan.points)
        self.sealer, self.ports, self.parts = Sealer(), Ports(plan), Parts()
        self.refuses = False

    def clock(self) -> int:
        return self.now_us

    def make_catalogue(self, plan: Plan) -> tuple[bytes, bytes]:
        if self.refuses:
            raise EdgeError("too many points")
        return b"", b""

    def take_catalogue(self, made: tuple[bytes, bytes]) -> None: ...

    def latest(self) -> list[Tick]:
        found = [(number, self.columns.latest(number)) for number in range(len(self.plan.row_blocks))]
        return [(number, *tick) for number, tick in found if tick is not None]

    def hear(self, *devices: str) -> None:
        for number, block in enumerate(self.plan.blocks):
            if self.plan.devices[block.device].id in devices:
                self.columns.add(number, self.now_us, (1,) * len(block.points), None)


class Bench:
    """A reloader, its site file, and time that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_site(folder, self.text({"a": 1001, "b": 1002}))
        self.store = PlanStore(self.config, folder)
        choice = self.store.choose(0)
        self.agent = Agent(choice.plan)
        self.reloads = Reloader(self.agent, self.store, choice.trial, self.agent.clock)  # type: ignore[arg-type]

    @staticmethod
    def text(ports: dict[str, int]) -> str:
        return site(ports)

    def change(self, ports: dict[str, int]) -> None:
        write_site(self.folder, self.text(ports))

    async def decide(self, at_s: float) -> Phase:
        """Lets the verdict of a time be given."""
        self.agent.now_us = round(at_s * S)
        await self.reloads._decide()
        return self.reloads.trial.phase

    def heard(self, device: str) -> None:
        plan = self.agent.plan
        number = next(n for n, block in enumerate(plan.blocks) if plan.devices[block.device].id == device)
        self.reloads.hear(number, None)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    def compile_here(config: Path, out: Path, *, like: Path | None = None) -> None:
        out.write_bytes(compile_site(config).plan.to_bytes())

    def load_or_compile(config: Path, out: Path) -> Plan:
        if not out.exists():
            compile_here(config, out)
        return plan_store.load_plan(out)

    monkeypatch.setattr(plan_store, "compile_plan", compile_here)
    monkeypatch.setattr(plan_store, "load_or_compile", load_or_compile)
    return Bench(tmp_path)


async def test_only_the_changed_port_is_touched_and_its_device_is_on_trial(bench: Bench) -> None:
    bench.agent.hear("dev-a", "dev-b")
    bench.change({"a": 1009, "b": 1002})
    told = await bench.reloads.reload()
    assert (told["changed"], told["ports"], told["devices"]) == (True, ["a"], ["dev-a"])
    assert bench.agent.ports.done == ["closed a"]
    assert told["trial"] == {"phase": "trial", "waiting": ["dev-a"], "failed": [], "seconds_left": 60.0}
    assert bench.agent.sealer.seals == 1, "what was sampled before is sealed before"
    bench.heard("dev-b")
    assert bench.reloads.is_waiting
    bench.heard("dev-a")
    assert not bench.reloads.is_waiting
    assert await bench.decide(101) is Phase.CONFIRMED
    assert bench.store.last_good().ports[0].port == 1009


async def test_a_device_that_falls_silent_brings_the_former_plan_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.agent.hear("dev-a", "dev-b")
    before = bench.agent.plan
    bench.change({"a": 1009, "b": 1002})
    await bench.reloads.reload()
    assert await bench.decide(159) is Phase.TRIAL
    assert await bench.decide(160) is Phase.ROLLED_BACK
    assert bench.agent.plan.hash == before.hash == bench.store.last_good().hash
    assert bench.agent.ports.done == ["closed a", "closed a"]
    assert bench.reloads.facts() == {"reload": "rolled_back", "reload_failed": "dev-a"}
    assert [note for note in bench.agent.sealer.notes if "rolled back to plan" in note and "dev-a" in note]
    assert await bench.decide(1000) is Phase.ROLLED_BACK
    assert caplog.text.count("rolled back to plan") == 1
    # A person may try it again; now it answers.
    bench.agent.hear("dev-a")
    await bench.reloads.reload()
    bench.heard("dev-a")
    assert await bench.decide(1001) is Phase.CONFIRMED


async def test_a_device_that_was_silent_before_proves_nothing(bench: Bench) -> None:
    bench.agent.hear("dev-b")
    bench.change({"a": 1009, "b": 1002})
    told = await bench.reloads.reload()
    assert told["trial"]["phase"] == "confirmed"
    assert bench.store.last_good().ports[0].port == 1009


async def test_a_reading_from_before_a_reload_counts_at_the_next_one(bench: Bench) -> None:
    bench.agent.hear("dev-a", "dev-b")
    bench.change({"a": 1001, "b": 1009})
    await bench.reloads.reload()
    bench.heard("dev-b")
    await bench.decide(101)
    bench.change({"a": 1008, "b": 1009})
    told = await bench.reloads.reload()
    assert told["trial"]["waiting"] == ["dev-a"], "its newest row is still known under the second plan"


async def test_a_second_reload_during_a_trial_goes_back_to_the_last_good_plan(bench: Bench) -> None:
    bench.agent.hear("dev-a", "dev-b")
    before = bench.agent.plan
    for port in (1008, 1009):
        bench.change({"a": port, "b": 1002})
        await bench.reloads.reload()
    assert await bench.decide(161) is Phase.ROLLED_BACK
    assert bench.agent.plan.hash == before.hash


async def test_what_is_refused_leaves_everything_as_it_was(bench: Bench) -> None:
    before = bench.agent.plan
    write_site(bench.folder, "nonsense")
    with pytest.raises(EdgeError, match="not TOML"):
        await bench.reloads.reload()
    bench.change({"a": 1009, "b": 1002})
    bench.agent.refuses = True
    with pytest.raises(EdgeError, match="too many points"):
        await bench.reloads.reload()
    assert bench.agent.plan is before
    assert bench.agent.ports.done == []
    assert bench.agent.sealer.seals == 0
    assert bench.store.last_good().hash == before.hash
    assert bench.reloads.trial.phase is Phase.NONE


async def test_what_only_a_start_takes_is_told_and_nothing_is_touched(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    write_site(bench.folder, bench.text({"a": 1001, "b": 1002}) + "[spool]\nquota_mb = 512\nreserve_mb = 8\n")
    told = await bench.reloads.reload()
    assert (told["changed"], told["later"], bench.agent.ports.done) == (False, ["[spool]"], [])
    assert "changes of [spool] take effect at the next start" in caplog.text
    assert bench.store.last_good().spool.quota_bytes == 512_000_000, "the next start takes it"


async def test_an_edited_comment_changes_nothing_and_is_compiled_once(bench: Bench) -> None:
    write_site(bench.folder, "# a comment\n" + bench.text({"a": 1001, "b": 1002}))
    told = await bench.reloads.reload()
    assert (told["changed"], told["ports"], bench.agent.ports.done) == (False, [], [])
    assert plan_store.is_current((bench.folder / plan_store.PLAN).read_bytes())


async def test_the_verdict_comes_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.agent.hear("dev-a", "dev-b")
    watching = asyncio.create_task(bench.reloads.run())
    decided = asyncio.Event()
    loop = asyncio.get_running_loop()
    confirmed = bench.store.confirmed

    def tell(trial: Trial) -> None:
        confirmed(trial)
        loop.call_soon_threadsafe(decided.set)

    monkeypatch.setattr(bench.store, "confirmed", tell)
    try:
        bench.change({"a": 1009, "b": 1002})
        await bench.reloads.reload()
        bench.heard("dev-a")
        await asyncio.wait_for(decided.wait(), 10)
        assert bench.reloads.trial.phase is Phase.CONFIRMED
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    bench.reloads.hangup()
    await bench.reloads.stop()
