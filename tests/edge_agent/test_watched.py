"""Commands to watch: what is taken, what a repetition or an old one does, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.messages import WATCH, Command
from edge_agent.watched import LONGEST_US, Heard, Watched

GATEWAY = "g-abcdefghijkl"
BOOT = bytes(range(16))
NOW = 1_000_000_000
COMMAND = Command(gateway=GATEWAY, boot_id=BOOT, serial=7, until_us=NOW + 600_000_000, word=WATCH, by="page")


@pytest.mark.parametrize(
    ("change", "heard"),
    [
        ({}, Heard.TAKEN),
        ({"gateway": "g-bbbbbbbbbbbb"}, Heard.OTHER_GATEWAY),
        ({"boot_id": bytes(16)}, Heard.OTHER_BOOT),
        ({"until_us": NOW}, Heard.OVER),
        ({"word": "dance"}, Heard.UNKNOWN),
    ],
)
def test_a_command_is_taken_or_says_why_not(change: dict[str, Any], heard: Heard) -> None:
    watched = Watched(GATEWAY, BOOT)
    assert watched.hear(replace(COMMAND, **change), NOW) is heard
    assert watched.is_on(NOW) is (heard is Heard.TAKEN)


def test_it_is_over_by_the_gateways_own_clock() -> None:
    watched = Watched(GATEWAY, BOOT)
    watched.hear(COMMAND, NOW)
    assert watched.is_on(COMMAND.until_us - 1)
    assert not watched.is_on(COMMAND.until_us)


def test_a_serial_counts_once_and_an_older_one_never() -> None:
    watched = Watched(GATEWAY, BOOT)
    assert watched.hear(COMMAND, NOW) is Heard.TAKEN
    assert watched.hear(COMMAND, NOW) is Heard.REPEATED
    assert watched.hear(replace(COMMAND, serial=6), NOW) is Heard.REPEATED


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**11)), max_size=20))
def test_nobody_is_watched_for_longer_than_an_hour_ahead(said: list[tuple[int, int]]) -> None:
    watched = Watched(GATEWAY, BOOT)
    for serial, until_us in said:
        watched.hear(replace(COMMAND, serial=serial, until_us=until_us), NOW)
    assert watched.until_us <= NOW + LONGEST_US
