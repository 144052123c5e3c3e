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
    "listened to": ("only listened to, nothing is sent", "仅旁听，不发送"),
    "unchanged": ("nothing changed", "没有变化"),
    "reloaded": ("reloaded; ports changed", "已重新加载；变更的端口"),
    "devices added": ("devices added", "新增的设备"),
    "devices removed": ("devices REMOVED, no longer monitored", "已移除、不再监测的设备"),
    "reload later": ("changed, but taken only at the agent's next start", "已改动，但要到采集程序下次启动才生效"),
    "devices changed": ("devices changed", "变更的设备"),
    "reload trial": ("on trial until these devices answer", "试运行，等待下列设备应答"),
    "reload confirmed": ("the new configuration is confirmed", "新配置已确认"),
    "reload rolled back": (
        "rolled back: these devices did not answer under the new configuration",
        "已回退：下列设备在新配置下无应答",
    ),
    "rule packs": ("rule packs", "规则包"),
    "left to the site": ("left to the site", "由现场给定"),
    "seconds": ("seconds", "秒"),
    "marks": ("marks", "标记"),
    "samples": ("samples", "样本"),
    "raised": ("raised", "报警次数"),
    "replay pairs": (
        "rules of two points need the readings of both; they are not replayed",
        "双点规则需要两点的读数，未参与回放",
    ),
    "inhibited": ("inhibited", "已抑制报警"),
    "inhibit ended": ("inhibit ended", "已解除抑制"),
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
    "thinned": ("thinned, recorded", "抽稀有记录"),
    "kept aside": ("damaged, kept, outside the quota", "已损坏，原样保留，不计入配额"),
    "salvage proved_batches": ("batches that this gateway's signature proves", "签名有效的批次"),
    "salvage receipted_batches": ("of these delivered before, by the file", "其中文件记录为已送达"),
    "salvage not_ours": ("rows whose signature is not this gateway's", "签名不属于本网关的记录"),
    "salvage recovered_batches": ("batches sealed again as recovered", "重新签封为“恢复”的批次"),
    "salvage recovered_readings": ("readings in them", "其中读数"),
    "salvage too_large": ("batches too large to be sealed again", "过大无法重新签封的批次"),
    "salvage lost": ("not in the file", "文件中已不存在"),
    "salvage no receipts": (
        "what was delivered cannot be read: everything is sent again, the collector counts nothing twice",
        "无法读取送达记录：全部重发，中心不会重复计数",
    ),
    "salvage tail": (
        "what was sealed after the newest batch found, nobody can tell from this file",
        "最新一批之后是否还有数据，无法从此文件得知",
    ),
    "salvage file": ("written to", "已写入"),
    "salvage new_batches": ("new in the spool, to be sent", "新入缓存待发送"),
    "salvage known_batches": ("in the spool before", "缓存中已有"),
    "salvage nothing": ("nothing to bring back", "没有可恢复的数据"),
    "note": ("note", "注意"),
    "proved nothing": (
        "this profile is from documents; nobody compared it with a real unit, so compare it with the display",
        "该设备描述来自文档，尚未与实物核对，请与仪表显示值比对",
    ),
    "proved frames": (
        "this profile was tested against frames captured from a unit, and not on a unit itself",
        "该设备描述已用实物抓取的报文验证，尚未在实物上核对",
    ),
    "proved unit": ("this profile was compared with a real unit", "该设备描述已与实物核对"),
    "bus load": ("share of the line's time", "线路时间占用"),
    "longest cycle": ("every block once, nobody answers:", "全部无应答时轮询一遍："),
    "alarm point": ("alarm point", "报警测点"),
    "latest": ("latest", "最迟"),
    "deadline": ("deadline", "时限"),
    "after a lost reply": ("after a lost reply", "丢一次应答后"),
    "most of it": ("most of it", "主要因素"),
    "no alarm points": ("no point with limits", "没有设限值的测点"),
    "budget meaning": (
        "latest: from the change of a register to its judgement, while every other device may be dead",
        "最迟：从寄存器变化到报警判断的最长时间，期间其他设备可全部失联",
    ),
    "deadlines can be missed": ("alarm points that can miss their deadline", "可能超过时限的报警测点"),
    "term interval": ("waiting for the next reading", "等待下一次采样"),
    "term under way": ("a request that is under way", "线路上正在进行的请求"),
    "term alarms": ("other alarm points first", "其他报警测点在先"),
    "term ordinary": ("ordinary points that are overdue", "逾期的普通测点"),
    "term probe": ("a long probe of a silent device", "对静默设备的长探测"),
    "term gap": ("the pause that its device wants", "设备要求的请求间隔"),
    "term outputs": ("what the annunciator writes", "声光报警器写操作"),
    "outputs cost": ("annunciator", "声光报警器"),
    "outputs slot": ("outputs, one slot", "路输出，一次切换"),
    "outputs share": ("of the line's time while nothing is wrong", "平时占用线路时间"),
    "term own": ("its own request", "自身的请求"),
    "term process": ("this machine", "本机处理"),
    "estimate": ("estimated, not promised", "估算值"),
    "card": ("written to the card in a day", "每天写入存储卡"),
    "sent": ("sent in 30 days", "30 天上行"),
    "received": ("received", "下行"),
    "no uplink": ("no uplink is configured", "未配置上行链路"),
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
