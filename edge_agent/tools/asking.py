"""Asking one question on a raw port and listening for all that comes of it.

The port returns as soon as a whole frame is there; that frame can be our own echo or the late
reply of somebody else.  So it is listened further until the asked unit has answered or its time is over, and
an answer that has begun may end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from contracts import quality
from drivers.frames import FrameRequest, read_request
from drivers.port import RawPort, RawRequest, RawResult
from edge_agent.errors import ToolError
from edge_agent.tools.heard import (
    ANSWERED,
    Answer,
    Chunks,
    Idle,
    Outcome,
    joined,
    missing_bytes,
    read_answer,
    read_idle,
    whole_answers,
)

#: an adapter hands bytes over in packets: so much longer an answer that has begun may take
_PACKET_S = 0.02
#: shorter rests are not worth a further call
_SHORTEST_S = 0.0005


@dataclass(slots=True, kw_only=True)
class Asker:
    """One line that is asked."""

    port: RawPort
    #: seconds of one character
    char_s: float
    #: added to every wait: the way through the running agent, a slow adapter
    extra_s: float = 0.0
    #: longest time that one call may listen; a borrowed line is given back in between
    slice_s: float = 10.0

    async def ask(self, question: FrameRequest, wait_s: float, *, linger_s: float = 0.0) -> Answer:
        """Asks once.

        Args:
            question: what to send.
            wait_s: seconds to the first byte of the answer.
            linger_s: how long to listen after an answer for a second one.

        Raises:
            ToolError: the port is not there.
        """
        got = await self._raw(question.adu, wait_s + self.extra_s)
        if got.was_never_silent:
            return Answer(outcome=Outcome.NOT_ASKED, raw=joined(got.before))
        heard, ended_us = got.after, got.ended_us
        until_us = got.sent_us + int((wait_s + self.extra_s) * 1e6)
        is_patient = has_lingered = False
        while True:
            answer = read_answer(question, heard, sent_us=got.sent_us, char_s=self.char_s)
            rest_s = (until_us - ended_us) / 1e6
            if answer.outcome in ANSWERED:
                if has_lingered or not linger_s:
                    break
                rest_s, has_lingered = linger_s, True
            missing = missing_bytes(question, heard)
            if missing and not is_patient and rest_s < missing * self.char_s + _PACKET_S:
                rest_s, is_patient = missing * self.char_s + _PACKET_S, True
            if rest_s <= _SHORTEST_S:
                break
            more = await self._raw(b"", rest_s)
            heard = (*heard, *more.before, *more.after)
            if more.ended_us <= ended_us:
                break
            ended_us = more.ended_us
        stray = whole_answers(joined(got.before))
        return replace(answer, others=(*stray, *answer.others)) if stray else answer

    async def read(self, unit_id: int, table: str, address: int, count: int, wait_s: float) -> Answer:
        """Asks for registers; like :meth:`ask`."""
        return await self.ask(read_request(unit_id=unit_id, table=table, address=address, count=count), wait_s)

    async def listen(self, seconds: float) -> Idle:
        """Listens without sending; raises ToolError."""
        return read_idle(await self.overhear(seconds), seconds)

    async def overhear(self, seconds: float) -> Chunks:
        """Returns the bytes of so many seconds without sending; raises ToolError."""
        heard: list[tuple[int, bytes]] = []
        rest_s = seconds
        while rest_s > _SHORTEST_S:
            part_s = min(rest_s, self.slice_s)
            got = await self._call(RawRequest(frame=b"", listen_s=part_s, until_frame=False))
            heard += got.heard
            rest_s -= part_s
        return heard

    async def _raw(self, frame: bytes, listen_s: float) -> _Got:
        """Sends, or only listens, in slices no longer than may be."""
        got = await self._call(RawRequest(frame=frame, listen_s=min(listen_s, self.slice_s)))
        heard, ended_us, rest_s = got.heard, got.ended_us, listen_s - self.slice_s
        while rest_s > _SHORTEST_S and not heard and got.code == quality.GOOD:
            more = await self._call(RawRequest(frame=b"", listen_s=min(rest_s, self.slice_s)))
            heard, ended_us, rest_s = more.heard, more.ended_us, rest_s - self.slice_s
        begun_us = got.requested_us if frame else 0
        return _Got(
            before=tuple(item for item in heard if item[0] < begun_us),
            after=tuple(item for item in heard if item[0] >= begun_us),
            sent_us=got.requested_us + int(len(frame) * self.char_s * 1e6),
            ended_us=ended_us,
            was_never_silent=got.code == quality.NOT_ASKED,
        )

    async def _call(self, request: RawRequest) -> RawResult:
        result = await self.port.raw(request)
        if result.code not in (quality.GOOD, quality.NOT_ASKED):
            raise ToolError(result.detail or quality.CODES[result.code].en)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Got:
    """What one call, or several in a row, brought."""

    #: what came before the frame was sent
    before: Chunks
    after: Chunks
    #: when the last byte of the frame had left
    sent_us: int
    ended_us: int
    was_never_silent: bool
