"""Runs the examples of a profile: words of a unit against what they must mean.

An example is either words with their address, or both frames of a serial line as they were
captured; of these the CRCs are checked first, so that a mistyped byte is told and never
decoded.  Used by tests, ``check`` and ``edge-agent profile test``; not by the daemon.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from contracts.quality import BY_REASON, CODES
from drivers.build import point_step
from drivers.errors import PlanError, ProfileError, RequestError
from drivers.frames import TABLE_OF_FUNCTION, crc16, crc_fits
from drivers.plan import BlockRead, compile_block
from drivers.profile import Example, Expected, Profile
from drivers.steps import PointStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleWords:
    """What a reply brought, and from where."""

    table: str
    address: int
    #: registers 0..65535, or bits 0 and 1
    words: tuple[int, ...]


def example_problems(profile: Profile) -> list[str]:
    """Returns one sentence per expectation that the profile does not meet."""
    return [
        f"examples[{place}] ({example.name}): {problem}"
        for place, example in enumerate(profile.examples)
        for problem in _problems_of(profile, example)
    ]


def example_words(example: Example) -> ExampleWords:
    """Returns the words of an example.

    Raises:
        RequestError: its frames are no read and its reply; says which byte.
    """
    if example.address is not None:
        return ExampleWords(table=example.table, address=example.address, words=example.words)
    request, reply = _frame("request", example.request), _frame("reply", example.reply)
    if len(request) != 8 or request[1] not in TABLE_OF_FUNCTION:
        raise RequestError("request: is no read; 8 bytes with function 01 to 04 would be right")
    _, function, address, count = struct.unpack(">BBHH", request[:6])
    if reply[0] != request[0] or reply[1] != function:
        raise RequestError(f"reply: begins with {reply[:2].hex(' ')}, the request with {request[:2].hex(' ')}")
    bits = function in (1, 2)
    size = (count + 7) // 8 if bits else 2 * count
    if reply[2] != size or len(reply) != size + 5:
        raise RequestError(f"reply: {count} asked need {size} data bytes; it says {reply[2]} and has {len(reply) - 5}")
    data = reply[3:-2]
    if bits:
        words = tuple(data[place // 8] >> place % 8 & 1 for place in range(count))
    else:
        words = struct.unpack(f">{count}H", data)
    return ExampleWords(table=TABLE_OF_FUNCTION[function], address=address, words=words)


def _frame(name: str, text: str) -> bytes:
    try:
        frame = bytes.fromhex(text)
    except ValueError:
        raise RequestError(f'{name}: {text!r} is not hex; write it as "01 03 00 00 00 02 C4 0B"') from None
    if len(frame) < 5:
        raise RequestError(f"{name}: {len(frame)} bytes are no frame")
    if not crc_fits(frame):
        right = crc16(frame[:-2]).to_bytes(2, "little").hex(" ").upper()
        raise RequestError(f"{name}: ends with {frame[-2:].hex(' ').upper()}, the CRC of the rest is {right}")
    return frame


def _problems_of(profile: Profile, example: Example) -> list[str]:
    try:
        seen = example_words(example)
        steps = [
            point_step(profile, name, unit=example.units.get(name)).moved(-seen.address) for name in example.expect
        ]
        problems = _elsewhere(profile, example, seen.table)
        if problems:
            return problems
        block = BlockRead(
            table=seen.table,
            address=seen.address,
            count=len(seen.words),
            interval_ms=1000,
            points=tuple(steps),
        )
    except (PlanError, ProfileError, RequestError) as error:
        return [str(error)]
    values, codes = compile_block(block)(seen.words)
    return _differences(example, steps, values, codes)


def _elsewhere(profile: Profile, example: Example, table: str) -> list[str]:
    points = profile.all_points
    return [
        f"{name}: is in table {points[name].table}, the example in {table}"
        for name in example.expect
        if points[name].table != table
    ]


def _differences(
    example: Example,
    steps: Sequence[PointStep],
    values: Sequence[int | float | None],
    codes: Sequence[int] | None,
) -> list[str]:
    problems = []
    for place, (name, expected) in enumerate(example.expect.items()):
        problem = _difference(steps[place], expected, values[place], 0 if codes is None else codes[place])
        if problem is not None:
            problems.append(f"{name}: {problem}")
    return problems


def _difference(step: PointStep, expected: Expected, value: int | float | None, code: int) -> str | None:
    if code != BY_REASON[expected.quality]:
        return f"quality is {CODES[code].reason}, expected {expected.quality}"
    if value is None or expected.value is None:
        if value is None and expected.value is None:
            return None
        return f"value is {value!r}, expected {expected.value}"
    if step.resolution is not None:
        shown = value * step.resolution if isinstance(value, int) else None
        return None if shown == Fraction(expected.value) else f"value is {shown}, expected {expected.value}"
    wanted = float(Fraction(expected.value))
    if step.kind == "f32":
        wanted = struct.unpack(">f", struct.pack(">f", wanted))[0]
    return None if value == wanted else f"value is {value!r}, expected {expected.value}"
