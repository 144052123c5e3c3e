"""What the commands that write to instruments say, in both languages."""

from __future__ import annotations

from edge_agent.commands.words import LANGUAGES, Words

_TEXTS: dict[str, tuple[str, str]] = {
    "nobody to ask": (
        "there is nobody to ask: run it in a terminal",
        "无人可确认：请在终端中运行",
    ),
    "nobody to ask, yes": (
        "there is nobody to ask: run it in a terminal, or give --yes",
        "无人可确认：请在终端中运行，或加 --yes",
    ),
    "write it": ("write?", "写入？"),
    "nothing written": ("nothing was written", "未写入"),
    "write refused": ("not written: {told}; reads back {after}", "未写入：{told}；读回 {after}"),
    "not read back": (
        "the device confirmed it and does not answer a read; compare it with the display",
        "设备已确认写入，但读不回；请与仪表显示核对",
    ),
    "written": ("written, reads back {after}", "已写入，读回 {after}"),
    "shows other": (
        "the device confirmed it and shows {after}",
        "设备已确认写入，但读回为 {after}",
    ),
    "address taken": (
        "somebody answers at {new} already; take that unit off the line, or begin with another number",
        "地址 {new} 已有设备应答；请断开该设备，或改用其他地址",
    ),
    "connect one unit": (
        "Connect one new unit, the one that becomes {new}, and press Enter (q ends):",
        "请只接入一台新设备（将成为 {new} 号），然后按回车（q 结束）：",
    ),
    "found at": ("found at {old}", "在地址 {old} 找到设备"),
    "garbled at": (
        "a damaged answer at {old}: two units at once? take all but one off the line",
        "地址 {old} 的应答已损坏：是否同时接入了两台设备？请只保留一台",
    ),
    "nobody at": (
        "no answer at {old}: is it powered, are A and B right, is it a new unit?",
        "地址 {old} 无应答：是否已上电？A、B 线是否正确？是否为新设备？",
    ),
    "answers at": ("answers at {new}", "地址 {new} 应答"),
    "power cycle": (
        "Switch the unit off and on again, wait until it is up, and press Enter (s skips):",
        "请将设备断电后重新上电，待其启动完毕后按回车（s 跳过）：",
    ),
    "power cycle left out": (
        "not checked: whether it keeps {new} when the supply was off",
        "未核实：断电后是否仍为地址 {new}",
    ),
    "answers after": ("answers at {new} after the supply was off", "重新上电后在地址 {new} 应答"),
    "write label": ("Write {new} on its label.", "请在标签上写 {new}。"),
    "all numbered": ("all units are numbered", "全部设备已编号"),
    "numbering gone_wrong": ("not numbered: {detail}", "未能编号：{detail}"),
    "numbering still_old": (
        "not numbered: it took the writes and still answers at {old} only",
        "未能编号：设备接受了写入，但仍只在地址 {old} 应答",
    ),
    "numbering both": (
        "addresses {old} and {new} both answer: two units are connected, or it needs its supply off and on",
        "地址 {old} 和 {new} 都有应答：接入了两台设备，或设备需要断电重启",
    ),
    "numbering silent": (
        "it answers neither at {old} nor at {new}; switch it off and on and look with `edge-agent scan`",
        "地址 {old} 和 {new} 均无应答；请断电重启后用 edge-agent scan 查找",
    ),
    "accepted": ("accepted: {text}", "已接受：{text}"),
    "serial not read": (
        "its profile knows no register for the serial number, so it was not compared with the unit",
        "该设备描述没有序列号寄存器，未与实物核对",
    ),
    "agent took it": ("the running agent reads it under the new number now", "采集程序已采用新序列号"),
    "no agent took it": ("no agent runs here; the next one takes it", "采集程序未运行，下次启动时生效"),
}


def say(words: Words, key: str, **values: object) -> str:
    """Returns a sentence in the language of the command.

    Raises:
        KeyError: there is no such sentence, or it wants another value.
    """
    return _TEXTS[key][LANGUAGES.index(words.language)].format(**values)
