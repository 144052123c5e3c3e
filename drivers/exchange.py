"""One request and its reply on a serial line, step by step, for one thread.

::

    drain, silence t3.5 | request --> | device thinks | <-- reply | silence ...
                        ^ requested_us                            ^ replied_us

It keeps the silence, drains what nobody asked for, waits "lazily" (sleeps until the bytes can
be there instead of waking for each), strips an echo, ends a frame by length and CRC, applies
the late-reply rule and reopens a vanished port with back-off.  It never retries: a failed
read or write is a value, and who is asked again when is for the scheduler.  Clock, sleep and
wire come through the constructor, so that it runs in virtual time too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from contracts import quality
from drivers.errors import LineError
from drivers.frames import (
    MAX_FRAME,
    Asked,
    NeedMore,
    Refused,
    Reply,
    crc_fits,
    mirrors,
    parse_reply,
    read_request,
    split_replies,
    strip_echo,
    whole_replies,
    why_no_reply,
    write_request,
)
from drivers.late import Key, LateReplies, Sighting
from drivers.opening import BACK_OFF_S, Opening
from drivers.port import RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from drivers.serial_wire import LineSettings, Wire
from drivers.thinking import Thinking

__all__ = ["BACK_OFF_S", "Exchange", "LineCounters"]

#: an adapter may hold received bytes back so long: FTDI's latency timer is 16 ms unless it is set lower
_ADAPTER_US = 20_000
#: after so long without a byte no frame goes on (adapters and schedulers cut frames into pieces)
_FRAME_IS_OVER_US = 50_000
#: bytes among which an answer is looked for, 0.7 s of an unbroken stream at 115200 baud: a server that
#: babbles must not keep the thread busy with what it sends
_MOST_WAITING = 8192
#: how long a silent line is waited for before a raw request
_RAW_PATIENCE_US = 1_000_000
#: what a unit without a profile may take to answer: the default of ``max_reply_s``
_UNDECLARED_BOUND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounters:
    """What a line has seen since it was made."""

    #: reads and writes that were sent, with those that nobody answers
    requests: int = 0
    good: int = 0
    exceptions: int = 0
    timeouts: int = 0
    #: replies with a wrong CRC, or never complete
    bad_frames: int = 0
    #: whole replies of other units, functions or lengths that nobody owed
    foreign: int = 0
    #: whole replies that came after their time-out
    late_replies: int = 0
    #: replies too many: an answer before was probably an earlier request's, of a unit beyond its bound
    doubtful: int = 0
    #: bytes that arrived while nothing was asked, or behind an answer
    stray_bytes: int = 0
    echo_bytes: int = 0
    #: requests not sent because a late reply could have answered them
    held_back: int = 0
    #: times the port was opened again after it had gone
    reopened: int = 0


class Exchange:
    """Asks on one line; used by one thread."""

    def __init__(
        self, settings: LineSettings, wire: Wire, *, clock_us: Callable[[], int], sleep: Callable[[float], None]
    ) -> None:
        self._wire = wire
        self._clock_us = clock_us
        self._sleep = sleep
        self._opening = Opening(wire, clock_us=clock_us)
        self._late = LateReplies()
        self._thinking = Thinking()
        self._counts = dict.fromkeys((field.name for field in fields(LineCounters)), 0)
        self._last_activity_us = 0
        #: when the line was last found empty
        self._looked_us = 0
        #: the beginning of a frame that nobody asked for
        self._stray = b""
        self._echoes: bool | None = None
        self._char_us = settings.char_s * 1e6
        self._silence_us = int(settings.silence_s * 1e6) + 1

    @property
    def counters(self) -> LineCounters:
        """A snapshot, safe to take from another thread."""
        return LineCounters(**self._counts)

    def ask(self, request: ReadRequest) -> ReadResult:
        """Sends one read and waits for its answer; never raises for what a line can do.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        frame = read_request(unit_id=request.unit_id, table=request.table, address=request.address, count=request.count)
        return self._ask(frame, request)

    def write(self, request: WriteRequest) -> WriteResult:
        """Sends one write and waits for its confirmation, or holds the line where nobody answers.

        A reply to functions 5 and 6 equals the request.  On a line of which it is not known yet
        whether it echoes, such a write is not confirmed: it gives ``no_reply`` with that sentence.
        Any read that was answered since the port was opened settles it.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        result = self._ask(write_request(request), request)
        return WriteResult(
            code=result.code, requested_us=result.requested_us, replied_us=result.replied_us, detail=result.detail
        )

    def raw(self, request: RawRequest) -> RawResult:
        """Sends any frame after the silence, and returns every byte that came.

        What was drained in front of the frame is part of ``heard``, with a time before ``requested_us``.
        It is not held back by the late-reply rule; what it sent is owed like any request's reply,
        for the unit's known bound or 1 s.  Where the line was never silent nothing is sent and the
        code is ``not_asked``.
        """
        begun_us = self._clock_us()
        heard: list[tuple[int, bytes]] = []
        if not self._opening.is_open and not self.try_open():
            code, detail, requested_us = quality.PORT_CLOSED, self._opening.closed_because, begun_us
        else:
            try:
                code, detail, requested_us = self._talk_raw(request, heard)
            except LineError as error:
                self._opening.lose(error)
                code, detail, requested_us = quality.PORT_CLOSED, self._opening.closed_because, begun_us
        ended_us = self._clock_us()
        return RawResult(heard=tuple(heard), code=code, requested_us=requested_us, ended_us=ended_us, detail=detail)

    def look(self) -> None:
        """Takes what came while nothing is asked, so that late replies get their true time."""
        if self._opening.is_open:
            try:
                self._drain()
            except LineError as error:
                self._opening.lose(error)

    def is_watching(self) -> bool:
        """Returns whether a late reply may come and the line should be looked at often."""
        return self._opening.is_open and self._late.watch_until(self._clock_us()) is not None

    def try_open(self) -> bool:
        """Opens the port now unless a back-off runs; returns whether it is open."""
        opening = self._opening
        if not opening.is_open and opening.try_open():
            self._last_activity_us = self._looked_us = self._clock_us()
            self._stray = b""
            self._echoes = None  # it may be another adapter
            if opening.opened > 1:
                self._count("reopened")
        return opening.is_open

    def retry_now(self) -> None:
        """Lets the next request open the port, whatever back-off runs; may be called from another thread."""
        self._opening.retry_now()

    def close(self) -> None:
        """Closes the port."""
        self._opening.close()

    # --- one exchange ---------------------------------------------------------------------

    def _ask(self, frame: Asked, request: ReadRequest | WriteRequest) -> ReadResult:
        now = self._clock_us()
        blocked = self._late.blocked_until(frame.keys, now)
        if blocked is not None:
            self._count("held_back")
            detail = f"a late reply may still come, {(blocked - now) / 1e6:.3f} s more"
            return ReadResult(words=None, code=quality.NOT_ASKED, requested_us=now, replied_us=now, detail=detail)
        if not self._opening.is_open and not self.try_open():
            return self._closed(now)
        try:
            if not frame.unit_ids:
                return self._tell(frame, request)
            return self._talk(frame, request)
        except LineError as error:
            self._owe(frame.keys, self._clock_us(), 0, int(request.max_reply_s * 1e6))
            self._opening.lose(error)
            return self._closed(now)

    def _talk(self, frame: Asked, request: ReadRequest | WriteRequest) -> ReadResult:
        begun_us = self._clock_us()
        patience_us = int(request.timeout_s * 1e6)
        if not self._keep_silence(begun_us + patience_us):
            return self._never_silent(begun_us)
        requested_us, sent_us = self._send(frame.adu)
        self._count("requests")
        reply_us = int(frame.reply_length * self._char_us)
        buffer, outcome = self._collect(frame, sent_us + reply_us, sent_us + reply_us + patience_us)
        replied_us = self._clock_us()
        self._note_rest(frame, buffer, outcome, requested_us)
        if isinstance(outcome, Reply):
            self._answered(frame.keys, sent_us, replied_us)
            self._count("good")
            return ReadResult(words=outcome.words, code=quality.GOOD, requested_us=requested_us, replied_us=replied_us)
        # a damaged frame could be another unit's late reply while one is on its way
        is_certain = outcome.code != quality.BAD_FRAME or not self._late.is_owed(replied_us)
        if outcome.answered and is_certain:
            self._answered(frame.keys, sent_us, replied_us)
        else:
            self._owe(frame.keys, sent_us, reply_us, int(request.max_reply_s * 1e6))
        self._count_failure(outcome)
        return ReadResult(
            words=None, code=outcome.code, requested_us=requested_us, replied_us=replied_us, detail=outcome.detail
        )

    def _tell(self, frame: Asked, request: ReadRequest | WriteRequest) -> ReadResult:
        """Writes what nobody answers; holds the line for the turn-around time."""
        begun_us = self._clock_us()
        if not self._keep_silence(begun_us + int(request.timeout_s * 1e6)):
            return self._never_silent(begun_us)
        requested_us, sent_us = self._send(frame.adu)
        self._count("requests")
        self._sleep_until(sent_us + int(request.timeout_s * 1e6))
        rest = self._read()
        if self._echoes is not False and rest.startswith(frame.adu):
            rest = rest[len(frame.adu) :]
            self._count("echo_bytes", len(frame.adu))
        # some units answer a broadcast, or confirm before they restart
        self._owe(frame.keys, sent_us, int(frame.reply_length * self._char_us), int(request.max_reply_s * 1e6))
        self._take_stray(rest, requested_us)
        now = self._clock_us()
        return ReadResult(
            words=None, code=quality.GOOD, requested_us=requested_us, replied_us=now, detail="no answer awaited"
        )

    def _closed(self, requested_us: int) -> ReadResult:
        now, detail = self._clock_us(), self._opening.closed_because
        return ReadResult(
            words=None, code=quality.PORT_CLOSED, requested_us=requested_us, replied_us=now, detail=detail
        )

    def _never_silent(self, begun_us: int) -> ReadResult:
        self._count("bad_frames")
        now, detail = self._clock_us(), "the line was never silent"
        return ReadResult(words=None, code=quality.BAD_FRAME, requested_us=begun_us, replied_us=now, detail=detail)

    def _send(self, adu: bytes) -> tuple[int, int]:
        """Sends; returns when it began and when the last byte is out."""
        requested_us = self._clock_us()
        self._wire.write(adu)
        self._last_activity_us = requested_us + int(len(adu) * self._char_us)
        self._stray = b""
        return requested_us, self._last_activity_us

    def _keep_silence(self, deadline_us: int, heard: list[tuple[int, bytes]] | None = None) -> bool:
        """Waits until nothing has moved for t3.5; false when that never came."""
        while True:
            self._sleep_until(self._last_activity_us + self._silence_us)
            stray = self._drain()
            if not stray:
                return True
            if heard is not None:
                heard.append((self._last_activity_us, stray))
            if self._last_activity_us > deadline_us:
                return False

    def _collect(self, frame: Asked, earliest_us: int, deadline_us: int) -> tuple[bytes, Reply | Refused]:
        """Reads until the answer is there or waiting ends; returns the bytes without echo, and the outcome."""
        unit_id, looks = frame.unit_ids[0], 0
        raw, stripped = b"", False
        verdict: Reply | NeedMore | Refused = NeedMore(missing=frame.reply_length)
        buffer = b""
        self._sleep_until(min(earliest_us + self._thinking.of(unit_id), deadline_us))
        while True:
            new = self._read()
            now = self._clock_us()
            looks += 1
            if new:
                raw += new
                buffer, stripped = strip_echo(frame, raw, echoes=self._echoes)
                verdict = parse_reply(frame, buffer)
            if not isinstance(verdict, NeedMore):
                if isinstance(verdict, Reply) and looks == 1:
                    self._thinking.whole_at_first(unit_id)
                elif isinstance(verdict, Reply):
                    self._thinking.whole_after(unit_id, now - earliest_us)
                break
            if not new:
                self._looked_us = now
            if now >= deadline_us:
                verdict = why_no_reply(frame, buffer)
                break
            if len(raw) > _MOST_WAITING:
                detail = f"{len(raw)} bytes and no answer among them"
                verdict = Refused(code=quality.BAD_FRAME, detail=detail, answered=False)
                break
            if new:
                # behind more than any answer is long, look again only when the noise has grown by a part:
                # every look searches all of it
                more = verdict.missing + max(0, len(raw) - 2 * MAX_FRAME) // 8
                self._sleep_until(min(now + int(more * self._char_us), deadline_us))
            else:
                self._wire.wait((deadline_us - now) / 1e6)
        return buffer, self._note_echo(frame, stripped, verdict)

    def _talk_raw(self, request: RawRequest, heard: list[tuple[int, bytes]]) -> tuple[int, str, int]:
        """Returns code, detail and when sending began."""
        frame = request.frame
        requested_us = sent_us = self._clock_us()
        if frame:
            if not self._keep_silence(requested_us + _RAW_PATIENCE_US, heard):
                return quality.NOT_ASKED, "the line was never silent, nothing was sent", self._clock_us()
            requested_us, sent_us = self._send(frame)
        deadline_us = sent_us + int(request.listen_s * 1e6)
        answer, is_whole = b"", False
        while (now := self._clock_us()) < deadline_us:
            until_us = min(self._last_activity_us + self._silence_us, deadline_us) if is_whole else deadline_us
            self._wire.wait(max(until_us - now, 0) / 1e6)
            new = self._read()
            if new:
                heard.append((self._last_activity_us, new))
                answer += new
                is_whole = request.until_frame and _is_whole(frame, answer, echoes=self._echoes)
            elif is_whole and self._clock_us() >= self._last_activity_us + self._silence_us:
                break
        self._note_raw(frame, sent_us, answer)
        return quality.GOOD, "", requested_us

    def _read(self) -> bytes:
        data = self._wire.read()
        if data:
            self._last_activity_us = self._clock_us()
        return data

    def _sleep_until(self, at_us: int) -> None:
        rest_us = at_us - self._clock_us()
        if rest_us > 0:
            self._sleep(rest_us / 1e6)

    # --- what was seen --------------------------------------------------------------------

    def _drain(self) -> bytes:
        """Takes and returns what is on the line that nobody asked for."""
        before_us, last_us = self._looked_us, self._last_activity_us
        stray = self._read()
        if stray:
            if self._last_activity_us - last_us > _FRAME_IS_OVER_US:
                self._stray = b""
            self._take_stray(stray, before_us)
        self._looked_us = self._clock_us()
        return stray

    def _take_stray(self, stray: bytes, came_us: int) -> None:
        if stray:
            self._count("stray_bytes", len(stray))
            keys, rest = split_replies(self._stray + stray)
            self._stray = rest[-MAX_FRAME:]
            for key in keys:
                self._note_reply(key, came_us)

    def _note_echo(self, frame: Asked, stripped: bool, outcome: Reply | Refused) -> Reply | Refused:
        if not stripped:
            if isinstance(outcome, Reply):
                is_proof = not mirrors(frame)
            else:
                is_proof = outcome.answered and outcome.code != quality.BAD_FRAME
            if is_proof:
                self._echoes = False
            return outcome
        if self._echoes is None and mirrors(frame) and not isinstance(outcome, Reply):
            # once only: the echo of a line without a device, or the answer on a line without echo
            if outcome.code == quality.NO_REPLY:
                detail = (
                    "the request itself came back, and it is not known yet whether this line echoes; read once first"
                )
                return replace(outcome, detail=detail)
            return outcome
        self._echoes = True
        self._count("echo_bytes", len(frame.adu))
        return outcome

    def _note_rest(self, frame: Asked, buffer: bytes, outcome: Reply | Refused, came_us: int) -> None:
        """Looks at what is not the answer itself: foreign frames in front of it, bytes behind it."""
        if isinstance(outcome, Reply):
            end = outcome.skipped + frame.reply_length
            if len(buffer) == end and not outcome.skipped:
                return
            self._note_foreign(buffer[: outcome.skipped], came_us)
            self._take_stray(buffer[end:], came_us)
        elif not outcome.answered:
            self._note_foreign(buffer, came_us)

    def _note_foreign(self, buffer: bytes, came_us: int) -> None:
        for key in whole_replies(buffer):
            self._note_reply(key, came_us)

    def _note_raw(self, frame: bytes, sent_us: int, answer: bytes) -> None:
        """Keeps the late-reply rule for what a tool sent: its reply may still come."""
        has_echo = bool(frame) and self._echoes is not False and answer.startswith(frame)
        replies = whole_replies(answer[len(frame) :] if has_echo else answer)
        key = (frame[0], frame[1] & 0x7F) if len(frame) >= 4 else None
        if key in replies and (has_echo or not answer.startswith(frame)):
            self._echoes = has_echo
        for other in replies:
            if other == key:
                self._late.answered(key, sent_us=sent_us, replied_us=self._clock_us())
                key = None
            else:
                self._note_reply(other, sent_us)
        if key is not None:
            self._owe((key,), sent_us, int(MAX_FRAME * self._char_us), _UNDECLARED_BOUND_US)

    def _note_reply(self, key: Key, came_us: int) -> None:
        sighting = self._late.seen(key, came_us, unseen_us=self._clock_us() - came_us)
        if sighting is Sighting.LATE:
            self._count("late_replies")
        elif sighting is Sighting.DOUBTFUL:
            self._count("doubtful")
        else:
            self._count("foreign")

    def _owe(self, keys: tuple[Key, ...], sent_us: int, reply_us: int, declared_us: int) -> None:
        for key in keys:
            bound_us = self._late.bound_us(key[0], declared_us)
            until_us = sent_us + bound_us + reply_us + self._silence_us + _ADAPTER_US
            self._late.owe(key, sent_us=sent_us, until_us=until_us)

    def _answered(self, keys: tuple[Key, ...], sent_us: int, replied_us: int) -> None:
        for key in keys:
            self._late.answered(key, sent_us=sent_us, replied_us=replied_us)

    def _count_failure(self, outcome: Refused) -> None:
        if outcome.code in (quality.NO_REPLY, quality.FOREIGN_REPLY):
            self._count("timeouts")
        elif outcome.code == quality.BAD_FRAME:
            self._count("bad_frames")
        else:
            self._count("exceptions")

    def _count(self, name: str, number: int = 1) -> None:
        self._counts[name] += number


def _is_whole(frame: bytes, answer: bytes, *, echoes: bool | None) -> bool:
    """Whether a whole frame is there that is not the echo of what was sent."""
    if frame and echoes is not False and answer[: len(frame)] == frame[: len(answer)]:
        answer = answer[len(frame) :]
    return bool(whole_replies(answer)) or crc_fits(answer)
