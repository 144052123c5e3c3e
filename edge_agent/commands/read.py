"""``edge-agent read``: every point once, from the running agent or, without one, from the ports.

With a port it reads one block of one unit as it is on the wire: ``read_block``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from edge_agent.commands.output import age, as_json, table
from edge_agent.commands.place import config_path, state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import NotRunningError
from edge_agent.state_dir import CONTROL


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints one line per point; status 0 also where a point has no value, since its cause is told."""
    if options.port is not None:
        from edge_agent.commands import read_block

        return read_block.run(options, words)
    try:
        readings = ask(state_dir(options) / CONTROL, "latest")["readings"]
    except NotRunningError:
        print(words["read by itself"], file=sys.stderr)
        readings = _from_ports(options, words)
    if options.json:
        print(as_json(readings))
        return 0
    heads = [words[name] for name in ("point", "value", "unit", "quality", "age", "name")]
    for line in table(heads, (_row(reading, words) for reading in readings), right=frozenset({1, 4})):
        print(line)
    for line in _doubts(readings, words):
        print(line)
    return 0


def _doubts(readings: Iterable[Mapping[str, Any]], words: Words) -> list[str]:
    """One line per profile that nobody compared with a unit yet."""
    profiles = {str(item.get("profile")): item.get("proved") for item in readings}
    return [
        f"{words['note']}: {profile}: {words['proved ' + str(proved)]}"
        for profile, proved in sorted(profiles.items())
        if proved in ("nothing", "frames")
    ]


def _from_ports(options: argparse.Namespace, words: Words) -> list[dict[str, Any]]:
    from drivers.port import monotonic_us
    from edge_agent.compile import compile_site
    from edge_agent.ports import make_port
    from edge_agent.read_once import read_once
    from edge_agent.readings import describe

    compiled = compile_site(config_path(options))
    for line in compiled.warnings:
        print(f"{words['warning']}: {line}", file=sys.stderr)
    details: dict[tuple[str, str], None] = {}
    ticks = asyncio.run(read_once(compiled.plan, make_port, lambda *told: details.setdefault(told)))
    for device, detail in details:
        print(f"{device}: {detail}", file=sys.stderr)
    return describe(compiled.plan, ticks, monotonic_us())


def _row(reading: Mapping[str, Any], words: Words) -> list[str]:
    quality = words[reading["quality"]]
    if reading["quality"] != "good":
        quality = f"{quality}: {words.of(reading, 'reason')}"
    value = reading["text"] or "-"
    return [reading["point"], value, words.of(reading, "unit"), quality, age(reading["age_s"]), words.of(reading)]
