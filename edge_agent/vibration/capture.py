"""One burst: fast reads of one device, each a slot of its port's own schedule.

It decides nothing about the line: every read is asked for by ``Ask``, which gets a slot between two
ordinary requests, so no alarm point is later because of a burst.  A read that is not back when
the next one would be due takes the place of that one; what was skipped is a gap that the fit
sees (``burst.py``).  A device that has gone silent is left alone after a few tries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from contracts.quality import GOOD, INVALID, NOT_ASKED
from drivers.errors import DecodeError
from drivers.plan import BlockDecoder
from drivers.port import ReadRequest, ReadResult
from edge_agent.vibration.burst import Tick

#: reads in sequence without an answer after which a burst ends
MOST_UNANSWERED = 5

Ask = Callable[[ReadRequest], Awaitable[ReadResult]]


async def capture(
    request: ReadRequest,
    decode: BlockDecoder,
    *,
    width: int,
    step_us: int,
    begin_us: int,
    length_us: int,
    ask: Ask,
    clock: Callable[[], int],
    sleep: Callable[[float], Awaitable[None]],
    most_unanswered: int = MOST_UNANSWERED,
) -> list[Tick]:
    """Returns one row for each read that was made, in order; times ascend.

    Args:
        request: the same for every read.
        width: channels.
        step_us: from one read to the next.
        begin_us: of the first read, monotonic; in the past where it is late.
        length_us: from the first read to the last.
        ask: makes one read; it never raises for what a bus has every day.
        clock: monotonic us.
        sleep: waits so many seconds.
        most_unanswered: reads in sequence without an answer after which it ends.
    """
    rows: list[Tick] = []
    unanswered = 0
    place, last = 0, length_us // step_us
    while place <= last and unanswered < most_unanswered:
        wait_us = begin_us + place * step_us - clock()
        if wait_us > 0:
            await sleep(wait_us / 1_000_000)
        result = await ask(request)
        if result.words is None:
            rows.append((result.requested_us, (None,) * width, (result.code,) * width))
            # Not asked: the port waits for a late reply; that is no further silence.
            unanswered += result.code != NOT_ASKED
        else:
            unanswered = 0
            rows.append(_row(result, decode, width))
        place = max(place + 1, -(-(clock() - begin_us) // step_us))
    return rows


def _row(result: ReadResult, decode: BlockDecoder, width: int) -> Tick:
    assert result.words is not None
    at_us = (result.requested_us + result.replied_us) // 2
    try:
        values, codes = decode(result.words)
    except DecodeError:
        return at_us, (None,) * width, (INVALID,) * width
    return at_us, values, codes if codes is not None and any(code != GOOD for code in codes) else None
