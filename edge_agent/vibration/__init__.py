"""Bursts of fast reads, what is computed of them, and the waveform around an alarm.

Nothing here imports numpy at import time but ``spectrum`` and ``features``, which the daemon only
imports when a burst is configured.
"""

from __future__ import annotations

from edge_agent.vibration.records import BurstPlan, Feature, FeatureBlock

__all__ = ["BurstPlan", "Feature", "FeatureBlock"]
