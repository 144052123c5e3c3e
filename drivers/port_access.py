"""Who may use a port and who does: read from the file system, nothing is opened or locked.

For the holders two sources.  ``/proc/locks`` names the holder of an advisory lock (flock) to everybody;
``/proc/N/fd`` shows every open file, but of other users' programs only to root.  Where neither can
tell, that is said.  Programs in another container are never seen.
"""

from __future__ import annotations

import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A program that has a port open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who has a port open, as far as this user may see."""

    found: tuple[Holder, ...]
    #: some programs' open files may not be seen by this user
    is_blind: bool

    def __str__(self) -> str:
        if self.found:
            return " and ".join(map(str, self.found))
        return "another program that this user may not see" if self.is_blind else "another program"


def holders_of(path: str | Path, *, proc: Path = Path("/proc")) -> Holders:
    """Returns the programs that have a device file open, or a lock on it, by process number."""
    device = os.path.realpath(path)
    pids, is_blind = _lock_holders(device, proc), False
    for entry in _numbered(proc):
        folder = proc / entry / "fd"
        try:
            opened = [os.readlink(folder / name) for name in os.listdir(folder)]
        except PermissionError:
            is_blind = True
            continue
        except OSError:
            continue  # it ended while we looked
        if device in opened:
            pids.add(int(entry))
    return Holders(found=tuple(Holder(pid=pid, name=_name(proc, pid)) for pid in sorted(pids)), is_blind=is_blind)


def group_of(path: str | Path) -> str | None:
    """Returns the group whose members may read and write a device file; ``None`` where no group may."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) != stat.S_IRGRP | stat.S_IWGRP:
        return None
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return str(status.st_gid)


def why_refused(path: str, group: str | None) -> str:
    """Says why this user may not open a port, and the one command that cures it."""
    if group is None:
        return f'{path} may be opened by no group; a udev rule with GROUP="dialout", MODE="0660" would be right'
    if group == "root":
        return f'{path} belongs to group root; a udev rule with GROUP="dialout" would be right'
    return f"{path} belongs to group {group}; run `sudo usermod -aG {group} $USER` and log in again"


def _numbered(proc: Path) -> list[str]:
    try:
        return [name for name in os.listdir(proc) if name.isdecimal()]
    except OSError:
        return []


def _lock_holders(device: str, proc: Path) -> set[int]:
    """Process numbers of the locks on a file; a line is ``1: FLOCK ADVISORY WRITE 77 00:05:123 0 EOF``."""
    try:
        status, lines = os.stat(device), (proc / "locks").read_text().splitlines()
    except OSError:
        return set()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    fields = [line.split() for line in lines if "->" not in line]  # an arrow marks one who waits
    return {int(parts[4]) for parts in fields if len(parts) > 5 and parts[5] == place and parts[4].isdecimal()}


def _name(proc: Path, pid: int) -> str:
    """The program's name; of an interpreter the script or module that it runs."""
    try:
        name = (proc / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a program"
    if not name.startswith("python"):
        return name
    try:
        words = (proc / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return name
    script = next((word for word in words[1:] if word and not word.startswith("-")), "")
    return f"{name} {os.path.basename(script)}" if script else name
