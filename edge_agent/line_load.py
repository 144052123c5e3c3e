"""How much of a serial line a plan needs: frames and silences only, the least that is possible.

It is not the time budget of an alarm: what a device needs to think, retries and probes are
not in it.  A plan that does not fit here cannot be polled at all.  Frame lengths: Modbus over
Serial Line V1.02, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.frames import silence_s
from drivers.plan import BlockRead
from edge_agent.plan import PortPlan

#: unit id, function, address, count, CRC
_REQUEST_BYTES = 8
#: unit id, function, byte count, CRC
_REPLY_BYTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LineNeed:
    """One read that comes round on a line."""

    read: BlockRead
    interval_ms: int
    #: least silence that the device wants between requests
    min_request_gap_ms: int


def bits_per_character(port: PortPlan) -> int:
    """Returns start, data, parity and stop bits of one character."""
    return 1 + 8 + (port.parity != "N") + port.stop_bits


def read_s(port: PortPlan, read: BlockRead, min_request_gap_ms: int = 0) -> float:
    """Returns the least time that one read holds the line, seconds."""
    data = (read.count + 7) // 8 if read.table in ("coil", "discrete") else 2 * read.count
    wire = (_REQUEST_BYTES + _REPLY_BYTES + data) * bits_per_character(port) / port.baud
    gap = silence_s(port.baud, bits_per_character(port))
    return wire + gap + max(gap, min_request_gap_ms / 1000)


def line_share(port: PortPlan, needs: Iterable[LineNeed]) -> float:
    """Returns the part of the line's time that the reads need; above 1 is impossible."""
    return sum(read_s(port, need.read, need.min_request_gap_ms) * 1000 / need.interval_ms for need in needs)
