"""Sensors, buses, links and faults, as product code."""

from __future__ import annotations
