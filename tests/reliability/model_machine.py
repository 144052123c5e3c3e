"""The steps of the model as Hypothesis chooses them, and what is looked at after each; ``model_world.py`` does them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.reliability.model_checks import check_all
from tests.reliability.model_world import CODES, World

_LEVELS = st.sampled_from((50, 50, 50, 120, 250))
_QUALITIES = st.sampled_from(("good", "good", "good", *CODES))
_PLACES = st.integers(0, 1000)
_MESSAGES = st.integers(1, 12)
#: no disk here: files of a run are small, and a run makes thousands of them
FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


class Model(RuleBasedStateMachine):
    """Any order of steps; at the end everything is repaired and must come out right."""

    world_class: type[World] = World

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="model-", dir=FOLDER))

    @initialize(quota=st.sampled_from((20_000, 24_000, 40_000, 1 << 24)), is_up=st.sampled_from((True, True, False)))
    def begin(self, quota: int, is_up: bool) -> None:
        self.world = self.world_class(self._folder, quota_bytes=quota)
        if is_up:
            self.world.connect()
        self.world.produce(2)

    @property
    def w(self) -> World:
        assert self.world is not None
        return self.world

    def is_running(self) -> bool:
        return self.world is not None and self.world.agent is not None

    def is_stopped(self) -> bool:
        return self.world is not None and self.world.agent is None

    # -- what there is to do -------------------------------------------------------------

    @precondition(is_running)
    @rule(ticks=st.integers(1, 6), level=_LEVELS, quality=_QUALITIES, seals=st.booleans())
    def sample(self, ticks: int, level: int, quality: str, seals: bool) -> None:
        self.w.sample(ticks, level, quality)
        if seals:
            self.w.seal()

    @precondition(is_running)
    @rule(seals=st.integers(2, 12), ticks=st.integers(1, 4), level=_LEVELS)
    def produce(self, seals: int, ticks: int, level: int) -> None:
        self.w.produce(seals, ticks, level)

    @precondition(is_running)
    @rule(seals=st.integers(15, 30))
    def produce_much(self, seals: int) -> None:
        self.w.produce(seals, 4)

    @rule()
    def exchange(self) -> None:
        self.w.exchange()

    @rule(messages=_MESSAGES, works=st.sampled_from((True, True, False)), answers=st.booleans())
    def deliver(self, messages: int, works: bool, answers: bool) -> None:
        self.w.deliver_up(messages, works=works)
        if answers:
            self.w.deliver_down(messages)

    @rule(seconds=st.sampled_from((0.1, 1.0, 11.0, 70.0, 400.0)))
    def wait(self, seconds: float) -> None:
        self.w.wait(seconds)

    @precondition(is_running)
    @rule(days=st.sampled_from((0.0, 2.0)))
    def tend(self, days: float) -> None:
        self.w.wait(days * 86_400)
        self.w.tend()

    # -- and what may happen -------------------------------------------------------------

    @precondition(is_running)
    @rule(
        how=st.sampled_from(("kill", "power", "stop")),
        away_s=st.sampled_from((0.5, 30.0, 600.0)),
        starts=st.sampled_from((True, True, False)),
    )
    def end(self, how: str, away_s: float, starts: bool) -> None:
        if how == "stop":
            self.w.finish()
        else:
            self.w.crash(power=how == "power", away_s=away_s)
        if starts:
            self.w.start()

    @precondition(is_stopped)
    @rule(how=st.sampled_from(("", "", "head", "half", "empty", "log", "gone")))
    def start(self, how: str) -> None:
        if how:
            self.w.damage_file(how)
        self.w.start()

    @rule(
        how=st.sampled_from(("full", "free", "before", "after", "0.0", "0.1", "0.5", "3.0", "row", "row")),
        place=_PLACES,
    )
    def disk(self, how: str, place: int) -> None:
        disk = self.w.disk
        match how:
            case "full":
                disk.fill()
            case "free":
                disk.free()
            case "before" | "after":
                disk.faults.append(how)
            case "row":
                self.w.damage_row(place)
            case _:
                disk.delay_us = int(float(how) * 1e6)

    @precondition(is_running)
    @rule(how=st.sampled_from(("up", "up", "down", "thin", "lie", "forge")), messages=st.integers(0, 6))
    def link(self, how: str, messages: int) -> None:
        match how:
            case "up":
                self.w.connect()
            case "down":
                self.w.disconnect()
            case "thin":
                self.w.throttle(messages)
            case _:
                self.w.lie(has_key=how == "lie")

    @rule(
        how=st.sampled_from(("drop", "double", "move", "again", "catalogues", "forget")),
        place=_PLACES,
        to=_PLACES,
        up=st.booleans(),
    )
    def broker(self, how: str, place: int, to: int, up: bool) -> None:
        broker = self.w.broker
        queue = broker.up if up else broker.down
        match how:
            case "drop":
                broker.drop(queue, place)
            case "double":
                broker.double(queue, place)
            case "move":
                broker.move(queue, place, to)
            case "again":
                self.w.bring_again(place, up=up)
            case "catalogues":
                self.w.lose_catalogues()
            case _:
                broker.forget()

    @rule(how=st.sampled_from(("kill", "before", "after", "start", "start", "fail", "copy", "restore")))
    def collector(self, how: str) -> None:
        match how:
            case "kill":
                self.w.crash_collector()
            case "before" | "after":
                # Something must wait for the commit.
                self.w.deliver_up(works=False)
                self.w.crash_collector(how)
            case "start":
                self.w.start_collector()
            case "fail":
                self.w.collector.refuses = 2
            case "copy":
                self.w.back_up()
            case _:
                self.w.restore()

    @rule(seconds=st.sampled_from((-31_536_000.0, -3600.0, 1.0, 31_536_000.0)))
    def clock(self, seconds: float) -> None:
        self.w.step_clock(seconds)

    # -- what must hold ------------------------------------------------------------------

    @invariant()
    def look(self) -> None:
        if self.world is not None:
            self.world.look()

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.world.heal()
                check_all(self.world)
        finally:
            if self.world is not None:
                self.world.close()
            shutil.rmtree(self._folder, ignore_errors=True)
