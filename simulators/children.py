"""Child processes of the demo: started in groups of their own, logged to files, stopped for certain.

Only processes that were started here are ever signalled.  A child is told to end (SIGTERM) when the demo
itself is killed, so that none is left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from simulators.errors import DemoError

#: how many of its last log lines are shown when a child has died
LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """One program with its log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Starts it; raises DemoError when it cannot be."""
        self.name = name
        self.log = log
        library = ctypes.CDLL(None)
        parent = os.getpid()

        def end_with_parent() -> None:
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                    preexec_fn=end_with_parent,  # noqa: PLW1509 - the demo has one thread
                )
        except OSError as error:
            raise DemoError(f"cannot start {name}: {error.strerror or error}") from error

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._process.pid

    def check(self) -> None:
        """Raises DemoError with the last log lines when the process has ended."""
        status = self._process.poll()
        if status is not None:
            lines = "\n".join(f"    {line}" for line in last_lines(self.log))
            raise DemoError(f"{self.name} ended by itself (status {status}); the end of {self.log}:\n{lines}")

    def stop(self, timeout_s: float = 10.0) -> None:
        """Asks the process to end, waits, and ends its whole group if it does not; safe to call twice."""
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass  # it is killed below
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nothing of the group is left
        self._process.wait()


def last_lines(log: Path, count: int = LINES_SHOWN) -> list[str]:
    """Returns the end of a log file."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []
