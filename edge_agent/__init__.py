"""The gateway's agent: polls, judges, seals, keeps and sends.  See README.md in this folder."""

from __future__ import annotations

#: of this distribution; tests/edge_agent/test_plan.py keeps it equal to pyproject.toml
__version__ = "0.1.0"
