"""The words that commands print, in English and Chinese.

Sentences about one particular mistake (a key of a file, an error of the system) are English;
headings, states and results are in both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    "point": ("point", "测点"),
    "name": ("name", "名称"),
    "value": ("value", "数值"),
    "unit": ("unit", "单位"),
    "quality": ("quality", "质量"),
    "age": ("age", "时效"),
    "good": ("good", "良好"),
    "uncertain": ("uncertain", "存疑"),
    "bad": ("bad", "坏值"),
    "missing": ("missing", "缺失"),
    "severity": ("severity", "级别"),
    "state": ("state", "状态"),
    "cause": ("cause", "原因"),
    "limit": ("limit", "限值"),
    "rule": ("rule", "规则"),
    "scheme": ("scheme", "分级依据"),
    "active": ("active", "报警中"),
    "latched": ("latched", "已锁存"),
    "cleared": ("cleared", "已恢复"),
    "red": ("red", "红"),
    "orange": ("orange", "橙"),
    "yellow": ("yellow", "黄"),
    "blue": ("blue", "蓝"),
    "info": ("info", "提示"),
    "no alarms": ("no active or latched alarms", "没有报警或锁存的测点"),
    "reset": ("reset", "已复位"),
    "warning": ("warning", "警告"),
    "refused": ("refused", "拒绝"),
    "ok": ("OK", "通过"),
    "ports": ("ports", "端口"),
    "devices": ("devices", "设备"),
    "points": ("points", "测点"),
    "reads": ("reads", "读取块"),
    "limits": ("limits", "限值"),
    "plan": ("plan", "计划"),
    "line": ("of the line's time", "线路时间占用"),
    "unchanged": ("nothing changed", "没有变化"),
    "reloaded": ("reloaded; ports changed", "已重新加载；变更的端口"),
    "none": ("none", "无"),
    "gateway": ("gateway", "网关"),
    "fingerprint": ("fingerprint", "指纹"),
    "epoch": ("epoch", "纪元"),
    "lane": ("lane", "通道"),
    "seq": ("seq", "序号"),
    "batches": ("batches", "批次"),
    "readings": ("readings", "读数"),
    "bytes": ("bytes", "字节"),
    "delivered": ("delivered", "已确认"),
    "reason": ("reason", "缘由"),
    "verified": ("every batch is signed by this gateway and no chain is broken", "所有批次签名有效，链条完整"),
    "false": ("this spool does not verify", "校验未通过"),
    "released": ("released", "已释放"),
    "lost": ("lost, recorded", "丢失有记录"),
    "read by itself": ("no agent runs; the ports were opened for this reading", "采集程序未运行，已直接打开端口读取"),
}


class Words:
    """Looks a word up in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._place = LANGUAGES.index(language)

    def __getitem__(self, key: str) -> str:
        """Returns the word for ``key``; a key that is not in the table is its own word."""
        found = _WORDS.get(key)
        return key if found is None else found[self._place]

    def of(self, record: Mapping[str, object], key: str = "") -> str:
        """Returns ``en``/``zh`` (or ``KEY_en``/``KEY_zh``) of a record in this language."""
        return str(record.get(f"{key}_{self.language}" if key else self.language) or "")


def language(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the language asked for, else that of the locale, else English."""
    if wanted in LANGUAGES:
        return wanted
    locale = environment.get("LC_ALL") or environment.get("LC_MESSAGES") or environment.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"
