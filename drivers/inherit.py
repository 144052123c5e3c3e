"""Laying one profile over another: what ``extends`` and ``drop`` mean.

Pure: tables as TOML gives them in, one table out.  Sister models share registers and differ in
codes, so a named entry (a field, a point, an alarm, an output, a trigger) replaces the base's
entry of that name whole.  Code tables are never merged: code 1 is mg/m3 on one Honeywell head
and %LEL on its sister, and a table made of both would be wrong on each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: tables whose entries are taken over by name
BY_NAME = ("fields", "points", "alarms", "triggers", "outputs")
#: what one model says of itself and never of its sister
OWN = frozenset({"id", "extends", "drop", "names", "model", "confidence", "proved", "sources", "notes", "examples"})


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Returns a profile's tables over those of its base.

    Args:
        base: of the profile that is extended, itself merged already.
        own: of the file that extends it; its ``drop`` is used up.

    Returns:
        The tables, and (key, message) for every entry of ``drop`` that drops nothing.
    """
    result = {key: value for key, value in base.items() if key not in OWN}
    found: list[tuple[str, str]] = []
    for table in BY_NAME:
        if isinstance(result.get(table), Mapping):
            result[table] = dict(result[table])
    for place, name in enumerate(_drops(own, found)):
        table, _, entry = name.partition(".")
        entries = result.get(table) if table in BY_NAME else None
        if isinstance(entries, dict) and entry in entries:
            del entries[entry]
        else:
            known = ", ".join(f"{key}.{item}" for key in BY_NAME for item in result.get(key) or ())
            found.append((f"drop[{place}]", f"{name!r} is nothing that the base has; it has {known or 'nothing'}"))
    for key, value in own.items():
        if key == "drop":
            continue
        if key in BY_NAME and isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key].update(value)
        else:
            result[key] = value
    return result, found


def _drops(own: Mapping[str, Any], found: list[tuple[str, str]]) -> list[str]:
    drops = own.get("drop", [])
    if not isinstance(drops, list) or not all(isinstance(item, str) for item in drops):
        found.append(("drop", 'must be a list of texts like "points.p2"'))
        return []
    return drops
