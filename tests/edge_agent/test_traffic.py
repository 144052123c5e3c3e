"""The interface to an address, and its counters, from folders like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.traffic import Counters, interface_to, read_counters

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0064A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
down0\t0065A8C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
_NONE = f"{0:032x} 00"
ROUTES6 = f"""\
fd{0:030x} 40 {_NONE} {0:032x} 00000100 1 0 00000001     eth1
{_NONE} {_NONE} fd{1:030x} 00000400 3 0 00000003     wwan0
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "route").write_text(ROUTES)
    (tmp_path / "ipv6_route").write_text(ROUTES6)
    return tmp_path


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("192.0.2.9", "eth0"),
        ("8.8.8.8", "eth0"),
        ("192.168.100.7", "tun0"),
        ("192.168.101.7", "eth0"),
        ("127.0.0.1", "lo"),
        ("::1", "lo"),
        ("fd00::5", "eth1"),
        ("2001:db8::1", "wwan0"),
        ("::ffff:192.168.100.7", "tun0"),
        ("fe80::1%wlan0", "wlan0"),
        ("not an address", None),
    ],
)
def test_the_way_to_an_address(net: Path, address: str, interface: str | None) -> None:
    assert interface_to(address, net) == interface


def test_without_tables_nothing_is_known(tmp_path: Path) -> None:
    assert interface_to("8.8.8.8", tmp_path) is None
    (tmp_path / "route").write_text("Iface\nnonsense\nx y z q a b c\n")
    assert interface_to("8.8.8.8", tmp_path) is None


def test_counters(tmp_path: Path) -> None:
    folder = tmp_path / "class" / "net" / "wwan0" / "statistics"
    folder.mkdir(parents=True)
    (folder / "rx_bytes").write_text("12\n")
    (folder / "tx_bytes").write_text("34\n")
    assert read_counters("wwan0", tmp_path) == Counters(received=12, sent=34)
    assert read_counters("wwan1", tmp_path) is None
    (folder / "tx_bytes").write_text("?\n")
    assert read_counters("wwan0", tmp_path) is None


def test_this_machine_tells() -> None:
    assert read_counters("lo") is not None
