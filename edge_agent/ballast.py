"""A file that holds a few megabytes of the disk, so that they can be given back when it is full.

On a full disk SQLite cannot even delete: its log, or the file that the log is moved into, has
to grow first.  Giving the ballast back makes that possible once; half of it becomes free pages of the spool,
and from then on it lives inside its pages.  The ballast is made again when there is space.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

_LOG = logging.getLogger(__name__)
#: the log that may have to be moved into the file is some 2 MB long
SIZE = 4 * 1024 * 1024
#: the ballast is made only where this many times its size is free
_FREE_TIMES = 2


class Ballast:
    """Space beside the spool."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size

    @property
    def is_there(self) -> bool:
        """Whether the space is held."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def free_bytes(self) -> int | None:
        """Returns what is free on its disk; None where nobody can tell."""
        try:
            status = os.statvfs(self._path.parent)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def hold(self) -> bool:
        """Takes the space where there is plenty; returns whether it is held."""
        if self.is_there:
            return True
        free = self.free_bytes()
        if free is None or free < self._size * _FREE_TIMES:
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_back()
            return False
        return True

    def give_back(self) -> None:
        """Frees the space; safe where none is held."""
        with contextlib.suppress(OSError):
            self._path.unlink()
