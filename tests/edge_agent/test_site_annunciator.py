"""What ``check`` refuses to drive, and what a plan says of the outputs that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.loader import shipped_dir
from edge_agent.compile import Compiled, compile_site
from edge_agent.config import read_site
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan
from edge_agent.plan_annunciator import WriteStep
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, UPLINK, write_site

BOARDS = """
[[device]]
id = "relay-1"
port = "bus-1"
unit_id = 9
profile = "waveshare-relay-8"
allow_write = true
[[device]]
id = "relay-2"
port = "bus-1"
unit_id = 10
profile = "waveshare-relay-8"
[[device]]
id = "plain-1"
port = "bus-1"
unit_id = 11
profile = "eletechsup-ld58a08"
allow_write = true
[[device]]
id = "blind-1"
port = "bus-1"
unit_id = 12
profile = "lctech-relay-8"
allow_write = true
[[device]]
id = "watch-1"
port = "bus-1"
unit_id = 13
profile = "wirenboard-wb-mr6c"
allow_write = true
[device.points.relay-6]
read = false
"""
HEARD = """
[[port]]
id = "bus-2"
kind = "serial"
device = "bus-2"
baud = 9600
listen_only = true
[[device]]
id = "heard-1"
port = "bus-2"
unit_id = 9
profile = "waveshare-relay-8"
allow_write = true
"""


def site(annunciator: str, *, more: str = "") -> str:
    return "allow_overrun = true\n" + GATEWAY + UPLINK + PORTS + more + MAIN + BOARDS + annunciator


def compiled(folder: Path, annunciator: str, *, more: str = "") -> Compiled:
    return compile_site(write_site(folder, site(annunciator, more=more)))


#: what stands in the file -> what is said of it; a wrong output is refused whatever else is wrong
REFUSED = {
    "relay-7/relay-1": "annunciator.beacon: there is no device 'relay-7'; there are main-1, relay-1,",
    "relay-1/relay-9": "has no output 'relay-9'; relay-1/relay-1, ",
    "main-1/p1": "profile 'keller-30' has no output 'p1'; a relay board's would be right",
    "relay-2/relay-1": "device[relay-2].allow_write = true would be right",
    "blind-1/relay-1": "blind-1/relay-1 cannot be read back by its profile",
    "watch-1/relay-6": "device[watch-1].points.relay-6.read = true would be right",
}


def problems_of(folder: Path, annunciator: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        compiled(folder, annunciator)
    return list(refused.value.problems)


def test_what_is_refused_and_what_would_be_right(tmp_path: Path) -> None:
    names = ", ".join(f'"{name}"' for name in (*REFUSED, "relay-1/relay-1", "relay-1/relay-1"))
    text = (
        f'[annunciator]\nbeacon = [{names}]\nsounder = ["relay-1/relay-1"]\nalive = {{ output = "plain-1/output-1" }}'
    )
    found = problems_of(tmp_path, text)
    assert len(found) == len(REFUSED) + 3
    for said in REFUSED.values():
        assert len([problem for problem in found if said in problem]) == 1, said
    twice = "relay-1/relay-1 stands in annunciator.beacon already"
    assert [problem.split(": ")[1] for problem in found if twice in problem] == [
        "annunciator.beacon",
        "annunciator.sounder",
    ]
    assert "plain-1/output-1 stays on when the agent dies" in found[-1]


def test_one_output_has_one_role_and_a_pulse_its_longest(tmp_path: Path) -> None:
    text = '[annunciator]\nsounder = ["relay-1/relay-1"]\nalive = { output = "relay-1/relay-1" }'
    assert "annunciator.alive.output: relay-1/relay-1 stands in annunciator.sounder" in problems_of(tmp_path, text)[0]
    text = '[annunciator]\nalive = { output = "relay-1/relay-1", hold_s = 61 }'
    assert "up to 60 s would be right" in problems_of(tmp_path, text)[0]
    assert "annunciator: drives nothing" in problems_of(tmp_path, "[annunciator]")[0]


@pytest.mark.parametrize(
    ("annunciator", "problem"),
    [
        ('beacon = ["relay 1"]', "annunciator.beacon"),
        ("severities = []", "annunciator.severities"),
        ('valve = ["relay-1/relay-1"]', "annunciator.valve: is not known here; known are beacon, sounder"),
        ('alive = { output = "relay-1/relay-1", hold_s = 2 }', "annunciator.alive.hold_s: 2"),
    ],
)
def test_the_form_of_the_file(tmp_path: Path, annunciator: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_site(write_site(tmp_path, site(f"[annunciator]\n{annunciator}")))
    assert problem in str(refused.value)
    assert len(refused.value.problems) == 1


def test_an_output_on_a_line_that_is_only_listened_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="port bus-2 is only listened to"):
        compiled(tmp_path, '[annunciator]\nbeacon = ["heard-1/relay-1"]', more=HEARD)


def test_an_output_that_its_profile_calls_a_valve_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    shipped = (shipped_dir() / "waveshare-relay-8.toml").read_text(encoding="utf-8")
    own = shipped.replace('id = "waveshare-relay-8"', 'id = "own-valve"')
    own = own.replace("[outputs.relay-1]\n", '[outputs.relay-1]\ndrives = "valve"\n')
    (folder / "own-valve.toml").write_text(own, encoding="utf-8")
    text = site('[annunciator]\nbeacon = ["relay-1/relay-1"]').replace("waveshare-relay-8", "own-valve")
    path = write_site(tmp_path, 'profile_dirs = ["profiles"]\n' + text)
    with pytest.raises(ConfigError, match="drives a valve by its profile; only beacons and sounders"):
        compile_site(path)


def test_rows_that_come_too_seldom_cannot_renew_the_alive_output(tmp_path: Path) -> None:
    slow = MAIN.replace("interval_s = 2.0", "interval_s = 20.0")
    board = BOARDS.split("[[device]]")[1].replace("allow_write", "interval_s = 20.0\nallow_write")
    text = (
        GATEWAY + UPLINK + PORTS + slow + "[[device]]" + board + '[annunciator]\nalive = { output = "relay-1/relay-1" }'
    )
    with pytest.raises(ConfigError, match="rows come every 20 s"):
        compile_site(write_site(tmp_path, text))


def test_an_alive_output_of_a_board_that_is_never_read_is_refused(tmp_path: Path) -> None:
    blind = "\n".join(f"[device.points.relay-{number}]\nread = false" for number in range(1, 9))
    board = "[[device]]" + BOARDS.split("[[device]]")[1] + blind
    text = GATEWAY + UPLINK + PORTS + MAIN + board + '\n[annunciator]\nalive = { output = "relay-1/relay-1" }'
    with pytest.raises(ConfigError, match="nothing of relay-1 is read"):
        compile_site(write_site(tmp_path, "allow_overrun = true\n" + text))


def test_a_plan_says_how_each_output_is_switched_and_read_back(tmp_path: Path) -> None:
    text = (
        '[annunciator]\nbeacon = ["relay-1/relay-3"]\nsounder = ["watch-1/relay-1"]\nproof_test_days = 180\n'
        '[annunciator.alive]\noutput = "relay-1/relay-8"\nhold_s = 12.05\n'
    )
    found = compiled(tmp_path, text)
    plan = found.plan.annunciator
    assert plan is not None
    beacon, sounder, alive = plan.outputs
    assert (beacon.on, beacon.off) == (
        WriteStep(function=5, address=2, values=(0xFF00,)),
        WriteStep(function=5, address=2, values=(0,)),
    )
    # All eight are read together: some boards answer a question for one with the state of all.
    assert beacon.readback is not None
    assert (beacon.readback.count, beacon.readback.offset) == (8, 2)
    assert alive.on == WriteStep(function=5, address=0x0207, values=(121,))
    assert (alive.drops_by, alive.renew_s) == ("pulse", pytest.approx(12.05 / 3))
    assert plan.severities == ("red", "orange")
    assert any("watch-1/relay-1: the board has a watchdog" in warning for warning in found.warnings)
    assert Plan.from_bytes(found.plan.to_bytes()) == found.plan
    assert sounder.role == "sounder"


def test_an_alive_output_of_a_board_with_a_watchdog_is_taken_with_a_word_on_its_setting(tmp_path: Path) -> None:
    found = compiled(tmp_path, '[annunciator]\nalive = { output = "watch-1/relay-5", hold_s = 10 }')
    assert found.plan.annunciator is not None
    assert found.plan.annunciator.outputs[0].drops_by == "watchdog"
    text = "\n".join(found.warnings)
    assert "10 s in holding 8, and its safe state off in holding 934" in text
    assert "shows that the agent lives and no alarm" in text


def test_a_board_whose_relays_are_holding_registers(tmp_path: Path) -> None:
    board = BOARDS.split("[[device]]")[1].replace("waveshare-relay-8", "eletechsup-n4d8b08")
    text = (
        GATEWAY + UPLINK + PORTS + MAIN + "[[device]]" + board
        + '[annunciator]\nbeacon = ["relay-1/relay-1"]\nalive = { output = "relay-1/relay-2", hold_s = 9.5 }'
    )  # fmt: skip
    plan = compile_site(write_site(tmp_path, text)).plan.annunciator
    assert plan is not None
    beacon, alive = plan.outputs
    assert beacon.on.function == 6
    assert beacon.readback is not None
    words = [0] * beacon.readback.count
    words[beacon.readback.offset] = 1
    assert beacon.readback.state(tuple(words)) is True
    assert alive.on == WriteStep(function=6, address=2, values=(0x0600 + 10,))


def test_a_site_without_one_drives_nothing(tmp_path: Path) -> None:
    assert compiled(tmp_path, "").plan.annunciator is None
