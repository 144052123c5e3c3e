"""The lines that ``collector completeness`` prints, in English and Chinese.  Pure.

A cause that is not in the tables (of a newer gateway) is shown as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from collector.views import CompletenessView
from contracts.quality import BY_REASON, CODES

LANGUAGES = ("en", "zh")

OUTCOMES = {
    "good": ("good", "良好"),
    "uncertain": ("uncertain", "存疑"),
    "late": ("late", "迟到"),
    "bad": ("bad", "坏值"),
    "missing": ("missing", "缺失"),
    "thinned": ("thinned", "已抽稀"),
    "lost": ("lost", "丢失"),
    "not_arrived": ("not arrived yet", "尚未到达"),
    "quarantined": ("in quarantine", "已隔离"),
    "never_sent": ("never sent", "从未发送"),
    "pruned": ("dropped by retention", "已按保留期清除"),
    "unplaced": ("not placed yet", "时间待定"),
}
#: causes that no quality code names
CAUSES = {
    "power": ("machine was off or starting", "设备断电或重启"),
    "configuration_change": ("configuration was changed", "配置变更"),
    "not_sealed": ("in no batch", "未写入任何批次"),
    "named": ("named by the chain, not here", "链上已有，尚未收到"),
    "unheard": ("nothing heard since", "此后无消息"),
    "catalogue": ("waits for its catalogue", "等待目录"),
    "retention": ("evidence of that day was dropped", "当日证据已清除"),
    "clock_not_known": ("clock of that boot is not known yet", "该次启动的时钟未知"),
    "damaged_here": ("bytes changed at the collector", "中心端数据被改动"),
    "quota": ("gateway's storage quota", "网关存储配额"),
    "disk_full": ("gateway's disk full", "网关磁盘已满"),
    "store_unusable": ("gateway's store unusable", "网关存储不可用"),
    "damaged": ("gateway's store damaged", "网关存储损坏"),
    "thinned": ("to save room", "为节省空间"),
    "payload": ("content is not what it promises", "内容不符合格式"),
    "too_large": ("too large", "超出大小限制"),
}
WHOSE = {
    "device": ("device", "仪表"),
    "bus": ("bus", "总线"),
    "gateway": ("gateway", "网关"),
    "link": ("link", "链路"),
    "collector": ("collector", "中心"),
    "person": ("person", "人员"),
}
_OTHER = {
    "expected": ("expected", "应有"),
    "boot": ("boot", "启动"),
    "clock not known": ("clock not known", "时钟未知"),
    "inhibited": ("of these inhibited", "其中检修抑制"),
    "nothing": ("nothing was expected in that time", "该时段没有应有的读数"),
}


def language(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the language asked for, else that of the locale, else English."""
    if wanted in LANGUAGES:
        return wanted
    locale = environment.get("LC_ALL") or environment.get("LC_MESSAGES") or environment.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"


def cause_word(cause: str, language: str) -> str:
    """Returns a cause as people say it."""
    if cause in CAUSES:
        return CAUSES[cause][LANGUAGES.index(language)]
    code = BY_REASON.get(cause)
    return cause if code is None else CODES[code].zh if language == "zh" else CODES[code].en


def lines(views: Sequence[CompletenessView], language: str, *, by_day: bool) -> Iterator[str]:
    """Yields one line for each point and hour; times are UTC."""
    place = LANGUAGES.index(language)
    if not views:
        yield _OTHER["nothing"][place]
    for view in views:
        if view.begin_us is None:
            at = f"{_OTHER['boot'][place]} {view.boot[:8]} ({_OTHER['clock not known'][place]})"
        else:
            at = f"{datetime.fromtimestamp(view.begin_us / 1e6, UTC):{'%Y-%m-%d' if by_day else '%Y-%m-%dT%HZ'}}"
        yield (
            f"{at}  {view.gateway}  {view.point}  {_OTHER['expected'][place]} {view.expected}: "
            + ", ".join(
                _part(*item, language) for item in sorted(view.counts, key=lambda item: (_ORDER[item[0]], -item[3]))
            )
            + _inhibited(view, language)
        )


def _inhibited(view: CompletenessView, language: str) -> str:
    """Returns what was taken while a person worked on the point; empty where nothing was."""
    if not view.inhibited:
        return ""
    place = LANGUAGES.index(language)
    parts = [f"{OUTCOMES[outcome][place]} {count}" for outcome, count in view.inhibited]
    return f"; {_OTHER['inhibited'][place]}: {', '.join(parts)}"


_ORDER = {outcome: number for number, outcome in enumerate(OUTCOMES)}


def _part(outcome: str, cause: str, whose: str, count: int, language: str) -> str:
    place = LANGUAGES.index(language)
    word = f"{OUTCOMES[outcome][place]} {count}"
    reasons = [cause_word(cause, language)] if cause else []
    reasons += [WHOSE[whose][place]] if whose else []
    if not reasons:
        return word
    return f"{word}（{'；'.join(reasons)}）" if language == "zh" else f"{word} ({'; '.join(reasons)})"
