"""The profile model: one device type as one TOML file, checked strictly.

It is what a person writes and what ``check``, ``compile`` and the simulators read; the daemon
never imports it (it needs pydantic).  ``drivers.loader`` finds files and reports problems,
``drivers.build`` turns points into plan steps.  The format follows what real devices need:
scale and unit in other registers, status that turns a number into no measurement, sentinels,
small block limits, and captured examples that are run as tests.

Addresses are wire numbers (zero based), never 40001-style ones.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.quality import BY_REASON, WITH_VALUE
from contracts.quantities import QUANTITIES
from contracts.units import UNITS
from drivers.plan import TABLES
from drivers.steps import SPECIAL_FLOATS
from drivers.words import FLOATS, REGISTERS, order_problem

NAME = r"^[a-z0-9-]{1,32}$"


def _one_of(word: str, known: dict[str, object] | frozenset[str], what: str) -> str:
    if word not in known:
        raise ValueError(f"{what} {word!r} is not known; known are {', '.join(sorted(known))}")
    return word


def _int_key(key: object) -> object:
    """Table keys are text in TOML: ``5``, ``0x11``."""
    if isinstance(key, str):
        try:
            return int(key, 0)
        except ValueError:
            raise ValueError(f"key {key!r} is not an integer") from None
    return key


def _fraction(text: str) -> str:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{text!r} is not an exact number; write "0.01" or "16/32768"') from None
    if value <= 0:
        raise ValueError(f"{text!r} is not above 0")
    return text


def _number(text: str) -> str:
    try:
        Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{text!r} is not an exact number; write "-0.5" or "100"') from None
    return text


def _number_text(value: object) -> object:
    """Numbers may be written bare; they are kept as exact text."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


IntKey = Annotated[int, BeforeValidator(_int_key)]
Resolution = Annotated[str, AfterValidator(_fraction)]
Number = Annotated[str, BeforeValidator(_number_text), AfterValidator(_number)]
Unit = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(UNITS), "unit"))]
QualityWord = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(BY_REASON), "quality"))]
QuantityName = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(QUANTITIES), "quantity"))]
TableName = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(TABLES), "table"))]
Address = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Names(_Model):
    """A name in both languages."""

    en: Text
    zh: Text


class Serial(_Model):
    """Line settings as the maker ships the device."""

    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    #: address as shipped; None where the source does not state one
    unit_id: Annotated[int, Field(ge=1, le=255)] | None = None


class Area(_Model):
    """Registers that must never be read."""

    table: TableName
    first: Address
    last: Address


class LimitsProfile(_Model):
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
    min_request_gap_ms: Annotated[int, Field(ge=0, le=60_000)] = 0


class FieldProfile(_Model):
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


class SentinelProfile(_Model):
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


class GateProfile(_Model):
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


class UnitFromProfile(_Model):
    """The unit is told by a field."""

    field: Name
    #: raw code -> UCUM unit; codes that are not listed never fit
    codes: dict[IntKey, Unit]


class DecimalsFromProfile(_Model):
    """The number of decimals is told by a field."""

    field: Name
    #: raw code -> decimals
    codes: dict[IntKey, Annotated[int, Field(ge=0, le=9)]]


class Bounds(_Model):
    """Two ends in the point's unit; an end that is left out is open."""

    low: Number | None = None
    high: Number | None = None

    @model_validator(mode="after")
    def _fits(self) -> Bounds:
        if self.low is not None and self.high is not None and Fraction(self.low) > Fraction(self.high):
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class PointProfile(_Model):
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
    #: what the instrument can show, for catalogue and pages
    range: Bounds = Bounds()
    #: outside of this the value is ``implausible``
    plausible: Bounds = Bounds()
    interval_ms: Annotated[int, Field(ge=100, le=86_400_000)] = 1000
    #: silence beyond this is alarmed
    longest_silence_s: Annotated[float, Field(gt=0, le=604_800)] = 30.0
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


class Expected(_Model):
    """What an example must decode to."""

    #: exact number in the point's unit; left out where there is none
    value: Number | None = None
    quality: QualityWord = "ok"


class Example(_Model):
    """Words of a unit, and what they mean."""

    name: Text
    #: whether the words were captured from a unit; False: worked out from the documented map
    captured: bool
    source: Text
    table: TableName = "holding"
    address: Address
    words: tuple[Annotated[int, Field(ge=0, le=65535)], ...]
    #: point -> unit that the site has configured, where it is not the default
    units: dict[str, Unit] = {}
    #: point -> what comes out
    expect: dict[str, Expected]


class Profile(_Model):
    """One device type."""

    id: Name
    names: Names
    maker: Text
    model: Text
    kind: Literal["gas", "pressure", "level", "acceleration", "temperature", "flow", "io", "other"]
    #: S1 maker's document, S2 third party's extract of it, S3 community, M memory
    confidence: Literal["S1", "S2", "S3", "M"]
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]
    notes: tuple[Text, ...] = ()
    serial: Serial = Serial()
    limits: LimitsProfile = LimitsProfile()
    fields: dict[Name, FieldProfile] = {}
    points: Annotated[dict[Name, PointProfile], Field(min_length=1)]
    #: fields that tell one unit from another
    identity: tuple[Name, ...] = ()
    examples: tuple[Example, ...] = ()


def cross_problems(profile: Profile) -> list[tuple[str, str]]:
    """Returns (key, message) for everything that no part of a profile can see alone."""
    found: list[tuple[str, str]] = []
    for name, point in profile.points.items():
        named = [(f"gates[{place}].field", gate.field) for place, gate in enumerate(point.gates)]
        if point.unit_from is not None:
            named.append(("unit_from.field", point.unit_from.field))
        if point.decimals_from is not None:
            named.append(("decimals_from.field", point.decimals_from.field))
        for key, field_name in named:
            problem = _companion_problem(profile, point, field_name)
            if problem is not None:
                found.append((f"points.{name}.{key}", problem))
        if point.address + REGISTERS[point.type] > 65536:
            found.append((f"points.{name}.address", "the value runs past address 65535"))
    keys = [point.key for point in profile.points.values()]
    for name, point in profile.points.items():
        if keys.count(point.key) > 1:
            found.append((f"points.{name}.suffix", f"another point has the key {point.key!r} too"))
    for place, field_name in enumerate(profile.identity):
        if field_name not in profile.fields:
            found.append((f"identity[{place}]", _unknown(field_name, profile.fields, "field")))
    for place, example in enumerate(profile.examples):
        for name in (*example.expect, *example.units):
            if name not in profile.points:
                found.append((f"examples[{place}].expect.{name}", _unknown(name, profile.points, "point")))
    return found


def _companion_problem(profile: Profile, point: PointProfile, name: str) -> str | None:
    field = profile.fields.get(name)
    if field is None:
        return _unknown(name, profile.fields, "field")
    if field.type == "string":
        return f"field {name!r} is text and cannot be judged"
    if field.table != point.table:
        return f"field {name!r} is in table {field.table}, the point in {point.table}: one read cannot bring both"
    return None


def _unknown(name: str, known: dict[str, FieldProfile] | dict[str, PointProfile], what: str) -> str:
    return f"{what} {name!r} is not defined; defined are {', '.join(known) or 'none'}"
