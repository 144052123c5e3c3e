"""Bytes of a line to frames, and to what they say about one question.  Pure.

It judges generously where ``drivers.frames`` judges strictly: a poller must never take a
damaged reply for a value, and a technician wants to know *how* it is damaged.  So frames are
looked for at every offset, and what is left over is told as what it looks like.  Sources:
Modbus Application Protocol V1.1b3 section 6; Modbus over Serial Line V1.02 section 2.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from drivers.frames import FrameRequest, NeedMore, Refused, crc_fits, parse_reply

_READS = frozenset({1, 2, 3, 4})
_ECHOED = frozenset({5, 6})
_MANY = frozenset({15, 16})
_NOISE = frozenset({0x00, 0xFF})
#: a driver that is switched on late eats at most the head of a reply: unit id, function, byte count
_LONGEST_CUT = 3

#: (monotonic us, bytes), in the order of arrival
Chunks = Sequence[tuple[int, bytes]]


class Kind(StrEnum):
    """What a whole frame can be."""

    REQUEST = "request"
    REPLY = "reply"
    EXCEPTION = "exception"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A whole frame with a right CRC."""

    #: offset in the bytes
    start: int
    data: bytes
    kind: Kind

    @property
    def unit_id(self) -> int:
        """0..255."""
        return self.data[0]

    @property
    def function(self) -> int:
        """Function without the exception bit."""
        return self.data[1] & 0x7F


class Outcome(StrEnum):
    """What one question gave."""

    GOOD = "good"
    EXCEPTION = "exception"
    #: two whole answers to one question
    DOUBLED = "doubled"
    #: an answer that is whole once the bytes in front of it are added again
    CUT_HEAD = "cut_head"
    #: bytes that begin as the answer and are damaged, or no frame at all
    DAMAGED = "damaged"
    #: only bytes 00 and FF
    NOISE = "noise"
    #: a whole answer of another unit or to another question
    FOREIGN = "foreign"
    SILENT = "silent"
    #: the line was never silent, so nothing was sent
    NOT_ASKED = "not_asked"


#: outcomes that prove a device at this address
ANSWERED = frozenset({Outcome.GOOD, Outcome.EXCEPTION, Outcome.DOUBLED, Outcome.CUT_HEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question, and all that came."""

    outcome: Outcome
    #: registers or bits of a good answer
    words: tuple[int, ...] | None = None
    #: exception code, 0 without
    exception: int = 0
    #: seconds from the end of the question to the first byte that is no echo; None where nothing came
    delay_s: float | None = None
    #: bytes 00 and FF in front of the answer
    noise_before: int = 0
    #: whether our own question came back in front
    is_echoed: bool = False
    #: whole answers of other units, late or uncalled for
    others: tuple[Frame, ...] = ()
    #: all bytes behind the echo
    raw: bytes = b""

    @property
    def is_answered(self) -> bool:
        """Whether a device at the asked address said something."""
        return self.outcome in ANSWERED


def find_frames(data: bytes) -> tuple[tuple[Frame, ...], bytes]:
    """Returns the whole frames in the order in which they stand, and all other bytes."""
    frames: list[Frame] = []
    rest = bytearray()
    at = 0
    while at < len(data):
        for kind, length in _candidates(data, at):
            if at + length <= len(data) and crc_fits(data[at : at + length]):
                frames.append(Frame(start=at, data=data[at : at + length], kind=kind))
                at += length
                break
        else:
            rest.append(data[at])
            at += 1
    return tuple(frames), bytes(rest)


def whole_answers(data: bytes) -> tuple[Frame, ...]:
    """Returns the frames that answer something, exceptions included."""
    return tuple(frame for frame in find_frames(data)[0] if frame.kind is not Kind.REQUEST)


def joined(chunks: Chunks) -> bytes:
    """Returns all bytes of all chunks."""
    return b"".join(data for _, data in chunks)


def read_answer(question: FrameRequest, chunks: Chunks, *, sent_us: int, char_s: float) -> Answer:
    """Says what a question gave.

    Args:
        question: what was sent.
        chunks: all that came since it began to be sent, echo included.
        sent_us: when its last byte had left, monotonic us.
        char_s: seconds that one byte takes.
    """
    data = joined(chunks)
    is_echoed = data.startswith(question.adu) and (question.reply_length != len(question.adu) or len(data) > 8)
    body = data[len(question.adu) :] if is_echoed else data
    skipped = len(data) - len(body)
    delay_s = _delay_s(chunks, skipped, sent_us, char_s)
    frames = find_frames(body)[0]
    others = tuple(f for f in frames if f.kind is not Kind.REQUEST and (f.unit_id, f.function) != question.key)
    outcome, words, exception, noise = _outcome(question, body, frames)
    return Answer(
        outcome=outcome,
        words=words,
        exception=exception,
        delay_s=delay_s,
        noise_before=noise,
        is_echoed=is_echoed,
        others=others,
        raw=body,
    )


def missing_bytes(question: FrameRequest, chunks: Chunks) -> int:
    """Returns how many bytes an answer that has begun still needs at least; 0 where none has begun or it is whole."""
    data = joined(chunks)
    body = data[len(question.adu) :] if data.startswith(question.adu) else data
    if not body or any(frame.start + len(frame.data) == len(body) for frame in find_frames(body)[0]):
        return 0
    verdict = parse_reply(question, body)
    return verdict.missing if isinstance(verdict, NeedMore) else 0


_Found = tuple[Outcome, tuple[int, ...] | None, int, int]


def _outcome(question: FrameRequest, body: bytes, frames: tuple[Frame, ...]) -> _Found:
    """Returns outcome, words, exception code and bytes of noise in front."""
    if not body:
        return Outcome.SILENT, None, 0, 0
    ours = [f for f in frames if f.kind is not Kind.REQUEST and (f.unit_id, f.function) == question.key]
    noise = _leading_noise(body, ours[0].start if ours else len(body))
    if len(ours) > 1:
        return Outcome.DOUBLED, None, 0, noise
    if ours and ours[0].kind is Kind.EXCEPTION:
        return Outcome.EXCEPTION, None, ours[0].data[2], noise
    if ours:
        verdict = parse_reply(question, ours[0].data)
        if isinstance(verdict, (NeedMore, Refused)):
            return Outcome.FOREIGN, None, 0, noise
        if _is_second_reply(question, body[ours[0].start + len(ours[0].data) :]):
            return Outcome.DOUBLED, None, 0, noise
        return Outcome.GOOD, verdict.words, 0, noise
    if all(byte in _NOISE for byte in body):
        return Outcome.NOISE, None, 0, noise
    if frames and sum(len(frame.data) for frame in frames) == len(body) - noise:
        return Outcome.FOREIGN, None, 0, noise
    if _head_is_cut(question, body):
        return Outcome.CUT_HEAD, None, 0, 0
    return Outcome.DAMAGED, None, 0, noise


def _is_second_reply(question: FrameRequest, behind: bytes) -> bool:
    """Whether the bytes behind a good answer begin as another one, damaged: two units, one a moment later."""
    return len(behind) >= 2 and (behind[0], behind[1] & 0x7F) == question.key


def _head_is_cut(question: FrameRequest, body: bytes) -> bool:
    """Whether the CRC fits once one to three bytes are put in front: the receiver was switched on too late."""
    for head in (
        bytes((question.unit_id, question.function, question.reply_length - 5)),
        bytes((question.unit_id, question.function | 0x80)),
    ):
        for cut in range(1, min(len(head), _LONGEST_CUT) + 1):
            whole = head[:cut] + body
            if len(whole) in (question.reply_length, 5) and whole[: len(head)] == head and crc_fits(whole):
                return True
    return False


def _leading_noise(body: bytes, until: int) -> int:
    count = 0
    while count < until and body[count] in _NOISE:
        count += 1
    return count


def _candidates(data: bytes, at: int) -> Iterator[tuple[Kind, int]]:
    """Yields what may begin here, with its length."""
    if len(data) - at < 4:
        return
    function = data[at + 1]
    if function & 0x80:
        if function & 0x7F:
            yield Kind.EXCEPTION, 5
        return
    if function in _READS:
        yield Kind.REPLY, 5 + data[at + 2]
        yield Kind.REQUEST, 8
    elif function in _ECHOED:
        # Question and confirmation are the same bytes.
        yield Kind.REQUEST, 8
    elif function in _MANY:
        yield Kind.REPLY, 8
        if len(data) - at >= 7:
            yield Kind.REQUEST, 9 + data[at + 6]
    elif function in (0x11, 0x17):
        yield Kind.REPLY, 5 + data[at + 2]


def _delay_s(chunks: Chunks, skipped: int, sent_us: int, char_s: float) -> float | None:
    """Seconds from the end of the question to the first byte behind the echo; never below 0."""
    seen = 0
    for at_us, data in chunks:
        if seen + len(data) > skipped:
            new = seen + len(data) - max(seen, skipped)
            return max(0.0, (at_us - sent_us) / 1e6 - new * char_s)
        seen += len(data)
    return None


# --- listening ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One kind of question that somebody else asks."""

    unit_id: int
    function: int
    #: first address; None where the function has none
    address: int | None
    #: registers or bits; None where the function has none
    count: int | None
    #: how often it was heard
    times: int
    #: seconds between two of them, on average; None below two
    every_s: float | None
    #: how many were answered at once
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What a line carries while we send nothing."""

    seconds: float
    #: all bytes
    octets: int = 0
    #: bytes 00 and FF that belong to no frame
    noise: int = 0
    #: other bytes that belong to no frame
    strange: int = 0
    conversations: tuple[Conversation, ...] = ()
    #: whole answers that follow no question
    uncalled: int = 0
    #: (header, seconds between two of them) of a device that reports by itself and is no Modbus device
    reporting: tuple[bytes, float] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether another client talks: its questions were heard."""
        return bool(self.conversations)


def read_idle(chunks: Chunks, seconds: float) -> Idle:
    """Says what was heard while nothing was sent.

    Args:
        chunks: what came.
        seconds: how long was listened.
    """
    data = joined(chunks)
    frames, rest = find_frames(data)
    times = _times(chunks)
    asked: dict[tuple[int, int, int | None, int | None], list[tuple[int, bool]]] = {}
    uncalled = 0
    before: Frame | None = None
    for frame in frames:
        if frame.kind is Kind.REQUEST and not _confirms(before, frame):
            address, count = _place(frame.data)
            asked.setdefault((frame.unit_id, frame.function, address, count), []).append((times[frame.start], False))
            before = frame
            continue
        if before is not None and (before.unit_id, before.function) == (frame.unit_id, frame.function):
            key = (before.unit_id, before.function, *_place(before.data))
            asked[key][-1] = (asked[key][-1][0], True)
        else:
            uncalled += 1
        before = None
    noise = sum(byte in _NOISE for byte in rest)
    return Idle(
        seconds=seconds,
        octets=len(data),
        noise=noise,
        strange=len(rest) - noise,
        conversations=tuple(_conversation(key, heard) for key, heard in sorted(asked.items(), key=_by_key)),
        uncalled=uncalled,
        reporting=None if frames else _reporting(chunks),
    )


def _by_key(item: tuple[tuple[int, int, int | None, int | None], object]) -> tuple[int, int, int, int]:
    unit_id, function, address, count = item[0]
    return unit_id, function, address or 0, count or 0


def _confirms(before: Frame | None, frame: Frame) -> bool:
    """Whether a frame of function 5 or 6 is the confirmation of the same bytes just before it."""
    return frame.function in _ECHOED and before is not None and before.data == frame.data


def _place(data: bytes) -> tuple[int | None, int | None]:
    function = data[1]
    if function in _READS or function in _MANY:
        address, count = struct.unpack_from(">HH", data, 2)
        return int(address), int(count)
    return (int.from_bytes(data[2:4], "big"), 1) if function in _ECHOED else (None, None)


def _conversation(key: tuple[int, int, int | None, int | None], heard: list[tuple[int, bool]]) -> Conversation:
    span_s = (heard[-1][0] - heard[0][0]) / 1e6
    return Conversation(
        unit_id=key[0],
        function=key[1],
        address=key[2],
        count=key[3],
        times=len(heard),
        every_s=span_s / (len(heard) - 1) if len(heard) > 1 else None,
        answered=sum(is_answered for _, is_answered in heard),
    )


def _times(chunks: Chunks) -> list[int]:
    """Returns for each byte when it was heard."""
    return [at_us for at_us, data in chunks for _ in data]


#: silence that parts two reports of a device (us)
_PAUSE_US = 20_000


def _reporting(chunks: Chunks) -> tuple[bytes, float] | None:
    """Returns header and period of something that says the same kind of thing again and again."""
    groups = list(_groups(chunks))
    if len(groups) < 3:
        return None
    heads = {data[:2] for _, data in groups[1:]}
    if len(heads) != 1 or len(next(iter(heads))) < 2 or all(byte in _NOISE for byte in next(iter(heads))):
        return None
    starts = [at_us for at_us, _ in groups]
    return next(iter(heads)), (starts[-1] - starts[0]) / 1e6 / (len(starts) - 1)


def _groups(chunks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yields (when it began, bytes) of what came without a pause."""
    begun_us, last_us, data = 0, 0, b""
    for at_us, new in chunks:
        if data and at_us - last_us > _PAUSE_US:
            yield begun_us, data
            data = b""
        if not data:
            begun_us = at_us
        data += new
        last_us = at_us
    if data:
        yield begun_us, data
