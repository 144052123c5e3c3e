"""The words of ``edge-agent profile``, in English and Chinese, and the file that ``profile new`` writes."""

from __future__ import annotations

from edge_agent.commands.words import LANGUAGES, Words

_TEXTS: dict[str, tuple[str, str]] = {
    "id": ("id", "标识"),
    "kind": ("kind", "类别"),
    "maker": ("maker", "厂家"),
    "model": ("model", "型号"),
    "confidence": ("source", "资料"),
    "proved": ("proved by", "验证"),
    "from": ("from", "来自"),
    "shipped": ("shipped", "随软件"),
    "nothing": ("nothing", "无"),
    "frames": ("frames", "报文"),
    "unit": ("unit", "实物"),
    "S1": ("maker's own document", "厂家文件"),
    "S2": ("third party's extract of the maker's document", "第三方摘录"),
    "S3": ("community, not the maker", "社区资料，非厂家"),
    "M": ("memory: check it against the maker's document", "凭记忆，须与厂家文件核对"),
    "extends": ("extends", "继承自"),
    "sources": ("sources", "资料来源"),
    "notes": ("notes", "说明"),
    "serial": ("as shipped", "出厂设置"),
    "not stated": ("not stated", "未说明"),
    "address": ("address", "地址"),
    "any": ("{unit} reaches any lone unit", "总线上仅一台时可用 {unit} 访问"),
    "limits": (
        "at most {registers} registers in one read, reply within {reply} s",
        "一次最多读 {registers} 个寄存器，{reply} 秒内应答",
    ),
    "gap": ("{gap} ms between two requests", "两次询问间隔 {gap} 毫秒"),
    "points": ("points", "测点"),
    "alarms": ("the instrument's own alarms", "仪表自身报警"),
    "outputs": (
        "outputs (the agent switches none but those that [annunciator] in the site file names)",
        "输出（除现场文件 [annunciator] 列出的以外，程序不会操作）",
    ),
    "output": ("output", "输出"),
    "drops": ("drops by itself", "自行断开"),
    "pulse": ("pulse up to {seconds} s", "脉冲，最长 {seconds} 秒"),
    "watchdog": ("watchdog", "看门狗"),
    "numbering": ("address can be set, {first} to {last}", "可改地址，{first} 至 {last}"),
    "power cycle": ("then switch the supply off and on", "之后须断电重启"),
    "table": ("table", "区"),
    "type": ("type", "类型"),
    "every": ("every", "周期"),
    "read": ("read", "读取"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "shows": ("shows", "含义"),
    "active": ("the condition now", "当前状态"),
    "latched": ("latched until reset", "锁存至复位"),
    "relay": ("the relay", "随继电器"),
    "trigger": ("after a write", "先写后读"),
    "sound": ("the file is sound: {points} points, {alarms} alarms", "文件无误：{points} 个测点，{alarms} 个报警"),
    "requests": ("requests of a default poll", "默认轮询的询问"),
    "examples hold": (
        "{count} examples hold, {captured} of them captured from a unit",
        "{count} 个示例全部通过，其中 {captured} 个为实物抓取",
    ),
    "no examples": (
        "there is no example yet; write one down from the unit's display",
        "尚无示例，请照仪表显示值写一个",
    ),
    "without example": ("no example shows a number of", "没有示例给出数值的测点"),
    "from the agent": (
        "the running agent holds this line; it lends it for this reading",
        "该线路由运行中的程序占用，本次读取向其借用",
    ),
    "match NO": ("this is another device: {signs}", "这不是该设备：{signs}"),
    "match UNKNOWN": ("nothing tells whether this is the device", "没有寄存器能确认是否为该设备"),
    "match POSSIBLE": ("it may be this device: {signs}", "可能是该设备：{signs}"),
    "match LIKELY": (
        "it is this device or a sister model: {signs}",
        "是该设备或同系列型号：{signs}",
    ),
    "match SURE": ("it is this device: {signs}", "确认是该设备：{signs}"),
    "serial number": ("serial number", "序列号"),
    "slowest": ("slowest reply", "最慢应答"),
    "untriggered": (
        "not read, since a write must come first (--trigger allows it)",
        "未读取：需先写入触发（加 --trigger 允许）",
    ),
    "compare": (
        "Compare every number with the instrument's display before you trust the profile.",
        "使用前请将每个数值与仪表显示值核对。",
    ),
    "no answer": ("the unit gave no answer", "设备没有应答"),
    "written": ("written: {path}", "已写入：{path}"),
    "next": (
        "edit it, then: edge-agent profile test {path}",
        "编辑后运行：edge-agent profile test {path}",
    ),
}

#: what ``profile new`` writes; ID and KIND are filled in
TEMPLATE = """\
# A device profile: one device type in one file.  The guide is docs/add-a-device.md.
# 设备描述文件：一种设备一个文件。说明见 docs/add-a-device.zh.md。
#
# Addresses are wire numbers, counted from 0: what a manual prints as 40001 is 0.
# 地址为线上地址，从 0 计：手册中的 40001 即 0。
id = "ID"
names = { en = "my device", zh = "我的设备" }
maker = "maker as on the label"
model = "model as on the label"
kind = "KIND"
# S1 the maker's document, S2 somebody's extract of it, S3 found elsewhere, M from memory.
confidence = "S1"
# nothing, frames (an example was captured), unit (compared with a real unit).
proved = "nothing"
sources = ["title and page of the manual"]
notes = ["what the next person must know"]

[serial]
baud = 9600
parity = "none"
stop_bits = 1
unit_id = 1

[limits]
# Registers that one read may ask, and registers nobody wants that it may run over.
max_registers = 125
max_gap = 0

# A register that is no measurement, but tells something about one.
[fields.status]
address = 0
type = "u16"

[points.value]
names = { en = "value", zh = "数值" }
quantity = "raw"
table = "holding"
address = 1
type = "i16"
resolution = "0.1"
unit = "1"
interval_ms = 1000
longest_silence_s = 30.0

# Bits of the status that make the value no measurement, or a doubtful one.
[[points.value.gates]]
field = "status"
bits = { 0 = "fault" }

# An alarm that the instrument itself reports becomes a point of 0 and 1.
[alarms.high]
names = { en = "high alarm", zh = "高报警" }
field = "status"
bits = [1]
means = "alarm"
level = 1
shows = "active"

# What the unit said, and what its display showed.  Frames may be pasted instead of words:
# request = "01 03 ..." and reply = "01 03 ...", with captured = true.
[[examples]]
name = "25.3 on the display"
captured = false
source = "worked out from the manual"
address = 0
words = [0x0000, 0x00FD]
expect = { value = { value = "25.3" }, high = { value = "0" } }

[[examples]]
name = "high alarm"
captured = false
source = "worked out from the manual"
address = 0
words = [0x0002, 0x01F4]
expect = { value = { value = "50" }, high = { value = "1" } }

[[examples]]
name = "fault: there is no number"
captured = false
source = "worked out from the manual"
address = 0
words = [0x0001, 0x0000]
expect = { value = { quality = "fault" } }
"""


def text(words: Words, key: str, **values: object) -> str:
    """Returns the words for a key in the language of ``words``, with values filled in."""
    return _TEXTS[key][LANGUAGES.index(words.language)].format(**values)
