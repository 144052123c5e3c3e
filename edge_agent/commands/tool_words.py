"""The words of scan, doctor, decode and the raw read, in English and Chinese.

What a doctor finds is in ``tools.finding_words``; single words that other commands use too are in ``words``.
"""

from __future__ import annotations

from typing import Any

from edge_agent.commands.words import Words

_TEXTS: dict[str, tuple[str, str]] = {
    "no ports": ("no serial port is there", "没有串口"),
    "head port": ("port", "端口"),
    "head name": ("name to configure", "配置用名称"),
    "head chip": ("chip", "芯片"),
    "head socket": ("USB socket", "USB 插口"),
    "head holder": ("held by", "占用者"),
    "head idle": ("idle bytes in {seconds:g} s", "{seconds:g} 秒内空闲字节"),
    "not allowed": ("not allowed; group {group}", "无权限；所属组 {group}"),
    "listening": (
        "listening {seconds:g} s on {path} at {settings}, sending nothing",
        "在 {path} 上以 {settings} 监听 {seconds:g} 秒，不发送",
    ),
    "borrowed": (
        "{port} is polled by the running agent: it lends its line in between, so this takes longer, and other "
        "baud rates and parities are not tried",
        "{port} 由运行中的采集程序使用：在其轮询间隙借用，因此较慢，且不尝试其他波特率和校验",
    ),
    "polled": ("polled by the agent, not asked: {units}", "由采集程序轮询，未询问：{units}"),
    "busy": (
        "another client talks on this line; nothing was sent",
        "总线上有另一台主站在通信；未发送任何内容",
    ),
    "conversation": (
        "unit {unit}: function {function}, address {address}, count {count}, every {every} s, {answered} of {times} "
        "answered",
        "单元 {unit}：功能码 {function}，地址 {address}，数量 {count}，间隔 {every} 秒，"
        "{times} 次中 {answered} 次有应答",
    ),
    "listen only": (
        "to read along without ever sending, put this into the site file:",
        "若只需旁听而从不发送，可在站点文件中写入：",
    ),
    "restless": (
        "{octets} bytes came while nothing was asked; `edge-agent doctor` says more",
        "无人询问时收到 {octets} 个字节；可用 `edge-agent doctor` 进一步诊断",
    ),
    "pass factory": ("factory addresses", "出厂地址"),
    "pass fast": ("addresses 1 to 247, {wait} ms each", "地址 1 至 247，每个 {wait} 毫秒"),
    "pass slow": ("the silent ones again, {wait} ms each", "对无应答地址再次询问，每个 {wait} 毫秒"),
    "pass other": (
        "other settings: factory addresses and 1 to 247, {wait} ms each",
        "其他设置：出厂地址及 1 至 247，每个 {wait} 毫秒",
    ),
    "progress": (
        "{settings} {what}: {done}/{all}, found {found}, {left} left",
        "{settings} {what}：{done}/{all}，已发现 {found}，剩余 {left}",
    ),
    "asking unit": (
        "unit {unit} answers at {settings}; asking what it is",
        "单元 {unit} 在 {settings} 有应答，正在识别",
    ),
    "left out": (
        "{count} other line settings were not tried, because somebody answers with these; --all-settings tries them",
        "已有设备应答，其余 {count} 种串口参数未尝试；需要时加 --all-settings",
    ),
    "not asked": ("was not asked what it is; scan again with --resume", "尚未询问设备型号；请加 --resume 继续扫描"),
    "stopped": ("stopped; go on with the same command and --resume", "已停止；用同一命令加 --resume 继续"),
    "no resume": (
        "there is no stopped scan of {path} to go on with; without --resume it begins anew",
        "{path} 没有可继续的扫描；去掉 --resume 可重新开始",
    ),
    "head unit": ("unit", "单元"),
    "head settings": ("settings", "设置"),
    "head answer": ("answers", "应答"),
    "head delay": ("begins after", "应答延时"),
    "head profile": ("profile", "设备描述"),
    "head surely": ("how surely", "把握"),
    "head why": ("because", "依据"),
    "answer good": ("registers", "寄存器"),
    "answer exception": ("exception {code:02X}", "异常 {code:02X}"),
    "answer doubled": ("twice", "重复应答"),
    "answer cut_head": ("first bytes missing", "缺少开头字节"),
    "answer damaged": ("damaged", "损坏"),
    "surely 4": ("sure", "确定"),
    "surely 3": ("likely", "很可能"),
    "surely 2": ("possible", "有可能"),
    "no profile": ("no profile fits", "没有匹配的设备描述"),
    "shared": (
        "two units seem to answer to address {unit}: of {asked} equal questions {good} were answered well, {damaged} "
        "damaged, {doubled} twice; disconnect one",
        "地址 {unit} 可能有两台设备：相同询问 {asked} 次，正常 {good} 次，损坏 {damaged} 次，"
        "重复 {doubled} 次；请断开其中一台",
    ),
    "maybe shared": (
        "unit {unit} answers damaged in {damaged} of {asked} cases: a bad wire, noise, or two units on one address",
        "单元 {unit} 的 {asked} 次应答中 {damaged} 次损坏：接线不良、干扰，或两台设备地址相同",
    ),
    "silence": (
        "the other {count} addresses at {settings}: no answer within {wait} ms (that is not: absent)",
        "{settings} 下其余 {count} 个地址：{wait} 毫秒内无应答（不等于不存在）",
    ),
    "nobody": (
        "nobody answered; `edge-agent doctor {path}` looks for the reason",
        "没有设备应答；可用 `edge-agent doctor {path}` 查找原因",
    ),
    "refused settings": (
        "this port does not take {settings}: {because}",
        "该端口不支持 {settings}：{because}",
    ),
    "stanza": ("for the site file:", "写入站点文件："),
    "late": ("late", "迟到"),
    "up to": ("up to {ms:.0f} ms", "最长 {ms:.0f} 毫秒"),
    "step listening": ("listening, sending nothing", "监听中，不发送"),
    "step asking": ("asking the same thing again and again", "重复询问同一内容"),
    "step searching": ("asking the addresses 1 to 247", "询问地址 1 至 247"),
    "step sweeping": ("trying other baud rates and parities", "尝试其他波特率和校验"),
    "seen": ("seen", "现象"),
    "do": ("do", "建议"),
    "agreeing": ("agree with {expect}, the likeliest first:", "与 {expect} 相符，最可能的在前："),
    "agrees exactly": ("to the last digit", "末位一致"),
    "agrees nearly": ("within 2 %", "相差 2% 以内"),
    "none agrees": (
        "nothing agrees with {expect}: another register, an offset, or the value has changed since",
        "没有与 {expect} 相符的读法：可能是其他寄存器、存在偏移，或数值已变化",
    ),
    "zero proves nothing": (
        "zero proves nothing: every type and order of zero is zero",
        "零不能说明问题：任何类型和字节序的零都是零",
    ),
    "head type": ("type", "类型"),
    "head order": ("order", "字节序"),
    "head scale": ("times", "倍率"),
    "head shown": ("is", "得到"),
    "head agrees": ("agrees", "相符程度"),
    "head place": ("words from {offset}", "自第 {offset} 字"),
    "head address": ("address", "地址"),
    "text": ("text", "文本"),
}


def text(words: Words, key: str, **facts: Any) -> str:
    """Returns a sentence in the language of ``words``; raises KeyError for an unknown key."""
    english, chinese = _TEXTS[key]
    return (chinese if words.language == "zh" else english).format(**facts)
