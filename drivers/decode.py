"""Words to values: pure, no register map, no scale, no opinion about what a value means.

It is not where sentinels are judged: NaN, infinities and 0x7FFF are returned as they are,
and the block decoder one step later decides by the profile.  Type and order names follow
Modbus practice; the Modbus specification itself knows 16-bit registers only.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Sequence

from drivers.errors import DecodeError
from drivers.words import ORDERS, PLACES, REGISTERS, STRUCT, bit_number, order_problem


def decode_words(words: Sequence[int], *, data_type: str, byte_order: str | None = None) -> int | float | bool:
    """Decodes the registers of one value.

    Args:
        words: exactly the registers of the value, each 0..65535, in wire sequence.
        data_type: one of ``drivers.words.REGISTERS``.
        byte_order: where the value's bytes travel; ``None`` is most significant first.

    Returns:
        ``bool`` for ``bit0``..``bit15``, ``float`` for ``f16 f32 f64`` (NaN and infinities
        included), ``int`` for every other type.

    Raises:
        DecodeError: the type, the order, the count, a word or a BCD digit is wrong.
    """
    problem = order_problem(data_type, byte_order)
    if problem is not None:
        raise DecodeError(problem)
    wire = _wire_bytes(words)
    registers = REGISTERS[data_type]
    if len(wire) != 2 * registers:
        raise DecodeError(f"{data_type} takes {registers} register(s), {len(wire) // 2} given")
    places = PLACES[byte_order or ORDERS[registers][0]]
    raw: int | float = struct.unpack(">" + STRUCT[data_type], bytes(wire[place] for place in places))[0]
    return finish_raw(raw, data_type)


def finish_raw(raw: int | float, data_type: str) -> int | float | bool:
    """Turns what ``struct`` read into the value of types that ``struct`` does not know.

    Raises:
        DecodeError: a BCD nibble is above 9.
    """
    bit = bit_number(data_type)
    if bit is not None:
        return bool(int(raw) >> bit & 1)
    if data_type == "sm16":
        word = int(raw)
        return -(word & 0x7FFF) if word & 0x8000 else word
    if data_type in {"bcd16", "bcd32"}:
        return _bcd(int(raw), digits=4 if data_type == "bcd16" else 8)
    return raw


def decode_string(words: Sequence[int], *, byte_order: str = "AB", encoding: str = "ascii") -> str:
    """Decodes text that travels two bytes to a register.

    Trailing NUL padding is removed and nothing else: spaces and inner NULs stay.

    Args:
        words: registers, each 0..65535.
        byte_order: ``AB`` (first character in the high byte) or ``BA``.
        encoding: a text encoding that Python knows.

    Raises:
        DecodeError: the order or encoding is unknown, a word is wrong, or a byte is not of the encoding.
    """
    if byte_order not in ("AB", "BA"):
        raise DecodeError(f"byte order {byte_order!r} does not fit text; AB, BA do")
    wire = _wire_bytes(words)
    if byte_order == "BA":
        wire = bytes(wire[place ^ 1] for place in range(len(wire)))
    try:
        codecs.lookup(encoding)
        text = wire.decode(encoding)
    except (LookupError, TypeError) as error:
        raise DecodeError(f"encoding {encoding!r} is not a known text encoding") from error
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise DecodeError(f"byte 0x{bad:02X} at position {error.start} is not {encoding}: {error.reason}") from error
    except ValueError as error:
        raise DecodeError(f"bytes {wire.hex(' ')} are not {encoding}: {error}") from error
    return text.rstrip("\0")


def _wire_bytes(words: Sequence[int]) -> bytes:
    if isinstance(words, (bytes, bytearray, memoryview, str)) or not isinstance(words, Sequence):
        raise DecodeError(f"words must be a sequence of registers, not {type(words).__name__}")
    for position, word in enumerate(words):
        if not isinstance(word, int) or isinstance(word, bool):
            raise DecodeError(f"word {position} is {word!r}, not an integer")
        if not 0 <= word <= 0xFFFF:
            raise DecodeError(f"word {position} is {word}, outside 0..65535")
    return struct.pack(f">{len(words)}H", *words)


def _bcd(raw: int, *, digits: int) -> int:
    value = 0
    for digit in range(digits - 1, -1, -1):
        nibble = raw >> 4 * digit & 0xF
        if nibble > 9:
            raise DecodeError(f"0x{raw:0{digits}X} is not BCD: nibble 0x{nibble:X} is above 9")
        value = value * 10 + nibble
    return value
