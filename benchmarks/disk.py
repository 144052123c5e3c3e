"""Where the measured programs write, and how many bytes reached that disk.

A file system of its own in a loop device counts the bytes that the device wrote, the file system's journal
included, and nobody else's; that needs root and a loop device.  Without them the counts of the process are
taken (``/proc/PID/io``: pages made dirty, no journal) and the result says so.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.procfs import sectors_written, usage

_IMAGE_BYTES = 512 * 1024 * 1024


class OwnDisk:
    """An ext4 file system in an image file, mounted while it is used."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self._device = ""

    def __enter__(self) -> OwnDisk:
        """Makes and mounts it; raises OSError where the machine does not let us."""
        if os.geteuid() != 0:
            raise PermissionError("mounting a loop device needs root")
        with self._image.open("wb") as image:
            image.truncate(_IMAGE_BYTES)
        self.path.mkdir(exist_ok=True)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        _run("mount", "-o", "loop", str(self._image), str(self.path))
        self._device = os.path.basename(_run("losetup", "--noheadings", "-O", "NAME", "-j", str(self._image)).strip())
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.path))
        self._image.unlink()

    def written(self) -> int:
        """Returns the bytes written to the device since it was made, everything dirty first."""
        _run("sync", "-f", str(self.path))
        return sectors_written((Path("/sys/block") / self._device / "stat").read_text())


class ProcessWrites:
    """The stand-in where no device can be made: what one process made dirty."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def written(self) -> int:
        """Returns the bytes of pages that the process made dirty since its start."""
        return usage(self._pid).write_bytes


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except subprocess.CalledProcessError as error:
        raise OSError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout
