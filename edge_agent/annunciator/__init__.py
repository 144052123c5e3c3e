"""The local annunciator; imported only where a plan has one.  See README.md."""

from __future__ import annotations

from edge_agent.annunciator.drive import Annunciator

__all__ = ["Annunciator"]
