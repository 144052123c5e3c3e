"""The register image of one device: what it measures, written as its registers would show it.

The inverse of the block decoder, made from the same profile: every point's ``PointStep`` says where
the number goes, which status registers have to say "healthy", and which raw value stands for a
state.  It holds no time and no fault: readings in, words out.

A number that the registers cannot carry saturates at the nearest that they can, as a sensor does;
``check`` tells beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

from contracts.quality import BY_REASON, GOOD, IMPLAUSIBLE, INHIBITED, INVALID, NOT_A_NUMBER, UNIT_MISMATCH
from drivers.build import point_step
from drivers.encode import encode_words
from drivers.errors import EncodeError
from drivers.plan import IdentityRead, worse
from drivers.profile import Profile
from drivers.steps import DecimalsFrom, FieldRef, Flag, Gate, PointStep
from drivers.words import FLOATS, REGISTERS
from simulators.device import Memory, Range
from simulators.errors import ImageError
from simulators.identity import identity_values, known_spans, text_words
from simulators.signals import SILENT, Shown

#: what a float register can carry
_FLOAT_MOST = {"f16": 65504.0, "f32": float(2**128 - 2**104), "f64": float.fromhex("0x1.fffffffffffffp+1023")}
_LIMITS: dict[str, tuple[int, int]] = {
    "sm16": (-0x7FFF, 0x7FFF),
    "bcd16": (0, 9999),
    "bcd32": (0, 99_999_999),
    "u8h": (0, 255),
    "u8l": (0, 255),
    "i8h": (-128, 127),
    "i8l": (-128, 127),
    **{f"u{bits}": (0, 2**bits - 1) for bits in (16, 32, 64)},
    **{f"i{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64)},
    **{f"bit{number}": (0, 1) for number in range(16)},
}
#: no status register of a known device has more values than this to try
_TRIED = 1024

_Words = dict[str, dict[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePoint:
    """One point of a device, with absolute addresses."""

    #: ``quantity`` or ``quantity/n``, the last parts of the point key
    key: str
    table: str
    step: PointStep


class DeviceImage:
    """Where a device of one profile keeps its points, and what its registers say when all is well."""

    def __init__(
        self,
        profile: Profile,
        *,
        units: Mapping[str, str] | None = None,
        read: Collection[str] | None = None,
        serial: str = "",
        unit_id: int | None = None,
    ) -> None:
        """Lays the image out.

        Args:
            profile: of the device.
            units: profile-local point name -> UCUM unit that the device is set to, where not the default.
            read: profile-local names of the points that are read; None is the profile's default.  Where
                points share a unit or decimals register, these say how the device is set.
            serial: what the register of the serial number says; empty leaves it 0.
            unit_id: what registers say that repeat the device's address; None leaves them 0.

        Raises:
            ProfileError: a unit that the instrument cannot have.
            ImageError: the serial number does not fit its registers, or no register value means healthy.
        """
        units = units or {}
        self.profile_id = profile.id
        self.points: dict[str, ImagePoint] = {
            point.key: ImagePoint(
                key=point.key, table=point.table, step=point_step(profile, name, unit=units.get(name))
            )
            for name, point in profile.all_points.items()
        }
        self._read = frozenset(
            point.key for name, point in profile.all_points.items() if (point.default if read is None else name in read)
        )
        self._decimals = {key: _usual_decimals(point.step) for key, point in self.points.items()}
        forbidden = [(area.table, area.first, area.last) for area in profile.limits.forbidden]
        self._ranges = _ranges(self.points.values(), known_spans(profile), profile.limits.max_gap, forbidden)
        self._max_registers = profile.limits.max_registers
        self._start_multiple = profile.limits.start_multiple
        self._fields = self._status_fields()
        self._beats = {(item.table, item.step.heartbeat.field) for item in self.points.values() if item.step.heartbeat}
        self._healthy = self._healthy_words(identity_values(profile, serial, unit_id))

    def memory(self, shown: Mapping[str, Shown], beat: int = 0) -> Memory:
        """Returns what a request finds in the device.

        Args:
            shown: point key -> engineering value or state word; a point that is not named shows 0.
            beat: what heartbeats have counted to, where no point says otherwise.

        Raises:
            ImageError: an unknown point, or a state that its registers cannot show.
        """
        words: _Words = {table: dict(content) for table, content in self._healthy.items()}
        for table, field in self._beats:
            _put_field(words.setdefault(table, {}), field, beat % (_field_limits(field)[1] + 1))
        alarms = []
        for key, what in shown.items():
            point = self._point(key)
            if point.step.flag is None and not isinstance(what, str):
                self._put_number(words, point, what)
            elif point.step.flag is not None and not isinstance(what, str) and what >= 0.5:
                alarms.append((point, point.step.flag))
        # A state among others gives way to a fault, as in a real head; bits of a word stand side by side.
        for point, flag in alarms:
            if flag.kind == "range":
                self._show_state(words, point, flag)
        for key, what in shown.items():
            if isinstance(what, str) and what != SILENT:
                self._put_state(words, self.points[key], what)
        for point, flag in alarms:
            if flag.kind == "bits":
                bit = 1 << flag.cases[0][0]
                _set_bits(words.setdefault(point.table, {}), _flag_field(point.step, flag), bit)
        return Memory(
            words=words, ranges=self._ranges, max_registers=self._max_registers, start_multiple=self._start_multiple
        )

    def check(self, key: str, what: Shown) -> None:
        """Raises ImageError when the device has no such point or its registers cannot show this."""
        self._point(key)
        if isinstance(what, str):
            states = self.states(key)
            if what not in states:
                raise ImageError(f"{key} of {self.profile_id} cannot show {what!r}; it can show {', '.join(states)}")
            return
        low, high = self.span(key)
        if not low <= what <= high:
            raise ImageError(f"{what:g} does not fit the registers of {key}: {low:g} to {high:g} do")

    def span(self, key: str) -> tuple[float, float]:
        """Returns the lowest and highest engineering value that the point's registers can carry."""
        step = self._point(key).step
        if step.flag is not None:
            return 0.0, 1.0
        if step.data_type in FLOATS:
            most = _FLOAT_MOST[step.data_type]
            return -most, most
        low, high = _LIMITS[step.data_type]
        factor = step.multiply * (
            10 ** (step.decimals_from.finest - min(d for _, d in step.decimals_from.decimals))
            if step.decimals_from is not None
            else 1
        )
        resolution = step.resolution or Fraction(1)
        return float((low * factor + step.add) * resolution), float((high * factor + step.add) * resolution)

    def states(self, key: str) -> tuple[str, ...]:
        """Returns the state words that the point's registers can show, sorted; ``silent`` always."""
        point = self._point(key)
        return tuple(sorted({SILENT, *(word for word, code in BY_REASON.items() if _way_to_show(point.step, code))}))

    def _point(self, key: str) -> ImagePoint:
        point = self.points.get(key)
        if point is None:
            raise ImageError(f"a {self.profile_id} has no point {key!r}; it has {', '.join(self.points)}")
        return point

    def _healthy_words(self, identities: Iterable[tuple[IdentityRead, int | str]]) -> _Words:
        words: _Words = {}
        for item, said in identities:
            if isinstance(said, str):
                for place, word in enumerate(text_words(item, said)):
                    words.setdefault(item.table, {})[item.address + place] = word
            else:
                _put_identity(words.setdefault(item.table, {}), item, said)
        for (table, field), (gates, flags) in self._fields.items():
            _put_field(words.setdefault(table, {}), field, _healthy_value(field, gates, flags, self.profile_id))
        # A point that is read has the last word on registers that it shares.
        for key, point in sorted(self.points.items(), key=lambda item: item[0] in self._read):
            if point.step.flag is not None:
                continue
            table_words = words.setdefault(point.table, {})
            unit, decimals = point.step.unit_from, point.step.decimals_from
            if unit is not None and unit.accepted:
                _put_field(table_words, unit.field, unit.accepted[0])
            if decimals is not None:
                _put_field(table_words, decimals.field, self._decimals[key][0])
            self._put_number(words, point, 0.0)
        return words

    def _status_fields(self) -> dict[tuple[str, FieldRef], tuple[list[Gate], list[Flag]]]:
        """Every status field with what judges it."""
        found: dict[tuple[str, FieldRef], tuple[list[Gate], list[Flag]]] = {}
        for point in self.points.values():
            for gate in point.step.gates:
                gates = found.setdefault((point.table, gate.field), ([], []))[0]
                if gate not in gates:
                    gates.append(gate)
        for point in self.points.values():
            if point.step.flag is None:
                continue
            place = point.table, _flag_field(point.step, point.step.flag)
            # Bits of a word that nothing else judges are 0 unless raised, and the rest of the word is another field's.
            if point.step.flag.kind == "range" or place in found:
                found.setdefault(place, ([], []))[1].append(point.step.flag)
        return found

    def _show_state(self, words: _Words, point: ImagePoint, flag: Flag) -> None:
        """Shows an alarm whose field is a state: a state that means it and, where there is one, no fault as well."""
        field = _flag_field(point.step, flag)
        gates = self._fields[point.table, field][0]
        values = [value for low, high in flag.cases for value in (low, high)]
        value = next((value for value in values if _judged(gates, value) == GOOD), values[0])
        _put_field(words.setdefault(point.table, {}), field, value)

    def _put_number(self, words: _Words, point: ImagePoint, value: float) -> None:
        step, table = point.step, words.setdefault(point.table, {})
        if step.data_type in FLOATS:
            most = _FLOAT_MOST[step.data_type]
            _put(table, step, min(max(float(value), -most), most))
            return
        if not math.isfinite(value):
            raise ImageError(f"{point.key} takes a finite number, not {value}")
        count = Fraction(value) / (step.resolution or Fraction(1)) - step.add
        low, high = _LIMITS[step.data_type]
        if step.decimals_from is None:
            _put(table, step, min(max(round(count / step.multiply), low), high))
            return
        code, raw = _scaled(count / step.multiply, step.decimals_from, self._decimals[point.key], (low, high))
        _put_field(table, step.decimals_from.field, code)
        _put(table, step, min(max(raw, low), high))

    def _put_state(self, words: _Words, point: ImagePoint, word: str) -> None:
        self.check(point.key, word)
        code = BY_REASON[word]
        table = words.setdefault(point.table, {})
        way = _way_to_show(point.step, code)
        if code == INHIBITED:
            # An inhibited XNX forces its gas register to 0 (devices with a status register only).
            self._put_number(words, point, 0.0)
        if isinstance(way, _RawWay):
            _put(table, point.step, way.raw)
        elif isinstance(way, _FieldWay):
            _put_field(table, way.field, way.value)


@dataclass(frozen=True, slots=True)
class _RawWay:
    """A state is shown by the value register itself."""

    raw: int | float


@dataclass(frozen=True, slots=True)
class _FieldWay:
    """A state is shown by a companion."""

    field: FieldRef
    value: int


def _way_to_show(step: PointStep, code: int) -> _RawWay | _FieldWay | None:
    if code == GOOD:
        return None
    for sentinel in step.sentinels:
        if sentinel.code == code:
            return _RawWay(float(sentinel.raw) if isinstance(sentinel.raw, str) else sentinel.raw)
    for gate in step.gates:
        for value in _gate_values(gate, code):
            others = [other for other in step.gates if other.field == gate.field]
            if _judged(others, value) == code:
                return _FieldWay(gate.field, value)
    if code == UNIT_MISMATCH and step.unit_from is not None:
        return _first_outside(step.unit_from.field, step.unit_from.accepted)
    if code == INVALID and step.decimals_from is not None:
        return _first_outside(step.decimals_from.field, tuple(raw for raw, _ in step.decimals_from.decimals))
    if code == NOT_A_NUMBER and step.data_type in FLOATS and all(item.raw != "nan" for item in step.sentinels):
        return _RawWay(math.nan)
    if code == IMPLAUSIBLE:
        return _implausible(step)
    return None


def _implausible(step: PointStep) -> _RawWay | None:
    if step.data_type in FLOATS:
        if step.high is not None:
            return _RawWay(float(step.high) + max(1.0, abs(float(step.high))))
        return None if step.low is None else _RawWay(float(step.low) - max(1.0, abs(float(step.low))))
    if step.decimals_from is not None:
        return None
    low, high = _LIMITS[step.data_type]
    taken = {item.raw for item in step.sentinels}
    if step.high is not None:
        raw = math.floor((Fraction(step.high) - step.add) / step.multiply) + 1
        while raw in taken:
            raw += 1
        if raw <= high:
            return _RawWay(raw)
    if step.low is not None:
        raw = math.ceil((Fraction(step.low) - step.add) / step.multiply) - 1
        while raw in taken:
            raw -= 1
        if raw >= low:
            return _RawWay(raw)
    return None


def _judged(gates: Iterable[Gate], value: int) -> int:
    """What gates on one field say together."""
    code = GOOD
    for gate in gates:
        code = worse(code, _gate_code(gate, value))
    return code


def _gate_code(gate: Gate, value: int) -> int:
    if gate.kind == "bits":
        set_bits = [code for low, high, code in gate.cases if value & (((1 << (high - low + 1)) - 1) << low)]
        if not set_bits:
            return gate.otherwise
        found = set_bits[0]
        for code in set_bits[1:]:
            found = worse(found, code)
        return found
    return next((code for low, high, code in gate.cases if low <= value <= high), gate.otherwise)


def _gate_values(gate: Gate, code: int) -> Iterator[int]:
    """Values of the gate's field that may mean ``code``, likely ones first."""
    low_most, high_most = _field_limits(gate.field)
    for low, _, case in gate.cases:
        value = 1 << low if gate.kind == "bits" else low
        if case == code and low_most <= value <= high_most and _gate_code(gate, value) == code:
            yield value
    if gate.otherwise == code:
        # Both ends: a small field may have its unnamed values anywhere.
        for value in (*range(max(0, low_most), min(high_most, _TRIED) + 1), high_most):
            if _gate_code(gate, value) == code:
                yield value
                if gate.kind == "bits":
                    return


def _healthy_value(field: FieldRef, gates: list[Gate], flags: list[Flag], profile_id: str) -> int:
    few = range(min(_TRIED, _field_limits(field)[1] + 1))
    likely = (value for gate in gates for value in _gate_values(gate, GOOD))
    for value in chain(likely, few):
        if _judged(gates, value) == GOOD and not any(_is_raised(flag, value) for flag in flags):
            return value
    raise ImageError(f"{profile_id}: no value of the status register at {field.offset} means healthy")


def _flag_field(step: PointStep, flag: Flag) -> FieldRef:
    return FieldRef(
        offset=step.offset, data_type=step.data_type, byte_order=step.byte_order, mask=flag.mask, shift=flag.shift
    )


def _is_raised(flag: Flag, value: int) -> bool:
    if flag.kind == "bits":
        return any(value >> low & ((1 << (high - low + 1)) - 1) for low, high in flag.cases)
    return any(low <= value <= high for low, high in flag.cases)


def _set_bits(table: dict[int, int], field: FieldRef, bits: int) -> None:
    """Sets bits of a field and leaves its others."""
    bits = bits << field.shift
    words = encode_words(bits, data_type=_unsigned(field.data_type), byte_order=field.byte_order)
    _merge(table, field.offset, words, words)


def _first_outside(field: FieldRef, taken: tuple[int, ...]) -> _FieldWay | None:
    _, most = _field_limits(field)
    for value in range(min(most, _TRIED) + 1):
        if value not in taken:
            return _FieldWay(field, value)
    return None


def _field_limits(field: FieldRef) -> tuple[int, int]:
    if field.mask is not None:
        return 0, field.mask >> field.shift
    low, high = _LIMITS[field.data_type]
    return low >> field.shift, high >> field.shift


def _put(table: dict[int, int], step: PointStep, raw: int | float) -> None:
    _merge(table, step.offset, encode_words(raw, data_type=step.data_type, byte_order=step.byte_order), _keep(step))


def _put_field(table: dict[int, int], field: FieldRef, value: int) -> None:
    if field.mask is None and field.shift == 0:
        words = encode_words(value, data_type=field.data_type, byte_order=field.byte_order)
        _merge(table, field.offset, words, _keep(field))
        return
    bits = _unsigned(field.data_type)
    most = _LIMITS[bits][1]
    mask = most if field.mask is None else field.mask
    words = encode_words((value << field.shift) & mask, data_type=bits, byte_order=field.byte_order)
    _merge(table, field.offset, words, encode_words(mask, data_type=bits, byte_order=field.byte_order))


def _keep(place: PointStep | FieldRef) -> tuple[int, ...]:
    """Which bits of its registers a value takes."""
    if place.data_type.startswith("bit"):
        return encode_words(True, data_type=place.data_type, byte_order=place.byte_order)
    if place.data_type[1:] in ("8h", "8l"):
        return encode_words(255, data_type=_unsigned(place.data_type), byte_order=place.byte_order)
    return (0xFFFF,) * REGISTERS[place.data_type]


def _unsigned(data_type: str) -> str:
    return "u" + data_type[1:] if data_type[0] == "i" else data_type


def _merge(table: dict[int, int], offset: int, words: tuple[int, ...], keep: tuple[int, ...]) -> None:
    for place, (word, mask) in enumerate(zip(words, keep, strict=True)):
        table[offset + place] = (table.get(offset + place, 0) & ~mask) | (word & mask)


def _scaled(count: Fraction, told: DecimalsFrom, usual: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """Returns (code of the decimals, raw): as the device is set, or coarser where that does not fit."""
    coarser = sorted((pair for pair in told.decimals if pair[1] < usual[1]), key=lambda pair: -pair[1])
    found = usual[0], 0
    for code, decimals in (usual, *coarser):
        found = code, round(count / 10 ** (told.finest - decimals))
        if limits[0] <= found[1] <= limits[1]:
            break
    return found


def _usual_decimals(step: PointStep) -> tuple[int, int]:
    """The (code, decimals) that the device is set to: the finest that carries its plausible range, or 1000."""
    if step.decimals_from is None:
        return 0, 0
    low, high = _LIMITS[step.data_type]
    by_fineness = sorted(step.decimals_from.decimals, key=lambda pair: -pair[1])
    for code, decimals in by_fineness:
        factor = step.multiply * 10 ** (step.decimals_from.finest - decimals)
        most = 1000 * 10**step.decimals_from.finest if step.high is None else step.high
        ends = [end for end in (step.low, most) if end is not None]
        if all(low <= (end - step.add) / factor <= high for end in ends):
            return code, decimals
    return by_fineness[-1]


def _put_identity(table: dict[int, int], item: IdentityRead, number: int) -> None:
    field = FieldRef(
        offset=item.address, data_type=item.data_type, byte_order=item.byte_order, mask=item.mask, shift=item.shift
    )
    try:
        _put_field(table, field, number)
    except EncodeError as error:
        raise ImageError(f"{number} does not fit the register {item.name}: {error}") from error


def _ranges(
    points: Iterable[ImagePoint],
    fields: Iterable[tuple[str, int, int]],
    max_gap: int,
    forbidden: Iterable[tuple[str, int, int]],
) -> dict[str, tuple[Range, ...]]:
    """Which addresses exist: those that the profile names, and the holes that it allows to read over."""
    spans: dict[str, set[tuple[int, int]]] = {}
    for point in points:
        for offset, length in point.step.spans:
            spans.setdefault(point.table, set()).add((offset, offset + length))
    for table, address, count in fields:
        spans.setdefault(table, set()).add((address, address + count))
    for table, first, last in forbidden:
        spans.setdefault(table, set())
        spans[table] = {span for span in spans[table] if span[1] <= first or span[0] > last}
    found: dict[str, tuple[Range, ...]] = {}
    closed = list(forbidden)
    for table, pieces in spans.items():
        joined: list[Range] = []
        for low, high in sorted(pieces):
            if joined and low - joined[-1][1] <= max_gap and not _crosses(closed, table, joined[-1][1], low):
                joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
            else:
                joined.append((low, high))
        found[table] = tuple(joined)
    return found


def _crosses(closed: Iterable[tuple[str, int, int]], table: str, low: int, high: int) -> bool:
    return any(name == table and first < high and last >= low for name, first, last in closed)
