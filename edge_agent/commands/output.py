"""Tables, nested facts and JSON on a terminal; no colours, no width of its own."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def width(text: str) -> int:
    """Returns the columns that a text takes; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> Iterator[str]:
    """Yields the lines of a table.

    Args:
        heads: one per column.
        rows: as many texts each.
        right: columns whose texts end at the right.
    """
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [_pad(text, widths[column], right=column in right) for column, text in enumerate(line)]
        yield "  ".join(cells).rstrip()


def facts(value: Any, indent: int = 0) -> Iterator[str]:
    """Yields the lines of nested facts as ``name: value``; a list of records becomes a table."""
    lead = " " * indent
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, (Mapping, list)) and item:
                yield f"{lead}{name}:"
                yield from facts(item, indent + 2)
            else:
                yield f"{lead}{name}: {cell(item)}"
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        heads = list(dict.fromkeys(name for item in value for name in item))
        for line in table(heads, ([cell(item.get(name)) for name in heads] for item in value)):
            yield lead + line
    elif isinstance(value, list):
        for item in value:
            yield f"{lead}- {cell(item)}"
    else:
        yield lead + cell(value)


def cell(value: Any) -> str:
    """Returns a value as short text; what is not known is a dash, never 0."""
    if value is None or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def age(seconds: float | None) -> str:
    """Returns an age as people say it."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def as_json(value: Any) -> str:
    """Returns JSON as one document for programs and people."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _pad(text: str, columns: int, *, right: bool) -> str:
    gap = " " * (columns - width(text))
    return gap + text if right else text + gap
