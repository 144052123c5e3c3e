"""A small site for tests: its TOML text, and writing it with the files it needs."""

from __future__ import annotations

from pathlib import Path

from contracts.keys import Signer

COLLECTOR = Signer.from_seed(b"\x07" * 32).public

GATEWAY = """
[gateway]
name = { en = "Test gateway", zh = "测试网关" }
state_dir = "state"
"""

UPLINK = f"""
[uplink]
host = "127.0.0.1"
port = 1884
collector_key = "{COLLECTOR.line()}"
"""

PORTS = """
[[port]]
id = "tcp-1"
kind = "tcp"
host = "127.0.0.1"
port = 15020

[[port]]
id = "bus-1"
kind = "serial"
device = "bus-1"
baud = 9600
"""

WELL = """
[[device]]
id = "well-1"
name = { en = "Well 1", zh = "1号井" }
port = "tcp-1"
unit_id = 1
profile = "honeywell-xnx"
interval_s = 1.0
[device.points.gas]
quantity = "ch4"
rules = ["gas.ch4.adjacent.v1"]
"""

MAIN = """
[[device]]
id = "main-1"
name = { en = "Main 1", zh = "1号管" }
port = "bus-1"
unit_id = 2
profile = "keller-30"
interval_s = 2.0
[device.points.p1]
rules = ["water.pressure.end.v1"]
"""

SITE = GATEWAY + UPLINK + PORTS + WELL + MAIN


def write_site(folder: Path, text: str = SITE) -> Path:
    """Writes a site file and returns its path."""
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path
