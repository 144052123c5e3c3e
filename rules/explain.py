"""What a rule does, in a sentence in English or Chinese, with its numbers and their basis.

For people who confirm limits in writing.  Pure; it invents nothing: every number is the rule's.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.units import UNITS
from rules.model import Direction, LimitRule, Mark, Severity, SilenceRule
from rules.pair import PairRule
from rules.point_state import PointRules
from rules.watch import WatchKind, WatchRule

_EN, _ZH = 0, 1
_MARKS: Mapping[Mark, tuple[str, str]] = {
    Mark.VERIFIED: ("seen in a published source", "见于公开资料"),
    Mark.KNOWN: ("recalled from a standard; confirm for this site", "据记忆引自标准，须由现场确认"),
    Mark.DEFAULT: ("engineering default or the site's own number", "工程缺省值或现场自定"),
}
_SEVERITIES: Mapping[Severity, tuple[str, str]] = {
    Severity.RED: ("red", "红色"),
    Severity.ORANGE: ("orange", "橙色"),
    Severity.YELLOW: ("yellow", "黄色"),
    Severity.BLUE: ("blue", "蓝色"),
    Severity.INFO: ("info", "提示"),
}


def explain(rules: PointRules, language: str) -> list[str]:
    """Returns the lines that say what the rules of a point do.

    Args:
        language: ``en`` or ``zh``.
    """
    n = _ZH if language == "zh" else _EN
    lines: list[str] = []
    for rule in rules.limits:
        lines += _entry(rule, _limit_condition(rule, n), n)
    for watch in rules.watches:
        lines += _entry(watch.limit, _watch_condition(watch, n), n)
    for pair in rules.pairs:
        lines += _entry(pair.limit, _pair_condition(pair, n), n)
    if rules.silence is not None:
        lines += _silence(rules.silence, n)
    if rules.gas:
        lines.append(
            (
                "lost while rising: lost within 5 minutes of passing the lowest high limit, it raises the next one.",
                "上升中失联：越过最低一级高限后 5 分钟内失联，即触发上一级报警。",
            )[n]
        )
    return [*lines, *_trial(rules, n)]


def _entry(rule: LimitRule, condition: str, n: int) -> list[str]:
    severity, name = _SEVERITIES[rule.severity][n], (rule.en, rule.zh)[n]
    delays = [*_on(rule, n), *_off(rule, n)]
    head = (f"{rule.id} {name}: {severity} ({rule.scheme})", f"{rule.id} {name}：{severity}（{rule.scheme}）")[n]
    lines = [head, f"  {condition}", *(f"  {line}" for line in delays)]
    mark = _MARKS[rule.mark][n]
    lines.append("  " + (f"basis [{rule.mark}, {mark}]: {rule.basis}", f"依据 [{rule.mark}，{mark}]：{rule.basis}")[n])
    for bound, words in ((rule.ceiling, ("never above", "不得高于")), (rule.floor, ("never below", "不得低于"))):
        if bound is not None:
            because = f" ({rule.bound_basis})" if rule.bound_basis else ""
            lines.append(f"  {words[n]} {_with_unit(bound, rule.unit, n)}{because}")
    if rule.set_by:
        lines.append("  " + (f"set by {rule.set_by} {rule.set_at}", f"设定：{rule.set_by} {rule.set_at}")[n].rstrip())
    return lines


def _limit_condition(rule: LimitRule, n: int) -> str:
    high, value = rule.direction is Direction.HIGH, _with_unit(rule.value, rule.unit, n)
    if high:
        words = ("at or above", "达到或高于") if rule.inclusive else ("above", "高于")
        beyond = ("over range counts at once, latched", "超量程立即报警并锁存")
    else:
        words = ("at or below", "达到或低于") if rule.inclusive else ("below", "低于")
        beyond = ("under range counts at once, latched", "低于量程立即报警并锁存")
    return (f"raised when the value is {words[n]} {value}; {beyond[n]}", f"数值{words[n]} {value} 时报警；{beyond[n]}")[
        n
    ]


def _watch_condition(watch: WatchRule, n: int) -> str:
    limit = watch.limit
    time = _time(limit.value, n)
    if watch.kind is WatchKind.RATE:
        per, window = f"{_with_unit(limit.value, watch.unit, n)}/min", _time(watch.window_s or 0, n)
        rises = limit.direction is Direction.HIGH
        least = "" if watch.min_value is None else _with_unit(watch.min_value, watch.unit, n)
        en = f"raised when it {'rises' if rises else 'falls'} by {per.lstrip('-')} or more, robust slope over {window}"
        zh = f"{window}内稳健斜率{'上升' if rises else '下降'}达到 {per.lstrip('-')} 时报警"
        return (
            en + (f", while it is at least {least}" if least else ""),
            zh + (f"，且数值不低于 {least}" if least else ""),
        )[n]
    if watch.kind is WatchKind.FLAT:
        by = _with_unit(watch.tolerance, watch.unit, n)
        zero = ("; a steady zero is normal", "；稳定的零值属正常")[n] if watch.spares_zero else ""
        return (f"raised when the value moves by no more than {by} for {time}", f"{time}内变化不超过 {by} 时报警")[
            n
        ] + zero
    if watch.kind is WatchKind.FAULT:
        return (f"raised when no reading was usable for {time}", f"连续 {time}无可用读数时报警")[n]
    threshold = _with_unit(watch.threshold or 0, watch.unit, n)
    window = _time(watch.window_s or 0, n)
    return (
        f"raised when {threshold} is reached within {time} at the slope of the last {window}; no trend, no alarm",
        f"按最近{window}的斜率，{time}内将到达 {threshold} 时报警；无明显趋势则不报",
    )[n]


def _pair_condition(pair: PairRule, n: int) -> str:
    within = _time(pair.within_s, n)
    return (
        f"raised when {pair.own} is active here and {pair.other} of {pair.point} is, or was within {within}",
        f"本点 {pair.own} 与 {pair.point} 的 {pair.other} 同时报警，或相隔不超过{within}时报警",
    )[n]


def _silence(rule: SilenceRule, n: int) -> list[str]:
    time = _time(rule.after_s, n)
    return [
        (
            f"{rule.id} {rule.en}: raised after {time} without a good or uncertain reading",
            f"{rule.id} {rule.zh}：{time}内没有良好或存疑读数时报警",
        )[n]
    ]


def _on(rule: LimitRule, n: int) -> list[str]:
    parts = []
    if rule.on_samples > 1:
        parts.append((f"{rule.on_samples} samples", f"{rule.on_samples} 个样本")[n])
    if rule.on_delay_s:
        parts.append(_time(rule.on_delay_s, n))
    if not parts:
        return [("at once", "立即报警")[n]]
    return [("after " + " and ".join(parts), "持续" + "且".join(parts) + "后报警")[n]]


def _off(rule: LimitRule, n: int) -> list[str]:
    parts = []
    if rule.deadband:
        high = rule.direction is Direction.HIGH
        back = _with_unit(rule.returns_at, rule.unit, n)
        parts.append(
            (f"back at {back} or {'less' if high else 'more'}", f"回到 {back} {'以下' if high else '以上'}")[n]
        )
    if rule.off_samples > 1:
        parts.append((f"{rule.off_samples} good samples", f"{rule.off_samples} 个良好样本")[n])
    if rule.off_delay_s:
        parts.append((f"{_time(rule.off_delay_s, n)} later", f"再持续{_time(rule.off_delay_s, n)}")[n])
    lines = [("over: " + ", ".join(parts), "恢复：" + "，".join(parts))[n]] if parts else []
    if rule.latch:
        lines.append(("latched: waits for a named person", "锁存：须由具名人员复位")[n])
    return lines


def _trial(rules: PointRules, n: int) -> list[str]:
    if not rules.limits and not rules.watches:
        return []
    by = rules.confirmed
    if by is None:
        return [("on trial: no letter confirms these limits", "试运行：限值尚未书面确认")[n]]
    proof = f"{by.document}, SHA-256 {by.digest.hex()[:16]}"
    return [(f"confirmed by {by.by} on {by.at} ({proof})", f"由 {by.by} 于 {by.at} 书面确认（{proof}）")[n]]


def _with_unit(number: float, unit: str, n: int) -> str:
    known = UNITS.get(unit)
    shown = unit if known is None else (known.en, known.zh)[n]
    return f"{number:g} {shown}".rstrip()


def _time(seconds: float, n: int) -> str:
    for size, words in ((3600, ("h", "小时")), (60, ("min", "分钟"))):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g} {words[n]}"
    return f"{seconds:g} {('s', '秒')[n]}"
