"""One block as a poller asks it: its request, its decoder, and its parts once it is split.

Pure: it sends nothing.  A block refused with exception 2 (no such register) is most likely
one that was joined over a hole; it is then read point by point, and what the device refused
is remembered.  Knowledge: Modbus Application Protocol V1.1b3, section 7; that drivers in the
field split such blocks is seen in wb-mqtt-serial's README.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from contracts.columns import MAX_COUNT
from contracts.quality import GOOD, INVALID
from drivers.heartbeat import watching
from drivers.plan import BlockDecoder, BlockRead, Decoded, PointStep, compile_block
from drivers.port import monotonic_us
from drivers.words import FLOATS, REGISTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One point of a split block, read with its companions and nothing else."""

    #: position of the point in the block
    place: int
    read: BlockRead
    decode: BlockDecoder


def split(read: BlockRead) -> tuple[Part, ...]:
    """Returns one part for each point, in order; empty where there is nothing to split."""
    if len(read.points) < 2:
        return ()
    return tuple(_part(read, place, point) for place, point in enumerate(read.points))


def _part(read: BlockRead, place: int, point: PointStep) -> Part:
    first = min(offset for offset, _ in point.spans)
    end = max(offset + length for offset, length in point.spans)
    own = replace(read, address=read.address + first, count=end - first, points=(point.moved(-first),))
    return Part(place=place, read=own, decode=decoder(own))


def holes(read: BlockRead) -> tuple[tuple[int, int], ...]:
    """Returns (first, last) address of every run that the block reads and no point uses."""
    used = {offset + n for point in read.points for offset, length in point.spans for n in range(length)}
    found: list[tuple[int, int]] = []
    for offset in range(read.count):
        if offset in used:
            continue
        address = read.address + offset
        if found and found[-1][1] == address - 1:
            found[-1] = (found[-1][0], address)
        else:
            found.append((address, address))
    return tuple(found)


def decoder(read: BlockRead, clock: Callable[[], int] = monotonic_us) -> BlockDecoder:
    """Returns the block's decode function; a count that does not fit a batch becomes ``invalid``.

    Each function watches the heartbeats of its own device, so two devices never share one.
    """
    decode = watching(read, compile_block(read), clock)
    if all(_largest(point) <= MAX_COUNT for point in read.points):
        return decode

    def checked(words: Sequence[int]) -> Decoded:
        values, codes = decode(words)
        wide = [n for n, value in enumerate(values) if type(value) is int and abs(value) > MAX_COUNT]
        if not wide:
            return values, codes
        numbers, reasons = list(values), list(codes or [GOOD] * len(values))
        for n in wide:
            numbers[n], reasons[n] = None, INVALID
        return tuple(numbers), tuple(reasons)

    return checked


def _largest(point: PointStep) -> int:
    """An upper limit of the point's count; 0 for floats."""
    if point.data_type in FLOATS:
        return 0
    finest = 0 if point.decimals_from is None else point.decimals_from.finest
    factor: int = abs(point.multiply) * 10**finest
    return (factor << 16 * REGISTERS[point.data_type]) + abs(point.add)
