"""How the agent ended and why the machine started: the table, and the marker on a disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.last_reboot import MARKER, Marker, Reboot, RunMarker, Stop, last_end

ONE, TWO = "01" * 16, "02" * 16


@pytest.mark.parametrize(
    ("what", "ended", "boot", "watchdog", "panic", "stop", "reboot"),
    [
        ("stopped and started again", "clean", ONE, False, False, Stop.CLEAN, Reboot.POWER),
        ("ended by a defect", "failed", ONE, False, False, Stop.FAILED, Reboot.POWER),
        ("killed", "", ONE, False, False, Stop.KILLED, Reboot.POWER),
        ("shut down", "clean", TWO, False, False, Stop.CLEAN, Reboot.ORDERLY),
        ("power cut", "", TWO, False, False, Stop.CUT, Reboot.POWER),
        ("watchdog", "", TWO, True, False, Stop.CUT, Reboot.WATCHDOG),
        ("panic", "", TWO, False, True, Stop.CUT, Reboot.PANIC),
        ("watchdog after a panic", "", TWO, True, True, Stop.CUT, Reboot.WATCHDOG),
        ("a word of later versions", "paused", TWO, False, False, Stop.CUT, Reboot.POWER),
    ],
)
def test_how_it_ended(
    what: str, ended: str, boot: str, watchdog: bool, panic: bool, stop: Stop, reboot: Reboot
) -> None:
    marker = Marker(boot_id=ONE, ended=ended, reboot=Reboot.POWER)
    found = last_end(marker, boot, was_watchdog=watchdog, was_panic=panic)
    assert (found.stop, found.reboot) == (stop, reboot), what


def test_without_a_marker_nothing_is_claimed() -> None:
    found = last_end(None, ONE, was_watchdog=False, was_panic=False)
    assert (found.stop, found.reboot) == (Stop.UNKNOWN, Reboot.UNKNOWN)


def test_lives_follow_each_other_on_a_disk(tmp_path: Path) -> None:
    sys = tmp_path / "sys"
    first, second = bytes.fromhex(ONE), bytes.fromhex(TWO)
    assert RunMarker(tmp_path, first, sys=sys).facts() == {"last_stop": "unknown", "last_reboot": "unknown"}
    assert RunMarker(tmp_path, first, sys=sys).facts() == {"last_stop": "killed", "last_reboot": "unknown"}
    life = RunMarker(tmp_path, second, sys=sys)
    assert life.facts() == {"last_stop": "cut", "last_reboot": "power"}
    life.end(is_clean=True)
    life = RunMarker(tmp_path, second, sys=sys)
    assert life.facts() == {"last_stop": "clean", "last_reboot": "power"}, "why that boot began is remembered"
    life.end(is_clean=False)
    assert RunMarker(tmp_path, second, sys=sys).facts()["last_stop"] == "failed"
    bootstatus = sys / "class" / "watchdog" / "watchdog0" / "bootstatus"
    bootstatus.parent.mkdir(parents=True)
    bootstatus.write_text("32\n")
    (sys / "fs" / "pstore").mkdir(parents=True)
    assert RunMarker(tmp_path, first, sys=sys).facts() == {"last_stop": "cut", "last_reboot": "watchdog"}
    bootstatus.write_text("0\n")
    (sys / "fs" / "pstore" / "dmesg-ramoops-0").write_text("Oops")
    assert RunMarker(tmp_path, second, sys=sys).facts() == {"last_stop": "cut", "last_reboot": "panic"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", json.dumps({"boot_id": ONE}).encode()])
def test_a_marker_that_cannot_be_read_costs_the_answer_alone(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / MARKER).write_bytes(content)
    assert RunMarker(tmp_path, bytes(16), sys=tmp_path).facts()["last_stop"] == "unknown"
    assert "cannot be read" in caplog.text
    assert RunMarker(tmp_path, bytes(16), sys=tmp_path).facts()["last_stop"] == "killed"


def test_a_disk_that_takes_nothing_costs_the_answer_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    RunMarker(tmp_path / "file", bytes(16), sys=tmp_path).end(is_clean=True)
    assert "cannot be written" in caplog.text
