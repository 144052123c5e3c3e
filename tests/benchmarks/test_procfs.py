"""Reading the kernel's counts from copies of its files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.procfs import Memory, Usage, fields, mapped, memory, sectors_written, usage


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for task, cpu_ns, switches in (("7", 1_000_000, 3), ("9", 500_000, 4)):
        folder = tmp_path / "7" / "task" / task
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"{cpu_ns} 123 45\n")
        (folder / "status").write_text(
            f"Name:\tx\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t99\n"
        )
    (tmp_path / "7" / "io").write_text("rchar: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n")
    (tmp_path / "7" / "smaps_rollup").write_text(
        "55d0-7ffe ---p 00000000 00:00 0 [rollup]\n"
        "Rss: 3000 kB\nPss: 2000 kB\nPrivate_Clean: 500 kB\nPrivate_Dirty: 1000 kB\n"
    )
    return tmp_path


def test_usage_is_the_sum_over_threads(proc: Path) -> None:
    assert usage(7, proc=proc) == Usage(cpu_ns=1_500_000, voluntary_switches=7, write_bytes=4096)


def test_usage_since() -> None:
    before = Usage(cpu_ns=10, voluntary_switches=2, write_bytes=100)
    after = Usage(cpu_ns=30, voluntary_switches=5, write_bytes=100)
    assert after.since(before) == Usage(cpu_ns=20, voluntary_switches=3, write_bytes=0)


def test_memory_in_megabytes(proc: Path) -> None:
    assert memory(7, proc=proc) == Memory(pss_mb=2.048, uss_mb=1.536, rss_mb=3.072)


def test_fields_leaves_out_what_is_no_number() -> None:
    assert fields("Name:\tx\nThreads:\t3\nState: S (sleeping)\nnothing\n") == {"Threads": 3}


def test_sectors_written_is_field_seven() -> None:
    assert sectors_written("  60 0 2112 4 32 34 192 6 0 4 15") == 192 * 512


def test_this_process_has_used_cpu() -> None:
    assert usage(os.getpid()).cpu_ns > 0
    assert memory(os.getpid()).pss_mb > 1


def test_memory_by_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps").write_text(
        "00400000-00500000 r-xp 00000000 fe:00 1     /usr/bin/python3.11\nRss:  900 kB\nPss:  500 kB\nVmFlags: rd ex\n"
        "01000000-02000000 rw-p 00000000 00:00 0     [heap]\nPss:  1000 kB\n"
        "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \nPss:  300 kB\n"
        "7f0000200000-7f0000300000 rw-p 00000000 00:00 0 \nPss:  200 kB\n"
        "7f0000400000-7f0000500000 rw-s 00000000 fe:00 9     /var/lib/agent/spool.db-shm\nPss:  32 kB\n"
        "7fff00000000-7fff00100000 rw-p 00000000 00:00 0     [stack]\nPss:  100 kB\n"
    )
    found = mapped(7, proc=tmp_path)
    kb = {kind: round(value * 1e6 / 1024) for kind, value in found.items()}
    assert kb == {"files": 500, "heap": 1000, "anonymous": 500, "spool": 32, "other": 100}
