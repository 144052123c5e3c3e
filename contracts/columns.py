"""Columns: the samples of one block, packed and unpacked without an object per reading.

A block is what one request reads: ``n`` points, ``t`` ticks, and one time per tick.

    [number, times, ints, f32, f64, qualities]

    times      monotonic us: the first relative to the header's sealed_us, then differences
    ints       integers tick by tick; each is the difference to the same point's value before
               it in this block, the first to 0; samples without a number are left out
    f32, f64   big-endian floats, tick by tick, samples without a number left out
    qualities  nil when every sample is good, else [run, code, run, code ...] tick by tick

Differences are taken from tick to tick so that both ends work on whole rows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import sub
from typing import Any

from contracts.errors import PayloadError, TooLargeError
from contracts.fields import MAX_ARRAY, U63
from contracts.quality import CODES, GOOD, WITH_VALUE

#: an ``int`` sample lies between minus and plus this, so that every difference fits 64 bits
MAX_COUNT = (1 << 62) - 1
_MAX_TICKS = 65_536
#: ticks times points of one block; runs of missing samples cost nothing on the wire and must not unpack to gigabytes
MAX_SAMPLES = MAX_ARRAY

Value = int | float | None
Row = Sequence[Value]


@dataclass(frozen=True, slots=True)
class Columns:
    """The samples of one block."""

    #: of the block in its catalogue
    number: int
    #: monotonic us of each tick
    times: list[int]
    #: per point: one entry per tick; counts or floats, None where there is no number
    values: list[list[Any]]
    #: per point one code per tick; None when every sample of the block is good
    codes: list[list[int]] | None


def encode_block(
    number: int,
    kinds: Sequence[str],
    sealed_us: int,
    times: Sequence[int],
    rows: Sequence[Row],
    codes: Sequence[Sequence[int] | None],
) -> list[Any]:
    """Packs the ticks of one block.

    Args:
        number: of the block in the catalogue.
        kinds: of its points, in order.
        sealed_us: of the header.
        times: one per tick, monotonic us.
        rows: per tick the values of the points; None where there is no number.
        codes: per tick the quality codes of the points, or None when all are good.

    Raises:
        TooLargeError: more samples or quality runs than one block may have; seal fewer ticks.
    """
    if len(times) > _MAX_TICKS or len(times) * len(kinds) > MAX_SAMPLES:
        raise TooLargeError(f"block {number}: {len(times)} ticks of {len(kinds)} points are too many")
    offsets = [times[0] - sealed_us]
    if len(times) > 1:
        offsets.extend(map(sub, times[1:], times[:-1]))
    runs = None if not any(codes) else _runs(codes, len(kinds))
    if runs is not None and len(runs) > MAX_ARRAY:
        raise TooLargeError(f"block {number}: {len(runs) // 2} quality runs are too many")
    if runs is None and "f32" not in kinds and "f64" not in kinds:
        flat: list[Any] = list(rows[0])
        for before, row in pairwise(rows):
            flat.extend(map(sub, row, before))
        return [number, offsets, flat, None, None, None]
    return [number, offsets, *_mixed(kinds, rows), runs]


def _mixed(kinds: Sequence[str], rows: Sequence[Row]) -> tuple[list[int] | None, bytes | None, bytes | None]:
    ints: list[int] = []
    singles: list[float] = []
    doubles: list[float] = []
    before: list[Any] = [0] * len(kinds)
    for row in rows:
        for index, (kind, value) in enumerate(zip(kinds, row, strict=True)):
            if value is None:
                continue
            if kind == "int":
                ints.append(value - before[index])
                before[index] = value
            elif kind == "f32":
                singles.append(value)
            else:
                doubles.append(value)
    return (
        ints or None,
        struct.pack(f">{len(singles)}f", *singles) if singles else None,
        struct.pack(f">{len(doubles)}d", *doubles) if doubles else None,
    )


def _runs(codes: Sequence[Sequence[int] | None], width: int) -> list[int]:
    runs: list[int] = []
    last, count = -1, 0
    for row in codes:
        if row is None:
            if last == GOOD:
                count += width
            else:
                if count:
                    runs += (count, last)
                last, count = GOOD, width
            continue
        for code in row:
            if code == last:
                count += 1
            else:
                if count:
                    runs += (count, last)
                last, count = code, 1
    runs += (count, last)
    return runs


def block_number(raw: Any) -> int:
    """Returns the number of a raw block, or raises PayloadError."""
    if not isinstance(raw, list) or len(raw) != 6 or type(raw[0]) is not int or raw[0] < 0:
        raise PayloadError("block: expected a list of six that begins with a number")
    return raw[0]


def decode_block(raw: Any, kinds: Sequence[str], sealed_us: int) -> Columns:
    """Unpacks one block of a verified batch.

    Args:
        raw: an element of ``Batch.blocks``.
        kinds: of the block's points, from the catalogue.
        sealed_us: of the header.

    Raises:
        PayloadError: a part has the wrong form, length or range.
        TooLargeError: more samples than one block may have.
    """
    number = block_number(raw)
    _, offsets, ints, singles, doubles, runs = raw
    if not isinstance(offsets, list) or not 0 < len(offsets) <= _MAX_TICKS:
        raise PayloadError(f"block {number}: times: expected 1 to {_MAX_TICKS} integers")
    if not _all_int(offsets):
        raise PayloadError(f"block {number}: times: expected integers")
    if len(offsets) * len(kinds) > MAX_SAMPLES:
        raise TooLargeError(
            f"block {number}: {len(offsets)} ticks of {len(kinds)} points; at most {MAX_SAMPLES} samples"
        )
    times = list(accumulate(offsets[1:], initial=sealed_us + offsets[0]))
    if min(times) < 0 or max(times) > U63:
        raise PayloadError(f"block {number}: a time is outside the monotonic clock's range")
    ticks, width = len(times), len(kinds)
    n_f32, n_f64 = kinds.count("f32"), kinds.count("f64")
    n_int = width - n_f32 - n_f64
    if runs is None:
        int_list = _ints(ints, n_int * ticks, number)
        if ticks == 1 and 0 < n_int == width and singles is None and doubles is None:
            if max(int_list) > MAX_COUNT or min(int_list) < -MAX_COUNT:
                raise PayloadError(f"block {number}: a count is beyond 62 bits")
            return Columns(number, times, [[value] for value in int_list], None)
        f32_list = _floats(singles, "f", n_f32 * ticks, number)
        f64_list = _floats(doubles, "d", n_f64 * ticks, number)
        values: list[list[Any]] = []
        taken = {"int": 0, "f32": 0, "f64": 0}
        for kind in kinds:
            offset = taken[kind]
            taken[kind] += 1
            if kind == "int":
                values.append(list(accumulate(int_list[offset::n_int])))
            elif kind == "f32":
                values.append(f32_list[offset::n_f32])
            else:
                values.append(f64_list[offset::n_f64])
        _check_counts(values, kinds, number)
        return Columns(number, times, values, None)
    codes = _expand(runs, width * ticks, number)
    return _scattered(number, times, kinds, (ints, singles, doubles), codes)


def decode_qualities(raw: Any, width: int, sealed_us: int) -> tuple[list[int], list[int] | None]:
    """Unpacks times and quality codes of one block and leaves the numbers alone.

    Args:
        raw: an element of ``Batch.blocks``.
        width: how many points the block has in the catalogue.
        sealed_us: of the header.

    Returns:
        Monotonic us per tick, and one code per sample, tick by tick; None when every sample is good.

    Raises:
        PayloadError: times or qualities have the wrong form, length or range.
    """
    number = block_number(raw)
    offsets, runs = raw[1], raw[5]
    if not isinstance(offsets, list) or not 0 < len(offsets) * width <= MAX_SAMPLES or not _all_int(offsets):
        raise PayloadError(f"block {number}: times: expected integers, at most {MAX_SAMPLES} samples")
    times = list(accumulate(offsets[1:], initial=sealed_us + offsets[0]))
    if min(times) < 0 or max(times) > U63:
        raise PayloadError(f"block {number}: a time is outside the monotonic clock's range")
    return times, None if runs is None else _expand(runs, width * len(times), number)


def _scattered(
    number: int, times: list[int], kinds: Sequence[str], parts: tuple[Any, Any, Any], codes: list[int]
) -> Columns:
    width, ticks = len(kinds), len(times)
    needs = {"int": 0, "f32": 0, "f64": 0}
    for position, code in enumerate(codes):
        if code in WITH_VALUE:
            needs[kinds[position % width]] += 1
    sources = {
        "int": iter(_ints(parts[0], needs["int"], number)),
        "f32": iter(_floats(parts[1], "f", needs["f32"], number)),
        "f64": iter(_floats(parts[2], "d", needs["f64"], number)),
    }
    values: list[list[Any]] = [[None] * ticks for _ in range(width)]
    before = [0] * width
    for position, code in enumerate(codes):
        if code not in WITH_VALUE:
            continue
        tick, index = divmod(position, width)
        value: Any = next(sources[kinds[index]])
        if kinds[index] == "int":
            value += before[index]
            before[index] = value
        values[index][tick] = value
    _check_counts(values, kinds, number)
    return Columns(number, times, values, [codes[index::width] for index in range(width)])


def _check_counts(values: list[list[Any]], kinds: Sequence[str], number: int) -> None:
    for kind, column in zip(kinds, values, strict=True):
        if kind == "int":
            present = column if None not in column else [value for value in column if value is not None]
            if present and (max(present) > MAX_COUNT or min(present) < -MAX_COUNT):
                raise PayloadError(f"block {number}: a count is beyond 62 bits")


def _all_int(items: list[Any]) -> bool:
    return set(map(type, items)) <= {int}


def _ints(value: Any, count: int, number: int) -> list[int]:
    if count == 0 and value is None:
        return []
    if not isinstance(value, list) or len(value) != count or not _all_int(value):
        raise PayloadError(f"block {number}: ints: expected {count} integers")
    return value


def _floats(value: Any, code: str, count: int, number: int) -> list[float]:
    if count == 0 and value is None:
        return []
    size = struct.calcsize(f">{code}")
    if type(value) is not bytes or len(value) != count * size:
        raise PayloadError(f"block {number}: floats: expected {count} of {size} bytes")
    numbers = list(struct.unpack(f">{count}{code}", value))
    if not all(map(math.isfinite, numbers)):
        raise PayloadError(f"block {number}: floats: NaN and infinity are qualities, not numbers")
    return numbers


def _expand(runs: Any, count: int, number: int) -> list[int]:
    if not isinstance(runs, list) or not runs or len(runs) % 2 or not _all_int(runs):
        raise PayloadError(f"block {number}: qualities: expected pairs of run and code")
    codes: list[int] = []
    for run, code in zip(runs[::2], runs[1::2], strict=True):
        if run < 1 or len(codes) + run > count:
            raise PayloadError(f"block {number}: qualities: the runs do not add up to {count} samples")
        if code not in CODES:
            raise PayloadError(f"block {number}: qualities: code {code} is not known")
        codes.extend([code] * run)
    if len(codes) != count:
        raise PayloadError(f"block {number}: qualities: the runs do not add up to {count} samples")
    return codes
