"""What may be written to a device, as data: triggers, addresses and line settings, outputs, the watchdog.

Part of the profile model (``drivers.profile``); needs pydantic, so not for the daemon.  Nothing
here writes.  ``drivers.numbering`` turns address and line changes into steps for
``edge-agent number``, ``drivers.build`` turns triggers into steps of a block, and outputs are
for a person who uses ``edge-agent write-register``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drivers.profile_words import Address, IntKey, Milliseconds, Model, Name, Names, TableName, UnitId, Word

#: function that writes one element of a table
WRITE_ONE: dict[str, int] = {"coil": 5, "holding": 6}
_EXPRESSION = re.compile(
    r"(?:(?P<base>0[xX][0-9a-fA-F]+|[0-9]+)\s*\|\s*)?\{(?P<name>[a-z_]+)\}(?:\s*<<\s*(?P<shift>[0-9]{1,2}))?"
)
#: what a text among the values may name
ADDRESS_NAMES = frozenset({"new", "old"})
LINE_NAMES = frozenset({"baud", "parity", "stop_bits"})


def expression(text: str) -> tuple[int, str, int] | None:
    """Returns (base, name, shift) of ``base | {name} << shift``; ``None`` where it has another form."""
    found = _EXPRESSION.fullmatch(text.strip())
    if found is None:
        return None
    return int(found["base"] or "0", 0), found["name"], int(found["shift"] or "0")


def _known_expression(value: int | str) -> int | str:
    if isinstance(value, str):
        parts = expression(value)
        names = ADDRESS_NAMES | LINE_NAMES
        if parts is None or parts[1] not in names:
            known = ", ".join(f"{{{name}}}" for name in sorted(names))
            raise ValueError(f'{value!r} is no value; write a number, one of {known}, or "0x2400 | {{new}} << 8"')
        if parts[0] > 65535 or parts[2] > 15:
            raise ValueError(f"{value!r} does not fit a register")
    elif not 0 <= value <= 65535:
        raise ValueError(f"{value} does not fit a register; 0 to 65535 do")
    return value


Value = Annotated[int | str, AfterValidator(_known_expression)]
WriteFunction = Literal[5, 6, 15, 16]


def _values_problem(function: int, count: int) -> str | None:
    if function in (5, 6) and count != 1:
        return f"function {function} writes one value, {count} are given"
    return None


class TriggerProfile(Model):
    """A write that makes the device measure; what it measured is read after a wait."""

    function: WriteFunction = 6
    address: Address
    #: registers 0..65535; of function 5 the word itself (0xFF00 is on), of function 15 0 and 1
    values: Annotated[tuple[Word, ...], Field(min_length=1, max_length=8)]
    #: from the answer to the write, or its end where there is none, until the read
    wait_ms: Milliseconds
    #: whether the device answers this write
    answered: bool = True
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> TriggerProfile:
        problem = _values_problem(self.function, len(self.values))
        if problem is not None:
            raise ValueError(problem)
        return self


class ChangeStep(Model):
    """One write of the maker's sequence."""

    does: Literal["unlock", "address", "line", "save", "restart"]
    function: WriteFunction = 6
    address: Address
    values: Annotated[tuple[Value, ...], Field(min_length=1, max_length=8)]
    #: which address it is sent to
    to: Literal["old", "new", "broadcast"] = "old"
    #: which address answers; left out: the one it was sent to, and nobody where that is the broadcast
    answered_by: Literal["old", "new", "either", "none"] | None = None
    #: pause after it
    wait_ms: Milliseconds = 0
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> ChangeStep:
        problem = _values_problem(self.function, len(self.values))
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def names(self) -> frozenset[str]:
        """The names that its values use."""
        parts = (expression(value) for value in self.values if isinstance(value, str))
        return frozenset(part[1] for part in parts if part is not None)


class AddressChange(Model):
    """How a unit gets another address."""

    #: addresses that it takes
    first: UnitId = 1
    last: UnitId = 247
    steps: Annotated[tuple[ChangeStep, ...], Field(min_length=1, max_length=16)]
    #: the new address counts only after the supply was off
    needs_power_cycle: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> AddressChange:
        if self.first > self.last:
            raise ValueError(f"first {self.first} is above last {self.last}")
        _check_names(self.steps, ADDRESS_NAMES, "new")
        return self


class LineChange(Model):
    """How a unit gets another baud rate or parity."""

    #: baud -> what is written for it
    bauds: Annotated[dict[IntKey, Word], Field(min_length=1)]
    #: parity -> what is written for it
    parities: dict[Literal["none", "even", "odd"], Word] = Field(default_factory=dict)
    #: stop bits -> what is written for it
    stop_bits: dict[IntKey, Word] = Field(default_factory=dict)
    steps: Annotated[tuple[ChangeStep, ...], Field(min_length=1, max_length=16)]
    #: the new setting counts only after the supply was off
    needs_power_cycle: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> LineChange:
        _check_names(self.steps, LINE_NAMES, "baud")
        used = {name for step in self.steps for name in step.names}
        for name, codes in (("parity", self.parities), ("stop_bits", self.stop_bits)):
            if (name in used) != bool(codes):
                raise ValueError(f"{{{name}}} in a step and its codes belong together; one of them is missing")
        return self


def _check_names(steps: tuple[ChangeStep, ...], allowed: frozenset[str], needed: str) -> None:
    used = {name for step in steps for name in step.names}
    if used - allowed:
        raise ValueError(f"{{{min(used - allowed)}}} means nothing here; {', '.join(sorted(allowed))} do")
    if needed not in used:
        raise ValueError(f"no step writes {{{needed}}}, so nothing would change")


class PulseProfile(Model):
    """A command after which the device itself switches the output back."""

    #: 5: the count stands where a coil's on and off do, as on some relay boards
    function: Literal[5, 6, 16] = 6
    address: Address
    #: added to the count, as a command code in the high byte is (0x0600)
    add: Word = 0
    #: length of one count
    count_ms: Annotated[int, Field(ge=1, le=60_000)]
    #: most counts that it takes
    most: Annotated[int, Field(ge=1, le=65535)]
    #: word that precedes the count (function 16), as a command byte does on many boards
    before: tuple[Word, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> PulseProfile:
        if self.before and self.function != 16:
            raise ValueError("words before the count need function 16")
        if self.add + self.most > 65535:
            raise ValueError(f"add {self.add} and most {self.most} do not fit one register together")
        return self


class SafeProfile(Model):
    """A register that says what an output does when the watchdog ends or the supply returns."""

    table: TableName = "holding"
    address: Address
    off: Word = 0
    on: Word = 1
    #: leaves the output as it is; None where the device cannot
    keep: Word | None = None


class OutputProfile(Model):
    """One relay or digital output; nothing in the agent switches it by itself."""

    names: Names
    table: Literal["coil", "holding"]
    address: Address
    #: what switches it on and off; a coil takes 1 and 0
    on: Word = 1
    off: Word = 0
    #: default: 5 for a coil, 6 for a holding register
    function: WriteFunction | None = None
    #: point that shows 1 (or ``on``) while it is on
    readback: Name | None = None
    pulse: PulseProfile | None = None
    safe: SafeProfile | None = None
    #: where the device itself says so: what it drives that no annunciator may switch; empty: whatever is wired to it
    drives: Literal["", "valve", "fan", "pump", "gate"] = ""
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> OutputProfile:
        if self.on == self.off:
            raise ValueError(f"on and off are both {self.on}")
        if self.table == "coil" and (self.on, self.off) not in ((1, 0), (0, 1)):
            raise ValueError("a coil takes 1 and 0")
        if self.function is not None and (self.function in (5, 15)) != (self.table == "coil"):
            raise ValueError(f"function {self.function} does not write to table {self.table}")
        return self

    @property
    def write_function(self) -> int:
        """The function that switches it."""
        return self.function if self.function is not None else WRITE_ONE[self.table]


class WatchdogProfile(Model):
    """A timer in the device that takes its outputs to their safe state when nobody talks to it."""

    table: Literal["holding"] = "holding"
    address: Address
    #: length of one count
    count_ms: Annotated[int, Field(ge=1, le=60_000)]
    #: value that switches it off
    off: Word = 0
    #: which requests start it again
    fed_by: Literal["any", "write"]
    note: str = ""
