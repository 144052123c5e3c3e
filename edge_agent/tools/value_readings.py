"""Raw words as every type and byte order, and which of them a display's number speaks for.  Pure.

Nothing in a register says what it is.  One number that the instrument shows beside it usually leaves one
reading: only one byte order of a float has a sane size, and an integer is off by a power of ten.  A zero
proves nothing, and a round number little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from drivers.decode import decode_string, decode_words
from drivers.errors import DecodeError
from drivers.words import FLOATS, ORDERS, REGISTERS
from edge_agent.errors import ToolError

#: types in the order in which a person thinks of them; bits are shown as one word
TYPES: tuple[str, ...] = tuple(name for name in REGISTERS if not name.startswith("bit"))
_BYTES = frozenset({"u8h", "u8l", "i8h", "i8l"})
#: a display and a register read a moment later differ by so much at most
_NEAR = 0.02
#: powers of ten that scale factors have in practice
_POWERS = range(-6, 7)

Value = int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to read the words from one place on."""

    #: first word, counted from 0
    offset: int
    data_type: str
    #: ``AB``, ``CDAB`` ...
    order: str
    #: None where the words hold no such value
    value: Value
    #: why not
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """A reading that agrees with what the display shows."""

    reading: Reading
    #: value * 10**power is what the display shows
    power: int
    #: the value scaled
    shown: float
    #: whether it agrees to the last digit that the display has
    is_exact: bool


def parse_words(texts: Sequence[str], *, are_hex: bool = False) -> tuple[int, ...]:
    """Returns registers from what a person typed: ``0x4088``, ``4088h``, ``16520``; commas are blanks.

    One word with a letter A to F makes all words without a prefix hexadecimal, since nobody mixes them.

    Raises:
        ToolError: a word is no number from 0 to 65535.
    """
    words = [word for text in texts for word in text.replace(",", " ").split()]
    plain = [word for word in words if word[:2].lower() != "0x" and word[-1:].lower() != "h"]
    are_hex = are_hex or any(char in "abcdefABCDEF" for word in plain for char in word)
    found = []
    for word in words:
        try:
            if word[-1:].lower() == "h":
                number = int(word[:-1], 16)
            elif word[:2].lower() == "0x" or are_hex:
                number = int(word, 16)
            else:
                number = int(word, 10)
        except ValueError:
            raise ToolError(f"{word!r} is no register; 0x4088, 4088h or 16520 would be right") from None
        if number < 0 and not are_hex:
            number += 65536
        if not 0 <= number <= 65535:
            raise ToolError(f"{word} does not fit a register; 0 to 65535 (0xFFFF) does")
        found.append(number)
    if not found:
        raise ToolError("no words are given; two of them look like `0x4088 0xA3D7`")
    return tuple(found)


def readings(words: Sequence[int], *, data_type: str | None = None, order: str | None = None) -> tuple[Reading, ...]:
    """Returns every way to read the words.

    Args:
        words: registers, 0..65535.
        data_type: only this one; bits too.
        order: only this one.
    """
    return tuple(_readings(words, (data_type,) if data_type else TYPES, order))


def _readings(words: Sequence[int], types: Iterable[str], only: str | None) -> Iterator[Reading]:
    for name in types:
        width = REGISTERS[name]
        # The other order of a half register is the other half: u8l says that already.
        orders = ORDERS[width][:1] if name in _BYTES else ORDERS[width]
        for order in orders:
            if only is not None and order != only:
                continue
            for offset in range(len(words) - width + 1):
                yield _reading(words[offset : offset + width], offset, name, order)


def _reading(words: Sequence[int], offset: int, data_type: str, order: str) -> Reading:
    try:
        value = decode_words(words, data_type=data_type, byte_order=order)
    except DecodeError as error:
        return Reading(offset=offset, data_type=data_type, order=order, value=None, problem=str(error))
    return Reading(offset=offset, data_type=data_type, order=order, value=value)


def plausible(found: Iterable[Reading], expect: str) -> tuple[Plausible, ...]:
    """Returns the readings that agree with a display, best first.

    Args:
        found: what the words can mean.
        expect: the number as the display shows it; its digits say how exact it is.

    Raises:
        ToolError: it is no number.
    """
    try:
        wanted = Decimal(expect)
    except InvalidOperation:
        raise ToolError(
            f"--expect {expect!r} is no number; write it as the display shows it, for example 4.27"
        ) from None
    if not wanted.is_finite():
        raise ToolError("--expect must be a finite number")
    exponent = wanted.as_tuple().exponent
    half_digit = 0.5 * 10.0 ** int(exponent)
    agreeing = [one for reading in found for one in _agreeing(reading, float(wanted), half_digit)]
    return tuple(sorted(agreeing, key=_rank))


def _agreeing(reading: Reading, wanted: float, half_digit: float) -> Iterator[Plausible]:
    value = reading.value
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return
    if wanted == 0:
        if value == 0:
            yield Plausible(reading=reading, power=0, shown=0.0, is_exact=True)
        return
    for power in _POWERS:
        shown = float(value) * 10.0**power
        error = abs(shown - wanted)
        is_exact = error <= half_digit * (1 + 1e-9)
        # Where the display has few digits its last one is coarser than two percent.
        if (is_exact and abs(shown) > 1e-12) or error <= _NEAR * abs(wanted):
            yield Plausible(reading=reading, power=power, shown=shown, is_exact=is_exact)


def _rank(one: Plausible) -> tuple[bool, bool, int, int, int, int]:
    """Exact first; then what needs no scale; then integers before scaled floats; then as types are listed."""
    is_float = one.reading.data_type in FLOATS
    place = ORDERS[REGISTERS[one.reading.data_type]].index(one.reading.order)
    return (
        not one.is_exact,
        one.power != 0 and is_float,
        abs(one.power),
        place,
        TYPES.index(one.reading.data_type) if one.reading.data_type in TYPES else len(TYPES),
        one.reading.offset,
    )


def texts(words: Sequence[int]) -> dict[str, str]:
    """Returns the words as text, high byte first and low byte first; what is no ASCII is told."""
    found = {}
    for order in ("AB", "BA"):
        try:
            text = decode_string(words, byte_order=order)
            found[order] = text if text.isprintable() else repr(text)
        except DecodeError as error:
            found[order] = f"({error})"
    return found


def shown(value: Value) -> str:
    """Returns a value as short text; a float with no more digits than it has."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)
