"""What the kernel says of one process: CPU, memory, wake-ups, bytes written.  Linux only.

CPU is the scheduler's own count in nanoseconds, summed over the threads that live now
(``/proc/PID/task/*/schedstat``): clock ticks of 10 ms would be too coarse for a daemon that
needs 2 ms a second.  A thread that ends takes its count along; the measured programs keep theirs.
``write_bytes`` counts pages made dirty by the process, without the file system's journal; what a
disk really writes is in ``disk.py``.  Sources: proc(5), kernel documents sched-stats and proc.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of one process since it started."""

    #: on a CPU, user and system, ns
    cpu_ns: int
    #: times that a thread went to sleep by itself
    voluntary_switches: int
    #: pages made dirty, bytes; less what was truncated before it was written
    write_bytes: int

    def since(self, before: Usage) -> Usage:
        """Returns what was added after ``before``."""
        return Usage(
            cpu_ns=self.cpu_ns - before.cpu_ns,
            voluntary_switches=self.voluntary_switches - before.voluntary_switches,
            write_bytes=self.write_bytes - before.write_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of one process, MB of 1,000,000 bytes."""

    #: with pages shared by n processes counted as 1/n
    pss_mb: float
    #: its own pages only
    uss_mb: float
    #: everything mapped and present
    rss_mb: float


def usage(pid: int, *, proc: Path = _PROC) -> Usage:
    """Reads the counts of a process; raises OSError when it is gone."""
    cpu = switches = 0
    for task in (proc / str(pid) / "task").iterdir():
        cpu += int((task / "schedstat").read_text().split()[0])
        switches += fields((task / "status").read_text())["voluntary_ctxt_switches"]
    io = fields((proc / str(pid) / "io").read_text())
    return Usage(cpu_ns=cpu, voluntary_switches=switches, write_bytes=io["write_bytes"] - io["cancelled_write_bytes"])


def memory(pid: int, *, proc: Path = _PROC) -> Memory:
    """Reads the memory of a process; raises OSError when it is gone."""
    kb = fields((proc / str(pid) / "smaps_rollup").read_text())
    return Memory(
        pss_mb=kb["Pss"] * 1024 / 1e6,
        uss_mb=(kb["Private_Clean"] + kb["Private_Dirty"]) * 1024 / 1e6,
        rss_mb=kb["Rss"] * 1024 / 1e6,
    )


def mapped(pid: int, *, proc: Path = _PROC) -> dict[str, float]:
    """Reads where the memory of a process lies, MB of PSS; raises OSError when it is gone.

    ``heap`` is the C library's, ``anonymous`` Python's own arenas, larger blocks and the stacks of threads.
    """
    found: dict[str, float] = {}
    kind = ""
    for line in (proc / str(pid) / "smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            kind = kind_of(words[5] if len(words) > 5 else "")
        elif words[0] == "Pss:":
            found[kind] = found.get(kind, 0.0) + int(words[1]) * 1024 / 1e6
    return found


def kind_of(name: str) -> str:
    """Returns what a mapping of this name is for."""
    if name.startswith("/"):
        return "spool" if name.rpartition("/")[2].startswith("spool.") else "files"
    return {"[heap]": "heap", "": "anonymous"}.get(name, "other")


def fields(text: str) -> dict[str, int]:
    """Returns the lines ``name: number ...`` of a proc file; other lines are left out."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and words[0].lstrip("-").isdigit():
            found[name] = int(words[0])
    return found


def sectors_written(text: str) -> int:
    """Returns the bytes that a block device has written, from its ``stat`` file (field 7, sectors of 512)."""
    return int(text.split()[6]) * SECTOR_BYTES
