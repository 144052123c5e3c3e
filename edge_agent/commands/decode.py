"""``edge-agent decode``: raw words, typed or read now, as every type and byte order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from edge_agent.commands.output import as_json, table
from edge_agent.commands.tool_words import text
from edge_agent.commands.words import Words
from edge_agent.errors import ToolError
from edge_agent.tools.value_readings import Plausible, Reading, parse_words, plausible, readings, shown, texts


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the plausible readings first, then all; status 1 where a number was expected and nothing agrees."""
    registers = _registers(options)
    _check(options, len(registers))
    found = readings(registers, data_type=options.type, order=options.order)
    agreeing = plausible(found, options.expect) if options.expect is not None else ()
    said = texts(registers) if options.string else {}
    if options.json:
        print(as_json(_json(registers, found, agreeing, said)))
    else:
        print(" ".join(f"{word:04X}" for word in registers))
        if options.expect is not None:
            _tell_agreeing(agreeing, options.expect, words)
        _tell_all(found, len(registers), words)
        for order, line in said.items():
            print(f"{text(words, 'text')} {order}: {line}")
    return 0 if options.expect is None or agreeing else 1


def _registers(options: argparse.Namespace) -> tuple[int, ...]:
    if options.source is None:
        return parse_words(options.words, are_hex=options.hex)
    if options.words:
        raise ToolError("give words, or --from PORT; not both")
    from edge_agent.commands.read_block import read_block

    options.port = options.source
    result = read_block(options)
    if result.words is None:
        from contracts.quality import CODES

        raise ToolError(result.detail or CODES[result.code].en)
    return result.words


def _check(options: argparse.Namespace, count: int) -> None:
    from drivers.words import ORDERS, REGISTERS, order_problem

    if options.type is not None:
        problem = order_problem(options.type, options.order)
        if problem is None and REGISTERS[options.type] > count:
            problem = f"{options.type} takes {REGISTERS[options.type]} registers, {count} are given"
        if problem is not None:
            raise ToolError(problem)
    known = [order for orders in ORDERS.values() for order in orders]
    if options.order is not None and options.order not in known:
        raise ToolError(f"byte order {options.order!r} is not known; {', '.join(known)} are")


def _tell_agreeing(agreeing: Sequence[Plausible], expect: str, words: Words) -> None:
    if not agreeing:
        print(text(words, "none agrees", expect=expect))
        return
    print(text(words, "agreeing", expect=expect))
    rows = (
        [
            one.reading.data_type,
            one.reading.order,
            str(one.reading.offset),
            shown(one.reading.value),
            "1" if one.power == 0 else f"1e{one.power}",
            f"{one.shown:.7g}",
            text(words, "agrees exactly" if one.is_exact else "agrees nearly"),
        ]
        for one in agreeing[:12]
    )
    heads = ["type", "order", "place", "value", "scale", "shown", "agrees"]
    for line in table([_head(name, words) for name in heads], rows, right=frozenset({3, 4, 5})):
        print("  " + line)
    if all(one.shown == 0 for one in agreeing):
        print(text(words, "zero proves nothing"))
    print()


def _head(name: str, words: Words) -> str:
    if name == "value":
        return words["value"]
    return "+" if name == "place" else text(words, f"head {name}")


def _tell_all(found: Sequence[Reading], count: int, words: Words) -> None:
    rows: dict[tuple[str, str], list[str]] = {}
    for reading in found:
        row = rows.setdefault((reading.data_type, reading.order), ["-"] * count)
        row[reading.offset] = shown(reading.value)
    heads = [text(words, "head type"), text(words, "head order")]
    heads += [f"+{offset}" for offset in range(count)]
    lines = ([data_type, order, *values] for (data_type, order), values in rows.items())
    for line in table(heads, lines, right=frozenset(range(2, 2 + count))):
        print(line)


def _json(
    registers: Sequence[int], found: Sequence[Reading], agreeing: Sequence[Plausible], said: dict[str, str]
) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        # JSON has neither NaN nor infinities.
        is_strange = isinstance(value, float) and (value != value or value in (float("inf"), float("-inf")))
        return str(value) if is_strange else value

    return {
        "words": list(registers),
        "agreeing": [
            {
                "type": one.reading.data_type,
                "order": one.reading.order,
                "offset": one.reading.offset,
                "value": plain(one.reading.value),
                "power": one.power,
                "shown": one.shown,
                "exact": one.is_exact,
            }
            for one in agreeing
        ],
        "readings": [
            {"type": one.data_type, "order": one.order, "offset": one.offset, "value": plain(one.value)}
            for one in found
        ],
        "text": said,
    }
