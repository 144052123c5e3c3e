"""A heartbeat that stands still: the instrument answers, and no longer measures.

Some heads count a register up while they measure (Honeywell: about every 5 s).  A reply whose
counter has not changed for longer than the profile allows carries the last value of a head
that hangs, so its points are ``frozen``.  This is the one part of decoding that remembers
something: each device has a function of its own.  The clock comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.quality import FROZEN, GOOD, WITH_VALUE
from drivers.extract import Raw, RawRef, compile_extractor
from drivers.plan import BlockDecoder, BlockRead, Decoded, worse
from drivers.steps import Heartbeat


def watching(block: BlockRead, decode: BlockDecoder, clock: Callable[[], int]) -> BlockDecoder:
    """Returns the decode function of one device that also watches the block's heartbeats.

    Args:
        block: what is read.
        decode: of ``compile_block``; returned as it is where no point has a heartbeat.
        clock: monotonic microseconds; asked once for each reply.
    """
    beats: dict[Heartbeat, list[int]] = {}
    for place, point in enumerate(block.points):
        if point.heartbeat is not None:
            beats.setdefault(point.heartbeat, []).append(place)
    if not beats:
        return decode
    refs = [RawRef(beat.field.offset, beat.field.data_type, beat.field.byte_order) for beat in beats]
    extract = compile_extractor(refs, block.count)
    keeps = [-1 if beat.field.mask is None else beat.field.mask for beat in beats]
    limits_us = [beat.still_ms * 1000 for beat in beats]
    places = list(beats.values())
    last: list[Raw] = [None] * len(beats)
    since_us = [0] * len(beats)

    def watched(words: Sequence[int]) -> Decoded:
        decoded = decode(words)
        now = clock()
        for number, raw in enumerate(extract(words)):
            beat = raw & keeps[number] if isinstance(raw, int) else raw
            if beat is None or beat != last[number]:
                last[number], since_us[number] = beat, now
            elif now - since_us[number] > limits_us[number]:
                decoded = _frozen(decoded, places[number])
        return decoded

    return watched


def _frozen(decoded: Decoded, places: Sequence[int]) -> Decoded:
    values, codes = list(decoded[0]), list(decoded[1] or [GOOD] * len(decoded[0]))
    for place in places:
        codes[place] = worse(codes[place], FROZEN)
        if codes[place] not in WITH_VALUE:
            values[place] = None
    return tuple(values), tuple(codes)
