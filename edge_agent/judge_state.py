"""What the judge wants kept: the states of points that are not at rest, and the newest event of
every alarm that is not cleared.  Bytes only; the spool stores them with the seal that tells of it.

It is compressed because a lost bus makes many events that differ in little.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import msgpack

from contracts.batch import AlarmEvent
from contracts.errors import PayloadError, TooLargeError
from contracts.fields import Fields, pack
from rules import PointState

_FORMAT = 1
#: no state is larger when inflated (bytes)
_MAX = 64 * 1024 * 1024
_MANY = 65_536
_library: Any = msgpack  # ships no types for packb and unpackb


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """Where one point stood."""

    key: str
    state: PointState


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where everything stood."""

    points: tuple[StoredPoint, ...]
    events: tuple[AlarmEvent, ...]


def pack_state(standing: Standing) -> bytes:
    """Returns the bytes to be stored."""
    points = [[item.key, item.state.to_wire()] for item in standing.points]
    return zlib.compress(pack([_FORMAT, points, [event.to_wire() for event in standing.events]]), 1)


def unpack_state(data: bytes) -> Standing:
    """Reads what ``pack_state`` wrote.

    Raises:
        PayloadError, TooLargeError: damaged, or of another format.
    """
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, _MAX)
        if inflater.unconsumed_tail:
            raise TooLargeError(f"an alarm state of more than {_MAX} bytes")
        value = _library.unpackb(body, raw=False, strict_map_key=True)
    except (zlib.error, ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        if isinstance(error, TooLargeError):
            raise
        raise PayloadError(f"alarm state: {error or type(error).__name__}") from error
    f = Fields("alarm_state", value, 3)
    f.integer("format", _FORMAT, _FORMAT)
    points = []
    for item in f.items("points", _MANY):
        g = Fields("alarm_state.point", item, 2)
        points.append(StoredPoint(key=g.text("key", 64), state=PointState.from_wire(g.raw())))
    events = tuple(AlarmEvent.from_wire(item) for item in f.items("events", _MANY * 8))
    return Standing(points=tuple(points), events=events)
