"""What the commands that write have in common: may it be done, is it wanted, and the port for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from drivers.port import BusPort
from edge_agent.borrowed_port import BorrowedPort
from edge_agent.commands.place import config_path
from edge_agent.commands.words import Words
from edge_agent.commands.writing_words import say
from edge_agent.errors import ToolError
from edge_agent.tools.where import Named, port_of
from edge_agent.write_guard import why_not


def writing_port(found: Named, by: str) -> BusPort:
    """Returns the port, closed; what goes through the running agent is in this person's name."""
    if found.lent is not None and found.socket is not None:
        return BorrowedPort(found.socket, found.lent.id, by=by)
    return port_of(found)


def check_allowed(options: argparse.Namespace, found: Named, unit_ids: Sequence[int]) -> None:
    """Returns where the site file allows it, or there is none; the running agent asks its own plan.

    Raises:
        ToolError: it does not.
        ConfigError: the site file is there and has problems.
    """
    path = config_path(options)
    if found.lent is not None or not found.port_id or not path.exists():
        return
    from edge_agent.compile import compile_site

    refusal = why_not(compile_site(path).plan, found.port_id, unit_ids)
    if refusal:
        raise ToolError(refusal)


def confirm(question: str, words: Words, *, is_sure: bool) -> bool:
    """Asks the person; ``is_sure`` answers for them.

    Raises:
        ToolError: there is nobody to ask.
    """
    print(question)
    if is_sure:
        return True
    if not sys.stdin.isatty():
        raise ToolError(say(words, "nobody to ask, yes"))
    try:
        return input(f"{say(words, 'write it')} [y/N] ").strip().casefold() in ("y", "yes", "是")
    except EOFError:
        return False
