"""Write PDUs of Modbus: what is asked, and whether a reply confirms it; pure.

::

    5, 6    function | address | value                            reply: the request itself
    15, 16  function | address | count | byte count | values      reply: function | address | count
    refusal                                                       function + 0x80 | exception code

A PDU has neither unit id nor CRC nor transaction: RTU frames (``frames``) and TCP (``mbap``)
put it into theirs.  Reads are in those two, because what they check differs.  Source: Modbus
Application Protocol V1.1b3, sections 6.5, 6.6, 6.11, 6.12 and 7.
"""

from __future__ import annotations

import struct

from contracts import quality
from drivers.errors import RequestError
from drivers.port import WriteRequest, exception_quality

WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
#: function -> values that one request can carry
WRITE_LIMITS: dict[int, int] = {WRITE_COIL: 1, WRITE_REGISTER: 1, WRITE_COILS: 1968, WRITE_REGISTERS: 123}
#: bytes of the reply PDU that confirms any write
WRITE_REPLY_LENGTH = 5
#: bytes of a PDU that refuses
EXCEPTION_PDU_LENGTH = 2

#: quality code and one sentence; GOOD and "" where the reply confirms the write
Verdict = tuple[int, str]


def write_pdu(request: WriteRequest) -> bytes:
    """Builds the PDU of a write.

    Raises:
        RequestError: Modbus cannot carry such a request.
    """
    function, address, values = request.function, request.address, request.values
    most = WRITE_LIMITS.get(function)
    if most is None:
        raise RequestError(f"function {function} is no write; {', '.join(map(str, WRITE_LIMITS))} are")
    if not 0 <= request.unit_id <= 255:
        raise RequestError(f"unit id {request.unit_id} is outside 0..255")
    if not 1 <= len(values) <= most:
        raise RequestError(f"function {function} writes 1..{most} values, not {len(values)}")
    if address < 0 or address + len(values) > 65536:
        raise RequestError(f"addresses {address}..{address + len(values) - 1} are outside 0..65535")
    largest = 1 if function == WRITE_COILS else 65535
    for value in values:
        if not 0 <= value <= largest:
            raise RequestError(f"value {value} of function {function} is outside 0..{largest}")
    if function in (WRITE_COIL, WRITE_REGISTER):
        return struct.pack(">BHH", function, address, values[0])
    if function == WRITE_REGISTERS:
        data = struct.pack(f">{len(values)}H", *values)
    else:
        packed = bytearray((len(values) + 7) // 8)
        for place, bit in enumerate(values):
            packed[place // 8] |= bit << place % 8
        data = bytes(packed)
    return struct.pack(">BHHB", function, address, len(values), len(data)) + data


def check_write_reply(request: WriteRequest, pdu: bytes) -> Verdict:
    """Says whether a reply PDU confirms a write, or why not; unit ids are the caller's to compare.

    Returns:
        ``FOREIGN_REPLY`` where it can be the answer to something else (function or address
        differ), ``BAD_FRAME`` where it is an answer that makes no sense, the exception's code
        where the device refuses.
    """
    function = pdu[0] if pdu else 0
    if function & 0x7F != request.function:
        return quality.FOREIGN_REPLY, f"reply of function {function & 0x7F} to a write of function {request.function}"
    if function & 0x80:
        if len(pdu) != EXCEPTION_PDU_LENGTH:
            return quality.BAD_FRAME, f"an exception of {len(pdu)} bytes; 2 would be right"
        return exception_quality(pdu[1]), f"exception {pdu[1]:02X}"
    if len(pdu) != WRITE_REPLY_LENGTH:
        return quality.BAD_FRAME, f"a write's reply of {len(pdu)} bytes; {WRITE_REPLY_LENGTH} would be right"
    address, told = struct.unpack(">HH", pdu[1:])
    if address != request.address:
        return quality.FOREIGN_REPLY, f"confirms address {address} instead of {request.address}"
    is_single = request.function in (WRITE_COIL, WRITE_REGISTER)
    wanted = request.values[0] if is_single else len(request.values)
    if told != wanted:
        return quality.BAD_FRAME, f"confirms {'value' if is_single else 'count'} {told} instead of {wanted}"
    return quality.GOOD, ""
