"""The lines for a site file: valid TOML that the compiler takes, and no guess among them."""

from __future__ import annotations

import tomllib

import pytest

from edge_agent.tools.scan_plan import Settings
from edge_agent.tools.stanza import FoundDevice, port_id, stanza

SURE = FoundDevice(unit_id=7, profile="keller-30", comment="sure: keller-30: serial-number")
UNKNOWN = FoundDevice(unit_id=9, profile="", comment="no profile fits")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/dev/ttyUSB0", "ttyusb0"),
        ("/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", "ft232r-usb-uart-a50285bi-if00-port0"[-32:]),
        ("/dev/pts/3", "3"),
        ("/dev/", "bus-1"),
    ],
)
def test_a_port_gets_an_id_that_a_site_file_takes(path: str, name: str) -> None:
    assert port_id(path) == name.strip("-")


def test_devices_without_a_profile_are_comments() -> None:
    text = stanza("/dev/ttyUSB0", Settings(baud=19200, parity="E"), [SURE, UNKNOWN])
    data = tomllib.loads(text)
    assert data["port"] == [
        {
            "id": "ttyusb0",
            "kind": "serial",
            "device": "/dev/ttyUSB0",
            "baud": 19200,
            "parity": "even",
            "stop_bits": 1,
        }
    ]
    assert data["device"] == [{"id": "ttyusb0-u7", "port": "ttyusb0", "unit_id": 7, "profile": "keller-30"}]
    assert "# unit_id = 9" in text


def test_a_port_that_is_configured_already_is_not_written_again() -> None:
    data = tomllib.loads(stanza("/dev/ttyUSB0", Settings(), [SURE], port="bus-1"))
    assert "port" not in data
    assert data["device"][0]["port"] == "bus-1"


def test_a_line_of_another_client_is_only_listened_to() -> None:
    data = tomllib.loads(stanza("/dev/ttyUSB0", Settings(), [], listen_only=True))
    assert data["port"][0]["listen_only"] is True
