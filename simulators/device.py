"""A Modbus device as a pure function: request PDU and memory in, reply PDU out.

Functions 1 to 6, 15 and 16.  It knows no line: unit id, CRC, transaction numbers, delays and faults are
the servers' business.  Exceptions follow the Modbus Application Protocol V1.1b3, section 7:
1 unknown function, 2 address that does not exist, 3 quantity that is not allowed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

#: first address, and the one after the last
Range = tuple[int, int]

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3

_READ_TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_MAX_BITS = 2000
_MAX_WRITE = 123
_MAX_WRITE_BITS = 1968


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a request finds in a device at one moment."""

    #: table -> address -> word (bits as 0 or 1); an address inside of a range and not here reads 0
    words: Mapping[str, Mapping[int, int]]
    #: table -> addresses that exist
    ranges: Mapping[str, tuple[Range, ...]]
    #: registers that one request may ask
    max_registers: int = 125
    #: reads of registers must start at a multiple of this
    start_multiple: int = 1

    def has(self, table: str, address: int, count: int) -> bool:
        """Returns whether all these addresses exist."""
        return any(low <= address and address + count <= high for low, high in self.ranges.get(table, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply, and what the request wrote."""

    pdu: bytes
    #: (table, address, word)
    writes: tuple[tuple[str, int, int], ...] = ()


def exception_pdu(function: int, code: int) -> bytes:
    """Returns the reply that refuses a function."""
    return bytes((function & 0x7F | 0x80, code))


def answer(pdu: bytes, memory: Memory) -> Answer | None:
    """Returns the reply to a request, or ``None`` when the request is too short to be one."""
    if not pdu:
        return None
    function = pdu[0]
    if function in _READ_TABLES and len(pdu) == 5:
        address, count = struct.unpack(">HH", pdu[1:])
        return Answer(pdu=_read(function, address, count, memory))
    if function in (5, 6) and len(pdu) == 5:
        return _write_one(pdu, memory)
    if function in (15, 16) and len(pdu) >= 6:
        return _write_many(pdu, memory)
    return Answer(
        pdu=exception_pdu(function, ILLEGAL_VALUE if function in (1, 2, 3, 4, 5, 6, 15, 16) else ILLEGAL_FUNCTION)
    )


def _read(function: int, address: int, count: int, memory: Memory) -> bytes:
    table = _READ_TABLES[function]
    if table not in memory.ranges:
        return exception_pdu(function, ILLEGAL_FUNCTION)
    most = _MAX_BITS if function in (1, 2) else memory.max_registers
    if not 1 <= count <= most:
        return exception_pdu(function, ILLEGAL_VALUE)
    is_aligned = function in (1, 2) or address % memory.start_multiple == 0
    if not is_aligned or not memory.has(table, address, count):
        return exception_pdu(function, ILLEGAL_ADDRESS)
    content = memory.words.get(table, {})
    values = [content.get(place, 0) for place in range(address, address + count)]
    if function in (1, 2):
        bits = sum((value & 1) << place for place, value in enumerate(values))
        data = bits.to_bytes((count + 7) // 8, "little")
    else:
        data = struct.pack(f">{count}H", *values)
    return bytes((function, len(data))) + data


def _write_one(pdu: bytes, memory: Memory) -> Answer:
    function, address, value = struct.unpack(">BHH", pdu)
    table = "coil" if function == 5 else "holding"
    if function == 5 and value not in (0, 0xFF00):
        return Answer(pdu=exception_pdu(function, ILLEGAL_VALUE))
    if not memory.has(table, address, 1):
        return Answer(pdu=exception_pdu(function, ILLEGAL_ADDRESS))
    return Answer(pdu=pdu, writes=((table, address, int(value != 0) if function == 5 else value),))


def _write_many(pdu: bytes, memory: Memory) -> Answer:
    function, address, count, size = struct.unpack(">BHHB", pdu[:6])
    is_bits = function == 15
    table, most = ("coil", _MAX_WRITE_BITS) if is_bits else ("holding", _MAX_WRITE)
    if not 1 <= count <= most or size != ((count + 7) // 8 if is_bits else 2 * count) or len(pdu) != 6 + size:
        return Answer(pdu=exception_pdu(function, ILLEGAL_VALUE))
    if not memory.has(table, address, count):
        return Answer(pdu=exception_pdu(function, ILLEGAL_ADDRESS))
    if is_bits:
        words = tuple(pdu[6 + place // 8] >> place % 8 & 1 for place in range(count))
    else:
        words = struct.unpack(f">{count}H", pdu[6:])
    writes = tuple((table, address + place, word) for place, word in enumerate(words))
    return Answer(pdu=pdu[:5], writes=writes)
