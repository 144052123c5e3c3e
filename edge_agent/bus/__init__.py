"""Whom to ask when: one poller per port, its schedule, and what it knows of each device.

Lines and values are ``drivers``; what a value means is ``edge_agent.judge``.
"""

from __future__ import annotations

from edge_agent.bus.poller import Poller, Sink, blocks_of_port
from edge_agent.bus.schedule import Schedule, Slot, Turn, last_due, next_due

__all__ = ["Poller", "Schedule", "Sink", "Slot", "Turn", "blocks_of_port", "last_due", "next_due"]
