"""Facts about the gateway itself, read from the kernel; no judgement and no history.

Every reader takes the roots of ``/proc`` and ``/sys``, so that tests hand in a folder.  A fact
that this machine does not tell is None, never 0.  Sources: proc(5), ``/sys/class/thermal``
(kernel document thermal/sysfs-api), and the Raspberry Pi firmware's ``get_throttled`` word
(bit 0: under-voltage now, bit 16: under-voltage since boot), which its driver shows in
``/sys/devices/platform/soc/soc:firmware/get_throttled``; other boards have no such file.
"""

from __future__ import annotations

import os
from pathlib import Path

Fact = float | int | str | None

_PROC = Path("/proc")
_SYS = Path("/sys")


def gateway_facts(folder: Path, *, proc: Path = _PROC, sys: Path = _SYS) -> dict[str, Fact]:
    """Returns the facts about process and machine, names fixed, order stable.

    Args:
        folder: on the file system whose free space counts.
        proc: root of the process file system.
        sys: root of the device file system.
    """
    rss_kb, pss_kb = memory_kb(proc)
    free, total = disk_bytes(folder)
    return {
        "cpu_s": cpu_s(proc),
        "rss_kb": rss_kb,
        "pss_kb": pss_kb,
        "memory_available_kb": meminfo_kb(proc, "MemAvailable"),
        "load_1m": load_1m(proc),
        "machine_uptime_s": machine_uptime_s(proc),
        "disk_free_bytes": free,
        "disk_total_bytes": total,
        "temperature_cel": temperature_cel(sys),
        **undervoltage(sys),
    }


def cpu_s(proc: Path = _PROC) -> float | None:
    """Returns user and system CPU seconds of this process (fields 14 and 15 of proc(5) stat)."""
    text = _read(proc / "self" / "stat")
    if text is None:
        return None
    # The name in field 2 may hold spaces and brackets; fields are counted behind the last one.
    fields = text.rpartition(")")[2].split()
    if len(fields) < 13 or not (fields[11].isdigit() and fields[12].isdigit()):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kb(proc: Path = _PROC) -> tuple[int | None, int | None]:
    """Returns resident and proportional memory of this process, KiB (RSS, PSS)."""
    text = _read(proc / "self" / "smaps_rollup")
    if text is not None:
        return _kb_line(text, "Rss"), _kb_line(text, "Pss")
    status = _read(proc / "self" / "status")
    return (None if status is None else _kb_line(status, "VmRSS")), None


def meminfo_kb(proc: Path, name: str) -> int | None:
    """Returns one line of ``/proc/meminfo``, KiB."""
    text = _read(proc / "meminfo")
    return None if text is None else _kb_line(text, name)


def load_1m(proc: Path = _PROC) -> float | None:
    """Returns the load average over one minute."""
    return _first_number(_read(proc / "loadavg"))


def machine_uptime_s(proc: Path = _PROC) -> int | None:
    """Returns the seconds since the machine started."""
    seconds = _first_number(_read(proc / "uptime"))
    return None if seconds is None else int(seconds)


def disk_bytes(folder: Path) -> tuple[int | None, int | None]:
    """Returns free and total bytes of the file system that ``folder`` is on."""
    try:
        system = os.statvfs(folder)
    except OSError:
        return None, None
    return system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize


def temperature_cel(sys: Path = _SYS) -> float | None:
    """Returns the hottest processor or SoC thermal zone, degrees Celsius.

    Other zones (batteries, radios) count only where none is named after the processor.
    """
    cpu: list[float] = []
    other: list[float] = []
    try:
        zones = sorted((sys / "class" / "thermal").glob("thermal_zone*"))
    except OSError:
        return None
    for zone in zones:
        number = _first_number(_read(zone / "temp"))
        if number is None:
            continue
        kind = (_read(zone / "type") or "").lower()
        (cpu if any(word in kind for word in ("cpu", "soc", "x86_pkg")) else other).append(number / 1000)
    return max(cpu or other, default=None)


def undervoltage(sys: Path = _SYS) -> dict[str, Fact]:
    """Returns whether a Raspberry Pi sees or saw too low a supply: 1, 0, or None where none tells."""
    text = _read(sys / "devices" / "platform" / "soc" / "soc:firmware" / "get_throttled")
    try:
        word = None if text is None else int(text.strip().removeprefix("throttled=").removeprefix("0x"), 16)
    except ValueError:
        word = None
    return {
        "undervoltage": None if word is None else word & 1,
        "undervoltage_since_boot": None if word is None else word >> 16 & 1,
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _kb_line(text: str, name: str) -> int | None:
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            words = rest.split()
            return int(words[0]) if words and words[0].isdigit() else None
    return None


def _first_number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text.split()[0])
    except (ValueError, IndexError):
        return None
