"""``edge-agent inhibit``: a person works on a point; its samples set and clear no alarm meanwhile."""

from __future__ import annotations

import argparse

from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.state_dir import CONTROL


def run(options: argparse.Namespace, words: Words) -> int:
    """Begins an inhibit, or ends one before its time; it ends by itself and never ends an active alarm."""
    socket = state_dir(options) / CONTROL
    if options.end:
        ask(socket, "inhibit-end", point=options.point, by=options.by)
        print(f"{words['inhibit ended']}: {options.point}")
        return 0
    ask(socket, "inhibit", point=options.point, by=options.by, reason=options.reason, seconds=options.minutes * 60)
    print(f"{words['inhibited']}: {options.point}, {options.minutes:g} min")
    return 0
