"""Blocks to read, and the fast function that turns a block's words into values and qualities.

A block is what one request asks.  ``compile_block`` does all looking-up once, because its
result runs for every reply: one ``struct`` pass over the whole block, then only the points
that need more than that pass.  Order of judging, worst first to win (missing, bad, uncertain
without a number, uncertain with one, good; among equals the first): gates as listed, unit,
then the number itself: sentinels and NaN, decimals, plausibility.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.quality import (
    CODES,
    GOOD,
    IMPLAUSIBLE,
    INVALID,
    NOT_A_NUMBER,
    UNIT_MISMATCH,
    WITH_VALUE,
    Quality,
)
from drivers.decode import decode_string, decode_words
from drivers.errors import PlanError
from drivers.extract import Raw, RawRef, compile_extractor, picker
from drivers.steps import (
    DecimalsFrom,
    FieldRef,
    Flag,
    Gate,
    Heartbeat,
    PointStep,
    Sentinel,
    TriggerStep,
    UnitFrom,
    resolution_text,
    take,
)
from drivers.words import FLOATS

__all__ = [
    "TABLES",
    "BlockRead",
    "DecimalsFrom",
    "FieldRef",
    "Flag",
    "Gate",
    "Heartbeat",
    "IdentityRead",
    "PointStep",
    "Sentinel",
    "TriggerStep",
    "UnitFrom",
    "compile_block",
    "read_identity",
    "resolution_text",
    "worse",
]

Value = int | float | None
Decoded = tuple[tuple[Value, ...], tuple[int, ...] | None]
BlockDecoder = Callable[[Sequence[int]], Decoded]

#: table -> most elements that one request may ask (Modbus Application Protocol V1.1b3, section 6)
TABLES: dict[str, int] = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}

_WORST = {Quality.GOOD: 0, Quality.UNCERTAIN: 1, Quality.BAD: 3, Quality.MISSING: 4}
#: quality code -> how bad; uncertain without a number is worse than uncertain with one
_RANK = {
    code: _WORST[item.quality] + (item.quality is Quality.UNCERTAIN and not item.has_value)
    for code, item in CODES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRead:
    """What one request reads, and the points in its reply."""

    table: str
    #: first address on the wire
    address: int
    #: registers, or bits
    count: int
    interval_ms: int
    #: offsets are counted from ``address``
    points: tuple[PointStep, ...]
    #: write that must come before each read of this block, or ``None``
    trigger: TriggerStep | None = None

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise PlanError(f"table {self.table!r} is not known; {', '.join(TABLES)} are")
        if not 1 <= self.count <= TABLES[self.table] or self.address < 0 or self.address + self.count > 65536:
            raise PlanError(f"no request can read {self.count} of {self.table} at {self.address}")
        if self.interval_ms < 1:
            raise PlanError(f"interval of {self.interval_ms} ms is not possible")
        for point in self.points:
            for offset, length in point.spans:
                if offset < 0 or offset + length > self.count:
                    raise PlanError(f"point {point.name} needs {offset}..{offset + length - 1} of {self.count}")

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        return {
            "table": self.table,
            "address": self.address,
            "count": self.count,
            "interval_ms": self.interval_ms,
            "points": [point.to_wire() for point in self.points],
            "trigger": None if self.trigger is None else self.trigger.to_wire(),
        }

    @classmethod
    def from_wire(cls, data: Any) -> BlockRead:
        """Inverse of ``to_wire``.

        Raises:
            PlanError: names the record and key that has another shape.
        """
        got = take(
            data,
            "block",
            table=(str,),
            address=(int,),
            count=(int,),
            interval_ms=(int,),
            points=(list, tuple),
            trigger=(Mapping, type(None)),
        )
        trigger = got["trigger"]
        got["points"] = tuple(PointStep.from_wire(item) for item in got["points"])
        got["trigger"] = None if trigger is None else TriggerStep.from_wire(trigger)
        return cls(**got)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRead:
    """One register field that tells which unit answers, such as its serial number."""

    #: profile-local field name
    name: str
    table: str
    address: int
    count: int
    #: an integer type, or ``string``
    data_type: str
    byte_order: str | None = None
    #: of a string
    encoding: str = "ascii"
    #: bits of a number that are kept, before the shift; ``None`` keeps all
    mask: int | None = None
    #: how far the kept bits are moved right
    shift: int = 0

    def to_wire(self) -> dict[str, Any]:
        """Plain form for a stored plan."""
        return {
            "name": self.name,
            "table": self.table,
            "address": self.address,
            "count": self.count,
            "data_type": self.data_type,
            "byte_order": self.byte_order,
            "encoding": self.encoding,
            "mask": self.mask,
            "shift": self.shift,
        }

    @classmethod
    def from_wire(cls, data: Any) -> IdentityRead:
        """Inverse of ``to_wire``; raises PlanError."""
        none = type(None)
        got = take(
            data,
            "identity",
            name=(str,),
            table=(str,),
            address=(int,),
            count=(int,),
            data_type=(str,),
            byte_order=(str, none),
            encoding=(str,),
            mask=(int, none),
            shift=(int,),
        )
        return cls(**got)


def read_identity(step: IdentityRead, words: Sequence[int]) -> str:
    """Returns what an identity field says, as text.

    Raises:
        DecodeError: the words do not hold the field.
    """
    if step.data_type == "string":
        return decode_string(words, byte_order=step.byte_order or "AB", encoding=step.encoding).strip()
    number = decode_words(words, data_type=step.data_type, byte_order=step.byte_order)
    if step.mask is not None and isinstance(number, int):
        number &= step.mask
    return str(number >> step.shift if isinstance(number, int) else number)


def worse(first: int, second: int) -> int:
    """Returns the worse of two quality codes; the first of two that are equally bad."""
    return second if _RANK[second] > _RANK[first] else first


def compile_block(block: BlockRead) -> BlockDecoder:
    """Makes the decode function of a block.

    The function takes exactly the block's words (0..65535; 0 or 1 for bits) and returns
    (values in the order of ``block.points``, ``None`` where there is no number; quality codes
    in the same order, or ``None`` when all are good).  It raises DecodeError when the number
    of words is wrong.
    """
    slots: dict[RawRef, int] = {}
    own = [_slot(slots, _point_ref(point)) for point in block.points]
    judges: list[tuple[int, _Judge]] = []
    for place, point in enumerate(block.points):
        if not _is_plain(point):
            judges.append((place, _compile_judge(point, own[place], slots)))
    extract = compile_extractor(tuple(slots), block.count)
    pick = None if own == list(range(len(slots))) else picker(own)
    special = tuple(judges)
    all_good = [GOOD] * len(block.points)

    def decode_plain(words: Sequence[int]) -> Decoded:
        raws = extract(words)
        return (raws if pick is None else pick(raws)), None

    def decode(words: Sequence[int]) -> Decoded:
        raws = extract(words)
        values = list(raws if pick is None else pick(raws))
        codes: list[int] | None = None
        for place, judge in special:
            values[place], code = judge(raws)
            if code:
                if codes is None:
                    codes = all_good.copy()
                codes[place] = code
        return tuple(values), None if codes is None else tuple(codes)

    return decode if special else decode_plain


_Judge = Callable[[Sequence[Raw]], tuple[Value, int]]
_Check = Callable[[Sequence[Raw]], int]


def _point_ref(point: PointStep) -> RawRef:
    return RawRef(point.offset, point.data_type, point.byte_order)


def _field_ref(field: FieldRef) -> RawRef:
    return RawRef(field.offset, field.data_type, field.byte_order)


def _slot(slots: dict[RawRef, int], ref: RawRef) -> int:
    return slots.setdefault(ref, len(slots))


def _is_plain(point: PointStep) -> bool:
    """Whether the raw number is the count and always good."""
    return (
        point.data_type not in FLOATS
        and not point.data_type.startswith("bcd")
        and (point.multiply, point.add, point.low, point.high) == (1, 0, None, None)
        and not (point.gates or point.sentinels or point.unit_from or point.decimals_from or point.flag)
    )


def _compile_judge(point: PointStep, own: int, slots: dict[RawRef, int]) -> _Judge:
    checks = [_gate_check(gate, slots) for gate in point.gates]
    if point.unit_from is not None:
        checks.append(_unit_check(point.unit_from, slots))
    count = _float_value(point) if point.data_type in FLOATS else _int_value(point, slots)
    if not checks:
        return lambda raws: count(raws[own], raws)
    before = tuple(checks)

    def judge(raws: Sequence[Raw]) -> tuple[Value, int]:
        code = GOOD
        for check in before:
            code = worse(code, check(raws))
        value, own_code = count(raws[own], raws)
        if own_code:
            code = worse(code, own_code)
        return (value if code in WITH_VALUE else None), code

    return judge


_Number = Callable[[Raw, Sequence[Raw]], tuple[Value, int]]


def _float_value(point: PointStep) -> _Number:
    named = {item.raw: item.code for item in point.sentinels if isinstance(item.raw, str)}
    exact = {float(item.raw): item.code for item in point.sentinels if not isinstance(item.raw, str)}
    nan, above, below = (named.get(name, NOT_A_NUMBER) for name in ("nan", "+inf", "-inf"))
    low = -math.inf if point.low is None else float(point.low)
    high = math.inf if point.high is None else float(point.high)

    def number(raw: Raw, _: Sequence[Raw]) -> tuple[Value, int]:
        value = float(raw)  # type: ignore[arg-type]  # the extractor gives floats here
        if value != value:
            return None, nan
        if value in (math.inf, -math.inf):
            return None, above if value > 0 else below
        if value in exact:
            return None, exact[value]
        return (value, GOOD) if low <= value <= high else (None, IMPLAUSIBLE)

    return number


def _flag_value(flag: Flag) -> _Number:
    keep, shift = -1 if flag.mask is None else flag.mask, flag.shift
    if flag.kind == "bits":
        bits = 0
        for low, high in flag.cases:
            bits |= ((1 << (high - low + 1)) - 1) << low
        wanted = (bits << shift) & keep

        def has_bit(raw: Raw, _: Sequence[Raw]) -> tuple[Value, int]:
            return (1 if raw & wanted else 0, GOOD) if isinstance(raw, int) else (None, INVALID)

        return has_bit
    cases = flag.cases

    def is_case(raw: Raw, _: Sequence[Raw]) -> tuple[Value, int]:
        if not isinstance(raw, int):
            return None, INVALID
        number = (raw & keep) >> shift
        return (1 if any(low <= number <= high for low, high in cases) else 0), GOOD

    return is_case


def _int_value(point: PointStep, slots: dict[RawRef, int]) -> _Number:
    if point.flag is not None:
        return _flag_value(point.flag)
    sentinels = {item.raw: item.code for item in point.sentinels}
    multiply, add, low, high = point.multiply, point.add, point.low, point.high
    if not (sentinels or point.decimals_from or point.data_type.startswith("bcd")) and low is high is None:
        return lambda raw, _: (raw * multiply + add, GOOD)  # type: ignore[operator]  # never None here
    factors: dict[Raw, int] = {}
    decimals_of: Callable[[Sequence[Raw]], Raw] | None = None
    if point.decimals_from is not None:
        finest = point.decimals_from.finest
        factors = {raw: 10 ** (finest - decimals) for raw, decimals in point.decimals_from.decimals}
        decimals_of = _field_value(point.decimals_from.field, slots)

    def number(raw: Raw, raws: Sequence[Raw]) -> tuple[Value, int]:
        if raw is None:
            return None, INVALID
        if raw in sentinels:
            return None, sentinels[raw]
        factor = multiply
        if decimals_of is not None:
            scale = factors.get(decimals_of(raws))
            if scale is None:
                return None, INVALID
            factor *= scale
        count = raw * factor + add
        if (low is not None and count < low) or (high is not None and count > high):
            return None, IMPLAUSIBLE
        return count, GOOD

    return number


def _field_value(field: FieldRef, slots: dict[RawRef, int]) -> Callable[[Sequence[Raw]], Raw]:
    place, mask, shift = _slot(slots, _field_ref(field)), field.mask, field.shift
    if mask is None and shift == 0:
        return lambda raws: raws[place]
    keep = -1 if mask is None else mask

    def value(raws: Sequence[Raw]) -> Raw:
        raw = raws[place]
        return (raw & keep) >> shift if isinstance(raw, int) else None

    return value


def _unit_check(unit: UnitFrom, slots: dict[RawRef, int]) -> _Check:
    value, accepted = _field_value(unit.field, slots), frozenset(unit.accepted)
    return lambda raws: GOOD if value(raws) in accepted else UNIT_MISMATCH


def _gate_check(gate: Gate, slots: dict[RawRef, int]) -> _Check:
    value, cases, otherwise = _field_value(gate.field, slots), gate.cases, gate.otherwise
    exact: dict[Raw, int] = {low: code for low, high, code in reversed(cases) if low == high}
    if gate.kind == "enum" and len(exact) == len(cases):
        return lambda raws: exact.get(value(raws), otherwise)
    if gate.kind == "bits":
        masks = tuple((((1 << (high - low + 1)) - 1) << low, code) for low, high, code in cases)

        def check_bits(raws: Sequence[Raw]) -> int:
            raw = value(raws)
            if not isinstance(raw, int):
                return INVALID
            found: int | None = None
            for mask, code in masks:
                if raw & mask:
                    found = code if found is None else worse(found, code)
            return otherwise if found is None else found

        return check_bits

    def check_range(raws: Sequence[Raw]) -> int:
        raw = value(raws)
        if raw is None:
            return INVALID
        for low, high, code in cases:
            if low <= raw <= high:
                return code
        return otherwise

    return check_range
