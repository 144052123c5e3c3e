"""Fixtures of this room."""

from __future__ import annotations

import pytest

from edge_agent import keeper


@pytest.fixture
def patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is slow for a moment is no fault that a test of links is about: no volatile epoch."""
    monkeypatch.setattr(keeper, "COMMIT_LIMIT_S", 60.0)
