"""A small ext4 disk of its own in a loop device, which can be cut off, filled to the byte, or made read-only.

Needs root, loop devices and Debian's e2fsprogs and xfsprogs.  Where there are none a test is skipped with the
reason, and fails when ``CI=true``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.debian_tools import find_tool
from tests.system.rig import until

_MIB = 1024 * 1024
_OPTIONS = "loop,errors=remount-ro,noatime"


class LoopDisk:
    """An ext4 file system in an image file."""

    def __init__(self, folder: Path, size_mib: int = 24) -> None:
        """Makes the file system, with no block reserved for root; mounts nothing."""
        self.path = folder / "disk"
        self.path.mkdir()
        self._image = folder / "disk.img"
        self._xfs_io = find_tool("xfs_io")
        if os.geteuid() != 0:
            _impossible("mounting a loop device needs root")
        with self._image.open("wb") as image:
            image.truncate(size_mib * _MIB)
        _run(find_tool("mkfs.ext4"), "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0", str(self._image))
        self._is_mounted = False
        self._root: Path | None = None
        # Shared, so that other mount namespaces let go of the disk when it is unmounted here.
        try:
            _run("mount", "--bind", str(folder), str(folder))
            self._root = folder
            _run("mount", "--make-shared", str(folder))
        except OSError as error:
            self.close()
            _impossible(f"this machine does not let us mount: {error}")

    def mount(self) -> None:
        """Mounts it; an error of the disk makes it read-only, as on a gateway's card.

        Where it cannot be mounted everything is taken down again: who has made the disk may not have come to ``close``.
        """
        try:
            _run("mount", "-o", _OPTIONS, str(self._image), str(self.path))
        except OSError as error:
            self.close()
            _impossible(f"this machine does not let us mount: {error}")
        self._is_mounted = True
        try:
            if not self._is_alive():
                # A mount namespace that somebody made meanwhile still holds the file system that was cut off.
                until(self._is_fresh, "the end of the file system that was cut off", 60.0, 0.2)
        except BaseException:
            self.close()
            raise

    def _is_alive(self) -> bool:
        probe = self.path / ".probe"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def _is_fresh(self) -> bool:
        _run("umount", str(self.path))
        _run("mount", "-o", _OPTIONS, str(self._image), str(self.path))
        return self._is_alive()

    def unmount(self) -> None:
        """Unmounts it; safe to call twice."""
        if self._is_mounted:
            _run("umount", str(self.path))
            self._is_mounted = False

    def cut(self) -> None:
        """Cuts it off from what is not written yet, as a power cut does: every later write fails."""
        _run(self._xfs_io, "-x", "-c", "shutdown", str(self.path))

    def make_read_only(self) -> None:
        """Has the kernel find an error on it, upon which it becomes read-only."""
        (Path("/sys/fs/ext4") / self._device() / "trigger_fs_error").write_text("1")

    def make_writable(self) -> None:
        """Makes it writable again, as a person would after a look at it."""
        self.unmount()
        subprocess.run([find_tool("e2fsck"), "-p", str(self._image)], capture_output=True, check=False)
        self.mount()

    def fill(self) -> None:
        """Fills it to the last byte with a file ``junk``."""
        with (self.path / "junk").open("ab", buffering=0) as junk:
            for size in (_MIB, 65536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while junk.write(b"\xff" * size) == size:
                        pass
            os.fsync(junk.fileno())

    def empty(self) -> None:
        """Removes the junk."""
        (self.path / "junk").unlink()

    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """Unmounts it, whatever uses it; safe to call twice."""
        if self._is_mounted:
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
            self._is_mounted = False
        if self._root is not None:
            subprocess.run(["umount", "-l", str(self._root)], capture_output=True, check=False)
            self._root = None

    def _device(self) -> str:
        return os.path.basename(_run("findmnt", "-n", "-o", "SOURCE", str(self.path)).strip())


def _impossible(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI nothing is skipped")
    pytest.skip(reason)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except subprocess.CalledProcessError as error:
        raise OSError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout
