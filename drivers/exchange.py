"""One request and its reply on a serial line, step by step, for one thread.

::

    drain, silence t3.5 | request --> | device thinks | <-- reply | silence ...
                        ^ requested_us                            ^ replied_us

It keeps the silence, drains what nobody asked for, waits "lazily" (sleeps until the bytes can
be there instead of waking for each), strips an echo, ends a frame by length and CRC, applies
the late-reply rule and reopens a vanished port with back-off.  It never retries: a failed
read is a value, and who is asked again when is for the scheduler.  Clock, sleep and wire
come through the constructor, so that it runs in virtual time too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from contracts import quality
from drivers.errors import LineError
from drivers.frames import (
    REQUEST_LENGTH,
    FrameRequest,
    NeedMore,
    Refused,
    Reply,
    parse_reply,
    read_request,
    strip_echo,
    whole_replies,
    why_no_reply,
)
from drivers.late import LateReplies
from drivers.port import ReadRequest, ReadResult
from drivers.serial_wire import LineSettings, Wire

#: seconds between attempts to open a port that is not there; the last one stays
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounters:
    """What a line has seen since it was made."""

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
    #: bytes that arrived while nothing was asked
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
        self._settings = settings
        self._wire = wire
        self._clock_us = clock_us
        self._sleep = sleep
        self._late = LateReplies()
        self._counters = LineCounters()
        self._is_open = False
        self._was_open = False
        self._failures = 0
        self._next_open_us = 0
        self._closed_because = "port is not open"
        self._last_activity_us = 0
        self._echoes: bool | None = None
        self._char_us = settings.char_s * 1e6
        self._silence_us = int(settings.silence_s * 1e6) + 1

    @property
    def counters(self) -> LineCounters:
        """A snapshot, safe to take from another thread."""
        return self._counters

    def ask(self, request: ReadRequest) -> ReadResult:
        """Sends one read and waits for its answer; never raises for what a line can do."""
        frame = read_request(unit_id=request.unit_id, table=request.table, address=request.address, count=request.count)
        now = self._clock_us()
        blocked = self._late.blocked_until(frame.key, now)
        if blocked is not None:
            self._count(held_back=1)
            detail = f"a late reply may still come, {(blocked - now) / 1e6:.3f} s more"
            return ReadResult(words=None, code=quality.NOT_ASKED, requested_us=now, replied_us=now, detail=detail)
        if not self._is_open and not self._try_open(now):
            return self._closed(now)
        try:
            return self._talk(frame, request)
        except LineError as error:
            gone_us = self._clock_us()
            bound_us = self._late.bound_us(request.unit_id, int(request.max_reply_s * 1e6))
            self._late.owe(frame.key, sent_us=gone_us, until_us=gone_us + bound_us)
            self._lose(error)
            return self._closed(now)

    def try_open(self) -> bool:
        """Opens the port now unless a back-off runs; returns whether it is open."""
        return self._is_open or self._try_open(self._clock_us())

    def close(self) -> None:
        """Closes the port."""
        self._is_open = False
        self._wire.close()

    # --- the port -------------------------------------------------------------------------

    def _try_open(self, now: int) -> bool:
        if now < self._next_open_us:
            return False
        try:
            self._wire.open()
        except LineError as error:
            self._lose(error)
            return False
        self._is_open = True
        self._failures = 0
        self._last_activity_us = self._clock_us()
        if self._was_open:
            self._count(reopened=1)
        self._was_open = True
        return True

    def _lose(self, error: LineError) -> None:
        self._is_open = False
        self._wire.close()
        self._closed_because = str(error)
        wait_s = BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self._next_open_us = self._clock_us() + int(wait_s * 1e6)

    def _closed(self, requested_us: int) -> ReadResult:
        now = self._clock_us()
        detail = self._closed_because
        return ReadResult(
            words=None, code=quality.PORT_CLOSED, requested_us=requested_us, replied_us=now, detail=detail
        )

    # --- one exchange ---------------------------------------------------------------------

    def _talk(self, frame: FrameRequest, request: ReadRequest) -> ReadResult:
        begun_us = self._clock_us()
        patience_us = int(request.timeout_s * 1e6)
        if not self._keep_silence(begun_us + patience_us):
            now, detail = self._clock_us(), "the line was never silent"
            self._count(bad_frames=1)
            return ReadResult(words=None, code=quality.BAD_FRAME, requested_us=begun_us, replied_us=now, detail=detail)
        requested_us = self._clock_us()
        self._wire.write(frame.adu)
        self._count(requests=1)
        sent_us = requested_us + int(REQUEST_LENGTH * self._char_us)
        reply_us = int(frame.reply_length * self._char_us)
        self._last_activity_us = sent_us
        buffer, outcome = self._collect(frame, sent_us + reply_us, sent_us + reply_us + patience_us)
        replied_us = self._clock_us()
        self._note_foreign(frame, buffer, outcome, replied_us)
        if isinstance(outcome, Reply):
            self._late.answered(frame.key)
            self._count(good=1)
            return ReadResult(words=outcome.words, code=quality.GOOD, requested_us=requested_us, replied_us=replied_us)
        if outcome.answered:
            self._late.answered(frame.key)
        else:
            bound_us = self._late.bound_us(request.unit_id, int(request.max_reply_s * 1e6))
            until_us = sent_us + bound_us + reply_us + self._silence_us
            self._late.owe(frame.key, sent_us=sent_us, until_us=until_us)
        self._count_failure(outcome)
        return ReadResult(
            words=None, code=outcome.code, requested_us=requested_us, replied_us=replied_us, detail=outcome.detail
        )

    def _keep_silence(self, deadline_us: int) -> bool:
        """Waits until nothing has moved for t3.5; false when that never came."""
        while True:
            rest_us = self._last_activity_us + self._silence_us - self._clock_us()
            if rest_us > 0:
                self._sleep(rest_us / 1e6)
            stray = self._wire.read()
            now = self._clock_us()
            if not stray:
                return True
            self._last_activity_us = now
            self._count(stray_bytes=len(stray))
            for key in whole_replies(stray):
                self._note_reply(key, None)
            if now > deadline_us:
                return False

    def _collect(self, frame: FrameRequest, earliest_us: int, deadline_us: int) -> tuple[bytes, Reply | Refused]:
        """Reads until the answer is there or waiting ends; returns the bytes without echo, and the outcome."""
        raw, stripped = b"", False
        verdict: Reply | NeedMore | Refused = NeedMore(missing=frame.reply_length)
        buffer = b""
        self._sleep_until(earliest_us)
        while True:
            new = self._wire.read()
            now = self._clock_us()
            if new:
                raw += new
                self._last_activity_us = now
                buffer, stripped = strip_echo(frame, raw, echoes=self._echoes)
                verdict = parse_reply(frame, buffer)
            if not isinstance(verdict, NeedMore):
                break
            if now >= deadline_us:
                verdict = why_no_reply(frame, buffer)
                break
            if new:
                self._sleep_until(min(now + int(verdict.missing * self._char_us), deadline_us))
            else:
                self._wire.wait((deadline_us - now) / 1e6)
        self._note_echo(frame, stripped, verdict)
        return buffer, verdict

    def _sleep_until(self, at_us: int) -> None:
        rest_us = at_us - self._clock_us()
        if rest_us > 0:
            self._sleep(rest_us / 1e6)

    # --- what was seen --------------------------------------------------------------------

    def _note_echo(self, frame: FrameRequest, stripped: bool, outcome: Reply | Refused) -> None:
        if stripped:
            self._echoes = True
            self._count(echo_bytes=REQUEST_LENGTH)
        elif isinstance(outcome, Reply) and frame.reply_length != REQUEST_LENGTH:
            self._echoes = False

    def _note_foreign(self, frame: FrameRequest, buffer: bytes, outcome: Reply | Refused, replied_us: int) -> None:
        if isinstance(outcome, Reply):
            if not outcome.skipped:
                return
            buffer = buffer[: outcome.skipped]
        elif outcome.answered:
            return
        for key in whole_replies(buffer):
            self._note_reply(key, replied_us)

    def _note_reply(self, key: tuple[int, int], now_us: int | None) -> None:
        if self._late.seen(key, now_us):
            self._count(late_replies=1)
        else:
            self._count(foreign=1)

    def _count_failure(self, outcome: Refused) -> None:
        if outcome.code in (quality.NO_REPLY, quality.FOREIGN_REPLY):
            self._count(timeouts=1)
        elif outcome.code == quality.BAD_FRAME:
            self._count(bad_frames=1)
        else:
            self._count(exceptions=1)

    def _count(self, **more: int) -> None:
        old = self._counters
        self._counters = replace(old, **{name: getattr(old, name) + number for name, number in more.items()})
