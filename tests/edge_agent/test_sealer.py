"""What goes into a batch, and what happens when it does not fit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.batch import HealthRecord, Note, Statement
from contracts.errors import TooLargeError
from edge_agent.collect import CAP, Collector
from edge_agent.compile import compile_site
from edge_agent.judge import Judge
from edge_agent.keeper import Content
from edge_agent.plan import Plan
from edge_agent.sealer import Sealer, SealPace, parted, seal_interval_s
from tests.contracts.examples import WAVEFORM
from tests.edge_agent.chains import alarm_event
from tests.edge_agent.running_agent import site
from tests.edge_agent.site_files import write_site

HEALTH = tuple(HealthRecord(subject=f"device/{n}", mono_us=1, facts=(("n", n),)) for n in range(4))
NOTES = (Note(mono_us=1, kind="test", text="x"), Note(mono_us=2, kind="test", text="y"))
STATEMENT = Statement(mono_us=1, events=tuple(alarm_event(number) for number in range(8)))


def _plan(folder: Path) -> Plan:
    return compile_site(write_site(folder, site({"a": 1001}))).plan


class Keeper:
    """Seals what is small enough."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sealed: list[Content] = []
        self.catalogues: list[bytes] = []

    def seal_data(self, content: Content) -> None:
        size = len(content.blocks) + len(content.health) + len(content.notes)
        size += 0 if content.statement is None else len(content.statement.events)
        if size > self.most:
            raise TooLargeError("too large")
        self.sealed.append(content)

    def keep_catalogue(self, hash: bytes, envelope: bytes) -> None:
        self.catalogues.append(hash)


def _sealer(plan: Plan, keeper: Keeper) -> Sealer:
    judge = Judge("g-abcdefghijkl", bytes(16), plan.points, plan.blocks, lambda: 0)
    judge.begin()
    sealer = Sealer(
        judge=judge,
        columns=Collector(plan.blocks, plan.points),
        plan=lambda: plan,
        catalogue=lambda: (b"\xca" * 32, b"envelope"),
        health=lambda: HEALTH,
    )
    sealer.keeper = keeper  # type: ignore[assignment]
    return sealer


async def test_readings_are_not_lost_because_of_what_travels_with_them(tmp_path: Path) -> None:
    plan, keeper = _plan(tmp_path), Keeper(3)
    sealer = _sealer(plan, keeper)
    width = len(plan.blocks[0].points)
    sealer._columns.add(0, 1_000, (1,) * width, None)
    sealer._judge.statement = lambda now_us: STATEMENT  # type: ignore[method-assign]
    sealer.note("test", "x")
    sealer.seal_data()
    assert sum(content.readings for content in keeper.sealed) == width
    assert sealer.readings_lost == 0
    assert [record for content in keeper.sealed for record in content.health] == list(HEALTH)
    stated = [content.statement for content in keeper.sealed if content.statement is not None]
    assert [len(statement.events) for statement in stated] == [2], "the gravest that fit"
    assert sum(len(content.notes) for content in keeper.sealed) == 1


async def test_what_cannot_be_sealed_at_all_is_counted(tmp_path: Path) -> None:
    plan, keeper = _plan(tmp_path), Keeper(0)
    sealer = _sealer(plan, keeper)
    width = len(plan.blocks[0].points)
    sealer._columns.add(0, 1_000, (1,) * width, None)
    sealer.seal_data()
    assert sealer.readings_lost == width


def test_parts_have_everything_once() -> None:
    content = Content(sealed_us=5, blocks=[b"raw"], readings=3, statement=STATEMENT, health=HEALTH, notes=NOTES)
    parts = parted(content)
    assert [part.readings for part in parts] == [3, 0, 0, 0]
    assert [bool(part.statement) for part in parts] == [False, True, False, False]
    assert parted(Content(sealed_us=5, blocks=[b"raw"], readings=3)) == []
    assert [part.health for part in parted(Content(sealed_us=5, health=HEALTH))] == [HEALTH[:2], HEALTH[2:]]
    assert [part.notes for part in parted(Content(sealed_us=5, notes=NOTES))] == [NOTES[:1], NOTES[1:]]


def test_a_long_seal_interval_does_not_overflow_what_a_fast_block_may_hold(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    rows = seal_interval_s(plan, SealPace(interval_s=3600.0)) / (plan.blocks[0].interval_ms / 1000)
    assert rows <= CAP / 2
    assert seal_interval_s(plan, SealPace(interval_s=0.2)) == 0.2


async def test_what_waits_is_sealed_at_once_when_the_pace_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.sealer._SILENCE_EVERY_S", 0.01)
    keeper, pace = Keeper(100), SealPace(interval_s=60.0, health_every_s=600.0)
    sealer = _sealer(_plan(tmp_path), keeper)
    sealer._pace = lambda: pace
    task = asyncio.create_task(sealer.run())
    await asyncio.sleep(0.05)
    assert keeper.sealed == []
    for interval_s in (30.0, 60.0):
        pace = SealPace(interval_s=interval_s, health_every_s=600.0)
        count = len(keeper.sealed)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if len(keeper.sealed) > count:
                break
        assert keeper.sealed[-1].health == HEALTH, "it tells the new pace"
    task.cancel()
    assert len(keeper.sealed) == 2


async def test_health_may_be_rarer_than_the_statement_which_is_not_sealed_alone_while_nothing_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.sealer.STATEMENT_EVERY_S", 0.0)
    keeper = Keeper(100)
    sealer = _sealer(_plan(tmp_path), keeper)
    sealer._pace = lambda: SealPace(interval_s=0.01, health_every_s=600.0)
    sealer.seal_data()
    sealer.seal_data()
    assert [bool(content.health) for content in keeper.sealed] == [True]
    sealer._judge.statement = lambda now_us: STATEMENT  # type: ignore[method-assign]
    sealer.seal_data()
    assert keeper.sealed[1].statement == STATEMENT
    assert keeper.sealed[1].health == ()


async def test_a_new_store_gets_catalogue_and_alarm_state_again(tmp_path: Path) -> None:
    keeper = Keeper(100)
    sealer = _sealer(_plan(tmp_path), keeper)
    sealer.seal_data()
    sealer.seal_data()
    assert len(keeper.catalogues) == 1
    sealer._judge.state_bytes()
    sealer.store_is_new("gone")
    sealer.seal_data()
    assert len(keeper.catalogues) == 2
    assert sealer._judge.is_changed
    assert any(note.text == "gone" for content in keeper.sealed for note in content.notes)


async def test_waveforms_travel_one_in_a_batch_and_the_newest_stay(tmp_path: Path) -> None:
    keeper = Keeper(100)
    sealer = _sealer(_plan(tmp_path), keeper)
    waves = [replace(WAVEFORM, begin_us=number) for number in range(18)]
    sealer.take_waveforms(waves)
    sealer.seal_data()
    assert [content.waveforms for content in keeper.sealed] == [(wave,) for wave in waves[2:]]
    notes = [note.text for content in keeper.sealed for note in content.notes]
    assert [text.startswith("one of pier-3 could not be kept") for text in notes] == [True, True]


def test_a_waveform_is_parted_from_what_travels_with_it() -> None:
    content = Content(sealed_us=5, blocks=[b"raw"], readings=3, notes=NOTES, waveforms=(WAVEFORM,))
    parts = parted(content)
    assert [(part.readings, len(part.notes), len(part.waveforms)) for part in parts] == [
        (3, 0, 0),
        (0, 2, 0),
        (0, 0, 1),
    ]
    assert parted(Content(sealed_us=5, waveforms=(WAVEFORM,))) == []
