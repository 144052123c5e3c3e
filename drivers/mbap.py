"""Modbus TCP frames: bytes to transactions and back, pure.

::

    transaction id hi lo | protocol 0 0 | length hi lo | unit id | PDU (function, data)
                                          '--------- length counts these ---------'

A stream is split by the length field alone, so a stream that once holds anything else holds
nothing that can be trusted from there on: the splitter says so and gives no more frames.
Which request a frame answers, and for how long, is ``drivers.tcp``.  Sources: Modbus Messaging
on TCP/IP V1.0b section 3, Modbus Application Protocol V1.1b3 section 6.
"""

from __future__ import annotations

import struct

from contracts import quality
from drivers.errors import RequestError
from drivers.frames import READ_FUNCTION
from drivers.plan import TABLES
from drivers.port import ReadRequest, exception_quality

HEADER_LENGTH = 6
#: what the length field may say: unit id and function at least, unit id and a PDU of 253 bytes at most
LEAST, MOST = 2, 254
#: transactions are numbered from 1: a server that does not give the number back often gives 0
FIRST_TRANSACTION, LAST_TRANSACTION = 1, 65535

#: transaction id, unit id, PDU
Frame = tuple[int, int, bytes]

_HEADER = struct.Struct(">HHHB")
_READ = struct.Struct(">BHH")
_WORDS = tuple(struct.Struct(f">{count}H") for count in range(126))
_EXCEPTION_LENGTH = 2


def encode(transaction_id: int, unit_id: int, pdu: bytes) -> bytes:
    """Returns the frame of one PDU."""
    return _HEADER.pack(transaction_id, 0, len(pdu) + 1, unit_id) + pdu


def next_transaction(transaction_id: int) -> int:
    """Returns the number after this one; 0 is never used."""
    return transaction_id + 1 if transaction_id < LAST_TRANSACTION else FIRST_TRANSACTION


class Splitter:
    """Takes what a connection gives, in any segments, and returns whole frames; holds one frame at most."""

    __slots__ = ("_rest", "lost")

    def __init__(self) -> None:
        self._rest = b""
        #: why no more frames come; empty while the stream is in order
        self.lost = ""

    def feed(self, data: bytes) -> list[Frame]:
        """Returns the frames that are complete now; none once ``lost`` says why."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        at, end = 0, len(data)
        while not self.lost and end - at >= HEADER_LENGTH:
            transaction_id, protocol, length = struct.unpack_from(">HHH", data, at)
            if protocol or not LEAST <= length <= MOST:
                self.lost = f"no Modbus TCP frame begins with {data[at : at + 8].hex(' ').upper()}"
                break
            after = at + HEADER_LENGTH + length
            if after > end:
                break
            frames.append((transaction_id, data[at + HEADER_LENGTH], data[at + HEADER_LENGTH + 1 : after]))
            at = after
        self._rest = b"" if self.lost else data[at:]
        return frames

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._rest)

    def may_be_inside(self, transaction_id: int) -> bool:
        """Whether the frame that has begun can be the one of this transaction."""
        rest = self._rest
        return bool(rest) and transaction_id.to_bytes(2, "big").startswith(rest[:2])


def read_pdu(request: ReadRequest) -> bytes:
    """Builds the PDU of a read.

    Raises:
        RequestError: Modbus cannot carry such a request.
    """
    table, address, count = request.table, request.address, request.count
    most = TABLES.get(table)
    if most is None:
        raise RequestError(f"table {table!r} is not known; {', '.join(TABLES)} are")
    if not 1 <= count <= most or address < 0 or address + count > 65536:
        raise RequestError(f"no request can read {count} of {table} at {address}")
    if not 0 <= request.unit_id <= 255:
        raise RequestError(f"unit id {request.unit_id} is outside 0..255")
    return _READ.pack(READ_FUNCTION[table], address, count)


def read_words(request: ReadRequest, pdu: bytes) -> tuple[tuple[int, ...] | None, int, str]:
    """Returns the words of a read's reply, or None with a quality code and one sentence.

    Registers come as 0..65535, bits as 0 and 1, exactly as many as asked.
    """
    function, size = READ_FUNCTION[request.table], len(pdu)
    if pdu[0] == function:
        is_bits = function <= 2
        wanted = (request.count + 7) // 8 if is_bits else 2 * request.count
        if size == wanted + 2 and pdu[1] == wanted:
            if is_bits:
                return tuple(pdu[2 + place // 8] >> place % 8 & 1 for place in range(request.count)), quality.GOOD, ""
            return _WORDS[request.count].unpack_from(pdu, 2), quality.GOOD, ""
        told = f", saying {pdu[1]}" if size > 1 else ""
        return None, quality.BAD_FRAME, f"reply of {max(size - 2, 0)} bytes{told}; {wanted} would be right"
    if pdu[0] == function | 0x80:
        if size != _EXCEPTION_LENGTH:
            return None, quality.BAD_FRAME, f"an exception of {size} bytes; 2 would be right"
        return None, exception_quality(pdu[1]), f"exception {pdu[1]:02X}"
    return None, quality.FOREIGN_REPLY, f"reply of function {pdu[0] & 0x7F} to a read of function {function}"
