"""The world at one moment: who wins, and what each fault does."""

from __future__ import annotations

from typing import Any

import pytest

from simulators.errors import FileError, ImageError, SimulatorError
from simulators.plant import Plant
from simulators.scenario import LinkState, make_scenario
from simulators.world import World
from tests.simulators.conftest import Clock

READ_P1 = bytes.fromhex("03 00 02 00 02")


def scenario(**parts: Any) -> Any:
    return make_scenario({"name": {"en": "a", "zh": "甲"}, "duration_s": 10.0, **parts}, id="x", source="x.toml")


def constant(value: float) -> list[dict[str, Any]]:
    return [{"kind": "constant", "value": value}]


@pytest.fixture
def world(plant: Plant, clock: Clock) -> World:
    return World(plant, clock)


def test_a_point_follows_the_newest_change_and_time_counts_from_it(world: World, clock: Clock) -> None:
    changes = [
        {"point": "well/gas", "shape": constant(1.0)},
        {"at_s": 4.0, "point": "well/gas", "shape": [{"kind": "ramp", "start": 1.0, "end": 3.0, "over_s": 2.0}]},
    ]
    world.play([scenario(signal=changes)])
    for after, value in ((0.0, 1.0), (3.9, 1.0), (5.0, 2.0), (9.0, 3.0), (10.5, 1.0), (15.0, 2.0)):
        clock.now = 1000.0 + after
        assert world.shown("well") == {"gas": pytest.approx(value)}


def test_without_a_loop_the_end_stays(world: World, clock: Clock) -> None:
    world.play([scenario(loop=False, signal=[{"at_s": 9.0, "point": "well/gas", "shape": constant(4.0)}])])
    clock.now += 500.0
    assert world.shown("well") == {"gas": 4.0}


def test_several_scenarios_are_played_one_after_the_other(world: World, clock: Clock) -> None:
    first = scenario(signal=[{"point": "well/gas", "shape": constant(1.0)}])
    second = scenario(signal=[{"point": "well/gas", "shape": constant(2.0)}])
    world.play([first, second])
    for after, value in ((0.0, 1.0), (12.0, 2.0), (21.0, 1.0)):
        clock.now = 1000.0 + after
        assert world.shown("well")["gas"] == value


def test_a_person_wins_until_auto_or_the_next_play(world: World) -> None:
    world.play([scenario(signal=[{"point": "well/gas", "shape": constant(1.0)}])])
    world.set_point("well/gas", 55.0)
    assert world.shown("well")["gas"] == 55.0
    world.release("well/gas")
    assert world.shown("well")["gas"] == 1.0
    world.set_point("well/gas", "fault")
    assert world.by_hand() == ("well/gas",)
    world.play([scenario()])
    assert world.by_hand() == ()


def test_setting_what_cannot_be_is_refused(world: World) -> None:
    with pytest.raises(ImageError, match="there are well/gas"):
        world.set_point("well/co", 1.0)
    with pytest.raises(SimulatorError, match="no device 'attic'"):
        world.set_point("attic/gas", 1.0)
    with pytest.raises(ImageError, match="does not fit"):
        world.set_point("inlet/pressure", 1e9)
    with pytest.raises(FileError):
        world.play([scenario(signal=[{"point": "attic/gas", "state": "fault"}])])


def test_a_silent_point_silences_its_device(world: World) -> None:
    world.set_point("main/pressure", "silent")
    assert world.faults("main").words() == ("dead",)
    assert world.reply("main", READ_P1) is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [("late", {"delay_s": 0.5}), ("exception", {"code": 6}), ("wrong_unit", {}), ("wrong_crc", {}), ("dead", {})],
)
def test_what_each_fault_does_to_a_reply(world: World, kind: str, options: dict[str, Any]) -> None:
    world.set_point("main/pressure", 2.0)
    good = world.reply("main", READ_P1)
    assert good is not None
    assert good.pdu == bytes.fromhex("03 04 40 00 00 00")
    world.set_fault("main", kind, **options)
    reply = world.reply("main", READ_P1)
    if kind == "dead":
        assert reply is None
    else:
        assert reply is not None
        assert (reply.delay_s, reply.is_crc_wrong, reply.unit_id != 1, reply.pdu != good.pdu) == (
            0.5 if kind == "late" else 0.0,
            kind == "wrong_crc",
            kind == "wrong_unit",
            kind == "exception",
        )
    world.set_fault("main", kind, is_on=False)
    assert world.reply("main", READ_P1) == good
    assert world.counts["main"].requests == 3


def test_frozen_values_stand_still_and_move_on_after_it(world: World, clock: Clock) -> None:
    world.play(
        [
            scenario(
                signal=[{"point": "well/gas", "shape": [{"kind": "ramp", "start": 0.0, "end": 10.0, "over_s": 10.0}]}]
            )
        ]
    )
    clock.now += 2.0
    world.set_fault("well", "frozen")
    clock.now += 5.0
    assert world.shown("well")["gas"] == pytest.approx(2.0)
    world.set_fault("well", "none")
    assert world.shown("well")["gas"] == pytest.approx(7.0)


def test_a_scenario_switches_faults_and_the_link(world: World, clock: Clock) -> None:
    ramp = [{"kind": "ramp", "start": 0.0, "end": 10.0, "over_s": 10.0}]
    world.play(
        [
            scenario(
                signal=[{"point": "main/pressure", "shape": ramp}],
                fault=[{"at_s": 2.0, "until_s": 4.0, "device": "main", "kind": "frozen"}],
                link=[{"at_s": 3.0, "state": "slow", "bytes_per_s": 99}, {"at_s": 6.0, "state": "up"}],
            )
        ]
    )
    assert world.link() == LinkState()
    clock.now += 3.5
    assert world.faults("main").words() == ("frozen",)
    assert world.shown("main")["pressure"] == pytest.approx(2.0)
    assert world.link() == LinkState(state="slow", bytes_per_s=99)
    clock.now += 3.0
    assert world.faults("main").words() == ()
    assert world.link() == LinkState()


def test_faults_that_cannot_be_are_refused(world: World) -> None:
    with pytest.raises(SimulatorError, match="known are dead"):
        world.set_fault("main", "bored")
    with pytest.raises(SimulatorError, match="on TCP"):
        world.set_fault("well", "wrong_crc")
    with pytest.raises(SimulatorError, match="there are well, head"):
        world.set_fault("attic", "dead")


def test_what_a_client_writes_wins_over_what_is_measured(world: World) -> None:
    written = world.reply("inlet", bytes.fromhex("06 00 04 12 34"))
    assert written is not None
    assert written.pdu == bytes.fromhex("06 00 04 12 34")
    read = world.reply("inlet", bytes.fromhex("03 00 04 00 01"))
    assert read is not None
    assert read.pdu == bytes.fromhex("03 02 12 34")


def own(point: str, of: str, **bound: Any) -> dict[str, Any]:
    return {"point": point, "of": of, **bound}


def test_an_instruments_own_alarms_follow_what_it_measures(world: World, clock: Clock) -> None:
    changes = [
        {"point": "head/gas", "shape": [{"kind": "ramp", "start": 0.0, "end": 80.0, "over_s": 8.0}]},
        {"at_s": 8.5, "point": "head/gas", "state": "over_range"},
        {"at_s": 9.5, "point": "head/gas", "state": "fault"},
    ]
    alarms = [
        own("head/own-alarm/low-alarm", "head/gas", above=20.0),
        own("head/own-alarm/high-alarm", "head/gas", above=50.0),
        own("head/own-fault/fault", "head/gas", state="fault"),
    ]
    world.play([scenario(signal=changes, own_alarm=alarms)])
    # state register: 1 normal, 5 low alarm, 6 high alarm, 8 over range, 3 fault
    for after, low, high, fault, state in (
        *((1.0, 0, 0, 0, 1), (2.0, 1, 0, 0, 5), (5.0, 1, 1, 0, 6), (8.6, 1, 1, 0, 8), (9.6, 0, 0, 1, 3)),
    ):
        clock.now = 1000.0 + after
        shown = world.shown("head")
        found = [shown[f"own-{name}"] for name in ("alarm/low-alarm", "alarm/high-alarm", "fault/fault")]
        assert found == [low, high, fault]
        assert world.memory("head").words["holding"][5] & 0xFF == state
        assert "own-alarm/a1" not in world.shown("well")  # without a set point it follows nothing
    # A person wins, over the value and over the alarm.
    clock.now = 1001.0
    world.set_point("head/gas", 60.0)
    assert world.shown("head")["own-alarm/high-alarm"] == 1.0
    world.set_point("head/own-alarm/high-alarm", 0.0)
    assert world.shown("head")["own-alarm/high-alarm"] == 0.0


@pytest.mark.parametrize(
    ("bound", "on", "off"),
    [
        ({"above": 5.0}, (5.0, 9.0, "over_range"), (4.9, "under_range", "fault")),
        ({"below": 5.0}, (5.0, 1.0, "under_range"), (5.1, "over_range", "fault")),
        ({"state": "fault"}, ("fault",), (5.0, "over_range", "warm_up")),
    ],
)
def test_an_own_alarm_is_on_at_and_past_its_set_point(
    bound: dict[str, Any], on: tuple[Any, ...], off: tuple[Any, ...]
) -> None:
    (alarm,) = scenario(own_alarm=[own("a/own-alarm/x", "a/gas", **bound)]).own_alarms
    assert [alarm.is_on(what) for what in on] == [True] * len(on)
    assert [alarm.is_on(what) for what in off] == [False] * len(off)
