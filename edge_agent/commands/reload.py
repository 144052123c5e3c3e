"""``edge-agent reload``: the running agent compiles its site file again and takes what changed."""

from __future__ import annotations

import argparse

from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.state_dir import CONTROL

#: compiling is a process of its own, and ports that changed are closed in order
_TIMEOUT_S = 150.0


def run(options: argparse.Namespace, words: Words) -> int:
    """Asks for the reload and says which ports changed; a refusal keeps the last good plan."""
    result = ask(state_dir(options) / CONTROL, "reload", timeout_s=_TIMEOUT_S)
    ports = ", ".join(result.get("ports", ())) or words["none"]
    print(f"{words['reloaded']}: {ports}" if result.get("changed") else words["unchanged"])
    return 0
