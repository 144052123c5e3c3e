"""The bus port: what a poller may ask of any line, serial or TCP, and what comes back.

It is not a schedule and not a decoder: one request in, raw words and timings out.
Failures that a bus has every day are values, so that a poller never needs ``except``;
an exception out of a port is a programming error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from contracts import quality


def monotonic_us() -> int:
    """Returns the monotonic clock of this boot in whole microseconds."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One read of consecutive registers or bits of one unit."""

    #: 0..255; 1..247 by the standard
    unit_id: int
    #: ``holding``, ``input``, ``coil`` or ``discrete``
    table: str
    #: first address on the wire, zero based
    address: int
    #: registers (1..125) or bits (1..2000)
    count: int
    #: seconds the device may take to answer; a serial port adds the time that the bytes need
    timeout_s: float
    #: seconds after which a reply of this unit can no longer arrive (profile limit)
    max_reply_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """What one read gave."""

    #: registers as 0..65535, bits as 0 or 1; ``None`` on failure
    words: tuple[int, ...] | None
    #: ``contracts.quality``: GOOD, or a cause of quality ``missing``
    code: int
    #: monotonic microseconds when the request began to be sent, or was refused
    requested_us: int
    #: monotonic microseconds when the reply was complete, or waiting ended
    replied_us: int
    #: empty, or one sentence for logs
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """One write to one unit, or to all of them."""

    #: 0 (broadcast) to 255
    unit_id: int
    #: 5 or 15 (coils), 6 or 16 (holding registers)
    function: int
    #: first address on the wire, zero based
    address: int
    #: registers 0..65535; coils of function 15 as 0 or 1; of function 5 the word itself, by the standard
    #: 0xFF00 for on and 0x0000 for off
    values: tuple[int, ...]
    #: seconds the device may take to answer
    timeout_s: float
    #: seconds after which a reply of this unit can no longer arrive
    max_reply_s: float
    #: unit ids that the answer may carry (some units answer an address change from the new address);
    #: empty: nobody answers, and the write returns after ``timeout_s``, the turn-around time
    answered_by: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What one write gave."""

    #: GOOD when the device confirmed it or nobody was to answer; else a cause of quality ``missing``
    code: int
    requested_us: int
    replied_us: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """Bytes for a tool that reads the line by itself (scan, doctor)."""

    #: a whole frame with its CRC; empty: only listen
    frame: bytes
    #: seconds to listen after the last byte of the frame has left
    listen_s: float
    #: return early once a whole frame with a right CRC has come and the line is silent
    until_frame: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResult:
    """What came."""

    #: (monotonic us, bytes) in the order of arrival, echo included
    heard: tuple[tuple[int, bytes], ...]
    #: GOOD, PORT_CLOSED, or NOT_ASKED: the line was never silent and nothing was sent
    code: int
    requested_us: int
    ended_us: int
    detail: str = ""


class BusPort(Protocol):
    """A line that can be asked; safe to call from one event loop."""

    async def open(self) -> None:
        """Starts the port; a port that is not there now is tried again by reads, with back-off."""

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once, never retries by itself, and always returns within the request's time-out."""

    async def write(self, request: WriteRequest) -> WriteResult:
        """Writes once, never retries by itself, and always returns within the request's time-out."""

    async def close(self) -> None:
        """Stops the port; safe to call twice."""


class RawPort(BusPort, Protocol):
    """A line of RTU frames whose bytes a tool may see: serial lines and RTU over TCP."""

    async def raw(self, request: RawRequest) -> RawResult:
        """Sends the frame after the silence that the line wants, and returns all that came."""


#: exception code of a Modbus reply -> quality code (Modbus Application Protocol V1.1b3, section 7)
EXCEPTION_CODES: dict[int, int] = {
    1: quality.ILLEGAL_FUNCTION,
    2: quality.ILLEGAL_ADDRESS,
    3: quality.ILLEGAL_VALUE,
    4: quality.DEVICE_FAILURE,
    5: quality.DEVICE_BUSY,  # acknowledge: a long job runs, ask again later
    6: quality.DEVICE_BUSY,
    7: quality.ILLEGAL_VALUE,  # negative acknowledge
    8: quality.DEVICE_FAILURE,  # memory parity
    10: quality.GATEWAY_PATH,
    11: quality.GATEWAY_TARGET,
}


def exception_quality(exception_code: int) -> int:
    """Returns the quality code of a Modbus exception; a vendor's own number is ``device_exception``."""
    return EXCEPTION_CODES.get(exception_code, quality.DEVICE_EXCEPTION)
