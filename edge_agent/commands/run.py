"""``edge-agent run``: the agent itself, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from edge_agent.commands.place import config_path
from edge_agent.commands.words import Words


def run(options: argparse.Namespace, words: Words) -> int:
    """Runs the agent; returns its exit status."""
    # The journal has its own clock and shows it; elsewhere a line without one is no use.
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format=f"{stamp}%(levelname)s %(name)s: %(message)s"
    )
    from edge_agent.app import run as run_agent
    from edge_agent.heap import use_one_heap

    use_one_heap()
    return run_agent(config_path(options))
