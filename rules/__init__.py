"""Limits, delays, deadband, latching, silence: what a reading means, as pure tables.

Nothing here reads a clock, a disk or a bus.  ``rules.pack`` reads rule packs (compile time);
``rules.point`` judges (running agent); ``rules.model`` and ``rules.state`` are the records.
"""

from __future__ import annotations

from rules.confirmation import TRIAL, Confirmation
from rules.errors import PackError, RuleError, RulesError
from rules.limit import CLEARING_CODES
from rules.model import Direction, LimitRule, Mark, Severity, SilenceRule, in_unit, rule_from_wire
from rules.pair import PairRule, PairState, step_pair
from rules.point import (
    begin_inhibit,
    check_inhibit,
    check_silence,
    end_inhibit,
    is_active,
    is_heard,
    is_quiet,
    quiet_band,
    quiet_counts,
    reload,
    remove,
    restore,
    silence_due_us,
    standing,
    start,
    step_point,
)
from rules.point_state import Inhibit, PointRules, PointState, Reset
from rules.resetting import reset
from rules.state import AlarmState, Cause, LimitState, Occurrence, Phase, Sample, Transition
from rules.watch import WatchKind, WatchRule

__all__ = [
    "CLEARING_CODES",
    "TRIAL",
    "AlarmState",
    "Cause",
    "Confirmation",
    "Direction",
    "Inhibit",
    "LimitRule",
    "LimitState",
    "Mark",
    "Occurrence",
    "PackError",
    "PairRule",
    "PairState",
    "Phase",
    "PointRules",
    "PointState",
    "Reset",
    "RuleError",
    "RulesError",
    "Sample",
    "Severity",
    "SilenceRule",
    "Transition",
    "WatchKind",
    "WatchRule",
    "begin_inhibit",
    "check_inhibit",
    "check_silence",
    "end_inhibit",
    "in_unit",
    "is_active",
    "is_heard",
    "is_quiet",
    "quiet_band",
    "quiet_counts",
    "reload",
    "remove",
    "reset",
    "restore",
    "rule_from_wire",
    "silence_due_us",
    "standing",
    "start",
    "step_pair",
    "step_point",
]
