"""What people read about a rule: every number of it, in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.confirmation import Confirmation
from rules.explain import explain
from rules.model import Mark, Severity, SilenceRule
from rules.pack import load_pack, point_rules
from rules.point_state import PointRules
from rules.watch import WatchKind, WatchRule
from tests.rules.builders import limit, low
from tests.rules.test_pair import pair

FOLDER = Path(__file__).resolve().parents[2] / "config" / "rules"
GAS = point_rules(load_pack((FOLDER / "gas-adjacent.toml").read_text(encoding="utf-8"), "x"), silence_after_s=90)
_LETTER = Confirmation(by="李工", at="2026-11-20", document="letter.pdf", digest=bytes(range(32)))
EVERY = PointRules(
    limits=(
        limit("H", 20.0, inclusive=False, off_samples=3, set_by="Li", set_at="2026-11-01"),
        low("L", 5.0, deadband=1.0, inclusive=False, floor=4.0, mark=Mark.KNOWN, severity=Severity.RED),
    ),
    watches=(
        WatchRule(kind=WatchKind.RATE, limit=low("fall", -0.5), unit="%{LEL}", window_s=600.0, min_value=5.0),
        WatchRule(kind=WatchKind.FLAT, limit=limit("flat", 7200.0, unit="s"), unit="%{LEL}", spares_zero=True),
        WatchRule(kind=WatchKind.FAULT, limit=limit("fault", 90.0, unit="s"), unit="%{LEL}"),
        WatchRule(
            kind=WatchKind.TREND, limit=low("soon", 1800.0, unit="s"), unit="%{LEL}", window_s=1200.0, threshold=40.0
        ),
    ),
    pairs=(pair(300.0),),
    confirmed=_LETTER,
)


@pytest.mark.parametrize(
    ("rules", "language", "expected"),
    [
        (GAS, "en", "  raised when the value is at or above 20 %LEL; over range counts at once, latched"),
        (GAS, "en", "  after 2 samples and 4 s"),
        (GAS, "en", "  over: back at 15 %LEL or less, 1 min later"),
        (GAS, "en", "  latched: waits for a named person"),
        (GAS, "en", "  never above 25 %LEL (GB/T 50493-2019: level 1 at most 25 %LEL)"),
        (GAS, "en", "silence.v1 source silent: raised after 90 s without a good or uncertain reading"),
        (GAS, "en", "on trial: no letter confirms these limits"),
        (GAS, "zh", "  数值达到或高于 20 %LEL 时报警；超量程立即报警并锁存"),
        (GAS, "zh", "  持续2 个样本且4 秒后报警"),
        (GAS, "zh", "  锁存：须由具名人员复位"),
        (GAS, "zh", "试运行：限值尚未书面确认"),
        (GAS, "zh", "gas.ch4.adjacent.v1/L2 甲烷二级报警（高限）：红色（GB/T 50493）"),
        (EVERY, "en", "  raised when the value is above 20 %LEL; over range counts at once, latched"),
        (EVERY, "en", "  raised when the value is below 5 %LEL; under range counts at once, latched"),
        (EVERY, "en", "  over: 3 good samples"),
        (EVERY, "en", "  over: back at 6 %LEL or more"),
        (EVERY, "en", "  never below 4 %LEL"),
        (EVERY, "en", "  set by Li 2026-11-01"),
        (
            EVERY,
            "en",
            "  raised when it falls by 0.5 %LEL/min or more, robust slope over 10 min, while it is at least 5 %LEL",
        ),
        (EVERY, "en", "  raised when the value moves by no more than 0 %LEL for 2 h; a steady zero is normal"),
        (EVERY, "en", "  raised when no reading was usable for 90 s"),
        (
            EVERY,
            "en",
            "  raised when 40 %LEL is reached within 30 min at the slope of the last 20 min; no trend, no alarm",
        ),
        (EVERY, "en", "  raised when test.v1/L1 is active here and test.v1/pre of well-2/ch4 is, or was within 5 min"),
        (EVERY, "en", "confirmed by 李工 on 2026-11-20 (letter.pdf, SHA-256 0001020304050607)"),
        (EVERY, "zh", "  10 分钟内稳健斜率下降达到 0.5 %LEL/min 时报警，且数值不低于 5 %LEL"),
        (EVERY, "zh", "  连续 90 秒无可用读数时报警"),
        (EVERY, "zh", "由 李工 于 2026-11-20 书面确认（letter.pdf, SHA-256 0001020304050607）"),
    ],
)
def test_lines(rules: PointRules, language: str, expected: str) -> None:
    assert expected in explain(rules, language)


def test_a_point_without_limits_has_nothing_on_trial() -> None:
    assert explain(PointRules(silence=SilenceRule(after_s=3600)), "en") == [
        "silence.v1 source silent: raised after 1 h without a good or uncertain reading"
    ]
