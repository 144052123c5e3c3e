"""``edge-agent reload``: the running agent compiles its site file again and takes what changed."""

from __future__ import annotations

import argparse
import time
from typing import Any

from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import NotRunningError
from edge_agent.state_dir import CONTROL

#: compiling is a process of its own, and ports that changed are closed in order
_TIMEOUT_S = 150.0
#: how often a trial is asked about (seconds)
_LOOK_S = 0.5
#: an agent that is being restarted answers again within this (seconds)
_AWAY_S = 30.0


def run(options: argparse.Namespace, words: Words) -> int:
    """Asks for the reload and says what changed; a refusal keeps the last good plan.

    Returns:
        0; with ``--wait`` 1 where the new configuration was rolled back.
    """
    socket = state_dir(options) / CONTROL
    result = ask(socket, "reload", timeout_s=_TIMEOUT_S)
    ports = ", ".join(result.get("ports", ())) or words["none"]
    later = " ".join(result.get("later", ()))
    if result.get("changed") or not later:
        print(f"{words['reloaded']}: {ports}" if result.get("changed") else words["unchanged"])
    if later:
        print(f"{words['reload later']}: {later}")
    added, removed = result.get("added", ()), result.get("removed", ())
    changed = [id for id in result.get("devices", ()) if id not in added and id not in removed]
    for word, ids in (("devices added", added), ("devices removed", removed), ("devices changed", changed)):
        if ids:
            print(f"{words[word]}: {', '.join(ids)}")
    trial: dict[str, Any] = result.get("trial", {})
    if trial.get("phase") == "trial":
        print(f"{words['reload trial']}: {', '.join(trial['waiting'])}", flush=True)
    if not options.wait:
        return 0
    away_s = 0.0
    while trial.get("phase") == "trial":
        time.sleep(_LOOK_S)
        try:
            trial = ask(socket, "reload-state")
            away_s = 0.0
        except NotRunningError:
            # It is being restarted; the trial goes on there.
            away_s += _LOOK_S
            if away_s > _AWAY_S:
                raise
    if trial.get("phase") == "rolled_back":
        print(f"{words['reload rolled back']}: {', '.join(trial['failed'])}")
        return 1
    print(words["reload confirmed"])
    return 0
