"""Replay of a story: what it tells, silence between samples, and nothing of no samples."""

from __future__ import annotations

from rules.model import SilenceRule
from rules.point_state import PointRules
from rules.replay import replay
from rules.state import Cause
from tests.rules.builders import SECOND, gas_ladder, limit, sample


def test_a_gas_leak() -> None:
    done = replay(gas_ladder(), [sample(float(n), 5 * n) for n in range(60)])
    assert [item.rule_id.split("/")[1] for item in done.transitions] == ["L1", "pre", "L2"]  # pre waits a minute
    assert done.samples == 60


def test_silence_between_samples_is_found_at_its_time() -> None:
    rules = PointRules(limits=(limit(),), silence=SilenceRule(after_s=30))
    done = replay(rules, [sample(1, 0), sample(1, 10), sample(1, 100)])
    assert [(item.cause, item.at_us) for item in done.transitions] == [
        (Cause.SILENCE, 40 * SECOND),
        (Cause.RETURNED, 100 * SECOND),
    ]


def test_no_samples_tell_nothing() -> None:
    assert replay(gas_ladder(), []).transitions == ()
