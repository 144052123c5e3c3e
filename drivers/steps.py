"""The records that say how one point's words become a value and a quality.

They are what a compiled plan carries: plain, frozen, comparable, and storable as lists and
dicts of primitives (``to_wire`` and ``from_wire``).  They are not profiles: a profile
(``drivers.profile``) is what a person writes, these are what the daemon runs.
``drivers.plan.compile_block`` turns them into a fast function.

A value of a point with integers on the wire is a *count* in units of ``resolution``, so no
float is made on the way: engineering value = count * resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from contracts.quality import CODES, INVALID, WITH_VALUE
from drivers.errors import PlanError
from drivers.words import FLOATS, REGISTERS, order_problem

Span = tuple[int, int]  # first register, number of registers

#: how a sentinel that is no ordinary number is spelled
SPECIAL_FLOATS = ("nan", "+inf", "-inf")


def take(data: Any, what: str, **kinds: tuple[type, ...]) -> dict[str, Any]:
    """Checks that ``data`` is a dict with exactly the given keys and kinds of value.

    Raises:
        PlanError: it is not; names the record and the key.
    """
    if not isinstance(data, Mapping):
        raise PlanError(f"{what} must be a map, not {type(data).__name__}")
    if set(data) != set(kinds):
        raise PlanError(f"{what} must have the keys {sorted(kinds)}, not {sorted(map(str, data))}")
    for key, allowed in kinds.items():
        value = data[key]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise PlanError(f"{what}.{key} is {value!r}")
    return dict(data)


_NONE = type(None)
_LIST = (list, tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRef:
    """A companion of a point: an integer elsewhere in the same block."""

    #: first register, counted from the start of the block (in a profile: the address)
    offset: int
    #: an integer type or a bit
    data_type: str
    byte_order: str | None = None
    #: bits kept, before the shift; ``None`` keeps all
    mask: int | None = None
    #: how far the kept bits are moved right
    shift: int = 0

    def __post_init__(self) -> None:
        problem = order_problem(self.data_type, self.byte_order)
        if problem is None and self.data_type in FLOATS:
            problem = f"a companion field must be an integer, not {self.data_type}"
        if problem is None and (self.offset < 0 or self.shift < 0):
            problem = "a companion field has a negative offset or shift"
        if problem is not None:
            raise PlanError(problem)

    @property
    def span(self) -> Span:
        """The registers that must be read for it."""
        return self.offset, REGISTERS[self.data_type]

    def moved(self, by: int) -> FieldRef:
        """The same field counted from elsewhere."""
        return replace(self, offset=self.offset + by)

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        return {
            "offset": self.offset,
            "type": self.data_type,
            "order": self.byte_order,
            "mask": self.mask,
            "shift": self.shift,
        }

    @classmethod
    def from_wire(cls, data: Any) -> FieldRef:
        """Inverse of ``to_wire``; raises PlanError."""
        kinds = {"offset": (int,), "type": (str,), "order": (str, _NONE), "mask": (int, _NONE), "shift": (int,)}
        got = take(data, "field", **kinds)
        return cls(
            offset=got["offset"], data_type=got["type"], byte_order=got["order"], mask=got["mask"], shift=got["shift"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A rule on a companion that turns into a quality code."""

    field: FieldRef
    #: ``enum`` and ``range``: first case with low <= raw <= high;  ``bits``: every bit low..high that is set
    kind: Literal["enum", "range", "bits"]
    #: (low, high, quality code)
    cases: tuple[tuple[int, int, int], ...]
    #: quality code where no case fits; for ``bits`` where no bit is set
    otherwise: int = INVALID

    def __post_init__(self) -> None:
        if self.kind not in ("enum", "range", "bits"):
            raise PlanError(f"gate kind {self.kind!r} is not known; enum, range, bits are")
        for low, high, code in (*self.cases, (0, 0, self.otherwise)):
            if low > high or code not in CODES:
                raise PlanError(f"gate case {low}..{high} -> {code} is not possible")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        cases = [list(case) for case in self.cases]
        return {"field": self.field.to_wire(), "kind": self.kind, "cases": cases, "otherwise": self.otherwise}

    @classmethod
    def from_wire(cls, data: Any) -> Gate:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(data, "gate", field=(Mapping,), kind=(str,), cases=_LIST, otherwise=(int,))
        cases = tuple(_integers(case, 3, "gate case") for case in got["cases"])
        return cls(
            field=FieldRef.from_wire(got["field"]),
            kind=got["kind"],
            cases=tuple((case[0], case[1], case[2]) for case in cases),
            otherwise=got["otherwise"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    """One raw value that stands for a state and not for a measurement."""

    #: before scaling; ``nan``, ``+inf`` and ``-inf`` by name
    raw: int | float | str
    #: quality code
    code: int

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise PlanError(f"sentinel code {self.code} is not known")
        if self.code in WITH_VALUE:
            raise PlanError(f"sentinel code {self.code} promises a number, and a sentinel has none")
        if isinstance(self.raw, str) and self.raw not in SPECIAL_FLOATS:
            raise PlanError(f"sentinel {self.raw!r} is not a number; {', '.join(SPECIAL_FLOATS)} are known by name")
        if isinstance(self.raw, float) and not math.isfinite(self.raw):
            raise PlanError("NaN and infinities are spelled as text in a sentinel")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecimalsFrom:
    """The number of decimals lives in a companion: count = raw * 10^(finest - decimals)."""

    field: FieldRef
    #: (raw of the companion, decimals); a raw that is not listed makes the point ``invalid``
    decimals: tuple[tuple[int, int], ...]
    #: decimals of the point's resolution, the largest there can be
    finest: int

    def __post_init__(self) -> None:
        for raw, decimals in self.decimals:
            if not 0 <= decimals <= self.finest:
                raise PlanError(f"decimals {decimals} (raw {raw}) are outside 0..{self.finest}")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        pairs = [list(pair) for pair in self.decimals]
        return {"field": self.field.to_wire(), "decimals": pairs, "finest": self.finest}

    @classmethod
    def from_wire(cls, data: Any) -> DecimalsFrom:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(data, "decimals_from", field=(Mapping,), decimals=_LIST, finest=(int,))
        pairs = tuple(_integers(pair, 2, "decimals") for pair in got["decimals"])
        return cls(
            field=FieldRef.from_wire(got["field"]),
            decimals=tuple((pair[0], pair[1]) for pair in pairs),
            finest=got["finest"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFrom:
    """The unit lives in a companion; any code but the accepted ones makes the point ``unit_mismatch``."""

    field: FieldRef
    #: raw codes that mean the configured unit
    accepted: tuple[int, ...]

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        return {"field": self.field.to_wire(), "accepted": list(self.accepted)}

    @classmethod
    def from_wire(cls, data: Any) -> UnitFrom:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(data, "unit_from", field=(Mapping,), accepted=_LIST)
        return cls(field=FieldRef.from_wire(got["field"]), accepted=_integers(got["accepted"], None, "accepted"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """The point is 1 where its raw number says so, else 0: an alarm bit, or a state among others."""

    #: ``bits``: any bit low..high is set;  ``range``: low <= raw <= high
    kind: Literal["bits", "range"]
    #: (low, high)
    cases: tuple[Span, ...]
    #: bits of the raw number that are kept, before the shift; ``None`` keeps all
    mask: int | None = None
    #: how far the kept bits are moved right
    shift: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("bits", "range"):
            raise PlanError(f"flag kind {self.kind!r} is not known; bits, range are")
        if not self.cases or any(low > high for low, high in self.cases) or self.shift < 0:
            raise PlanError(f"flag cases {self.cases!r} are not possible")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        cases = [list(case) for case in self.cases]
        return {"kind": self.kind, "cases": cases, "mask": self.mask, "shift": self.shift}

    @classmethod
    def from_wire(cls, data: Any) -> Flag:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(data, "flag", kind=(str,), cases=_LIST, mask=(int, _NONE), shift=(int,))
        cases = tuple(_integers(case, 2, "flag case") for case in got["cases"])
        pairs = tuple((case[0], case[1]) for case in cases)
        return cls(kind=got["kind"], cases=pairs, mask=got["mask"], shift=got["shift"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A companion that must go on changing; where it stands still the point is ``frozen`` (``drivers.heartbeat``)."""

    field: FieldRef
    #: it stands still when it has not changed for this long
    still_ms: int

    def __post_init__(self) -> None:
        if self.still_ms < 1:
            raise PlanError(f"no heartbeat stands still after {self.still_ms} ms")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        return {"field": self.field.to_wire(), "still_ms": self.still_ms}

    @classmethod
    def from_wire(cls, data: Any) -> Heartbeat:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(data, "heartbeat", field=(Mapping,), still_ms=(int,))
        return cls(field=FieldRef.from_wire(got["field"]), still_ms=got["still_ms"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerStep:
    """A write that must come before a read: the device measures on command."""

    #: 5, 6, 15 or 16
    function: int
    address: int
    #: as ``drivers.port.WriteRequest.values``
    values: tuple[int, ...]
    #: from the answer to the write, or its end where there is none, until the read
    wait_ms: int
    #: whether the device answers the write
    answered: bool

    def __post_init__(self) -> None:
        if self.function not in (5, 6, 15, 16) or not self.values or self.wait_ms < 0:
            raise PlanError(f"no trigger is function {self.function} with values {self.values!r}")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        write = {"function": self.function, "address": self.address, "values": list(self.values)}
        return {**write, "wait_ms": self.wait_ms, "answered": self.answered}

    @classmethod
    def from_wire(cls, data: Any) -> TriggerStep:
        """Inverse of ``to_wire``; raises PlanError."""
        kinds = {"function": (int,), "address": (int,), "values": _LIST, "wait_ms": (int,), "answered": (bool,)}
        got = take(data, "trigger", **kinds)
        got["values"] = _integers(got["values"], None, "trigger.values")
        return cls(**got)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointStep:
    """How one point is made from the words of a block."""

    #: profile-local name
    name: str
    #: first register, counted from the start of the block (in a profile: the address)
    offset: int
    data_type: str
    byte_order: str | None = None
    #: count = raw * multiply + add; both do nothing for floats
    multiply: int = 1
    add: int = 0
    #: engineering units per count; ``None`` for floats
    resolution: Fraction | None = Fraction(1)
    decimals_from: DecimalsFrom | None = None
    unit_from: UnitFrom | None = None
    sentinels: tuple[Sentinel, ...] = ()
    gates: tuple[Gate, ...] = ()
    #: what is physically possible, in counts (floats: in engineering units); ``None`` is open
    low: int | float | None = None
    high: int | float | None = None
    #: makes the point 0 or 1; nothing else of the number is used then
    flag: Flag | None = None
    heartbeat: Heartbeat | None = None

    def __post_init__(self) -> None:
        problem = order_problem(self.data_type, self.byte_order)
        if problem is None and (self.data_type in FLOATS) != (self.resolution is None):
            problem = "floats have no resolution, everything else has one"
        if problem is None and self.resolution is not None and self.resolution <= 0:
            problem = "resolution must be above 0"
        if (
            problem is None
            and self.data_type in FLOATS
            and (self.multiply, self.add, self.decimals_from) != (1, 0, None)
        ):
            problem = "floats are neither scaled nor shifted"
        if problem is None and self.flag is not None and not self._is_bare:
            problem = "a flag is an integer that is neither scaled nor bounded"
        if problem is None and self.offset < 0:
            problem = "negative offset"
        if problem is not None:
            raise PlanError(f"point {self.name}: {problem}")

    @property
    def _is_bare(self) -> bool:
        """Whether nothing is done to the raw number but a flag or gates."""
        if self.data_type in FLOATS or self.decimals_from is not None or self.unit_from is not None:
            return False
        scale = self.multiply, self.add, self.resolution
        return scale == (1, 0, Fraction(1)) and not self.sentinels and self.low is self.high is None

    @property
    def kind(self) -> Literal["int", "f32", "f64"]:
        """What the value is: a count, or a float of that width."""
        if self.data_type not in FLOATS:
            return "int"
        return "f64" if self.data_type == "f64" else "f32"

    @property
    def span(self) -> Span:
        """The registers of the value itself."""
        return self.offset, REGISTERS[self.data_type]

    @property
    def companions(self) -> tuple[FieldRef, ...]:
        """Fields that must come with the same reply."""
        fields = [gate.field for gate in self.gates]
        if self.unit_from is not None:
            fields.append(self.unit_from.field)
        if self.decimals_from is not None:
            fields.append(self.decimals_from.field)
        if self.heartbeat is not None:
            fields.append(self.heartbeat.field)
        return tuple(fields)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The registers of the value and of its companions."""
        return self.span, *(field.span for field in self.companions)

    def moved(self, by: int) -> PointStep:
        """The same point with itself and its companions counted from elsewhere."""
        unit, decimals, beat = self.unit_from, self.decimals_from, self.heartbeat
        return replace(
            self,
            offset=self.offset + by,
            gates=tuple(replace(gate, field=gate.field.moved(by)) for gate in self.gates),
            unit_from=None if unit is None else replace(unit, field=unit.field.moved(by)),
            decimals_from=None if decimals is None else replace(decimals, field=decimals.field.moved(by)),
            heartbeat=None if beat is None else replace(beat, field=beat.field.moved(by)),
        )

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan; the resolution becomes ``"numerator/denominator"``."""
        resolution = self.resolution
        return {
            "name": self.name,
            "offset": self.offset,
            "type": self.data_type,
            "order": self.byte_order,
            "multiply": self.multiply,
            "add": self.add,
            "resolution": None if resolution is None else f"{resolution.numerator}/{resolution.denominator}",
            "decimals_from": None if self.decimals_from is None else self.decimals_from.to_wire(),
            "unit_from": None if self.unit_from is None else self.unit_from.to_wire(),
            "sentinels": [[sentinel.raw, sentinel.code] for sentinel in self.sentinels],
            "gates": [gate.to_wire() for gate in self.gates],
            "low": self.low,
            "high": self.high,
            "flag": None if self.flag is None else self.flag.to_wire(),
            "heartbeat": None if self.heartbeat is None else self.heartbeat.to_wire(),
        }

    @classmethod
    def from_wire(cls, data: Any) -> PointStep:
        """Inverse of ``to_wire``; raises PlanError."""
        got = take(
            data,
            "point",
            name=(str,),
            offset=(int,),
            type=(str,),
            order=(str, _NONE),
            multiply=(int,),
            add=(int,),
            resolution=(str, _NONE),
            decimals_from=(Mapping, _NONE),
            unit_from=(Mapping, _NONE),
            sentinels=_LIST,
            gates=_LIST,
            low=(int, float, _NONE),
            high=(int, float, _NONE),
            flag=(Mapping, _NONE),
            heartbeat=(Mapping, _NONE),
        )
        decimals, unit, flag, beat = got["decimals_from"], got["unit_from"], got["flag"], got["heartbeat"]
        return cls(
            name=got["name"],
            offset=got["offset"],
            data_type=got["type"],
            byte_order=got["order"],
            multiply=got["multiply"],
            add=got["add"],
            resolution=_fraction(got["resolution"]),
            decimals_from=None if decimals is None else DecimalsFrom.from_wire(decimals),
            unit_from=None if unit is None else UnitFrom.from_wire(unit),
            sentinels=tuple(_sentinel(item) for item in got["sentinels"]),
            gates=tuple(Gate.from_wire(item) for item in got["gates"]),
            low=got["low"],
            high=got["high"],
            flag=None if flag is None else Flag.from_wire(flag),
            heartbeat=None if beat is None else Heartbeat.from_wire(beat),
        )


def resolution_text(resolution: Fraction) -> str:
    """Writes a resolution exactly: ``"0.01"`` where decimals can, else ``"numerator/denominator"``."""
    rest, twos, fives = resolution.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > 6:
        return f"{resolution.numerator}/{resolution.denominator}"
    scaled = str(resolution.numerator * 10**places // resolution.denominator).rjust(places + 1, "0")
    return f"{scaled[:-places]}.{scaled[-places:]}" if places else scaled


def _integers(data: Any, count: int | None, what: str) -> tuple[int, ...]:
    if not isinstance(data, (list, tuple)) or (count is not None and len(data) != count):
        raise PlanError(f"{what} is {data!r}")
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in data):
        raise PlanError(f"{what} must hold integers, not {data!r}")
    return tuple(data)


def _sentinel(data: Any) -> Sentinel:
    if not isinstance(data, (list, tuple)) or len(data) != 2:
        raise PlanError(f"sentinel is {data!r}")
    raw, code = data
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)) or type(code) is not int:
        raise PlanError(f"sentinel is {data!r}")
    return Sentinel(raw=raw, code=code)


def _fraction(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise PlanError(f"resolution {text!r} is not a fraction") from error
