"""What is written, at what rate, and how long the card lasts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.flash_life import FlashLife, Rate, block_device, emmc_life_used, own_written_bytes

MINUTE, DAY = 60_000_000, 86_400_000_000


def test_a_rate_is_of_the_last_one_to_two_windows() -> None:
    rate = Rate(window_us=100, least_us=10)
    assert rate.per_s(0, 0) is None
    assert rate.per_s(5, 100) is None, "too short to tell"
    assert rate.per_s(50, 100) == pytest.approx(2e6)
    assert rate.per_s(100, 100) == pytest.approx(1e6)
    assert rate.per_s(150, 100) == pytest.approx(100 / 150e-6)
    assert rate.per_s(200, 100) == pytest.approx(0.0), "what was before the window before is forgotten"
    assert rate.per_s(260, 5) is None, "the counter began anew"
    assert rate.per_s(280, 7) == pytest.approx(1e5)
    assert rate.per_s(290, None) is None


def _disk(sys: Path, number: int, *, is_part: bool) -> Path:
    disk = sys / "devices" / "mmcblk0"
    part = disk / "mmcblk0p2"
    part.mkdir(parents=True)
    (disk / "stat").write_text("1 2 3 4 5 6 1000 8 9 10 11\n")
    (part / "stat").write_text("1 2 3 4 5 6 700 8 9 10 11\n")
    (part / "partition").write_text("2\n")
    links = sys / "dev" / "block"
    links.mkdir(parents=True)
    (links / f"{os.major(number)}:{os.minor(number)}").symlink_to(part if is_part else disk)
    return disk


@pytest.mark.parametrize("is_part", [True, False])
def test_the_whole_device_counts_whatever_part_the_directory_is_on(tmp_path: Path, is_part: bool) -> None:
    disk = _disk(tmp_path, os.makedev(179, 2), is_part=is_part)
    found = block_device(tmp_path, tmp_path, device=lambda folder: os.makedev(179, 2))
    assert found == disk.resolve()
    assert block_device(tmp_path, tmp_path, device=lambda folder: os.makedev(0, 40)) is None, "memory or network"


def test_the_facts_of_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = tmp_path.stat().st_dev
    disk = _disk(tmp_path / "sys", number, is_part=True)
    proc = tmp_path / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "io").write_text("rchar: 5\nwrite_bytes: 1000\ncancelled_write_bytes: 0\n")
    flash = FlashLife(tmp_path, proc=tmp_path / "proc", sys=tmp_path / "sys")
    first = flash.facts(0, 10**12)
    assert first == {
        "written_bytes": 1000,
        "written_bytes_day": None,
        "card_written_bytes_day": None,
        "card_life_days": None,
        "card_life_used_percent": None,
    }
    (proc / "io").write_text("write_bytes: 1001000\n")
    (disk / "stat").write_text(f"1 2 3 4 5 6 {1000 + 2_000_000_000 // 512} 8 9 10 11\n")
    (disk / "device").mkdir()
    (disk / "device" / "life_time").write_text("0x01 0x03\n")
    facts = flash.facts(DAY, 10**12)
    assert facts["written_bytes_day"] == 1_000_000
    assert facts["card_written_bytes_day"] == pytest.approx(2e9, rel=1e-6)
    assert facts["card_life_days"] == pytest.approx(500, rel=1e-3)
    assert facts["card_life_used_percent"] == 30


def test_where_nothing_tells_nothing_is_said(tmp_path: Path) -> None:
    assert own_written_bytes(tmp_path) is None
    assert emmc_life_used(None) is None
    flash = FlashLife(tmp_path / "not there", proc=tmp_path, sys=tmp_path)
    assert set(flash.facts(0, 1).values()) == {None}


def test_this_machine_counts_what_this_process_writes(tmp_path: Path) -> None:
    before = own_written_bytes(Path("/proc"))
    if before is None:
        pytest.skip("this kernel does not count (CONFIG_TASK_IO_ACCOUNTING)")
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    after = own_written_bytes(Path("/proc"))
    assert after is not None
    assert after >= before
