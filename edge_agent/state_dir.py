"""Names of the files in an agent's state directory, and the lock that keeps a second agent out.

It is not where anything is read or written: each file belongs to the module named beside it.
The lock is ``flock`` on an open file, so it ends with the process however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

from edge_agent.errors import StateDirError

_LOG = logging.getLogger(__name__)

#: private key, mode 0600 (``contracts.keys``)
KEY = "key.pem"
#: sealed batches (``spool.py``)
SPOOL = "spool.db"
#: how the name of a file of recovered batches begins (``recovered.py``)
RECOVERED = "spool.recovered-"
#: the compiled plan (``plan_file.py``)
PLAN = "plan.bin"
#: Unix socket of the running agent (``control.py``)
CONTROL = "control.sock"
#: process id of the running agent; locked while it runs
LOCK = "agent.lock"


class StateDir:
    """One agent's directory, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def acquire(self) -> None:
        """Makes the directory (mode 0700) where there is none and takes its lock.

        Raises:
            StateDirError: it cannot be made or written, or another agent holds it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = _open_lock(self.path / LOCK)
        except OSError as error:
            raise unusable(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StateDirError(
                f"another agent (process {holder}) runs on {self.path}; stop it, or give this one another state_dir"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            # Full or read-only: the lock holds all the same, and monitoring does not wait for a disk.
            _LOG.error("%s: the process id cannot be noted: %s", self.path / LOCK, error.strerror)
        self._lock = descriptor

    def release(self) -> None:
        """Gives the lock back; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def give_to_owner(folder: Path, descriptor: int) -> None:
    """Makes an open file the folder's owner's: what root writes there the agent must be able to read.

    Raises:
        OSError: the system refuses.
    """
    if os.geteuid() == 0:
        owner = os.stat(folder)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        # A card that the kernel made read-only after an error: a restart there still polls and alarms.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def unusable(path: Path, error: OSError) -> StateDirError:
    """Returns the sentence for a directory or file that the system refuses to use."""
    reason = error.strerror or type(error).__name__
    return StateDirError(
        f"{error.filename or path}: {reason}; the agent needs a directory of its own that it can write"
    )
