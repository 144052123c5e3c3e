"""What is written to the card, and how long it lasts at that rate.  No judgement of the card itself.

``write_bytes`` of proc(5) ``/proc/self/io`` counts what this process caused to be written; the block
device's own ``stat`` (kernel document block/stat: field 7, sectors of 512 bytes) counts everybody's, with the
file system's journal, and is what wears the card.  ``life_time`` of an eMMC (JEDEC 84-B51, EXT_CSD
268 and 269, in steps of 10 %) is the card's own word; SD cards have no such file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Fact = float | int | str | None
_SECTOR = 512
_DAY_US = 86_400_000_000
#: a rate is told from here on (us): shorter, one checkpoint of the store decides it
_LEAST_US = 60_000_000


class Rate:
    """How fast a counter grows, over the last one to two windows."""

    def __init__(self, window_us: int = _DAY_US, least_us: int = _LEAST_US) -> None:
        self._window_us, self._least_us = window_us, least_us
        #: (monotonic us, count) at the beginning of this window and of the one before
        self._begins: list[tuple[int, float]] = []

    def per_s(self, now_us: int, count: float | None) -> float | None:
        """Takes the counter as it is now; returns its growth per second, None: not known yet."""
        if count is None:
            return None
        begins = self._begins
        if not begins or count < begins[-1][1]:
            # The first time, or the counter began anew.
            begins[:] = [(now_us, count)]
            return None
        if now_us - begins[-1][0] >= self._window_us:
            begins.append((now_us, count))
            del begins[:-2]
        since_us, before = begins[0]
        if now_us - since_us < self._least_us:
            return None
        return (count - before) / ((now_us - since_us) / 1e6)


class FlashLife:
    """The writes of one agent, and of the device that its state directory is on."""

    def __init__(self, folder: Path, *, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._device = block_device(folder, sys)
        self._own, self._all = Rate(), Rate()

    def facts(self, now_us: int, endurance_bytes: int) -> dict[str, Fact]:
        """Returns what health shows; None where this machine does not tell.

        Args:
            now_us: monotonic.
            endurance_bytes: what may be written in the card's life.
        """
        own, everybody = own_written_bytes(self._proc), device_written_bytes(self._device)
        own_day = _per_day(self._own.per_s(now_us, own))
        all_day = _per_day(self._all.per_s(now_us, everybody))
        wearing = own_day if all_day is None else all_day
        return {
            "written_bytes": own,
            "written_bytes_day": own_day,
            "card_written_bytes_day": all_day,
            "card_life_days": None if not wearing else round(endurance_bytes / wearing, 1),
            "card_life_used_percent": emmc_life_used(self._device),
        }


def block_device(folder: Path, sys: Path, device: Callable[[Path], int] | None = None) -> Path | None:
    """Returns the folder in ``/sys`` of the whole device that a folder is on; None: memory, network, overlay."""
    try:
        number = folder.stat().st_dev if device is None else device(folder)
    except OSError:
        return None
    place = sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
    if not (place / "stat").is_file():
        return None
    place = place.resolve()
    return place.parent if (place / "partition").is_file() else place


def own_written_bytes(proc: Path) -> int | None:
    """Returns the bytes that this process caused to be written to storage."""
    try:
        text = (proc / "self" / "io").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        name, _, number = line.partition(":")
        if name == "write_bytes" and number.strip().isdigit():
            return int(number)
    return None


def device_written_bytes(device: Path | None) -> int | None:
    """Returns the bytes written to a block device since the machine started."""
    if device is None:
        return None
    try:
        return int((device / "stat").read_text().split()[6]) * _SECTOR
    except (OSError, ValueError, IndexError):
        return None


def emmc_life_used(device: Path | None) -> int | None:
    """Returns how much of an eMMC's life is used at most, percent in steps of 10, by its own word."""
    if device is None:
        return None
    try:
        steps = [int(word, 16) for word in (device / "device" / "life_time").read_text().split()]
    except (OSError, ValueError):
        return None
    # 0: not defined; 1: up to 10 % used ... 11: beyond its life.
    return max(steps) * 10 if steps and max(steps) > 0 else None


def _per_day(per_s: float | None) -> int | None:
    return None if per_s is None else round(per_s * 86_400)
