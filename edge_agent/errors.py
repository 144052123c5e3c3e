"""What can go wrong in the agent, in few families.

Each class says who is at fault and whether the same input can succeed later.  A command
turns every one of them into one or more sentences and an exit status; none is shown as a
traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class EdgeError(Exception):
    """Root of every error of this room."""

    #: exit status of a command that ends with it: 1 failed, 2 bad input
    exit_status = 1


class ConfigError(EdgeError, ValueError):
    """A configuration is refused; holds every reason, and is cured by editing the file."""

    exit_status = 2

    def __init__(self, problems: Iterable[str]) -> None:
        #: one line each, ``FILE: key.path: what is wrong; what would be right``
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class PlanError(EdgeError, ValueError):
    """A stored plan is damaged or of another version; compiling it anew cures it."""


class StateDirError(EdgeError):
    """The state directory cannot be used: not there, not writable, full, or held by another agent."""


class ControlError(EdgeError):
    """The running agent refused a request, or did not answer it."""

    def __init__(self, message: str, *, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class NotRunningError(ControlError):
    """No agent runs on this state directory; starting one cures it."""


class SpoolError(EdgeError):
    """The store of sealed batches cannot be opened, read or written; it may answer again later."""


class TlsError(EdgeError, OSError):
    """The broker's certificate does not fit the time, or the file that it is checked against cannot be used."""


class ToolError(EdgeError):
    """A tool cannot go on: the port is not there, is held by somebody else, or cannot do what is asked."""
