"""Raw numbers out of a block's words, all in one pass.

Pure and fast: the layout is worked out once, each reply then costs one ``struct`` call in and
one out.  It knows no scale and no sentinel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from drivers.decode import finish_raw
from drivers.errors import DecodeError
from drivers.words import ORDERS, PLACES, REGISTERS, STRUCT

#: ``None``: the words hold no number of that type (a BCD digit above 9)
Raw = int | float | None
Extractor = Callable[[Sequence[int]], tuple[Raw, ...]]

#: types whose value ``struct`` gives as it is
_DIRECT = frozenset({"u8h", "u8l", "i8h", "i8l", "u16", "i16", "f16", "u32", "i32", "f32", "u64", "i64", "f64"})


class RawRef(NamedTuple):
    """Where one raw number is in a block."""

    #: first register from the start of the block
    offset: int
    data_type: str
    byte_order: str | None


def compile_extractor(refs: Sequence[RawRef], count: int) -> Extractor:
    """Makes the function that takes ``count`` words and returns one raw number per ref, in order.

    The function raises DecodeError when the number of words is wrong.
    """
    if all(ref.data_type == "u16" and ref.byte_order in (None, "AB") for ref in refs):
        return _plain_words([ref.offset for ref in refs], count)
    unpack = _unpacker(refs, count)
    odd = tuple((place, ref.data_type) for place, ref in enumerate(refs) if ref.data_type not in _DIRECT)
    if not odd:
        return unpack

    def extract(words: Sequence[int]) -> tuple[Raw, ...]:
        raws = list(unpack(words))
        for place, data_type in odd:
            try:
                raws[place] = finish_raw(raws[place], data_type) + 0
            except DecodeError:
                raws[place] = None
        return tuple(raws)

    return extract


def picker(places: Sequence[int]) -> Callable[[Any], tuple[Any, ...]]:
    """Makes the function that takes these places out of a sequence; always returns a tuple."""
    if not places:
        return lambda _: ()
    if len(places) == 1:
        only = places[0]
        return lambda sequence: (sequence[only],)
    return itemgetter(*places)


def _plain_words(offsets: list[int], count: int) -> Extractor:
    pick = tuple if offsets == list(range(count)) else picker(offsets)

    def extract(words: Sequence[int]) -> tuple[Raw, ...]:
        if len(words) != count:
            raise _wrong_count(words, count)
        return pick(words)

    return extract


def _unpacker(refs: Sequence[RawRef], count: int) -> Callable[[Sequence[int]], tuple[Any, ...]]:
    pack = struct.Struct(f">{count}H").pack
    places = [
        2 * ref.offset + place
        for ref in refs
        for place in PLACES[ref.byte_order or ORDERS[REGISTERS[ref.data_type]][0]]
    ]
    in_sequence = all(first < second for first, second in pairwise(places))
    if in_sequence:
        unpack = struct.Struct(_format_with_gaps(refs, count)).unpack

        def extract(words: Sequence[int]) -> tuple[Any, ...]:
            if len(words) != count:
                raise _wrong_count(words, count)
            return unpack(pack(*words))

        return extract
    gather = picker(places)
    unpack_gathered = struct.Struct(">" + "".join(STRUCT[ref.data_type] for ref in refs)).unpack

    def extract_gathered(words: Sequence[int]) -> tuple[Any, ...]:
        if len(words) != count:
            raise _wrong_count(words, count)
        return unpack_gathered(bytes(gather(pack(*words))))

    return extract_gathered


def _format_with_gaps(refs: Sequence[RawRef], count: int) -> str:
    layout, at = ">", 0
    for ref in refs:
        layout += "x" * (2 * (ref.offset - at)) + STRUCT[ref.data_type]
        at = ref.offset + REGISTERS[ref.data_type]
    return layout + "x" * (2 * (count - at))


def _wrong_count(words: Sequence[int], count: int) -> DecodeError:
    return DecodeError(f"the block has {count} words, {len(words)} given")
