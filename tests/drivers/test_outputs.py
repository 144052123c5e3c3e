"""Relays and outputs as data: what switches them, and what a file gets wrong about it."""

from __future__ import annotations

import pytest

from drivers.errors import ProfileError
from drivers.loader import parse_profile
from tests.drivers.test_loader import MINIMAL

OUTPUT = """
[outputs.relay-1]
names = { en = "relay 1", zh = "继电器 1" }
table = "holding"
address = 1
on = 0x0100
off = 0x0200
readback = "raw"
pulse = { function = 16, address = 1, count_ms = 100, most = 255, before = [0x0600] }
safe = { address = 7, keep = 2 }
[outputs.relay-2]
names = { en = "relay 2", zh = "继电器 2" }
table = "coil"
address = 1
[watchdog]
address = 9
count_ms = 1000
fed_by = "any"
"""


def test_outputs_say_how_they_are_switched() -> None:
    profile = parse_profile((MINIMAL + OUTPUT).encode(), file="mini.toml", id="mini")
    board, coil = profile.outputs["relay-1"], profile.outputs["relay-2"]
    assert (board.write_function, board.on, board.off, board.readback) == (6, 0x0100, 0x0200, "raw")
    assert (coil.write_function, coil.on, coil.off) == (5, 1, 0)
    assert profile.watchdog is not None
    assert profile.watchdog.off == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("off = 0x0200", "off = 0x0100", "on and off are both 256"),
        ('table = "coil"', 'table = "coil"\non = 0xFF00', "a coil takes 1 and 0"),
        ('table = "coil"', 'table = "coil"\nfunction = 6', "function 6 does not write to table coil"),
        ('table = "coil"', 'table = "input"', "outputs.relay-2.table"),
        ('readback = "raw"', 'readback = "ghost"', "outputs.relay-1.readback: point 'ghost' is not defined"),
        ("function = 16", "function = 6", "words before the count need function 16"),
        ('fed_by = "any"', "", "watchdog.fed_by: is missing"),
    ],
)
def test_a_wrong_output_is_named(old: str, new: str, said: str) -> None:
    assert old in OUTPUT
    with pytest.raises(ProfileError) as caught:
        parse_profile((MINIMAL + OUTPUT.replace(old, new)).encode(), file="mini.toml", id="mini")
    assert said in str(caught.value)
