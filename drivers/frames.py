"""Modbus RTU frames: bytes to requests and replies, pure.

::

    unit id | function | data ...            | CRC low | CRC high
    read:     address hi lo, count hi lo
    reply:    byte count, bytes ...
    write:    as in ``drivers.pdu``; its reply begins with the same address
    refusal:  function + 0x80, exception code

A frame is delimited by length first and CRC second, because a valid frame followed by a zero
byte passes the CRC over all of it.  It knows no port and no time; who may still answer what
is ``drivers.late``.  Sources: Modbus Application Protocol V1.1b3, Modbus over Serial Line
V1.02; limits as in libmodbus ``modbus.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from contracts import quality
from drivers.errors import RequestError
from drivers.pdu import WRITE_REPLY_LENGTH, check_write_reply, write_pdu
from drivers.plan import TABLES
from drivers.port import WriteRequest, exception_quality

#: table -> function that reads it
READ_FUNCTION: dict[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
TABLE_OF_FUNCTION: dict[int, str] = {function: table for table, function in READ_FUNCTION.items()}
_BIT_FUNCTIONS = (1, 2)
#: bytes that a floating bus is seen to add before a frame
_NOISE = (0x00, 0xFF)
EXCEPTION_LENGTH = 5
REQUEST_LENGTH = 8
MAX_FRAME = 256


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """Returns the Modbus CRC (polynomial 0xA001 reflected, start 0xFFFF); the low byte travels first."""
    crc = 0xFFFF
    table = _CRC
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def with_crc(data: bytes) -> bytes:
    """Returns the frame: the data with its CRC behind it."""
    return data + crc16(data).to_bytes(2, "little")


def crc_fits(frame: bytes) -> bool:
    """Returns whether the last two bytes are the CRC of the rest."""
    return len(frame) >= 4 and crc16(frame[:-2]) == frame[-2] | frame[-1] << 8


def silence_s(baud: int, char_bits: int = 11) -> float:
    """Returns t3.5 in seconds: 3.5 characters up to 19200 baud, fixed 1.75 ms above.

    A character counts 11 bits at least, as in the makers' tables: a device that was set to 8N1
    may still time eleven.
    """
    return 0.00175 if baud > 19200 else 3.5 * max(char_bits, 11) / baud


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRequest:
    """A read as it goes on the line, and what its answer looks like."""

    unit_id: int
    function: int
    address: int
    #: registers or bits
    count: int
    #: the whole frame
    adu: bytes
    #: bytes of a reply that is no exception
    reply_length: int

    @property
    def key(self) -> tuple[int, int]:
        """What a reply tells of its request; requests of one key can be mistaken for each other."""
        return self.unit_id, self.function

    @property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """Every key that the answer may carry."""
        return ((self.unit_id, self.function),)

    @property
    def unit_ids(self) -> tuple[int, ...]:
        """Who may answer."""
        return (self.unit_id,)

    @property
    def head(self) -> bytes:
        """What follows the function code in an answer that is no exception: the byte count."""
        return bytes((self.reply_length - 5,))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameWrite:
    """A write as it goes on the line, and what its answer looks like."""

    request: WriteRequest
    #: the whole frame
    adu: bytes
    #: bytes of a reply that is no exception
    reply_length: int = 3 + WRITE_REPLY_LENGTH

    @property
    def function(self) -> int:
        """The function code."""
        return self.request.function

    @property
    def unit_ids(self) -> tuple[int, ...]:
        """Who may answer; empty: nobody does."""
        return self.request.answered_by

    @property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """Every key that an answer may carry, the asked unit's own among them."""
        units = dict.fromkeys((self.request.unit_id, *self.request.answered_by))
        return tuple((unit_id, self.request.function) for unit_id in units)

    @property
    def head(self) -> bytes:
        """What follows the function code in an answer that is no exception: the address."""
        return self.request.address.to_bytes(2)


Asked = FrameRequest | FrameWrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer."""

    #: registers 0..65535, or bits 0 and 1, exactly as many as asked; empty for a write that is confirmed
    words: tuple[int, ...]
    #: noise and foreign frames in front of it, in bytes
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedMore:
    """No whole answer yet."""

    #: bytes that can be missing at least
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """There is no answer in the bytes, and more bytes will not change it."""

    #: quality code of the cause
    code: int
    detail: str
    #: whether the asked unit has answered, so that no other reply of it is on the way
    answered: bool


def read_request(*, unit_id: int, table: str, address: int, count: int) -> FrameRequest:
    """Builds the frame of a read.

    Raises:
        RequestError: Modbus cannot carry such a request.
    """
    function = READ_FUNCTION.get(table)
    if function is None:
        raise RequestError(f"table {table!r} is not known; {', '.join(READ_FUNCTION)} are")
    if not 0 <= unit_id <= 255:
        raise RequestError(f"unit id {unit_id} is outside 0..255")
    if not 1 <= count <= TABLES[table]:
        raise RequestError(f"count {count} is outside 1..{TABLES[table]}")
    if address < 0 or address + count > 65536:
        raise RequestError(f"addresses {address}..{address + count - 1} are outside 0..65535")
    return FrameRequest(
        unit_id=unit_id,
        function=function,
        address=address,
        count=count,
        adu=with_crc(struct.pack(">BBHH", unit_id, function, address, count)),
        reply_length=5 + _payload_length(function, count),
    )


def write_request(request: WriteRequest) -> FrameWrite:
    """Builds the frame of a write.

    Raises:
        RequestError: Modbus cannot carry such a request.
    """
    for unit_id in request.answered_by:
        if not 0 <= unit_id <= 255:
            raise RequestError(f"unit id {unit_id} in answered_by is outside 0..255")
    return FrameWrite(request=request, adu=with_crc(bytes((request.unit_id,)) + write_pdu(request)))


def parse_reply(request: Asked, buffer: bytes) -> Reply | NeedMore | Refused:
    """Looks for the answer to a request in what the line gave since it was sent.

    Whole frames of another unit, function, length or written address and bytes 00 and FF in front
    are stepped over, nothing else is: an answer inside other bytes is no answer.
    """
    start = _step_over(request, buffer)
    rest = len(buffer) - start
    if rest < 3 or not _is_ours(request, buffer, start):
        return NeedMore(missing=max(EXCEPTION_LENGTH - rest, 1))
    length = EXCEPTION_LENGTH if buffer[start + 1] & 0x80 else request.reply_length
    if rest < length:
        return NeedMore(missing=length - rest)
    frame = buffer[start : start + length]
    if not crc_fits(frame):
        return Refused(code=quality.BAD_FRAME, detail=f"CRC of {shown(frame)} is wrong", answered=True)
    if length == EXCEPTION_LENGTH:
        return Refused(code=exception_quality(frame[2]), detail=f"exception {frame[2]:02X}", answered=True)
    if isinstance(request, FrameRequest):
        return Reply(words=_words(request, frame[3:-2]), skipped=start)
    code, why = check_write_reply(request.request, frame[1:-2])
    if code != quality.GOOD:
        # not counted as its answer: another write's reply, later than its bound, looks the same
        return Refused(code=code, detail=why, answered=False)
    return Reply(words=(), skipped=start)


def why_no_reply(request: Asked, buffer: bytes) -> Refused:
    """Says what is wrong when waiting ends: nothing came, something foreign, or something damaged."""
    if not buffer:
        return Refused(code=quality.NO_REPLY, detail="no reply", answered=False)
    start = _step_over(request, buffer)
    if start == len(buffer) and start and not all(byte in _NOISE for byte in buffer):
        return Refused(code=quality.FOREIGN_REPLY, detail=f"foreign reply {shown(buffer)}", answered=False)
    if start == len(buffer):
        return Refused(code=quality.NO_REPLY, detail=f"no reply, stray bytes {shown(buffer)}", answered=False)
    return Refused(code=quality.BAD_FRAME, detail=f"incomplete reply {shown(buffer)}", answered=False)


def mirrors(request: Asked) -> bool:
    """Returns whether a right answer can be the request itself, byte by byte.

    Functions 5 and 6 always; bits read at 0x0300 and up, whose reply is eight bytes long.
    """
    if isinstance(request, FrameWrite):
        return request.adu[0] in request.unit_ids and len(request.adu) == request.reply_length
    return request.reply_length == REQUEST_LENGTH


def strip_echo(request: Asked, buffer: bytes, *, echoes: bool | None) -> tuple[bytes, bool]:
    """Removes the sender's own request where the adapter gives it back.

    Args:
        request: what was sent.
        buffer: all that came since.
        echoes: whether this line is known to echo; ``None`` where nothing is known yet.

    Returns:
        What is left, and whether a whole echo was removed.  A reply that can equal its request
        (``mirrors``) is taken for an echo unless the line is known to have none.
    """
    if len(buffer) < len(request.adu) and echoes is not False and request.adu.startswith(buffer):
        return b"", False
    if not buffer.startswith(request.adu):
        return buffer, False
    if echoes is False and mirrors(request):
        return buffer, False
    return buffer[len(request.adu) :], True


def whole_replies(buffer: bytes) -> list[tuple[int, int]]:
    """Returns (unit id, function without 0x80) of the whole reply frames in late or foreign bytes."""
    return split_replies(buffer)[0]


def split_replies(buffer: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """Returns what ``whole_replies`` does, and the bytes behind the last whole frame."""
    found: list[tuple[int, int]] = []
    at = end = 0
    while at < len(buffer):
        length = _whole_frame(buffer, at)
        if length:
            found.append((buffer[at], buffer[at + 1] & 0x7F))
            at += length
            end = at
        else:
            at += 1
    return found, buffer[end:]


# --- the device's side, for simulators and tests ------------------------------------------


def parse_request(frame: bytes) -> FrameRequest | Refused:
    """Reads a read request as a device does.

    Returns:
        The request, or what is wrong; a damaged frame gets no answer from a device, function
        and count that are not served get an exception.
    """
    if len(frame) != REQUEST_LENGTH or not crc_fits(frame):
        return Refused(code=quality.BAD_FRAME, detail=f"damaged request {shown(frame)}", answered=False)
    unit_id, function, address, count = struct.unpack(">BBHH", frame[:6])
    table = TABLE_OF_FUNCTION.get(function)
    if table is None:
        return Refused(code=quality.ILLEGAL_FUNCTION, detail=f"function {function} is not a read", answered=False)
    if not 1 <= count <= TABLES[table]:
        return Refused(code=quality.ILLEGAL_VALUE, detail=f"count {count}", answered=False)
    if address + count > 65536:
        return Refused(code=quality.ILLEGAL_ADDRESS, detail=f"{count} from {address}", answered=False)
    return read_request(unit_id=unit_id, table=table, address=address, count=count)


def build_reply(unit_id: int, function: int, words: Sequence[int]) -> bytes:
    """Builds the reply of a device to functions 1..4 from registers, or from bits as 0 and 1."""
    if function in _BIT_FUNCTIONS:
        packed = bytearray((len(words) + 7) // 8)
        for place, bit in enumerate(words):
            packed[place // 8] |= (bit & 1) << place % 8
        data = bytes(packed)
    else:
        data = struct.pack(f">{len(words)}H", *words)
    return with_crc(bytes((unit_id, function, len(data))) + data)


def build_exception(unit_id: int, function: int, exception_code: int) -> bytes:
    """Builds the exception reply of a device."""
    return with_crc(bytes((unit_id, function | 0x80, exception_code)))


# --- inside -------------------------------------------------------------------------------


def _payload_length(function: int, count: int) -> int:
    return (count + 7) // 8 if function in _BIT_FUNCTIONS else 2 * count


def _is_ours(request: Asked, buffer: bytes, at: int) -> bool:
    """Whether, as far as bytes are there, the answer may begin here: unit, function, byte count or address."""
    begin = buffer[at : at + 4]
    if begin[0] not in request.unit_ids or (len(begin) > 1 and begin[1] & 0x7F != request.function):
        return False
    if len(begin) < 3 or begin[1] & 0x80:
        return True
    head = request.head
    return head.startswith(begin[2 : 2 + len(head)])


def _step_over(request: Asked, buffer: bytes) -> int:
    """Returns where the first byte is that may begin the answer."""
    at = 0
    while at < len(buffer) and not _is_ours(request, buffer, at):
        length = _whole_frame(buffer, at)
        if length:
            at += length
        elif buffer[at] in _NOISE:
            at += 1
        else:
            break
    return at


def _foreign_length(buffer: bytes, at: int) -> int | None:
    """Length of a reply frame that begins here, by its header alone; ``None`` where none can."""
    if len(buffer) - at < 2:
        return EXCEPTION_LENGTH
    function = buffer[at + 1]
    if function & 0x80:
        return EXCEPTION_LENGTH if function & 0x7F else None
    if function in TABLE_OF_FUNCTION:
        return 5 + buffer[at + 2] if len(buffer) - at > 2 else EXCEPTION_LENGTH
    return REQUEST_LENGTH if function in (5, 6, 15, 16) else None


def _whole_frame(buffer: bytes, at: int) -> int:
    """Length of the whole, undamaged reply frame that begins here; 0 where there is none."""
    length = _foreign_length(buffer, at) if len(buffer) - at >= 4 else None
    if length is None or at + length > len(buffer):
        return 0
    return length if crc_fits(buffer[at : at + length]) else 0


def _words(request: FrameRequest, data: bytes) -> tuple[int, ...]:
    if request.function in _BIT_FUNCTIONS:
        return tuple(data[place // 8] >> place % 8 & 1 for place in range(request.count))
    return struct.unpack(f">{request.count}H", data)


def shown(data: bytes) -> str:
    """Returns bytes for a sentence: hexadecimal, the first sixteen."""
    text = data[:16].hex(" ").upper()
    return f"{text} .." if len(data) > 16 else text
