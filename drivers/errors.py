"""What can go wrong in this room, in few families.

Expected outcomes of a read (no reply, damaged frame, exception code) are values in
``drivers.port.ReadResult`` and never appear here.  Each class says who is at fault and
whether the same input can ever succeed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class DriverError(Exception):
    """Root of every error of this room."""


class DecodeError(DriverError, ValueError):
    """Words do not hold what the type or order asks for; the same words will fail again."""


class EncodeError(DriverError, ValueError):
    """A value does not fit the type, so no words stand for it; the same value will fail again."""


class RequestError(DriverError, ValueError):
    """A request that Modbus cannot carry was built; the caller is at fault."""


class PlanError(DriverError, ValueError):
    """A stored plan has another shape than this version writes; compile it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a profile."""

    #: file name, or the profile id where no file is known
    file: str
    #: dotted key, ``""`` for the file as a whole
    key: str
    #: what is wrong and what would be right
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.message}" if self.key else f"{self.file}: {self.message}"


class ProfileError(DriverError, ValueError):
    """A profile cannot be used; lists every problem at once and is cured by editing the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class LineError(DriverError):
    """A serial port cannot be used now; trying again later can help."""


class PortGone(LineError):
    """There is no such port (any more): an adapter was unplugged, or the name is wrong."""


class PortBusy(LineError):
    """Another program holds the port."""


class PortRefused(LineError):
    """The port is there, and this user may not open it or it does not take the settings."""
