"""What two others say to each other on a line: requests and their replies, out of a stream of bytes.  Pure.

For a bus that a controller owns: it is read along and never written to.  Nothing in a frame
says whether it asks or answers, so the two are paired: a frame is taken for the answer where
the request before it asked for just that (unit, function, length) and it came in time; else
it is a request.  Frames end by length and CRC.  Where bytes make no frame they are stepped
over once the line has fallen silent, and counted.

::

    01 03 00 00 00 02 C4 0B | 01 03 04 41 B4 00 00 EF F5      a read of registers 0 and 1, and its words
    request of unit 1       | its answer

Sources: Modbus Application Protocol V1.1b3 section 6; Modbus over Serial Line V1.02.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from drivers.frames import EXCEPTION_LENGTH, TABLE_OF_FUNCTION, crc_fits
from drivers.plan import TABLES

#: a request without an answer for this long has none, unless a unit of the line is known to be slower (seconds)
LONGEST_REPLY_S = 1.0
#: bytes of one frame may be apart by this much (seconds): an adapter hands them over in packets, and a
#: program is not always woken at once, so t1.5 cannot be seen from here
BROKEN_OFF_S = 0.05
#: unanswered requests of one unit and function that are remembered
_MOST_OWED = 8
_READS = frozenset(TABLE_OF_FUNCTION)
_BITS = frozenset({1, 2})
_ECHOED = frozenset({5, 6})
_MANY = frozenset({15, 16})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheard:
    """One request of the owner, and what came of it."""

    unit_id: int
    function: int
    #: first address that was asked; 0 where the function has none
    address: int
    #: registers or bits that were asked; 0 where the function has none
    count: int
    #: registers 0..65535, or bits 0 and 1; None unless it was a read that was answered beyond doubt
    words: tuple[int, ...] | None
    #: exception code of the answer, 0 without
    exception: int
    #: whether anything answered
    is_answered: bool
    #: when the last byte of the request, and of the answer, was heard (monotonic us); equal without an answer
    requested_us: int
    replied_us: int


@dataclass(slots=True, kw_only=True)
class OverheardCounts:
    """What a line has carried since it was listened to."""

    requests: int = 0
    answers: int = 0
    exceptions: int = 0
    #: requests to a unit (not broadcasts) that nobody answered
    unanswered: int = 0
    #: answers that could belong to an earlier request
    doubtful: int = 0
    #: bytes that belong to no frame
    stray_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    frame: bytes
    ended_us: int
    #: answered, but perhaps by the answer to the same request before it
    is_repeated: bool = False

    @property
    def unit_id(self) -> int:
        return self.frame[0]

    @property
    def function(self) -> int:
        return self.frame[1]

    @property
    def place(self) -> tuple[int, int]:
        """Address and count."""
        if self.function in _READS or self.function in _MANY:
            address, count = struct.unpack_from(">HH", self.frame, 2)
            return int(address), int(count)
        return (int.from_bytes(self.frame[2:4], "big"), 1) if self.function in _ECHOED else (0, 0)

    def answer_length(self) -> int | None:
        """Bytes of the answer that is no exception; None where the function is not known."""
        if self.function in _READS:
            count = self.place[1]
            return 5 + ((count + 7) // 8 if self.function in _BITS else 2 * count)
        return 8 if self.function in _ECHOED or self.function in _MANY else None


class Overhearing:
    """Bytes in, pairs out; for one line."""

    def __init__(self, char_s: float, *, slow_units: Mapping[int, float] | None = None) -> None:
        """Takes how long one character needs, and units that may take longer than ``LONGEST_REPLY_S``, in seconds."""
        self._char_us = char_s * 1e6
        self._longest_us = {unit_id: seconds * 1e6 for unit_id, seconds in (slow_units or {}).items()}
        self._buffer = bytearray()
        #: when the last byte of the buffer was heard
        self._last_us = 0
        self._pending: _Request | None = None
        #: unit id and function -> the newest requests that nobody answered
        self._owed: dict[tuple[int, int], list[_Request]] = {}
        self.counts = OverheardCounts()

    @property
    def is_waiting(self) -> bool:
        """Whether a frame or an answer is under way."""
        return bool(self._buffer) or self._pending is not None

    def hear(self, data: bytes, now_us: int) -> list[Overheard]:
        """Takes bytes that were there at ``now_us`` (monotonic us); returns what they completed."""
        found = self.quiet(now_us)
        if data:
            self._buffer += data
            self._last_us = now_us
            found += self._frames(is_over=False)
        return found

    def quiet(self, now_us: int) -> list[Overheard]:
        """Returns what is known because nothing more has come until now."""
        found: list[Overheard] = []
        if self._buffer and now_us - self._last_us > BROKEN_OFF_S * 1e6:
            found += self._frames(is_over=True)
        pending = self._pending
        if pending is not None and not self._buffer and now_us - pending.ended_us > self._longest(pending.unit_id):
            found += self._give_up()
        return found

    def _frames(self, *, is_over: bool) -> Iterator[Overheard]:
        """Takes frames off the buffer's head; ``is_over``: what is incomplete now stays so."""
        buffer = self._buffer
        while buffer:
            answer, length = self._next(is_over=is_over)
            if length is None:
                return
            if length == 0:
                self.counts.stray_bytes += 1
                del buffer[0]
                continue
            frame = bytes(buffer[:length])
            del buffer[:length]
            ended_us = self._last_us - int(len(buffer) * self._char_us)
            if answer:
                yield self._answered(frame, ended_us)
            else:
                yield from self._give_up()
                self.counts.requests += 1
                self._pending = _Request(frame=frame, ended_us=ended_us)
                if frame[0] == 0:
                    yield from self._give_up()

    def _next(self, *, is_over: bool) -> tuple[bool, int | None]:
        """Returns whether the head is an answer, and its length: 0 for no frame, None where more may come."""
        buffer, is_waiting = self._buffer, False
        for is_answer, length in self._candidates():
            if length is None or len(buffer) < length:
                is_waiting = True
            elif crc_fits(bytes(buffer[:length])):
                return is_answer, length
        return False, None if is_waiting and not is_over else 0

    def _candidates(self) -> Iterator[tuple[bool, int | None]]:
        """Yields (is an answer, length) of every frame that may begin here; None: too few bytes to tell."""
        buffer, pending = self._buffer, self._pending
        if len(buffer) < 2:
            yield False, None
            return
        unit_id, function = buffer[0], buffer[1]
        if pending is not None and unit_id == pending.unit_id:
            if function == pending.function | 0x80:
                yield True, EXCEPTION_LENGTH
            length = pending.answer_length()
            if function == pending.function and length is not None:
                if function not in _READS:
                    yield True, length
                elif len(buffer) < 3:
                    yield True, None
                elif buffer[2] == length - 5:
                    yield True, length
        if function in _READS or function in _ECHOED:
            yield False, 8
        elif function in _MANY:
            yield False, None if len(buffer) < 7 else 9 + buffer[6]

    def _answered(self, frame: bytes, ended_us: int) -> Overheard:
        pending, self._pending = self._pending, None
        assert pending is not None
        self.counts.answers += 1
        address, count = pending.place
        exception, words = 0, None
        if frame[1] & 0x80:
            exception = frame[2]
            self.counts.exceptions += 1
        elif pending.function in _READS and 1 <= count <= TABLES[TABLE_OF_FUNCTION[pending.function]]:
            if self._is_doubtful(pending, ended_us):
                self.counts.doubtful += 1
            else:
                words = _words(pending.function, count, frame[3:-2])
        return Overheard(
            unit_id=pending.unit_id,
            function=pending.function,
            address=address,
            count=count,
            words=words,
            exception=exception,
            is_answered=True,
            requested_us=pending.ended_us,
            replied_us=ended_us,
        )

    def _give_up(self) -> Iterator[Overheard]:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        if pending.unit_id != 0:
            self.counts.unanswered += 1
            owed = self._owed.get((pending.unit_id, pending.function), ())
            self._owed[pending.unit_id, pending.function] = [*owed, pending][-_MOST_OWED:]
        address, count = pending.place
        yield Overheard(
            unit_id=pending.unit_id,
            function=pending.function,
            address=address,
            count=count,
            words=None,
            exception=0,
            is_answered=False,
            requested_us=pending.ended_us,
            replied_us=pending.ended_us,
        )

    def _is_doubtful(self, pending: _Request, answered_us: int) -> bool:
        """Returns whether this can be the answer to a request before it that asked for something else."""
        key = pending.unit_id, pending.function
        longest_us = self._longest(pending.unit_id)
        owed = [one for one in self._owed.get(key, ()) if answered_us - one.ended_us <= longest_us]
        is_same = all(one.place == pending.place for one in owed)
        if owed and is_same:
            # One answer fewer is on its way, nobody knows which.  What took part in this once is not renewed by the
            # next request, or doubt would never end.
            owed = [*owed, replace(pending, is_repeated=True)][1:] if not owed[-1].is_repeated else owed
        if owed:
            self._owed[key] = owed
        else:
            self._owed.pop(key, None)
        return not is_same

    def _longest(self, unit_id: int) -> float:
        """Microseconds that a unit may take to answer."""
        return self._longest_us.get(unit_id, LONGEST_REPLY_S * 1e6)


def _words(function: int, count: int, data: bytes) -> tuple[int, ...]:
    if function in _BITS:
        return tuple(data[place // 8] >> place % 8 & 1 for place in range(count))
    return struct.unpack(f">{count}H", data)
