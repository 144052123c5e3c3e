"""What a plan says about the local annunciator: which outputs it drives, and how each is switched and read back.

Plain records for the daemon; the site file's ``[annunciator]`` becomes this in ``site_annunciator``.  A plan
without one drives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.fields import U32, Fields
from edge_agent.errors import PlanError

BEACON, SOUNDER, ALIVE = "beacon", "sounder", "alive"
ROLES = frozenset({BEACON, SOUNDER, ALIVE})
SEVERITIES = frozenset({"red", "orange", "yellow", "blue", "info"})
#: how an alive output drops by itself: the board's timed pulse, or its watchdog
PULSE, WATCHDOG = "pulse", "watchdog"
_DROPS = frozenset({"", PULSE, WATCHDOG})
#: an output that was switched on stays on for so long (seconds)
LEAST_ON_S = 5.0
#: an output that should be on is read back again so often, one that should be off ...
LOOK_ON_S, LOOK_S = 10.0, 60.0
#: no two slow tries of a board that fails are closer
LEAST_S = 5.0
_FUNCTIONS = frozenset({5, 6, 15, 16})
_TABLES = frozenset({"holding", "input", "coil", "discrete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteStep:
    """One write, as it goes to the device."""

    #: 5, 6, 15 or 16
    function: int
    address: int
    #: as ``drivers.port.WriteRequest`` takes them
    values: tuple[int, ...]

    def to_wire(self) -> list[Any]:
        return [self.function, self.address, list(self.values)]

    @classmethod
    def from_wire(cls, value: Any) -> WriteStep:
        f = Fields("write", value, 3)
        function, address, values = f.integer("function", 5, 16), f.integer("address", 0, 65535), f.items("values", 8)
        if function not in _FUNCTIONS or any(type(item) is not int or not 0 <= item <= 65535 for item in values):
            raise PlanError("annunciator.write: no write has this form")
        return cls(function=function, address=address, values=tuple(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """Where an output's state is read, in the request by which its point is polled too."""

    table: str
    address: int
    count: int
    #: of the word in the reply
    offset: int
    #: of the word; -1: the whole word counts
    bit: int
    #: words that say on, and off
    on: tuple[int, ...]
    off: tuple[int, ...]

    def state(self, words: tuple[int, ...]) -> bool | None:
        """Returns whether the output is on; None: the word says neither."""
        word = words[self.offset]
        if self.bit >= 0:
            word = word >> self.bit & 1
        return True if word in self.on else False if word in self.off else None

    def to_wire(self) -> list[Any]:
        return [self.table, self.address, self.count, self.offset, self.bit, list(self.on), list(self.off)]

    @classmethod
    def from_wire(cls, value: Any) -> ReadBack:
        f = Fields("readback", value, 7)
        table, address = f.choice("table", _TABLES), f.integer("address", 0, 65535)
        count = f.integer("count", 1, 2000)
        offset = f.integer("offset", 0, count - 1)
        bit = f.integer("bit", -1, 15)
        return cls(
            table=table,
            address=address,
            count=count,
            offset=offset,
            bit=bit,
            on=tuple(f.items("on", 4)),
            off=tuple(f.items("off", 4)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPlan:
    """One output of one device, and what it is for."""

    #: ``device/output``, as the site file names it
    name: str
    role: str
    #: index into ``Plan.devices``
    device: int
    on: WriteStep
    off: WriteStep
    #: of a beacon or sounder always there
    readback: ReadBack | None
    #: ``alive``: ``pulse`` or ``watchdog``
    drops_by: str = ""
    #: ``alive``: so long after the last renewal it drops, s
    hold_s: float = 0.0

    @property
    def renew_s(self) -> float:
        """How often an alive output is renewed: two renewals may be lost."""
        return self.hold_s / 3

    def to_wire(self) -> list[Any]:
        readback = None if self.readback is None else self.readback.to_wire()
        what = [self.name, self.role, self.device, self.on.to_wire(), self.off.to_wire(), readback]
        return [*what, self.drops_by, self.hold_s]

    @classmethod
    def from_wire(cls, value: Any, devices: int) -> OutputPlan:
        f = Fields("output", value, 8)
        name, role = f.text("name", 128), f.choice("role", ROLES)
        device = f.integer("device", 0, devices - 1)
        on, off, readback = WriteStep.from_wire(f.raw()), WriteStep.from_wire(f.raw()), f.raw()
        return cls(
            name=name,
            role=role,
            device=device,
            on=on,
            off=off,
            readback=None if readback is None else ReadBack.from_wire(readback),
            drops_by=f.choice("drops_by", _DROPS),
            hold_s=f.number("hold_s"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnunciatorPlan:
    """The beacon and sounder of one gateway."""

    outputs: tuple[OutputPlan, ...]
    #: of the alarms that drive it
    severities: tuple[str, ...]
    #: days from one proof test to the next; 0: none is due
    proof_test_days: int = 0

    def to_wire(self) -> list[Any]:
        return [[output.to_wire() for output in self.outputs], list(self.severities), self.proof_test_days]

    @classmethod
    def from_wire(cls, value: Any, devices: int) -> AnnunciatorPlan:
        f = Fields("annunciator", value, 3)
        outputs = tuple(OutputPlan.from_wire(item, devices) for item in f.items("outputs", 64))
        severities = tuple(f.items("severities", 5))
        if not SEVERITIES.issuperset(severities):
            raise PlanError("annunciator.severities: one is not known")
        return cls(outputs=outputs, severities=severities, proof_test_days=f.integer("proof_test_days", 0, U32))
