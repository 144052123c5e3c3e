"""The units start what the commands really are, where the commands really look."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from collector.cli import DEFAULT_DATA
from collector.cli import _parser as collector_parser
from edge_agent.cli import make_parser as agent_parser
from edge_agent.control import GROUP
from edge_agent.plan_file import DEFAULT_CONFIG, DEFAULT_STATE_DIR

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
AGENT, COLLECTOR = "qianshao-agent.service", "qianshao-collector.service"


def settings(unit: str) -> dict[str, list[str]]:
    """Return key -> values of a unit file, of all its sections."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def rows(name: str) -> list[list[str]]:
    """Return the fields of each line of a sysusers or tmpfiles file."""
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_the_agents_unit_gives_a_command_that_the_agent_knows(key: str) -> None:
    (line,) = settings(AGENT)[key]
    program, *arguments = shlex.split(line)
    assert program == "/opt/qianshao/bin/edge-agent"
    assert agent_parser().parse_args(arguments).file == DEFAULT_CONFIG


def test_the_collectors_unit_gives_a_command_that_the_collector_knows() -> None:
    (line,) = settings(COLLECTOR)["ExecStart"]
    program, *arguments = shlex.split(line)
    assert program == "/opt/qianshao/bin/collector"
    options = collector_parser().parse_args(arguments)
    assert options.data == Path(DEFAULT_DATA)
    assert options.settings is None


@pytest.mark.parametrize(("unit", "state"), [(AGENT, DEFAULT_STATE_DIR), (COLLECTOR, Path(DEFAULT_DATA))])
def test_state_is_where_the_commands_look_and_belongs_to_the_units_user(unit: str, state: Path) -> None:
    found = settings(unit)
    (name,) = found["StateDirectory"]
    (user,) = found["User"]
    assert Path("/var/lib") / name == state
    # The agent's group is that of the people who may use its control socket, and nobody else's files are in it.
    group = GROUP if unit == AGENT else user
    assert found["Group"] == [group]
    assert ["u", user, str(state)] in [[kind, name, home] for kind, name, _, _, home in rows("qianshao.sysusers.conf")]
    assert ["d", str(state), "0" + found["StateDirectoryMode"][0].lstrip("0"), user, group] in rows(
        "qianshao.tmpfiles.conf"
    )


def test_the_group_of_the_agents_socket_is_made_and_may_pass_through_the_state_directory_only() -> None:
    assert ["g", GROUP, "-"] in [row[:3] for row in rows("qianshao.sysusers.conf")]
    found = settings(AGENT)
    assert found["StateDirectoryMode"] == ["0710"]
    assert found["UMask"] == ["0077"]
    assert set(found["SupplementaryGroups"][0].split()) == {"dialout", "qianshao-agent"}


def test_the_folder_of_the_site_file_is_made() -> None:
    assert ["d", str(DEFAULT_CONFIG.parent), "0755", "root", "root"] in rows("qianshao.tmpfiles.conf")


def test_the_drivers_of_usb_adapters_are_loaded_before_their_device_groups_are_looked_up() -> None:
    """systemd.resource-control(5): a group that is unknown when the unit starts is never allowed."""
    found = settings(AGENT)
    groups = {value.split()[0] for value in found["DeviceAllow"]}
    modules = {"char-ttyUSB": "modprobe@usbserial.service", "char-ttyACM": "modprobe@cdc_acm.service"}
    assert modules.keys() <= groups
    for key in ("Wants", "After"):
        assert set(modules.values()) <= {unit for value in found[key] for unit in value.split()}


def test_the_guide_uses_every_file() -> None:
    text = (SYSTEMD.parent / "docs" / "first-device.md").read_text(encoding="utf-8")
    files = {path.name for path in SYSTEMD.iterdir() if path.suffix != ".md"}
    assert files <= set(re.findall(r"[\w.-]+\.(?:service|conf|rules)", text))
