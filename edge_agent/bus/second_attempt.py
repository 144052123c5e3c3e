"""The retry policy of this project, here and nowhere else: what is asked a second time in one tick, and when.

A second attempt waits for alarm blocks that are due (``schedule``), and is made only if it can
end before the block's next tick; there is no third.  What a device says for good (no such
function, register or number) is not asked again before the next tick, and silence is for
``device_state``: after a time-out a late reply could answer the second question.
Actions per exception code: Modbus Application Protocol V1.1b3, section 7; that a busy device
is left alone for 100 ms or more is field practice.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from contracts import quality

#: quality code of the first attempt -> milliseconds to wait
SECOND_ATTEMPT_MS: Mapping[int, int] = MappingProxyType(
    {
        # Something came and was damaged, and its line is silent again.
        quality.BAD_FRAME: 0,
        # Exceptions 5 (a long job runs) and 6 (busy).
        quality.DEVICE_BUSY: 100,
    }
)


def second_attempt_ms(code: int, *, requested_us: int, replied_us: int, next_tick_ms: int) -> int | None:
    """Returns when a tick may be asked again, monotonic ms; None: not at all.

    Args:
        code: of the first attempt.
        requested_us: when that began, monotonic.
        replied_us: when it ended; the second one is taken to last as long.
        next_tick_ms: of the same block.
    """
    wait_ms = SECOND_ATTEMPT_MS.get(code)
    if wait_ms is None:
        return None
    at_us = replied_us + wait_ms * 1000
    if at_us + (replied_us - requested_us) > next_tick_ms * 1000:
        return None
    # Whole milliseconds of the schedule, never early where something is to be waited for.
    return at_us // 1000 + (wait_ms > 0)
