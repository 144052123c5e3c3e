"""``edge-agent alarms`` and ``edge-agent alarm reset``: the running agent's alarms."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from edge_agent.commands.output import age, as_json, cell, table
from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.state_dir import CONTROL


def run(options: argparse.Namespace, words: Words) -> int:
    """Lists alarms, or resets one."""
    socket = state_dir(options) / CONTROL
    if options.command == "alarm":
        ask(socket, "alarm-reset", point=options.point, rule=options.rule, by=options.by)
        print(f"{words['reset']}: {options.point} {options.rule}")
        return 0
    alarms = ask(socket, "alarms")["alarms"]
    if options.json:
        print(as_json(alarms))
        return 0
    if not alarms:
        print(words["no alarms"])
        return 0
    heads = [words[name] for name in ("severity", "state", "point", "value", "limit", "unit", "cause", "age", "rule")]
    for line in table([*heads, words["name"]], (_row(alarm, words) for alarm in alarms)):
        print(line)
    return 0


def _row(alarm: Mapping[str, Any], words: Words) -> list[str]:
    level = f"{words[alarm['severity']]} ({alarm['scheme']})" if alarm.get("scheme") else words[alarm["severity"]]
    numbers = [cell(alarm.get("value")), cell(alarm.get("limit")), cell(alarm.get("unit"))]
    tail = [cell(alarm.get("cause")), age(alarm.get("age_s")), alarm["rule_id"], words.of(alarm)]
    return [level, words[alarm["state"]], alarm["point"], *numbers, *tail]
