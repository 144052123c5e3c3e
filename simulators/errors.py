"""What can go wrong in this room.

All of it is the user's or the machine's to cure; nothing here is a device that misbehaves,
because a device that misbehaves is what a simulator is for.
"""

from __future__ import annotations

from collections.abc import Iterable


class SimulatorError(Exception):
    """Root of every error of this room; its text is a sentence for a person."""


class ImageError(SimulatorError, ValueError):
    """A value or state that the device's registers cannot show; the same input will fail again."""


class SignalError(SimulatorError, ValueError):
    """A signal with an impossible parameter; cured by editing the scenario or command."""


class FileError(SimulatorError, ValueError):
    """A plant or scenario file cannot be used; lists every problem, each with its key."""

    def __init__(self, source: str, problems: Iterable[tuple[str, str]]) -> None:
        self.source = source
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        lines = (f"{source}: {key}: {text}" if key else f"{source}: {text}" for key, text in self.problems)
        super().__init__("\n".join(lines))


class PortInUse(SimulatorError):
    """An address that the simulator should listen on belongs to another program."""


class ControlError(SimulatorError):
    """The running simulator cannot be reached, or it refused a command and said why."""


class DemoError(SimulatorError):
    """The demo cannot start or go on; ``status`` is the exit status of the command."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
