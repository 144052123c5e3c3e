"""The profile model: one device type as one TOML file, checked strictly.

It is what a person writes and what ``check``, ``compile`` and the simulators read; the daemon
never imports it (it needs pydantic).  ``drivers.loader`` finds files and reports problems,
``drivers.profile_check`` sees what no part can see alone, ``drivers.build`` turns points into
plan steps.  The format follows what real devices need: scale and unit in other registers,
status that turns a number into no measurement, the instrument's own alarms, sentinels, small
block limits, registers that tell one model from its sister, and captured examples that are
run as tests.

Addresses are wire numbers (zero based), never 40001-style ones.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.quality import BY_REASON, WITH_VALUE
from drivers.profile_actions import AddressChange, LineChange, OutputProfile, TriggerProfile, WatchdogProfile
from drivers.profile_words import (
    Address,
    Baud,
    IntKey,
    Milliseconds,
    Model,
    Name,
    Names,
    Number,
    QualityWord,
    QuantityName,
    Resolution,
    TableName,
    Text,
    Unit,
    UnitId,
    Word,
)
from drivers.steps import SPECIAL_FLOATS
from drivers.words import FLOATS, REGISTERS, order_problem

#: what an alarm of the instrument means -> quantity of its point
OWN_QUANTITIES: dict[str, str] = {"alarm": "own-alarm", "warning": "own-warning", "fault": "own-fault"}


class Serial(Model):
    """Line settings as the maker ships the device."""

    baud: Baud = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    #: address as shipped; None where the source does not state one
    unit_id: UnitId | None = None
    #: what the unit can be set to; empty where the source does not say
    bauds: tuple[Baud, ...] = ()
    parities: tuple[Literal["none", "even", "odd"], ...] = ()
    #: address that any unit answers when it is alone on the line, whatever its own is
    any_unit_id: UnitId | None = None


class Area(Model):
    """Registers that must never be read."""

    table: TableName
    first: Address
    last: Address


class LimitsProfile(Model):
    """What one request may ask of this device, and how long it may think."""

    max_registers: Annotated[int, Field(ge=1, le=125)] = 125
    #: registers nobody asked for that one read may run over
    max_gap: Annotated[int, Field(ge=0, le=124)] = 0
    #: reads must start at a multiple of this
    start_multiple: Annotated[int, Field(ge=1, le=16)] = 1
    forbidden: tuple[Area, ...] = ()
    #: no reply comes later than this after its request
    max_reply_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    #: silence that the device wants between two requests to it
    min_request_gap_ms: Milliseconds = 0


class FieldProfile(Model):
    """A named register that is no point: a status, a unit code, a serial number."""

    table: TableName = "holding"
    address: Address
    #: an integer type, a bit, or ``string``
    type: str
    byte_order: str | None = None
    mask: Annotated[int, Field(ge=1)] | None = None
    shift: Annotated[int, Field(ge=0, le=63)] = 0
    #: registers of a string
    count: Annotated[int, Field(ge=1, le=125)] | None = None
    encoding: str = "ascii"
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> FieldProfile:
        if self.type == "string":
            if self.count is None:
                raise ValueError("a string needs count, its number of registers")
            if self.byte_order not in (None, "AB", "BA"):
                raise ValueError(f"byte order {self.byte_order!r} does not fit text; AB, BA do")
            return self
        problem = order_problem(self.type, self.byte_order)
        if problem is None and self.type in FLOATS:
            problem = "a field is an integer, a bit or a string; a float is a point"
        if problem is None and self.count is not None:
            problem = "count belongs to strings only"
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def registers(self) -> int:
        """How many registers (bits in bit tables) it takes."""
        return self.count if self.count is not None else REGISTERS[self.type]


class SentinelProfile(Model):
    """A raw value that is a state and no measurement."""

    raw: int | float | str
    code: QualityWord
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> SentinelProfile:
        if isinstance(self.raw, str) and self.raw not in SPECIAL_FLOATS:
            raise ValueError(f"raw {self.raw!r} is not a number; {', '.join(SPECIAL_FLOATS)} are known by name")
        if BY_REASON[self.code] in WITH_VALUE:
            raise ValueError(f"code {self.code!r} promises a number, and a sentinel has none")
        return self


class GateProfile(Model):
    """A rule on a field that turns into a quality; exactly one of enum, ranges and bits."""

    field: Name
    #: raw -> quality
    enum: dict[IntKey, QualityWord] | None = None
    #: [low, high, quality], both ends included
    ranges: tuple[tuple[int, int, QualityWord], ...] | None = None
    #: bit number -> quality where the bit is set
    bits: dict[IntKey, QualityWord] | None = None
    #: quality where nothing fits; default: bits ``ok``, else ``invalid``
    otherwise: QualityWord | None = None
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> GateProfile:
        if sum(rule is not None for rule in (self.enum, self.ranges, self.bits)) != 1:
            raise ValueError("a gate has exactly one of enum, ranges and bits")
        for low, high, _ in self.ranges or ():
            if low > high:
                raise ValueError(f"range {low}..{high} is upside down")
        for bit in self.bits or {}:
            if not 0 <= bit <= 63:
                raise ValueError(f"bit {bit} is outside 0..63")
        return self


class HeartbeatProfile(Model):
    """A register that goes on changing while the instrument measures."""

    field: Name
    #: a value beside one that has not changed for this long is ``frozen``
    still_s: Annotated[float, Field(ge=1, le=86_400)]


class UnitFromProfile(Model):
    """The unit is told by a field."""

    field: Name
    #: raw code -> UCUM unit; codes that are not listed never fit
    codes: dict[IntKey, Unit]


class DecimalsFromProfile(Model):
    """The number of decimals is told by a field."""

    field: Name
    #: raw code -> decimals
    codes: dict[IntKey, Annotated[int, Field(ge=0, le=9)]]


class Bounds(Model):
    """Two ends in the point's unit; an end that is left out is open."""

    low: Number | None = None
    high: Number | None = None

    @model_validator(mode="after")
    def _fits(self) -> Bounds:
        if self.low is not None and self.high is not None and Fraction(self.low) > Fraction(self.high):
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class PointProfile(Model):
    """One measured value."""

    names: Names
    quantity: QuantityName
    #: third part of the point key, where one quantity is measured more than once
    suffix: Name | None = None
    table: TableName = "holding"
    address: Address
    type: str
    byte_order: str | None = None
    #: engineering units per count; not for floats
    resolution: Resolution | None = None
    #: count = raw * multiply + add
    multiply: Annotated[int, Field(ge=1)] = 1
    add: int = 0
    #: unit as shipped
    unit: Unit
    #: other units that the instrument may be set to, where no field of the reply tells
    units: tuple[Unit, ...] = ()
    unit_from: UnitFromProfile | None = None
    decimals_from: DecimalsFromProfile | None = None
    sentinels: tuple[SentinelProfile, ...] = ()
    gates: tuple[GateProfile, ...] = ()
    heartbeat: HeartbeatProfile | None = None
    #: what the instrument can show, for catalogue and pages
    range: Bounds = Bounds()
    #: outside of this the value is ``implausible``
    plausible: Bounds = Bounds()
    interval_ms: Annotated[int, Field(ge=100, le=86_400_000)] = 1000
    #: silence beyond this is alarmed
    longest_silence_s: Annotated[float, Field(gt=0, le=604_800)] = 30.0
    #: trigger after which it is read; None: it can be read at any time
    trigger: Name | None = None
    #: read unless a site says otherwise
    default: bool = True
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> PointProfile:
        problem = order_problem(self.type, self.byte_order)
        if problem is None and self.type in FLOATS:
            if self.resolution is not None or self.decimals_from is not None or (self.multiply, self.add) != (1, 0):
                problem = "floats take no resolution, multiply, add or decimals_from"
        elif problem is None and self.resolution is None:
            problem = 'resolution is missing: write "1" where a count is the value'
        if problem is None and self.decimals_from is not None:
            finest = max(self.decimals_from.codes.values(), default=0)
            if Fraction(self.resolution or "1") != Fraction(1, 10**finest):
                problem = f"resolution must be the finest that decimals_from can give, {Fraction(1, 10**finest)}"
        if problem is None and self.unit_from is not None:
            if self.unit not in self.unit_from.codes.values():
                problem = f"unit {self.unit!r} has no code in unit_from"
            elif self.units:
                problem = "units are told by unit_from already"
        if problem is None and self.table in ("coil", "discrete") and self.type != "bit0":
            problem = f"a point of table {self.table} has type bit0"
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def key(self) -> str:
        """Last parts of the point key: ``quantity`` or ``quantity/suffix``."""
        return self.quantity if self.suffix is None else f"{self.quantity}/{self.suffix}"


class AlarmProfile(Model):
    """An alarm, warning or fault that the instrument itself reports: a point of 0 and 1."""

    names: Names
    field: Name
    #: exactly one of these three: any of these bits is set, or the raw number is one of these
    bits: tuple[Annotated[int, Field(ge=0, le=63)], ...] = ()
    values: tuple[int, ...] = ()
    #: [low, high], both ends included
    ranges: tuple[tuple[int, int], ...] = ()
    means: Literal["alarm", "warning", "fault"]
    #: step of an alarm, 1 the first
    level: Annotated[int, Field(ge=1, le=9)] | None = None
    #: ``active``: the condition stands now; ``latched``: stays until it is reset on the instrument;
    #: ``relay``: as the relay, so latched where the relay is set to latch
    shows: Literal["active", "latched", "relay"]
    #: a hint for whoever writes rules
    severity: Literal["red", "orange", "yellow", "blue", "info"] | None = None
    gates: tuple[GateProfile, ...] = ()
    heartbeat: HeartbeatProfile | None = None
    trigger: Name | None = None
    interval_ms: Annotated[int, Field(ge=100, le=86_400_000)] = 1000
    longest_silence_s: Annotated[float, Field(gt=0, le=604_800)] = 30.0
    default: bool = True
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> AlarmProfile:
        if sum(bool(rule) for rule in (self.bits, self.values, self.ranges)) != 1:
            raise ValueError("an alarm has exactly one of bits, values and ranges")
        for low, high in self.ranges:
            if low > high:
                raise ValueError(f"range {low}..{high} is upside down")
        if (self.level is not None) != (self.means == "alarm"):
            raise ValueError('level belongs to means = "alarm", and to nothing else')
        return self

    @property
    def cases(self) -> tuple[tuple[int, int], ...]:
        """(low, high) of what sets it: bit numbers, or raw numbers."""
        return self.ranges or tuple((item, item) for item in self.bits or self.values)


class AlarmPoint(PointProfile):
    """An alarm as the point that it becomes; made by ``Profile.all_points``, never written in a file."""

    alarm: AlarmProfile


class RecogniseProfile(Model):
    """One sign by which a device of this type is known."""

    field: Name
    #: exactly one of these four: numbers or texts, an interval, the address that was asked, the beginning of a text
    equals: tuple[int | str, ...] = ()
    between: tuple[int, int] | None = None
    own_address: bool = False
    starts: str = ""
    #: ``model``: no other device is known to say this; ``family``: sisters say it too; ``hint``: many may
    proves: Literal["model", "family", "hint"]
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> RecogniseProfile:
        if sum((bool(self.equals), self.between is not None, self.own_address, bool(self.starts))) != 1:
            raise ValueError("exactly one of equals, between, own_address and starts would be right")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError(f"between {self.between[0]} and {self.between[1]} is upside down")
        return self


class Expected(Model):
    """What an example must decode to."""

    #: exact number in the point's unit; left out where there is none
    value: Number | None = None
    quality: QualityWord = "ok"


class Example(Model):
    """Words of a unit, and what they mean."""

    name: Text
    #: whether the words were captured from a unit; False: worked out from the documented map
    captured: bool
    source: Text
    table: TableName = "holding"
    address: Address | None = None
    words: tuple[Word, ...] = ()
    #: instead of table, address and words: both frames of a serial line in hex, with their CRC
    request: str = ""
    reply: str = ""
    #: point -> unit that the site has configured, where it is not the default
    units: dict[str, Unit] = Field(default_factory=dict)
    #: point or alarm -> what comes out
    expect: dict[str, Expected]

    @model_validator(mode="after")
    def _fits(self) -> Example:
        has_words, has_frames = self.address is not None and bool(self.words), bool(self.request and self.reply)
        some_words, some_frames = self.address is not None or self.words, self.request or self.reply
        if not (has_words and not some_frames) and not (has_frames and not some_words):
            raise ValueError("an example has either address and words, or request and reply")
        return self


class Profile(Model):
    """One device type."""

    id: Name
    #: profile that this one was read over (``drivers.loader`` has merged them already)
    extends: Name | None = None
    names: Names
    maker: Text
    model: Text
    kind: Literal["gas", "pressure", "level", "acceleration", "temperature", "flow", "io", "other"]
    #: S1 maker's document, S2 third party's extract of it, S3 community, M memory
    confidence: Literal["S1", "S2", "S3", "M"]
    #: what it was compared with: nothing, frames captured from a unit, or a unit
    proved: Literal["nothing", "frames", "unit"] = "nothing"
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]
    notes: tuple[Text, ...] = ()
    serial: Serial = Serial()
    limits: LimitsProfile = LimitsProfile()
    fields: dict[Name, FieldProfile] = Field(default_factory=dict)
    points: Annotated[dict[Name, PointProfile], Field(min_length=1)]
    #: what the instrument itself reports; points of their own
    alarms: dict[Name, AlarmProfile] = Field(default_factory=dict)
    triggers: dict[Name, TriggerProfile] = Field(default_factory=dict)
    #: fields that tell one unit from another
    identity: tuple[Name, ...] = ()
    #: field that holds the unit's serial number
    serial_number: Name | None = None
    recognise: tuple[RecogniseProfile, ...] = ()
    outputs: dict[Name, OutputProfile] = Field(default_factory=dict)
    watchdog: WatchdogProfile | None = None
    address_change: AddressChange | None = None
    line_change: LineChange | None = None
    examples: tuple[Example, ...] = ()

    @property
    def all_points(self) -> dict[str, PointProfile]:
        """Points and alarms by name, alarms as the points that they become; one of an unknown field is left out."""
        found: dict[str, PointProfile] = dict(self.points)
        for name, alarm in self.alarms.items():
            field = self.fields.get(alarm.field)
            if field is not None and field.type != "string" and name not in found:
                found[name] = _alarm_point(name, alarm, field)
        return found


def _alarm_point(name: str, alarm: AlarmProfile, field: FieldProfile) -> AlarmPoint:
    # Its parts are checked already, and a site has many.
    return AlarmPoint.model_construct(
        names=alarm.names,
        quantity=OWN_QUANTITIES[alarm.means],
        suffix=name,
        table=field.table,
        address=field.address,
        type=field.type,
        byte_order=field.byte_order,
        resolution="1",
        unit="1",
        gates=alarm.gates,
        heartbeat=alarm.heartbeat,
        range=Bounds(low="0", high="1"),
        trigger=alarm.trigger,
        interval_ms=alarm.interval_ms,
        longest_silence_s=alarm.longest_silence_s,
        default=alarm.default,
        note=alarm.note,
        alarm=alarm,
    )
