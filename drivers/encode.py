"""Values to words: the inverse of ``decode``, for simulators and tests.

It is not used to talk to a device: nothing here writes a register.
``decode_words(encode_words(x)) == x`` for every value that the type can carry.
"""

from __future__ import annotations

import codecs
import math
import struct

from drivers.errors import EncodeError
from drivers.words import FLOATS, ORDERS, PLACES, REGISTERS, STRUCT, bit_number, order_problem


def encode_words(value: int | float | bool, *, data_type: str, byte_order: str | None = None) -> tuple[int, ...]:
    """Encodes one value into the registers that carry it.

    Args:
        value: ``bool`` (or 0 and 1) for bits, ``float`` or ``int`` for floats, ``int`` for the rest.
            What a type does not use of its register (the other byte of ``u8h``, other bits) is zero.
        data_type: one of ``drivers.words.REGISTERS``.
        byte_order: where the value's bytes travel; ``None`` is most significant first.

    Raises:
        EncodeError: the type or order is unknown, or the value is of another kind or too large.
    """
    problem = order_problem(data_type, byte_order)
    if problem is not None:
        raise EncodeError(problem)
    registers = REGISTERS[data_type]
    try:
        plain = struct.pack(">" + STRUCT[data_type], _raw(value, data_type))
    except (struct.error, OverflowError) as error:
        raise EncodeError(f"{value!r} does not fit {data_type}: {error}") from error
    wire = bytearray(len(plain))
    for place, byte in zip(PLACES[byte_order or ORDERS[registers][0]], plain, strict=True):
        wire[place] = byte
    return struct.unpack(f">{registers}H", wire)


def encode_string(
    text: str, *, count: int | None = None, byte_order: str = "AB", encoding: str = "ascii"
) -> tuple[int, ...]:
    """Encodes text two bytes to a register, padded with NUL.

    Args:
        text: what to encode.
        count: registers to fill; ``None`` takes as many as the text needs.
        byte_order: ``AB`` (first character in the high byte) or ``BA``.
        encoding: a text encoding that Python knows.

    Raises:
        EncodeError: the order or encoding is unknown, or the text does not fit.
    """
    if byte_order not in ("AB", "BA"):
        raise EncodeError(f"byte order {byte_order!r} does not fit text; AB, BA do")
    try:
        codecs.lookup(encoding)
        data = text.encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise EncodeError(f"{text!r} cannot be written as {encoding!r}: {error}") from error
    registers = (len(data) + 1) // 2 if count is None else count
    if len(data) > 2 * registers:
        raise EncodeError(f"{text!r} takes {len(data)} bytes, {registers} register(s) hold {2 * registers}")
    words = struct.unpack(f">{registers}H", data.ljust(2 * registers, b"\0"))
    return words if byte_order == "AB" else tuple(word >> 8 | (word & 0xFF) << 8 for word in words)


def _raw(value: int | float | bool, data_type: str) -> int | float:
    if data_type in FLOATS:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise EncodeError(f"{data_type} takes a number, not {value!r}")
        return value
    bit = bit_number(data_type)
    if bit is not None:
        if not isinstance(value, int) or value not in (0, 1):
            raise EncodeError(f"{data_type} takes true or false, not {value!r}")
        return int(value) << bit
    if isinstance(value, bool) or not isinstance(value, int):
        hint = " (round it first)" if isinstance(value, float) and math.isfinite(value) else ""
        raise EncodeError(f"{data_type} takes an integer, not {value!r}{hint}")
    if data_type == "sm16":
        if abs(value) > 0x7FFF:
            raise EncodeError(f"{value} does not fit sm16: -32767..32767 do")
        return value if value >= 0 else 0x8000 | -value
    if data_type in {"bcd16", "bcd32"}:
        digits = 4 if data_type == "bcd16" else 8
        if not 0 <= value < 10**digits:
            raise EncodeError(f"{value} does not fit {data_type}: 0..{10**digits - 1} do")
        return int(str(value), 16)
    return value
