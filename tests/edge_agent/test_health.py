"""Facts about the machine: read from folders that look like the kernel's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edge_agent.health import gateway_facts, temperature_cel, undervoltage
from edge_agent.sd_notify import Notifier

TICK = os.sysconf("SC_CLK_TCK")
STAT = f"77 (edge (agent) 1) S 1 77 77 0 -1 4194304 100 0 0 0 {3 * TICK} {TICK // 2} 0 0 20 0 3 0 1 2 3"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return write(
        tmp_path / "proc",
        {
            "self/stat": STAT,
            "self/smaps_rollup": "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss: 41000 kB\nPss: 30500 kB\n",
            "meminfo": "MemTotal: 948304 kB\nMemAvailable: 512000 kB\n",
            "loadavg": "0.42 0.30 0.20 1/200 999\n",
            "uptime": "86461.55 100.0\n",
        },
    )


def test_facts_are_those_of_the_kernels_files(proc: Path, tmp_path: Path) -> None:
    facts = gateway_facts(tmp_path, proc=proc, sys=tmp_path / "none")
    assert facts["cpu_s"] == 3.5
    assert (facts["rss_kb"], facts["pss_kb"]) == (41000, 30500)
    assert facts["memory_available_kb"] == 512000
    assert facts["load_1m"] == 0.42
    assert facts["machine_uptime_s"] == 86461
    assert isinstance(facts["disk_free_bytes"], int)
    assert facts["temperature_cel"] is None


def test_what_a_machine_does_not_tell_is_nothing_and_never_zero(tmp_path: Path) -> None:
    facts = gateway_facts(tmp_path / "gone", proc=tmp_path / "none", sys=tmp_path / "none")
    assert set(facts.values()) == {None}
    torn = write(
        tmp_path / "torn",
        {"self/stat": "77 (x", "self/smaps_rollup": "Rss: x kB", "meminfo": "", "loadavg": "", "uptime": "?"},
    )
    assert set(gateway_facts(tmp_path / "gone", proc=torn, sys=torn).values()) == {None}


def test_without_a_rollup_resident_memory_comes_from_the_status(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"self/status": "Name:\tx\nVmRSS:\t  20480 kB\n"})
    facts = gateway_facts(tmp_path, proc=proc, sys=tmp_path)
    assert (facts["rss_kb"], facts["pss_kb"]) == (20480, None)


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ([("cpu-thermal", "48312")], 48.312),
        ([("battery", "60000"), ("cpu-thermal", "48312"), ("soc-thermal", "51000")], 51.0),
        ([("acpitz", "27800")], 27.8),
        ([("cpu-thermal", "")], None),
        ([], None),
    ],
)
def test_the_temperature_is_the_processors(
    tmp_path: Path, zones: list[tuple[str, str]], expected: float | None
) -> None:
    for number, (kind, text) in enumerate(zones):
        zone = f"class/thermal/thermal_zone{number}"
        write(tmp_path, {f"{zone}/type": kind + "\n", f"{zone}/temp": text + "\n"})
    assert temperature_cel(tmp_path) == expected


@pytest.mark.parametrize(
    ("word", "now", "since_boot"),
    [("0x0", 0, 0), ("50005", 1, 1), ("0x50000", 0, 1), ("throttled=0x10001", 1, 1), ("what", None, None)],
)
def test_a_raspberry_pi_tells_of_its_supply(tmp_path: Path, word: str, now: int | None, since_boot: int | None) -> None:
    write(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": word + "\n"})
    assert undervoltage(tmp_path) == {"undervoltage": now, "undervoltage_since_boot": since_boot}


def test_this_machine_tells_something(tmp_path: Path) -> None:
    facts = gateway_facts(tmp_path)
    assert isinstance(facts["cpu_s"], float)
    assert isinstance(facts["rss_kb"], int)
    assert facts["rss_kb"] > 1000


# -- the service manager -------------------------------------------------------------------


def test_the_service_manager_is_told_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000000"})
        notifier.ready()
        notifier.alive()
        notifier.status("two\nlines")
        notifier.reloading(5)
        notifier.stopping()
        said = [manager.recv(200).decode() for _ in range(5)]
    assert said == ["READY=1", "WATCHDOG=1", "STATUS=two lines", "RELOADING=1\nMONOTONIC_USEC=5", "STOPPING=1"]
    assert notifier.is_active
    assert notifier.watchdog_interval_s == 30.0


@pytest.mark.parametrize("usec", ["", "0", "-5", "x"])
def test_without_a_watchdog_there_is_no_interval(usec: str) -> None:
    assert Notifier({"WATCHDOG_USEC": usec}).watchdog_interval_s is None


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}).watchdog_interval_s is None


def test_a_manager_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Notifier({}).ready()
