"""Data types and byte orders: how many registers a value takes and where its bytes travel.

Pure tables shared by ``decode``, ``encode`` and the block decoder.  An order is spelled with
the value's bytes, A the most significant, in the sequence in which they are on the wire
(Modbus sends each register high byte first).
"""

from __future__ import annotations

#: data type -> registers that one value takes
REGISTERS: dict[str, int] = {
    "u8h": 1,
    "u8l": 1,
    "i8h": 1,
    "i8l": 1,
    "u16": 1,
    "i16": 1,
    "sm16": 1,
    "bcd16": 1,
    "f16": 1,
    "u32": 2,
    "i32": 2,
    "f32": 2,
    "bcd32": 2,
    "u64": 4,
    "i64": 4,
    "f64": 4,
    **{f"bit{number}": 1 for number in range(16)},
}

#: registers -> byte orders, the first is what ``None`` means
ORDERS: dict[int, tuple[str, ...]] = {
    1: ("AB", "BA"),
    2: ("ABCD", "CDAB", "BADC", "DCBA"),
    4: ("ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA"),
}

#: order -> for each byte of the value, most significant first, its place on the wire
PLACES: dict[str, tuple[int, ...]] = {
    order: tuple(order.index(letter) for letter in sorted(order)) for orders in ORDERS.values() for order in orders
}

#: types whose value is a float
FLOATS = frozenset({"f16", "f32", "f64"})

#: data type -> struct code of the value, once its bytes are most significant first
STRUCT: dict[str, str] = {
    "u8h": "Bx",
    "u8l": "xB",
    "i8h": "bx",
    "i8l": "xb",
    "u16": "H",
    "i16": "h",
    "sm16": "H",
    "bcd16": "H",
    "f16": "e",
    "u32": "I",
    "i32": "i",
    "f32": "f",
    "bcd32": "I",
    "u64": "Q",
    "i64": "q",
    "f64": "d",
    **{f"bit{number}": "H" for number in range(16)},
}


def bit_number(data_type: str) -> int | None:
    """Returns 0..15 for ``bit0``..``bit15`` and ``None`` for every other type."""
    return int(data_type[3:]) if data_type.startswith("bit") else None


def order_problem(data_type: object, byte_order: object) -> str | None:
    """Says what is wrong with a type and order, or ``None``."""
    if not isinstance(data_type, str) or data_type not in REGISTERS:
        return f"data type {data_type!r} is not known; known are {', '.join(REGISTERS)}"
    if byte_order is None:
        return None
    known = ORDERS[REGISTERS[data_type]]
    if not isinstance(byte_order, str) or byte_order not in known:
        return f"byte order {byte_order!r} does not fit {data_type}; {', '.join(known)} do"
    return None
