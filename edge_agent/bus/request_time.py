"""How long one request holds a line: frames, silences and the wait for an answer.

Pure arithmetic.  Frame lengths: Modbus over Serial Line V1.02, section 2; write frames: Modbus
Application Protocol V1.1b3, sections 6.5, 6.6, 6.11 and 6.12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.frames import silence_s
from drivers.plan import BlockRead
from drivers.steps import TriggerStep
from edge_agent.plan_ports import PortPlan

#: unit id, function, address, count, CRC; also the reply to a write
_REQUEST_BYTES = 8
#: unit id, function, byte count, CRC
_REPLY_BYTES = 5
#: unit id, function, address, count, byte count, CRC
_WRITE_MANY_BYTES = 9


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


def read_bytes(read: BlockRead) -> int:
    """Returns the bytes of a read and of its answer on a serial line."""
    data = (read.count + 7) // 8 if read.table in ("coil", "discrete") else 2 * read.count
    return _REQUEST_BYTES + _REPLY_BYTES + data


def write_bytes(trigger: TriggerStep) -> int:
    """Returns the bytes of a write and of its answer on a serial line."""
    if trigger.function in (5, 6):
        return 2 * _REQUEST_BYTES
    count = len(trigger.values)
    data = (count + 7) // 8 if trigger.function == 15 else 2 * count
    return _WRITE_MANY_BYTES + data + _REQUEST_BYTES


def wire_s(port: PortPlan, count: int) -> float:
    """Returns the time of so many bytes and of the silence before them; 0 where the port has no speed."""
    if not port.baud:
        return 0.0
    bits = bits_per_character(port)
    return count * bits / port.baud + silence_s(port.baud, bits)


def read_s(port: PortPlan, read: BlockRead, min_request_gap_ms: int = 0) -> float:
    """Returns the least time that one read holds a serial line, seconds: the device needs no time at all."""
    gap = silence_s(port.baud, bits_per_character(port))
    return wire_s(port, read_bytes(read)) + max(gap, min_request_gap_ms / 1000)


def line_share(port: PortPlan, needs: Iterable[LineNeed]) -> float:
    """Returns the part of the line's time that the reads need at least; above 1 is impossible."""
    return sum(read_s(port, need.read, need.min_request_gap_ms) * 1000 / need.interval_ms for need in needs)
