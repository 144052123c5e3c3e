"""A simulated relay board: what a write switches, and what drops by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.loader import load_profile
from simulators.outputs import WATCHDOG_COUNTS, OutputBoard, board_of
from simulators.plant import make_plant
from simulators.world import World
from tests.simulators.conftest import Clock


def board(profile: str) -> OutputBoard:
    made = board_of(load_profile(profile))
    assert made is not None
    return made


def on(board: OutputBoard, now_s: float) -> list[str]:
    return [name for name, is_on in board.states(now_s).items() if is_on]


def test_a_coil_is_switched_and_stays() -> None:
    relays = board("waveshare-relay-8")
    assert relays.take(bytes.fromhex("05 0002 FF00"), 1.0) is not None
    assert on(relays, 1000.0) == ["relay-3"]
    assert relays.words(1000.0) == {"coil": {place: int(place == 2) for place in range(8)}}
    relays.take(bytes.fromhex("05 0002 0000"), 1001.0)
    assert [(change.at_s, change.output, change.is_on) for change in relays.switchings] == [
        (1.0, "relay-3", True),
        (1001.0, "relay-3", False),
    ]


def test_a_timed_pulse_ends_by_itself_and_a_further_one_begins_its_time_anew() -> None:
    relays = board("waveshare-relay-8")
    relays.take(bytes.fromhex("05 0207 0014"), 10.0)
    relays.take(bytes.fromhex("05 0207 0014"), 11.0)
    assert on(relays, 12.9) == ["relay-8"]
    assert on(relays, 50.0) == []
    assert relays.switchings[-1].at_s == 13.0


def test_a_relay_that_is_a_holding_register_shows_1_while_it_is_on() -> None:
    relays = board("eletechsup-n4d8b08")
    relays.take(bytes.fromhex("06 0001 0100"), 1.0)
    relays.take(bytes.fromhex("06 0002 0605"), 1.0)
    assert relays.words(2.0)["holding"][1] == 1
    assert on(relays, 5.9) == ["relay-1", "relay-2"]
    assert on(relays, 6.0) == ["relay-1"]


def test_a_watchdog_that_nobody_feeds_drops_what_is_set_to_drop() -> None:
    relays = board("wirenboard-wb-mr6c")
    for address in (0, 5):
        relays.heard(0.0)
        relays.take(bytes((5, 0, address, 0xFF, 0)), 0.0)
    relays.heard(5.0)
    assert on(relays, 5.0 + WATCHDOG_COUNTS - 0.1) == ["relay-1", "relay-6"]
    assert on(relays, 5.0 + WATCHDOG_COUNTS) == ["relay-1"]


@pytest.mark.parametrize("pdu", ["05 0002 1234", "05 0100 FF00", "03 0000 0001", "06 0000 0001", "05 0207 0259"])
def test_what_is_no_write_to_an_output_is_left_to_the_device(pdu: str) -> None:
    assert board("waveshare-relay-8").take(bytes.fromhex(pdu), 1.0) is None


def test_a_transmitter_has_no_board() -> None:
    assert board_of(load_profile("keller-30")) is None


def test_the_world_answers_writes_and_shows_outputs_where_they_are_read(clock: Clock) -> None:
    data = {
        "port": [{"id": "tcp-1", "kind": "tcp", "host": "127.0.0.1", "port": 15020}],
        "device": [{"id": "relay-1", "port": "tcp-1", "unit_id": 1, "profile": "waveshare-relay-8"}],
    }
    world = World(make_plant(data, "site.toml", Path()), clock)
    assert world.outputs("relay-1") == {f"relay-{number}": False for number in range(1, 9)}
    written = world.reply("relay-1", bytes.fromhex("05 0000 FF00"))
    assert written is not None
    assert written.pdu == bytes.fromhex("05 0000 FF00")
    read = world.reply("relay-1", bytes.fromhex("01 0000 0008"))
    assert read is not None
    assert read.pdu == bytes.fromhex("01 01 01")
