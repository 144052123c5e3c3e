"""``edge-agent status``: what the running agent says of itself."""

from __future__ import annotations

import argparse

from edge_agent.commands.output import as_json, facts
from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.state_dir import CONTROL


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the agent's facts; names are those of the health records, in both languages."""
    status = ask(state_dir(options) / CONTROL, "status")
    if options.json:
        print(as_json(status))
        return 0
    for line in facts(status):
        print(line)
    return 0
