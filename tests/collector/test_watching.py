"""Asking a gateway for live data: when it is said, again, and with which end by the gateway's clock."""

from __future__ import annotations

import pytest

from collector.watching import WATCH_S, Watching
from contracts.envelope import Type, open_envelope
from contracts.keys import Signer, Verifier
from contracts.messages import Command
from contracts.topics import Channel, parse
from edge_agent.watched import Heard, Watched

SIGNER = Signer.from_seed(b"c" * 32)
GATEWAY = "g-abcdefghijkl"
BOOT, NEXT_BOOT = bytes(range(16)), bytes(range(1, 17))


class Rig:
    def __init__(self) -> None:
        self.now_us = 5_000_000_000
        self.wall_us = 1_800_000_000_000_000
        self.said: list[Command] = []
        self.watching = Watching(SIGNER, self._publish, now_us=lambda: self.now_us, wall_us=lambda: self.wall_us)

    def _publish(self, topic: str, payload: bytes) -> None:
        assert parse(topic).channel is Channel.COMMAND
        opened = open_envelope(payload, Type.COMMAND, {SIGNER.key_id: Verifier(SIGNER.public)})
        self.said.append(Command.from_body(opened.body))

    def hear(self, mono_us: int, *, boot: bytes = BOOT, counter: int = 1, has_asked: bool = False) -> None:
        self.watching.heard(GATEWAY, boot_id=boot, boot_counter=counter, mono_us=mono_us, has_asked=has_asked)


def test_the_end_is_by_the_gateways_clock_and_the_least_delayed_message_counts() -> None:
    rig = Rig()
    rig.hear(1_000_000_000)
    rig.now_us += 10_000_000
    rig.hear(1_003_000_000)  # seven seconds on its way
    assert rig.watching.watch(GATEWAY, "page") == WATCH_S
    (command,) = rig.said
    assert command.until_us == 1_010_000_000 + WATCH_S * 1_000_000
    assert (command.gateway, command.boot_id, command.word, command.by) == (GATEWAY, BOOT, "watch", "page")


def test_looking_again_says_nothing_until_it_is_worth_it() -> None:
    rig = Rig()
    rig.hear(1)
    for _ in range(5):
        rig.watching.watch(GATEWAY, "page")
    rig.now_us += 59_000_000
    assert rig.watching.watch(GATEWAY, "page") == WATCH_S - 59
    assert len(rig.said) == 1
    rig.now_us += 1_000_000
    assert rig.watching.watch(GATEWAY, "page") == WATCH_S
    assert len(rig.said) == 2
    assert rig.said[1].serial > rig.said[0].serial


def test_a_gateway_that_was_not_heard_yet_is_told_when_it_is() -> None:
    rig = Rig()
    rig.watching.watch(GATEWAY, "page")
    assert rig.said == []
    rig.now_us += 20_000_000
    rig.hear(7_000_000, has_asked=True)
    assert [command.until_us for command in rig.said] == [7_000_000 + (WATCH_S - 20) * 1_000_000]


def test_it_is_said_again_when_the_gateway_comes_back_and_not_after_its_end() -> None:
    rig = Rig()
    rig.hear(0, has_asked=True)
    rig.watching.watch(GATEWAY, "page")
    rig.now_us += 30_000_000
    rig.hear(30_000_000)
    assert len(rig.said) == 1
    rig.hear(30_000_000, has_asked=True)
    assert len(rig.said) == 2
    rig.now_us += WATCH_S * 1_000_000
    rig.hear(700_000_000, has_asked=True)
    assert len(rig.said) == 2


def test_an_older_boot_is_not_taken_for_the_newest() -> None:
    rig = Rig()
    rig.hear(50, counter=2, boot=NEXT_BOOT)
    rig.hear(9_000_000_000, counter=1)
    rig.watching.watch(GATEWAY, "page")
    assert [command.boot_id for command in rig.said] == [NEXT_BOOT]
    rig.hear(70, counter=3, boot=bytes(16), has_asked=True)
    assert rig.said[-1].boot_id == bytes(16), "a gateway that was started again is told anew"


def test_a_machine_that_counts_its_boots_anew_is_told_and_its_old_asks_are_not() -> None:
    rig = Rig()
    rig.hear(9_000_000_000, counter=7, has_asked=True)
    rig.hear(1_000_000, boot=NEXT_BOOT, counter=1, has_asked=True)
    rig.watching.watch(GATEWAY, "page")
    rig.hear(9_000_000_000, counter=6, has_asked=True)  # of the boot before, played once more
    assert {command.boot_id for command in rig.said} == {NEXT_BOOT}


@pytest.mark.parametrize("step_us", [-3_600_000_000, 0, 86_400_000_000])
def test_serials_grow_whatever_the_wall_clock_does(step_us: int) -> None:
    rig = Rig()
    rig.hear(0)
    rig.watching.watch(GATEWAY, "page")
    rig.wall_us += step_us
    rig.now_us += 100_000_000
    rig.watching.watch(GATEWAY, "page")
    assert rig.said[1].serial > rig.said[0].serial


def test_a_gateway_takes_what_is_said() -> None:
    rig, watched = Rig(), Watched(GATEWAY, BOOT)
    rig.hear(1_000_000)
    rig.watching.watch(GATEWAY, "p" * 300)
    assert watched.hear(rig.said[0], 1_000_000) is Heard.TAKEN
    assert watched.is_on(1_000_000 + (WATCH_S - 1) * 1_000_000)
    assert watched.hear(rig.said[0], 1_000_000) is Heard.REPEATED, "a broker that plays it again"
